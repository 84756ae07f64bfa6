"""One integer model as constant arrays in C, and where its state lies.

`header` writes weights.h, which model.c (slstm/c/model.c) includes: that file
is the same for all models. All that depends on the model is a constant, so that
a compiler can leave out what the model does not use.

Of each unit the gates i, f, g, o follow each other, in rows of weights and in
sums. The arrays of the state:

  s32   sums of products with analog values, of means; what is read out
  sums  sums of spikes, of 16 bits if `integer_check.bounds` says that all fit
  s16   cell states, outputs of sigma-delta neurons, membranes
  s8    what layers and the encoder have sent in the element before
"""

from typing import Any, NamedTuple

import numpy as np

from slstm import integer
from slstm import integer_check
from slstm import types
from slstm.integer import ANALOG
from slstm.integer import IntegerLayer
from slstm.integer import IntegerLIF
from slstm.integer import IntegerModel
from slstm.integer import IntegerSigmaDelta
from slstm.integer import RUNNING
from slstm.integer import SPIKES


class Header(NamedTuple):
  """weights.h.

  Attributes:
    text: of the file.
    sizes: numbers in each array of the state.
    of_layers: those of them that one layer has for itself; the others hold what
      layers share, the input, and what is pooled.
    sum_bits: bits of a sum of spikes, 16 or 32.
    flash: bytes of all constants.
  """
  text: str
  sizes: dict[str, int]
  of_layers: dict[str, int]
  sum_bits: int
  flash: int


def header(model: IntegerModel) -> Header:
  """The arrays of a model, as C."""
  config, layers, arrays = model.config, model.layers, _Arrays()
  room, places = _Room(), {}
  input_kind = integer.sent_by(model.encoder.neuron)
  sent = [input_kind, *(layer.sends for layer in layers)]
  units = max(layer.num_units for layer in layers)
  constants = _of_input(model, room, arrays)
  # Room that all layers share.
  for name, kinds in ('W', sent[:-1]), ('U', sent[1:]):
    constants[name] = room.take('s32', 4 * units * (ANALOG in kinds))
    places[name] = room.take('sums', 4 * units * (SPIKES in kinds))
  fires = any(isinstance(neuron, IntegerLIF)
              for layer in layers for neuron in layer.neurons)  # yapf: disable
  several = config.slots == 1 < config.num_steps
  constants['V'] = room.take('s16', len(types.SITES) * units * fires)
  constants['C_SUMS'] = room.take('s32', units * several)
  constants['OUTPUT'] = room.take('s32', units)
  descriptors, shared = [], dict(room.sizes)
  for index, (layer, below) in enumerate(zip(layers, sent)):
    u_sums, w_sums = places['U'], places['W']
    if layer.sends == RUNNING:
      u_sums = room.take('sums', 4 * layer.num_units)
    if below == RUNNING:
      w_sums = u_sums
      if not joined(layer, below):
        w_sums = room.take('sums', 4 * layer.num_units)
    descriptors.append(
        _layer(arrays, room, index, layer, config, below, layer is layers[-1],
               (w_sums, u_sums)))
  of_layers = {k: room.sizes[k] - size for k, size in shared.items()}
  constants |= _activations(config, arrays)
  pools = _readout(model, constants, room, arrays)
  bits = _sum_bits(model)
  constants |= {'SUM_BITS': bits, 'SLOTS': config.slots,
                'NUM_STEPS': config.num_steps,
                'DENSE_WORDS': max(units, len(model.encoder.mean)) // 2 + 2
               }  # yapf: disable
  calls = ' '.join(f'run({k})' for k in range(len(layers)))
  lines = [
      '/* Written by slstm.export_c: one model. */',
      *(f'#define {name} {value}' for name, value in constants.items()),
      f'#define FOR_LAYERS(run) {calls}',
      f'typedef int{bits}_t sum_t;',
      *arrays.lines,
      f'static const layer layers[] = {{{", ".join(descriptors)}}};',
      f'static const pool pools[] = {{{", ".join(pools)}}};',
      *_comment('mean', model.encoder.mean),
      *_comment('std', model.encoder.std),
      '',
  ]
  # C knows no empty arrays.
  sizes = {name: max(size, 4) for name, size in room.sizes.items()}
  return Header('\n'.join(lines), sizes, of_layers, bits, arrays.bytes)


