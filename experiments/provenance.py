"""How a report's figures came to be: config, seed, commit, data, command."""

import dataclasses
import json
import shlex
from typing import Any

from experiments import reference
from experiments.presets import PRESETS
from experiments.results import Results
from experiments.results import Stage
from experiments.tables import Table

_CHAIN = ('family', 'num_steps')  # what a pipeline changes from stage to stage


def base(results: Results) -> dict[str, Any]:
  """The experiment of the source LSTM, or else of the first stage."""
  sources = [results.origin(entry) for entry in results.entries]
  found = [e for e in (*sources, *results.entries) if e and e.model]
  stage = found[0].model if found else results.stages[0]
  assert stage is not None
  return stage.config['experiment']


def config(results: Results) -> Table:
  """Every field of the experiment."""
  rows = [(name, _text(value)) for name, value in base(results).items()]
  return Table('Config', ('field', 'value'),
               tuple(rows),
               'Of the source LSTM. ' + _differences(results),
               numeric=False)


def _differences(results: Results) -> str:
  """Fields that differ in other stages, beside what a pipeline changes."""
  expected, found = base(results), []
  for stage in results.stages:
    differ = [
        f'{name}={_text(value)}'
        for name, value in stage.config['experiment'].items()
        if name not in _CHAIN and value != expected[name]
    ]
    if differ:
      found.append(f'`{stage.folder.name}/` has {", ".join(differ)}')
  return ('Other stages differ in family and num_steps only.'
          if not found else 'In other stages: ' + '; '.join(found) + '.')


def origin(results: Results) -> str:
  """Seed, commit and data, as Markdown."""
  stages = results.stages
  seeds = sorted({stage.config['experiment']['seed'] for stage in stages})
  commits: dict[str, list[str]] = {}
  for stage in stages:
    commits.setdefault(stage.config['commit'], []).append(stage.folder.name)
  lines = [
      f'- Seed: {", ".join(map(str, seeds))}. One run: no mean over seeds.'
  ]
  for commit, names in commits.items():
    where = '' if len(commits) == 1 else f' ({", ".join(names)})'
    lines.append(f'- Commit: `{commit}`{where}')
  lines.append(f'- Data: {base(results)["dataset"]}, SHA-256 '
               f'`{stages[0].config["data_digest"]}`')
  return '\n'.join(lines)


def commands(results: Results) -> list[str]:
  """The commands that make these stages again."""
  expected = base(results)
  uniform = all(stage.config['experiment'][name] == expected[name]
                for stage in results.stages
                for name in expected
                if name not in _CHAIN)
  if not uniform:
    stages = [s for e in results.entries for s in (e.model, e.test)]
    return [_stage_command(results, stage) for stage in stages if stage]
  arguments = flags(expected)
  for kind in ('converted', 'tuned'):
    steps = [str(e.num_steps) for e in results.entries if e.kind == kind]
    arguments.append(f'--{kind}_steps={",".join(steps)}')
  return [_command('pipeline', [*arguments, f'--work_dir={results.folder}'])]


def _stage_command(results: Results, stage: Stage) -> str:
  source = stage.config['source']
  return _command(stage.config['stage'], [
      *flags(stage.config['experiment']),
      *([f'--source={results.folder / source}'] if source else []),
      f'--work_dir={stage.folder}'
  ])


def _command(binary: str, arguments: list[str]) -> str:
  return shlex.join(['python', '-m', f'experiments.{binary}', *arguments])


def flags(experiment: dict[str, Any]) -> list[str]:
  """The preset that is nearest to an experiment, and the flags that differ."""
  best: list[str] | None = None
  for name, preset in PRESETS.items():
    fields = json.loads(json.dumps(dataclasses.asdict(preset)))
    found = [f'--preset={name}'] + [
        f'--{field}={_text(value)}' for field, value in experiment.items()
        if fields.get(field) != value
    ]
    if best is None or len(found) < len(best):
      best = found
  return best or []


def published(results: Results) -> Table:
  """Published figures of the task, and of the method's paper."""
  figures = reference.for_dataset(base(results)['dataset'])
  rows = [(f.task, f.system, f.value, f.unit, f.source, f.note) for f in figures
         ]
  return Table('Published figures',
               ('task', 'system', 'value', 'unit', 'source', 'protocol'),
               tuple(rows),
               'Measured by others, on their terms; not reproduced here.',
               numeric=False)


def _text(value: Any) -> str:
  return ','.join(map(str, value)) if isinstance(value, list) else str(value)
