"""Training: loss, optimiser, resuming, and that it learns."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import slstm
from slstm import neurons
from slstm import train
from slstm.tasks import CLASSIFICATION

FAST = slstm.TrainConfig(epochs=4, batch_size=16, learning_rate=1e-2)
TASK = CLASSIFICATION


def toy(examples=96, seed=0):
  """Sequences whose label is the sign of the sum of the first feature."""
  x = np.random.default_rng(seed).normal(size=(examples, 6, 3))
  y = (x[:, :, 0].sum(1) > 0).astype(np.int32)
  return slstm.Data(x.astype(np.float32), y)


def source(key=0, **config):
  return slstm.init(jax.random.key(key),
                    num_features=3,
                    hidden_sizes=(8,),
                    num_outputs=2,
                    config=slstm.Config(**config))


def spiking(sites=('o', 'c'), leak=0.9, **config):
  """An SNN of two steps."""
  model = source(**{'num_steps': 2, **config})
  one = lambda site: neurons.integrate_and_fire(site in 'gch')._replace(
      leak=jnp.float32(leak))
  made = slstm.Sites(**{site: one(site) for site in sites})
  return model.replace(layers=tuple(
      layer._replace(neurons=made) for layer in model.layers))


def sigma_delta():
  """The source with sigma-delta neurons at h and at the input."""
  points = slstm.trade_off(source(), toy(64).x, thetas=(0.1,), levels=(0.5,))
  both, = slstm.trade_off(points[0].model, toy(64).x, place='input',
                          thetas=(0.5,), levels=(0.5,))  # yapf: disable
  return both.model


def all_epochs(model, config=FAST, data=None, **kwargs):
  return list(
      slstm.fit(model, data or toy(), toy(64, 1), config=config, **kwargs))


def moving_of(model, config=FAST, examples=64):
  """What a step moves, in arrays of its own: they are donated."""
  start = slstm.initial_state(model, config, examples)
  return jax.tree.map(jnp.copy, (start.raw, start.average, start.opt_state))


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_cross_entropy_is_the_textbook_formula():
  logits = np.asarray([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  target = 0.7 * np.eye(3)[[0, 2]] + 0.1
  targets = TASK.targets(jnp.asarray([0, 2]), 3, 0.3)
  np.testing.assert_allclose(targets, target, rtol=1e-6)
  np.testing.assert_allclose(TASK.loss(jnp.asarray(logits), targets),
                             -(target * np.log(p)).sum(1),
                             rtol=1e-6)


@pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
def test_source_learns(family):
  config = dataclasses.replace(FAST, epochs=20, learning_rate=2e-2)
  epochs = all_epochs(source(family=family, levels=4), config, data=toy(256))
  assert epochs[-1][0].best_metric > 0.85
  assert epochs[-1][1]['loss'] < 0.75 * epochs[0][1]['loss']


def test_snn_training_moves_every_leaf_but_the_statistics():
  model = spiking()
  (state, _), = all_epochs(model, dataclasses.replace(FAST, epochs=1))
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)),
                       slstm.unconstrain(model), state.raw)
  assert moved.encoder.mean is False and moved.encoder.std is False
  assert all(jax.tree.leaves((moved.layers, moved.readout)))


def test_the_optimiser_never_moves_the_statistics_whatever_their_gradient():
  raw, numbers = source(), FAST.numbers(10)
  optimiser = train.optimiser(numbers, 2)
  updates, _ = optimiser.update(jax.tree.map(jnp.ones_like, raw),
                                optimiser.init(raw), raw)
  for leaf in updates.encoder[:2]:
    np.testing.assert_array_equal(leaf, 0)
  assert all(leaf.any() for leaf in jax.tree.leaves(updates.layers))


def test_neuron_rate_0_trains_the_weights_only():
  model = spiking()
  config = dataclasses.replace(FAST, epochs=1, neuron_rate=0.0)
  (state, _), = all_epochs(model, config)
  raw = slstm.unconstrain(model)
  assert_same(state.raw.layers[0].neurons, raw.layers[0].neurons)
  assert np.any(state.raw.layers[0].u.f != raw.layers[0].u.f)


def test_thresholds_and_leaks_stay_in_range_under_huge_rates():
  wild = dataclasses.replace(FAST, neuron_rate=300.0, clip_norm=100.0)
  for state, _ in all_epochs(spiking(), wild):
    for site in ('o', 'c'):
      neuron = getattr(neurons.constrain(state.raw).layers[0].neurons, site)
      assert 0 < neuron.v_th < np.inf
      assert 0 <= neuron.leak <= 1


def test_rate_penalty_lowers_the_spike_rate():

  def rate(penalty):
    state, _ = all_epochs(spiking(),
                          dataclasses.replace(FAST, rate_penalty=penalty))[-1]
    forward = slstm.apply(neurons.constrain(state.raw),
                          toy(64, 1).x,
                          observe=lambda record: record.state.h != 0)
    return float(jnp.mean(forward.observed[0]))

  assert rate(10.0) < 0.8 * rate(0.0)


def test_a_target_lowers_the_rate_to_it_and_no_further():

  def rate(target):
    config = dataclasses.replace(FAST, epochs=6, rate_target=target)
    state, _ = all_epochs(sigma_delta(), config)[-1]
    forward = slstm.apply(neurons.constrain(state.raw),
                          toy(64, 1).x,
                          observe=lambda record: jnp.abs(record.spikes.h))
    return float(jnp.mean(forward.observed[0]))

  free = rate(None)
  assert rate(1.1 * free) == pytest.approx(free, rel=0.2)
  assert rate(0.5 * free) < 0.75 * free


def test_what_targets_add_to_the_loss():
  model, x = sigma_delta(), jnp.asarray(toy(16).x)
  forward = slstm.apply(model, x, observe=lambda r: jnp.abs(r.spikes.h))
  of_h = float(jnp.mean(forward.observed[0]))
  of_input = float(jnp.mean(jnp.sum(jnp.abs(forward.encoded.spikes), 1)))
  assert of_h > 0 and of_input > 0

  def loss(*rates):
    return float(
        train.loss(slstm.unconstrain(model),
                   x,
                   jnp.full((16, 2), 0.5),
                   None,
                   None,
                   train.Rates(*rates),
                   task=slstm.classification,
                   executor=slstm.stacked))

  plain = loss(None, None, None)
  added = lambda *rates: pytest.approx(loss(*rates) - plain, abs=1e-5)
  assert 1.0 == added(None, of_h / 2, None)
  assert 0.0 == added(None, of_h * 2, None)
  assert 3.0 == added(None, None, of_input / 4)
  assert 0.5 * of_h + 1.0 == added(0.5, of_h / 2, of_input * 2)


@pytest.mark.parametrize('sites', [('o', 'c'), ('h',), ('o', 'h'), ('i',)])
def test_the_penalty_is_on_spikes_whatever_their_amplitude(sites):
  model = neurons.map_neurons(
      lambda neuron: neuron._replace(amplitude=3 * neuron.amplitude),
      spiking(sites))
  x, targets = jnp.asarray(toy(16).x), jnp.full((16, 2), 0.5)

  def loss(penalty):
    return train.loss(slstm.unconstrain(model),
                      x,
                      targets,
                      None,
                      None,
                      train.Rates(penalty, None, None),
                      task=TASK,
                      executor=slstm.stacked)

  h, = slstm.apply(model, x, observe=lambda record: record.state.h).observed
  expected = jnp.mean(jnp.abs(h) if sites == ('i',) else h != 0)
  assert 0 < expected < 1
  np.testing.assert_allclose(loss(2.0) - loss(None), 2 * expected, rtol=1e-4)


@pytest.mark.parametrize('change, message', [
    ({'y': np.full(96, 2, np.int32)}, r'y is in 2\.\.2; expected labels in 0'),
    ({'y': np.zeros(96, np.float32)}, 'y has dtype float32'),
    ({'y': np.zeros((96, 1), np.int32)}, r'and shape \(96, 1\)'),
    ({'y': np.zeros(95, np.int32)}, '96 examples in x and 95 in y'),
    ({'x': np.swapaxes(toy().x, 0, 1)}, '6 examples in x and 96 in y'),
    ({'x': toy().x[:, :, :2]}, r'x has shape \(96, 6, 2\).* D = 3'),
    ({'x': np.zeros((0, 6, 3)), 'y': np.zeros(0)}, r'x has shape \(0, 6, 3\)'),
])  # yapf: disable
def test_sets_that_do_not_fit_are_named(change, message):
  bad = toy()._replace(**change)
  with pytest.raises(ValueError, match='fit: train.*' + message):
    all_epochs(source(), data=bad)
  with pytest.raises(ValueError, match='fit: validation.*' + message):
    next(slstm.fit(source(), toy(), bad))
  with pytest.raises(ValueError, match='evaluate: data.*' + message):
    slstm.evaluate(source(), bad)


def test_distillation_mixes_labels_with_the_probabilities_of_the_teacher():
  config = dataclasses.replace(FAST, distillation=0.25)
  model, teacher = source(), source(1)
  data = toy(16)
  _, loss = train.train_step(moving_of(model, config, 16), data,
                             jax.random.key(0), 1, config.numbers(4), teacher)
  student, taught = (np.asarray(slstm.apply(m, data.x).outputs, np.float64)
                     for m in (model, teacher))
  log_p = student - np.log(np.exp(student).sum(1, keepdims=True))
  softmax = np.exp(taught) / np.exp(taught).sum(1, keepdims=True)
  labels = 0.9 * np.eye(2)[data.y] + 0.1 / 2
  targets = 0.75 * labels + 0.25 * softmax
  assert float(loss) == pytest.approx(-(targets * log_p).sum(1).mean(),
                                      rel=1e-5)


@pytest.mark.parametrize('share, teacher', [(0.5, None), (0.0, source())])
def test_distillation_needs_a_teacher_and_a_teacher_a_share(share, teacher):
  config = dataclasses.replace(FAST, distillation=share)
  with pytest.raises(ValueError, match='expected both or none'):
    all_epochs(source(), config, teacher=teacher)


def test_a_teacher_of_other_classes_is_refused():
  teacher = slstm.init(jax.random.key(0),
                       num_features=3,
                       hidden_sizes=(4,),
                       num_outputs=5)
  with pytest.raises(ValueError, match=r'fit: teacher.* \(5,\).* K = 2'):
    all_epochs(source(),
               dataclasses.replace(FAST, distillation=0.5),
               teacher=teacher)


def noisy(key, x):
  return x + 0.1 * jax.random.normal(key, x.shape)


def test_resuming_from_any_epoch_gives_the_same_bits():
  config = dataclasses.replace(FAST, dropout=0.3)
  whole = all_epochs(source(), config, augment=noisy)
  for state, _ in whole[:-1]:
    *_, (resumed, metrics) = all_epochs(source(),
                                        config,
                                        augment=noisy,
                                        state=state)
    assert_same(resumed, whole[-1][0])
    assert metrics == whole[-1][1]


@pytest.mark.parametrize('other, message', [
    (lambda: source(family='standard'), 'Config'),
    (lambda: spiking(num_steps=1), 'neurons'),
])
def test_a_state_of_another_model_is_refused(other, message):
  state = slstm.initial_state(source(), FAST, 96)
  with pytest.raises(ValueError, match='fit: state.*' + message):
    all_epochs(other(), state=state)


def test_best_is_the_epoch_that_validation_chose():
  epochs = all_epochs(source())
  scores = [metrics['validation_accuracy'] for _, metrics in epochs]
  best = int(np.argmax(scores))
  final = epochs[-1][0]
  assert float(final.best_metric) == pytest.approx(scores[best])
  assert_same(final.best, neurons.constrain(epochs[best][0].average))


def test_average_is_the_recurrence_and_0_turns_it_off():
  plain = all_epochs(source(), dataclasses.replace(FAST, average=0.0))
  assert_same(plain[-1][0].average, plain[-1][0].raw)
  numbers = dataclasses.replace(FAST, average=0.5).numbers(3)
  data = toy(16)
  moving = moving_of(source())
  expected = np.asarray(moving[0].readout.w, np.float64)
  for step in (1, 2, 3):
    moving, _ = train.train_step(moving, data, jax.random.key(0), step, numbers)
    decay = min(0.5, step / (step + 9))
    raw = np.asarray(moving[0].readout.w, np.float64)
    expected = decay * expected + (1 - decay) * raw
  assert np.any(moving[1].readout.w != moving[0].readout.w)
  np.testing.assert_allclose(moving[1].readout.w,
                             expected,
                             rtol=1e-5,
                             atol=1e-7)


@pytest.mark.parametrize('warmup, steps', [(0.1, 50), (0.0, 50), (0.7, 9),
                                           (0.1, 1), (0.5, 2)])
def test_the_rate_is_that_of_optax(warmup, steps):
  config = dataclasses.replace(FAST, learning_rate=0.3, warmup=warmup)
  schedule = optax.warmup_cosine_decay_schedule(0.0, 0.3,
                                                max(1, int(warmup * steps)),
                                                max(2, steps))
  numbers = config.numbers(steps)
  found = [train.rate(step, numbers) for step in range(1, steps + 3)]
  # optax counts from 0.
  expected = [schedule(step) for step in range(steps + 2)]
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


class Traced:
  """Classification that counts how often a training step is traced."""

  def __init__(self):
    self.times = 0
    self.task = TASK._replace(loss=self._loss)

  def _loss(self, outputs, targets):
    self.times += isinstance(outputs, jax.core.Tracer)
    return TASK.loss(outputs, targets)


def test_numbers_are_not_compiled_in():
  config = dataclasses.replace(FAST, epochs=1, dropout=0.2, rate_penalty=0.1)
  traced, losses = Traced(), []
  for change in ({}, {'seed': 1}, {'learning_rate': 3e-2},
                 {'weight_decay': 0.1}, {'neuron_rate': 0.5},
                 {'clip_norm': 0.1}, {'average': 0.5}, {'dropout': 0.5},
                 {'label_smoothing': 0.3}, {'warmup': 0.5},
                 {'rate_penalty': 0.3}, {'epochs': 2}):  # yapf: disable
    (_, metrics), *_ = all_epochs(source(),
                                  dataclasses.replace(config, **change),
                                  task=traced.task)
    losses.append(metrics['loss'])
  assert traced.times == 1
  # neuron_rate means nothing here, and average nothing to the loss.
  assert len(set(losses)) == 10


def test_a_sweep_compiles_its_first_member_only():
  traced = Traced()
  for seed, rate in itertools.product(range(3), (1e-3, 3e-3, 1e-2)):
    config = dataclasses.replace(FAST, epochs=1, learning_rate=rate, seed=seed)
    all_epochs(source(seed), config, task=traced.task)
  assert traced.times == 1


def test_weak_types_are_not_compiled_twice():
  weak = spiking(leak=0.7)
  weak = neurons.map_neurons(
      lambda neuron: neuron._replace(leak=jnp.asarray(0.7)), weak)
  assert weak.layers[0].neurons.o.leak.weak_type
  traced = Traced()
  all_epochs(weak, dataclasses.replace(FAST, epochs=1), task=traced.task)
  assert traced.times == 1


def test_keys_are_used_once(monkeypatch):
  """Of init, the order, augmentation and dropout, under one seed."""
  made = []

  def recorded(function):

    def call(*args, **kwargs):
      keys = function(*args, **kwargs)
      made.extend(map(tuple, jax.random.key_data(keys).reshape(-1, 2).tolist()))
      return keys

    return call

  # A step without what takes long and has no keys.
  monkeypatch.setattr(train, 'loss', lambda raw, *_, **__: raw.readout.w.sum())
  monkeypatch.setattr(train, '_evaluate',
                      lambda *_, **__: train.Evaluation(0.0, 0.0))
  for name in ('split', 'fold_in'):
    monkeypatch.setattr(jax.random, name, recorded(getattr(jax.random, name)))
  with jax.disable_jit():  # so that the keys of a step are seen
    model = slstm.init(jax.random.key(5),
                       num_features=3,
                       hidden_sizes=(2, 2),
                       num_outputs=2)
    of_init = len(made)
    config = dataclasses.replace(FAST, epochs=3, batch_size=1, dropout=0.5)
    config = dataclasses.replace(config, seed=5)
    epochs = all_epochs(model, config, toy(2), augment=noisy)
  assert len(epochs) == 3
  # The root, its two children; a key of each epoch; three of each step.
  assert len(made) - of_init == 3 + 3 + 3 * 6
  assert len(set(made)) == len(made)


def test_evaluate_counts_right_answers_over_uneven_batches():
  model, data = source(), toy(37)
  logits = np.asarray(slstm.apply(model, data.x).outputs)
  found = slstm.evaluate(model, data, batch_size=16)
  assert found.metric == pytest.approx(np.mean(logits.argmax(1) == data.y))
  log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  assert found.loss == pytest.approx(-log_p[np.arange(37), data.y].mean(),
                                     rel=1e-5)


def test_predict_is_apply():
  model, x = spiking(), toy(5).x
  np.testing.assert_allclose(slstm.predict(model, x, executor=slstm.sequential),
                             slstm.apply(model, x).outputs,
                             rtol=1e-5,
                             atol=1e-6)


def test_nan_of_an_augmentation_ends_training_and_names_the_step():
  with pytest.raises(FloatingPointError,
                     match='step 1, epoch 1, is nan; .*augmentation'):
    all_epochs(source(), augment=lambda key, x: np.nan * x)


class _Loss:
  """A loss that tells how many steps were started when it was asked for."""

  def __init__(self, started, asked, value):
    self.step, self.started, self.asked = len(started), started, asked
    self.value = value

  def __float__(self):
    self.asked.append((self.step, len(self.started)))
    return float(self.value)


@pytest.mark.parametrize('bad', [4, 12, 13, 23, None])
def test_losses_are_awaited_late_but_the_first_bad_step_is_named(
    bad, monkeypatch):
  step, started, asked, told = train.train_step, [], [], []

  def watched(*args, **kwargs):
    moving, value = step(*args, **kwargs)
    started.append(value)
    if bad and len(started) >= bad:
      value = np.nan
    return moving, _Loss(started, asked, value)

  monkeypatch.setattr(train, 'train_step', watched)
  run = lambda: all_epochs(source(),
                           dataclasses.replace(FAST, epochs=2, batch_size=8),
                           on_step=lambda *call: told.append(call))
  if bad:
    with pytest.raises(FloatingPointError,
                       match=f'step {bad}, epoch {1 + (bad > 12)}, is nan'):
      run()
  else:
    run()
  # All that are fine are told, in order, as floats, and none was waited for
  # before more were started, or the epoch of 12 steps was at its end.
  count = bad - 1 if bad else 24
  assert told == [(k + 1, float(value)) for k, value in enumerate(started)
                 ][:count]
  for step_asked, number in asked:
    assert number > step_asked + 4 or number % 12 == 0


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
  with pytest.raises(ValueError, match='initial_state.*15.*lower'):
    slstm.initial_state(source(), FAST, 15)


def test_constrain_inverts_unconstrain():
  model = spiking(('i', 'c'), leak=0.3)
  back = neurons.constrain(slstm.unconstrain(model))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), back,
               model)
  analog = slstm.unconstrain(source())
  assert_same(analog, source())
  raw = slstm.unconstrain(neurons.integrate_and_fire(True))
  assert raw.leak is None
