"""Padding changes nothing: a batch is what its sequences are alone."""

import dataclasses
import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import slstm
from slstm import energy
from slstm import model as model_lib
from slstm import padding
from slstm import train
from tests import networks

MOST = 7  # elements
KINDS = ('lstm', 'lif', 'shared', 'sigma_delta', 'spiking')
POOLING = ('last',), ('mean',), ('max',), ('last', 'mean', 'max'), ('each',)


@functools.cache
def network(kind, pooling, num_layers=2, seed=0):
  """An LSTM or one of its spiking versions, with three outputs."""
  keys = jax.random.split(jax.random.key(seed), 2)
  x = jax.random.normal(keys[0], (32, MOST, networks.FEATURES))
  model = slstm.init(keys[1],
                     num_features=networks.FEATURES,
                     hidden_sizes=(5,) * num_layers,
                     num_outputs=3,
                     config=slstm.Config(family='standard', pooling=pooling),
                     encoder=slstm.standardising(x))
  if kind == 'lstm':
    return model
  if kind in ('sigma_delta', 'spiking'):
    model = slstm.trade_off(model, x, thetas=(0.25,), levels=(0.5,))[0].model
    if kind == 'spiking':
      found = slstm.trade_off(model, x, thetas=(0.5,), levels=(0.5,),
                              place='input', num_steps=2)  # yapf: disable
      model = found[0].model
    return model
  coupling = 'shared' if kind == 'shared' else 'step'
  how = slstm.ConversionConfig(num_steps=2, coupling=coupling)
  return slstm.convert(model, slstm.calibrate(model, x), how).model


