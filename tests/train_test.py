"""Training: loss, optimiser, resuming, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm
from slstm import neurons
from slstm import objective
from slstm import parallel
from slstm import train

CONFIG = slstm.Config(pooling=('last',))
FAST = slstm.TrainConfig(epochs=4, batch_size=16, learning_rate=1e-2)


def toy(examples=96, seed=0):
  """Sequences whose label is the sign of the sum of the first feature."""
  x = np.random.default_rng(seed).normal(size=(examples, 6, 3))
  y = (x[:, :, 0].sum(1) > 0).astype(np.int32)
  return slstm.Data(x.astype(np.float32), y)


def source(key=0):
  return slstm.init(jax.random.key(key), 3, (8,), 2, CONFIG)


def spiking(params, sites=('o', 'c'), leak=0.9):
  signed = {'g', 'c', 'h'}
  one = lambda site: slstm.integrate_and_fire(site in signed)._replace(
      leak=jnp.asarray(leak))
  made = slstm.Sites(**{site: one(site) for site in sites})
  return params._replace(layers=tuple(
      layer._replace(neurons=made) for layer in params.layers))


def all_epochs(params, config=CONFIG, train_config=FAST, data=None, **kwargs):
  data = data or toy()
  start = train.initial_state(params, train_config, len(data.y))
  return list(train.fit(start, data, toy(64, 1), config, train_config,
                        **kwargs))


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_cross_entropy_is_the_textbook_formula():
  logits = np.asarray([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
  labels = np.asarray([0, 2])
  smoothing = 0.3
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  target = 0.7 * np.eye(3)[labels] + 0.1
  expected = -(target * np.log(p)).sum(1)
  np.testing.assert_allclose(objective.cross_entropy(jnp.asarray(logits),
                                                     jnp.asarray(labels),
                                                     smoothing),
                             expected,
                             rtol=1e-6)


@pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
def test_source_learns(family):
  config = dataclasses.replace(CONFIG, family=family, levels=4)
  epochs = all_epochs(source(),
                      config,
                      slstm.TrainConfig(epochs=20,
                                        batch_size=16,
                                        learning_rate=2e-2),
                      data=toy(256))
  assert epochs[-1][0].best_accuracy > 0.85
  assert epochs[-1][1]['loss'] < 0.75 * epochs[0][1]['loss']


def test_snn_training_moves_every_leaf_but_the_statistics():
  params = spiking(source())
  config = dataclasses.replace(CONFIG, num_steps=2)
  (state, _), = all_epochs(params, config, dataclasses.replace(FAST, epochs=1))
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)),
                       train.unconstrain(params), state.raw)
  assert moved.encoder.mean is False and moved.encoder.std is False
  assert all(jax.tree.leaves((moved.layers, moved.readout)))


def test_neuron_rate_0_trains_the_weights_only():
  params = spiking(source())
  config = dataclasses.replace(CONFIG, num_steps=2)
  (state, _), = all_epochs(params, config,
                           dataclasses.replace(FAST, epochs=1, neuron_rate=0.0))
  raw = train.unconstrain(params)
  assert_same(state.raw.layers[0].neurons, raw.layers[0].neurons)
  assert np.any(state.raw.layers[0].u.f != raw.layers[0].u.f)


def test_thresholds_and_leaks_stay_in_range_under_huge_rates():
  params = spiking(source())
  config = dataclasses.replace(CONFIG, num_steps=2)
  wild = dataclasses.replace(FAST, neuron_rate=300.0, clip_norm=100.0)
  for state, _ in all_epochs(params, config, wild):
    for site in ('o', 'c'):
      neuron = getattr(train.constrain(state.raw).layers[0].neurons, site)
      assert 0 < neuron.v_th < np.inf
      assert 0 <= neuron.leak <= 1


def test_rate_penalty_lowers_the_spike_rate():

  def rate(penalty):
    config = dataclasses.replace(CONFIG, num_steps=2)
    state, _ = all_epochs(spiking(source()), config,
                          dataclasses.replace(FAST, rate_penalty=penalty))[-1]
    x = np.swapaxes(toy(64, 1).x, 0, 1)
    spikes = slstm.apply(train.constrain(state.raw),
                         x,
                         config,
                         observe=lambda record: record.state.h != 0)
    return float(jnp.mean(spikes.observed[0]))

  assert rate(10.0) < 0.8 * rate(0.0)


@pytest.mark.parametrize('sites', [('o', 'c'), ('h',), ('o', 'h'), ('i',)])
def test_the_penalty_is_on_spikes_whatever_their_amplitude(sites):
  params = spiking(source(), sites)
  params = jax.tree.map(lambda node: node._replace(amplitude=3 * node.amplitude)
                        if isinstance(node, slstm.Neuron) else node,
                        params,
                        is_leaf=lambda node: isinstance(node, slstm.Neuron))
  config = dataclasses.replace(CONFIG, num_steps=2)
  x = jnp.asarray(np.swapaxes(toy(16).x, 0, 1))
  targets = jnp.full((16, 2), 0.5)

  def loss(penalty):
    return objective.loss(train.unconstrain(params), x, targets, None, config,
                          dataclasses.replace(FAST, rate_penalty=penalty))

  h, = slstm.apply(params, x, config, observe=lambda r: r.state.h).observed
  expected = jnp.mean(jnp.abs(h) if sites == ('i',) else h != 0)
  assert 0 < expected < 1
  np.testing.assert_allclose(loss(2.0) - loss(0.0), 2 * expected, rtol=1e-4)


@pytest.mark.parametrize('change, message', [
    ({'y': np.full(96, 2, np.int32)}, r'y is in 2\.\.2; expected labels in 0'),
    ({'y': np.zeros(96, np.float32)}, 'y has dtype float32'),
    ({'y': np.zeros(95, np.int32)}, r'x \(96, 6, 3\) and y \(95,\)'),
    ({'x': np.swapaxes(toy().x, 0, 1)}, r'x \(6, 96, 3\) and y \(96,\)'),
])  # yapf: disable
def test_sets_that_do_not_fit_are_named(change, message):
  bad = toy()._replace(**change)
  with pytest.raises(ValueError,
                     match='fit: train has.*' if 'x' in change else message):
    all_epochs(source(), data=bad)
  with pytest.raises(ValueError, match=message):
    train.evaluate(source(), bad, CONFIG)


def test_distillation_mixes_labels_with_the_probabilities_of_the_teacher():
  config = dataclasses.replace(FAST, distillation=0.25)
  params, teacher = source(), train.Teacher(source(1), CONFIG)
  data = toy(16)
  x = np.swapaxes(data.x, 0, 1)
  start = train.initial_state(params, config, 16)
  moving = jax.tree.map(jnp.copy, (start.raw, start.average, start.opt_state))
  _, loss = train.train_step(moving, (x, data.y), jax.random.key(0),
                             jnp.asarray(1), CONFIG, config, 4,
                             parallel.Placement(None), None, *teacher)
  student, taught = (np.asarray(slstm.apply(p, x, CONFIG).logits, np.float64)
                     for p in (params, teacher.params))
  log_p = student - np.log(np.exp(student).sum(1, keepdims=True))
  softmax = np.exp(taught) / np.exp(taught).sum(1, keepdims=True)
  labels = 0.9 * np.eye(2)[data.y] + 0.1 / 2
  targets = 0.75 * labels + 0.25 * softmax
  assert float(loss) == pytest.approx(-(targets * log_p).sum(1).mean(),
                                      rel=1e-5)


@pytest.mark.parametrize('share, teacher',
                         [(0.5, None), (0.0, train.Teacher(source(), CONFIG))])
def test_distillation_needs_a_teacher_and_a_teacher_a_share(share, teacher):
  config = dataclasses.replace(FAST, distillation=share)
  with pytest.raises(ValueError, match='expected both or none'):
    all_epochs(source(), train_config=config, teacher=teacher)


def test_a_step_with_distillation_needs_a_teacher():
  config = dataclasses.replace(FAST, distillation=0.5)
  state = train.initial_state(source(), config, 64)
  with pytest.raises(ValueError, match='distillation is 0.5 without a teacher'):
    train.train_step((state.raw, state.average, state.opt_state),
                     (np.swapaxes(toy().x[:64], 0, 1), toy().y[:64]),
                     jax.random.key(0), 1, CONFIG, config, 1)


def test_resuming_from_any_epoch_gives_the_same_bits():
  config = dataclasses.replace(FAST, dropout=0.3)
  noise = lambda key, x: x + 0.1 * jax.random.normal(key, x.shape)
  whole = all_epochs(source(), train_config=config, augment=noise)
  for state, _ in whole[:-1]:
    *_, (resumed, metrics) = train.fit(state, toy(), toy(64, 1), CONFIG, config,
                                       noise)
    assert_same(resumed, whole[-1][0])
    assert metrics == whole[-1][1]


def test_best_is_the_epoch_that_validation_chose():
  epochs = all_epochs(source())
  scores = [metrics['validation_accuracy'] for _, metrics in epochs]
  best = int(np.argmax(scores))
  final = epochs[-1][0]
  assert float(final.best_accuracy) == pytest.approx(scores[best])
  assert_same(final.best, train.constrain(epochs[best][0].average))


def test_average_is_the_recurrence_and_0_turns_it_off():
  plain = all_epochs(source(),
                     train_config=dataclasses.replace(FAST, average=0.0))
  assert_same(plain[-1][0].average, plain[-1][0].raw)
  config = dataclasses.replace(FAST, epochs=1, average=0.5)
  data = toy(48)
  start = train.initial_state(source(), config, 48)
  raws = []
  moving = jax.tree.map(jnp.copy, (start.raw, start.average, start.opt_state))
  x = np.swapaxes(data.x[:16], 0, 1)
  expected = np.asarray(start.raw.readout.w, np.float64)
  for step in (1, 2, 3):
    moving, _ = train.train_step(moving, (x, data.y[:16]), jax.random.key(0),
                                 jnp.asarray(step), CONFIG, config, 3)
    raws.append(np.asarray(moving[0].readout.w, np.float64))
    decay = min(0.5, step / (step + 9))
    expected = decay * expected + (1 - decay) * raws[-1]
  np.testing.assert_allclose(moving[1].readout.w,
                             expected,
                             rtol=1e-5,
                             atol=1e-7)


def test_evaluate_counts_right_answers_over_uneven_batches():
  params = source()
  data = toy(37)
  logits = np.asarray(
      slstm.apply(params, np.swapaxes(data.x, 0, 1), CONFIG).logits)
  expected = np.mean(logits.argmax(1) == data.y)
  accuracy, loss = slstm.evaluate(params, data, CONFIG, batch_size=16)
  assert accuracy == pytest.approx(expected)
  log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  assert loss == pytest.approx(-log_p[np.arange(37), data.y].mean(), rel=1e-5)


def test_nan_ends_training_and_names_the_step():
  data = toy()
  data.x[:] = np.nan
  with pytest.raises(FloatingPointError, match='step 1 '):
    all_epochs(source(), data=data)


@pytest.mark.parametrize('field, value', [
    ('epochs', 0),
    ('batch_size', 0),
    ('learning_rate', 0.0),
    ('clip_norm', float('nan')),
    ('neuron_rate', -1.0),
    ('dropout', 1.0),
    ('label_smoothing', -0.1),
    ('distillation', 1.1),
    ('average', 1.0),
])
def test_bad_config_is_named(field, value):
  with pytest.raises(ValueError, match=f'TrainConfig.{field}'):
    slstm.TrainConfig(**{field: value})


def test_too_few_examples_for_a_batch():
  with pytest.raises(ValueError, match='lower batch_size'):
    train.initial_state(source(), FAST, 15)
  with pytest.raises(ValueError, match='no examples'):
    slstm.evaluate(source(), slstm.Data(np.zeros((0, 6, 3)), np.zeros(0)),
                   CONFIG)


def test_constrain_inverts_unconstrain():
  params = spiking(source(), ('i', 'c'), leak=0.3)
  back = train.constrain(train.unconstrain(params))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), back,
               params)
  analog = train.unconstrain(source())
  assert_same(analog, source())
  assert neurons.unconstrain(slstm.integrate_and_fire(True)).leak is None
