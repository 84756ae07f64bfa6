r"""Prints the memory that a training step of the SNN is planned to take.

  python -m experiments.bench_memory --elements=784 --hidden=512 --steps=8

The step is compiled and not run, so that shapes which do not fit this machine
can be asked for. Memory is in GB, and in floats for each entry of all h,
N T B H L.
"""

import sys
from typing import Sequence

from absl import app
from absl import flags
from absl import logging
import rich

from experiments import config as config_lib
from experiments.benchmarks import bench_models
from experiments.benchmarks.bench import Shape
from experiments.reporting import tables
from slstm import executor as executor_lib
from slstm import types

_SIZES = {
    'elements': (100, 'N, elements of a sequence'),
    'features': (40, 'D, features of an element'),
    'batch': (128, 'B, sequences in a batch'),
    'hidden': (128, 'H, hidden units of a layer'),
    'layers': (1, 'L, layers'),
}
for _name, (_size, _meaning) in _SIZES.items():
  flags.DEFINE_integer(_name, _size, _meaning, lower_bound=1)
flags.DEFINE_list('steps', ['1', '2', '4', '8'], 'T, SNN time steps.')
flags.DEFINE_list('executors', ['stacked', 'lean'], 'Schedules to compile.')
flags.DEFINE_list('sites', ['o', 'c'], 'Spiking sites of the SNN.')


def planned(shape: Shape, steps: Sequence[int], executors: Sequence[str],
            sites: tuple[str, ...]) -> tables.Table:
  """Compiles a training step for every T and executor."""
  rows = []
  for params, config in bench_models.spiking(shape, steps, sites):
    entries = (shape.elements * config.num_steps * shape.batch * shape.hidden *
               shape.layers)
    for executor in executors:
      subject = bench_models.training_step(params, config, shape, executor)
      size = subject.peak_bytes
      rows.append((executor, str(config.num_steps),
                   tables.NONE if size is None else f'{size / 1e9:.2f}',
                   tables.NONE if size is None else f'{size / 4 / entries:.1f}',
                   f'{subject.compile_s:.1f}'))
  return tables.Table(
      f'Planned memory of a training step, {shape}',
      ('executor', 'T', 'GB', 'floats an entry of h', 'compile time, s'),
      tuple(rows), '')


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
  logging.set_verbosity(logging.WARNING)
  try:
    executors = config_lib.entries('executors', str)
    for name in executors:
      types.check_choice('--executors', name, tuple(executor_lib.EXECUTORS))
    sites = config_lib.entries('sites', str)
    for name in sites:
      types.check_choice('--sites', name, types.SITES)
    steps = config_lib.entries('steps', int)
    if not steps or min(steps) < 1:
      raise ValueError(f'--steps={",".join(flags.FLAGS.steps)}: expected '
                       'T, each >= 1.')
    values = flags.FLAGS.flag_values_dict()
    shape = Shape(**{name: values[name] for name in _SIZES})
    rich.print(tables.rich_table(planned(shape, steps, executors, sites)))
  except ValueError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  app.run(main)
