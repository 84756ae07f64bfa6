"""Counts the operations of an inference, from real activity on real data.

Values decide, never a configuration, so one rule holds for SNN and LSTM. Counts
are means per sequence; nnz counts non-zeros over N elements, S steps and units.
By its values over all data, the operand of a product with M outputs (4H, K) is:

  spikes      the non-zeros of each unit have one magnitude a_j, which folds
              into its row of weights:                             nnz M AC
  increments  they are k a_j with integers |k| <= 7, such as a sum of spikes or
              an activation of a few levels:                   sum |k| M AC
  analog      anything else; zeros are skipped all the same:      nnz M MAC

The bound is what pays at int8, where a MAC costs 7.7 accumulations (0.23 pJ and
0.03 pJ). Errors up to 2^-13 a_j are rounding. Few values prove nothing: with
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
"""

import functools
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

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


class EncoderCounts(NamedTuple):
  """Work of a spiking encoder, and its mean |s|; nothing and None if direct."""
  elementwise: Elementwise
  spike_rate: float | None


class LayerCounts(NamedTuple):
  """Operations and activity of a layer."""
  input: Product  # with W
  recurrent: Product  # with U
  elementwise: Elementwise
  spike_rate: Sites  # mean |s| of each neuron, and of an h that is spikes
  sparsity: Sites  # fraction of zeros of each site's output


class ReadoutCounts(NamedTuple):
  """Operations of the read-out and of its pooling."""
  product: Product
  elementwise: Elementwise


class Counts(NamedTuple):
  """Mean operations per inference; `sequences` is how many were averaged."""
  encoder: EncoderCounts
  layers: tuple[LayerCounts, ...]
  readout: ReadoutCounts
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


class _Operand(NamedTuple):
  """What enters a product."""
  cost: np.ndarray  # nnz or |k| over all sequences, [N, S, F]
  accumulates: bool

  def at(self, elements: slice) -> '_Operand':
    return self._replace(cost=self.cost[elements])


def count_operations(model: Model, x: Any, *, batch_size: int = 128) -> Counts:
  """Runs a network and counts its operations by the rules of this module.

  Args:
    model: an ANN or SNN.
    x: raw input, NumPy or JAX, [B, N, D].
    batch_size: sequences run at a time; does not change the result.

  Raises:
    ValueError: if x, or what a layer puts out, is not finite.

  Example:
    energy.ledger(count_operations(model, x_test))[1].total  # pJ per sequence
  """
  x = np.asarray(x)
  types.check_shape('count_operations: x', x, 'B N D', D=model.num_features)
  types.check_positive('count_operations: batch_size', batch_size)

  def over_batches(merge: Callable, low: Any = None) -> Any:
    batches = (x[i:i + batch_size] for i in range(0, len(x), batch_size))
    seen = (jax.device_get(_watch(model, batch, low)) for batch in batches)
    is_seen = lambda node: isinstance(node, _Seen)
    merge_all = functools.partial(jax.tree.map, merge, is_leaf=is_seen)
    return functools.reduce(merge_all, seen)

  places, sites, spikes = over_batches(_Seen.merge)
  outputs = {f'layer {i}': layer.h.high for i, layer in enumerate(sites)}
  for name, values in {'x': x, **outputs}.items():
    if not np.isfinite(values).all():
      raise ValueError(f'count_operations: {name} has NaN or infinite values; '
                       'expected finite ones. Is a leaf of the model NaN?')
  # What may be increments is looked at again.
  low = [[a.candidate for a in place] for place in places]
  found = over_batches(np.add, low) if jax.tree.leaves(low) else low
  operands, total = [*map(_operand, places, found)], len(x)
  layer = functools.partial(_layer, model.config, total)
  layers = map(layer, model.layers, sites, spikes, operands, operands[1:])
  encoder = _encoder(model, places[0][0], operands[0], total)
  readout = _readout(model, operands[len(sites):], total)
  return Counts(encoder, tuple(layers), readout, total)