def joined(layer: IntegerLayer, below: str) -> bool:
  """Whether the sums of both products are one that runs on, from b."""
  return below == layer.sends == RUNNING and layer.w_shift == layer.u_shift


def _half(layer: IntegerLayer) -> np.ndarray:
  """What makes shifts to the right round to nearest, by gate."""
  return np.array([1 << max(bits, 0) >> 1 for bits in layer.shifts])


def _sum_bits(model: IntegerModel) -> int:
  found = integer_check.bounds(model)
  below = integer.sent_by(model.encoder.neuron)
  most = [0.0]
  for index, layer in enumerate(model.layers):
    name, kinds = f'sum of layers[{index}]', (below, layer.sends)
    most += [found[f'{name}.{product}']
             for product, kind in zip('wu', kinds) if kind != ANALOG
            ]  # yapf: disable
    if joined(layer, below):
      most.append(found[name] + _half(layer).max())
    below = layer.sends
  return 16 if max(most) < 2**15 else 32


class _Arrays:
  """Constant arrays in C, and how many bytes they take."""

  def __init__(self) -> None:
    self.lines: list[str] = []
    self.bytes = 0

  def add(self, name: str, values: Any, bits: int, sign: str = '') -> str:
    values = np.ravel(values).astype(np.int64)
    self.bytes += values.size * bits // 8
    kind = f'{sign}int{bits}_t'
    self.lines.append(f'static const {kind} {name}[{values.size}] = {{')
    line = ''
    for value in map(str, values.tolist()):
      if len(line) + len(value) > 76:
        self.lines.append(f' {line}')
        line = ''
      line += f' {value},'
    self.lines.append(f' {line}}};')
    return name

  def add_neuron(self, name: str, neuron: Any) -> str:
    """Declares a neuron; returns its address, or NULL."""
    if isinstance(neuron, IntegerSigmaDelta):
      parts = [self.add(f'{name}_{k}', v, 16)
               for k, v in neuron._asdict().items()]  # yapf: disable
      kind = 'sigma_delta'
    elif isinstance(neuron, IntegerLIF):
      add = lambda k, sign='': self.add(f'{name}_{k}', getattr(neuron, k), 16,
                                        sign)
      leak = 'NULL' if neuron.leak is None else add('leak', 'u')
      parts = [add('v_th'), add('v_0'), add('level'), leak, add('amplitude')]
      kind = 'lif'
    else:
      return 'NULL'
    self.lines.append(f'static const {kind} {name} = {{{", ".join(parts)}}};')
    return f'&{name}'