def batch(lengths, seed=1):
  """x [B, N, D], with large values in the padding."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(len(lengths), MOST, networks.FEATURES))
  for row, length in zip(x, lengths):
    row[length:] = 1e6
  return x.astype(np.float32)


@hypothesis.settings(max_examples=10)
@hypothesis.given(kind=st.sampled_from(KINDS),
                  pooling=st.sampled_from(POOLING),
                  num_layers=st.integers(1, 2),
                  pick=st.integers(0, 3),
                  lengths=st.lists(st.integers(1, MOST), min_size=1,
                                   max_size=4))  # yapf: disable
def test_outputs_and_spikes_are_those_of_each_alone(kind, pooling, num_layers,
                                                    pick, lengths):
  model, x = network(kind, pooling, num_layers), batch(lengths)
  observe = lambda record: record.output.h
  executors = list(model_lib.executors_for(model).values())
  run = functools.partial(slstm.apply, model, observe=observe,
                          executor=executors[pick % len(executors)]
                         )  # yapf: disable
  together = run(x, lengths=np.array(lengths))
  for b, length in enumerate(lengths):
    alone = run(x[b:b + 1, :length])
    outputs = together.outputs[b]
    if pooling == ('each',):
      outputs = outputs[:length]
    np.testing.assert_allclose(outputs, alone.outputs[0], atol=1e-5)
    for found, expected in zip(together.observed, alone.observed):
      np.testing.assert_allclose(found[:length, :, b], expected[:, :, 0],
                                 atol=1e-6)  # yapf: disable


@pytest.mark.parametrize('pooling', POOLING)
def test_outputs_are_the_same_bits_where_sums_are_exact(pooling):
  rng = np.random.default_rng(3)
  layers = networks.dyadic_layers(rng, [('o', 'c'), ('o', 'c')])
  neuron = networks.dyadic_neuron(rng, True, (networks.FEATURES,))
  model = networks.dyadic_model(rng, layers, neuron, num_steps=2)
  width = len(pooling) * networks.HIDDEN
  readout = model.readout._replace(w=networks.grid(rng, (width, 2), 2, 0.5))
  config = dataclasses.replace(model.config, pooling=pooling)
  model = dataclasses.replace(model, readout=readout, config=config)
  lengths = np.array([4, 1, 2, 4])  # a mean over 3 would not be exact
  x = networks.dyadic_input(rng, 4, 4)
  together = slstm.apply(model, x, lengths=lengths).outputs
  for b, length in enumerate(lengths):
    alone = slstm.apply(model, x[b:b + 1, :length]).outputs[0]
    assert (together[b][:length if pooling == (
        'each',) else None] == alone).all()


def loss_of(model, x, y, lengths, rates, task=slstm.classification):
  """Loss and gradient of a batch."""
  smooth = 0.1 if task is slstm.classification else 0.0
  targets = task.targets(jnp.asarray(y), model.num_outputs, smooth)
  raw = slstm.unconstrain(model)
  return jax.value_and_grad(train.loss)(raw, jnp.asarray(x), targets, lengths,
                                        None, rates, task=task,
                                        executor=slstm.stacked)  # yapf: disable


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('pooling', [('last', 'mean', 'max'), ('each',)])
def test_gradients_are_those_of_each_alone(kind, pooling):
  """With a penalty, which has to leave padding out, too."""
  model, lengths = network(kind, pooling), np.array([7, 2, 4])
  x, y = batch(lengths), np.array([0, 2, 1])
  if pooling == ('each',):
    y = np.arange(3 * MOST).reshape(3, MOST) % 3
  spiking = model.encoder.neuron is not None
  rates = train.Rates(0.7, None, 1e-3 if spiking else None)
  value, gradient = loss_of(model, x, y, lengths, rates)
  alone = []
  for b, length in enumerate(lengths):
    truth = y[b:b + 1, :length] if y.ndim == 2 else y[b:b + 1]
    alone.append(loss_of(model, x[b:b + 1, :length], truth, None, rates))
  mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *alone)
  np.testing.assert_allclose(value, mean[0], rtol=2e-5)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3),
      gradient, mean[1])
  assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('pooling', [('last', 'mean', 'max'), ('each',)])
def test_counts_are_those_without_padding(kind, pooling):
  model, x = network(kind, pooling), batch([5, 5, 5])
  lengths = np.full(3, 5)
  counts = slstm.count_operations(model, x, lengths=lengths, batch_size=2)
  assert_close(counts, slstm.count_operations(model, x[:, :5]))


def assert_close(counts, expected):
  """Equal but for rounding."""
  found, wanted = map(energy.to_dict, (counts, expected))
  pairs = jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted)
  assert len(pairs[0]) == len(pairs[1]) > 40
  for (path, value), other in zip(*pairs):
    assert value == pytest.approx(other, rel=1e-9), path


@pytest.mark.parametrize('kind, pooling', [('lstm', ('last', 'mean', 'max')),
                                           ('lif', ('last',))])
def test_counts_are_the_mean_of_each_alone(kind, pooling):
  """Of operands of which one sequence shows what they are."""
  model, lengths = network(kind, pooling), np.array([7, 5, 6, 7])
  x = batch(lengths)
  counts = slstm.count_operations(model, x, lengths=lengths, batch_size=3)
  # Twice, as less than two spikes of a unit prove nothing.
  alone = [slstm.count_operations(model, np.repeat(x[b:b + 1, :n], 2, 0))
           for b, n in enumerate(lengths)]  # yapf: disable
  compared = 0
  for index in (0, 1):
    found, *each = (of.layers[index] for of in (counts, *alone))
    for part in ('input', 'recurrent', 'elementwise', 'moved'):
      for entry in getattr(found, part)._fields:
        amounts = [getattr(getattr(one, part), entry) for one in each]
        amount = getattr(getattr(found, part), entry)
        assert amount == pytest.approx(np.mean(amounts)), (index, part, entry)
        compared += amount > 0
    over_elements = lambda values: np.sum(lengths * values) / lengths.sum()
    rows = over_elements([one.rows_per_element for one in each])
    assert found.rows_per_element == pytest.approx(rows)
    zeros = over_elements([one.sparsity.h for one in each])
    assert found.sparsity.h == pytest.approx(zeros)
  assert compared > 10


def test_calibration_leaves_padding_out():
  model, lengths = network('lstm', ('mean',)), np.array([7, 3, 1, 6])
  x = batch(lengths)
  found = slstm.calibrate(model, x, lengths=lengths, batch_size=3)
  total = jax.tree.map(np.zeros_like, (found.layers, found.input))
  for b, length in enumerate(lengths):
    # Twice, for there have to be two; one is the fitting half.
    twice = np.repeat(x[b:b + 1, :length], 2, axis=0)
    one = slstm.calibrate(model, twice)
    keep = lambda h, odd=b % 2: h._replace(
        **{'held_out' if not odd else 'fit': 0 * h.fit})
    is_histogram = lambda node: hasattr(node, 'held_out')
    one = jax.tree.map(keep, (one.layers, one.input), is_leaf=is_histogram)
    total = jax.tree.map(np.add, total, one)
  jax.tree.map(np.testing.assert_array_equal, (found.layers, found.input),
               total)  # yapf: disable


def test_statistics_leave_padding_out():
  lengths = np.array([7, 3, 1, 6])
  x = batch(lengths)
  found = slstm.standardising(x, lengths=lengths)
  real = np.concatenate([row[:length] for row, length in zip(x, lengths)])
  np.testing.assert_allclose(found.mean, real.mean(0), rtol=1e-5)
  np.testing.assert_allclose(found.std, real.std(0), rtol=1e-5)


def test_trade_off_and_select_leave_padding_out():
  model, lengths = network('lstm', ('mean',)), np.array([7, 3, 5, 6])
  x, other = batch(lengths), batch(lengths)
  other[other == 1e6] = -3.0
  calibration = slstm.calibrate(model, x, lengths=lengths)
  for run in (lambda x: slstm.trade_off(model, x, lengths=lengths),
              lambda x: slstm.select(model, calibration, x, lengths=lengths,
                                     subsets=[('h',)])):  # yapf: disable
    numbers = lambda found: [
        leaf for point in found for leaf in jax.tree.leaves(
            point._replace(model=None) if hasattr(point, 'model') else point)
    ]
    assert numbers(run(x)) == numbers(run(other))
  points = slstm.trade_off(model, x, lengths=lengths, thetas=(0.25,),
                           levels=(0.5,))  # yapf: disable
  sent = [float(slstm.trade_off(model, x[b:b + 1, :length], thetas=(0.25,),
                                levels=(0.5,))[0].rate)
          for b, length in enumerate(lengths)]  # yapf: disable
  assert points[0].rate == pytest.approx(np.mean(sent), rel=1e-5)


def labelled(examples=64):
  """Each element's label is the sign of the sum of its inputs so far."""
  rng = np.random.default_rng(5)
  lengths = rng.integers(2, MOST + 1, examples)
  x = rng.normal(size=(examples, MOST, 2)).astype(np.float32)
  x[~padding.of_examples(x, lengths)] = 50.0
  y = (np.cumsum(x[..., 0], 1) > 0).astype(np.int32)
  y[~padding.of_examples(x, lengths)] = -1
  return slstm.Data(x, y, lengths)