@jax.jit
def _watch(model: Model, x: Array, low: Any) -> Any:
  """What may be operands, and the activity at all sites, in a batch.

  Places are the product with W, those with what each layer hands on, and that
  with each pooled part; each has a list of operands in order of preference.

  Returns (places, sites and spikes of each layer) as `_Seen`; given increments
  of the places, `_multiples` of these where they are not None.
  """
  config, sites, shared = model.config, [], model.config.coupling == 'shared'
  see = lambda r: (r.output.h, jax.tree.map(_see, (r.output, r.spikes)))
  forward = model_lib.apply(model, x, observe=see)
  encoded, same = forward.encoded, forward.encoded.values.ndim == 3
  places = [[jnp.swapaxes(x, 0, 1)[:, None]]]
  if encoded.spikes is not None:
    places = [[encoded.spikes] + [encoded.values[:, None]] * same]
  first = lambda seen, s: _Seen(*(leaf[:, :s] for leaf in seen))
  for layer, (h, (output, _)) in zip(model.layers, forward.observed):
    same &= not layer.neurons.present  # in each step, what the next layer sees
    again = same or shared  # all steps see the same input and state
    varies = {s: not again or s in layer.neurons.present for s in types.SITES}
    varies['c'] |= varies['i'] or varies['f'] or varies['g']
    varies['h'] |= varies['o'] or varies['c']
    steps = Sites(*(config.num_steps if varies[s] else 1 for s in types.SITES))
    sites.append(Sites(*map(first, output, steps)))
    places.append([h[:, :steps.h]])
    if shared and not same:
      same, places[-1] = True, places[-1] + [h.mean(1, keepdims=True)]
  for pooled in jnp.split(forward.pooled, len(config.pooling), -1):
    places.append([pooled[None, None]])
  if low is None:
    spikes = [seen for _, (_, seen) in forward.observed]
    return jax.tree.map(_see, places), sites, spikes
  return [[*map(_multiples, *place)] for place in zip(places, low)]


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


def _operand(place: Sequence[_Seen], found: Sequence[Any]) -> _Operand:
  """The first of these operands that accumulates, else the last."""
  for seen, multiples in zip(place, found):
    if seen.are_spikes:
      return _Operand(seen.nonzero, True)
    if multiples is not None:
      (totals, misfits), m = multiples, np.arange(1, MOST + 1)[:, None]
      fits = (misfits == 0) & seen.within(MOST / m)
      if fits.any(0).all():
        least = fits.argmax(0)[None, None, None]
        return _Operand(np.take_along_axis(totals, least, 0)[0], True)
  return _Operand(place[-1].nonzero, False)


def _encoder(model: Model, seen: _Seen, operand: _Operand,
             sequences: int) -> EncoderCounts:
  neuron, (num_elements, steps, units) = model.encoder.neuron, seen.low.shape
  if neuron is None:
    return EncoderCounts(Elementwise(), None)
  means = 1 + steps - operand.cost.shape[1]  # -mean, and the mean over steps
  work, rate = _neuron(neuron, True, seen, sequences)
  add = Elementwise(add=num_elements * units * means)
  return EncoderCounts(_sum_up([work, add]), rate)


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
  return LayerCounts(_product(operand, 4 * hidden, sequences),
                     _product(h.at(slice(-1)), 4 * hidden, sequences),
                     _sum_up(work), Sites(**rate), Sites(*zeros))


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
  products, work = [], []
  for name, operand in zip(model.config.pooling, pooled):
    terms = additions[name]
    if name == 'last' and h.accumulates:
      operand, terms = h.at(slice(-1, None)), 0
    products.append(_product(operand, model.num_outputs, sequences))
    add = min(terms * hidden, _mean(h.cost, sequences))
    compare = (num_elements - 1) * hidden if name == 'max' else 0
    work.append(Elementwise(add=add, compare=compare))
  return ReadoutCounts(Product(*map(sum, zip(*products))), _sum_up(work))


def _product(operand: _Operand, outputs: int, sequences: int) -> Product:
  amount = _mean(operand.cost, sequences, outputs)
  return Product(ac=amount) if operand.accumulates else Product(mac=amount)


def _sum_up(work: Sequence[Elementwise]) -> Elementwise:
  return Elementwise(*map(float, map(sum, zip(*work))))


def _mean(counts: np.ndarray, denominator: int, factor: int = 1) -> float:
  """An exact integer sum times a factor, over a denominator."""
  return int(np.sum(counts, dtype=np.int64)) * factor / denominator
