"""Reads what the stages of a run, or of all published rows, have written.

Every subfolder with a config.json is a stage, whatever its name. A model is the
stage that makes one, and the `evaluate` stage that read it.
"""

import pathlib
import re
from typing import Any, NamedTuple, Sequence

import numpy as np
import pandas as pd

from experiments import runs

Path = pathlib.Path
Fields = dict[str, Any]  # of an experiment, such as {'ann.epochs': 12}

KINDS = {'train_ann': 'ann', 'convert': 'converted', 'train_snn': 'tuned'}
NAMES = {'ann': 'LSTM', 'converted': 'converted', 'tuned': 'fine-tuned'}
# Sections of the config that decide what a stage adds to its source.
_OWN = {'ann': ('data', 'model', 'ann', 'seed'), 'tuned': ('snn', 'seed'),
        'converted': ('conversion', 'seed')}  # yapf: disable
_UNTOLD = {'seed', 'data.path', 'conversion.num_steps'}  # by any label
OF_FAMILY = {'model.family', 'model.slope', 'model.levels'}


class Metric(NamedTuple):
  """What a task is judged by; the accuracy where files do not say it."""
  name: str
  higher_is_better: bool

  @property
  def unit(self) -> str:
    """'%' of an accuracy, which is shown times 100, else nothing."""
    return '%' if self.name == 'accuracy' else ''

  def text(self, value: float, sign: str = '') -> str:
    """0.9325 -> 93.25 for an accuracy, four digits of other metrics."""
    return f'{100 * value:{sign}.2f}' if self.unit else f'{value:{sign}.4g}'


class Stage(NamedTuple):
  """A stage's folder: config.json, and metrics.json once it is finished."""
  folder: Path
  config: dict[str, Any]
  fields: Fields
  metrics: dict[str, Any] | None

  def get(self, *keys: str) -> Any:
    """An entry of metrics.json; a ValueError names the file if it is absent."""
    value: Any = self.metrics
    for key in keys:
      if not isinstance(value, dict) or key not in value:
        raise ValueError(f'{self.folder / "metrics.json"} has no entry '
                         f'{".".join(keys)}. Remove the folder to run it anew.')
      value = value[key]
    return value


class Model(NamedTuple):
  """A model of a run.

  `kind` is 'ann', 'converted' or 'tuned'; `fields` has each section as the
  stage read it that it decides; `made` and (if finished) `test` are the stages
  that made and evaluated it; `origin` is the folder of its LSTM, if known;
  `usual_name` what a pipeline calls it. Within its row, `variant` tells it
  apart, such as 'sites h', `label` is its full name, `order` sorts models.
  """
  name: str
  kind: str
  fields: Fields
  made: Stage
  test: Stage | None
  origin: str | None
  num_steps: int | None
  usual_name: str
  variant: str = ''
  label: str = ''
  order: tuple = ()

  @property
  def is_sigma_delta(self) -> bool:
    """Whether it has sigma-delta neurons."""
    return self.fields.get('conversion.neuron') == 'sigma_delta'


class Predictions(NamedTuple):
  """Of the test set: outputs [B, K], truth [B, ...], score of each [B]."""
  outputs: np.ndarray
  truth: np.ndarray
  scores: np.ndarray


class Run(NamedTuple):
  """What a work directory holds: stages by folder, and models in order.

  `latency` and `select` are the stages of that name, if they are finished;
  `fields` those of the first LSTM, or of some stage; `standard` the folder of
  the standard LSTM; `missing` and `untimed` sentences on what is not there.
  """
  folder: Path
  stages: dict[str, Stage]
  models: list[Model]
  latency: Stage | None
  select: Stage | None
  metric: Metric
  fields: Fields
  standard: str | None
  missing: list[str]
  untimed: list[str]

  @property
  def data(self) -> dict[str, Any] | None:
    """What `datasets.summary` says of the data; older runs have nothing."""
    found = [m.test.get().get('data') for m in self.models if m.test]
    return next(filter(None, found), None)


