"""Counts the operations of an inference, from real activity on real data.

Values decide, never a configuration, so one rule holds for SNN and LSTM. Counts
are means per sequence; nnz counts non-zeros over N elements, S steps and units.
By its values over all data, the operand of a product with M outputs (4H, K) is:

  spikes      the non-zeros of each unit have one magnitude a_j, which folds
              into its row of weights:                             nnz M AC
  increments  they are k a_j with integers |k| <= 7, such as a sum of spikes or
              an activation of a few levels:                   sum |k| M AC
  analog      anything else; zeros are skipped all the same:      nnz M MAC

An operand with one value per element is taken as it is, or as its change since
the element before, added to a running sum of products: whichever accumulates,
and of those the one with fewer operations; if both are analog, the change only
if it halves them, for running sums cost memory. So the output of a sigma-delta
neuron counts as its spikes, and an LSTM whose h or x stands still is credited
for that. Errors up to 2^-13 a_j are rounding. Few values prove nothing: with
less than two non-zeros per active unit, an operand is analog. The operands are:

  W x_n      direct encoding: the raw x, since mean and std fold into W and b;
             spiking encoding: what the input neuron puts out in S steps
  U h_{n-1}  at n >= 2, since h_0 = 0
  read-out   pooled features; for 'last' the steps of h_N if these accumulate

Steps are accumulated one by one: S = T, or S = 1 where all steps are the same
(analog sites that see the same input and state). If steps are analog and their
mean over t enters the product, the mean is the operand, at S - 1 additions.
Biases are where accumulators start. Element-wise work, for each (n, t, unit) or
(n, unit) where all t are the same:

  analog sigmoid, tanh  1 `smooth`; site h is the identity, and free
  analog clip           1 `clip`; its slope and levels fold into W, U and b
  f c, i g, o phi(c)    1 multiplication each, f c at n >= 2; none (gating) if
                        f, i or g, o or phi(c) are spikes by the rule above
  non-zeros of i, f, g  1 multiplication where these are spikes and a_j != 1;
                        those of o, c, h fold into a matrix or a threshold
  f c + i g             1 addition at n >= 2; T - 1 for a mean of c over steps
                        that differ but share their state
  neuron                its `neurons.Kind.work`; at the input 1 addition of
                        -mean for each n, and std folds into the threshold
  mean over t and n     nnz or sum |k| additions, or one less than terms
  max over n            N - 1 comparisons

Values moved between registers and memory:

  weights       a row of M once for each element in which its unit is not zero,
                in whichever of the S steps: these use it together
  activations   a non-zero of x is read; one of h is written, and read by each
                product that it enters; an input neuron reads all of x, and
                writes what a non-zero of x is then
  states        c of each (n, slot, unit), and each state that a neuron carries,
                read and written; so are pooled sums and maxima, and what a
                change is taken from (at 1 subtraction), if no neuron carries it
  accumulators  z is built in registers from its 4H biases, which are read; a
                running sum is read and written for each (n, unit) instead
"""

import functools
from typing import Any, Iterator, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from slstm import borders
from slstm import cells
from slstm import model as model_lib
from slstm import neurons
from slstm import types
from slstm.types import Array, Config, Elementwise, Layer, Model, Sites

MOST = 7  # the largest multiple of an increment that is accumulated
_ROUNDING = 2.0**-13


class Product(NamedTuple):
  """Operations of a matrix product: multiply-accumulates and accumulates."""
  mac: float = 0.0
  ac: float = 0.0


class Moved(NamedTuple):
  """Values that are read from or written to memory."""
  input_weights: float = 0.0  # of W, or of the read-out
  recurrent_weights: float = 0.0
  activations: float = 0.0
  states: float = 0.0
  accumulators: float = 0.0


class Stored(NamedTuple):
  """Values that a network keeps in memory."""
  weights: int
  states: int  # c, what neurons carry, pooled sums and maxima
  accumulators: int  # running sums


class EncoderCounts(NamedTuple):
  """Work of a spiking encoder, and its mean |s|; nothing and None if direct."""
  elementwise: Elementwise
  spike_rate: float | None
  moved: Moved = Moved()


class LayerCounts(NamedTuple):
  """Operations and activity of a layer."""
  input: Product  # with W
  recurrent: Product  # with U
  elementwise: Elementwise
  spike_rate: Sites  # mean |s| of each neuron, and of an h that is spikes
  sparsity: Sites  # fraction of zeros of each site's output
  spikes_per_element: float | None  # of h, by unit; None where h is no spikes
  rows_per_element: float  # fraction of units of h whose row is fetched
  moved: Moved


