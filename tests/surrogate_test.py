"""Tests of slstm.surrogate: the step forward, a unit-area bump backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import surrogate

# The antiderivative of each surrogate, from 0 to 1: the smooth step whose
# derivative stands in for that of the Heaviside step.
ANTIDERIVATIVES = {
    'triangle':
        lambda x: 0.5 + jnp.clip(x, -1, 1) *
        (1 - jnp.abs(jnp.clip(x, -1, 1)) / 2),
    'fast_sigmoid':
        lambda x: 0.5 + 0.5 * x / (1 + jnp.abs(x)),
    'arctan':
        lambda x: 0.5 + jnp.arctan(jnp.pi * x) / jnp.pi,
    'boxcar':
        lambda x: jnp.clip(x + 0.5, 0, 1),
}
names = pytest.mark.parametrize('name', sorted(surrogate.SURROGATES))


def test_every_surrogate_is_tested():
  assert set(ANTIDERIVATIVES) == set(surrogate.SURROGATES)


@names
def test_forward_is_a_step_that_fires_at_equality(name):
  tiny = np.finfo(np.float32).tiny
  x = jnp.asarray([-np.inf, -1.0, -tiny, -0.0, 0.0, tiny, 1.0, np.inf])
  expected = [0, 0, 0, 1, 1, 1, 1, 1]
  for spike in (surrogate.spike, jax.jit(surrogate.spike, static_argnums=1)):
    np.testing.assert_array_equal(spike(x, name), expected)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'float32'])
def test_spike_and_gradient_keep_the_dtype(dtype):
  x = jnp.asarray([-0.25, 0.0, 0.25], dtype)
  s, vjp = jax.vjp(surrogate.spike, x)
  assert s.dtype == x.dtype
  assert vjp(s)[0].dtype == x.dtype


@names
@pytest.mark.parametrize('width', [0.5, 1.0, 3.0])
def test_gradient_is_that_of_the_antiderivative(name, width):
  with jax.enable_x64():
    # The grid misses the corners of triangle and boxcar, at -1, -1/2, 0, ..
    x = np.linspace(-4, 4, 81) * width + 0.013
    cotangent = np.linspace(1, 2, x.size)
    _, vjp = jax.vjp(lambda x: surrogate.spike(x, name, width), jnp.asarray(x))
    smooth = ANTIDERIVATIVES[name]
    eps = 1e-6
    numerical = (smooth((x + eps) / width) - smooth(
        (x - eps) / width)) / (2 * eps)
    np.testing.assert_allclose(vjp(jnp.asarray(cotangent))[0],
                               cotangent * numerical,
                               rtol=0,
                               atol=1e-8)


@names
@pytest.mark.parametrize('width', [0.5, 2.0])
def test_gradient_of_the_threshold_is_that_of_the_antiderivative(name, width):
  with jax.enable_x64():
    x = jnp.linspace(-4, 4, 81) * width + 0.013
    v_th, eps = np.linspace(0.5, 1.5, x.size) * 1.0003, 1e-7
    _, vjp = jax.vjp(lambda v: surrogate.spike(x, name, width, v),
                     jnp.asarray(v_th))
    smooth = lambda v: ANTIDERIVATIVES[name](x / v / width)
    numerical = (smooth(v_th + eps) - smooth(v_th - eps)) / (2 * eps)
    np.testing.assert_allclose(vjp(jnp.ones_like(x))[0],
                               numerical,
                               rtol=0,
                               atol=1e-6)


def test_gradient_of_a_threshold_for_all_is_the_sum():
  x, v_th = jnp.linspace(-1, 1, 12).reshape(3, 4), jnp.full((3, 4), 0.7)
  gradient = jax.grad(lambda v: surrogate.spike(x, v_th=v).sum())
  for shape, axes in (((), None), ((4,), 0)):
    np.testing.assert_allclose(gradient(jnp.full(shape, 0.7)),
                               gradient(v_th).sum(axes),
                               rtol=1e-6)


@names
def test_surrogate_is_even_has_unit_area_and_its_maximum_at_0(name):
  psi = surrogate.SURROGATES[name]
  with jax.enable_x64():
    x = jnp.linspace(0, 200, 200001)
    right = np.asarray(psi(x))
    np.testing.assert_array_equal(right, psi(-x))
    assert np.all(np.diff(right) <= 0)
    tail = 1 - ANTIDERIVATIVES[name](200.0)
    area = np.trapezoid(right, np.asarray(x)) + tail
    assert abs(area - 0.5) < 1e-3


def test_spike_refuses_bad_names_and_widths():
  for differentiate in (lambda f: f, jax.grad):
    with pytest.raises(ValueError, match="surrogate is 'square'"):
      differentiate(lambda x: surrogate.spike(x, 'square'))(1.0)
    with pytest.raises(ValueError, match='width is 0.0'):
      differentiate(lambda x: surrogate.spike(x, 'triangle', 0.0))(1.0)
