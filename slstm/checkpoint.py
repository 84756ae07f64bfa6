"""Checkpoints by orbax: models that stand alone, and states to resume from.

Both are stored as flat maps from a leaf's name, such as `layers[0].u.f`, to its
array. A model's Config and the types of its neurons are in model.json.

Nothing is ever overwritten: a step that exists is refused, and a checkpoint
that cannot be read is reported by name and left as it is.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import re
from typing import Any, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from slstm import borders
from slstm import model as model_lib
from slstm import neurons
from slstm.types import (Config, Encoder, Gates, Layer, Model, Readout, SITES,
                         Sites)

_FILE = 'model.json'
_FORMAT = 2
_OVERHEAD = 2**16  # bytes, at least, that a step takes beside its arrays
_LONG = 200  # characters of an error of others
_Path = str | pathlib.Path


def save(directory: _Path, step: int, tree: Any, *, keep: int = 2) -> None:
  """Writes a pytree of arrays as a step, of which the `keep` newest stay.

  FileExistsError if the directory holds this step or a later one, OSError if it
  cannot be written, such as on a full disk.
  """
  arrays = {
      k: np.asarray(leaf) for k, leaf in borders.named_leaves(tree).items()
  }
  with _quiet(), _manager(directory, max_to_keep=keep) as manager:
    newest = manager.latest_step()
    if newest is not None and newest >= step:
      raise FileExistsError(
          f'save: {directory} already holds step {newest}, asked to write '
          f'{step}; choose another directory, or remove this one.')
    try:
      _try_room(pathlib.Path(directory), sum(a.nbytes for a in arrays.values()))
      manager.save(step, args=ocp.args.StandardSave(arrays))
    except (ValueError, OSError) as error:
      raise OSError(f'save: step {step} cannot be written into {directory}: '
                    f'{_reason(error)}. Steps that were finished before are '
                    'kept.') from error


def latest_step(directory: _Path) -> int | None:
  """The newest finished step, or None where there is none."""
  if not pathlib.Path(directory).is_dir():
    return None
  with _manager(directory) as manager:
    return manager.latest_step()


def read(directory: _Path) -> dict[str, np.ndarray]:
  """Reads the newest step as a map from leaf names to arrays.

  FileNotFoundError if there is none, ValueError if it cannot be read.
  """
  step = latest_step(directory)
  if step is None:
    raise FileNotFoundError(
        f'no checkpoint in {directory}; has the training run that should have '
        'written it finished an epoch?')
  with _quiet(), _manager(directory) as manager:
    try:
      return manager.restore(step, args=ocp.args.StandardRestore())
    except (ValueError, KeyError, TypeError, OSError) as error:
      raise ValueError(
          f'checkpoint {pathlib.Path(directory) / str(step)} cannot be read: '
          'it is truncated or corrupt. It was left as it is; restore it from '
          'a copy, or remove it to fall back to the step before. '
          f'({_reason(error)})') from error


def restore(directory: _Path, template: Any) -> Any:
  """Reads the newest step into a tree of the template's structure.

  Raises what `read` does, or ValueError naming the first leaf that differs.
  """
  arrays, names = read(directory), borders.named_leaves(template)
  borders.check_leaves(arrays, names, f'checkpoint {directory}')
  leaves = [jnp.asarray(arrays[name]) for name in names]
  return jax.tree.unflatten(jax.tree.structure(template), leaves)


def save_model(directory: _Path, model: Model) -> None:
  """Writes a model so that `load_model` needs nothing but the directory.

  FileExistsError if that holds a model, ValueError if it could not be loaded or
  a value is out of range.
  """
  neuron_types = {
      f'layers[{index}].{site}': type(neuron).__name__
      for index, layer in enumerate(model.layers)
      for site, neuron in layer.neurons._asdict().items()
      if neuron is not None
  }
  if model.encoder.neuron is not None:
    neuron_types['encoder'] = type(model.encoder.neuron).__name__
  arrays, config = borders.named_leaves(model), dataclasses.asdict(model.config)
  made = unflatten(arrays, model.config, neuron_types, 'save_model: model')
  borders.check_model(made, 'save_model: model')
  save(directory, 0, model)
  fields = {'format': _FORMAT, 'config': config, 'neurons': neuron_types}
  text = json.dumps(fields, indent=2) + '\n'
  path = pathlib.Path(directory) / _FILE
  try:
    path.write_text(text, encoding='utf-8')
  except OSError as error:
    path.unlink(missing_ok=True)
    raise OSError(f'save_model: {path} cannot be written: {error.strerror}'
                 ) from error  # yapf: disable


def load_model(directory: _Path) -> Model:
  """Reads what `save_model` wrote.

  FileNotFoundError if there is no model, ValueError if a file is corrupt or a
  value out of range.

  Example:
    model = slstm.load_model('results/models/har/model')
  """
  path = pathlib.Path(directory) / _FILE
  if not path.is_file():
    raise FileNotFoundError(f'no model in {directory}: {path.name} is missing.')
  try:
    fields = json.loads(path.read_text(encoding='utf-8'))
    if fields.get('format') != _FORMAT:
      raise ValueError(
          f'its format is {fields.get("format", 1)}; expected {_FORMAT}. '
          'An earlier slstm (format 1) wrote the Config alone; it belongs '
          'under "config", next to "format": 2 and the type of each neuron, '
          'such as "neurons": {"layers[0].o": "LIF"}')
    options = fields['config']
    config = Config(**{**options, 'pooling': tuple(options['pooling'])})
    names = dict(fields['neurons'])
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(f'{path} does not describe a model: {error!r}.') from error
  model = unflatten(read(directory), config, names, str(directory))
  borders.check_model(model, str(directory))
  return model


def digest(model: Model) -> str:
  """SHA-256 of the parameters, to tell two models apart."""
  sha = hashlib.sha256()
  for name, leaf in borders.named_leaves(model).items():
    array = np.ascontiguousarray(jnp.asarray(leaf))
    sha.update(f'{name} {array.dtype} {array.shape}'.encode())
    sha.update(array.tobytes())
  return sha.hexdigest()


def unflatten(arrays: Mapping[str, Any], config: Config,
              neuron_types: Mapping[str, str], source: str) -> Model:
  """Builds a Model of arrays by name and, as in model.json, its neurons.

  Raises:
    ValueError: naming the source and the leaf that is missing, not expected or
      of a shape that does not fit, or the neuron that is not known.
  """
  rest = {name: jnp.asarray(leaf) for name, leaf in arrays.items()}
  types_left = dict(neuron_types)
  another = 'Is this the checkpoint of another model?'

  def build(kind: Any, where: str) -> Any:
    fields = {field: f'{where}.{field}' for field in kind._fields}
    for field, name in fields.items():
      if name not in rest and field not in kind._field_defaults:
        raise ValueError(f'leaf {name} is missing. {another}')
    return kind(*(rest.pop(name, None) for name in fields.values()))

  def neuron(key: str, where: str) -> Any:
    name = types_left.pop(key, None)
    return name and build(neurons.by_name(name), where)

  def layer(prefix: str) -> Layer:
    w, u, b = (build(Gates, f'{prefix}.{name}') for name in 'wub')
    sites = (neuron(f'{prefix}.{s}', f'{prefix}.neurons.{s}') for s in SITES)
    return Layer(w, u, b, Sites(*sites))

  count = len({name.split('.')[0] for name in rest if name[:6] == 'layers'})
  try:
    encoder = build(Encoder, 'encoder')
    encoder = encoder._replace(neuron=neuron('encoder', 'encoder.neuron'))
    model = Model(encoder, tuple(layer(f'layers[{k}]') for k in range(count)),
                  build(Readout, 'readout'), config)
    for name in (*rest, *types_left):
      raise ValueError(f'leaf {name} is not expected. {another}')
    model_lib.check_model(model)
  except ValueError as error:
    raise ValueError(f'{source}: {error}') from error
  return model


def _try_room(directory: pathlib.Path, size: int) -> None:
  """Raises OSError if a disk has no room for so many bytes.

  orbax writes arrays in parallel. Where one fails, threads of the others print
  traces that nobody can catch; so a file is tried before.
  """
  tried = directory / '.room'
  try:
    tried.write_bytes(bytes(size + _OVERHEAD))
  finally:
    tried.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps orbax from logging errors, with traces; they are raised as well."""
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(level)


def _reason(error: Exception) -> str:
  """The system's reason where orbax names one, or the begin of what it says."""
  number = re.search(r"os_error_code='(\d+)'", str(error))
  if number:
    return os.strerror(int(number[1]))
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  return str(error).partition(';')[0].partition(' [')[0][:_LONG]


def _manager(directory: _Path, **options: int) -> ocp.CheckpointManager:
  settings = ocp.CheckpointManagerOptions(enable_async_checkpointing=False,
                                          **options)
  path = pathlib.Path(directory).absolute()
  return ocp.CheckpointManager(path, options=settings)
