"""Tests of third_party.mnist: IDX files, splits, sequences, TFDS builder."""

from collections.abc import Iterator
import gzip
import hashlib
import os
from pathlib import Path
import re
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests import large_data
from tests import web
from third_party.mnist import builder as builder_lib
from third_party.mnist import data

_REAL = large_data.FOLDER / 'mnist'
needs_mnist = large_data.needs('mnist/train-images-idx3-ubyte.gz')

_TRAIN_X = 'train-images-idx3-ubyte'
_TRAIN_Y = 'train-labels-idx1-ubyte'
_TEST_X = 't10k-images-idx3-ubyte'
_TEST_Y = 't10k-labels-idx1-ubyte'
_CHECKSUMS = {
    _TRAIN_X:
        (9912422,
         '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609'),
    _TRAIN_Y:
        (28881,
         '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c'),
    _TEST_X:
        (1648877,
         '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6'),
    _TEST_Y:
        (4542,
         'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6'),
}
# Of the synthetic files.
_LABELS = {'train': [3, 0, 9, 3, 7], 'test': [9, 1, 0]}


def _pixel(example: int, row: int, column: int) -> int:
  """A value in which any mix-up of the three indices shows."""
  return (101 * example + 31 * row + column * column + 7) % 256


def _images(examples: int, rows: int = 28, columns: int = 28) -> bytes:
  """Returns a file of images."""
  values = [
      _pixel(b, row, column)
      for b in range(examples)
      for row in range(rows)
      for column in range(columns)
  ]
  return struct.pack(f'>iiii{len(values)}B', 2051, examples, rows, columns,
                     *values)


def _labels(values: list[int]) -> bytes:
  """Returns a file of labels."""
  return struct.pack(f'>ii{len(values)}B', 2049, len(values), *values)


_CONTENTS = {
    _TRAIN_X: _images(5),
    _TRAIN_Y: _labels(_LABELS['train']),
    _TEST_X: _images(3),
    _TEST_Y: _labels(_LABELS['test']),
}
_COMPRESSED = {
    name: gzip.compress(content, mtime=0) for name, content in _CONTENTS.items()
}


def _write(folder: Path) -> Path:
  """Writes the four synthetic files as distributed."""
  folder.mkdir(exist_ok=True)
  for name, content in _COMPRESSED.items():
    (folder / f'{name}.gz').write_bytes(content)
  return folder


def _synthetic() -> dict[str, data.Split]:
  """Returns what the synthetic files hold, without reading them."""
  return {
      name:
          data.Split(
              np.array([[[_pixel(b, row, column)
                          for column in range(28)]
                         for row in range(28)]
                        for b in range(len(labels))], np.uint8),
              np.array(labels, np.int32)) for name, labels in _LABELS.items()
  }


def _assert_equal(
    actual: dict[str, data.Split],
    expected: dict[str, data.Split],
) -> None:
  """Compares bits and types."""
  assert list(actual) == list(expected) == ['train', 'test']
  for name in actual:
    for got, want in zip(actual[name], expected[name], strict=True):
      np.testing.assert_array_equal(got, want, strict=True)


# The files.


def test_loader_reads_what_was_written(tmp_path):
  splits = data.load(_write(tmp_path))
  _assert_equal(splits, _synthetic())
  assert all(
      array.flags.writeable for split in splits.values() for array in split)


def test_loader_reads_files_that_are_not_compressed(tmp_path):
  _write(tmp_path)
  for name in (_TRAIN_X, _TEST_Y):
    (tmp_path / f'{name}.gz').unlink()
    (tmp_path / name).write_bytes(_CONTENTS[name])
  _assert_equal(data.load(tmp_path), _synthetic())


def test_loader_prefers_the_compressed_file(tmp_path):
  _write(tmp_path)
  (tmp_path / _TRAIN_Y).write_bytes(_labels([0, 0, 0, 0, 0]))
  _assert_equal(data.load(tmp_path), _synthetic())


def test_loader_goes_by_content_not_by_name(tmp_path):
  _write(tmp_path)
  (tmp_path / f'{_TEST_X}.gz').write_bytes(_CONTENTS[_TEST_X])
  (tmp_path / f'{_TRAIN_Y}.gz').rename(tmp_path / _TRAIN_Y)
  _assert_equal(data.load(tmp_path), _synthetic())