class Row(NamedTuple):
  """A published experiment: its name, and a run for each seed."""
  name: str
  runs: dict[int, Run]


def read(folder: Path) -> Row:
  """Reads the stages in the subfolders of a work directory: a row of one run.

  Raises a FileNotFoundError if it holds no stage, a ValueError if a file is
  corrupt or stages do not belong together.
  """
  run = _read(folder)
  return _row('', {run.fields['seed']: run})


def read_rows(folder: Path) -> list[Row]:
  """Reads <row>/seed<k>/ of a folder of results, as `read`; rows by name."""
  found: dict[str, dict[int, Run]] = {}
  for path in sorted(folder.glob('*/seed*')):
    match = re.fullmatch(r'seed(0|[1-9]\d*)', path.name)
    if match and path.is_dir():
      found.setdefault(path.parent.name, {})[int(match[1])] = _read(path)
  if not found:
    raise FileNotFoundError(f'{folder} holds no <row>/seed<k>/; publish one.')
  return [_row(name, dict(sorted(row.items()))) for name, row in found.items()]


def _read(folder: Path) -> Run:
  stages: dict[str, Stage] = {}
  for path in sorted(folder.glob('*/config.json')):
    config, at = runs.read_config(path.parent), path.with_name('metrics.json')
    metrics = runs.read_json(at) if at.is_file() else None
    fields = runs.flat(config['experiment'])
    stages[path.parent.name] = Stage(path.parent, config, fields, metrics)
  roles: dict[Any, str] = {}
  for name, stage in stages.items():
    what, source = stage.config['stage'], stage.config['source']
    role = (what, source if what == 'evaluate' else None)
    if what not in KINDS and roles.setdefault(role, name) != name:
      raise ValueError(f'{folder}: {roles[role]}/ and {name}/ hold the same '
                       'stage of the same models. Remove one of them.')
  done = [s.metrics for s in stages.values() if s.metrics]
  tasks = sorted({m['metric'] for m in done if 'metric' in m})
  higher = all(m.get('higher_is_better', True) for m in done)
  digests = {s.config['data_digest']: name for name, s in stages.items()}
  if len(digests) > 1 or len(tasks) > 1:
    raise ValueError(
        f'{folder} holds stages of different data or metrics, '
        f'{", ".join([*digests.values(), *tasks])}; separate them.')
  ended = {k: stages[name] for k, name in roles.items() if stages[name].metrics}
  models = [_model(name, stages, ended.get(('evaluate', name)))
            for name, s in stages.items() if s.config['stage'] in KINDS
           ]  # yapf: disable
  if not models:
    raise FileNotFoundError(f'{folder} holds no stages that make a model; give '
                            'the work directory of a pipeline.')
  lstms = sorted(models, key=lambda m: m.kind != 'ann')
  standard = [m.name for m in models if m.usual_name == 'standard']
  latency, select = (ended.get((k, None)) for k in ('latency', 'select'))
  timed = latency.get('models') if latency else {}
  untimed = ', '.join(m.name for m in models if m.name not in timed)
  late = f'latency/ is missing, not finished or without {untimed}; run it.'
  return Run(folder, stages, models, latency, select,
             Metric((tasks or ['accuracy'])[0], higher), lstms[0].fields,
             next(iter(standard), None), _missing(folder, models),
             [late] if untimed else [])


def predictions(m: Model) -> Predictions | None:
  """What a model said to each test example; None of older and of published."""
  path = m.test.folder / 'predictions.npz' if m.test else None
  if path is None or not path.is_file():
    return None
  arrays = runs.read_npz(path)
  return Predictions(*(arrays[name] for name in Predictions._fields))


