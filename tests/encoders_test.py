"""Tests of slstm.encoders: standardisation, direct and spiking encoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import encoders
from slstm import neurons
from slstm.types import Config, Encoder
from tests import networks
from tests import oracle

D = networks.FEATURES


def dyadic_encoder(rng, shape=(D,)):
  return Encoder(mean=networks.grid(rng, (D,), 4, 0.25),
                 std=networks.choose(rng, (D,), (0.5, 1.0, 2.0)),
                 neuron=networks.dyadic_neuron(rng, True, shape))


def test_identity_leaves_the_input():
  x = networks.dyadic_input(np.random.default_rng(0), 4, 2)
  encoded = encoders.encode(encoders.identity(D), x, Config(num_steps=3))
  np.testing.assert_array_equal(encoded, x[:, None])


@pytest.mark.parametrize('axes', [(500,), (50, 10)])
def test_standardising_gives_mean_0_and_std_1(axes):
  rng = np.random.default_rng(0)
  x = rng.normal([1, -20, 300], [1, 0.1, 50], (*axes, 3)).astype(np.float32)
  encoder = encoders.standardising(x)
  assert encoder.neuron is None
  np.testing.assert_allclose(encoder.mean, x.reshape(-1, 3).mean(0), rtol=1e-4)
  np.testing.assert_allclose(encoder.std, x.reshape(-1, 3).std(0), rtol=1e-4)
  y = encoders.encode(encoder, jnp.asarray(x.reshape(50, 10, 3)), Config())
  np.testing.assert_allclose(np.mean(y, (0, 1, 2)), 0, atol=2e-3)
  np.testing.assert_allclose(np.std(y, (0, 1, 2)), 1, atol=1e-3)


def test_shared_scale_divides_all_features_by_one_number():
  x = np.random.default_rng(0).normal(size=(500, 3)) * [0.01, 1.0, 5.0]
  encoder = encoders.standardising(jnp.asarray(x, jnp.float32), True)
  rms = np.sqrt(np.mean(np.var(x, 0)))
  np.testing.assert_allclose(encoder.std, [rms] * 3, rtol=1e-4)
  flat = encoders.standardising(jnp.ones((5, 2)), shared_scale=True)
  np.testing.assert_array_equal(flat.std, 1.0)


def test_standardising_integers_is_not_integer_arithmetic():
  x = jnp.asarray([[0], [255], [0], [255]], jnp.uint8)
  encoder = encoders.standardising(x)
  np.testing.assert_array_equal([encoder.mean[0], encoder.std[0]], [127.5] * 2)


@pytest.mark.parametrize('value', [0.0, 0.1])
def test_a_constant_feature_keeps_std_1(value):
  encoder = encoders.standardising(np.full((1000, 1), value, np.float32))
  np.testing.assert_array_equal(encoder.std, [1])


@pytest.mark.parametrize('coupling', ['step', 'shared', 'rate'])
@pytest.mark.parametrize('num_steps', [1, 2, 7])
@pytest.mark.parametrize('shape', [(), (D,)], ids=['a layer', 'a feature'])
def test_spiking_encoding_agrees_with_the_oracle(coupling, num_steps, shape):
  rng = np.random.default_rng(0)
  encoder = dyadic_encoder(rng, shape)
  x = networks.grid(rng, (4, 2, D), 16, 0.125)
  config = Config(num_steps=num_steps, coupling=coupling)
  expected = oracle.encode(encoder, x, config, np.float32)
  for encode in (encoders.encode, jax.jit(encoders.encode, static_argnums=2)):
    y = encode(encoder, x, config)
    assert y.shape == (4, num_steps if coupling == 'step' else 1, 2, D)
    if coupling == 'step':
      np.testing.assert_array_equal(y, expected)
      spikes = np.asarray(y) / np.asarray(encoder.neuron.amplitude)
      assert set(np.unique(spikes)) <= {-1.0, 0.0, 1.0}
    else:
      np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize('coupling', ['step', 'shared', 'rate'])
@pytest.mark.parametrize('encoder_steps', [1, 3])
def test_all_steps_share_what_encoder_steps_add_up_to(coupling, encoder_steps):
  rng = np.random.default_rng(0)
  encoder = dyadic_encoder(rng)
  x = networks.grid(rng, (4, 2, D), 16, 0.125)
  config = Config(num_steps=2, encoder_steps=encoder_steps, coupling=coupling)
  y = encoders.encode(encoder, x, config)
  assert y.shape == (4, 1, 2, D)
  expected = oracle.encode(encoder, x, Config(num_steps=encoder_steps),
                           np.float32)
  np.testing.assert_allclose(y, expected.mean(1, keepdims=True), rtol=1e-6)
  np.testing.assert_array_equal(encoders.spikes(encoder, x, config), expected)


def test_the_mean_of_the_spikes_is_the_rate():
  rng = np.random.default_rng(0)
  encoder = dyadic_encoder(rng)
  x = networks.grid(rng, (4, 2, D), 16, 0.125)
  step = encoders.encode(encoder, x, Config(num_steps=4))
  rate = encoders.encode(encoder, x, Config(num_steps=4, coupling='rate'))
  np.testing.assert_array_equal(step.mean(axis=1, keepdims=True), rate)


def test_spikes_of_the_optimal_if_are_within_half_a_step_of_the_input():
  encoder = encoders.identity(1)._replace(
      neuron=neurons.integrate_and_fire(True))
  x = jnp.linspace(-1.2, 1.2, 241).reshape(-1, 1, 1)
  for num_steps in (1, 4, 16):
    y = encoders.encode(encoder, x, Config(num_steps=num_steps)).mean(axis=1)
    error = np.abs(y - np.clip(x, -1, 1)).max()
    assert error <= 0.5 / num_steps + 1e-5


def test_statistics_are_data_and_neurons_are_trained():
  rng = np.random.default_rng(0)
  encoder = dyadic_encoder(rng)
  x = networks.grid(rng, (4, 2, D), 16, 0.125)
  gradient = jax.grad(lambda encoder: jnp.sum(
      jnp.square(encoders.encode(encoder, x, Config(num_steps=3)))))(encoder)
  assert not jnp.any(gradient.mean) and not jnp.any(gradient.std)
  for name, leaf in gradient.neuron._asdict().items():
    assert jnp.any(leaf != 0), name


@pytest.mark.parametrize('shape', [(4, D), (4, 2, D + 1), (1, 4, 2, D)])
def test_an_input_of_another_shape_is_refused(shape):
  with pytest.raises(ValueError, match=r'encode: x has shape .* \[N, B, D\]'):
    encoders.encode(encoders.identity(D), jnp.zeros(shape), Config())


def test_leaves_of_another_size_are_refused():
  encoder = dyadic_encoder(np.random.default_rng(0))
  wrong = jnp.ones((D + 1,))
  x = jnp.zeros((4, 2, D))
  for bad in (encoder._replace(std=wrong),
              encoder._replace(neuron=encoder.neuron._replace(v_th=wrong))):
    with pytest.raises(ValueError, match=rf'shape \({D + 1},\)'):
      encoders.encode(bad, x, Config(num_steps=2))
