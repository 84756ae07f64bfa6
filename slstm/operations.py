"""Counts the operations of an inference, from real activity on real data.

`activity` says which operand of each product is spikes, increments or analog,
and so whether it takes accumulates (AC) or multiply-accumulates (MAC). Counts
are means per sequence. An analog mean over S steps takes S - 1 additions.
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
import numpy as np

from slstm import activity
from slstm import borders
from slstm import neurons
from slstm import padding
from slstm import types
from slstm.activity import Operand
from slstm.activity import Seen
from slstm.types import Config, Elementwise, Layer, Model, Sites


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


class _Size(NamedTuple):
  """How many sequences there are, and elements in all of them."""
  sequences: int
  elements: int

  @property
  def length(self) -> float:
    """N, the mean over sequences."""
    return self.elements / self.sequences


def count_operations(model: Model,
                     x: Any,
                     *,
                     lengths: Any = None,
                     batch_size: int = 128) -> Counts:
  """Runs a network and counts its operations by the rules of this module.

  Args:
    model: an ANN or SNN.
    x: raw input, NumPy or JAX, [B, N, D].
    lengths: how many elements of each sequence are real, [B]; None for all.
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
  padding.check(lengths, x, 'count_operations: lengths')
  lengths = None if lengths is None else np.asarray(lengths)
  seen = activity.observe(model, x, lengths, batch_size)
  elements = len(x) * x.shape[1] if lengths is None else int(lengths.sum())
  operands, size = seen.operands, _Size(len(x), elements)
  layer = functools.partial(_layer, model.config, size)
  layers = tuple(
      map(layer, model.layers, seen.sites, seen.first_f, seen.spikes, operands,
          operands[1:]))
  encoder = _encoder(model, seen.encoder, operands[0], size)
  readout = _readout(model, operands[len(layers):], size)
  fetched = sum(part.sum(0, dtype=np.int64) for part in
                _fetched(model, operands))  # yapf: disable
  quantiles = np.quantile(fetched, (0, 0.05, 0.5, 0.95, 1))
  return Counts(encoder, layers, readout, _stored(model, seen.sites, operands),
                tuple(map(float, quantiles)), len(x))


def _fetched(model: Model, operands: Sequence[Operand]) -> Iterator[np.ndarray]:
  """Weights that each product fetches, by element and sequence, [N, B]."""
  for layer, x, h in zip(model.layers, operands, operands[1:]):
    yield 4 * layer.num_units * x.rows.by_sequence
    yield 4 * layer.num_units * h.rows.by_sequence[:-1]
  h, *pooled = operands[len(model.layers):]
  for name, operand in zip(model.config.pooling, pooled):
    yield model.num_outputs * _pooled(name, h, operand).rows.by_sequence


def _pooled(name: str, h: Operand, pooled: Operand) -> Operand:
  """Operand of the read-out: for 'last' and 'each' steps that accumulate."""
  if h.accumulates and not h.is_change:
    if name == 'last':
      return h.at(slice(-1, None))
    if name == types.EACH:
      return h
  return pooled


def _stored(model: Model, sites: Sequence[Sites],
            operands: Sequence[Operand]) -> Stored:
  weights = sum(leaf.size for part in (*model.layers, model.readout)
                for leaf in jax.tree.leaves(part) if leaf.ndim == 2
               )  # yapf: disable
  pools = sum(map(_keeps_pool, model.config.pooling))
  states = pools * model.layers[-1].num_units
  neuron = model.encoder.neuron
  kept = _carried(neuron) + _keeps_last(neuron, operands[0])
  states += model.num_features * kept
  accumulators = 0
  for layer, seen, x, h in zip(model.layers, sites, operands, operands[1:]):
    states += layer.num_units * _states(model.config, layer, seen, h)
    accumulators += 4 * layer.num_units * (x.is_change or h.is_change)
  return Stored(weights, states, accumulators)


def _keeps_pool(name: str) -> bool:
  """Whether a sum or maximum runs over the elements."""
  return name not in ('last', types.EACH)


def _states(config: Config, layer: Layer, sites: Sites, h: Operand) -> int:
  """Values that a unit keeps from element to element."""
  slots = sites.c.low.shape[1] if config.coupling == 'step' else 1
  carried = sum(map(_carried, layer.neurons))
  return slots + carried + _keeps_last(layer.neurons.h, h)


def _keeps_last(neuron: Any, operand: Operand) -> bool:
  """Whether a change is taken from a value that no neuron carries."""
  cumulative = neuron is not None and neurons.kind_of(neuron).cumulative
  return operand.is_change and not cumulative


def _carried(neuron: Any) -> int:
  """Values per unit that a neuron keeps from element to element."""
  if neuron is None or not neurons.kind_of(neuron).carried:
    return 0
  return len(jax.tree.leaves(neurons.initial_state(neuron, (1, 1))))


def _encoder(model: Model, spikes: Seen | None, operand: Operand,
             size: _Size) -> EncoderCounts:
  neuron = model.encoder.neuron
  if neuron is None or spikes is None:
    kept = (operand.is_change * size.length * operand.cost.shape[1] *
            model.num_features)
    return EncoderCounts(Elementwise(add=kept), None, Moved(states=2 * kept))
  _, steps, units = spikes.low.shape
  means = 1  # -mean, and the mean over steps
  if not neurons.kind_of(neuron).cumulative:
    means += steps - operand.cost.shape[1]
  work, rate = _neuron(neuron, True, spikes, size)
  values = size.length * units
  kept = _keeps_last(neuron, operand)
  add = Elementwise(add=values * (means + kept))
  moved = Moved(activations=values + operand.fetched / size.sequences,
                states=2 * values * (_carried(neuron) + kept))
  return EncoderCounts(_sum_up([work, add]), rate, moved)


