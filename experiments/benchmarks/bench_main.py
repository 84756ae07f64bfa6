"""What benchmarks do around their measurement: flags, files, errors.

A work directory gets metrics.json, report.md and a plot for each shape. They
are written anew after every shape, so that a run that is stopped leaves those
that it has measured.
"""

import itertools
import pathlib
import sys
from typing import Mapping, NamedTuple, Sequence

from absl import app
from absl import flags
from absl import logging
import rich

from experiments import config as config_lib
from experiments import files
from experiments import workdir
from experiments.benchmarks import bench
from experiments.benchmarks import bench_models
from experiments.benchmarks import bench_report
from experiments.benchmarks import peers
from experiments.benchmarks.bench import Shape
from experiments.reporting import plots
from experiments.reporting import tables
from slstm import executor as executor_lib
from slstm import types

Grid = Mapping[str, tuple[int, ...]]

FULL: Grid = {
    'elements': (28, 100, 784),
    'features': (40,),
    'batch': (1, 128),
    'hidden': (128, 512),
    'layers': (1, 2),
    'steps': (1, 2, 4, 8),
}
_SETTLE = 0.02  # s
_MEANINGS = {
    'elements': 'N, elements of a sequence',
    'features': 'D, features of an element',
    'batch': 'B, sequences in a batch',
    'hidden': 'H, hidden units of a layer',
    'layers': 'L, layers',
    'steps': 'T, SNN time steps an element',
}


class Chosen(NamedTuple):
  """What to measure: all of it for every shape."""
  shapes: list[Shape]
  steps: tuple[int, ...]
  executors: tuple[str, ...]
  sites: tuple[str, ...]


def main(small: Grid, executors: Sequence[str], training: bool) -> None:
  """Runs a benchmark; bad input ends it with one line on stderr and status 1.

  Args:
    small: the sizes of --grid=small; those of --grid=full are `FULL`.
    executors: default of --executors.
    training: whether to time training steps, else inference.
  """
  logging.set_verbosity(logging.WARNING)
  flags.DEFINE_enum('grid', 'small', ('small', 'full'),
                    'Sizes, where a flag below does not give others.')
  define_flags(executors)
  flags.DEFINE_list('couplings', list(bench.SPIKING),
                    'Whether time steps have a state each, or a shared one.')
  flags.DEFINE_list('peers', list(peers.PEERS),
                    'Other libraries to time; an absent one is skipped.')
  flags.DEFINE_integer('threads',
                       bench.usable_cpus(),
                       'Threads of PyTorch. XLA has a pool of its own, of one '
                       'a CPU that the process may use.',
                       lower_bound=1)
  flags.DEFINE_float('seconds',
                     20.0,
                     'Of rounds for each shape, after which no other begins.',
                     lower_bound=0.0)
  flags.DEFINE_string('work_dir', None, 'Where to write.')
  flags.mark_flag_as_required('work_dir')

  def start(argv: list[str]) -> None:
    if len(argv) > 1:
      raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
    try:
      _run(FULL if flags.FLAGS.grid == 'full' else small, training)
    except (ValueError, OSError) as error:
      sys.exit(f'error: {error}')

  app.run(start)


def define_flags(executors: Sequence[str]) -> None:
  """Defines --sites, --executors and a flag for each size of a grid."""
  for name, meaning in _MEANINGS.items():
    flags.DEFINE_list(name, None, f'List of {meaning}.')
  flags.DEFINE_list('executors', list(executors), 'Schedules to measure.')
  flags.DEFINE_list('sites', ['o', 'c'], 'Spiking sites of the SNN.')


def chosen_flags(default: Grid) -> Chosen:
  """What the flags of `define_flags` ask for.

  Raises:
    ValueError: names the flag that asks for what there is not.
  """
  sizes = {name: config_lib.entries(name, int) for name in default}
  shapes, steps = grid(sizes, default)
  executors = _names('executors', tuple(executor_lib.EXECUTORS))
  if not executors:
    raise ValueError('--executors names none; expected at least one.')
  return Chosen(shapes, steps, executors, _names('sites', types.SITES))


def grid(chosen: Mapping[str, Sequence[int]],
         default: Grid) -> tuple[list[Shape], tuple[int, ...]]:
  """All shapes and the T of a grid.

  Args:
    chosen: sizes by flag; none for those of `default`.
    default: sizes by flag.

  Raises:
    ValueError: names the flag that holds a size below 1, or one twice.
  """
  sizes = {name: tuple(chosen[name]) or default[name] for name in default}
  for name, values in sizes.items():
    if min(values) < 1 or len(set(values)) != len(values):
      raise ValueError(f'--{name}={",".join(map(str, values))}: expected '
                       f'{_MEANINGS[name]}: each >= 1, none twice.')
  shapes = itertools.product(*(sizes[name] for name in Shape._fields))
  return [Shape(*shape) for shape in shapes], sizes['steps']


def _names(flag: str, choices: Sequence[str]) -> tuple[str, ...]:
  """The names in a list flag, each once."""
  found: tuple[str, ...] = config_lib.entries(flag, str)
  for name in found:
    types.check_choice(f'--{flag}', name, tuple(choices))
  return tuple(dict.fromkeys(found))


def _run(default: Grid, training: bool) -> None:
  """Measures one shape after the other, and writes what there is so far."""
  shapes, steps, executors, sites = chosen_flags(default)
  couplings = _names('couplings', tuple(bench.SPIKING))
  pairs = list(itertools.product(executors, couplings))
  if pairs and not any(itertools.starmap(executor_lib.runs, pairs)):
    raise ValueError('--executors=wavefront runs --couplings=step only.')
  names, skipped = peers.present(_names('peers', tuple(peers.PEERS)))
  work_dir = pathlib.Path(flags.FLAGS.work_dir)
  if (work_dir / 'metrics.json').exists():
    raise ValueError(f'{work_dir} holds a benchmark; choose another '
                     '--work_dir, or remove that one. Nothing was changed.')
  for name, reason in skipped.items():
    print(f'{name}: skipped ({reason})')
  peers.set_threads(flags.FLAGS.threads)
  limits = bench.Limits(seconds=flags.FLAGS.seconds, settle=_SETTLE)
  rows: list[bench.Row] = []
  metrics = {
      'benchmark': 'training step' if training else 'inference',
      'environment': {
          **bench.environment(), 'torch_threads': flags.FLAGS.threads
      },
      'limits': limits._asdict(),
      'sites': sites,
      'skipped': skipped,
      'rows': rows,
  }
  for shape in shapes:
    # All of a shape are timed in the same rounds, and only they are compared.
    ours = bench_models.ours(shape, steps, executors, sites, couplings,
                             training)
    measured = bench.measure(
        shape, {
            **ours,
            **peers.subjects(names, shape, training),
            **bench_models.floor(shape, steps, training),
        }, limits)
    rows += measured
    for table in bench_report.of_shape(shape, measured):
      rich.print(tables.rich_table(table))
    plots.save(bench_report.figure(shape, measured),
               work_dir / bench_report.plot_name(shape))
    workdir.write_json(work_dir / 'metrics.json', metrics)
    files.replace(work_dir / 'report.md', bench_report.report(metrics).encode())
