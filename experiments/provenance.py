"""How a report's figures came to be, and figures of others beside them."""

import pathlib
import shlex

import pandas as pd

from experiments import config
from experiments import configs
from experiments import runs
from experiments.reporting import load

# What a pipeline changes of its config, for all and for sigma-delta neurons.
_CHANGED = ('data.path', 'conversion.num_steps')
_SIGMA_DELTA = ('conversion.neuron', 'conversion.sites', 'conversion.coupling',
                'conversion.granularity', 'snn.rate_target',
                'snn.input_target', *load.OF_FAMILY
               )  # yapf: disable


def task(fields: load.Fields) -> str:
  """Data set, and order of the pixels where there are several."""
  return '_'.join(fields[k] for k in ('data.name', 'data.order') if k in fields)


def published(key: str) -> pd.DataFrame | None:
  """Figures of others for a `task`, with what each did otherwise."""
  path = pathlib.Path(__file__).with_name('reference.csv')
  figures = pd.read_csv(path, dtype=str)
  found = figures[figures['data'] == key]
  return None if found.empty else found.drop(columns='data')


def origin(run: load.Run) -> list[str]:
  """Commits, and the stages of each if there are several; then the data."""
  found: dict[str, list[str]] = {}
  for name, stage in run.stages.items():
    made_at = '`, then `'.join(runs.commits(stage.config))
    found.setdefault(f'Commit: `{made_at}`', []).append(name)
  lines = [line + f' ({", ".join(names)})' * (len(found) > 1)
           for line, names in found.items()]  # yapf: disable
  name, digest = run.fields['data.name'], stage.config['data_digest']
  return [*lines, f'Data: {name}, SHA-256 `{digest}`']


def commands(run: load.Run, workdir: str, seed: str = '') -> list[str]:
  """The commands that make a run again in a folder, with that text as seed.

  A stage that the pipeline does not make, or makes otherwise, gets its own; one
  that today's code cannot make gets a comment that says so.
  """
  usual = [m for m in run.models if m.name == m.usual_name]
  quantised = [m for m in usual if m.name.startswith('quantised_')]
  base: load.Fields = {}  # at last that of a tuned LIF model, of the greatest T
  for m in usual:
    if m.is_sigma_delta:
      base |= {k: v for k, v in m.fields.items()
               if k not in (*_SIGMA_DELTA, *base)}  # yapf: disable
    elif m not in quantised:
      base |= m.fields
  own = base.get('model.family')
  wanted = [m for m in usual if m.kind != 'ann' or m in quantised or
            m.name in ('standard', own)]  # yapf: disable
  alike = [m for m in wanted if all(
      base.get(k, v) == v for k, v in m.fields.items()
      if k not in _CHANGED and
      not (m.kind == 'ann' and k in load.OF_FAMILY) and
      not (m.is_sigma_delta and k in _SIGMA_DELTA))]  # yapf: disable
  lstms, found = [m for m in wanted if m.kind == 'ann'], []
  if lstms and all(m in alike for m in lstms):
    flags = []
    groups = {'converted': ('converted', False), 'tuned': ('tuned', False),
              'sigma_delta': ('converted', True)}  # yapf: disable
    for flag, group in groups.items():
      steps = ','.join(
          str(m.num_steps)
          for m in alike
          if (m.kind, m.is_sigma_delta) == group)
      flags.append(f'--{flag}_steps={steps}')
    levels = ','.join(str(m.fields['model.levels']) for m in quantised)
    flags.append(f'--quantised_levels={levels}')
    base.pop('conversion.num_steps', None)
    flags.append(f'--workdir={workdir}')
    found.append(_command('pipeline', base, lstms[0].made, seed, flags))
  else:
    alike = []
  for m in run.models:
    for stage in [s for s in (m.made, m.test) if s and m not in alike]:
      what, folders = stage.config['stage'], dict(stage.config)
      if what == 'train_snn' and m.fields.get('snn.distillation'):
        folders['teacher'] = folders.get('teacher') or m.origin or 'LSTM'
      flags = [f'--{role}={workdir}/{folders[role]}' for role in
               ('source', 'teacher') if folders.get(role)]  # yapf: disable
      flags.append(f'--workdir={workdir}/{stage.folder.name}')
      found.append(_command(what, m.fields, stage, seed, flags))
  return found


def _command(binary: str, fields: load.Fields, stage: load.Stage, seed: str,
             arguments: list[str]) -> str:
  try:
    chosen = nearest({**fields, **({'seed': seed} if seed else {})})
  except ValueError as error:
    made_at = ', then '.join(runs.commits(stage.config))
    return (f'# {binary} {arguments[-1]}: made at commit {made_at} with the '
            f'code of that time; today\'s cannot: {error}')
  command = ['python', '-m', f'experiments.{binary}', *chosen, *arguments]
  return shlex.join(command)


def nearest(fields: load.Fields) -> list[str]:
  """The nearest config and flags that differ; ValueError if there is none."""
  every = [(name, runs.flat(runs.as_dict(experiment)))
           for name, experiment in configs.every().items()]  # yapf: disable
  differing = {
      name: {k: v for k, v in fields.items() if known.get(k, not v) != v}
      for name, known in every if known['data.name'] == fields['data.name']
  }  # yapf: disable
  if not differing:
    return [f'--config=YOUR_CONFIG_OF_{fields["data.name"]}.py']
  name = min(differing, key=lambda name: len(differing[name]))
  told = [f'{k}={",".join(map(str, v)) if isinstance(v, list) else v}'
          for k, v in differing[name].items()]  # yapf: disable
  changes: load.Fields = {}
  for field, value in differing[name].items():
    if field == 'seed' and isinstance(value, str):
      continue  # it stands for several
    section, _, key = field.rpartition('.')
    value = tuple(value) if isinstance(value, list) else value
    (changes.setdefault(section, {}) if section else changes)[key] = value
  try:
    config.replace(configs.every()[name], **changes)
  except (ValueError, TypeError, AttributeError) as error:
    raise ValueError(f'{", ".join(told)} ({error})') from error
  return [f'--config=experiments/configs/{name}',
          *(f'--config.{change}' for change in told)]  # yapf: disable