class _Room:
  """Places in the arrays of the state, each of whole words."""

  def __init__(self) -> None:
    self.sizes = dict.fromkeys(('s32', 'sums', 's16', 's8'), 0)

  def take(self, array: str, count: int, times: int = 1) -> int:
    at = self.sizes[array]
    self.sizes[array] += -(-count // 4) * 4 * times
    return at


def _of_input(model: IntegerModel, room: _Room,
              arrays: _Arrays) -> dict[str, Any]:
  """The encoder; its state comes first."""
  encoder, config = model.encoder, model.config
  kind, features = integer.sent_by(encoder.neuron), len(encoder.mean)
  apart = kind == SPIKES and not config.encoder_steps
  steps = 1 if kind == ANALOG else config.input_steps
  room.take('s16', features * (kind == RUNNING))
  at = arrays.add_neuron('input_neuron', encoder.neuron)
  for name, of, its_kind in (('lif', 'input_lif', SPIKES),
                             ('sigma_delta', 'input_delta', RUNNING)):
    mine = at if kind == its_kind else 'NULL'
    arrays.lines.append(f'static const {name} *const {of} = {mine};')
  return {'INPUT_KIND': kind, 'INPUT_STEPS': steps,
          'INPUT_SLOTS': config.slots if apart else 1,
          'INPUT': room.take('s8', features, steps)}  # yapf: disable


def _layer(arrays: _Arrays, room: _Room, index: int, layer: IntegerLayer,
           config: types.Config, below: str, last: bool,
           sums: tuple[int, int]) -> str:
  """Declares the arrays of a layer; returns its descriptor."""
  name, units, sends = f'layer{index}', layer.num_units, layer.sends
  slots, steps = config.slots, config.num_steps
  weights = []
  for product, q, kind in ('w', layer.w, below), ('u', layer.u, sends):
    q = _dense(_by_unit(q)) if kind == ANALOG else _by_unit(q)
    weights.append(arrays.add(f'{name}_{product}', q, 8))
  b = arrays.add(f'{name}_b',
                 _by_unit(layer.b + np.repeat(_half(layer), units)), 32)
  delta = layer.neurons.h if sends == RUNNING else None
  lifs = layer.neurons._replace(h=None) if delta else layer.neurons
  sites = [arrays.add_neuron(f'{name}_{site}', getattr(lifs, site))
           for site in types.SITES]  # yapf: disable
  alike = config.coupling == 'shared' and not lifs.present
  rows = steps if sends != ANALOG or slots > 1 else 1
  up = [np.subtract(layer.shifts, own)
        for own in (layer.w_shift, layer.u_shift)]  # yapf: disable
  parts = {
      'inputs': len(layer.w),
      'units': units,
      'c_bits': layer.c_bits,
      'w': weights[0],
      'u': weights[1],
      'b': b,
      'w_up': _list(up[0]),
      'u_up': _list(up[1]),
      'down': _list(layer.shifts),
      'site': _list(sites),
      'delta': arrays.add_neuron(f'{name}_h', delta),
      'joined': int(joined(layer, below)),
      'last': int(last),
      'sends': sends,
      'steps': 1 if alike else steps,
      'c': room.take('s16', slots * units),
      'x': room.take('s16', units * (sends == RUNNING)),
      'w_sums': sums[0],
      'u_sums': sums[1],
      'sent': room.take('s8', units, rows),
  }
  return '{\n  ' + ',\n  '.join(f'.{k} = {v}' for k, v in parts.items()) + '}'


def _list(values: Any) -> str:
  return f'{{{", ".join(map(str, values))}}}'


def _by_unit(q: np.ndarray) -> np.ndarray:
  """[.., 4H] of gates one after the other -> the four gates of each unit."""
  return q.reshape(*q.shape[:-1], 4, -1).swapaxes(-1, -2).reshape(q.shape)


def _dense(weights: np.ndarray) -> np.ndarray:
  """Weights [F, M] in the order in which `multiply` of model.c takes them."""
  whole = np.pad(weights, ((0, -len(weights) % 4), (0, 0)))
  blocks = whole.T.reshape(weights.shape[1] // 4, 4, -1, 4)
  return blocks.transpose(0, 2, 1, 3)


def _activations(config: types.Config, arrays: _Arrays) -> dict[str, Any]:
  """Points of sigmoid and tanh, or the levels of the quantised family."""
  made: dict[str, Any] = {'FAMILY': config.family.upper()}
  for name, site in ('signed', 'c'), ('gate', 'f'):
    values, spacing = integer.table(site, config.slope)
    # A value, and what it grows by to the next one.
    words = (values[:-1].astype(np.int64) << 16) + np.diff(values)
    used = config.family == 'standard'
    arrays.add(f'{name}_points', words % 2**32 if used else [0], 32, 'u')
    made[f'{name.upper()}_BITS'] = integer.FRACTION - spacing
  made['LEVELS'] = config.levels if config.family == 'quantised' else 0
  levels = made['LEVELS']
  arrays.add('level_outputs',
             integer.level_table(levels) if levels else [0], 16)
  return made


def _readout(model: IntegerModel, constants: dict[str, Any], room: _Room,
             arrays: _Arrays) -> list[str]:
  """Declares it; returns what is pooled and where."""
  last = model.layers[-1]
  arrays.add('readout_w', model.readout_w, 8)
  arrays.add('readout_b', model.readout_b, 32)
  constants |= {'READ_UNITS': last.num_units,
                'READ_COUNTS': int(last.sends == SPIKES),
                'NUM_POOLS': len(model.config.pooling)}  # yapf: disable
  place = {name: room.take('s32', last.num_units)
           for name in model.config.pooling if name != 'last'}  # yapf: disable
  place['last'] = constants['OUTPUT']
  return [_list((name.upper(), place[name])) for name in model.config.pooling]


def _comment(name: str, values: np.ndarray) -> list[str]:
  numbers = [f'{value:.9g}' for value in values.tolist()]
  rows = [', '.join(numbers[k:k + 6]) for k in range(0, len(numbers), 6)]
  return [f'/* {name}:', *(f' * {row}' for row in rows), ' */']
