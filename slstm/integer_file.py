"""A network in integers as one file, which a reader in C can take in, too.

All numbers are little-endian:

  8 bytes   89 's' 'l' 's' 't' 'm' 0D 0A
  uint32    version of the format, 1
  uint32    J, bytes of the header
  J bytes   header, JSON in ASCII
  ...       arrays, each right after the one before, rows one after another
  uint32    CRC-32 of all bytes before, as zlib and PNG have it

The header has four entries. Names are those of `slstm.integer.IntegerModel` and
its parts, and `slstm.integer` says what to compute:

  {"config": {"family": "hard", "num_steps": 1, ...},
   "neurons": {"layers[0].neurons.h": "IntegerSigmaDelta"},
   "numbers": {"encoder.bits": 5, "layers[0].w_shift": [7, 6, 7, 8], ...},
   "arrays": [{"name": "encoder.mean", "dtype": "float32", "shape": [9]}, ...]}

A site that `neurons` lacks is analog. An IntegerLIF without `leak` is an IF.
Arrays are listed in the order of the file: int32 and float32 first, then int8.
The header ends in spaces, so that each array begins at a multiple of the size
of its numbers. Whoever changes any of this changes the version.
"""

import dataclasses
import json
import math
import os
import pathlib
import struct
from typing import Any, BinaryIO, Iterator
import zlib

import numpy as np

from slstm import types
from slstm.integer import IntegerEncoder
from slstm.integer import IntegerLayer
from slstm.integer import IntegerLIF
from slstm.integer import IntegerModel
from slstm.integer import IntegerSigmaDelta
from slstm.integer_check import check_integers
from slstm.types import Config, Sites

MAGIC = b'\x89slstm\r\n'
VERSION = 1
_START = struct.Struct('<8sII')
_CHECKSUM = struct.Struct('<I')
_DTYPES = ('int8', 'int32', 'float32')
_KINDS = {kind.__name__: kind for kind in (IntegerLIF, IntegerSigmaDelta)}
_DAMAGED = ('it is truncated or corrupt. It was left as it is; restore it from '
            'a copy, or quantise the model again.')
_Path = str | pathlib.Path


def save_integers(model: IntegerModel, path: _Path) -> None:
  """Writes a model as one file, as a whole or not at all.

  Its folder is made if it is not there.

  Raises:
    FileExistsError: if the path is there.
    ValueError: if the model could not be loaded.

  Example:
    ints = slstm.quantise(model, data.train.x[:512])
    slstm.save_integers(ints, 'har.slstm')
  """
  check_integers(model, 'save_integers: model')
  path = pathlib.Path(path)
  if path.exists():
    raise FileExistsError(f'save_integers: {path} is there already; choose '
                          'another path, or remove it.')
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f'{path.name}.{os.getpid()}.part')
  try:
    part.write_bytes(_encode(model))
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)


def load_integers(path: _Path) -> IntegerModel:
  """Reads what `save_integers` wrote.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: naming the file, if it is truncated, corrupt, of another kind or
      of a newer version, or if its model cannot be run.

  Example:
    ints = slstm.load_integers('har.slstm')
    classes = slstm.integer.outputs(ints, data.test.x).argmax(-1)
  """
  path = pathlib.Path(path)
  if not path.is_file():
    found = 'is a folder' if path.is_dir() else 'is not there'
    raise FileNotFoundError(f'load_integers: {path} {found}; expected a file '
                            'that save_integers wrote.')
  try:
    with path.open('rb') as file:
      model = _decode(file)
  except (ValueError, RecursionError) as error:  # JSON may be nested deeply
    raise ValueError(f'{path} cannot be loaded: {error}') from error
  check_integers(model, f'{path} cannot be loaded')
  return model


def _parts(value: Any, name: str = '') -> Iterator[tuple[str, Any]]:
  """Arrays, numbers and neurons by name, such as 'layers[0].u'."""
  if type(value) in _KINDS.values():
    yield name, value
  if name == 'layers':
    for index, layer in enumerate(value):
      yield from _parts(layer, f'layers[{index}]')
  elif hasattr(value, '_asdict'):
    for field, part in value._asdict().items():
      yield from _parts(part, f'{name}.{field}' if name else field)
  elif value is not None and not isinstance(value, Config):
    yield name, value


def _encode(model: IntegerModel) -> bytes:
  arrays, kinds, numbers = {}, {}, {}
  for name, part in _parts(model):
    if isinstance(part, np.ndarray):
      arrays[name] = part.astype(part.dtype.newbyteorder('<'))
    elif hasattr(part, '_asdict'):
      kinds[name] = type(part).__name__
    else:
      numbers[name] = part
  order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
  described = [{'name': name, 'dtype': arrays[name].dtype.name,
                'shape': arrays[name].shape} for name in order]  # yapf: disable
  fields = {'config': dataclasses.asdict(model.config), 'neurons': kinds,
            'numbers': numbers, 'arrays': described}  # yapf: disable
  header = json.dumps(fields).encode('ascii')
  header += b' ' * (-len(header) % 4)
  body = _START.pack(MAGIC, VERSION, len(header)) + header
  body += b''.join(arrays[name].tobytes() for name in order)
  return body + _CHECKSUM.pack(zlib.crc32(body))


