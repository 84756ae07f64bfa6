"""Work directories: one stage of an experiment each, written once.

  config.json    stage, identity, source, teacher, the part of the config that
                 the stage and its sources read, digests of the data and of the
                 models that it reads and makes, commit, and those at which it
                 went on after it was killed
  model/         the stage's model, if it makes one
  metrics.json   its results; written last, so it marks a finished stage
  .lock          while a process writes the folder

The identity of a stage is a digest of all that decides its result. Two stages
of one identity are the same run.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import tokenize
from typing import Any, Mapping, Sequence
import warnings
import zipfile
import zlib

import numpy as np

from experiments import disk
from experiments import lock
from experiments.config import Experiment

Path = pathlib.Path


def begin(workdir: Path,
          stage: str,
          experiment: Mapping[str, Any],
          data_digest: str,
          sources: Mapping[str, Path] | None = None,
          reuse: Sequence[Path] = (),
          models: Mapping[str, str] | None = None) -> bool:
  """Opens a stage's work directory.

  Args:
    workdir: made if absent.
    stage: name of the stage.
    experiment: the sections of `as_dict` that the stage and its sources read.
    data_digest: of the data set.
    sources: work directories that it reads, as 'source' or 'teacher'.
    reuse: work directories of pipelines; a finished stage of theirs that is
      this one is copied.
    models: digest of the model of each of `sources`.

  Returns:
    Whether the stage is finished. If not, this process is the only one that
    writes the directory, until `finish`.

  Raises:
    ValueError: if the directory has results of another stage or config.
    BlockingIOError: if another process writes it.
  """
  config = _config(stage, experiment, data_digest, sources or {}, models or {})
  if _is_finished(workdir, config):
    print(f'{workdir}: finished before; kept as it is.', flush=True)
    return True
  lock.hold(workdir)
  if not (workdir / 'config.json').exists():
    _copy(config, reuse, workdir)
  if _is_finished(workdir, config):
    lock.release(workdir)
    return True
  write_json(workdir / 'config.json', _going_on(workdir, config))
  return False


def check(workdir: Path, stage: str, experiment: Mapping[str, Any],
          data_digest: str) -> None:
  """Raises what `begin` does of a stage without sources; writes nothing."""
  _is_finished(workdir, _config(stage, experiment, data_digest, {}, {}))


def _config(stage: str, experiment: Mapping[str, Any], data_digest: str,
            sources: Mapping[str, Path],
            models: Mapping[str, str]) -> dict[str, Any]:
  """What config.json has of a stage that starts now."""
  names = {part: path.name for part, path in sources.items()}
  config: dict[str, Any] = {
      'stage': stage,
      'source': names.get('source'),
      'teacher': names.get('teacher'),
      'experiment': dict(experiment),
      'data_digest': data_digest,
  }
  made_from = {k: read_config(path)['identity'] for k, path in sources.items()}
  config['identity'] = _identity(config, made_from)
  config['made_from'] = {
      k: {'identity': v, 'model_digest': models.get(k)}
      for k, v in made_from.items()
  }  # yapf: disable
  config['commit'] = commit()
  return config


def _is_finished(workdir: Path, config: Mapping[str, Any]) -> bool:
  """Whether this stage is; ValueError if the folder has results of another."""
  if not (workdir / 'config.json').exists():
    return False
  found = read_config(workdir)
  if not _same(found, config) and _has_results(workdir):
    old, new = _options(found), _options(config)
    different = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    raise ValueError(
        f'{workdir} holds another run, different in '
        f'{", ".join(different) or "what its sources are"}; choose another '
        '--workdir, or remove that one. Nothing was changed.')
  return (workdir / 'metrics.json').exists()


def _has_results(workdir: Path) -> bool:
  """Whether a stage has finished an epoch, or more."""
  epochs = (path.name for path in (workdir / 'epochs').glob('*'))
  return (any(
      (workdir / name).exists() for name in ('metrics.json', 'model')) or
          any(map(str.isdigit, epochs)) or
          (workdir / 'short').exists() and _has_results(workdir / 'short'))


def _going_on(workdir: Path, config: dict[str, Any]) -> dict[str, Any]:
  """The config.json of a stage that starts, or goes on in its folder."""
  if not (workdir / 'config.json').exists():
    return config
  found = read_config(workdir)
  if not _same(found, config):
    warnings.warn(f'{workdir} held another run, of which no epoch was '
                  'finished; this one takes its place.')
    for name in ('history.json', 'staircases.npz', 'raster.npz',
                 'predictions.npz'):
      (workdir / name).unlink(missing_ok=True)
    return config
  if config['commit'] not in commits(found):
    found['resumed_at'] = [*found.get('resumed_at', ()), config['commit']]
  return found


def finish(workdir: Path, metrics: Mapping[str, Any]) -> None:
  """Ends a stage with its metrics.json; prints its scores and files."""
  write_json(workdir / 'metrics.json', metrics)
  lock.release(workdir)
  names = sorted(path.name + '/' * path.is_dir() for path in workdir.iterdir())
  scores = [f'{key} {value:.4f}' for key, value in metrics.items()
            if isinstance(value, float)]  # yapf: disable
  print(f'{workdir}: {", ".join(["done", *scores])}; wrote {", ".join(names)}',
        flush=True)  # yapf: disable


def as_dict(experiment: Experiment) -> dict[str, Any]:
  """An experiment as JSON has it; section data has the data set's name."""
  sections = json.loads(json.dumps(dataclasses.asdict(experiment)))
  data = experiment.data
  name = getattr(data, 'name', type(data).__name__)
  return {**sections, 'data': {'name': name, **sections['data']}}


