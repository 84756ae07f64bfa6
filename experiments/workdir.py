"""Work directories: one stage of an experiment each, written once.

  config.json    stage, source, teacher, every field of the experiment, data,
                 commit, and those at which it went on after it was killed
  model/         the stage's model, if it makes one
  metrics.json   its results; written last, so it marks a finished stage
"""

import dataclasses
import json
import pathlib
import subprocess
from typing import Any

from experiments import files
from experiments.config import Experiment

_IDENTITY = ('stage', 'source', 'teacher', 'data_digest')


def begin(work_dir: pathlib.Path,
          stage: str,
          source: pathlib.Path | None,
          experiment: Experiment,
          data_digest: str,
          teacher: pathlib.Path | None = None) -> bool:
  """Opens a stage's work directory.

  Args:
    work_dir: made if absent.
    stage: name of the binary.
    source: the work directory that the stage reads, if any.
    experiment: resolved config.
    data_digest: of the data set.
    teacher: another work directory that it reads, if any.

  Returns:
    True if the stage has been finished there already.

  Raises:
    ValueError: if the directory belongs to another stage or experiment.
  """
  config: dict[str, Any] = {
      'stage': stage,
      'source': source.name if source else None,
      'teacher': teacher.name if teacher else None,
      'experiment': fields(experiment),
      'data_digest': data_digest,
      'commit': commit(),
  }
  path = work_dir / 'config.json'
  if path.exists():
    found = read_config(work_dir)
    different = [
        key for key in _IDENTITY if found.get(key, config[key]) != config[key]
    ]
    different += sorted(name for name, value in config['experiment'].items()
                        if found['experiment'][name] != value)
    if different:
      raise ValueError(
          f'{work_dir} holds another run, different in {", ".join(different)}; '
          'choose another --work_dir, or remove that one. Nothing was changed.')
  else:
    found = config
  finished = (work_dir / 'metrics.json').exists()
  if not finished and config['commit'] not in commits(found):
    found['resumed_at'] = [*found.get('resumed_at', ()), config['commit']]
  if not finished:
    write_json(path, found)
  return finished


def read_config(work_dir: pathlib.Path) -> dict[str, Any]:
  """Reads the config.json of a stage, with every field of today's experiment.

  Raises:
    FileNotFoundError: if it is absent.
    ValueError: if it is corrupt, or not that of a stage.
  """
  path = work_dir / 'config.json'
  config = read_json(path)
  for key in ('stage', 'source', 'experiment', 'data_digest', 'commit'):
    if key not in config:
      raise ValueError(f'{path} has no entry {key}; it is not that of a stage.')
  # A field that an older commit did not know has its default there.
  config['experiment'] = {**fields(Experiment()), **config['experiment']}
  return config


def commits(config: dict[str, Any]) -> list[str]:
  """All commits whose code made a stage, by its config.json."""
  return [config['commit'], *config.get('resumed_at', ())]


def fields(experiment: Experiment) -> dict[str, Any]:
  """Every field of an experiment, as JSON has it."""
  return json.loads(json.dumps(dataclasses.asdict(experiment)))


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes JSON in one move, so that a killed run leaves no half file."""
  files.replace(path, (json.dumps(value, indent=2) + '\n').encode())


def read_json(path: pathlib.Path) -> Any:
  """Reads JSON.

  Raises:
    FileNotFoundError: names the stage that should have written it.
    ValueError: if it is truncated or not JSON.
  """
  if not path.is_file():
    raise FileNotFoundError(f'{path} is absent; run the stage that writes '
                            f'{path.parent} first.')
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(
        f'{path} is truncated or not JSON: {error}. It was left as '
        'it is; remove the folder to run its stage anew.') from error


def commit() -> str:
  """The commit of the code, with '-dirty' where files differ from it."""
  try:
    result = subprocess.run([
        'git', 'describe', '--always', '--abbrev=40', '--dirty', '--exclude=*'
    ],
                            cwd=pathlib.Path(__file__).parent,
                            capture_output=True,
                            text=True,
                            check=True)
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  return result.stdout.strip()