def _layer(config: Config, size: _Size, layer: Layer, sites: Sites,
           first_f: Seen, spikes: Sites, operand: Operand,
           h: Operand) -> LayerCounts:
  (sequences, elements), length = size, size.length
  hidden = layer.num_units
  steps = {s: seen.low.shape[1] for s, seen in sites._asdict().items()}
  gating = {s: seen.are_spikes for s, seen in sites._asdict().items()}
  multiply = 0.0
  for a, b in ('ff', 'ig', 'oc'):
    if not gating[a] and not gating[b]:
      times = length - (a == 'f')
      multiply += times * hidden * max(steps[a], steps[b])
  squashed = set('ifgoc') - set(layer.neurons.present)
  analog = length * hidden * sum(steps[site] for site in squashed)
  smooth = analog if config.family == 'standard' else 0
  add = max(steps['i'], steps['f'], steps['g'])
  add += add - 1 if config.coupling == 'shared' else 0
  # If the next product sees the mean.
  means = length * hidden * (steps['h'] - h.cost.shape[1])
  add = (length - 1) * hidden * add + means
  work = [Elementwise(multiply, add, 0, smooth, analog - smooth)]
  for site in 'ifg':
    seen = getattr(sites, site)
    if gating[site]:
      scaled = np.abs(seen.increment - 1) > activity.ROUNDING
      multiply = _mean(seen.nonzero[..., scaled], sequences)
      if site == 'f':
        multiply -= _mean(first_f.nonzero[:, :steps['f'], scaled], sequences)
      work.append(Elementwise(multiply=multiply))
  everything = elements * hidden * steps['h']
  rate = {'h': _mean(sites.h.nonzero, everything)} if gating['h'] else {}
  for site in layer.neurons.present:
    neuron, fired = getattr(layer.neurons, site), getattr(spikes, site)
    signed = site in types.SIGNED_SITES
    each, rate[site] = _neuron(neuron, signed, fired, size)
    work.append(each)
  everything_of = [elements * a.low[0].size for a in sites]
  zeros = (_mean(every - np.sum(a.nonzero, dtype=np.int64), every)
           for every, a in zip(everything_of, sites))  # yapf: disable
  of_h = rate.get('h')
  if of_h is not None:
    of_h *= (spikes.h or sites.h).low.shape[1]
  recurrent, values = h.at(slice(-1)), length * hidden
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
                     h.fetched / (elements * hidden), moved)


def _neuron(neuron: Any, signed: bool, spikes: Seen,
            size: _Size) -> tuple[Elementwise, float]:
  """(work, spike rate) of the neurons of all units over all elements."""
  _, num_steps, units = spikes.low.shape
  costs = neurons.kind_of(neuron).work(neuron, signed, num_steps)
  trains = size.length * units
  fired = _mean(spikes.nonzero, size.sequences)
  work = (trains * a + fired * b for a, b in zip(*costs))
  rate = _mean(spikes.nonzero, size.elements * num_steps * units)
  return Elementwise(*work), rate


def _readout(model: Model, operands: Sequence[Operand],
             size: _Size) -> ReadoutCounts:
  h, *pooled = operands
  _, steps, hidden = h.cost.shape
  sequences, length = size.sequences, size.length
  additions = {'last': steps - 1, 'mean': length * steps - 1,
               'max': length * (steps - 1), types.EACH: length * (steps - 1)
              }  # yapf: disable
  products, work, fetched, kept, sums = [], [], 0, 0, 1.0
  for name, operand in zip(model.config.pooling, pooled):
    seen, terms = _pooled(name, h, operand), additions[name]
    if seen is not operand:
      terms = 0
    products.append(_product(seen, model.num_outputs, sequences))
    add = min(terms * hidden, _mean(h.summed, sequences))
    compare = (length - 1) * hidden if name == 'max' else 0
    work.append(Elementwise(add=add, compare=compare))
    fetched += seen.fetched
    kept += _keeps_pool(name)
    if name == types.EACH:
      sums = length * (1 + seen.is_change)
  moved = Moved(model.num_outputs * fetched / sequences,
                activations=fetched / sequences,
                states=2 * length * hidden * kept,
                accumulators=model.num_outputs * sums)
  return ReadoutCounts(Product(*map(sum, zip(*products))), _sum_up(work), moved)


def _product(operand: Operand, outputs: int, sequences: int) -> Product:
  amount = _mean(operand.cost, sequences, outputs)
  return Product(ac=amount) if operand.accumulates else Product(mac=amount)


def _sum_up(work: Sequence[Elementwise]) -> Elementwise:
  return Elementwise(*map(float, map(sum, zip(*work))))


def _mean(counts: np.ndarray, denominator: int, factor: int = 1) -> float:
  """An exact integer sum times a factor, over a denominator."""
  return int(np.sum(counts, dtype=np.int64)) * factor / denominator
