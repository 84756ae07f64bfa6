"""Integer models on disk: round trips, and every way a file can be bad."""

import copy
import dataclasses
import functools
import json
import random
import struct
from typing import Any
import zlib

import numpy as np
import pytest

import slstm
from slstm import integer
from slstm import integer_file
from slstm.integer_check import check_integers
from tests import networks

START, CHECKSUM = 16, 4  # bytes before the header, and after the arrays
FUZZED = 10_000
# Places in networks.CASES: LIF neurons; both kinds, and one at the input; an
# input of spikes; neurons at every site; running sums of two steps.
LIF, BOTH, SPIKES, SITES, RUNNING = 0, 11, 4, 7, 10


@functools.cache
def quantised(case, bits=8):
  """A model of `networks.CASES`, and features of two sequences."""
  model, x = networks.dyadic(*networks.CASES[case], ('last', 'mean', 'max'))
  ints = slstm.quantise(model, x, bits=bits)
  return ints, integer.features(ints, x[:2])


@functools.cache
def lstm(family, bits=8):
  x = np.random.default_rng(0).normal(2, 3, (20, 9, networks.FEATURES))
  model = networks.gaussian(family, x.astype(np.float32))
  ints = slstm.quantise(model, x, bits=bits)
  return ints, integer.features(ints, x[:2])


def assert_same(a, b, name='model'):
  """Same values of the same types, leaf by leaf."""
  assert type(a) is type(b), name
  if isinstance(a, np.ndarray):
    assert a.dtype == b.dtype and a.dtype.isnative, name
    np.testing.assert_array_equal(a, b, name)
  elif isinstance(a, tuple):
    assert len(a) == len(b), name
    for index, (one, other) in enumerate(zip(a, b)):
      assert_same(one, other, f'{name}[{index}]')
  else:
    assert a == b, name


def check_round_trip(ints, q, path):
  slstm.save_integers(ints, path)
  loaded = slstm.load_integers(path)
  assert_same(loaded, ints)
  found, expected = (integer.run(model, q) for model in (loaded, ints))
  np.testing.assert_array_equal(found.outputs, expected.outputs)


@pytest.mark.parametrize('case, bits',
                         [*((case, 8) for case in range(len(networks.CASES))),
                          (SPIKES, 4), (RUNNING, 4)])  # yapf: disable
def test_round_trip(case, bits, tmp_path):
  check_round_trip(*quantised(case, bits), tmp_path / 'model')


@pytest.mark.parametrize('family, bits', [('standard', 8), ('hard', 8),
                                          ('quantised', 8), ('hard', 4)])
def test_round_trip_of_an_lstm(family, bits, tmp_path):
  check_round_trip(*lstm(family, bits), tmp_path / 'model')


# --- The format ---------------------------------------------------------------


@pytest.fixture(name='ints')
def _ints():
  """A model of both kinds of neurons."""
  return quantised(BOTH)[0]


@pytest.fixture(name='path')
def _path(ints, tmp_path):
  """The file of that model."""
  slstm.save_integers(ints, tmp_path / 'model')
  return tmp_path / 'model'


def split(data):
  """Header and arrays of a file."""
  length, = struct.unpack_from('<I', data, 12)
  return (json.loads(data[START:START + length]),
          data[START + length:-CHECKSUM])  # yapf: disable


