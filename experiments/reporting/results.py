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
# Fields that do not set models apart: a label has T, a run one seed, one data
# set wherever its files are.
_NO_VARIANT = ('num_steps', 'seed', 'data')

# ... and those that only the training of an SNN reads.
_SNN_TRAINING = ('snn_epochs', 'snn_learning_rate', 'neuron_rate',
                 'rate_penalty', 'distillation')


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
    variant: what sets it apart from the pipeline's own models, such as
      'sites h'; '' for those.
  """
  name: str
  kind: str
  family: str | None
  num_steps: int | None
  model: Stage | None
  test: Stage | None
  variant: str = ''

  @property
  def label(self) -> str:
    """What a reader calls it, such as 'fine-tuned T=2, sites h'."""
    if self.kind == 'ann':
      label = f'{self.family or self.name} LSTM'
    else:
      label = f'{_LABELS[self.kind]} T={self.num_steps}'
      label += f', S={self.encoder_steps}' if self.encoder_steps else ''
    return f'{label}, {self.variant}' if self.variant else label

  @property
  def encoder_steps(self) -> int:
    """S of a spiking encoder; 0 where it has T steps, or there is none."""
    if self.kind == 'ann' or self.model is None:
      return 0
    return self.model.config['experiment']['encoder_steps']

  @property
  def usual_name(self) -> str:
    """What a pipeline calls the folder of such a model."""
    if self.kind == 'ann':
      return self.family or self.name
    return f'{self.kind}_T{self.num_steps}'

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

  def ancestry(self, entry: Entry) -> list[Entry]:
    """The entry, what it was made from, and so on, as far as is known."""
    found: list[Entry] = []
    at: Entry | None = entry
    while at is not None and at not in found:
      found.append(at)
      at = None if at.kind == 'ann' else self.find(at.source)
    return found

  def origin(self, entry: Entry) -> Entry | None:
    """The LSTM that an SNN goes back to; None for an LSTM, or if unknown."""
    last = self.ancestry(entry)[-1]
    return last if last.kind == 'ann' and last != entry else None

  @property
  def base(self) -> dict[str, Any]:
    """The experiment of the source LSTM, or else of the first stage.

    That is the source of a pipeline's own SNNs, where they are not alone.
    """
    usual_first = sorted(self.entries, key=lambda e: e.name != e.usual_name)
    sources = [self.origin(entry) for entry in usual_first]
    found = [e.model for e in (*sources, *self.entries) if e and e.model]
    return (found or self.stages)[0].config['experiment']


def read(folder: Path) -> Results:
  """Reads all stages in the subfolders of a work directory.

  Args:
    folder: of a pipeline, or any that holds stages run by hand. If it has a
      plan.json, {"models": [folder names]}, models that are named there but
      absent are reported as missing.

  Raises:
    FileNotFoundError: if it holds no stage at all.
    ValueError: if a file is corrupt, stages saw different data, or one model
      was evaluated twice.
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
  tests: dict[str, Stage] = {}
  for name, stage in by_stage.get('evaluate', {}).items():
    other = tests.setdefault(stage.config['source'], stage)
    _check_alone(other.folder.name, name)
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
  entries.sort(key=order)
  latencies = by_stage.get('latency', {})
  for name in latencies:
    _check_alone(next(iter(latencies)), name)
  latency = next(iter(latencies.values()), None)
  results = Results(folder, tuple(entries), latency)
  named = [e._replace(variant=_variant(results, e)) for e in results.entries]
  return results._replace(entries=tuple(sorted(named, key=order)))


def history(stage: Stage) -> list[dict[str, float]]:
  """The finished epochs of a training; none if it has not come so far."""
  path = stage.folder / 'history.json'
  return workdir.read_json(path) if path.is_file() else []


def _stage(folder: Path) -> Stage:
  config = workdir.read_config(folder)
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
  match = re.fullmatch(r'(converted|tuned)_T(\d+)(_.*)?', name)
  if match:
    return Entry(name, match[1], None, int(match[2]), None, test)
  return Entry(name, 'ann', name, None, None, test)


def _variant(results: Results, entry: Entry) -> str:
  """The fields, of a model or what it was made from, that depart from the base.

  The family is named by the label of an LSTM, and has no meaning in the config
  of what was made from one.
  """
  if entry.model is None:
    return '' if entry.name == entry.usual_name else f'folder {entry.name}'
  found: dict[str, Any] = {}
  for at in reversed(results.ancestry(entry)):
    skipped = {*_NO_VARIANT}
    if at is entry or at.kind != 'ann':
      skipped.add('family')
    if at.kind != 'tuned':
      skipped |= {*_SNN_TRAINING}
    if entry.encoder_steps:
      skipped.add('encoder_steps')  # the label has it
    if entry.num_steps == 1:
      skipped.add('coupling')  # all are the same
    experiment = at.model.config['experiment'] if at.model else {}
    found |= {
        name: value
        for name, value in experiment.items()
        if name not in skipped and value != results.base.get(name)
    }
  return ', '.join(f'{name.replace("_", " ")} {_text(value)}'
                   for name, value in found.items())


def _text(value: Any) -> str:
  return '+'.join(map(str, value)) if isinstance(value, list) else str(value)


def _expected(folder: Path, entries: list[Entry],
              tests: dict[str, Stage]) -> list[str]:
  """Names of the models that should be there."""
  plan = folder / 'plan.json'
  planned = workdir.read_json(plan)['models'] if plan.is_file() else []
  standard = any(e.family == 'standard' and e.kind == 'ann' for e in entries)
  sources = [entry.source for entry in entries if entry.source]
  return [*planned, *([] if standard else ['standard']), *sources, *tests]


def order(entry: Entry) -> tuple:
  """Key by which models are sorted: standard LSTM, other LSTMs, SNNs by T."""
  kind = ('ann', 'converted', 'tuned').index(entry.kind)
  return (kind, entry.family != 'standard', entry.num_steps or
          0, entry.variant, entry.name)


def _check_alone(name: str, other: str) -> None:
  if name != other:
    raise ValueError(f'{name}/ and {other}/ hold the same stage of the same '
                     'models, and a report has one. Remove one of them.')


def _check_same_data(stages: dict[str, Stage]) -> None:
  digests: dict[str, str] = {}
  for name, stage in stages.items():
    digests.setdefault(stage.config['data_digest'], name)
  if len(digests) > 1:
    raise ValueError(
        f'{" and ".join(sorted(digests.values()))} are stages on different '
        'data (data_digest in config.json); their figures cannot be compared. '
        'Move them to work directories of their own.')
