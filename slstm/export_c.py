"""An integer model as a C99 library for a microcontroller.

  model.h    sizes, the state that the caller owns, and four functions
  model.c    the network, the same for all models (slstm/c/model.c)
  weights.h  this model, as constant arrays
  README.md  how to call it, and how much memory it takes

It computes what `slstm.integer.run` computes, bit by bit, one element at a
time: no malloc, no floating point, no library.
"""

import pathlib
from typing import Any, Iterable

import numpy as np

from slstm import integer
from slstm import types
from slstm.integer import IntegerLIF
from slstm.integer import IntegerModel
from slstm.integer import IntegerSigmaDelta

SOURCE = pathlib.Path(__file__).with_name('c') / 'model.c'
FILES = ('model.h', 'model.c', 'weights.h', 'README.md')

HEADER = '''\
/* A spiking LSTM in integers; README.md says how to use it. */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define NUM_FEATURES {features}
#define NUM_OUTPUTS {outputs}

typedef int{feature_bits}_t model_feature;

typedef struct {{
  int32_t s32[{s32}];
  int32_t elements;
  int16_t s16[{s16}];
  int8_t s8[{s8}];
}} model_state;

/* Starts a new sequence. */
void model_reset(model_state *state);

/* Takes the next element of the sequence. */
void model_step(model_state *state, const model_feature x[NUM_FEATURES]);

/* The class of the sequence so far, and its outputs; after one step at least.
 * An output is its integer times 2^-{output_bits}. */
int model_classify(const model_state *state, int32_t outputs[NUM_OUTPUTS]);

#endif
'''

README = '''\
# A spiking LSTM in C

Copy `model.h`, `model.c` and `weights.h` into your project and compile
`model.c` as C99. It needs no library.

```c
static model_state state;
int32_t outputs[NUM_OUTPUTS];

model_reset(&state);
for (;;) {{                        /* {features} features for each element */
  model_feature x[NUM_FEATURES];
  ...
  model_step(&state, x);
  int best = model_classify(&state, outputs);
}}
```

A feature is the integer nearest to (x - mean) / std * {scale:g}, in {low} ..
{high}; ties go upwards. `mean` and `std` of each feature stand at the end of
`weights.h`. `slstm.integer.features` computes them.

| memory | bytes |
| :-- | --: |
| constant: weights, biases, neurons, tables | {flash:,} |
| of these int8 weights | {weights:,} |
| `model_state` | {ram:,} |

The state of the network survives from step to step, so a stream needs no
window: call `model_reset` where a new sequence begins, after {most:,} elements
at the latest. All sums stay within 32 bits, whatever the features are.
'''


def export_c(model: IntegerModel, folder: str | pathlib.Path) -> None:
  """Writes `FILES` into a folder, which is made if it is not there.

  Raises:
    ValueError: if one of the files is there with other content; nothing is
      written then.

  Example:
    slstm.export_c(slstm.quantise(model, data.train.x[:512]), 'c')
  """
  folder = pathlib.Path(folder)
  made = files(model)
  for name, text in made.items():
    path = folder / name
    if path.exists() and path.read_text(encoding='utf-8') != text:
      raise ValueError(f'export_c: {path} is there with other content; give '
                       'another folder, or remove it. Nothing was written.')
  folder.mkdir(parents=True, exist_ok=True)
  for name, text in made.items():
    (folder / name).write_text(text, encoding='utf-8')


def files(model: IntegerModel) -> dict[str, str]:
  """The text of each file, by its name."""
  text, sizes, _ = _weights(model)
  encoder, memory = model.encoder, memory_of_c(model)
  direct = encoder.neuron is None
  header = HEADER.format(features=len(encoder.mean),
                         outputs=len(model.readout_b),
                         feature_bits=8 if direct else 16,
                         output_bits=model.output_bits, **sizes
                        )  # yapf: disable
  readme = README.format(features=len(encoder.mean), scale=2**encoder.bits,
                         low=-encoder.limit - 1, high=encoder.limit,
                         most=integer.MOST_STEPS // model.config.num_steps,
                         **memory)  # yapf: disable
  return {'model.h': header, 'weights.h': text, 'README.md': readme,
          'model.c': SOURCE.read_text(encoding='utf-8')}  # yapf: disable


