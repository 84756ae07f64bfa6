"""Data parallelism: devices that share a batch compute what one does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm
from slstm import parallel
from slstm import scan
from slstm import train
from slstm.model import EXECUTORS
from tests import networks
from tests import train_test

executors = pytest.mark.parametrize('executor',
                                    [EXECUTORS[name] for name in EXECUTORS],
                                    ids=list(EXECUTORS))


@pytest.mark.parametrize('is_spiking', [False, True])
def test_a_training_on_two_devices_is_that_on_one(is_spiking):
  model, teacher = train_test.source(), None
  config = dataclasses.replace(train_test.FAST, epochs=2, dropout=0.2)
  if is_spiking:
    teacher, model = model, train_test.spiking()
    config = dataclasses.replace(config, distillation=0.5)
  one, two = (train_test.all_epochs(model,
                                    config,
                                    augment=train_test.noisy,
                                    teacher=teacher,
                                    devices=jax.devices()[:count])
              for count in (1, 2))
  for (state, metrics), (other_state, other_metrics) in zip(one, two):
    assert metrics == pytest.approx(other_metrics, rel=1e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        state.raw, other_state.raw)


@executors
def test_no_device_gathers_the_batch(executor):
  model, lstm = train_test.spiking(), train_test.source()
  config = dataclasses.replace(train_test.FAST, dropout=0.2, distillation=0.5)
  place = parallel.placement(16)
  moving = place.everywhere(train_test.moving_of(model, config))
  batch = place.split(tuple(train_test.toy(16)))
  key, numbers, teacher, model = place.everywhere(
      (jax.random.key(0), jax.tree.map(jnp.asarray,
                                       config.numbers(4)), lstm, model))
  compiled = [
      train.train_step.lower(moving,
                             batch,
                             key,
                             1,
                             numbers,
                             teacher,
                             executor=executor,
                             place=place),
      train.compiled_predict.lower(model, batch[0], executor=executor)
  ]
  trained, inference = (lowered.compile().as_text() for lowered in compiled)
  assert 'all-reduce' in trained  # of the gradients
  for text in trained, inference:
    assert 'all-gather' not in text and 'all-to-all' not in text


@pytest.mark.parametrize('coupling', ['step', 'shared'])
def test_the_gradient_of_two_devices_is_that_of_one(coupling):
  raw = slstm.unconstrain(train_test.spiking(coupling=coupling))
  data, place = train_test.toy(16), parallel.placement(16)
  mask = jax.random.bernoulli(jax.random.key(0), 0.75, (16, 8)) / 0.75
  arguments = (raw, jnp.asarray(data.x),
               train_test.TASK.targets(jnp.asarray(data.y), 2, 0.1), None, mask,
               train.Rates(0.5, None, None))
  descend = jax.value_and_grad(lambda *given: train.loss(
      *given, task=train_test.TASK, executor=scan.stacked))
  whole = jax.jit(descend)(*arguments)
  shared = jax.jit(place.mean(descend, (None, 0, 0, 0, 0, None)))(*arguments)
  assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(whole)) > .1
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
      shared, whole)


def test_a_mean_over_the_batch_is_that_of_the_means_of_its_parts():
  place = parallel.placement(6)
  x, y = np.arange(12.0).reshape(2, 6), np.arange(6.0)

  def means(scale, x, y):
    assert x.shape == (2, 3) and y.shape == (3,)
    return scale * x.mean(1), (y**2).mean()

  along, squares = jax.jit(place.mean(means, (None, 1, 0)))(2.0, x, y)
  np.testing.assert_allclose(along, 2 * x.mean(1))
  np.testing.assert_allclose(squares, (y**2).mean())
  assert parallel.Placement().mean(means, (None, 1, 0)) is means


@executors
def test_spikes_are_those_of_one_device_bit_by_bit(executor):
  rng = np.random.default_rng(0)
  layers = networks.dyadic_layers(rng, ('ifgoc', 'oc'))
  model = slstm.init(jax.random.key(0),
                     num_features=networks.FEATURES,
                     hidden_sizes=(networks.HIDDEN,) * 2,
                     num_outputs=2,
                     config=slstm.Config(slope=0.5, num_steps=3))
  model = model.replace(layers=layers)
  x = networks.dyadic_input(rng, 4, 5)

  @jax.jit
  def run(model, x):
    forward = slstm.apply(model,
                          x,
                          executor=executor,
                          observe=lambda record: record.spikes)
    return forward.observed, forward.state

  place = parallel.placement(4)
  whole = run(model, x)
  shared = run(place.everywhere(model), place.split(x))
  assert whole[0][1].c.any()
  assert shared[0][1].c.sharding.device_set == set(jax.devices())
  jax.tree.map(np.testing.assert_array_equal, shared, whole)


def test_an_odd_set_is_evaluated_on_all_devices():
  model, data = train_test.source(), train_test.toy(37)
  whole = slstm.evaluate(model, data, batch_size=37)
  parts = slstm.evaluate(model, data, batch_size=16)
  assert parts == pytest.approx(whole, rel=1e-5)


def test_a_batch_is_split_and_parameters_are_everywhere():
  devices = jax.devices()
  assert len(devices) == 2, 'tests/conftest.py asks for two'
  place = parallel.placement(6)
  x = place.split(jnp.arange(12.0).reshape(2, 6), 1)
  for shard, expected in zip(x.addressable_shards, ([0, 1, 2], [3, 4, 5])):
    np.testing.assert_array_equal(shard.data[0], expected)
  tree = place.everywhere({'a': jnp.ones(3)})
  assert tree['a'].sharding.is_fully_replicated
  assert tree['a'].devices() == set(devices)


def test_as_many_devices_as_divide_the_batch():
  x = np.ones((2, 7))
  assert parallel.placement(7).split(x, 1) is x
  named = parallel.placement(7, jax.devices()[1:]).split(x, 1)
  assert named.devices() == {jax.devices()[1]}
  three = [jax.devices()[0]] * 3  # of which two divide it
  assert parallel.placement(64, three).mesh.size == 2
  with pytest.raises(ValueError, match='devices is empty'):
    parallel.placement(6, [])


def test_what_a_training_yields_is_on_one_device():
  state, _ = train_test.all_epochs(train_test.source())[-1]
  for leaf in jax.tree.leaves(state):
    assert len(leaf.devices()) == 1
