"""Counts the operations of an inference, from real activity on real data.

All counts are means per sequence. N elements, T steps; an operand that is the
same at all T steps (direct encoding, analog layers upon it or with coupling
'shared', coupling 'rate') is used once an element: S = 1, else S = T. A spiking
encoder whose S steps all T share is an operand of spikes in N S steps. `nnz`
counts the non-zeros of an operand over n, t and unit.

Products, for an operand of F features and M outputs (4H, or K):

  an operand of spikes    nnz M AC          any other    N S F M MAC
  U h_{n-1}               n >= 2 only, as h_0 = 0, for ANN and SNN alike
  read-out, 'last'        spikes at n = N: nnz K AC; analog: H K MAC
  read-out, 'mean', 'max' H K MAC each
  biases, W x_n at t > 1  nothing: they are where the accumulator starts

An operand is spikes if its *values*, over all the data, are found in amplitude
* {-1, 0, 1}, where the amplitude (of the encoder, of h, or of o times c; folded
into the rows of the next matrix) may differ from unit to unit. A site of the
'quantised' family with one level has amplitude 1: an ANN gets the same credit.

Element-wise work, for each (n, t, unit) or, where t does not matter, (n, unit):

  analog sigmoid, tanh    1 `smooth` (site h is the identity, and free)
  analog clip             1 `clip`; its affine part and the levels of the
                          'quantised' family fold into W, U and b
  f c, i g, o phi(c)      1 multiplication each, f c at n >= 2 only; none where
                          an operand is a spike: gating
  spike of i, f, g        1 multiplication if its amplitude is not 1; those of
                          o, c, h fold into a matrix or into the threshold of h
  f c + i g               1 addition, n >= 2 only
  neuron, each step       1 addition d + v; 1 comparison if binary, 2 if ternary
  its leak                1 multiplication, t >= 2 only, as v_0 is a constant
  its reset               1 addition a spike
  spiking encoder         a ternary neuron, and 1 addition of -mean for each n;
                          std folds into its threshold (if direct, into W)
  mean over t, n          1 addition a spike, or one less than analog terms;
                          none if a product with spikes does it ('last')
  max over n              N - 1 comparisons

Zeros of an operand that is not spikes are not skipped, for ANN and SNN alike.
Hardware could skip some of N D 4H on images of few pixels that are not 0, which
would bring the LSTM, and direct encoding, nearer to spikes at the input.

With coupling 'shared' all T steps start from one state: analog gates, f c and
i g of analog operands are the same for all t and count once an element, and so
do c, phi(c) and o phi(c) unless i, f or g spike. If they do, the next element
needs the mean of c, T - 1 additions; an analog h is averaged likewise. 1/T
folds into U, and into W of the next layer.

With coupling 'rate' and T > 1 the neurons take T steps an element and hand on a
rate: products with h are MAC, Hadamard products multiply, each non-zero rate of
i, f or g counts as a spike for its amplitude, and 1/T is taken to be free. The
rules count a neuron's work in full (the reset after step T and additions of
zeros to c could be saved), which does not favour the SNN.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from slstm import activity
from slstm import types
from slstm.activity import Activity
from slstm.types import Config, Layer, Neuron, Params, Sites


class Product(NamedTuple):
  """Operations of a matrix product: multiply-accumulates and accumulates."""
  mac: float = 0.0
  ac: float = 0.0


class Elementwise(NamedTuple):
  """Operations that are no part of a matrix product, see the module."""
  multiply: float = 0.0
  add: float = 0.0
  compare: float = 0.0
  smooth: float = 0.0
  clip: float = 0.0


class EncoderCounts(NamedTuple):
  """Work of a spiking encoder, and its mean |s|; nothing and None if direct."""
  elementwise: Elementwise
  spike_rate: float | None


class LayerCounts(NamedTuple):
  """Operations and activity of one layer.

  Attributes:
    input: product with W.
    recurrent: product with U.
    elementwise: the rest.
    spike_rate: mean |s| over n, t and unit, in [0, 1], of each converted site;
      for h also where it is the product of spikes of o and c. None elsewhere.
    sparsity: fraction of zeros of each site's output, in [0, 1].
  """
  input: Product
  recurrent: Product
  elementwise: Elementwise
  spike_rate: Sites
  sparsity: Sites


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


class _Operand(NamedTuple):
  """What enters a matrix product: its non-zeros over sequences, [N, S, F]."""
  nonzero: np.ndarray
  is_spikes: bool


def count_operations(params: Params,
                     x: Any,
                     config: Config,
                     executor: str = 'stacked',
                     batch_size: int = 128) -> Counts:
  """Runs a network and counts its operations by the rules of this module.

  Args:
    params: an ANN or SNN.
    x: raw input, NumPy or JAX, [N, B, D]; B may exceed what fits in memory.
    config: static choices; num_steps is T.
    executor: a key of `executor.EXECUTORS`; the counts are the same.
    batch_size: sequences run at a time.

  Returns:
    Counts, each a mean over the B sequences of an exact integer sum.

  Raises:
    ValueError: if x is not [N, B, D] with N, B >= 1 and the network's D, if x
      or the network's activity is not finite, or for a batch size below 1.
  """
  x = np.asarray(x)
  if config.num_steps == 1:  # where all couplings are the same
    config = dataclasses.replace(config, coupling='step')
  seen_input, seen_layers = activity.watch(params, x, config, executor,
                                           batch_size)
  sequences = x.shape[1]
  encoder, operand = _encoder(params.encoder.neuron, seen_input, config,
                              sequences)
  layers = []
  for layer, seen in zip(params.layers, seen_layers):
    counts, operand = _layer(layer, seen, operand, config, sequences)
    layers.append(counts)
  readout = _readout(operand, params.readout.b.shape[0], config.pooling,
                     sequences)
  return Counts(encoder, tuple(layers), readout, sequences)


def _encoder(neuron: Neuron | None, seen: Activity, config: Config,
             sequences: int) -> tuple[EncoderCounts, _Operand]:
  nonzero = seen.nonzero.h
  num_elements, num_steps, features = nonzero.shape
  if neuron is None:
    return EncoderCounts(Elementwise(), None), _Operand(nonzero, False)
  inputs = num_elements * features
  work = _neuron(neuron, True, inputs, num_steps, _mean(nonzero, sequences))
  counts = EncoderCounts(work._replace(add=work.add + inputs),
                         _mean(nonzero, sequences * nonzero.size))
  return counts, _Operand(nonzero, activity.is_spikes(seen, neuron.amplitude))


def _layer(layer: Layer, seen: Activity, operand: _Operand, config: Config,
           sequences: int) -> tuple[LayerCounts, _Operand]:
  """Counts of a layer upon its input, and what it hands on."""
  nonzero = seen.nonzero
  num_elements, slots, hidden = nonzero.h.shape
  amplitude = _amplitudes(layer, config)
  h = _Operand(nonzero.h, activity.is_spikes(seen, amplitude['h']))
  work = _elementwise(layer, seen, amplitude, config, sequences)
  if config.coupling == 'shared' and not h.is_spikes:  # their mean over t
    h = h._replace(nonzero=h.nonzero[:, :1])
    work = work._replace(add=work.add + num_elements * (slots - 1) * hidden)
  units = sequences * num_elements * hidden
  rate = jax.tree.map(lambda a: _mean(a, units * config.num_steps), seen.spikes)
  if h.is_spikes and rate.h is None:
    rate = rate._replace(h=_mean(nonzero.h, units * slots))
  counts = LayerCounts(input=_product(operand, 4 * hidden, sequences),
                       recurrent=_product(h._replace(nonzero=h.nonzero[:-1]),
                                          4 * hidden, sequences),
                       elementwise=work,
                       spike_rate=rate,
                       sparsity=jax.tree.map(
                           lambda a: _mean(sequences - a, units * slots),
                           nonzero))
  return counts, h


def _amplitudes(layer: Layer, config: Config) -> dict[str, Any]:
  """The amplitude, [] or [H], of sites that output spikes; None of others."""
  one_level = config.family == 'quantised' and config.levels == 1
  analog = np.ones((), np.float32) if one_level else None
  amplitude: dict[str, Any] = dict.fromkeys('ifgoc', analog)
  for site in layer.neurons.present:
    value = np.asarray(getattr(layer.neurons, site).amplitude)
    amplitude[site] = None if config.coupling == 'rate' else value
  if 'h' not in amplitude:
    both = amplitude['o'] is not None and amplitude['c'] is not None
    amplitude['h'] = amplitude['o'] * amplitude['c'] if both else None
  return amplitude


def _elementwise(layer: Layer, seen: Activity, amplitude: dict[str, Any],
                 config: Config, sequences: int) -> Elementwise:
  num_elements, slots, hidden = seen.nonzero.h.shape
  shared = config.coupling == 'shared'
  differ = any(site in 'ifg' for site in layer.neurons.present)
  gate_slots = 1 if shared else slots
  cell_slots = 1 if shared and not differ else slots
  gates, cells = (
      num_elements * count * hidden for count in (gate_slots, cell_slots))
  # Those of n >= 2, where c_{n-1} is not 0.
  later_gates, later_cells = (
      count - count // num_elements for count in (gates, cells))
  means = (num_elements - 1) * (slots - 1) * hidden if shared and differ else 0
  multiply = 0.0
  for sites, count in (('f', later_gates), ('ig', gates), ('oc', cells)):
    gating = any(amplitude[site] is not None for site in sites)
    multiply += 0 if gating else count
  analog = sum(gates if site in 'ifgo' else cells
               for site in 'ifgoc'
               if getattr(layer.neurons, site) is None)
  smooth = analog if config.family == 'standard' else 0
  work = [
      Elementwise(multiply,
                  later_cells + means,
                  smooth=smooth,
                  clip=analog - smooth)
  ]
  for site in layer.neurons.present:
    neuron = getattr(layer.neurons, site)
    if site in 'ifg':
      scaled = np.broadcast_to(np.asarray(neuron.amplitude) != 1, (hidden,))
      fired = getattr(seen.nonzero, site)[1 if site == 'f' else 0:, :, scaled]
      work.append(Elementwise(multiply=_mean(fired, sequences)))
    spikes = _mean(getattr(seen.spikes, site), sequences)
    work.append(
        _neuron(neuron, site in types.SIGNED_SITES, num_elements * hidden,
                config.num_steps, spikes))
  return Elementwise(*map(float, map(sum, zip(*work))))


def _neuron(neuron: Neuron, signed: bool, trains: int, num_steps: int,
            spikes: float) -> Elementwise:
  """The work of neurons that ran from v_0 over T steps, `trains` times."""
  leaks = 0 if neuron.leak is None else trains * (num_steps - 1)
  return Elementwise(multiply=float(leaks),
                     add=trains * num_steps + spikes,
                     compare=float(trains * num_steps * (2 if signed else 1)))


def _readout(h: _Operand, num_classes: int, pooling: tuple[str, ...],
             sequences: int) -> ReadoutCounts:
  num_elements, slots, hidden = h.nonzero.shape
  spikes = _mean(h.nonzero, sequences)
  products, work = [], []
  for name in pooling:
    pooled = h._replace(nonzero=h.nonzero[-1:, :1], is_spikes=False)
    add, compare = 0.0, 0.0
    if name == 'last' and h.is_spikes:
      pooled = h._replace(nonzero=h.nonzero[-1:])
    elif name == 'last':
      add = (slots - 1) * hidden
    elif name == 'mean':
      add = spikes if h.is_spikes else (num_elements * slots - 1) * hidden
    else:
      add = spikes if h.is_spikes else num_elements * (slots - 1) * hidden
      compare = (num_elements - 1) * hidden
    products.append(_product(pooled, num_classes, sequences))
    work.append(Elementwise(add=add, compare=compare))
  return ReadoutCounts(Product(*map(sum, zip(*products))),
                       Elementwise(*map(float, map(sum, zip(*work)))))


def _product(operand: _Operand, outputs: int, sequences: int) -> Product:
  if operand.is_spikes:
    return Product(ac=_mean(operand.nonzero, sequences, outputs))
  return Product(mac=float(operand.nonzero.size * outputs))


def _mean(counts: np.ndarray, denominator: int, factor: int = 1) -> float:
  """An exact integer sum times a factor, over a denominator."""
  return int(np.sum(counts, dtype=np.int64)) * factor / denominator
