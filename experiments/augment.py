"""Augmentation of training inputs, on the fly; never of validation or test.

Each function takes (key, x [B, N, D], strength), works on single samples, and
draws anew for every example. Which data set uses which is part of its dataclass
in `experiments.datasets`.
"""

import functools
import math
from typing import Any, Callable

import jax
import jax.numpy as jnp
from jax.scipy.spatial import transform
import numpy as np

from slstm.types import Array

Augment = Callable[[Array, Array], Array]

MASKS = 2  # of each kind in one example


def chain(*steps: tuple[Callable, float], frames: int = 1) -> Augment | None:
  """Several augmentations, one after the other.

  Args:
    *steps: (function, strength); a strength of 0 turns one off.
    frames: samples that the data set joins to one element. They are taken apart
      before, and joined again after.

  Returns:
    A function of (key, x [B, N, frames D]), or None where all are off.
  """
  chosen = [(function, strength) for function, strength in steps if strength]
  if not chosen:
    return None

  def augment(key: Array, x: Array) -> Array:
    batch, length, _ = shape = x.shape
    x = x.reshape(batch, length * frames, -1)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    keys = jax.random.split(key, len(chosen))
    for step_key, (function, strength) in zip(keys, chosen):
      x = function(step_key, x, strength)
    return x.reshape(shape)

  return augment


def check_strengths(data: Any, *names: str) -> None:
  """Raises ValueError unless these fields of a data set are finite and >= 0."""
  for name in names:
    if not 0 <= getattr(data, name) < math.inf:
      raise ValueError(f'{name} is {getattr(data, name)}; expected '
                       'a finite number >= 0.')


def add_noise(key: Array, x: Array, strength: float) -> Array:
  """Adds white noise of that standard deviation, in units of x."""
  return x + strength * jax.random.normal(key, x.shape, x.dtype)


def shift_time(key: Array, x: Array, most: int) -> Array:
  """Moves by -most..most samples; the first or last sample fills the gap."""
  batch, length, _ = x.shape
  shift = jax.random.randint(key, (batch, 1), -most, most + 1)
  source = jnp.clip(jnp.arange(length).reshape(1, -1) + shift, 0, length - 1)
  return jnp.take_along_axis(x, source[:, :, None], axis=1)


def mask(key: Array, x: Array, widest: int, *, axis: int) -> Array:
  """Replaces MASKS bands of 0..widest places by the mean of the example.

  axis is 1 for samples, 2 for features. Source: Park et al., "SpecAugment",
  Interspeech 2019, section 2.
  """
  batch, size = len(x), x.shape[axis]
  if widest > size:
    raise ValueError(f'mask: up to {widest} places of axis {axis}, which has '
                     f'{size}; expected no more.')
  width_key, start_key = jax.random.split(key)
  shape = (MASKS, batch, 1)
  width = jax.random.randint(width_key, shape, 0, widest + 1)
  start = jnp.floor(jax.random.uniform(start_key, shape) *
                    (size + 1 - width)).astype(int)
  place = jnp.arange(size).reshape(1, 1, size)
  masked = jnp.any((place >= start) & (place < start + width), axis=0)
  return jnp.where(jnp.expand_dims(masked, 3 - axis),
                   jnp.mean(x, (1, 2), keepdims=True), x)


mask_time = functools.partial(mask, axis=1)
mask_features = functools.partial(mask, axis=2)


def mix(key: Array, x: Array, probability: float, *,
        background: np.ndarray) -> Array:
  """Mixes with a clip of noise, with that probability.

  x and background are log energies, 10 ln E + constant, so energies add up:
  10 ln(e^{x/10} + e^{(noise + gain)/10}), the gain uniform in -46..0, which is
  -20..0 dB. background is clips of noise alone, [clips, N, D].
  """
  batch = len(x)
  clip_key, gain_key, coin_key = jax.random.split(key, 3)
  clips = jax.random.randint(clip_key, (batch,), 0, len(background))
  noise = jnp.asarray(background)[clips].astype(x.dtype)
  gain = jax.random.uniform(gain_key, (batch, 1, 1), x.dtype, -46.0, 0.0)
  mixed = 10.0 * jnp.logaddexp(x / 10.0, (noise + gain) / 10.0)
  coin = jax.random.bernoulli(coin_key, probability, (batch, 1, 1))
  return jnp.where(coin, mixed, x)


def rotate(key: Array, x: Array, strength: float) -> Array:
  """Turns the sensor: one small random rotation for each example.

  Channels are triples of axes (x, y, z) of one sensor frame, as a phone worn a
  little differently would record them. The rotation vector is normal with
  standard deviation `strength` in radians per axis.
  """
  batch, length, features = x.shape
  if features % 3:
    raise ValueError(f'rotate: x has {features} features; expected triples of '
                     'axes. Rotation is for inertial data only.')
  vector = strength * jax.random.normal(key, (batch, 3), x.dtype)
  turn = transform.Rotation.from_rotvec(vector).as_matrix()
  triples = x.reshape(batch, length, features // 3, 3)
  return jnp.einsum('bij,bnkj->bnki', turn, triples).reshape(x.shape)
