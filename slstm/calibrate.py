"""Calibration: histograms of the drive of every site, and of the input.

They approximate the distribution p(d) of the drives d that a converted neuron
will see, unit by unit, on training data: examples of even index are for
fitting, those of odd index check that what was fitted carries over.

Bin centres lie on the grid d = 8 j / bins, j = -bins/2 .. bins/2 - 1. Each
drive counts for the nearest one, and beyond [-4, 4] for the first or last:
every site saturates at |d| = 1 or soon after, and inputs are standardised. As
`bins` is a power of two, the few dyadic drives of a quantised network are
counted exactly where they are.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slstm import borders
from slstm import model as model_lib
from slstm import padding
from slstm import types
from slstm.types import Array, Model, Sites

_SPAN = 8.0  # drives in [-4, 4] are resolved


class Histogram(NamedTuple):
  """Counts of a site's drive over even and odd examples, int64 [H, bins]."""
  fit: np.ndarray
  held_out: np.ndarray


class Calibration(NamedTuple):
  """Distribution of every drive of a source network."""
  source: Model  # its shapes and config, without values
  centres: np.ndarray  # drive that each bin stands for, float32 [bins], rising
  layers: tuple[Sites, ...]  # the Histogram of each site
  input: Histogram  # of the standardised input, over its D features


def calibrate(model: Model,
              x: Any,
              *,
              lengths: Any = None,
              batch_size: int = 256,
              bins: int = 1024) -> Calibration:
  """Runs a source network and counts the drives of all its sites.

  Args:
    model: an ANN, that is, without neurons.
    x: raw training inputs, NumPy or JAX, [B, N, D], B >= 2.
    lengths: how many elements of each sequence are real, [B]; None for all.
    batch_size: examples at a time, of 2 * 6 * N * H * L bytes each.
    bins: bins of each histogram, a power of two in 64 .. 16384.

  Raises:
    ValueError: for a model with neurons, or for values that are not finite.

  Example:
    calibration = slstm.calibrate(model, x_train[:512])
  """
  if model.is_spiking or model.encoder.neuron is not None:
    raise ValueError('calibrate: model has spiking neurons; expected an ANN. '
                     'Calibrate before you convert it or its encoder.')
  borders.check_model(model, 'calibrate: model')
  types.check_shape('calibrate: x', x, 'B N D', D=model.num_features)
  if len(x) < 2:
    raise ValueError('calibrate: x has 1 example; expected one per half.')
  borders.check_inputs(x, 'calibrate: x')
  padding.check(lengths, x, 'calibrate: lengths')
  types.check_positive('calibrate: batch_size', batch_size)
  if bins not in [2**power for power in range(6, 15)]:
    raise ValueError(f'calibrate: bins is {bins}; expected a power of two in '
                     '64 .. 16384.')
  # All T steps of an ANN are the same.
  config = dataclasses.replace(model.config, num_steps=1, coupling='step')
  one_step = dataclasses.replace(model, config=config)
  batch_size = min(batch_size, len(x))
  total: Any = None
  for start in range(0, len(x), batch_size):
    index = np.arange(start, start + batch_size)
    real = index < len(x)
    half = np.where(real, index % 2, 2)  # 2 for what fills the last batch up
    rows = np.where(real, index, start)
    batch = jnp.asarray(x[rows], jnp.float32)
    some = None if lengths is None else jnp.asarray(lengths)[rows]
    counts = jax.tree.map(np.int64, _count(one_step, batch, some, half, bins))
    total = jax.tree.map(np.add, total, counts) if total else counts
  centres = np.arange(-bins // 2, bins // 2, dtype=np.float32) * (_SPAN / bins)
  return Calibration(jax.eval_shape(lambda: model), centres, *total)


@functools.partial(jax.jit, static_argnames='bins')
def _count(model: Model, x: Array, lengths: Array | None, half: Array,
           bins: int) -> tuple[tuple[Sites, ...], Histogram]:
  """The histograms of the sites and of the input in one batch, int32."""

  def nearest(d: Array) -> Array:
    """The index of the bin whose centre is nearest to d, int16."""
    index = jnp.round(d * (bins / _SPAN)) + bins // 2
    return jnp.clip(index, 0, bins - 1).astype(jnp.int16)

  observe = lambda record: jax.tree.map(nearest, record.drive)
  run = model_lib.apply(model, x, lengths=lengths, observe=observe)
  indices = run.observed, nearest(run.encoded.drive)
  # Padding belongs to neither half.
  half = padding.fill(jnp.broadcast_to(half, (x.shape[1], len(half))), lengths,
                      2)
  return jax.tree.map(lambda index: _histogram(index, half, bins), indices)


def _histogram(index: Array, half: Array, bins: int) -> Histogram:
  """Counts bin indices [N, (1,) B, H] of each half (0, 1) [N, B] and unit."""
  hidden = index.shape[-1]
  rows = jnp.add.outer(half * hidden, jnp.arange(hidden))
  flat = (rows * bins + index.reshape(rows.shape)).reshape(-1)
  none = jnp.zeros((2 * hidden * bins,), jnp.int32)
  return Histogram(*none.at[flat].add(1, mode='drop').reshape(2, hidden, bins))
