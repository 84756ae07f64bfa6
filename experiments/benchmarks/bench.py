"""Times of callables that take turns, and the figures made of them.

Only times of one run can be compared, so all that is compared is timed in
rounds: in each round every subject has one turn, and whatever else the machine
does meets all of them alike. What is done only once, compiling above all, comes
before the first round.
"""

import importlib.metadata
import os
import platform
import shlex
import sys
import time
from typing import Any, Callable, Hashable, Mapping, NamedTuple, TypeVar

import jax
import numpy as np

from experiments import workdir

LSTM, SNN, SHARED, FLOOR = 'LSTM', 'SNN', 'SNN, shared', 'floor'
SPIKING = {'step': SNN, 'shared': SHARED}  # by coupling

# What a user may have set that moves the times.
_VARIABLES = ('XLA_FLAGS', 'JAX_NUM_CPU_DEVICES', 'MALLOC_MMAP_THRESHOLD_',
              'MALLOC_TRIM_THRESHOLD_', 'MALLOC_TOP_PAD_', 'MALLOC_ARENA_MAX',
              'GLIBC_TUNABLES', 'LD_PRELOAD', 'OMP_NUM_THREADS')
_PACKAGES = ('jaxlib', 'flax', 'torch', 'snntorch', 'spikingjelly', 'norse')

K = TypeVar('K', bound=Hashable)
Row = dict[str, Any]


class Limits(NamedTuple):
  """How long to measure.

  Attributes:
    least, most: number of rounds.
    seconds: after which no other round begins, but for `least`.
    settle: seconds that a subject which is faster than that runs untimed before
      it is timed: the threads of the one before (OpenMP's spin for some ms) are
      asleep then, and caches warm.
  """
  least: int = 5
  most: int = 100
  seconds: float = 8.0
  settle: float = 0.0


class Shape(NamedTuple):
  """The sizes N, D, B, H and L of a network and its batch."""
  elements: int
  features: int
  batch: int
  hidden: int
  layers: int

  def __str__(self) -> str:
    return ', '.join(f'{name} = {size}' for name, size in zip('NDBHL', self))


class Key(NamedTuple):
  """Which subject: its name, executor and T, None where there is none."""
  name: str
  executor: str | None = None
  steps: int | None = None

  def __str__(self) -> str:
    return ' '.join(filter(None, (self.name, self.executor)))


class Subject(NamedTuple):
  """What is timed.

  Attributes:
    run: does the work once, and returns when it is done.
    compile_s: seconds that compiling took, None if nothing was compiled.
    peak_bytes: memory of a run on each device as its compiler plans it, None if
      not known.
    spike_rate: share of h that is not zero, None without spikes.
  """
  run: Callable[[], Any]
  compile_s: float | None = None
  peak_bytes: int | None = None
  spike_rate: float | None = None


def in_turns(
    runs: Mapping[K, Callable[[], Any]],
    limits: Limits,
    clock: Callable[[], float] = time.perf_counter) -> dict[K, np.ndarray]:
  """Seconds of each callable in each round; all have the same rounds."""

  def seconds(run: Callable[[], Any]) -> float:
    begin = clock()
    run()
    return clock() - begin

  for run in runs.values():
    run()  # whatever is done only once is done here
  warm = {key: seconds(run) for key, run in runs.items()}
  keys = list(runs)
  times: dict[K, list[float]] = {key: [] for key in keys}
  start = clock()
  for index in range(limits.most):
    if index >= limits.least and clock() - start > limits.seconds:
      break
    # Another order in each round, so that no one always follows the same.
    for position in np.random.default_rng(index).permutation(len(keys)):
      key = keys[position]
      begin = clock()
      while warm[key] < limits.settle and clock() - begin < limits.settle:
        runs[key]()
      times[key].append(seconds(runs[key]))
  return {key: np.asarray(taken) for key, taken in times.items()}


def quartiles(seconds: np.ndarray) -> dict[str, float]:
  """Median and quartiles in ms."""
  names = ('lower_quartile_ms', 'median_ms', 'upper_quartile_ms')
  return dict(zip(names, map(float, 1e3 * np.quantile(seconds,
                                                      (.25, .5, .75)))))


def measure(shape: Shape,
            subjects: Mapping[Key, Subject],
            limits: Limits,
            clock: Callable[[], float] = time.perf_counter) -> list[Row]:
  """Times subjects of one shape in turns.

  Returns:
    A row for each: what it is, its sizes, median and quartiles in ms, the
    number of rounds, what `Subject` knows of it, and
      hiding: its time over that of the same subject at T = 1, None without it;
      ratio: its time over that of each baseline, by name: this library's LSTM
        under its fastest executor, each peer, the bare products of the same T
        (of T = 1 where all steps share one).
  """
  times = in_turns({key: s.run for key, s in subjects.items()}, limits, clock)
  medians = {key: float(np.median(taken)) for key, taken in times.items()}
  return [{
      **key._asdict(),
      **shape._asdict(),
      **quartiles(times[key]),
      'rounds': len(times[key]),
      'compile_s': subject.compile_s,
      'peak_bytes': subject.peak_bytes,
      'spike_rate': subject.spike_rate,
      'hiding': _hiding(key, medians),
      'ratio': {
          name: medians[key] / median
          for name, median in _baselines(key, medians).items()
      },
  }
          for key, subject in subjects.items()]


def _hiding(key: Key, medians: Mapping[Key, float]) -> float | None:
  one = medians.get(key._replace(steps=1))
  return None if key.steps is None or one is None else medians[key] / one


def _baselines(key: Key, medians: Mapping[Key, float]) -> dict[str, float]:
  """The times that the time of `key` is compared with."""
  found: dict[str, float] = {}
  products = 1 if key.name == SHARED else key.steps or 1
  for other, median in medians.items():
    if other.name in SPIKING.values():
      continue
    if other.name == FLOOR and other.steps != products:
      continue
    found[other.name] = min(median, found.get(other.name, median))
  return found


def machine() -> dict[str, Any]:
  """What the times are measured on."""
  return {
      'platform': platform.platform(),
      'cpu_count': os.cpu_count(),
      'jax_version': jax.__version__,
      'device_kind': jax.devices()[0].device_kind,
  }


def usable_cpus() -> int:
  """How many CPUs this process may use."""
  affinity = getattr(os, 'sched_getaffinity', None)
  return len(affinity(0)) if affinity else os.cpu_count() or 1


def environment() -> dict[str, Any]:
  """The machine, the code, and all else that moves the times."""
  return {
      **machine(),
      'backend': jax.default_backend(),
      'usable_cpus': usable_cpus(),
      'commit': workdir.commit(),
      'command': shlex.join(['python', *sys.orig_argv[1:]]),
      'variables': {
          name: os.environ[name] for name in _VARIABLES if name in os.environ
      },
      'versions': {
          name: version for name in _PACKAGES if (version := _version(name))
      },
  }


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None