def test_sequence_labelling_is_learnt_and_judged_on_real_elements():
  data = labelled()
  model = slstm.init(jax.random.key(0), num_features=2, hidden_sizes=(12,),
                     num_outputs=2, config=slstm.Config(pooling=('each',)),
                     encoder=slstm.standardising(data.x, lengths=data.lengths)
                    )  # yapf: disable
  config = slstm.TrainConfig(epochs=25, batch_size=16, learning_rate=2e-2,
                             dropout=0.1)  # yapf: disable
  *_, (state, metrics) = slstm.fit(model, data, data, config=config)
  outputs = slstm.predict(state.best, data.x, data.lengths)
  assert outputs.shape == (64, MOST, 2)
  real = padding.of_examples(data.x, data.lengths)
  right = np.argmax(outputs, -1)[real] == data.y[real]
  assert state.best_metric == pytest.approx(np.mean(right))
  assert metrics['validation_accuracy'] > 0.9
  expected = optax.softmax_cross_entropy_with_integer_labels(
      outputs[real], data.y[real])
  found = slstm.evaluate(state.best, data)
  assert found.loss == pytest.approx(float(np.mean(expected)), rel=1e-5)
  snn = slstm.pick(slstm.trade_off(state.best, data.x, lengths=data.lengths),
                   rate=0.5).model  # yapf: disable
  assert slstm.evaluate(snn, data).metric > 0.85


