"""Data parallelism: devices that share a batch compute what one does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import executor as executor_lib
from slstm import neurons
from slstm import objective
from slstm import parallel
from slstm import train
from slstm.types import Config, Sites
from tests import networks
from tests import train_test


def noisy(key, x):
  return x + 0.1 * jax.random.normal(key, x.shape)


@pytest.mark.parametrize('spiking', [False, True])
def test_a_training_on_two_devices_is_that_on_one(spiking):
  params, config = train_test.source(), train_test.CONFIG
  recipe = dataclasses.replace(train_test.FAST, epochs=2, dropout=0.2)
  teacher = None
  if spiking:
    teacher = train.Teacher(params, config)
    recipe = dataclasses.replace(recipe, distillation=0.5)
    config = dataclasses.replace(config, num_steps=2)
    made = Sites(o=neurons.integrate_and_fire(False),
                 c=neurons.integrate_and_fire(True))
    params = params._replace(layers=tuple(
        layer._replace(neurons=made) for layer in params.layers))
  one, two = (train_test.all_epochs(params,
                                    config,
                                    recipe,
                                    augment=noisy,
                                    teacher=teacher,
                                    devices=jax.devices()[:count])
              for count in (1, 2))
  for (state, metrics), (other_state, other_metrics) in zip(one, two):
    assert metrics == pytest.approx(other_metrics, rel=1e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        state.raw, other_state.raw)


def spiking():
  """An LSTM, and it with neurons at o and c for T = 2."""
  params = train_test.source()
  made = Sites(o=neurons.integrate_and_fire(False),
               c=neurons.integrate_and_fire(True))
  layers = tuple(layer._replace(neurons=made) for layer in params.layers)
  config = dataclasses.replace(train_test.CONFIG, num_steps=2)
  return params, params._replace(layers=layers), config


@pytest.mark.parametrize('executor', sorted(executor_lib.EXECUTORS))
def test_no_device_gathers_the_batch(executor):
  lstm, params, config = spiking()
  recipe = dataclasses.replace(train_test.FAST,
                               executor=executor,
                               dropout=0.2,
                               distillation=0.5)
  place = parallel.placement(16)
  state = train.initial_state(params, recipe, 16)
  moving = place.everywhere((state.raw, state.average, state.opt_state))
  data = train_test.toy(16)
  batch = (place.split(np.swapaxes(data.x, 0, 1), 1), place.split(data.y, 0))
  key, step, teacher = place.everywhere(
      (jax.random.key(0), jnp.asarray(1), lstm))
  compiled = [
      train.train_step.lower(moving, batch, key, step, config, recipe, 1, place,
                             None, teacher, train_test.CONFIG),
      train.predict.lower(place.everywhere(params), batch[0], config, executor)
  ]
  trained, inference = (lowered.compile().as_text() for lowered in compiled)
  assert 'all-reduce' in trained  # of the gradients
  for text in trained, inference:
    assert 'all-gather' not in text and 'all-to-all' not in text


@pytest.mark.parametrize('coupling', ['step', 'shared'])
def test_the_gradient_of_two_devices_is_that_of_one(coupling):
  _, params, config = spiking()
  config = dataclasses.replace(config, coupling=coupling)
  recipe = dataclasses.replace(train_test.FAST, rate_penalty=0.5)
  raw, data, place = train.unconstrain(params), train_test.toy(
      16), parallel.placement(16)
  arguments = (raw, jnp.asarray(np.swapaxes(data.x, 0, 1)),
               objective.smoothed(jnp.asarray(data.y), 2, 0.1),
               objective.dropout_mask(jax.random.key(0), raw, 16, 0.25))
  descend = jax.value_and_grad(
      lambda *given: objective.loss(*given, config, recipe))
  whole = jax.jit(descend)(*arguments)
  shared = jax.jit(place.mean(descend, (None, 1, 0, 0)))(*arguments)
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
  assert parallel.Placement(None).mean(means, (None, 1, 0)) is means


@pytest.mark.parametrize('executor', sorted(executor_lib.EXECUTORS))
def test_spikes_are_those_of_one_device_bit_by_bit(executor):
  rng = np.random.default_rng(0)
  layers = networks.dyadic_layers(rng, ('ifgoc', 'oc'))
  x = networks.dyadic_input(rng, 5, 4)[:, None]
  config = Config('hard', 0.5, num_steps=3)
  run = jax.jit(executor_lib.run, static_argnums=(2, 3))
  place = parallel.placement(4)
  whole = run(layers, x, config, executor)
  shared = run(place.everywhere(layers), place.split(x, 2), config, executor)
  assert shared.h.sharding.device_set == set(jax.devices())
  jax.tree.map(np.testing.assert_array_equal, shared, whole)


def test_an_odd_set_is_evaluated_on_all_devices():
  params, data = train_test.source(), train_test.toy(37)
  whole = train.evaluate(params, data, train_test.CONFIG, batch_size=37)
  parts = train.evaluate(params, data, train_test.CONFIG, batch_size=16)
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
