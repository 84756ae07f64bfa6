"""Turns a network into integers of few bits, see `slstm.integer`.

Scales are powers of two, so that all of them are shifts. Weights have a scale
for each gate of a matrix: that of the least squared error among the one that
holds the largest weight, and the one of half of it, which saturates. What is
folded into a row, the amplitude of its spikes, is that of the integer neuron.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slstm import borders
from slstm import integer
from slstm import model as model_lib
from slstm import padding
from slstm import types
from slstm.integer import FEATURE
from slstm.integer import FRACTION
from slstm.integer import IntegerEncoder
from slstm.integer import IntegerLayer
from slstm.integer import IntegerLIF
from slstm.integer import IntegerModel
from slstm.integer import IntegerSigmaDelta
from slstm.integer import MEMBRANE
from slstm.integer_check import check_integers
from slstm.integer_check import MOST_C_BITS
from slstm.neurons import LIF
from slstm.sigma_delta import SigmaDelta
from slstm.types import Model, Sites

_MOST_BITS = 20  # of weights, where all of them are tiny


def quantise(model: Model,
             x: Any,
             *,
             lengths: Any = None,
             bits: int = 8) -> IntegerModel:
  """Makes the integers that a microcontroller computes with.

  Args:
    model: an ANN, or an SNN of LIF or sigma-delta neurons.
    x: raw inputs for calibration, [B, N, D], which decide the ranges of the
      input and of the cell states.
    lengths: how many elements of each sequence are real, [B]; None for all.
    bits: of weights, 2 to 8.

  Raises:
    ValueError: for neurons of other types, for amplitudes that do not fit, for
      sums that could overflow 32 bits.

  Example:
    ints = slstm.quantise(model, data.train.x[:512])
    logits = slstm.integer.outputs(ints, data.test.x)
  """
  if bits not in range(2, 9):
    raise ValueError(f'quantise: bits is {bits!r}; expected 2 to 8.')
  if model.config.is_labelling:
    raise ValueError('quantise: the model has one output per element; expected '
                     "pooling of 'last', 'mean' or 'max'. Integers of outputs "
                     'per element are not there yet.')
  model_lib.check_model(model)
  borders.check_model(model, 'quantise: model')
  types.check_shape('quantise: x', np.asarray(x), 'B N D', D=model.num_features)
  borders.check_inputs(x, 'quantise: x')
  limit, config = 2**(bits - 1) - 1, model.config
  x = np.asarray(x)
  if lengths is not None:
    padding.check(lengths, x, 'quantise: lengths')
    real = padding.of_examples(x, lengths)[..., None]
    x = np.where(real, x, np.asarray(model.encoder.mean))
  ranges = _ranges(model, x)
  model = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model)
  encoder, rows, sum_bits = _encoder(model, np.asarray(x, np.float64))
  layers, below = [], encoder.neuron
  for index, (layer, largest) in enumerate(zip(model.layers, ranges)):
    what = f'quantise: layers[{index}]'
    neurons = {k: _neuron(f'{what} at {k}', getattr(layer.neurons, k),
                          layer.num_units, k in types.SIGNED_SITES)
               for k in layer.neurons.present}  # yapf: disable
    own_rows, own_bits = _amplitude(layer, neurons, config)
    both_run = all(
        isinstance(neuron, IntegerSigmaDelta)
        for neuron in (below, neurons.get('h')))
    made = _products(layer, (rows, own_rows), (sum_bits, own_bits), limit,
                     config, both_run)
    c_bits = math.floor(math.log2(2**15 / max(2 * largest, 1e-9)))
    layers.append(
        IntegerLayer(*made, min(max(c_bits, 0), MOST_C_BITS), Sites(**neurons)))
    rows, sum_bits, below = own_rows, own_bits, neurons.get('h')
  ints = _readout(model, layers, encoder, rows, limit)
  check_integers(ints, 'quantise')
  return ints


def _round(values: Any, bits: int) -> np.ndarray:
  return np.floor(np.asarray(values) * 2.0**bits + 0.5).astype(np.int32)


def _slope(gate: str, config: types.Config) -> float:
  """The factor of z in the drive of a gate."""
  return 1.0 if gate == 'g' else 1 / (2 * config.slope)


def _ranges(model: Model, x: np.ndarray) -> list[float]:
  """Largest |c| of each layer."""
  observe = lambda record: jnp.abs(record.state.c).max()
  run = jax.jit(functools.partial(model_lib.apply, observe=observe))
  parts = [run(model, x[k:k + 256]).observed for k in range(0, len(x), 256)]
  return [max(float(part[i].max()) for part in parts)
          for i in range(len(model.layers))]  # yapf: disable


def _neuron(what: str,
            neuron: Any,
            units: int,
            signed: bool,
            bits: int = FRACTION) -> Any:
  """A neuron in integers, its drive being one of some bits."""
  full = lambda leaf: np.broadcast_to(np.asarray(leaf), (units,))
  if type(neuron) is SigmaDelta:  # another type may be another neuron
    theta = _round(full(neuron.theta), bits)
    level = 0.5 if neuron.level is None else full(neuron.level)
    if not 1 <= theta.min() <= theta.max() < 2**15:
      raise ValueError(
          f'{what}: theta is in {np.min(neuron.theta):.3g} .. '
          f'{np.max(neuron.theta):.3g}; expected >= 2^-{bits} and < '
          f'{2.0**(15 - bits):g}, for 16 bits.')
    # A level below theta / 2 would fire to and fro for ever.
    level = np.maximum(_round(level * theta, 0), (theta + 1) // 2)
    return IntegerSigmaDelta(theta, level)
  if type(neuron) is not LIF:
    raise ValueError(f'{what} is a {type(neuron).__name__}; expected a LIF or '
                     'SigmaDelta.')
  v_th, v_0 = (_round(full(v), MEMBRANE) for v in (neuron.v_th, neuron.v_0))
  amplitude = _round(full(neuron.amplitude), FRACTION)
  if (np.abs(amplitude).max() >= 2 * integer.ONE or v_th.min() < 1 or
      max(v_th.max(),
          np.abs(v_0).max()) >= 2**15):
    raise ValueError(
        f'{what}: amplitudes up to {np.abs(neuron.amplitude).max():.3g}, v_th '
        f'in {np.min(neuron.v_th):.3g} .. {np.max(neuron.v_th):.3g}, v_0 up to '
        f'{np.abs(neuron.v_0).max():.3g}; expected |amplitude| < 2, v_th >= '
        f'2^-{MEMBRANE} and both < 8.')
  level = (v_th + 1) // 2 if signed else v_th
  leak = None if neuron.leak is None else _round(full(neuron.leak), 15)
  return IntegerLIF(v_th, v_0, level, amplitude, leak)


def _encoder(model: Model,
             x: np.ndarray) -> tuple[IntegerEncoder, np.ndarray, int]:
  """The encoder, and amplitude [D] and fraction bits of what it sends."""
  encoder, config = model.encoder, model.config
  d = (x - encoder.mean) / encoder.std
  mean, std = (np.asarray(v, np.float32) for v in (encoder.mean, encoder.std))
  ones = np.ones(model.num_features)
  if encoder.neuron is None:

    def error(bits):
      q = integer.saturate(np.floor(d * 2.0**bits + 0.5), 127)
      return np.square(q * 2.0**-bits - d).sum()

    bits = min(range(8), key=error)
    return IntegerEncoder(mean, std, bits, 127), ones, bits
  bits = MEMBRANE
  if isinstance(encoder.neuron, SigmaDelta):  # it has to follow its drive
    while bits and 2 * np.abs(d).max() * 2**bits >= 2**15:
      bits -= 1
  neuron = _neuron('quantise: encoder.neuron', encoder.neuron,
                   model.num_features, True, bits)
  limit = 2**15 - 1
  if isinstance(neuron, IntegerSigmaDelta):
    amplitude = neuron.theta * 2.0**-bits
    limit -= int(neuron.theta.max())  # its output passes the drive by less
  else:
    summed = config.coupling == 'shared' or config.encoder_steps
    amplitude = neuron.amplitude * 2.0**-FRACTION
    amplitude = amplitude / (config.input_steps if summed else 1)
  return IntegerEncoder(mean, std, bits, limit, neuron), amplitude, 0


def _amplitude(layer: Any, neurons: dict[str, Any],
               config: types.Config) -> tuple[np.ndarray, int]:
  """Amplitude [H] and fraction bits of what a layer sends."""
  at_h = neurons.get('h')
  if isinstance(at_h, IntegerSigmaDelta):
    return at_h.theta * 2.0**-FRACTION, 0
  steps = config.num_steps if config.coupling == 'shared' else 1
  if at_h is not None:
    return at_h.amplitude * 2.0**-FRACTION / steps, 0
  if {'o', 'c'} <= set(neurons):
    both = neurons['o'].amplitude * 2.0**-FRACTION
    return both * neurons['c'].amplitude * 2.0**-FRACTION / steps, 0
  return np.ones(layer.num_units), 7


def _products(layer: Any, rows: tuple[np.ndarray, np.ndarray],
              sum_bits: tuple[int, int], limit: int, config: types.Config,
              both_run: bool) -> tuple[Any, Any, Any, Any, Any]:
  """W and U as int8, b, and the shifts of the sums of both.

  Args:
    layer: of floats.
    rows, sum_bits: amplitude and fraction bits of what selects rows of W, U.
    both_run: the sums of both run on, and share their bits so that they can be
      one sum.
  """
  gates = []
  for k in 'ifgo':
    w, u = (scale[:, None] * np.asarray(getattr(part, k)) * _slope(k, config)
            for part, scale in zip((layer.w, layer.u), rows))  # yapf: disable
    if both_run:
      both, bits = _scaled(np.concatenate([w, u]), limit)
      found = [(both[:len(w)], bits), (both[len(w):], bits)]
    else:
      found = [_scaled(w, limit), _scaled(u, limit)]
    shifts = [bits + more - FRACTION
              for (_, bits), more in zip(found, sum_bits)]  # yapf: disable
    b = np.asarray(getattr(layer.b, k)) * _slope(k, config) + (k != 'g') / 2
    gates.append(
        (*(q for q, _ in found), _round(b, FRACTION + max(shifts)), *shifts))
  of_w, of_u, of_b, w_shift, u_shift = zip(*gates)
  w, u, b = (np.concatenate(parts, -1) for parts in (of_w, of_u, of_b))
  return w, u, b, w_shift, u_shift


def _scaled(w: np.ndarray, limit: int) -> tuple[np.ndarray, int]:
  """Weights as int8 of some fraction bits."""
  largest = np.abs(w).max()
  whole = _MOST_BITS
  if largest > 0:
    whole = min(whole, math.floor(math.log2((limit + 0.5) / largest)))

  def rounded(bits):
    return np.clip(np.floor(w * 2.0**bits + 0.5), -limit, limit)

  error = lambda bits: np.square(rounded(bits) * 2.0**-bits - w).sum()
  bits = min((whole, whole + 1), key=error)
  return rounded(bits).astype(np.int8), bits


def _readout(model: Model, layers: list[IntegerLayer], encoder: IntegerEncoder,
             rows: np.ndarray, limit: int) -> IntegerModel:
  config, counts = model.config, layers[-1].sends == integer.SPIKES
  if not counts:  # 14 bits of h itself, also of a running sum
    rows = np.ones_like(rows)
  elif config.coupling == 'step':
    rows = rows / config.num_steps
  if counts and 'max' in config.pooling and rows.min() < 0:
    raise ValueError('quantise: an amplitude of the last layer is < 0; with '
                     "pooling 'max', expected none.")
  rows = np.tile(rows, len(config.pooling))
  w, w_bits = _scaled(rows[:, None] * model.readout.w, limit)
  bits = w_bits + (FEATURE if counts else FRACTION)
  return IntegerModel(encoder, tuple(layers), w, _round(model.readout.b, bits),
                      bits, config)
