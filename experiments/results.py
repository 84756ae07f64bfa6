"""Reads what the stages of a run have written, for the report.

Every subfolder with a config.json is a stage; what it is stands in there, its
name does not matter. A model is the folder of a stage that makes one, and the
folder of the `evaluate` stage that read it.
"""

import pathlib
import re
from typing import Any, NamedTuple

from experiments import workdir

Path = pathlib.Path

_KINDS = {'train_ann': 'ann', 'convert': 'converted', 'train_snn': 'tuned'}
BINARIES = {kind: stage for stage, kind in _KINDS.items()}
_LABELS = {'converted': 'converted', 'tuned': 'fine-tuned'}


class Stage(NamedTuple):
  """A stage's folder: config.json, and metrics.json once it is finished."""
  folder: Path
  config: dict[str, Any]
  metrics: dict[str, Any] | None

  def get(self, *keys: str | int) -> Any:
    """An entry of metrics.json; None if the stage is not finished.

    Raises:
      ValueError: if the entry is absent; names file and entry.
    """
    value: Any = self.metrics
    if value is None:
      return None
    for key in keys:
      try:
        value = value[key]
      except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f'{self.folder / "metrics.json"} has no entry '
            f'{".".join(map(str, keys))}. Was it written by another version? '
            'Remove the folder to run its stage anew.') from error
    return value


class Entry(NamedTuple):
  """A model of the report.

  Attributes:
    name: of its folder.
    kind: 'ann', 'converted' or 'tuned'.
    family: activations of its source LSTM, or None if unknown.
    num_steps: T; None for an ANN.
    model: the stage that made it, or None if that is missing.
    test: the stage that evaluated it, likewise.
  """
  name: str
  kind: str
  family: str | None
  num_steps: int | None
  model: Stage | None
  test: Stage | None

  @property
  def label(self) -> str:
    """What a reader calls it, such as 'fine-tuned T=2'."""
    if self.kind == 'ann':
      return f'{self.family or self.name} LSTM'
    return f'{_LABELS[self.kind]} T={self.num_steps}'

  @property
  def source(self) -> str | None:
    """Name of the folder that it was made from."""
    return self.model.config['source'] if self.model else None


class Results(NamedTuple):
  """All that a work directory holds.

  Attributes:
    folder: the work directory.
    entries: standard LSTM, other LSTMs, converted and tuned SNNs by T.
    latency: the latency stage, or None.
  """
  folder: Path
  entries: tuple[Entry, ...]
  latency: Stage | None

  @property
  def stages(self) -> tuple[Stage, ...]:
    """Every stage that is there."""
    of_models = [s for e in self.entries for s in (e.model, e.test)]
    return tuple(s for s in (*of_models, self.latency) if s)

  def find(self, name: str | None) -> Entry | None:
    """The entry of that folder name."""
    return next((e for e in self.entries if e.name == name), None)

  @property
  def standard(self) -> Entry | None:
    """The standard LSTM, to which energy and latency are compared."""
    return next(
        (e for e in self.entries if e.kind == 'ann' and e.family == 'standard'),
        None)

  def origin(self, entry: Entry) -> Entry | None:
    """The LSTM that an SNN goes back to; None for an LSTM, or if unknown."""
    found: Entry | None = entry
    for _ in self.entries:
      if found is None or found.kind == 'ann':
        break
      found = self.find(found.source)
    return None if found in (entry, None) or found.kind != 'ann' else found


def read(folder: Path) -> Results:
  """Reads all stages in the subfolders of a work directory.

  Args:
    folder: of a pipeline, or any that holds stages run by hand. If it has a
      plan.json, {"models": [folder names]}, models that are named there but
      absent are reported as missing.

  Raises:
    FileNotFoundError: if it holds no stage at all.
    ValueError: if a file is corrupt, or stages saw different data.
  """
  stages = {
      path.parent.name: _stage(path.parent)
      for path in sorted(folder.glob('*/config.json'))
  }
  if not stages:
    raise FileNotFoundError(f'{folder} holds no stages; expected the work '
                            'directory of a pipeline, with one in each '
                            'subfolder.')
  _check_same_data(stages)
  by_stage: dict[str, dict[str, Stage]] = {}
  for name, stage in stages.items():
    by_stage.setdefault(stage.config['stage'], {})[name] = stage
  tests = {s.config['source']: s for s in by_stage.get('evaluate', {}).values()}
  entries = [
      _entry(name, stage, tests.get(name))
      for name, stage in stages.items()
      if stage.config['stage'] in _KINDS
  ]
  known = {entry.name for entry in entries}
  absent = [
      name for name in _expected(folder, entries, tests) if name not in known
  ]
  entries += [
      _absent_entry(name, tests.get(name)) for name in dict.fromkeys(absent)
  ]
  entries.sort(key=_order)
  latency = next(iter(by_stage.get('latency', {}).values()), None)
  return Results(folder, tuple(entries), latency)


def history(stage: Stage) -> list[dict[str, float]]:
  """The finished epochs of a training; none if it has not come so far."""
  path = stage.folder / 'history.json'
  return workdir.read_json(path) if path.is_file() else []


def _stage(folder: Path) -> Stage:
  config = workdir.read_json(folder / 'config.json')
  for key in ('stage', 'source', 'experiment', 'data_digest', 'commit'):
    if key not in config:
      raise ValueError(
          f'{folder / "config.json"} has no entry {key}; it is not '
          'that of a stage.')
  path = folder / 'metrics.json'
  return Stage(folder, config,
               workdir.read_json(path) if path.is_file() else None)


def _entry(name: str, stage: Stage, test: Stage | None) -> Entry:
  experiment = stage.config['experiment']
  kind = _KINDS[stage.config['stage']]
  return Entry(name, kind, experiment['family'],
               None if kind == 'ann' else experiment['num_steps'], stage, test)


def _absent_entry(name: str, test: Stage | None) -> Entry:
  """An entry for a model of which only the name, as by a pipeline, is known."""
  match = re.fullmatch(r'(converted|tuned)_T(\d+)', name)
  if match:
    return Entry(name, match[1], None, int(match[2]), None, test)
  return Entry(name, 'ann', name, None, None, test)


def _expected(folder: Path, entries: list[Entry],
              tests: dict[str, Stage]) -> list[str]:
  """Names of the models that should be there."""
  plan = folder / 'plan.json'
  planned = workdir.read_json(plan)['models'] if plan.is_file() else []
  standard = any(e.family == 'standard' and e.kind == 'ann' for e in entries)
  sources = [entry.source for entry in entries if entry.source]
  return [*planned, *([] if standard else ['standard']), *sources, *tests]


def _order(entry: Entry) -> tuple:
  kinds = ('ann', 'converted', 'tuned')
  return (kinds.index(entry.kind), entry.family
          != 'standard', entry.num_steps or 0, entry.name)


def _check_same_data(stages: dict[str, Stage]) -> None:
  digests: dict[str, str] = {}
  for name, stage in stages.items():
    digests.setdefault(stage.config['data_digest'], name)
  if len(digests) > 1:
    raise ValueError(
        f'{" and ".join(sorted(digests.values()))} are stages on different '
        'data (data_digest in config.json); their figures cannot be compared. '
        'Move them to work directories of their own.')
