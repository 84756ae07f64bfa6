r"""Writes a trained model as C for a microcontroller, with a test vector.

  python -m experiments.export --config=experiments/configs/har.py \
    --source=runs/har/tuned_sd_T1 --workdir=runs/har/c
  cd runs/har/c && cc -std=c99 -O2 main.c model.c -o check && ./check

It prints the test metric of the integers, and of the floats that they were.
The work directory gets model.slstm, the integers in one file, what
`slstm.export_c` writes, and two files to check a
compiler or a board with: vector.h, test sequences with every spike count and
output, and main.c, which compares. Of the config it reads the data set, and how
many training examples calibrate the ranges of the integers.
"""

import pathlib

from absl import flags
import numpy as np

from experiments import in_integers
from experiments import main
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base
import slstm
from slstm import integer

_BITS = flags.DEFINE_integer('bits', 8, 'Of the weights.', 2, 8)
_SEQUENCES = flags.DEFINE_integer('sequences', 3,
                                  'Test sequences of the test vector.', 1)


def export(experiment: Experiment, dataset: base.DataSet,
           workdir: pathlib.Path) -> None:
  """Writes the C of the model in --source into the work directory."""
  model = stages.load(main.source(), dataset).model
  some = stages.calibration_data(experiment, dataset)
  ints = slstm.quantise(model, some.x, lengths=some.lengths, bits=_BITS.value)
  slstm.save_integers(ints, workdir / 'model.slstm')
  slstm.export_c(ints, workdir)
  x = dataset.test.x
  chosen = np.linspace(0, len(x) - 1, min(_SEQUENCES.value, len(x)))
  write_check(ints, integer.features(ints, x[chosen.astype(int)]), workdir)
  found = in_integers.compare(ints, model, dataset)
  memory = slstm.memory_of_c(ints)
  print(f'{workdir}: {memory["flash"]:,} bytes of constants, '
        f'{memory["ram"]:,} of state.\nTest {dataset.task.metric_name} '
        f'{found.metric:.4f}, of floats {found.of_floats:.4f}; of the outputs '
        f'{found.same:.4f} are largest in the same place.\nCheck it: cd '
        f'{workdir} && cc -std=c99 -O2 main.c model.c -o check && ./check')


def write_check(ints: slstm.integer.IntegerModel, q: np.ndarray,
                folder: pathlib.Path) -> None:
  """Writes main.c and vector.h for sequences [B, N, D] of `features`."""
  result = integer.run(ints, q, add=integer.add_product)
  lines = [
      f'#define NUM_SEQUENCES {len(q)}', f'#define NUM_ELEMENTS {len(q[0])}'
  ]
  for kind, name, shape, values in (('model_feature', 'features',
                                     '[NUM_ELEMENTS][NUM_FEATURES]', q),
                                    ('int', 'counts',
                                     '[NUM_ELEMENTS][NUM_LAYERS]',
                                     result.counts), ('int32_t', 'outputs',
                                                      '[NUM_OUTPUTS]',
                                                      result.outputs)):
    lines += [f'static const {kind} {name}[NUM_SEQUENCES]{shape} =',
              f'{_braces(values)};']  # yapf: disable
  text = '\n'.join(lines) + '\n'
  runs.replace(folder / 'vector.h', text.encode())
  source = pathlib.Path(slstm.__file__).with_name('c') / 'main.c'
  runs.replace(folder / 'main.c', source.read_bytes())


def _braces(values: np.ndarray) -> str:
  """A nested list of C; its rows are lines."""
  if values.ndim == 1:
    return f'{{{", ".join(map(str, values.tolist()))}}}'
  return '{' + ',\n'.join(map(_braces, values)) + '}'


if __name__ == '__main__':
  main.main(export, reads_source=True, reads=('data', 'conversion.calibration'))