def test_regression_is_scaled_and_judged_in_its_units():
  rng = np.random.default_rng(6)
  lengths = rng.integers(3, MOST + 1, 96)
  x = rng.normal(size=(96, MOST, 2)).astype(np.float32)
  real = padding.of_examples(x, lengths)[..., None]
  y = 1000 + 200 * np.sum(np.where(real, x, 0), 1)[:, :1]
  data = slstm.Data(x, y.astype(np.float32), lengths)
  task = slstm.regression(data.y)
  model = slstm.init(jax.random.key(0), num_features=2, hidden_sizes=(16,),
                     num_outputs=1, config=slstm.Config(pooling=('last',))
                    )  # yapf: disable
  config = slstm.TrainConfig(epochs=60, batch_size=16, learning_rate=1e-2,
                             label_smoothing=0.0)  # yapf: disable
  *_, (state, metrics) = slstm.fit(model, data, data, config=config, task=task)
  outputs = np.asarray(slstm.predict(state.best, data.x, data.lengths))
  told = outputs * y.std() + y.mean()
  assert state.best_metric == pytest.approx(np.abs(told - y).mean(), rel=1e-4)
  assert metrics['validation_absolute_error'] < 0.3 * y.std()


@pytest.mark.parametrize('lengths, message', [
    ([0, 3], r'is 0 for sequence 0'),
    ([3, 8], r'is 8 for sequence 1 .* expected 1\.\.7'),
    ([3], r'shape \(1,\).*expected integers, \[2\]'),
    ([3.0, 2.0], 'float32; expected integers'),
    ([[3, 2]], r'shape \(1, 2\)'),
])
def test_lengths_that_do_not_fit_are_named(lengths, message):
  model, x = network('lstm', ('mean',)), batch([7, 7])
  lengths = np.asarray(lengths, np.float32 if '3.0' in str(lengths) else int)
  data = slstm.Data(x, np.array([0, 1]), lengths)
  for call in (lambda: slstm.apply(model, x, lengths=lengths),
               lambda: slstm.evaluate(model, data),
               lambda: slstm.calibrate(model, x, lengths=lengths),
               lambda: slstm.trade_off(model, x, lengths=lengths),
               lambda: slstm.count_operations(model, x, lengths=lengths),
               lambda: slstm.standardising(x, lengths=lengths)):
    with pytest.raises(ValueError, match=message):
      call()


def test_labels_of_another_task_are_refused():
  x = batch([7, 7])
  for pooling, y in ((('mean',), np.zeros((2, MOST),
                                          int)), (('each',), np.zeros(2, int))):
    with pytest.raises(ValueError, match='evaluate: data'):
      slstm.evaluate(network('lstm', pooling), slstm.Data(x, y))


def test_padding_that_is_no_number_is_refused_or_ignored():
  model, x, lengths = network('lstm', ('mean',)), batch([3,
                                                         7]), np.array([3, 7])
  expected = slstm.apply(model, x, lengths=lengths).outputs
  x[0, 3:] = np.nan
  with pytest.raises(ValueError, match='data.x of 1 examples is not finite'):
    slstm.evaluate(model, slstm.Data(x, np.array([0, 1]), lengths))
  found = slstm.apply(model, x, lengths=lengths).outputs
  np.testing.assert_array_equal(found, expected)


def test_a_state_is_not_handed_on_from_padding():
  model, x = network('sigma_delta', ('mean',)), batch([7, 7])
  assert slstm.apply(model, x).state is not None
  assert slstm.apply(model, x, lengths=np.array([7, 3])).state is None


@pytest.mark.parametrize(
    'y', [np.ones(
        (4, 1)), np.arange(4.0),
          np.array([[1.0], [np.nan]])])
def test_targets_that_cannot_be_scaled_are_refused(y):
  with pytest.raises(ValueError, match='regression: '):
    slstm.regression(y)


def test_integers_leave_padding_out():
  model, lengths = network('sigma_delta', ('last', 'mean')), np.array([7, 2, 4])
  x = batch(lengths)
  ints = slstm.quantise(model, x, lengths=lengths)
  found = slstm.integer.outputs(ints, x, lengths=lengths)
  for b, length in enumerate(lengths):
    alone = slstm.integer.outputs(ints, x[b:b + 1, :length])
    np.testing.assert_array_equal(found[b], alone[0])
  exact = slstm.predict(model, x, lengths)
  np.testing.assert_allclose(found, exact, atol=0.1 * np.std(exact))


def test_integers_per_element_are_refused():
  with pytest.raises(ValueError, match='one output per element'):
    slstm.quantise(network('lstm', ('each',)), batch([7, 7]))
