"""How a report's figures came to be: config, seed, commit, data, command."""

import shlex
from typing import Any

from experiments import reference
from experiments import workdir
from experiments.presets import PRESETS
from experiments.reporting.results import Entry
from experiments.reporting.results import Results
from experiments.reporting.results import Stage
from experiments.reporting.tables import Table

_CHAIN = ('family', 'num_steps')  # what a pipeline changes from stage to stage


def config(results: Results) -> Table:
  """Every field of the experiment."""
  rows = [(name, _text(value)) for name, value in results.base.items()]
  return Table('Config', ('field', 'value'),
               tuple(rows),
               'Of the source LSTM. ' + _differences(results),
               numeric=False)


def _differences(results: Results) -> str:
  """Fields that differ in other stages, beside what a pipeline changes."""
  expected, found = results.base, []
  for stage in results.stages:
    differ = [
        f'{name}={_text(value)}'
        for name, value in stage.config['experiment'].items()
        if name not in _CHAIN and value != expected.get(name)
    ]
    if differ:
      found.append(f'`{stage.folder.name}/` has {", ".join(differ)}')
  return ('Other stages differ in family and num_steps only.'
          if not found else 'In other stages: ' + '; '.join(found) + '.')


def origin(results: Results) -> str:
  """Seed, commit and data, as Markdown."""
  seeds = sorted({s.config['experiment']['seed'] for s in results.stages})
  return '\n'.join([
      f'- Seed: {", ".join(map(str, seeds))}. One run: no mean over seeds.',
      *(f'- Commit: {line}' for line in commits(results)),
      data(results)
  ])


def commits(results: Results) -> list[str]:
  """Every commit, and the stages that it made where there are several."""
  found: dict[str, list[str]] = {}
  for stage in results.stages:
    made_at = '`, then `'.join(workdir.commits(stage.config))
    found.setdefault(made_at, []).append(stage.folder.name)
  return [
      f'`{commit}`' + ('' if len(found) == 1 else f' ({", ".join(names)})')
      for commit, names in found.items()
  ]


def data(results: Results) -> str:
  """The data set and its digest, as Markdown."""
  return (f'- Data: {results.base["dataset"]}, SHA-256 '
          f'`{results.stages[0].config["data_digest"]}`')


def commands(results: Results,
             work_dir: str = '',
             seed: str | None = None) -> list[str]:
  """The commands that make these stages again.

  Args:
    results: of a pipeline, of stages run by hand, or of both.
    work_dir: the folder to write; that of the results by default.
    seed: what to print in place of the seed.

  Returns:
    The pipeline, and a command for each stage that it does not make. Where its
    own stages have not one config, a command for every stage.
  """
  work_dir = work_dir or str(results.folder)
  usual = [e for e in results.entries if e.name == e.usual_name]
  others = [e for e in results.entries if e not in usual]
  made = [s for e in usual for s in (e.model, e.test, results.latency) if s]
  found = []
  if made and all(_as_in_pipeline(stage, results.base) for stage in made):
    arguments = flags(results.base, seed)
    for kind in ('converted', 'tuned'):
      steps = [str(e.num_steps) for e in usual if e.kind == kind]
      arguments.append(f'--{kind}_steps={",".join(steps)}')
    found.append(_command('pipeline', [*arguments, f'--work_dir={work_dir}']))
  else:
    others = list(results.entries)
  return found + [
      _stage_command(results, entry, stage, work_dir, seed)
      for entry in others
      for stage in (entry.model, entry.test)
      if stage
  ]


def _as_in_pipeline(stage: Stage, base: dict[str, Any]) -> bool:
  """Whether a pipeline of that experiment would make the stage."""
  return all(
      base.get(name) == value
      for name, value in stage.config['experiment'].items()
      if name not in _CHAIN)


def _stage_command(results: Results, entry: Entry, stage: Stage, work_dir: str,
                   seed: str | None) -> str:
  experiment, source = stage.config['experiment'], stage.config['source']
  arguments = flags(experiment, seed)
  if source:
    arguments.append(f'--source={work_dir}/{source}')
  if stage.config['stage'] == 'train_snn' and experiment['distillation']:
    origin = results.origin(entry)  # older runs did not write the teacher down
    name = stage.config.get('teacher') or (origin.name if origin else 'LSTM')
    arguments.append(f'--teacher={work_dir}/{name}')
  arguments.append(f'--work_dir={work_dir}/{stage.folder.name}')
  return _command(stage.config['stage'], arguments)


def _command(binary: str, arguments: list[str]) -> str:
  return shlex.join(['python', '-m', f'experiments.{binary}', *arguments])


def flags(experiment: dict[str, Any], seed: str | None = None) -> list[str]:
  """The preset that is nearest to an experiment, and the flags that differ.

  Args:
    experiment: every field.
    seed: what to print in place of the seed, if anything.
  """
  if seed is not None:
    experiment = {**experiment, 'seed': seed}
  best: list[str] | None = None
  for name, preset in PRESETS.items():
    fields = workdir.fields(preset)
    found = [f'--preset={name}'] + [
        f'--{field}={_text(value)}' for field, value in experiment.items()
        if fields.get(field) != value
    ]
    if best is None or len(found) < len(best):
      best = found
  return best or []


def published(results: Results) -> Table:
  """Published figures of the task, and of the method's paper."""
  base = results.base
  return figures(reference.for_dataset(base['dataset'], base['order']))


def figures(shown: tuple[reference.Figure, ...]) -> Table:
  """A table of published figures."""
  return Table(
      'Published figures',
      ('task', 'system', 'value', 'unit', 'source', 'protocol'),
      tuple(
          (f.task, f.system, f.value, f.unit, f.source, f.note) for f in shown),
      'Measured by others, on their terms; not reproduced here.',
      numeric=False)


def _text(value: Any) -> str:
  return ','.join(map(str, value)) if isinstance(value, list) else str(value)
