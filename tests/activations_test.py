"""Tests of slstm.activations: three families of squashing functions."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from slstm import activations
from slstm import neurons
from slstm import types
from slstm.types import Config
from tests import oracle

SQUASHING = ('i', 'f', 'g', 'o', 'c')
sites = pytest.mark.parametrize('site', SQUASHING)
families = pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
floats = st.floats(-8, 8, width=32)


def squash(site, z, config):
  """The activation as a function of the pre-activation."""
  return activations.squash(site, activations.normalise(site, z, config.slope),
                            config)


@sites
@families
@pytest.mark.parametrize('slope', [0.5, 3.0])
def test_agrees_with_the_oracle(site, family, slope):
  config = Config(family=family, slope=slope, levels=3)
  with jax.enable_x64():
    z = np.linspace(-7, 7, 281)
    d = activations.normalise(site, jnp.asarray(z), slope)
    np.testing.assert_allclose(d,
                               oracle.normalise(site, z, slope),
                               rtol=1e-15,
                               atol=1e-15)
    for f in (activations.squash,
              jax.jit(activations.squash, static_argnums=(0, 2))):
      np.testing.assert_allclose(f(site, d, config),
                                 oracle.activation(site, np.asarray(d), config),
                                 rtol=1e-13,
                                 atol=1e-15)


@pytest.mark.parametrize('slope', [0.5, 3.0])
def test_standard_is_sigmoid_and_tanh_for_any_slope(slope):
  config = Config(family='standard', slope=slope)
  with jax.enable_x64():
    z = jnp.linspace(-5, 5, 41)
    np.testing.assert_allclose(squash('f', z, config),
                               1 / (1 + np.exp(-z)),
                               rtol=1e-13)
    np.testing.assert_allclose(squash('g', z, config), np.tanh(z), rtol=1e-13)


def test_hard_sigmoid_saturates_at_the_slope_and_hard_tanh_at_1():
  config = Config(family='hard', slope=3.0)
  z = jnp.asarray([-3.5, -3.0, -1.5, 0.0, 1.5, 3.0, 3.5])
  np.testing.assert_array_equal(squash('o', z, config),
                                [0, 0, 0.25, 0.5, 0.75, 1, 1])
  z = jnp.asarray([-1.5, -1.0, -0.25, 0.0, 0.25, 1.0, 1.5])
  np.testing.assert_array_equal(squash('c', z, config),
                                [-1, -1, -0.25, 0, 0.25, 1, 1])


@families
def test_site_h_is_the_identity(family):
  d = jnp.asarray([-2.5, 0.3, 1.7])
  assert activations.squash('h', d, Config(family=family)) is d


@families
@given(z=st.lists(floats, min_size=5, max_size=5), levels=st.integers(1, 9))
def test_range_order_and_levels(family, z, levels):
  config = Config(family=family, levels=levels)
  z = jnp.asarray(sorted(z), jnp.float32)
  for site in ('i', 'g'):
    y = np.asarray(squash(site, z, config))
    assert np.all(np.diff(y) >= 0)
    assert y.min() >= (-1 if site == 'g' else 0) and y.max() <= 1
    if family == 'quantised':
      np.testing.assert_allclose(y * levels, np.round(y * levels), atol=1e-5)


@given(d=st.lists(floats, min_size=5, max_size=5), levels=st.integers(1, 9))
def test_quantised_is_within_half_a_level_of_hard(d, levels):
  d = jnp.asarray(d, jnp.float32)
  for site in SQUASHING:
    hard = activations.squash(site, d, Config(family='hard'))
    quantised = activations.squash(site, d,
                                   Config(family='quantised', levels=levels))
    assert np.max(np.abs(hard - quantised)) <= 0.5 / levels + 1e-6


@sites
@pytest.mark.parametrize('num_steps', [1, 2, 4, 8])
def test_quantised_is_the_rate_of_a_neuron(site, num_steps):
  """With Q = T both are one function, but for negative ties.

  There the ternary neuron fires at equality, away from 0; floor rounds up.
  """
  signed = site in types.SIGNED_SITES
  d = jnp.arange(-40, 41) / 32
  config = Config(family='quantised', levels=num_steps)
  rate = neurons.staircase(neurons.integrate_and_fire(signed),
                           d,
                           num_steps=num_steps,
                           signed=signed)
  quantised = activations.squash(site, d, config)
  tie = signed & (num_steps * d % 1 == 0.5) & (d < 0)
  np.testing.assert_array_equal(np.where(tie, 0, rate),
                                np.where(tie, 0, quantised))


@pytest.mark.parametrize('site', ['f', 'g'])
@pytest.mark.parametrize('family', ['standard', 'hard'])
def test_gradient_of_a_smooth_activation(site, family):
  config = Config(family=family)
  with jax.enable_x64():
    # No point within 0.01 of a corner of the clips, at -3, -1, 1 and 3.
    z = jnp.linspace(-4, 4, 27) + 0.02
    check_grads(lambda z: squash(site, z, config), (z,),
                order=1,
                modes=['fwd', 'rev'],
                atol=1e-7,
                rtol=1e-7)


@sites
def test_gradient_of_a_quantised_activation_passes_straight_through(site):
  d = jnp.linspace(-1.6, 1.6, 33) + 0.01
  gradient = lambda config: jax.vmap(
      jax.grad(lambda d: activations.squash(site, d, config)))(d)
  straight = gradient(Config(family='quantised', levels=2))
  np.testing.assert_array_equal(straight, gradient(Config(family='hard')))
  assert set(np.asarray(straight)) == {0.0, 1.0}