@pytest.mark.parametrize('name', list(_CONTENTS))
def test_loader_names_a_missing_file(tmp_path, name):
  _write(tmp_path)
  (tmp_path / f'{name}.gz').unlink()
  path = re.escape(str(tmp_path / name))
  with pytest.raises(FileNotFoundError, match=f'{path}.gz: no such.*SHA-256'):
    data.load(tmp_path)


def test_loader_names_a_missing_folder(tmp_path):
  with pytest.raises(FileNotFoundError, match='absent.*pass the folder with'):
    data.load(tmp_path / 'absent')
  assert not os.listdir(tmp_path)


def _altered(content: bytes) -> bytes:
  """Changes a byte of the checksum at the end of a gzip file."""
  return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


def _short(value: str | bytes) -> str:
  """Keeps contents out of the names of tests."""
  return value if isinstance(value, str) else f'{len(value)} bytes'


@pytest.mark.parametrize('name, content, message', [
    (_TRAIN_X, _COMPRESSED[_TRAIN_X][:60], r'cannot be decompressed \(Compre'),
    (_TRAIN_X, _COMPRESSED[_TRAIN_X][:5], r'cannot be decompressed \(Compre'),
    (_TEST_Y, _altered(_COMPRESSED[_TEST_Y]), r'cannot be decompressed \(CRC'),
    (_TEST_Y, _COMPRESSED[_TEST_Y][:10] + b'\xff' * 40,
     r'cannot be decompressed \(Error -3'),
    (_TEST_X, b'', '0 bytes, fewer than the 16 of the header'),
    (_TEST_X, _CONTENTS[_TEST_X][:15], '15 bytes, fewer than the 16'),
    (_TEST_Y, _CONTENTS[_TEST_Y][:7], '7 bytes, fewer than the 8 of'),
    (_TEST_X, _CONTENTS[_TEST_X][:-1],
     '2351 bytes after .* 3 x 28 x 28 = 2352'),
    (_TEST_X, _CONTENTS[_TEST_X] + b'\0', '2353 bytes after the header'),
    (_TRAIN_Y, _CONTENTS[_TRAIN_Y][:-1], '4 bytes after .* expected 5 = 5'),
    (_TEST_X, struct.pack('>4i', 2051, -1, -1, -1),
     '0 bytes after the header, expected 4294967295 x 4294967295 x 4294967295'),
    (_TRAIN_X, _CONTENTS[_TRAIN_Y].ljust(16),
     'starts with 2049, expected 2051'),
    (_TRAIN_Y, _CONTENTS[_TRAIN_X], 'starts with 2051, expected 2049'),
    (_TRAIN_X, struct.pack('<i', 2051) + _CONTENTS[_TRAIN_X][4:],
     'starts with 50855936, expected 2051'),
    (_TRAIN_X, b'<!DOCTYPE html><html>', 'starts with 1008813135'),
    (_TRAIN_X, _images(5, 27), 'images of 27 x 28 pixels, expected 28 x 2'),
    (_TRAIN_X, _images(5, columns=29), 'images of 28 x 29 pixels'),
    (_TRAIN_Y, _labels([3, 0, 9, 10, 77]), r'label 4 \(the first is 1\) is 10'),
    (_TRAIN_Y, _labels([3, 0, 9, 1]), '4 labels, but .*idx3-ubyte.gz holds 5'),
    (_TEST_X, _images(2), '3 labels, but .*idx3-ubyte.gz holds 2 images'),
],
                         ids=_short)
def test_loader_rejects_and_leaves_files_alone(tmp_path, name, content,
                                               message):
  _write(tmp_path)
  (tmp_path / f'{name}.gz').write_bytes(content)
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  culprit = _TEST_Y if message.startswith('3 labels') else name
  path = re.escape(str(tmp_path / culprit))
  with pytest.raises(ValueError,
                     match=f'^{path}.gz: {message}.*README.*SHA-256'):
    data.load(tmp_path)
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# Splits.