class ReadoutCounts(NamedTuple):
  """Operations of the read-out and of its pooling."""
  product: Product
  elementwise: Elementwise
  moved: Moved


class Counts(NamedTuple):
  """Mean operations per inference; `sequences` is how many were averaged.

  `fetched` are quantiles over sequences of the weights that products fetch, at
  0, 5, 50, 95 and 100 %.
  """
  encoder: EncoderCounts
  layers: tuple[LayerCounts, ...]
  readout: ReadoutCounts
  stored: Stored
  fetched: tuple[float, ...]
  sequences: int


class _Seen(NamedTuple):
  """What values [N, S, B, F] are over all B, each [N, S, F]."""
  nonzero: Any  # how many are not 0: an int, float32 sums would not be exact
  low: Any  # smallest magnitude that is not 0, else inf
  high: Any  # largest magnitude

  def merge(self, other: '_Seen') -> '_Seen':
    return _Seen(self.nonzero + other.nonzero, np.minimum(self.low, other.low),
                 np.maximum(self.high, other.high))

  @property
  def increment(self) -> np.ndarray:
    """Smallest non-zero magnitude of each unit, [F]."""
    return self.low.min((0, 1))

  def within(self, factor: Any) -> np.ndarray:
    """Whether largest <= factor * smallest, [.., F]; not if values are few."""
    largest = self.high.max((0, 1))
    enough = self.nonzero.sum(dtype=np.int64) >= 2 * np.sum(largest > 0)
    return enough & (largest <= factor * (1 + _ROUNDING) * self.increment)

  @property
  def are_spikes(self) -> bool:
    return bool(self.within(1).all())

  @property
  def candidate(self) -> np.ndarray | None:
    """The increment, if values may be multiples of it and are no spikes."""
    few = self.within(MOST).all() and not self.are_spikes
    return self.increment if few else None


class _Rows(NamedTuple):
  """Units whose row of weights is fetched: not zero in some step."""
  by_unit: Any  # in how many sequences, [N, F]
  by_sequence: Any  # how many units, [N, B]

  def merge(self, other: '_Rows') -> '_Rows':
    both = self.by_sequence, other.by_sequence
    return _Rows(self.by_unit + other.by_unit, np.concatenate(both, 1))


class _Place(NamedTuple):
  """What may enter a product; `change` and its rows may be None."""
  direct: Any  # in order of preference: steps, and perhaps their mean
  rows: Any  # of each of these
  change: Any
  changed_rows: Any


class _Operand(NamedTuple):
  """What enters a product."""
  cost: np.ndarray  # nnz or |k| over all sequences, [N, S, F]
  summed: np.ndarray  # the same of the values themselves, if it is their change
  accumulates: bool
  rows: _Rows
  is_change: bool = False  # so that sums of products run on

  def at(self, elements: slice) -> '_Operand':
    rows = _Rows(*(leaf[elements] for leaf in self.rows))
    return self._replace(cost=self.cost[elements], rows=rows)

  @property
  def fetched(self) -> int:
    """Rows over all sequences."""
    return int(np.sum(self.rows.by_unit, dtype=np.int64))


def count_operations(model: Model, x: Any, *, batch_size: int = 128) -> Counts:
  """Runs a network and counts its operations by the rules of this module.

  Args:
    model: an ANN or SNN.
    x: raw input, NumPy or JAX, [B, N, D].
    batch_size: sequences run at a time; does not change the result.

  Raises:
    ValueError: if x, or what a layer puts out, is not finite, or a value of the
      model out of range.

  Example:
    energy.ledger(count_operations(model, x_test))[1].total  # pJ per sequence
  """
  x = np.asarray(x)
  types.check_shape('count_operations: x', x, 'B N D', D=model.num_features)
  types.check_positive('count_operations: batch_size', batch_size)
  borders.check_model(model, 'count_operations: model')
  borders.check_inputs(x, 'count_operations: x')

  def over_batches(merge: Any, low: Any = None) -> Any:
    batches = (x[i:i + batch_size] for i in range(0, len(x), batch_size))
    seen = (jax.device_get(_watch(model, batch, low)) for batch in batches)
    is_seen = lambda node: isinstance(node, (_Seen, _Rows))
    merge_all = functools.partial(jax.tree.map, merge, is_leaf=is_seen)
    return functools.reduce(merge_all, seen)

  merge = lambda a, b: a.merge(b)
  places, sites, spikes, of_input = over_batches(merge)
  outputs = {f'layer {i}': layer.h.high for i, layer in enumerate(sites)}
  for name, values in outputs.items():
    if not np.isfinite(values).all():
      raise ValueError(f'count_operations: {name} has NaN or infinite values; '
                       'expected finite ones. Are its weights too large?')
  # What may be increments is looked at again.
  is_seen = lambda node: isinstance(node, _Seen)
  low = [jax.tree.map(lambda seen: seen.candidate, (p.direct, p.change),
                      is_leaf=is_seen) for p in places]  # yapf: disable
  found = over_batches(np.add, low) if jax.tree.leaves(low) else low
  operands, total = [*map(_operand, places, found)], len(x)
  layer = functools.partial(_layer, model.config, total)
  layers = tuple(map(layer, model.layers, sites, spikes, operands,
                     operands[1:]))
  encoder = _encoder(model, of_input, operands[0], total)
  readout = _readout(model, operands[len(sites):], total)
  fetched = sum(part.sum(0, dtype=np.int64) for part in
                _fetched(model, operands))  # yapf: disable
  quantiles = np.quantile(fetched, (0, 0.05, 0.5, 0.95, 1))
  return Counts(encoder, layers, readout, _stored(model, sites, operands),
                tuple(map(float, quantiles)), total)


