"""Times callables in turns, and compares their times.

Only times of one run can be compared, so everything that is compared is timed
in rounds: every subject has one turn per round, and whatever else the machine
does affects all of them alike. Work that is done only once, compilation above
all, comes before the first round.
"""

import importlib.metadata
import os
import platform
import shlex
import sys
import time
from typing import Any, Callable, Mapping, NamedTuple

import jax
import numpy as np

from experiments import runs

LSTM, SNN, SHARED, FLOOR = 'LSTM', 'SNN', 'SNN, shared', 'floor'
SPIKING = {'step': SNN, 'shared': SHARED,
           'sigma_delta': 'SNN, sigma-delta'}  # yapf: disable

# What a user may have set that changes the times.
_VARIABLES = ('XLA_FLAGS', 'JAX_NUM_CPU_DEVICES', 'MALLOC_MMAP_THRESHOLD_',
              'MALLOC_TRIM_THRESHOLD_', 'MALLOC_TOP_PAD_', 'MALLOC_ARENA_MAX',
              'GLIBC_TUNABLES', 'LD_PRELOAD', 'OMP_NUM_THREADS')
_PACKAGES = ('jaxlib', 'flax', 'torch', 'snntorch', 'spikingjelly', 'norse',
             'onnx', 'onnxruntime')

Row = dict[str, Any]


class Shape(NamedTuple):
  """The sizes N, D, B, H and L of a network and its batch."""
  elements: int
  features: int
  batch: int
  hidden: int
  layers: int

  def __str__(self) -> str:
    return ', '.join(f'{name} = {size}' for name, size in zip('NDBHL', self))

  @property
  def fan_in(self) -> tuple[int, ...]:
    """The number of inputs of each layer."""
    return (self.features,) + (self.hidden,) * (self.layers - 1)


class Key(NamedTuple):
  """Name, executor and T of a subject, None where it has none."""
  name: str
  executor: str | None = None
  steps: int | None = None

  def __str__(self) -> str:
    return ' '.join(filter(None, (self.name, self.executor)))


class Subject(NamedTuple):
  """What is timed.

  Attributes:
    run: does the work once, and returns when it is done.
    compile_s: seconds of compilation, None if nothing was compiled.
    peak_bytes: memory of a run on each device as its compiler plans it, None if
      not known.
    spike_rate: fraction of h that is not zero, None without spikes.
  """
  run: Callable[[], Any]
  compile_s: float | None = None
  peak_bytes: int | None = None
  spike_rate: float | None = None


def in_turns(
    subjects: Mapping[Any, Callable[[], Any]],
    *,
    seconds: float,
    settle: float = 0.0,
    rounds: tuple[int, int] = (5, 100),
    clock: Callable[[], float] = time.perf_counter) -> dict[Any, np.ndarray]:
  """Seconds of each callable in each round; all have the same rounds.

  Args:
    subjects: what to time.
    seconds: no round begins after that time, except for the first ones.
    settle: s. A subject that is faster first runs untimed for that long in each
      turn, until the threads of the subject before it sleep (OpenMP's spin for
      some ms) and the caches are warm.
    rounds: how many at least and at most.
    clock: gives seconds.
  """

  def taken(run: Callable[[], Any]) -> float:
    begin = clock()
    run()
    return clock() - begin

  for run in subjects.values():
    run()  # whatever is done only once is done here
  warm = {key: taken(run) for key, run in subjects.items()}
  keys = list(subjects)
  times: dict[Any, list[float]] = {key: [] for key in keys}
  start = clock()
  for index in range(rounds[1]):
    if index >= rounds[0] and clock() - start > seconds:
      break
    # A new order in each round, so that none always follows the same one.
    for position in np.random.default_rng(index).permutation(len(keys)):
      key = keys[position]
      begin = clock()
      while warm[key] < settle and clock() - begin < settle:
        subjects[key]()
      times[key].append(taken(subjects[key]))
  return {key: np.asarray(found) for key, found in times.items()}


def quartiles(seconds: np.ndarray) -> dict[str, float]:
  """Median and quartiles in ms."""
  names = ('lower_quartile_ms', 'median_ms', 'upper_quartile_ms')
  return dict(zip(names, (1e3 * np.quantile(seconds, (.25, .5, .75))).tolist()))


def measure(shape: Shape, subjects: Mapping[Key, Subject],
            **how: Any) -> list[Row]:
  """Times subjects of one shape; `how` as for `in_turns`.

  Returns:
    A row per subject: its key, the sizes, median and quartiles in ms, what
    `Subject` knows of it, the number of rounds, and as `ratio` its time over
    that of each baseline, by name: this library's LSTM with its fastest
    executor, each peer, the bare products of the same T (of T = 1 where all
    steps share one).
  """
  times = in_turns({key: s.run for key, s in subjects.items()}, **how)
  medians = {key: float(np.median(taken)) for key, taken in times.items()}
  rows = []
  for key, subject in subjects.items():
    products = 1 if key.name == SHARED else key.steps or 1
    ratio: dict[str, float] = {}
    for other, median in medians.items():
      is_other_floor = other.name == FLOOR and other.steps != products
      if other.name not in SPIKING.values() and not is_other_floor:
        least = ratio.get(other.name, 0.0)  # the fastest gives the greatest
        ratio[other.name] = max(least, medians[key] / median)
    row = key._asdict() | shape._asdict() | quartiles(times[key])
    row |= subject._asdict() | {'rounds': len(times[key]), 'ratio': ratio}
    del row['run']
    rows.append(row)
  return rows


def machine() -> dict[str, Any]:
  """What the times are measured on."""
  return {
      'platform': platform.platform(),
      'cpu_count': os.cpu_count(),
      'jax_version': jax.__version__,
      'device_kind': jax.devices()[0].device_kind,
  }


def usable_cpus() -> int:
  """How many CPUs this process may use, where the system says so."""
  affinity = getattr(os, 'sched_getaffinity', None)
  return len(affinity(0)) if affinity else os.cpu_count() or 1


def environment() -> dict[str, Any]:
  """The machine, the code, and everything else that changes the times."""
  installed = importlib.metadata.distributions()
  return {
      **machine(),
      'backend': jax.default_backend(),
      'usable_cpus': usable_cpus(),
      'commit': runs.commit(),
      'command': shlex.join(['python', *sys.orig_argv[1:]]),
      'variables': {
          k: os.environ[k] for k in _VARIABLES if k in os.environ
      },
      'versions': {
          d.name: d.version for d in installed if d.name in _PACKAGES
      },
  }
