"""An integer model as a C99 library for a microcontroller.

  model.h    sizes, the state that the caller owns, and four functions
  model.c    the network, the same for all models (slstm/c/model.c)
  weights.h  this model, as constant arrays
  README.md  how to call it, and how much memory it takes

It computes what `slstm.integer.run` computes, bit by bit, one element at a
time: no malloc, no floating point, no library.
"""

import pathlib

from slstm import integer
from slstm import weights_h
from slstm.integer import IntegerModel

SOURCE = pathlib.Path(__file__).with_name('c') / 'model.c'
FILES = ('model.h', 'model.c', 'weights.h', 'README.md')

HEADER = '''\
/* A spiking LSTM in integers; README.md says how to use it. */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define NUM_FEATURES {features}
#define NUM_OUTPUTS {outputs}
#define NUM_LAYERS {layers}

typedef int{feature_bits}_t model_feature;

typedef struct {{
  int32_t s32[{s32}];
  int32_t elements;
  int{sum_bits}_t sums[{sums}];
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

/* How many spikes a layer has sent in the last element; 0 if it sends none. */
int model_spikes(const model_state *state, int layer);

#endif
'''

README = '''\
# A spiking LSTM in C

## Take it to your board

Copy `model.h`, `model.c` and `weights.h` into your project and compile
`model.c` as C99, with -O3 if there is room. It needs no library. For a
Cortex-M4, M7, M33 or M55 (-mcpu=cortex-m4 and so on) the compiler takes the
path with DSP instructions by itself.

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
| of these what all layers share, the input and what is pooled | {buffers:,} |

The state of the network survives from step to step, so a stream needs no
window: call `model_reset` where a new sequence begins, after {most:,} elements
at the latest. All sums stay within 32 bits, whatever the features are. The
stack holds a list of up to 256 rows and the features of a dense product, some
1.3 KB on a Cortex-M4.

`model_spikes` says how many spikes a layer has just sent: most of the work of
an element grows with them.
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
  made = weights_h.header(model)
  encoder, memory = model.encoder, _memory(model, made)
  header = HEADER.format(features=len(encoder.mean),
                         outputs=len(model.readout_b),
                         layers=len(model.layers),
                         feature_bits=8 * encoder.dtype.itemsize,
                         output_bits=model.output_bits,
                         sum_bits=made.sum_bits, **made.sizes
                        )  # yapf: disable
  readme = README.format(features=len(encoder.mean), scale=2**encoder.bits,
                         low=-encoder.limit - 1, high=encoder.limit,
                         most=integer.MOST_STEPS // model.config.num_steps,
                         **memory)  # yapf: disable
  return {'model.h': header, 'weights.h': made.text, 'README.md': readme,
          'model.c': SOURCE.read_text(encoding='utf-8')}  # yapf: disable


def memory_of_c(model: IntegerModel) -> dict[str, int]:
  """Bytes that exported C takes.

  Returns:
    `flash`, of all constants, and of these int8 `weights`; `ram`, of the state,
    and of it `buffers`: what layers share, the input, and what is pooled.
  """
  return _memory(model, weights_h.header(model))


def _memory(model: IntegerModel, made: weights_h.Header) -> dict[str, int]:
  weights = sum(layer.w.size + layer.u.size for layer in model.layers)
  size = {'s32': 4, 'sums': made.sum_bits // 8, 's16': 2, 's8': 1}
  total, of_layers = (sum(size[k] * count
                          for k, count in sizes.items())
                      for sizes in (made.sizes, made.of_layers))
  ram = -(-(total + 4) // 4) * 4  # with the number of elements, filled up
  return {'flash': made.flash, 'weights': weights + model.readout_w.size,
          'ram': ram, 'buffers': ram - of_layers}  # yapf: disable
