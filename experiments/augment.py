"""Augmentation of training inputs, on the fly; never of validation or test.

Each entry of `AUGMENTATIONS` maps (key, x [N, B, D], strength) to a new x.
"""

import functools

import jax
import jax.numpy as jnp

from slstm.train import Augment
from slstm.types import Array, check_choice


def make(name: str, strength: float) -> Augment | None:
  """The augmentation of that name, or None for 'none'.

  Raises:
    ValueError: for an unknown name or a strength that is not positive.
  """
  check_choice('--augment', name, ('none', *AUGMENTATIONS))
  if name == 'none':
    return None
  if not 0 < strength < float('inf'):
    raise ValueError(f'--augment_strength={strength}: expected a number > 0.')
  return functools.partial(AUGMENTATIONS[name], strength=strength)


def rotate(key: Array, x: Array, strength: float) -> Array:
  """Turns the sensor: one small random rotation for each example.

  Channels are triples of axes (x, y, z) of one sensor frame, as a phone worn a
  little differently would record them. The rotation vector is normal with
  standard deviation `strength` in radians an axis (Rodrigues' formula).
  """
  length, batch, features = x.shape
  if features % 3:
    raise ValueError(
        f'--augment=rotate: {features} features are not triples of '
        'axes; use it on inertial data.')
  vector = strength * jax.random.normal(key, (batch, 3), x.dtype)
  angle = jnp.linalg.norm(vector, axis=-1).reshape(batch, 1, 1)
  axis = vector / jnp.maximum(angle[:, :, 0], 1e-12)
  a, b, c = jnp.moveaxis(axis, -1, 0)
  zero = jnp.zeros_like(a)
  cross = jnp.stack([zero, -c, b, c, zero, -a, -b, a, zero],
                    -1).reshape(batch, 3, 3)
  rotation = (jnp.eye(3, dtype=x.dtype)[None] + jnp.sin(angle) * cross +
              (1 - jnp.cos(angle)) * (cross @ cross))
  triples = x.reshape(length, batch, features // 3, 3)
  return jnp.einsum('bij,nbkj->nbki', rotation, triples).reshape(x.shape)


def noise(key: Array, x: Array, strength: float) -> Array:
  """Adds white noise of standard deviation `strength`, in the units of x."""
  return x + strength * jax.random.normal(key, x.shape, x.dtype)


AUGMENTATIONS = {'rotate': rotate, 'noise': noise}
