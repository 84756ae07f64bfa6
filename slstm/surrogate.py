"""The spike and its surrogate gradients.

  forward   s = 1[x >= 0]           (fires at equality)
  backward  ds/dy := psi(y / width) / width     y = x / v_th

Each psi is even, has unit area and its maximum at 0, so that `width` alone
sets how far from threshold a neuron still learns.

Sources: Bellec et al. 2018 (triangle); Zenke & Ganguli 2018 (fast sigmoid);
Fang et al. 2021 (arctan); Wu et al. 2018 (boxcar). All scaled to unit area.
"""

import functools

import jax
import jax.numpy as jnp

from slstm import types
from slstm.types import Array

SURROGATES = {
    'triangle': lambda x: jnp.maximum(0.0, 1.0 - jnp.abs(x)),
    'fast_sigmoid': lambda x: 0.5 / jnp.square(1.0 + jnp.abs(x)),
    'arctan': lambda x: 1.0 / (1.0 + jnp.square(jnp.pi * x)),
    'boxcar': lambda x: jnp.where(jnp.abs(x) <= 0.5, 1.0, 0.0),
}


def spike(x: Array,
          surrogate: str = 'triangle',
          width: float = 1.0,
          v_th: Array | float = 1.0) -> Array:
  """Heaviside step with a surrogate gradient.

  Args:
    x: distance of the membrane from the fire level, any shape and float dtype.
    surrogate: key of `SURROGATES`.
    width: scale of the surrogate, in units of v_th, > 0.
    v_th: the threshold, > 0, in the units of x; broadcasts to the shape of x.

  Returns:
    1 where x >= 0, else 0, in the dtype of x.

  Raises:
    ValueError: for an unknown surrogate or a width that is not positive.
  """
  types.check_choice('surrogate', surrogate, tuple(SURROGATES))
  types.check_positive('width', width)
  v_th = jnp.broadcast_to(jnp.asarray(v_th, x.dtype), x.shape)
  return _spike(x, v_th, surrogate, width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spike(x, v_th, surrogate, width):
  del v_th, surrogate, width  # of the gradient
  return (x >= 0).astype(x.dtype)


def _spike_fwd(x, v_th, surrogate, width):
  return _spike(x, v_th, surrogate, width), (x, v_th)


def _spike_bwd(surrogate, width, residuals, cotangent):
  x, v_th = residuals
  y = x / v_th
  d_x = cotangent * SURROGATES[surrogate](y / width) / (v_th * width)
  return d_x.astype(x.dtype), (-d_x * y).astype(v_th.dtype)


_spike.defvjp(_spike_fwd, _spike_bwd)
