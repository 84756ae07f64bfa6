"""Checkpoints by orbax: models that stand alone, and states to resume from.

Both are stored as flat maps from a leaf's name, such as `layers[0].u.f`, to its
array. A model can therefore be read without knowing what it was: the names say
how many layers it has and which sites are converted.

Nothing is ever overwritten: a step that exists is refused, and a checkpoint
that cannot be read is reported by name and left as it is.
"""

import dataclasses
import json
import pathlib
import re
from typing import Any, Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp

from slstm import coverage
from slstm.types import (Config, Encoder, Gates, Layer, Neuron, Params, Readout,
                         Sites)

_CONFIG = 'model.json'
_CHILDREN: dict[Any, dict[str, Any]] = {
    Params: {
        'encoder': Encoder,
        'readout': Readout
    },
    Encoder: {
        'neuron': Neuron
    },
    Layer: {
        'w': Gates,
        'u': Gates,
        'b': Gates,
        'neurons': Sites
    },
    Sites: {
        site: Neuron for site in Sites._fields
    },
}


def save(directory: str | pathlib.Path,
         step: int,
         tree: Any,
         keep: int = 2) -> None:
  """Writes the arrays of a tree as a step of a checkpoint directory.

  Args:
    directory: made if it does not exist.
    step: number of the step, larger than all that are there.
    tree: any pytree of arrays.
    keep: how many of the newest steps stay.

  Raises:
    FileExistsError: if the directory holds this step or a later one.
  """
  arrays = {
      name: np.asarray(leaf)
      for name, leaf in coverage.named_leaves(tree).items()
  }
  options = ocp.CheckpointManagerOptions(max_to_keep=keep,
                                         enable_async_checkpointing=False)
  with ocp.CheckpointManager(_absolute(directory), options=options) as manager:
    newest = manager.latest_step()
    if newest is not None and newest >= step:
      raise FileExistsError(
          f'{directory} already holds step {newest}, asked to write {step}; '
          'choose another directory, or remove this one to start anew.')
    manager.save(step, args=ocp.args.StandardSave(arrays))


def latest_step(directory: str | pathlib.Path) -> int | None:
  """The newest finished step, or None where there is none."""
  if not pathlib.Path(directory).is_dir():
    return None
  with ocp.CheckpointManager(_absolute(directory)) as manager:
    return manager.latest_step()


def read(directory: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the newest step as a map from leaf names to arrays.

  Raises:
    FileNotFoundError: if there is no step.
    ValueError: if it cannot be read; it is left as it is.
  """
  step = latest_step(directory)
  if step is None:
    raise FileNotFoundError(
        f'no checkpoint in {directory}; has the training run that should have '
        'written it finished an epoch?')
  with ocp.CheckpointManager(_absolute(directory)) as manager:
    try:
      return manager.restore(step, args=ocp.args.StandardRestore())
    except (ValueError, KeyError, TypeError, OSError) as error:
      raise ValueError(
          f'checkpoint {pathlib.Path(directory) / str(step)} cannot be read: '
          'it is truncated or corrupt. It was left as it is; restore it from '
          f'a copy, or remove it to fall back to the step before. ({error})'
      ) from error


def restore(directory: str | pathlib.Path, template: Any) -> Any:
  """Reads the newest step into a tree of the template's structure.

  Raises:
    FileNotFoundError: if there is no step.
    ValueError: if it cannot be read, or is the checkpoint of another model:
      the message names the first leaf that does not fit.
  """
  arrays = read(directory)
  names = coverage.named_leaves(template)
  coverage.check_leaves(arrays, names, f'checkpoint {directory}')
  return jax.tree.unflatten(jax.tree.structure(template),
                            [jax.numpy.asarray(arrays[name]) for name in names])


def save_model(directory: str | pathlib.Path, params: Params,
               config: Config) -> None:
  """Writes parameters and Config so that `load_model` needs nothing else.

  Raises:
    FileExistsError: if the directory holds a model.
  """
  save(directory, 0, params)
  path = pathlib.Path(directory) / _CONFIG
  path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + '\n',
                  encoding='utf-8')


def load_model(directory: str | pathlib.Path) -> tuple[Params, Config]:
  """Reads what `save_model` wrote.

  Returns:
    (params, config), ready for `apply`.

  Raises:
    FileNotFoundError: if the directory holds no model.
    ValueError: if a file is corrupt or does not describe a model.
  """
  path = pathlib.Path(directory) / _CONFIG
  if not path.is_file():
    raise FileNotFoundError(f'no model in {directory}: {path.name} is missing.')
  try:
    fields = json.loads(path.read_text(encoding='utf-8'))
    config = Config(**{**fields, 'pooling': tuple(fields['pooling'])})
  except (ValueError, TypeError, KeyError) as error:
    raise ValueError(f'{path} does not hold a model Config: {error}') from error
  return unflatten(read(directory), str(directory)), config


def unflatten(arrays: Mapping[str, Any], source: str) -> Params:
  """Builds Params from a map of leaf names to arrays.

  Args:
    arrays: e.g. {'encoder.mean': ..., 'layers[0].w.i': ...}.
    source: where they come from, for messages.

  Raises:
    ValueError: for a name that no model has, or one that is missing.
  """
  nested: dict[str, Any] = {}
  for name, array in arrays.items():
    *parents, last = re.sub(r'\[(\d+)\]', r'.\1', name).split('.')
    node = nested
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = jax.numpy.asarray(array)
  layers = nested.pop('layers', {})
  if not layers or sorted(layers) != sorted(map(str, range(len(layers)))):
    raise ValueError(
        f'{source}: layers are {sorted(layers)}; expected 0, 1, ..')
  built = tuple(
      _build(Layer, layers[str(index)], f'{source}: layers[{index}]')
      for index in range(len(layers)))
  return _build(Params, {**nested, 'layers': built}, source)


def _build(kind: Any, fields: Mapping[str, Any], where: str) -> Any:
  """Builds a NamedTuple, and those inside it, from nested maps."""
  required = set(kind._fields) - set(kind._field_defaults)
  unknown = sorted(set(fields) - set(kind._fields))
  missing = sorted(required - set(fields))
  if unknown or missing:
    raise ValueError(f'{where}: unknown leaves {unknown}, missing leaves '
                     f'{missing}. Is this the checkpoint of another model?')
  children = _CHILDREN.get(kind, {})
  return kind(
      **{
          name: (_build(children[name], value, f'{where}.{name}') if name in
                 children else value) for name, value in fields.items()
      })


def _absolute(directory: str | pathlib.Path) -> pathlib.Path:
  return pathlib.Path(directory).absolute()