def _model(name: str, stages: dict[str, Stage], test: Stage | None) -> Model:
  made: list[Stage] = []  # its LSTM first, as far as it is known
  at: str | None = name
  while at in stages and stages[at] not in made:
    made.insert(0, stages[at])
    at = stages[at].config['source']
  kinds = [KINDS[stage.config['stage']] for stage in made]
  fields: Fields = {}
  for stage, kind in zip(made, kinds):
    fields |= {k: v for k, v in stage.fields.items()
               if k.split('.')[0] in _OWN[kind] or k not in fields
              }  # yapf: disable
  steps = None if kind == 'ann' else fields['conversion.num_steps']
  usual = fields['model.family'] if kind == 'ann' else f'{kind}_T{steps}'
  usual += f'_Q{fields["model.levels"]}' if usual == 'quantised' else ''
  if fields.get('conversion.neuron') == 'sigma_delta':
    usual = f'{kind}_sd_T{steps}'
  return Model(name, kind, fields, stages[name], test,
               made[0].folder.name if kinds[0] == 'ann' else None, steps, usual)


def _missing(folder: Path, models: Sequence[Model]) -> list[str]:
  plan = folder / 'plan.json'  # {"models": [folders]}
  names = [m.name for m in models]
  names += runs.read_json(plan)['models'] if plan.is_file() else []
  names += [m.made.config['source'] for m in models if m.kind != 'ann']
  if not any(m.usual_name == 'standard' for m in models):
    names.append('standard')
  made = {m.name for m in models if m.made.metrics}
  made |= {f'{m.name}_test' for m in models if m.test}
  return [f'{at}/ is missing or not finished.'
          for name in dict.fromkeys(names) for at in (name, f'{name}_test')
          if at not in made]  # yapf: disable


def _row(name: str, seeds: dict[int, Run]) -> Row:
  """Labels models by what sets them apart in their row, and sorts them."""
  alike = {(s.config['data_digest'], run.metric) for run in seeds.values()
           for s in run.stages.values()}  # yapf: disable
  for seed, run in seeds.items():
    if run.fields['seed'] != seed or len(alike) > 1:
      raise ValueError(
          f'{run.folder}: expected seed {seed}, and the data (data_digest) and '
          f'metric of the other seeds; it is of seed {run.fields["seed"]}.')
  models = [m for run in seeds.values() for m in run.models]
  group = lambda m: (m.kind, m.is_sigma_delta)
  told: dict[tuple[str, bool], set[str]] = {}
  for key in set(map(group, models)):
    # Fields of several values; None where older ones lack one.
    frame = pd.DataFrame([m.fields for m in models if group(m) == key])
    told[key] = {k for k in set(frame) - _UNTOLD
                 if frame[k].dropna().astype(str).nunique() > 1 and
                 (key[0] != 'ann' or k not in OF_FAMILY)}  # yapf: disable

  def labelled(m: Model, standard: str | None) -> Model:
    words = []  # 'sites o+c' for {'conversion.sites': ['o', 'c']}
    for k in [k for k in m.fields if k in told[group(m)]]:
      field = re.sub(r'^(data|model|conversion)\.', '', k)
      value = m.fields[k]
      text = '+'.join(map(str, value)) if isinstance(value, list) else value
      words.append(f'{re.sub("[._]", " ", field)} {text}')
    variant = ', '.join(words)
    called = (f'{m.usual_name.replace("_", " ")} LSTM' if m.kind == 'ann' else
              f'{NAMES[m.kind]} T={m.num_steps}')  # yapf: disable
    called += ', sigma-delta' if m.is_sigma_delta else ''
    order = (list(NAMES).index(m.kind), m.is_sigma_delta, m.kind == 'ann' and
             m.name != standard, m.num_steps, variant, m.name)
    label = ', '.join(filter(None, (called, variant)))
    return m._replace(variant=variant, label=label, order=order)

  return Row(name, {
      seed: run._replace(models=sorted(
          (labelled(m, run.standard) for m in run.models),
          key=lambda m: m.order)) for seed, run in seeds.items()
  })  # yapf: disable
