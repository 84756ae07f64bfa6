"""Sequences of different lengths in one batch: x [B, N, D] and lengths [B].

Element n of sequence b is real if n < lengths[b]; what follows is padding. An
LSTM looks back only, so no real element sees padding. It is therefore enough
that whatever reduces over n, or counts, leaves padding out. Lengths of None
mean that all elements are real.
"""

from typing import Any, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from slstm.types import Array, Config


def check(lengths: Any, x: Any, what: str) -> None:
  """Raises ValueError unless lengths fit x [B, N, D].

  Values are checked where they are known, that is, not while they are traced.

  Args:
    lengths: integers in 1..N, [B], or None.
    x: anything with a shape [B, N, ...].
    what: function and argument, such as 'apply: lengths'.
  """
  if lengths is None:
    return
  batch, num_elements = x.shape[:2]
  shape, dtype = np.shape(lengths), jnp.result_type(lengths)
  if shape != (batch,) or not jnp.issubdtype(dtype, jnp.integer):
    raise ValueError(f'{what} has shape {shape} and dtype {dtype}; expected '
                     f'integers, [{batch}]: one length per sequence.')
  if isinstance(lengths, jax.core.Tracer):
    return
  values = np.asarray(lengths)
  bad = np.flatnonzero((values < 1) | (values > num_elements))
  if bad.size:
    raise ValueError(
        f'{what} is {values[bad[0]]} for sequence {bad[0]} ({bad.size} such '
        f'sequences); expected 1..{num_elements}, the elements of x. Drop '
        'sequences without any element.')


def batches(x: Any, lengths: Any, size: int) -> Iterator[tuple[Any, Any]]:
  """Yields (x [B, N, ...], lengths [B] or None) of `size` sequences each."""
  for start in range(0, len(x), size):
    rows = slice(start, start + size)
    yield x[rows], None if lengths is None else lengths[rows]


def real(lengths: Array, num_elements: int) -> Array:
  """Which elements are real, bool [N, B]."""
  return jnp.arange(num_elements)[:, None] < jnp.asarray(lengths)[None]


def mean(values: Array, lengths: Array | None) -> Array:
  """Mean of [N, B, ...] over the real elements, [B, ...]."""
  if lengths is None:
    return jnp.mean(values, axis=0)
  count = _align(jnp.asarray(lengths, values.dtype), values[0])
  return jnp.sum(_where_real(values, lengths, 0), axis=0) / count


def largest(values: Array, lengths: Array | None) -> Array:
  """Maximum of [N, B, ...] over the real elements, [B, ...]."""
  if lengths is not None:
    values = _where_real(values, lengths, -jnp.inf)
  return jnp.max(values, axis=0)


def last(values: Array, lengths: Array | None) -> Array:
  """The last real one of [N, B, ...], [B, ...]."""
  if lengths is None:
    return values[-1]
  index = _align(jnp.asarray(lengths) - 1, values[0])[None]
  return jnp.take_along_axis(values, index, axis=0)[0]


def fill(x: Array, lengths: Array | None, value: Array | float) -> Array:
  """x [N, B, ...] with `value` in the padding, whatever was there."""
  return x if lengths is None else _where_real(x, lengths, value)


def kept(outputs: np.ndarray, config: Config, lengths: Any) -> np.ndarray:
  """Outputs of a set as [.., K]: all [B, K], or the real ones of [B, N, K]."""
  if not config.is_labelling:
    return outputs
  return outputs[of_examples(outputs, lengths)]


def of_examples(x: Any, lengths: Any) -> np.ndarray:
  """Which elements of a set x [B, N, ...] are real, bool [B, N]."""
  if lengths is None:
    return np.ones(x.shape[:2], bool)
  return np.arange(x.shape[1]) < np.asarray(lengths)[:, None]


def flush_right(values: Array, lengths: Array | None) -> Array:
  """[N, S, B, F] with the real elements last, and zeros before them."""
  if lengths is None:
    return values
  n = jnp.arange(len(values))[:,
                              None] - (len(values) - jnp.asarray(lengths)[None])
  index = n[:, None, :, None]
  moved = jnp.take_along_axis(values, jnp.maximum(index, 0), axis=0)
  return jnp.where(index >= 0, moved, 0)


def _where_real(values: Array, lengths: Array, other: Any) -> Array:
  mask = real(lengths, len(values))
  return jnp.where(mask.reshape(*mask.shape,
                                *(1,) * (values.ndim - 2)), values, other)


def _align(of_sequences: Array, like: Array) -> Array:
  """[B] as [B, 1, ...] of as many axes as `like` has."""
  return of_sequences.reshape(-1, *(1,) * (like.ndim - 1))