def test_validation_is_the_last_5000():
  rows = np.arange(5003)
  x = np.broadcast_to(rows.astype(np.uint8)[:, None, None], (5003, 28, 28))
  train, validation = data.validation_split(data.Split(x, rows))
  np.testing.assert_array_equal(train.y, [0, 1, 2])
  np.testing.assert_array_equal(validation.y, range(3, 5003))
  for split in (train, validation):
    np.testing.assert_array_equal(split.x[:, 27, 27], split.y % 256)


def test_validation_needs_something_to_train_on():
  split = data.Split(np.zeros((5000, 28, 28), np.uint8),
                     np.zeros(5000, np.int32))
  with pytest.raises(ValueError, match='validation_split.*5000 examples'):
    data.validation_split(split)


# Sequences.


def test_permutation_is_the_one_of_the_results():
  permutation = data.permutation()
  assert permutation[:8].tolist() == [318, 2, 606, 446, 758, 13, 98, 539]
  assert hashlib.sha256(permutation.astype('<u2').tobytes()).hexdigest() == (
      'bf3c1e1eea62d311939062b66ebbea1115593e508e270d7a033b3ca3911f4b98')
  assert sorted(permutation.tolist()) == list(range(784))


@pytest.mark.parametrize('order, length, features', [
    ('rows', 28, 28),
    ('pixels', 784, 1),
    ('permuted', 784, 1),
])
def test_sequences_are_what_loops_give(order, length, features):
  x = _synthetic()['test'].x
  permutation = np.random.default_rng(0).permutation(784).tolist()
  expected = np.zeros((3, length, features), np.uint8)
  for b in range(3):
    for n in range(length):
      for d in range(features):
        if order == 'rows':
          row, column = n, d
        else:
          row, column = divmod(permutation[n] if order == 'permuted' else n, 28)
        expected[b, n, d] = _pixel(b, row, column)
  np.testing.assert_array_equal(data.as_sequence(x, order),
                                expected,
                                strict=True)


def test_halved_images_are_what_loops_give():
  x = np.random.default_rng(0).integers(0, 256, (2, 28, 28), np.uint8)
  small = data.halved(x)
  assert small.shape == (2, 14, 14) and small.dtype == np.float32
  for b, i, j in np.ndindex(*small.shape):
    block = x[b, 2 * i:2 * i + 2, 2 * j:2 * j + 2]
    assert small[b, i, j] == sum(map(int, block.ravel())) / 4


def test_sequence_rejects_another_order():
  with pytest.raises(ValueError,
                     match="order 'columns'.*rows, pixels, permuted"):
    data.as_sequence(np.zeros((1, 28, 28), np.uint8), 'columns')


@pytest.mark.parametrize('shape', [(28, 28), (2, 784), (2, 28, 28, 1)])
@pytest.mark.parametrize('order', data.ORDERS)
def test_sequence_rejects_another_shape(shape, order):
  with pytest.raises(ValueError, match='as_sequence: x has shape .*28, 28'):
    data.as_sequence(np.zeros(shape, np.uint8), order)


# The original files.


@pytest.fixture(scope='module', name='real')
def _real() -> dict[str, data.Split]:
  return data.load(_REAL)


@needs_mnist
@pytest.mark.parametrize('name', list(_CHECKSUMS))
def test_original_files_have_the_known_checksums(name):
  content = (_REAL / f'{name}.gz').read_bytes()
  digest = hashlib.sha256(content).hexdigest()
  assert (len(content), digest) == _CHECKSUMS[name]