def joined(header, arrays, version=1):
  """A file with these contents, and the checksum that belongs to them."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  body = b'\x89slstm\r\n' + struct.pack('<II', version, len(text))
  return signed(body + text + arrays)


def signed(body):
  return body + struct.pack('<I', zlib.crc32(body))


def read(data):
  """Header and arrays of a file, each of which is aligned."""
  assert data[:12] == b'\x89slstm\r\n\1\0\0\0'
  assert struct.unpack('<I', data[-4:]) == (zlib.crc32(data[:-4]),)
  header, _ = split(data)
  at, found = START + struct.unpack_from('<I', data, 12)[0], {}
  for entry in header['arrays']:
    dtype = np.dtype(entry['dtype']).newbyteorder('<')
    assert at % dtype.itemsize == 0, entry
    found[entry['name']] = values = np.ndarray(entry['shape'], dtype, data, at)
    at += values.nbytes
  assert at == len(data) - CHECKSUM
  return header, found


def test_a_reader_of_the_docstring(ints, path):
  header, found = read(path.read_bytes())
  assert list(header) == ['config', 'neurons', 'numbers', 'arrays']
  assert header['config']['family'] == 'quantised'
  assert header['neurons'] == {
      'encoder.neuron': 'IntegerSigmaDelta',
      'layers[0].neurons.h': 'IntegerSigmaDelta',
      'layers[1].neurons.o': 'IntegerLIF',
      'layers[1].neurons.c': 'IntegerLIF'
  }
  first, second = ints.layers
  assert header['numbers']['layers[1].w_shift'] == list(second.w_shift)
  np.testing.assert_array_equal(found['encoder.std'], ints.encoder.std)
  np.testing.assert_array_equal(found['layers[1].w'], second.w)
  np.testing.assert_array_equal(found['layers[0].neurons.h.theta'],
                                first.neurons.h.theta)
  np.testing.assert_array_equal(found['readout_b'], ints.readout_b)


def test_arrays_of_odd_sizes_are_aligned(tmp_path):
  ints, _ = lstm('hard')
  one = ints._replace(readout_w=ints.readout_w[:, :1],
                      readout_b=ints.readout_b[:1])
  slstm.save_integers(one, tmp_path / 'model')
  _, found = read((tmp_path / 'model').read_bytes())
  np.testing.assert_array_equal(found['readout_w'], one.readout_w)
  assert one.readout_w.size % 4
  assert_same(slstm.load_integers(tmp_path / 'model'), one)


# --- Paths --------------------------------------------------------------------


def test_folders_are_made_and_nothing_else_is_left(ints, tmp_path):
  slstm.save_integers(ints, tmp_path / 'a' / 'b' / 'model')
  made = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')]
  assert sorted(made) == ['a', 'a/b', 'a/b/model']


def test_nothing_is_overwritten(ints, path):
  before = path.read_bytes()
  with pytest.raises(FileExistsError, match='model is there already; choose'):
    slstm.save_integers(ints, path)
  with pytest.raises(FileExistsError, match='is there already'):
    slstm.save_integers(ints, path.parent)
  assert path.read_bytes() == before
  assert list(path.parent.iterdir()) == [path]


def test_a_file_is_written_as_a_whole_or_not_at_all(ints, tmp_path,
                                                    monkeypatch):

  def full(path, data):
    with path.open('wb') as file:
      file.write(data[:100])
    raise OSError('no space left')

  monkeypatch.setattr(integer_file.pathlib.Path, 'write_bytes', full)
  with pytest.raises(OSError, match='no space left'):
    slstm.save_integers(ints, tmp_path / 'model')
  assert not list(tmp_path.iterdir())


def test_what_could_not_be_loaded_is_not_saved(ints, tmp_path):
  for changes, message in (
      ({'output_bits': np.int64(3)}, r'output_bits is np.int64\(3\)'),
      ({'readout_b': ints.readout_b.astype(np.int64)}, 'readout_b is int64'),
      ({'layers': ()}, 'there are no layers')):  # yapf: disable
    with pytest.raises(ValueError, match=f'save_integers: model: {message}'):
      slstm.save_integers(ints._replace(**changes), tmp_path / 'new' / 'model')
  assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='nowhere is not there; expected'):
    slstm.load_integers(tmp_path / 'nowhere')
  with pytest.raises(FileNotFoundError, match='is a folder; expected a file'):
    slstm.load_integers(tmp_path)


# --- Other files --------------------------------------------------------------


def write(path, data):
  """As write_bytes, without the milliseconds that an emptied file can take."""
  path.touch()
  with path.open('r+b') as file:
    file.write(data)
    file.truncate()


def refused(path, data, message):
  """A file that is refused by its name, and left as it is."""
  write(path, data)
  with pytest.raises(ValueError, match=message) as caught:
    slstm.load_integers(path)
  assert str(caught.value).startswith(f'{path} cannot be loaded: ')
  assert path.read_bytes() == data


def test_foreign_files(path, tmp_path):
  np.savez(tmp_path / 'other.npz', w=np.ones(3))
  archive = (tmp_path / 'other.npz').read_bytes()
  for data in (b'', b'\x89sls', b'a text', archive, b'\x89PNG\r\n\x1a\n' * 9,
               path.read_bytes().replace(b'\r\n', b'\n')):  # yapf: disable
    refused(path, data, 'it starts with .* Is it from save_integers')


def test_truncated_and_longer_files(path):
  data = path.read_bytes()
  for length in (*range(8, len(data), 31), len(data) - 1):
    refused(path, data[:length], 'is truncated or corrupt')
  refused(path, data + b'\0', 'is truncated or corrupt')


def test_newer_versions(path):
  header, arrays = split(path.read_bytes())
  for version in (2, 0, 2**32 - 1):
    # Named even if the rest is of a form that nobody knows yet.
    for data in (joined(header, arrays, version),
                 joined(header, arrays, version)[:50]):  # yapf: disable
      refused(path, data, f'its format is {version}; expected 1. .*newer slstm')


# --- Contents that no model has, under a checksum that fits -------------------

DELETED = object()


def edited(data, place, value):
  """The file with another value at a place of its header."""
  header, arrays = split(data)
  at = header
  for key in place[:-1]:
    at = at[key]
  if value is DELETED:
    del at[place[-1]]
  else:
    at[place[-1]] = value
  return joined(header, arrays)


@pytest.mark.parametrize('place, value, message', [
    (['config', 'family'], 'soft', "Config.family is 'soft'; expected one of"),
    (['config', 'family'], [], 'Config.family is'),
    (['config', 'surrogate'], 'square', "surrogate is 'square'; expected one"),
    (['config', 'slope'], 0, 'Config.slope is 0; expected a finite number > 0'),
    (['config', 'slope'], float('nan'), 'Config.slope is nan'),
    (['config', 'slope'], 1e-9, 'config.slope is 1e-09; expected 0.000244 .. '),
    (['config', 'slope'], 1e300, r'slope is 1e\+300; expected 0.000244 .. 512'),
    (['config', 'slope'], '3', "config: '<' not supported"),
    (['config', 'width'], True, 'config.width is True; expected a number'),
    (['config', 'num_steps'], 10**9, 'num_steps is 10+; exp.* 0 .. 32768'),
    (['config', 'encoder_steps'], 10**9, 'encoder_steps is 1000000000; exp'),
    (['config', 'levels'], 10**9, 'config.levels is 1000000000; expected'),
    (['config', 'levels'], 2.0, 'Config.levels is 2.0; expected an int'),
    (['config', 'pooling'], [], 'Config.pooling'),
    (['config', 'pooling'], ['last'], r'readout_w has shape \(12, 2\)'),
    (['config', 'pooling'], [['last']], 'config: '),
    (['config', 'coupling'], DELETED, 'config has .*; expected family, '),
    (['config', 'gain'], 1, "config has .*'gain'"),
    (['config'], [], r'header: config is \[\]; expected a dict'),
    (['more'], 1, "header has .*'more'.*; expected config, neurons"),
    (['neurons', 'layers[1].neurons.o'], 'LIF', "neurons.o is 'LIF'; expected"),
    (['neurons', 'layers[1].neurons.o'], None, 'neurons.o is None; expected'),
    (['neurons', 'layers[1].neurons.o'], DELETED, "o.v_th' is not expected"),
    (['neurons', 'layers[1].neurons.o'], 'IntegerSigmaDelta', 'theta is miss'),
    (['neurons', 'layers[0].neurons.i'], 'IntegerLIF', 'i.v_th is missing'),
    (['neurons', 'layers[2].neurons.i'], 'IntegerLIF', 'is not expected'),
    (['numbers', 'layers[0].c_bits'], 13, r'c_bits is 13; .* int in 0 .. 12'),
    (['numbers', 'layers[0].c_bits'], [1], r'c_bits is .1,.; expected an int'),
    (['numbers', 'layers[0].c_bits'], [[]], r"c_bits' is \[\[\]\]; expected i"),
    (['numbers', 'layers[0].c_bits'], True, "c_bits' is True; expected ints"),
    (['numbers', 'layers[0].c_bits'], DELETED, 'layers.0..c_bits is missing'),
    (['numbers', 'layers[0].u'], 3, "name is 'layers.0..u', which is there tw"),
    (['numbers', 'layers[9].c_bits'], 3, "layers.9..c_bits' is not expected"),
    (['numbers', 'layers[0].w_shift'], [1, 2, 3], 'w_shift is .* 4 ints'),
    (['numbers', 'layers[0].w_shift'], 1, 'w_shift is 1; expected 4 ints'),
    (['numbers', 'layers[0].w_shift', 3], 32, 'w_shift of o is 32; .* in -30'),
    (['numbers', 'layers[0].u_shift', 0], -31, 'u_shift of i is -31; expected'),
    (['numbers', 'encoder.bits'], 13, 'encoder.bits is 13; .* in 0 .. 12'),
    (['numbers', 'encoder.limit'], 2**15 - 1, 'limit is 32767; .* 0 .. 28671'),
    (['numbers', 'output_bits'], 1e9, "output_bits' is 1000000000.0; expected"),
    (['numbers', 'output_bits'], 128, 'output_bits is 128; .* -127 .. 127'),
    (['arrays', 0, 'dtype'], 'object', r"dtype is 'object'; expected one of"),
    (['arrays', 0, 'dtype'], 'int32', 'mean is int32; expected an array'),
    (['arrays', 0, 'shape'], [3, 1], r'mean has shape .3, 1.; expected .D.'),
    (['arrays', 0, 'shape'], [2**40, 2**40], r'arrays.0. has shape .* bytes l'),
    (['arrays', 0, 'shape'], [10**9], 'shape .1000000000. of float32; the'),
    (['arrays', 0, 'shape'], [-3], r'arrays\[0\].shape is \[-3\]; expected'),
    (['arrays', 0, 'shape'], [0], r'arrays\[0\].shape is \[0\]; expected'),
    (['arrays', 0, 'shape'], [1] * 99, r'arrays.0..shape is .1, .*; expec'),
    (['arrays', 0, 'shape'], 3, r'arrays.0.: shape is 3; expected a list'),
    (['arrays', 0, 'name'], 'encoder.std', "name is 'encoder.std', which"),
    (['arrays', 0, 'name'], 'encoder.var', 'encoder.mean is missing'),
    (['arrays', 0], 'encoder.mean', "arrays.0. has 'encoder.mean'; expected"),
    (['arrays', 18], DELETED, 'bytes follow the last array'),
])  # yapf: disable
def test_headers(place, value, message, path):
  refused(path, edited(path.read_bytes(), place, value), message)


@pytest.mark.parametrize('depth', [10, 300, 900, 1500, 100_000])
def test_headers_that_are_no_json(depth, path):
  _, arrays = split(path.read_bytes())
  nested = b'[' * depth + b']' * depth
  for text in (b'', b'{', b'\xff', b'null', b'1' * 5000, nested,
               b'{"config": %s}' % nested, b'{"config": {}, "neurons": {}, '
               b'"numbers": {"a": %s}, "arrays": []}' % nested,
               b'{"config": {"family": %s}, "neurons": {}, '
               b'"numbers": {}, "arrays": []}' % nested):  # yapf: disable
    refused(path, joined(text, arrays), 'cannot be loaded: ')


def with_values(ints, where, value):
  """The model with a value in an array, at names such as 'layers.0.b'."""
  name, _, rest = where.partition('.')
  if name.isdigit():
    parts = list(ints)
    parts[int(name)] = with_values(parts[int(name)], rest, value)
    return tuple(parts)
  part = getattr(ints, name)
  if rest:
    return ints._replace(**{name: with_values(part, rest, value)})
  part = part.copy()
  part.flat[0] = value
  return ints._replace(**{name: part})


@pytest.mark.parametrize('where, value, message', [
    ('encoder.mean', np.nan, r'encoder.mean is in nan .. nan; expected'),
    ('encoder.mean', np.inf, r'encoder.mean is in .* inf; expected'),
    ('encoder.std', 0, r'encoder.std is in 0 .. 0.5; expected 1.4\d*e-45'),
    ('encoder.std', -1, r'encoder.std is in -1 .. 0.5'),
    ('encoder.std', np.nan, r'encoder.std is in nan'),
    ('encoder.neuron.theta', 0, r'theta is in 0 .. 2048; expected 1 .. 32767'),
    ('encoder.neuron.theta', 32768, r'theta is in .* 32768; expected 1 .. 327'),
    ('encoder.neuron.level', 1, r'encoder.neuron.level is .*; expected half'),
    ('layers.0.neurons.h.level', 32767, r'h.level is .*; expected half'),
    ('layers.1.neurons.o.v_th', 0, r'v_th is in 0 .. \d+; expected 1 .. 32767'),
    ('layers.1.neurons.o.level', 0, r'level is in 0 .. '),
    ('layers.1.neurons.c.amplitude', -32768, r'amplitude is in -32768 .. '),
    ('layers.1.neurons.o.v_0', 32768, r'v_0 is in .* 32768; expected -32767'),
    ('layers.0.w', -128, r'layers.0..w is in -128 .. .*; expected -127 .. 127'),
    ('layers.0.b', 2**30, r'layers.0..b is in .*; expected -1.0'),
])  # yapf: disable
def test_values(where, value, message, ints, path):
  wrong = with_values(ints, where, value)
  refused(path, integer_file._encode(wrong), message)


def test_sums_that_can_overflow(ints, path):
  wrong = with_values(ints, 'readout_b', 2**31 - 1)
  refused(path, integer_file._encode(wrong), 'sum of the read-out can reach')
  first, second = ints.layers
  wide = first._replace(u_shift=(-28, 0, 0, 0))
  refused(path, integer_file._encode(ints._replace(layers=(wide, second))),
          r'layers.0.* can reach .*beyond 2\^30')


def test_a_leak_beyond_one():
  ints, _ = quantised(LIF)
  for value in (-1, 2**15 + 1):
    wrong = with_values(ints, 'layers.0.neurons.o.leak', value)
    with pytest.raises(ValueError, match='mine: .*leak is in .*; expected 0'):
      check_integers(wrong, 'mine')


def test_a_running_sum_stands_alone():
  alone, _ = quantised(RUNNING)
  first, second = alone.layers
  step = dataclasses.replace(alone.config, coupling='step')
  both = first._replace(neurons=first.neurons._replace(o=first.neurons.h))
  moved = first._replace(neurons=slstm.Sites(c=first.neurons.h))
  for wrong in (alone._replace(config=step),
                alone._replace(layers=(both, second)),
                alone._replace(layers=(moved, second))):
    with pytest.raises(ValueError, match='an IntegerSigmaDelta at .; expected'):
      check_integers(wrong, 'mine')


def test_direct_encoding_and_spikes_have_their_bits():
  for case, field, value in ((LIF, 'bits', 8), (LIF, 'limit', 128),
                             (SPIKES, 'bits', 11), (SPIKES, 'limit', 2**15)):
    ints, _ = quantised(case)
    wrong = ints._replace(encoder=ints.encoder._replace(**{field: value}))
    with pytest.raises(ValueError, match='mine: encoder.(bits|limit) is '):
      check_integers(wrong, 'mine')


# --- Mutations ----------------------------------------------------------------

VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 4, 7, 12, 31, -30, 10**9, -10**9, 10**30,
    0.5, 1e308, -1e308, float('nan'), float('inf'), '', 'o', 'hard', 'standard',
    'shared', 'int8', 'int32', 'float32', 'IntegerLIF', 'encoder.std', '\ud800',
    [], [1], [4], [3, 16], [2**31, 2**31], ['mean'], ['last', 'max'], {}
]  # yapf: disable


def keys(value):
  """Of a JSON value; those of a list are its indices."""
  return list(range(len(value)) if isinstance(value, list) else value)


def chosen(rng, header):
  """What holds a value of the header, and its key in that."""
  at, key = header, rng.choice(keys(header))
  while isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.9:
    at = at[key]
    key = rng.choice(keys(at))
  return at, key


def mutated_bytes(rng, data, others):
  """Bits, lengths and pieces of a file changed."""
  data, at = bytearray(data), rng.randrange(len(data))
  end = min(len(data), at + rng.choice([1, 2, 4, 16, 300]))
  kind = rng.choice(['bits', 'cut', 'remove', 'insert', 'repeat', 'splice'])
  if kind == 'bits':
    for _ in range(rng.choice([1, 1, 2, 8])):
      data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  elif kind == 'cut':
    del data[at:]
  elif kind == 'remove':
    del data[at:end]
  elif kind == 'insert':
    data[at:at] = rng.randbytes(end - at)
  elif kind == 'repeat':
    data[at:at] = data[at:end]
  else:
    other = rng.choice(others)
    data[at:] = other[rng.choice([at, rng.randrange(len(other))]):]
  return bytes(data)


def mutated_header(rng, data):
  """Values of the header changed, moved or removed; the checksum fits."""
  header, arrays = split(data)
  for _ in range(rng.choice([1, 1, 1, 2, 3])):
    at, key = chosen(rng, header)
    value, kind = at[key], rng.randrange(6)
    if kind == 0 and len(at) > 1:
      del at[key]
    elif kind == 1:  # another value of the header in its place
      found, other = chosen(rng, header)
      at[key] = copy.deepcopy(found[other])
    elif kind == 2 and isinstance(at, list):
      at.insert(rng.randrange(len(at) + 1), copy.deepcopy(value))
    elif type(value) is int:
      at[key] = rng.choice([value + rng.choice([-1, 1, 5]), -value, 2 * value,
                            copy.deepcopy(rng.choice(VALUES))])  # yapf: disable
    else:
      at[key] = copy.deepcopy(rng.choice(VALUES))
  return joined(header, arrays)


def mutated_arrays(rng, data):
  """Bits of the arrays changed; the checksum fits."""
  header, arrays = split(data)
  arrays = bytearray(arrays)
  for _ in range(rng.choice([1, 1, 2, 9])):
    arrays[rng.randrange(len(arrays))] ^= 1 << rng.randrange(8)
  return joined(header, bytes(arrays))


def mutated(rng, files):
  data = rng.choice(files)
  kind = rng.randrange(16)
  if kind < 8:
    return mutated_header(rng, data)
  if kind == 8:
    return mutated_arrays(rng, data)
  data = mutated_bytes(rng, data, files)
  return data if kind < 12 else signed(data[:-CHECKSUM])


def test_mutated_files_are_refused_or_run(tmp_path):
  """Whatever a file holds, it is refused by name, or is a model that runs."""
  rng, path = random.Random(0), tmp_path / 'mutated'
  made = (quantised(BOTH), quantised(SPIKES), quantised(SITES),
          lstm('standard'))  # yapf: disable
  files = [integer_file._encode(ints) for ints, _ in made]
  outcomes = {'refused': 0, 'ran': 0}
  for _ in range(FUZZED):
    write(path, mutated(rng, files))
    try:
      ints = slstm.load_integers(path)
    except ValueError as error:
      assert str(error).startswith(f'{path} cannot be loaded: ')
      outcomes['refused'] += 1
      continue
    outcomes['ran'] += 1
    limit = ints.encoder.limit
    q = np.full((1, 2, len(ints.encoder.mean)), limit)
    q[:, 1] = -limit - 1
    result = integer.run(ints, q, add=integer.add_product)
    assert result.outputs.dtype == np.int32
    assert result.outputs.shape == (1, len(ints.readout_b))
  assert outcomes['refused'] + outcomes['ran'] == FUZZED
  assert min(outcomes.values()) > FUZZED // 20, outcomes