def sections(experiment: Experiment, *names: str) -> dict[str, Any]:
  """Some sections of `as_dict`."""
  whole = as_dict(experiment)
  return {name: whole[name] for name in names}


def flat(experiment: Mapping[str, Any]) -> dict[str, Any]:
  """{'seed': 0, 'ann': {'epochs': 12}} -> {'seed': 0, 'ann.epochs': 12}."""
  return {f'{name}.{key}' if key else name: value
          for name, part in experiment.items() for key, value in
          (part.items() if isinstance(part, dict) else [('', part)])
         }  # yapf: disable


def _identity(config: Mapping[str, Any], made_from: Mapping[str, str]) -> str:
  """SHA-256 of what decides a stage's result; where data lie does not."""
  data = {**config['experiment'].get('data', {})}
  data.pop('path', None)
  decisive = [config['stage'], {**config['experiment'], 'data': data},
              config['data_digest'], made_from]  # yapf: disable
  text = json.dumps(decisive, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _same(found: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
  """Whether two stages are the same run, of the same models if that is known.

  config.json has these digests since they were introduced.
  """
  if found['identity'] != config['identity']:
    return False
  old = found.get('made_from', {})
  known = lambda role: old.get(role, {}).get('model_digest')
  return all(known(role) in (None, of['model_digest'])
             for role, of in config['made_from'].items()
             if of['model_digest'])  # yapf: disable


def record(workdir: Path, **entries: Any) -> None:
  """Adds to the config.json of a stage what is known once it has run."""
  write_json(workdir / 'config.json', {**read_config(workdir), **entries})


def _copy(config: Mapping[str, Any], reuse: Sequence[Path],
          workdir: Path) -> None:
  """Copies a finished stage that is the same, if there is one."""
  for path in (p for folder in reuse for p in folder.glob('*/metrics.json')):
    if not _same(read_config(path.parent), config):
      continue
    last = ('config.json', 'metrics.json')  # which say that it is finished
    left = shutil.ignore_patterns('epochs', '.lock', '*.partial', *last)
    with disk.writing(workdir):
      shutil.copytree(path.parent, workdir, ignore=left, dirs_exist_ok=True)
      for name in last:
        partial = workdir / f'{name}.partial'
        shutil.copy2(path.with_name(name), partial)
        partial.replace(workdir / name)
    print(f'{workdir}: copied from {path.parent}', flush=True)
    return


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
  """What decides a stage's result, by dotted names of options."""
  named = {k: config.get(k) for k in ('stage', 'source', 'teacher',
                                      'data_digest')}  # yapf: disable
  for section, values in config['experiment'].items():
    options = values.items() if isinstance(values, dict) else [('', values)]
    named |= {f'{section}.{k}'.strip('.'): v for k, v in options}
  return named


def read_config(workdir: Path) -> dict[str, Any]:
  """Reads the config.json of a stage; ValueError if it is not what it wrote."""
  path = workdir / 'config.json'
  config = read_json(path)
  for key in ('stage', 'source', 'experiment', 'data_digest', 'commit'):
    if key not in config:
      raise ValueError(f'{path} has no entry {key}; it is not that of a stage.')
  # Runs of before there were identities have one of their own.
  config.setdefault('identity', _identity(config, {}))
  if 'made_from' in config:
    of = {k: v['identity'] for k, v in config['made_from'].items()}
    if _identity(config, of) != config['identity']:
      raise ValueError(
          f'{path} was edited: its entries do not give its identity, which is '
          'a digest of them. Restore it, or remove the folder to run its stage '
          'anew.')
  return config


def commits(config: Mapping[str, Any]) -> list[str]:
  """All commits whose code made a stage, by its config.json."""
  return [config['commit'], *config.get('resumed_at', ())]


def commit() -> str:
  """The commit of the code, with '-dirty' where files differ from it."""
  command = ('git', '-C', Path(__file__).parent, 'describe', '--always',
             '--abbrev=40', '--dirty', '--exclude=*')
  try:
    output = subprocess.check_output(command, stderr=subprocess.DEVNULL)
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  return output.decode().strip()


def write_json(path: Path, value: Any) -> None:
  """Writes JSON in one move, so that a killed run leaves no half file."""
  replace(path, (json.dumps(value, indent=2) + '\n').encode())


def read_json(path: Path) -> Any:
  """Reads JSON; an error names the file and what to do about it."""
  if not path.is_file():
    raise FileNotFoundError(f'{path} is absent; run the stage that writes '
                            f'{path.parent} first.')
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(
        f'{path} is truncated or not JSON: {error}. It was left as it is; '
        'remove the folder to run its stage anew.') from error


def replace(path: Path, content: bytes) -> None:
  """Writes a file, whose folder is made if absent, in one move."""
  with disk.writing(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_bytes(content)
    partial.replace(path)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays by name as .npz, in one move."""
  content = io.BytesIO()
  np.savez_compressed(content, allow_pickle=False, **arrays)
  replace(path, content.getvalue())


def read_npz(path: Path) -> dict[str, np.ndarray]:
  """Reads all arrays of an .npz; ValueError names one that is corrupt."""
  try:
    with path.open('rb') as file:
      stored = np.load(file, allow_pickle=False)
      if not isinstance(stored, np.lib.npyio.NpzFile):
        raise ValueError('it holds one array, not several with names')
      with stored as arrays:
        return {name: arrays[name] for name in arrays.files}
  except ValueError as error:
    if 'Object arrays' not in str(error):
      raise _unreadable(path, error) from error
    raise ValueError(f'{path}: an array holds Python objects; store numbers, '
                     'or strings by y.astype(str).') from error
  # NumPy parses the header of an array as Python, which a damaged one is not.
  except (OSError, EOFError, KeyError, SyntaxError, tokenize.TokenError,
          zipfile.BadZipFile, zlib.error) as error:
    raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
  return ValueError(f'{path} cannot be read as .npz: {error}. It was left as '
                    'it is; make it anew.')