def _decode(file: BinaryIO) -> IntegerModel:
  """Reads a model; whether it can be run is left to check."""
  start = file.read(_START.size)
  if not start.startswith(MAGIC):
    raise ValueError(f'it starts with {start[:len(MAGIC)]!r}; expected '
                     f'{MAGIC!r}. Is it from save_integers?')
  if len(start) < _START.size:
    raise ValueError(_DAMAGED)
  _, version, length = _START.unpack(start)
  if version != VERSION:
    raise ValueError(f'its format is {version}; expected {VERSION}. Was it '
                     'written by a newer slstm? Update, or quantise again.')
  data = start + file.read()
  body, checksum = data[:-_CHECKSUM.size], data[-_CHECKSUM.size:]
  if _CHECKSUM.pack(zlib.crc32(body)) != checksum:
    raise ValueError(_DAMAGED)
  text = body[_START.size:][:length].decode('ascii')
  config, kinds, leaves, described = _fields(
      'header', json.loads(text), config=dict, neurons=dict, numbers=dict,
      arrays=list)  # yapf: disable
  for name, value in leaves.items():
    ints = value if isinstance(value, list) else [value]
    if any(type(k) is not int for k in ints):
      raise ValueError(f'{name!r:.99} is {value!r:.99}; expected ints.')
    leaves[name] = tuple(ints) if ints is value else value
  _read(body, _START.size + length, described, leaves)
  return _build(leaves, kinds, _config(config))


def _fields(what: str, value: Any, **kinds: type) -> list[Any]:
  """Values of a JSON object of these names and no others, of these types."""
  if not isinstance(value, dict) or value.keys() != kinds.keys():
    found = sorted(value) if isinstance(value, dict) else value
    raise ValueError(f'{what} has {found!r:.99}; expected {", ".join(kinds)}.')
  for name, kind in kinds.items():
    if not isinstance(value[name], kind):
      raise ValueError(f'{what}: {name} is {value[name]!r:.99}; expected a '
                       f'{kind.__name__}.')
  return [value[name] for name in kinds]


def _config(options: dict[str, Any]) -> Config:
  names = {field.name: object for field in dataclasses.fields(Config)}
  values = dict(zip(names, _fields('config', options, **names)))
  try:
    return Config(**{**values, 'pooling': tuple(values['pooling'])})
  except TypeError as error:  # such as a string for a number
    raise ValueError(f'config: {error}.') from error


def _read(body: bytes, at: int, described: list[Any],
          leaves: dict[str, Any]) -> None:
  """Adds arrays, which begin at a byte and fill the rest, to leaves by name."""
  for index, entry in enumerate(described):
    what = f'arrays[{index}]'
    name, dtype, shape = _fields(what, entry, name=str, dtype=str, shape=list)
    types.check_choice(f'{what}.dtype', dtype, _DTYPES)
    if name in leaves:
      raise ValueError(f'{what}.name is {name!r:.99}, which is there twice.')
    if len(shape) > 2 or any(type(k) is not int or k < 1 for k in shape):
      raise ValueError(f'{what}.shape is {shape!r:.99}; expected one or two '
                       'ints >= 1.')
    count, kind = math.prod(shape), np.dtype(dtype)
    if count > (len(body) - at) // kind.itemsize:  # before it takes memory
      raise ValueError(f'{what} has shape {shape!r:.99} of {dtype}; there are '
                       f'{max(0, len(body) - at)} bytes left.')
    stored = np.frombuffer(body, kind.newbyteorder('<'), count, at)
    leaves[name] = stored.reshape(shape).astype(kind)
    at += stored.nbytes
  if at != len(body):
    raise ValueError(f'{len(body) - at} bytes follow the last array.')


def _build(leaves: dict[str, Any], kinds: dict[str, Any],
           config: Config) -> IntegerModel:
  """The model of arrays and numbers by name, and of the kinds of neurons."""

  def build(kind, prefix, **known):
    for field in kind._fields:
      name = prefix + field
      if field not in known and name in leaves:
        known[field] = leaves.pop(name)
      elif field not in known and field not in kind._field_defaults:
        raise ValueError(f'{name} is missing.')
    return kind(**known)

  def neuron(name):
    if name not in kinds:
      return None
    types.check_choice(name, kinds[name], tuple(_KINDS))
    return build(_KINDS[kinds.pop(name)], f'{name}.')

  def layer(prefix):
    sites = (neuron(f'{prefix}neurons.{site}') for site in types.SITES)
    return build(IntegerLayer, prefix, neurons=Sites(*sites))

  encoder = build(IntegerEncoder, 'encoder.', neuron=neuron('encoder.neuron'))
  layers: list[IntegerLayer] = []
  while f'layers[{len(layers)}].u' in leaves:
    layers.append(layer(f'layers[{len(layers)}].'))
  model = build(IntegerModel, '', encoder=encoder, layers=tuple(layers),
                config=config)  # yapf: disable
  for name in (*leaves, *kinds):
    raise ValueError(f'{name!r:.99} is not expected.')
  return model
