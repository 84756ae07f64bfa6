"""Published rows: one experiment each, run under several seeds.

  results/<row>/seed<k>/<stage>/   config.json and metrics.json

A figure of a row is its mean over the seeds that have it. Differences and
ratios are taken within a seed before that, so what seeds have in common drops
out of their deviation.
"""

import pathlib
import re
import statistics
from typing import Any, Callable, Iterable, NamedTuple

from experiments import reference
from experiments.reporting import results as results_lib
from experiments.reporting.results import Entry
from experiments.reporting.results import Results

Path = pathlib.Path
Measure = Callable[[Results, Entry], float | None]  # None where it is missing


class Spread(NamedTuple):
  """A figure over seeds.

  Attributes:
    mean: over the seeds that have the figure.
    std: their sample standard deviation; None for one seed.
    num_seeds: how many they are, >= 1.
  """
  mean: float
  std: float | None
  num_seeds: int


class Model(NamedTuple):
  """A model of a row.

  Attributes:
    row: name of the row.
    label: of the model, see `Entry.label`.
    runs: what each seed has of it, at least one.
  """
  row: str
  label: str
  runs: tuple[tuple[Results, Entry], ...]

  @property
  def entry(self) -> Entry:
    """The model under the first seed that has it, for what seeds share."""
    return min((entry for _, entry in self.runs), key=lambda e: e.model is None)

  def over_seeds(self, figure: Measure) -> Spread | None:
    """A figure over the seeds; None if all lack it."""
    return spread(figure(results, entry) for results, entry in self.runs)


class Row(NamedTuple):
  """An experiment.

  Attributes:
    name: of its folder.
    seeds: what each seed has left, by seed.
  """
  name: str
  seeds: dict[int, Results]

  @property
  def experiment(self) -> dict[str, Any]:
    """The experiment of the source LSTM under the first seed."""
    return next(iter(self.seeds.values())).base

  @property
  def task(self) -> tuple[str, str]:
    """Data set and order of the pixels, where that makes a task."""
    key = (self.experiment['dataset'], self.experiment['order'])
    return key if key in reference.TASKS else (key[0], '')


def spread(values: Iterable[float | None]) -> Spread | None:
  """Mean and deviation of the values that are there; None without any."""
  known = [value for value in values if value is not None]
  if not known:
    return None
  std = statistics.stdev(known) if len(known) > 1 else None
  return Spread(statistics.fmean(known), std, len(known))


def read(folder: Path) -> list[Row]:
  """Reads every row of a folder of results.

  Args:
    folder: with rows; subfolders without seeds are no rows.

  Returns:
    Rows by name.

  Raises:
    FileNotFoundError: if there is no row.
    ValueError: if a file is corrupt, or the seeds of a row are not of one
      experiment.
  """
  found: dict[str, dict[int, Path]] = {}
  for path in sorted(folder.glob('*/seed*')):
    match = re.fullmatch(r'seed(0|[1-9]\d*)', path.name)
    if match and path.is_dir():
      found.setdefault(path.parent.name, {})[int(match[1])] = path
  if not found:
    raise FileNotFoundError(f'{folder} holds no <row>/seed<k>/; publish a run '
                            'there with experiments.publish.')
  rows = []
  for name, paths in found.items():
    seeds = {k: results_lib.read(path) for k, path in sorted(paths.items())}
    _check_one_experiment(seeds)
    rows.append(Row(name, seeds))
  return rows


def models(row: Row) -> list[Model]:
  """The models of a row, in the order of `Results.entries`.

  Raises:
    ValueError: if a seed has one model twice.
  """
  # Only its folder's name is known of a model that is missing under a seed.
  known = {
      entry.name: entry.label for results in row.seeds.values()
      for entry in results.entries
      if entry.model
  }
  found: dict[str, dict[int, tuple[Results, Entry]]] = {}
  for seed, results in row.seeds.items():
    for entry in results.entries:
      label = entry.label if entry.model else known.get(entry.name, entry.label)
      runs = found.setdefault(label, {})
      if seed in runs:
        raise ValueError(
            f'{results.folder}: {runs[seed][1].name}/ and {entry.name}/ are '
            f'both "{label}", with the same config. Remove one of them.')
      runs[seed] = results, entry
  made = [
      Model(row.name, label, tuple(runs.values()))
      for label, runs in found.items()
  ]
  return sorted(made, key=lambda model: results_lib.order(model.entry))


def _has_snn(results: Results) -> bool:
  return any(entry.kind != 'ann' and entry.model for entry in results.entries)


def _check_one_experiment(seeds: dict[int, Results]) -> None:
  first = next(iter(seeds.values()))
  for seed, results in seeds.items():
    if results.base['seed'] != seed:
      raise ValueError(f'{results.folder} holds a run of seed '
                       f'{results.base["seed"]}; expected seed {seed}.')
    expected, given = first.base, results.base
    skipped = {'seed', 'data', 'num_steps'}
    if not (_has_snn(first) and _has_snn(results)):
      skipped.add('family')  # all that a seed has may be its standard LSTM
    different = [
        name for name in sorted({*expected, *given} - skipped)
        if expected.get(name) != given.get(name)
    ]
    digests = {r.stages[0].config['data_digest'] for r in (first, results)}
    if different or len(digests) > 1:
      raise ValueError(
          f'{results.folder} and {first.folder} differ in '
          f'{", ".join(different) or "their data (data_digest)"}; the seeds of '
          'a row are runs of one experiment. Move it to a row of its own.')
