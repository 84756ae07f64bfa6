"""What really happens in an inference: which values enter its products.

Values decide, never a configuration, so one rule holds for SNN and LSTM. By its
values over all data, the operand of a product with M outputs (4H, K) is:

  spikes      the non-zeros of each unit have one magnitude a_j, which folds
              into its row of weights:                             nnz M AC
  increments  they are k a_j with integers |k| <= 7, such as a sum of spikes or
              an activation of a few levels:                   sum |k| M AC
  analog      anything else; zeros are skipped all the same:      nnz M MAC

nnz counts non-zeros over N elements, S steps and units. An operand with one
value per element is taken as it is, or as its change since the element before,
added to a running sum of products: whichever accumulates, and of those the one
with fewer operations; if both are analog, the change only if it halves them,
for running sums cost memory. So the output of a sigma-delta neuron counts as
its spikes, and an LSTM whose h or x stands still is credited for that. Errors
up to 2^-13 a_j are rounding. Few values prove nothing: with less than two
non-zeros per active unit, an operand is analog. The operands are:

  W x_n      direct encoding: the raw x, since mean and std fold into W and b;
             spiking encoding: what the input neuron puts out in S steps
  U h_{n-1}  at n >= 2, since h_0 = 0
  read-out   pooled features; for 'last' the steps of h_N if these accumulate

Steps are accumulated one by one: S = T, or S = 1 where all steps are the same
(analog sites that see the same input and state). If steps are analog and their
mean over t enters the product, the mean is the operand.

Sequences of different lengths are looked at with their last elements aligned,
and zeros in front, so that padding is nothing. "Element 1" is then the first
real one.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slstm import cells
from slstm import model as model_lib
from slstm import neurons
from slstm import padding
from slstm import types
from slstm.types import Array, Model, Sites

MOST = 7  # the largest multiple of an increment that is accumulated
ROUNDING = 2.0**-13


class Seen(NamedTuple):
  """What values [N, S, B, F] are over all B, each [N, S, F]."""
  nonzero: Any  # how many are not 0: an int, float32 sums would not be exact
  low: Any  # smallest magnitude that is not 0, else inf
  high: Any  # largest magnitude

  def merge(self, other: 'Seen') -> 'Seen':
    return Seen(self.nonzero + other.nonzero, np.minimum(self.low, other.low),
                np.maximum(self.high, other.high))

  @property
  def increment(self) -> np.ndarray:
    """Smallest non-zero magnitude of each unit, [F]."""
    return self.low.min((0, 1))

  def within(self, factor: Any) -> np.ndarray:
    """Whether largest <= factor * smallest, [.., F]; not if values are few."""
    largest = self.high.max((0, 1))
    enough = self.nonzero.sum(dtype=np.int64) >= 2 * np.sum(largest > 0)
    return enough & (largest <= factor * (1 + ROUNDING) * self.increment)

  @property
  def are_spikes(self) -> bool:
    return bool(self.within(1).all())

  @property
  def candidate(self) -> np.ndarray | None:
    """The increment, if values may be multiples of it and are no spikes."""
    few = self.within(MOST).all() and not self.are_spikes
    return self.increment if few else None


class Rows(NamedTuple):
  """Units whose row of weights is fetched: not zero in some step."""
  by_unit: Any  # in how many sequences, [N, F]
  by_sequence: Any  # how many units, [N, B]

  def merge(self, other: 'Rows') -> 'Rows':
    both = self.by_sequence, other.by_sequence
    return Rows(self.by_unit + other.by_unit, np.concatenate(both, 1))


class _Place(NamedTuple):
  """What may enter a product; `change` and its rows may be None."""
  direct: Any  # in order of preference: steps, and perhaps their mean
  rows: Any  # of each of these
  change: Any
  changed_rows: Any


class Operand(NamedTuple):
  """What enters a product."""
  cost: np.ndarray  # nnz or |k| over all sequences, [N, S, F]
  summed: np.ndarray  # the same of the values themselves, if it is their change
  accumulates: bool
  rows: Rows
  is_change: bool = False  # so that sums of products run on

  def at(self, elements: slice) -> 'Operand':
    rows = Rows(*(leaf[elements] for leaf in self.rows))
    return self._replace(cost=self.cost[elements], rows=rows)

  @property
  def fetched(self) -> int:
    """Rows over all sequences."""
    return int(np.sum(self.rows.by_unit, dtype=np.int64))


class Activity(NamedTuple):
  """What `observe` saw; in `sites` and `spikes` one entry per layer."""
  operands: tuple[Operand, ...]  # of W, of what each layer puts out, pooled
  sites: tuple[Sites, ...]  # of Seen
  first_f: tuple[Seen, ...]  # of site f at the first element, [1, S, H]
  spikes: tuple[Sites, ...]  # of Seen, where there is a neuron
  encoder: Seen | None  # spikes of the input


def observe(model: Model, x: np.ndarray, lengths: np.ndarray | None,
            batch_size: int) -> Activity:
  """Runs a network on x [B, N, D], and again where values may be increments.

  Raises:
    ValueError: if what a layer puts out is not finite.
  """

  def over_batches(merge: Any, low: Any = None) -> Any:
    seen = (jax.device_get(_watch(model, *batch, low))
            for batch in padding.batches(x, lengths, batch_size))
    is_seen = lambda node: isinstance(node, (Seen, Rows))
    merge_all = functools.partial(jax.tree.map, merge, is_leaf=is_seen)
    return functools.reduce(merge_all, seen)

  merge = lambda a, b: a.merge(b)
  places, sites, first_f, spikes, encoder = over_batches(merge)
  for i, layer in enumerate(sites):
    if not np.isfinite(layer.h.high).all():
      raise ValueError(f'count_operations: layer {i} has NaN or infinite '
                       'values; expected finite ones. Are its weights too '
                       'large?')
  is_seen = lambda node: isinstance(node, Seen)
  low = [jax.tree.map(lambda seen: seen.candidate, (p.direct, p.change),
                      is_leaf=is_seen) for p in places]  # yapf: disable
  found = over_batches(np.add, low) if jax.tree.leaves(low) else low
  operands = tuple(map(_operand, places, found))
  return Activity(operands, tuple(sites), tuple(first_f), tuple(spikes),
                  encoder)


@jax.jit
def _watch(model: Model, x: Array, lengths: Array | None, low: Any) -> Any:
  """What may be operands, and the activity at all sites, in a batch.

  Places are the product with W, those with what each layer hands on, and that
  with each pooled part.

  Returns (places, of each layer sites, f at first and spikes, spikes of the
  input) as `Seen`; given increments of the places, `_multiples` of these where
  they are not None.
  """
  config, sites, shared = model.config, [], model.config.coupling == 'shared'
  forward, observed = _run(model, x, lengths)
  flush = lambda leaf: padding.flush_right(leaf, lengths)
  encoded, same = forward.encoded, forward.encoded.values.ndim == 3
  values = flush(encoded.values[:, None] if same else encoded.values)
  places: list[Any] = [[flush(jnp.swapaxes(x, 0, 1)[:, None])]]
  if encoded.spikes is not None:
    kind = neurons.kind_of(model.encoder.neuron)
    direct = [] if kind.cumulative else [flush(encoded.outputs)]
    places = [direct + [values] * same]
  first = lambda seen, s: Seen(*(leaf[:, :s] for leaf in seen))
  for layer, (h, _, output, _) in zip(model.layers, observed):
    if cells.is_cumulative(layer):  # the last of T outputs is handed on
      h, last = h[:, -1:], lambda leaf: leaf[:, -1:]
      output = output._replace(h=jax.tree.map(last, output.h))
    same &= not layer.neurons.present  # in each step, what the next layer sees
    again = same or shared  # all steps see the same input and state
    varies = {s: not again or s in layer.neurons.present for s in types.SITES}
    varies['c'] |= varies['i'] or varies['f'] or varies['g']
    varies['h'] |= varies['o'] or varies['c']
    steps = Sites(*(config.num_steps if varies[s] else 1 for s in types.SITES))
    sites.append(Sites(*map(first, output, steps)))
    places.append([h[:, :steps.h]])
    same |= h.shape[1] == 1
    if shared and not same:
      same, places[-1] = True, places[-1] + [h.mean(1, keepdims=True)]
  # As x_n - x_{n-1} from x_0 = 0, where there is one value per element.
  change = lambda x: jnp.diff(x, axis=0, prepend=jnp.zeros_like(x[:1]))
  changes = [change(p[-1]) if p[-1].shape[1] == 1 else None for p in places]
  if config.is_labelling:
    places.append([flush(jnp.swapaxes(forward.pooled, 0, 1)[:, None])])
    changes.append(change(places[-1][0]))
  else:
    for pooled in jnp.split(forward.pooled, len(config.pooling), -1):
      places.append([pooled[None, None]])
      changes.append(None)
  if low is not None:
    return jax.tree.map(_multiples, [*zip(places, changes)], low)
  _, first_f, _, spikes = map(list, zip(*observed))
  of_input = None if encoded.spikes is None else _see(flush(encoded.spikes))
  rows = [[*map(_rows, place)] for place in places]
  changed = [None if c is None else _rows(c) for c in changes]
  seen = jax.tree.map(_see, (places, changes))
  return [*map(_Place, seen[0], rows, seen[1], changed)
         ], sites, first_f, spikes, of_input


def _run(model: Model, x: Array,
         lengths: Array | None) -> tuple[model_lib.Forward, list[Any]]:
  """Runs a batch; of each layer (h [N, T, B, H], f at n = 1, sites, spikes).

  All but h are `Seen`.
  """
  see = functools.partial(jax.tree.map, _see)
  if lengths is None:  # a sum over B is all that has to be kept of most sites
    observe = lambda r: (r.output.h, see((r.output, r.spikes)))
    forward = model_lib.apply(model, x, observe=observe)
    first = lambda leaf: leaf[:1]
    return forward, [(h, Seen(*map(first, output.f)), output, spikes)
                     for h, (output, spikes) in forward.observed]
  forward = model_lib.apply(model, x, lengths=lengths,
                            observe=lambda r: (r.output, r.spikes)
                           )  # yapf: disable
  flush = lambda leaf: padding.flush_right(leaf, lengths)
  found = []
  for output, spikes in forward.observed:
    first_f = _see(output.f[:1])
    output, spikes = jax.tree.map(flush, (output, spikes))
    found.append((output.h, first_f, see(output), see(spikes)))
  return forward, found


def _rows(values: Array) -> Rows:
  """Of [N, S, B, F]."""
  used = jnp.any(values != 0, 1)
  return Rows(jnp.sum(used, 1, jnp.int32), jnp.sum(used, 2, jnp.int32))


def _see(values: Array) -> Seen:
  size = jnp.abs(values.astype(jnp.float32))
  low = jnp.min(jnp.where(size == 0, jnp.inf, size), axis=-2)
  return Seen(jnp.sum(size != 0, -2, jnp.int32), low, jnp.max(size, -2))


def _multiples(values: Array, low: Any) -> Any:
  """Rounds magnitudes to multiples of low / m, m = 1..7: {2a, 3a} needs m = 2.

  Returns (sum of |k| over sequences [7, N, S, F], number of misfits [7, F]).
  """

  def multiples(m: Array) -> tuple[Array, Array]:
    size = jnp.abs(values.astype(jnp.float32)) * (m / low).reshape(1, 1, 1, -1)
    k = jnp.round(size)
    misfits = jnp.sum(jnp.abs(size - k) > ROUNDING, (0, 1, 2), jnp.int32)
    return jnp.sum(k, -2, jnp.int32), misfits

  if low is None:
    return None
  return jax.lax.map(multiples, jnp.arange(1.0, MOST + 1))


def _operand(place: _Place, found: Any) -> Operand:
  """What enters a product: what accumulates, and of that what costs least."""
  direct, change = found
  usual = [_accumulated(*pair) for pair in zip(place.direct, direct)]
  best = next((i for i, c in enumerate(usual) if c is not None), -1)
  values, cost = place.direct[-1].nonzero, usual[best]
  summed = values if cost is None else cost
  operand = Operand(summed, summed, cost is not None, place.rows[best])
  if place.change is None:
    return operand
  cost = _accumulated(place.change, change)
  changes = Operand(place.change.nonzero if cost is None else cost, values, cost
                    is not None, place.changed_rows, True)
  total = lambda a: int(np.sum(a.cost, dtype=np.int64))
  if operand.accumulates == changes.accumulates:
    factor = 1 if changes.accumulates else 2
    return changes if factor * total(changes) < total(operand) else operand
  return operand if operand.accumulates else changes


def _accumulated(seen: Seen, multiples: Any) -> np.ndarray | None:
  """Accumulates by [N, S, F], or None if these are no increments."""
  if seen.are_spikes:
    return seen.nonzero
  if multiples is not None:
    (totals, misfits), m = multiples, np.arange(1, MOST + 1)[:, None]
    fits = (misfits == 0) & seen.within(MOST / m)
    if fits.any(0).all():
      least = fits.argmax(0)[None, None, None]
      return np.take_along_axis(totals, least, 0)[0]
  return None
