"""What benchmarks do around their measurement: flags, files, errors.

A work directory gets metrics.json, report.md and a plot for each shape. They
are rewritten after every shape, so that a run that is stopped leaves the shapes
that it has measured.
"""

import importlib
import io
import itertools
from typing import Callable, Iterable

from absl import flags
from absl import logging

from experiments import binary
from experiments import disk
from experiments import runs
from experiments.bench import measure
from experiments.bench import models
from experiments.bench import peers
from experiments.bench import report
from experiments.bench.measure import Shape
from slstm import model as model_lib
from slstm import types

_SETTLE = 0.02  # s
# Default and meaning of the flags for sizes; the first ones are of a Shape.
_SIZES = {
    'elements': ('100', 'N, elements of a sequence'),
    'features': ('40', 'D, features of an element'),
    'batch': ('128', 'B, sequences in a batch'),
    'hidden': ('128', 'H, hidden units of a layer'),
    'layers': ('1', 'L, layers'),
    'steps': ('1,2,4,8', 'T, SNN time steps per element'),
}

flags.disclaim_key_flags()  # what these define is of the binary


class _List(flags.ArgumentParser):
  """Entries between commas, none twice; `entry` parses one of them."""

  def __init__(self, entry: flags.ArgumentParser, least: int):
    super().__init__()
    self._entry, self._least = entry, least

  def parse(self, argument: str) -> tuple:
    entries = tuple(map(self._entry.parse, filter(None, argument.split(','))))
    if len(set(entries)) != len(entries) or len(entries) < self._least:
      raise ValueError(f'expected at least {self._least}, none twice.')
    return entries


def _define(flag: str, default: Iterable[str], choices: Iterable[str],
            meaning: str, least: int) -> None:
  """A flag that lists some of the choices, at least so many."""
  parser = _List(flags.EnumParser([*choices]), least)
  flags.DEFINE(parser, flag, ','.join(default), meaning)


def start(run: Callable[[], None], executors: Iterable[str],
          **sizes: str) -> None:
  """Defines the flags that all benchmarks have, with defaults, and runs one.

  Bad input ends it with a message on stderr and status 1.
  """
  logging.set_verbosity(logging.WARNING)
  size = _List(flags.IntegerParser(lower_bound=1), 1)
  for name, (default, meaning) in _SIZES.items():
    flags.DEFINE(size, name, sizes.get(name, default), f'List of {meaning}.')
  _define('executors', executors, model_lib.EXECUTORS, 'Schedules.', 1)
  _define('sites', ('o', 'c'), types.SITES, 'Spiking sites.', 1)

  binary.run(run)


def shapes() -> list[Shape]:
  """All shapes that the flags ask for."""
  sizes = [getattr(flags.FLAGS, name) for name in Shape._fields]
  return [Shape(*shape) for shape in itertools.product(*sizes)]


def main(executors: Iterable[str], training: bool, **sizes: str) -> None:
  """Times training steps or inference; arguments as of `start`."""
  _define(
      'couplings', measure.SPIKING, measure.SPIKING,
      'Whether time steps have a state each, or share one; or neurons '
      'that send changes.', 1)
  _define('peers', peers.PEERS, peers.PEERS,
          'Other libraries to time; one that is not installed is skipped.', 0)
  flags.DEFINE_integer('threads', measure.usable_cpus(),
                       'Threads of PyTorch; XLA has one per CPU.', 1)
  flags.DEFINE_float('seconds', 20.0,
                     'Of rounds for each shape, after which no other begins.',
                     0.0)
  binary.define_path('workdir', 'Where to write.', required=True)
  start(lambda: _run(training), executors, **sizes)


def _run(training: bool) -> None:
  """Measures one shape after the other, and writes what there is so far."""
  flag = flags.FLAGS
  if flag.executors == ('wavefront',) and flag.couplings == ('shared',):
    raise ValueError('--executors=wavefront runs --couplings=step only.')
  workdir = flag.workdir
  disk.check_folder(workdir, '--workdir')
  if (workdir / 'metrics.json').exists():
    raise ValueError(f'{workdir} holds a benchmark; choose another --workdir, '
                     'or remove that one. Nothing was changed.')
  try:
    importlib.import_module('torch').set_num_threads(flag.threads)
  except ImportError:
    pass  # it is optional
  limits = {'seconds': flag.seconds, 'settle': _SETTLE}
  skipped: dict[str, str] = {}
  rows: list[measure.Row] = []
  metrics = {
      'benchmark': 'training step' if training else 'inference',
      'environment': measure.environment() | {
          'torch_threads': flag.threads
      },
      'limits': limits,
      'sites': flag.sites,
      'skipped': skipped,
      'rows': rows,
  }
  for shape in shapes():
    # All of a shape are timed in the same rounds, and only they are compared.
    ours = models.ours(shape, flag.steps, flag.executors, flag.sites,
                       flag.couplings, training)
    others, absent = peers.subjects(flag.peers, shape, training)
    for name in absent.keys() - skipped.keys():
      print(f'{name}: skipped ({absent[name]})')
    skipped |= absent
    floor = models.floor(shape, flag.steps, training)
    measured = measure.measure(shape, ours | others | floor, **limits)
    rows += measured
    print(report.of_shape(shape, measured))
    drawn = io.BytesIO()
    report.figure(shape, measured).savefig(drawn, format='png', dpi=150)
    runs.replace(workdir / report.plot_name(shape), drawn.getvalue())
    runs.write_json(workdir / 'metrics.json', metrics)
    runs.replace(workdir / 'report.md', report.report(metrics).encode())