def _fetched(model: Model,
             operands: Sequence[_Operand]) -> Iterator[np.ndarray]:
  """Weights that each product fetches, by element and sequence, [N, B]."""
  for layer, x, h in zip(model.layers, operands, operands[1:]):
    yield 4 * layer.num_units * x.rows.by_sequence
    yield 4 * layer.num_units * h.rows.by_sequence[:-1]
  h, *pooled = operands[len(model.layers):]
  for name, operand in zip(model.config.pooling, pooled):
    yield model.num_outputs * _pooled(name, h, operand).rows.by_sequence


def _pooled(name: str, h: _Operand, pooled: _Operand) -> _Operand:
  """Operand of the read-out: for 'last' the steps of h_N if they accumulate."""
  if name == 'last' and h.accumulates and not h.is_change:
    return h.at(slice(-1, None))
  return pooled


def _stored(model: Model, sites: Sequence[Sites],
            operands: Sequence[_Operand]) -> Stored:
  weights = sum(leaf.size for part in (*model.layers, model.readout)
                for leaf in jax.tree.leaves(part) if leaf.ndim == 2
               )  # yapf: disable
  pools = sum(name != 'last' for name in model.config.pooling)
  states = pools * model.layers[-1].num_units
  neuron = model.encoder.neuron
  kept = _carried(neuron) + _keeps_last(neuron, operands[0])
  states += model.num_features * kept
  accumulators = 0
  for layer, seen, x, h in zip(model.layers, sites, operands, operands[1:]):
    states += layer.num_units * _states(model.config, layer, seen, h)
    accumulators += 4 * layer.num_units * (x.is_change or h.is_change)
  return Stored(weights, states, accumulators)


def _states(config: Config, layer: Layer, sites: Sites, h: _Operand) -> int:
  """Values that a unit keeps from element to element."""
  slots = sites.c.low.shape[1] if config.coupling == 'step' else 1
  carried = sum(map(_carried, layer.neurons))
  return slots + carried + _keeps_last(layer.neurons.h, h)


def _keeps_last(neuron: Any, operand: _Operand) -> bool:
  """Whether a change is taken from a value that no neuron carries."""
  cumulative = neuron is not None and neurons.kind_of(neuron).cumulative
  return operand.is_change and not cumulative


def _carried(neuron: Any) -> int:
  """Values per unit that a neuron keeps from element to element."""
  if neuron is None or not neurons.kind_of(neuron).carried:
    return 0
  return len(jax.tree.leaves(neurons.initial_state(neuron, (1, 1))))


@jax.jit
def _watch(model: Model, x: Array, low: Any) -> Any:
  """What may be operands, and the activity at all sites, in a batch.

  Places are the product with W, those with what each layer hands on, and that
  with each pooled part.

  Returns (places, sites and spikes of each layer, spikes of the input) as
  `_Seen`; given increments of the places, `_multiples` of these where they are
  not None.
  """
  config, sites, shared = model.config, [], model.config.coupling == 'shared'
  see = lambda r: (r.output.h, jax.tree.map(_see, (r.output, r.spikes)))
  forward = model_lib.apply(model, x, observe=see)
  encoded, same = forward.encoded, forward.encoded.values.ndim == 3
  values = encoded.values[:, None] if same else encoded.values
  places: list[Any] = [[jnp.swapaxes(x, 0, 1)[:, None]]]
  if encoded.spikes is not None:
    kind = neurons.kind_of(model.encoder.neuron)
    direct = [] if kind.cumulative else [encoded.outputs]
    places = [direct + [values] * same]
  first = lambda seen, s: _Seen(*(leaf[:, :s] for leaf in seen))
  for layer, (h, (output, _)) in zip(model.layers, forward.observed):
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
  for pooled in jnp.split(forward.pooled, len(config.pooling), -1):
    places.append([pooled[None, None]])
    changes.append(None)
  if low is not None:
    return jax.tree.map(_multiples, [*zip(places, changes)], low)
  spikes = [seen for _, (_, seen) in forward.observed]
  of_input = None if encoded.spikes is None else _see(encoded.spikes)
  rows = [[*map(_rows, place)] for place in places]
  changed = [None if c is None else _rows(c) for c in changes]
  seen = jax.tree.map(_see, (places, changes))
  return [*map(_Place, seen[0], rows, seen[1], changed)
         ], sites, spikes, of_input


