"""Augmentation of training inputs, on the fly; never of validation or test."""

import jax
import jax.numpy as jnp

from slstm.train import Augment
from slstm.types import Array


def make(rotation: float, noise: float) -> Augment | None:
  """Rotation, then noise, each with a strength of which 0 turns it off.

  Args:
    rotation: standard deviation of `rotate`, radians an axis, >= 0.
    noise: standard deviation of white noise in the units of x, >= 0.

  Returns:
    A function of (key, x [N, B, D]), or None where both are off.

  Raises:
    ValueError: for a strength that is not a finite number >= 0.
  """
  for name, strength in (('rotation', rotation), ('noise', noise)):
    if not 0 <= strength < float('inf'):
      raise ValueError(f'--{name}={strength}: expected a finite number >= 0.')
  if not rotation and not noise:
    return None

  def augment(key: Array, x: Array) -> Array:
    rotation_key, noise_key = jax.random.split(key)
    if rotation:
      x = rotate(rotation_key, x, rotation)
    if noise:
      x = x + noise * jax.random.normal(noise_key, x.shape, x.dtype)
    return x

  return augment


def rotate(key: Array, x: Array, strength: float) -> Array:
  """Turns the sensor: one small random rotation for each example.

  Channels are triples of axes (x, y, z) of one sensor frame, as a phone worn a
  little differently would record them. The rotation vector is normal with
  standard deviation `strength` in radians an axis (Rodrigues' formula).
  """
  length, batch, features = x.shape
  if features % 3:
    raise ValueError(f'--rotation={strength}: {features} features are not '
                     'triples of axes; it is for inertial data only.')
  vector = strength * jax.random.normal(key, (batch, 3), x.dtype)
  angle = jnp.linalg.norm(vector, axis=-1).reshape(batch, 1, 1)
  axis = vector / jnp.maximum(angle[:, :, 0], 1e-12)
  a, b, c = jnp.moveaxis(axis, -1, 0)
  zero = jnp.zeros_like(a)
  cross = jnp.stack([zero, -c, b, c, zero, -a, -b, a, zero],
                    -1).reshape(batch, 3, 3)
  turn = (jnp.eye(3, dtype=x.dtype)[None] + jnp.sin(angle) * cross +
          (1 - jnp.cos(angle)) * (cross @ cross))
  triples = x.reshape(length, batch, features // 3, 3)
  return jnp.einsum('bij,nbkj->nbki', turn, triples).reshape(x.shape)
