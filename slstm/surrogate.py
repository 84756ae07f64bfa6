"""The spike and its surrogate gradients.

  forward   s = 1[x >= 0]           (fires at equality)
  backward  ds/dx := psi(x / width) / width

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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def spike(x: Array, surrogate: str = 'triangle', width: float = 1.0) -> Array:
  """Heaviside step with a surrogate gradient.

  Args:
    x: distance of the membrane from the fire level, any shape and float dtype.
    surrogate: key of `SURROGATES`.
    width: scale of the surrogate, in the units of x, > 0.

  Returns:
    1 where x >= 0, else 0, in the dtype of x.

  Raises:
    ValueError: for an unknown surrogate or a width that is not positive.
  """
  types.check_choice('surrogate', surrogate, tuple(SURROGATES))
  types.check_positive('width', width)
  return (x >= 0).astype(x.dtype)


def _spike_fwd(x, surrogate, width):
  return spike(x, surrogate, width), x


def _spike_bwd(surrogate, width, x, cotangent):
  slope = SURROGATES[surrogate](x / width) / width
  return ((cotangent * slope).astype(x.dtype),)


spike.defvjp(_spike_fwd, _spike_bwd)