def _rows(values: Array) -> _Rows:
  """Of [N, S, B, F]."""
  used = jnp.any(values != 0, 1)
  return _Rows(jnp.sum(used, 1, jnp.int32), jnp.sum(used, 2, jnp.int32))


def _see(values: Array) -> _Seen:
  size = jnp.abs(values.astype(jnp.float32))
  low = jnp.min(jnp.where(size == 0, jnp.inf, size), axis=-2)
  return _Seen(jnp.sum(size != 0, -2, jnp.int32), low, jnp.max(size, -2))


def _multiples(values: Array, low: Any) -> Any:
  """Rounds magnitudes to multiples of low / m, m = 1..7: {2a, 3a} needs m = 2.

  Returns (sum of |k| over sequences [7, N, S, F], number of misfits [7, F]).
  """

  def multiples(m: Array) -> tuple[Array, Array]:
    size = jnp.abs(values.astype(jnp.float32)) * (m / low).reshape(1, 1, 1, -1)
    k = jnp.round(size)
    misfits = jnp.sum(jnp.abs(size - k) > _ROUNDING, (0, 1, 2), jnp.int32)
    return jnp.sum(k, -2, jnp.int32), misfits

  if low is None:
    return None
  return jax.lax.map(multiples, jnp.arange(1.0, MOST + 1))


def _operand(place: _Place, found: Any) -> _Operand:
  """What enters a product: what accumulates, and of that what costs least."""
  direct, change = found
  usual = [_accumulated(*pair) for pair in zip(place.direct, direct)]
  best = next((i for i, c in enumerate(usual) if c is not None), -1)
  values, cost = place.direct[-1].nonzero, usual[best]
  summed = values if cost is None else cost
  operand = _Operand(summed, summed, cost is not None, place.rows[best])
  if place.change is None:
    return operand
  cost = _accumulated(place.change, change)
  changes = _Operand(place.change.nonzero if cost is None else cost, values,
                     cost is not None, place.changed_rows, True)
  total = lambda a: int(np.sum(a.cost, dtype=np.int64))
  if operand.accumulates == changes.accumulates:
    factor = 1 if changes.accumulates else 2
    return changes if factor * total(changes) < total(operand) else operand
  return operand if operand.accumulates else changes


def _accumulated(seen: _Seen, multiples: Any) -> np.ndarray | None:
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


def _encoder(model: Model, spikes: _Seen | None, operand: _Operand,
             sequences: int) -> EncoderCounts:
  neuron = model.encoder.neuron
  if neuron is None or spikes is None:
    kept = operand.is_change * operand.cost[..., 0].size * model.num_features
    return EncoderCounts(Elementwise(add=kept), None, Moved(states=2 * kept))
  num_elements, steps, units = spikes.low.shape
  means = 1  # -mean, and the mean over steps
  if not neurons.kind_of(neuron).cumulative:
    means += steps - operand.cost.shape[1]
  work, rate = _neuron(neuron, True, spikes, sequences)
  values = num_elements * units
  kept = _keeps_last(neuron, operand)
  add = Elementwise(add=values * (means + kept))
  moved = Moved(activations=values + operand.fetched / sequences,
                states=2 * values * (_carried(neuron) + kept))
  return EncoderCounts(_sum_up([work, add]), rate, moved)