@needs_mnist
@pytest.mark.parametrize('name, counts', [
    ('train', [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
    ('test', [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
])
def test_original_has_the_published_counts(real, name, counts):
  split = real[name]
  assert split.x.shape == (sum(counts), 28, 28)
  assert [array.dtype for array in split] == [np.uint8, np.int32]
  assert np.bincount(split.y).tolist() == counts


@needs_mnist
def test_original_looks_as_known(real):
  # The first digits, the top of the first five, and the published mean.
  assert real['train'].y[:5].tolist() == [5, 0, 4, 1, 9]
  assert real['test'].y[:5].tolist() == [7, 2, 1, 0, 4]
  assert not real['train'].x[0, :5].any()
  assert real['train'].x[0, 5, 11:25].tolist() == [
      0, 3, 18, 18, 18, 126, 136, 175, 26, 166, 255, 247, 127, 0
  ]
  assert real['train'].x.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


@needs_mnist
def test_original_validation_has_all_digits(real):
  train, validation = data.validation_split(real['train'])
  assert (len(train.x), len(validation.x)) == (55000, 5000)
  assert np.bincount(validation.y).tolist() == [
      489, 530, 493, 509, 499, 458, 482, 563, 494, 483
  ]


# The TFDS builder.


def test_builder_gives_an_archive_back(tmp_path):
  folder = _write(tmp_path / 'manual')
  builder = tfds.builder('mnist_idx/archive', data_dir=tmp_path / 'tfds')
  assert isinstance(builder, builder_lib.MnistIdx)
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(
      manual_dir=folder))
  _assert_equal(builder_lib.read_prepared(builder), data.load(folder))
  reread = tfds.builder_from_directory(builder.data_dir)
  _assert_equal(builder_lib.read_prepared(reread), _synthetic())
  assert reread.info.features['label'].names == list('0123456789')
  assert reread.info.splits['test'].num_examples == 3
  assert reread.info.file_format is tfds.core.FileFormat.ARRAY_RECORD


def test_read_prepared_names_what_is_not_prepared(tmp_path):
  builder = builder_lib.MnistIdx(data_dir=tmp_path)
  with pytest.raises(FileNotFoundError, match='download_and_prepare'):
    builder_lib.read_prepared(builder)


@pytest.fixture(name='served_url')
def _served_url(tmp_path, monkeypatch) -> Iterator[str]:
  """Serves the synthetic files in place of the mirror."""
  with web.serve(_write(tmp_path / 'web')) as url:
    monkeypatch.setattr(builder_lib, 'MIRROR_URL', url)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    yield url


@pytest.mark.usefixtures('served_url')
def test_builder_downloads_by_default(tmp_path):
  builder = builder_lib.MnistIdx(data_dir=tmp_path / 'tfds')
  assert builder.builder_config.name == 'download'
  builder.download_and_prepare()
  _assert_equal(builder_lib.read_prepared(builder), _synthetic())


@pytest.mark.usefixtures('served_url')
def test_builder_rejects_a_damaged_download(tmp_path):
  path = tmp_path / 'web' / f'{_TEST_Y}.gz'
  path.write_bytes(path.read_bytes()[:-9])
  builder = builder_lib.MnistIdx(data_dir=tmp_path / 'tfds')
  with pytest.raises(ValueError, match='cannot be decompressed'):
    builder.download_and_prepare()
  assert not builder.is_prepared()


def test_builder_rejects_a_download_with_another_checksum(
    tmp_path, served_url, monkeypatch):
  infos = {}
  for name, content in _COMPRESSED.items():
    digest = hashlib.sha256(content).hexdigest()
    infos[f'{served_url}/{name}.gz'] = tfds.download.checksums.UrlInfo(
        size=len(content), checksum=digest, filename=f'{name}.gz')
  monkeypatch.setattr(builder_lib.MnistIdx, 'url_infos', infos)
  builder = builder_lib.MnistIdx(data_dir=tmp_path / 'good')
  builder.download_and_prepare()
  # Sound in structure, but of other labels than the registered ones.
  (tmp_path / 'web' / f'{_TEST_Y}.gz').write_bytes(
      gzip.compress(_labels([1, 1, 1])))
  builder = builder_lib.MnistIdx(data_dir=tmp_path / 'bad')
  with pytest.raises(tfds.download.download_manager.NonMatchingChecksumError,
                     match=_TEST_Y):
    builder.download_and_prepare()
  assert not builder.is_prepared()


def test_builder_checks_the_downloads():
  # Without these entries TFDS would take whatever the addresses serve.
  assert builder_lib.MnistIdx.url_infos == {
      f'{builder_lib.MIRROR_URL}/{name}.gz':
          tfds.download.checksums.UrlInfo(size=size,
                                          checksum=digest,
                                          filename=f'{name}.gz')
      for name, (size, digest) in _CHECKSUMS.items()
  }


def test_builder_metadata_has_licence_and_citation(tmp_path):
  info = builder_lib.MnistIdx(data_dir=tmp_path).info
  assert 'CC BY-SA 3.0' in info.redistribution_info.license
  assert 'LeCun' in info.citation and 'Document Recognition' in info.citation
  assert info.homepage == builder_lib.HOMEPAGE
