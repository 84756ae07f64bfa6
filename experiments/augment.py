"""Augmentation of training inputs, on the fly; never of validation or test.

Each works on x [N, B, D] of single samples, before they are joined to elements,
and draws anew for every example.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import Experiment
from slstm.train import Augment
from slstm.types import Array

MASKS = 2  # of each kind in one example


def make(experiment: Experiment,
         background: np.ndarray | None = None) -> Augment | None:
  """All augmentations that an experiment asks for, one after the other.

  Args:
    experiment: its strengths, each >= 0; 0 turns one off.
    background: clips of noise alone, [clips, N, D], if the data set has any.

  Returns:
    A function of (key, x [N, B, frames D]), or None where all are off.

  Raises:
    ValueError: for a strength out of range, or a background that is wanted and
      not there.
  """
  strengths = {
      'background': (experiment.background, 1.0),
      'time_shift': (experiment.time_shift, float('inf')),
      'rotation': (experiment.rotation, float('inf')),
      'noise': (experiment.noise, float('inf')),
      'time_mask': (experiment.time_mask, float('inf')),
      'feature_mask': (experiment.feature_mask, float('inf')),
  }
  for name, (strength, most) in strengths.items():
    if not (0 <= strength <= most and strength < float('inf')):
      raise ValueError(f'--{name}={strength}: expected a finite number in '
                       f'0..{most}.')
  if background is None:
    background = np.empty((0, 1, 1))
  if experiment.background and not len(background):
    raise ValueError(f'--background={experiment.background}: data set '
                     f'{experiment.dataset!r} has no clips of noise alone.')
  functions: dict[str, Any] = {
      'background': functools.partial(mix, background=background),
      'time_shift': shift_time,
      'rotation': rotate,
      'noise': add_noise,
      'time_mask': functools.partial(mask, axis=0),
      'feature_mask': functools.partial(mask, axis=2),
  }
  chosen = [(functions[name], strength)
            for name, (strength, _) in strengths.items()
            if strength]
  if not chosen:
    return None

  def augment(key: Array, x: Array) -> Array:
    length, batch, features = x.shape
    frames = experiment.frames
    x = x.reshape(length, batch, frames, features // frames)
    x = jnp.swapaxes(x, 1, 2).reshape(length * frames, batch, -1)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for index, (function, strength) in enumerate(chosen):
      x = function(jax.random.fold_in(key, index), x, strength)
    x = jnp.swapaxes(x.reshape(length, frames, batch, -1), 1, 2)
    return x.reshape(length, batch, features)

  return augment


def add_noise(key: Array, x: Array, strength: float) -> Array:
  """Adds white noise of that standard deviation, in units of x."""
  return x + strength * jax.random.normal(key, x.shape, x.dtype)


def shift_time(key: Array, x: Array, most: int) -> Array:
  """Moves by -most..most samples; the first or last sample fills the gap."""
  length, batch, _ = x.shape
  shift = jax.random.randint(key, (1, batch), -most, most + 1)
  source = jnp.clip(jnp.arange(length).reshape(-1, 1) + shift, 0, length - 1)
  return jnp.take_along_axis(x, source[:, :, None], axis=0)


def mask(key: Array, x: Array, widest: int, axis: int) -> Array:
  """Replaces MASKS bands of 0..widest places by the mean of the example.

  Source: Park et al., "SpecAugment", Interspeech 2019, section 2.
  """
  size, batch = x.shape[axis], x.shape[1]
  width_key, start_key = jax.random.split(key)
  shape = (MASKS, 1, batch)
  width = jax.random.randint(width_key, shape, 0, widest + 1)
  start = jnp.floor(jax.random.uniform(start_key, shape) *
                    (size + 1 - width)).astype(int)
  place = jnp.arange(size).reshape(1, size, 1)
  masked = jnp.any((place >= start) & (place < start + width), axis=0)
  masked = masked[:, :, None] if axis == 0 else masked.T[None]
  return jnp.where(masked, jnp.mean(x, (0, 2), keepdims=True), x)


def mix(key: Array, x: Array, probability: float,
        background: np.ndarray) -> Array:
  """Mixes with a clip of noise, with that probability.

  x and background are log energies, 10 ln E + constant, so energies add up:
  10 ln(e^{x/10} + e^{(noise + gain)/10}), the gain uniform in -46..0, which is
  -20..0 dB.
  """
  batch = x.shape[1]
  clip_key, gain_key, coin_key = jax.random.split(key, 3)
  clips = jax.random.randint(clip_key, (batch,), 0, len(background))
  noise = jnp.swapaxes(jnp.asarray(background)[clips], 0, 1).astype(x.dtype)
  gain = jax.random.uniform(gain_key, (1, batch, 1), x.dtype, -46.0, 0.0)
  mixed = 10.0 * jnp.logaddexp(x / 10.0, (noise + gain) / 10.0)
  coin = jax.random.bernoulli(coin_key, probability, (1, batch, 1))
  return jnp.where(coin, mixed, x)


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