def _layer(config: Config, sequences: int, layer: Layer, sites: Sites,
           spikes: Sites, operand: _Operand, h: _Operand) -> LayerCounts:
  num_elements, _, hidden = sites.h.low.shape
  steps = {s: seen.low.shape[1] for s, seen in sites._asdict().items()}
  gating = {s: seen.are_spikes for s, seen in sites._asdict().items()}
  multiply = 0
  for a, b in ('ff', 'ig', 'oc'):
    if not gating[a] and not gating[b]:
      times = num_elements - (a == 'f')
      multiply += times * hidden * max(steps[a], steps[b])
  squashed = set('ifgoc') - set(layer.neurons.present)
  analog = num_elements * hidden * sum(steps[site] for site in squashed)
  smooth = analog if config.family == 'standard' else 0
  add = max(steps['i'], steps['f'], steps['g'])
  add += add - 1 if config.coupling == 'shared' else 0
  means = sites.h.low.size - h.cost.size  # if the next product sees the mean
  add = (num_elements - 1) * hidden * add + means
  work = [Elementwise(multiply, add, 0, smooth, analog - smooth)]
  for site in 'ifg':
    seen = getattr(sites, site)
    if gating[site]:
      scaled = np.abs(seen.increment - 1) > _ROUNDING
      scaled = seen.nonzero[site == 'f':, :, scaled]
      work.append(Elementwise(multiply=_mean(scaled, sequences)))
  everything = sequences * sites.h.low.size
  rate = {'h': _mean(sites.h.nonzero, everything)} if gating['h'] else {}
  for site in layer.neurons.present:
    neuron, fired = getattr(layer.neurons, site), getattr(spikes, site)
    signed = site in types.SIGNED_SITES
    each, rate[site] = _neuron(neuron, signed, fired, sequences)
    work.append(each)
  zeros = (_mean(sequences - a.nonzero, sequences * a.low.size) for a in sites)
  of_h = rate.get('h')
  if of_h is not None:
    of_h *= (spikes.h or sites.h).low.shape[1]
  recurrent, values = h.at(slice(-1)), num_elements * hidden
  work.append(Elementwise(add=values * _keeps_last(layer.neurons.h, h)))
  running = operand.is_change or h.is_change
  active = operand.fetched + recurrent.fetched
  moved = Moved(4 * hidden * operand.fetched / sequences,
                4 * hidden * recurrent.fetched / sequences,
                activations=(active + h.fetched) / sequences,
                states=2 * values * _states(config, layer, sites, h),
                accumulators=4 * values * (1 + running))
  return LayerCounts(_product(operand, 4 * hidden, sequences),
                     _product(recurrent, 4 * hidden, sequences), _sum_up(work),
                     Sites(**rate), Sites(*zeros), of_h,
                     h.fetched / (sequences * values), moved)


def _neuron(neuron: Any, signed: bool, spikes: _Seen,
            sequences: int) -> tuple[Elementwise, float]:
  """(work, spike rate) of the neurons of all units over all elements."""
  num_steps = spikes.low.shape[1]
  costs = neurons.kind_of(neuron).work(neuron, signed, num_steps)
  trains = spikes.low.size // num_steps
  fired = _mean(spikes.nonzero, sequences)
  work = (trains * a + fired * b for a, b in zip(*costs))
  rate = _mean(spikes.nonzero, sequences * spikes.low.size)
  return Elementwise(*work), rate


def _readout(model: Model, operands: Sequence[_Operand],
             sequences: int) -> ReadoutCounts:
  h, *pooled = operands
  num_elements, steps, hidden = h.cost.shape
  additions = dict(last=steps - 1,
                   mean=num_elements * steps - 1,
                   max=num_elements * (steps - 1))
  products, work, fetched, kept = [], [], 0, 0
  for name, operand in zip(model.config.pooling, pooled):
    seen, terms = _pooled(name, h, operand), additions[name]
    if seen is not operand:
      terms = 0
    products.append(_product(seen, model.num_outputs, sequences))
    add = min(terms * hidden, _mean(h.summed, sequences))
    compare = (num_elements - 1) * hidden if name == 'max' else 0
    work.append(Elementwise(add=add, compare=compare))
    fetched += seen.fetched
    kept += name != 'last'
  moved = Moved(model.num_outputs * fetched / sequences,
                activations=fetched / sequences,
                states=2 * num_elements * hidden * kept,
                accumulators=model.num_outputs)
  return ReadoutCounts(Product(*map(sum, zip(*products))), _sum_up(work), moved)


def _product(operand: _Operand, outputs: int, sequences: int) -> Product:
  amount = _mean(operand.cost, sequences, outputs)
  return Product(ac=amount) if operand.accumulates else Product(mac=amount)


def _sum_up(work: Sequence[Elementwise]) -> Elementwise:
  return Elementwise(*map(float, map(sum, zip(*work))))


def _mean(counts: np.ndarray, denominator: int, factor: int = 1) -> float:
  """An exact integer sum times a factor, over a denominator."""
  return int(np.sum(counts, dtype=np.int64)) * factor / denominator
