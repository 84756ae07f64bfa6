r"""Prints the memory that a training step of the SNN is planned to take.

  python -m experiments.bench_memory --elements=784 --hidden=512 --steps=8

The step is compiled and not run, so that shapes which do not fit this machine
can be asked for. Memory is in GB, and in floats for each entry of all h,
N T B H L.
"""

import sys
from typing import Sequence

from absl import app
from absl import logging
import rich

from experiments.benchmarks import bench_main
from experiments.benchmarks import bench_models
from experiments.benchmarks.bench import Shape
from experiments.reporting import tables

_DEFAULT: bench_main.Grid = {
    'elements': (100,),
    'features': (40,),
    'batch': (128,),
    'hidden': (128,),
    'layers': (1,),
    'steps': (1, 2, 4, 8),
}
bench_main.define_flags(('stacked', 'lean'))


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
    shapes, steps, executors, sites = bench_main.chosen_flags(_DEFAULT)
    for shape in shapes:
      rich.print(tables.rich_table(planned(shape, steps, executors, sites)))
  except ValueError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  app.run(main)