def memory_of_c(model: IntegerModel) -> dict[str, int]:
  """Bytes of constants (`flash`), of these int8 `weights`, of state (`ram`)."""
  _, sizes, flash = _weights(model)
  weights = sum(layer.w.size + layer.u.size for layer in model.layers)
  ram = 4 * sizes['s32'] + 4 + 2 * sizes['s16'] + sizes['s8']
  return {'flash': flash, 'weights': weights + model.readout_w.size,
          'ram': -(-ram // 4) * 4}  # yapf: disable


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


def _neuron(arrays: _Arrays, name: str, neuron: Any) -> str:
  """Declares a neuron; returns its address, or NULL."""
  if isinstance(neuron, IntegerSigmaDelta):
    parts = [arrays.add(f'{name}_{k}', v, 16)
             for k, v in neuron._asdict().items()]  # yapf: disable
    kind = 'sigma_delta'
  elif isinstance(neuron, IntegerLIF):
    add = lambda k, sign='': arrays.add(f'{name}_{k}', getattr(neuron, k), 16,
                                        sign)
    leak = 'NULL' if neuron.leak is None else add('leak', 'u')
    parts = [add('v_th'), add('v_0'), add('level'), leak, add('amplitude')]
    kind = 'lif'
  else:
    return 'NULL'
  arrays.lines.append(f'static const {kind} {name} = {{{", ".join(parts)}}};')
  return f'&{name}'


class _Room:
  """Places in the arrays of the state."""

  def __init__(self) -> None:
    self.sizes = {'s32': 0, 's16': 0, 's8': 0}

  def take(self, array: str, count: int) -> int:
    self.sizes[array] += count
    return self.sizes[array] - count


def _weights(model: IntegerModel) -> tuple[str, dict[str, int], int]:
  """weights.h, the sizes of the arrays of the state, and bytes of constants."""
  config, encoder, layers = model.config, model.encoder, model.layers
  slots, steps, room, arrays = config.slots, config.num_steps, _Room(), _Arrays(
  )
  features, units = len(encoder.mean), max(k.num_units for k in layers)
  delta = isinstance(encoder.neuron, IntegerSigmaDelta)
  input_kind = integer.sent_by(encoder.neuron)
  apart = (isinstance(encoder.neuron, IntegerLIF) and slots > 1 and
           not config.encoder_steps)
  input_steps = 1 if encoder.neuron is None else config.input_steps
  room.take('s16', features if delta else 0)
  made = {
      'INPUT': room.take('s8', features * input_steps),
      'W': room.take('s32', 4 * units), 'U': room.take('s32', 4 * units),
      'C_SUMS': room.take('s32', units), 'H_SUMS': room.take('s32', units),
      'OUTPUT': room.take('s32', units),
      'V': room.take('s16', 6 * units),
      'POOLED': room.take('s32', len(config.pooling) * layers[-1].num_units),
  }  # yapf: disable
  # Sums of a product that does not run on lie in room that all layers share.
  descriptors, sent_below = [], input_kind
  for index, layer in enumerate(layers):
    sends = layer.sends
    w_sums, u_sums = (
        room.take('s32', 4 * layer.num_units) if kind == 'RUNNING' else made[at]
        for kind, at in ((sent_below, 'W'), (sends, 'U')))  # yapf: disable
    descriptors.append(
        _layer(arrays, room, index, layer, config, (sent_below, sends),
               (w_sums, u_sums)))
    sent_below = sends
  at_input = _neuron(arrays, 'input_neuron', encoder.neuron)
  family, standard = config.family, config.family == 'standard'
  tables = [integer.table(site, config.slope) for site in 'fc']
  names = [arrays.add(f'table_{k}', half.values if standard else [0], 16)
           for k, half in enumerate(tables)]  # yapf: disable
  levels = config.levels if family == 'quantised' else 0
  outputs = integer.level_table(levels) if levels else [0]
  arrays.add('level_outputs', outputs, 16)
  arrays.add('readout_w', model.readout_w, 8)
  arrays.add('readout_b', model.readout_b, 32)
  counts = layers[-1].sends == 'SPIKES'
  pools = ''.join('x' if name == 'max' else name[0] for name in config.pooling)
  lines = [
      '/* Written by slstm.export_c: one model. */',
      *(f'#define {k} {v}' for k, v in made.items() if k not in 'WU'),
      f'#define FAMILY {family.upper()}',
      f'#define LEVELS {levels}',
      f'#define DENSE_WORDS {max(units, features) // 2 + 2}',
      f'#define SLOTS {slots}',
      f'#define NUM_STEPS {steps}',
      f'#define NUM_LAYERS {len(layers)}',
      f'#define NUM_POOLS {len(config.pooling)}',
      f'#define READ_UNITS {layers[-1].num_units}',
      f'#define READ_COUNTS {int(counts)}',
      f'#define INPUT_KIND {input_kind}',
      f'#define INPUT_STEPS {input_steps}',
      f'#define INPUT_SLOTS {slots if apart else 1}',
      *arrays.lines,
      'static const table tables[2] = {',
      *(f'  {{{name}, {half.spacing}}},' for name, half in zip(names, tables)),
      '};',
      f'static const layer layers[{len(layers)}] = {{',
      *descriptors,
      '};',
      'static const lif *const input_lif = '
      f'{at_input if input_kind == "SPIKES" else "NULL"};',
      'static const sigma_delta *const input_delta = '
      f'{at_input if delta else "NULL"};',
      f'static const char pools[] = "{pools}"; /* last, mean, max */',
      *_comment('mean', encoder.mean),
      *_comment('std', encoder.std),
      '',
  ]
  return '\n'.join(lines), room.sizes, arrays.bytes


def _layer(arrays: _Arrays, room: _Room, index: int,
           layer: integer.IntegerLayer, config: types.Config,
           kinds: tuple[str, str], sums: tuple[int, int]) -> str:
  """Declares the arrays of a layer; returns its descriptor."""
  name, units = f'layer{index}', layer.num_units
  slots, steps = config.slots, config.num_steps
  sends = kinds[1]
  ready = [_dense(q) if kind == 'ANALOG' else q
           for q, kind in zip((layer.w, layer.u), kinds)]  # yapf: disable
  w, u = (arrays.add(f'{name}_{k}', q, 8) for k, q in zip('wu', ready))
  b = arrays.add(f'{name}_b', layer.b, 32)
  sites = [_neuron(arrays, f'{name}_{k}', getattr(layer.neurons, k))
           if k != 'h' or sends != 'RUNNING' else 'NULL'
           for k in types.SITES]  # yapf: disable
  delta = 'NULL'
  if sends == 'RUNNING':
    delta = _neuron(arrays, f'{name}_h', layer.neurons.h)
  lif = any(site != 'NULL' for site in sites)
  alike = config.coupling == 'shared' and not lif
  rows = steps if sends != 'ANALOG' or slots > 1 else 1
  places = (room.take('s16', slots * units),
            room.take('s16', units if sends == 'RUNNING' else 0), *sums,
            room.take('s8', rows * units))  # yapf: disable
  shifts = [', '.join(map(str, s)) for s in (layer.w_shift, layer.u_shift)]
  parts: Iterable[Any] = (len(layer.w), units, layer.c_bits, w, u, b,
                          f'{{{shifts[0]}}}', f'{{{shifts[1]}}}',
                          f'{{{", ".join(sites)}}}', delta, sends,
                          1 if alike else steps, *places)
  return f'  {{{", ".join(map(str, parts))}}},'


def _dense(weights: np.ndarray) -> np.ndarray:
  """Weights [F, M] in the order in which `multiply` of model.c takes them."""
  whole = np.pad(weights, ((0, -len(weights) % 4), (0, 0)))
  blocks = whole.T.reshape(weights.shape[1] // 4, 4, -1, 4)
  return blocks.transpose(0, 2, 1, 3)


def _comment(name: str, values: np.ndarray) -> list[str]:
  numbers = [f'{value:.9g}' for value in values.tolist()]
  rows = [', '.join(numbers[k:k + 6]) for k in range(0, len(numbers), 6)]
  return [f'/* {name}:', *(f' * {row}' for row in rows), ' */']
