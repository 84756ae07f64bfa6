r"""Prints the memory that a training step of the SNN is planned to take.

  python -m experiments.bench_memory --elements=784 --hidden=512 --steps=8

The step is compiled and not run, so that shapes which do not fit this machine
can be asked for. With --run a step is taken, too, and the last column has the
most that this process has held until then. Memory is in GB, and in floats for
each entry of all h, N T B H L, over all devices.
"""

import sys
from typing import Sequence

from absl import app
from absl import flags
from absl import logging
import rich

from experiments.benchmarks import bench_main
from experiments.benchmarks import bench_models
from experiments.benchmarks.bench import Shape
from experiments.benchmarks.bench import Subject
from experiments.reporting import tables
from slstm import parallel

_DEFAULT: bench_main.Grid = {
    'elements': (100,),
    'features': (40,),
    'batch': (128,),
    'hidden': (128,),
    'layers': (1,),
    'steps': (1, 2, 4, 8),
}
bench_main.define_flags(('stacked', 'lean'))
_RUN = flags.DEFINE_bool('run', False, 'Also take the step.')


def planned(shape: Shape, steps: Sequence[int], executors: Sequence[str],
            sites: tuple[str, ...], run: bool) -> tables.Table:
  """Compiles a training step for every T and executor, and may run it."""
  rows = []
  for params, config in bench_models.spiking(shape, steps, sites):
    entries = (shape.elements * config.num_steps * shape.batch * shape.hidden *
               shape.layers)
    for executor in executors:
      subject = bench_models.training_step(params, config, shape, executor)
      size = subject.peak_bytes
      if size is not None:
        mesh = parallel.placement(shape.batch).mesh
        size *= mesh.size if mesh else 1
      rows.append((executor, str(config.num_steps),
                   tables.NONE if size is None else f'{size / 1e9:.2f}',
                   tables.NONE if size is None else f'{size / 4 / entries:.1f}',
                   f'{subject.compile_s:.1f}',
                   _resident(subject) if run else tables.NONE))
  return tables.Table(f'Planned memory of a training step, {shape}',
                      ('executor', 'T', 'GB', 'floats an entry of h',
                       'compile time, s', 'resident, GB'), tuple(rows), '')


def _resident(subject: Subject) -> str:
  """The most that this process has held once the step is taken."""
  import resource  # Windows has none.

  subject.run()
  unit = 1 if sys.platform == 'darwin' else 1024  # bytes
  size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
  return f'{size / 1e9:.2f}'


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
  logging.set_verbosity(logging.WARNING)
  try:
    shapes, steps, executors, sites = bench_main.chosen_flags(_DEFAULT)
    for shape in shapes:
      rich.print(
          tables.rich_table(planned(shape, steps, executors, sites,
                                    _RUN.value)))
  except ValueError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  app.run(main)
