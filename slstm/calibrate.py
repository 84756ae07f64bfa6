"""Calibration: histograms of the drive of every site, and of the input.

What a converted neuron should do depends on the drives d that it will see. The
histograms here approximate their distribution p(d), unit by unit, on training
data. Examples of even index are for fitting, those of odd index are held out,
to check that what was fitted carries over.

Bin centres lie on the grid d = 8 j / bins, j = -bins/2 .. bins/2 - 1, each
drive counts for the nearest one, and for the first or last beyond [-4, 4]
(every site saturates at |d| = 1 or soon after; inputs are standardised). With
`bins` a power of two, drives that take a few dyadic values only, as in a
quantised network, are counted exactly where they are.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slstm import coverage
from slstm import encoders
from slstm import model
from slstm.types import Array, Config, Params, Record, Sites

_SPAN = 8.0  # drives in [-4, 4] are resolved


class Histogram(NamedTuple):
  """Counts of a site's drive, for each unit and bin.

  Attributes:
    fit: over the examples of even index, int64 [H, bins].
    held_out: over the examples of odd index, int64 [H, bins].
  """
  fit: np.ndarray
  held_out: np.ndarray


class Calibration(NamedTuple):
  """Distribution of every drive of a source network.

  Attributes:
    config: of the source network.
    centres: drive that each bin stands for, float32 [bins], rising.
    layers: for each layer the Histogram of each site.
    input: the Histogram of the standardised input, over its D features.
  """
  config: Config
  centres: np.ndarray
  layers: tuple[Sites, ...]
  input: Histogram


def calibrate(params: Params,
              x: Any,
              config: Config,
              batch_size: int = 256,
              bins: int = 1024) -> Calibration:
  """Runs a source network and counts the drives of all its sites.

  Needs 2 bytes for each of N * batch_size * H * 6 * L drives at a time.

  Args:
    params: an ANN, that is, without neurons.
    x: raw training inputs, NumPy or JAX, [N, B, D], B >= 2.
    config: of the ANN; num_steps and coupling do not matter.
    batch_size: examples to run at a time; does not change the result.
    bins: bins of each histogram, a power of two in 64 .. 16384.

  Returns:
    A Calibration; each histogram sums to N times the half's examples a unit.

  Raises:
    ValueError: if params have neurons or values that are not finite, or x is
      not of that shape or not finite.
  """
  _check_source(params)
  _check_input(x)
  if batch_size < 1:
    raise ValueError(f'calibrate: batch_size is {batch_size}; expected >= 1.')
  if bins not in [2**power for power in range(6, 15)]:
    raise ValueError(f'calibrate: bins is {bins}; expected a power of two in '
                     '64 .. 16384.')
  static = dataclasses.replace(config, num_steps=1, coupling='step')
  batch_size = min(batch_size, x.shape[1])
  total: Any = None
  for start in range(0, x.shape[1], batch_size):
    batch, half = _padded(x, start, batch_size)
    counts = jax.tree.map(lambda c: np.asarray(c, np.int64),
                          _count(params, batch, half, static, bins))
    total = jax.tree.map(np.add, total, counts) if total else counts
  return Calibration(config, _centres(bins), *total)


def _centres(bins: int) -> np.ndarray:
  return ((np.arange(bins) - bins // 2) * (_SPAN / bins)).astype(np.float32)


def _padded(x: Any, start: int, batch_size: int) -> tuple[Array, Array]:
  """A batch of x, and for each example its half: 0, 1, or 2 for padding."""
  index = np.arange(start, start + batch_size)
  real = index < x.shape[1]
  batch = x[:, np.where(real, index, start)]
  return jnp.asarray(batch,
                     jnp.float32), jnp.asarray(np.where(real, index % 2, 2),
                                               jnp.int32)


@functools.partial(jax.jit, static_argnames=('config', 'bins'))
def _count(params: Params, x: Array, half: Array, config: Config,
           bins: int) -> tuple[tuple[Sites, ...], Histogram]:
  """The histograms of the sites and of the input in one batch, int32."""

  def observe(record: Record) -> Sites:
    return Sites(*(_bin(d, bins) for d in record.drive))

  observed = model.apply(params, x, config, observe=observe).observed
  seen = observed, _bin(encoders.encode(params.encoder, x, config), bins)
  return jax.tree.map(lambda index: _histogram(index, half, bins), seen)


def _bin(d: Array, bins: int) -> Array:
  """The index of the bin whose centre is nearest to d, int16."""
  low = -(bins // 2)
  nearest = jnp.round(d * (bins / _SPAN))
  return (jnp.clip(nearest, low, -low - 1) - low).astype(jnp.int16)


def _histogram(index: Array, half: Array, bins: int) -> Histogram:
  """Counts bin indices [N, 1, B, H] for each half and unit."""
  hidden = index.shape[-1]
  rows = half.reshape(1, 1, -1, 1) * hidden + jnp.arange(hidden).reshape(
      1, 1, 1, -1)
  flat = (rows * bins + index).reshape(-1)  # beyond the end for padding
  counts = jnp.zeros((2 * hidden * bins,), jnp.int32).at[flat].add(1,
                                                                   mode='drop')
  return Histogram(*counts.reshape(2, hidden, bins))


def _check_source(params: Params) -> None:
  neurons = [layer.neurons for layer in params.layers] + [params.encoder.neuron]
  if jax.tree.leaves(neurons):
    raise ValueError(
        'calibrate: params have spiking neurons; expected a source network '
        '(ANN). Calibrate before converting, and give the encoder its neuron '
        'after it.')
  coverage.check_finite(params, 'calibrate: params')


def _check_input(x: Any) -> None:
  if x.ndim != 3 or x.shape[0] < 1 or x.shape[1] < 2:
    raise ValueError(f'calibrate: x has shape {x.shape}; expected [N, B, D], '
                     'time-major, with at least two examples.')
  bad = ~np.isfinite(np.asarray(x)).all(axis=(0, 2))
  if bad.any():
    raise ValueError(f'calibrate: x of {np.count_nonzero(bad)} examples is not '
                     f'finite, the first at index {int(np.argmax(bad))}; '
                     'expected numbers. Drop or repair those examples.')
