"""Tests of third_party.uci_har: packed file, loaders, splits, TFDS builder."""

from collections.abc import Iterator
import functools
import io
import os
from pathlib import Path
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests import binaries
from tests import large_data
from tests import web
from third_party.uci_har import builder as builder_lib
from third_party.uci_har import data
from third_party.uci_har import pack

_FLOAT32 = large_data.FOLDER / 'uci_har'
needs_float32 = large_data.needs('uci_har/train.npz')

_ROWS = 3  # examples a split of the synthetic archive


@pytest.fixture(scope='module', name='embedded')
def _embedded() -> dict[str, data.Split]:
  return data.load_embedded()


@pytest.fixture(scope='module', name='float32')
def _float32() -> dict[str, data.Split]:
  return data.load_float32(_FLOAT32)


def _synthetic() -> dict[str, data.Split]:
  """Returns small splits: rows 0 and 1 overlap by half, row 2 does not."""
  splits = {}
  subjects = {'train': (1, 1, 30), 'test': (2, 2, 24)}
  for seed, name in enumerate(data.SPLITS):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(_ROWS, 128, 9)).round(6).astype(np.float32)
    x[..., 6:] = (x[..., :3] + 0.5).round(6)  # body and a constant gravity
    x[1, :64] = x[0, 64:]
    splits[name] = data.Split(x, np.array([0, 0, 5], np.int32),
                              np.array(subjects[name], np.int32))
  return splits


def _recordings() -> dict[str, pack.Recordings]:
  """Returns the synthetic splits as recordings of two and one windows."""
  return {
      name:
          pack.Recordings(split, np.array([0, 0, 1]),
                          np.array([True, True, False]))
      for name, split in _synthetic().items()
  }


def _write_archive(folder: Path) -> Path:
  """Writes the synthetic splits in the text layout of the original."""
  root = folder / 'UCI HAR Dataset'
  for name, split in _synthetic().items():
    signals = root / name / 'Inertial Signals'
    signals.mkdir(parents=True)
    np.savetxt(root / name / f'y_{name}.txt', split.y + 1, fmt='%d')
    np.savetxt(root / name / f'subject_{name}.txt', split.subject, fmt='%d')
    for index, channel in enumerate(data.CHANNELS):
      np.savetxt(signals / f'{channel}_{name}.txt',
                 split.x[:, :, index],
                 fmt='%16.7e',
                 delimiter='')
  return root


def _write_float32(folder: Path) -> None:
  """Writes the synthetic recordings as train.npz and test.npz."""
  for name, (split, segment, ambiguous) in _recordings().items():
    np.savez(folder / f'{name}.npz',
             inertial=split.x,
             label=split.y + 1,
             subject=split.subject,
             segment=segment,
             order_ambiguous=ambiguous)


def _assert_equal(
    actual: dict[str, data.Split],
    expected: dict[str, data.Split],
) -> None:
  """Compares bits and types."""
  assert list(actual) == list(expected) == ['train', 'test']
  for name in data.SPLITS:
    for got, want in zip(actual[name], expected[name], strict=True):
      assert got.dtype == want.dtype
      np.testing.assert_array_equal(got, want)


# The embedded file.


@pytest.mark.parametrize('name, counts, subjects', [
    ('train', [1226, 1073, 986, 1286, 1374, 1407], data.TRAIN_SUBJECTS),
    ('test', [496, 471, 420, 491, 532, 537], data.TEST_SUBJECTS),
])
def test_embedded_has_the_published_counts(embedded, name, counts, subjects):
  split = embedded[name]
  assert split.x.shape == (sum(counts), 128, 9)
  assert [array.dtype for array in split] == [np.float32, np.int32, np.int32]
  assert np.bincount(split.y).tolist() == counts
  assert tuple(np.unique(split.subject)) == subjects


# The first number of each signal file of the archive, training and test.
@pytest.mark.parametrize('channel, train, test', [
    ('body_acc_x', 0.0001808515, 0.01165315),
    ('body_acc_y', 0.01076681, -0.02939904),
    ('body_acc_z', 0.05556068, 0.1068262),
    ('body_gyro_x', 0.03019122, 0.4374637),
    ('body_gyro_y', 0.06601362, 0.5313492),
    ('body_gyro_z', 0.02285864, 0.1365279),
    ('total_acc_x', 1.012817, 1.041216),
    ('total_acc_y', -0.1232167, -0.2697959),
    ('total_acc_z', 0.1029341, 0.02377977),
])
def test_embedded_starts_like_the_original_text(embedded, channel, train, test):
  index = data.CHANNELS.index(channel)
  for name, value in (('train', train), ('test', test)):
    error = abs(float(embedded[name].x[0, 0, index]) - value)
    assert error <= data.ROUNDING_BOUND[index]


def test_embedded_total_minus_body_is_gravity(embedded):
  for split in embedded.values():
    gravity = np.linalg.norm(split.x[..., 6:] - split.x[..., :3], axis=-1)
    assert 0.88 < gravity.min() and gravity.max() < 1.12


def test_embedded_windows_overlap_exactly(embedded):
  for name, segments in (('train', 600), ('test', 257)):
    split = embedded[name]
    same = (split.x[1:, :64] == split.x[:-1, 64:]).all(axis=(1, 2))
    assert np.sum(~same) + 1 == segments
    assert (split.y[1:] == split.y[:-1])[same].all()
    assert (split.subject[1:] == split.subject[:-1])[same].all()


@needs_float32
def test_embedded_is_the_float32_set_within_the_bound(embedded, float32):
  for name in data.SPLITS:
    error = np.abs(embedded[name].x.astype(np.float64) - float32[name].x)
    assert (error.max(axis=(0, 1)) <= data.ROUNDING_BOUND).all()
    np.testing.assert_array_equal(embedded[name].y, float32[name].y)
    np.testing.assert_array_equal(embedded[name].subject, float32[name].subject)


@needs_float32
def test_embedded_is_what_pack_makes():
  recordings = pack.load_recordings(_FLOAT32)
  packed = pack.encode(recordings)
  with np.load(data.EMBEDDED) as stored:
    assert set(stored) == set(packed)
    for key in packed:
      np.testing.assert_array_equal(stored[key], packed[key], strict=True)
  error = pack.rounding_error(packed, recordings)
  assert (error <= data.ROUNDING_BOUND).all()
  np.testing.assert_array_equal(data.ambiguous_rows(),
                                recordings['train'].ambiguous)


def test_ambiguous_rows_are_392():
  rows = data.ambiguous_rows()
  assert rows.shape == (7352,) and rows.dtype == bool and rows.sum() == 392


@pytest.mark.parametrize('damage', ['truncate', 'flip', 'empty'])
def test_damaged_embedded_file_raises_and_is_left_alone(tmp_path, damage):
  path = tmp_path / 'har.npz'
  content = bytearray(data.EMBEDDED.read_bytes())
  if damage == 'flip':
    content[len(content) // 2] ^= 1
  else:
    del content[len(content) // 2 if damage == 'truncate' else 0:]
  path.write_bytes(content)
  with pytest.raises(ValueError, match='har.npz: SHA-256.*git checkout'):
    data.load_embedded(path)
  assert path.read_bytes() == bytes(content)
  assert os.listdir(tmp_path) == ['har.npz']


def test_missing_embedded_file_raises_and_is_not_made(tmp_path):
  with pytest.raises(FileNotFoundError, match='har.npz.*git checkout'):
    data.load_embedded(tmp_path / 'har.npz')
  assert not os.listdir(tmp_path)


# Packing.


def test_pack_gives_quantised_windows_back():
  recordings = _recordings()
  packed = pack.encode(recordings)
  for name, split in data.decode(packed).items():
    original = recordings[name].split
    np.testing.assert_array_less(
        np.abs(split.x - original.x).max(axis=(0, 1)), packed['scale'])
    np.testing.assert_array_equal(split.x / packed['scale'] % 1, 0)
    np.testing.assert_array_equal(split.x[1, :64], split.x[0, 64:])
  error = pack.rounding_error(packed, recordings)
  assert (0 < error).all() and (error <= packed['scale'] / 2).all()


def test_pack_rejects_windows_that_do_not_overlap():
  recordings = _recordings()
  recordings['test'].split.x[1, 5, 7] += 0.01
  with pytest.raises(ValueError, match='test split: row 2 .*second half'):
    pack.encode(recordings)


def test_pack_rejects_a_label_that_changes_inside_a_segment():
  recordings = _recordings()
  recordings['train'].split.y[1] = 3
  with pytest.raises(ValueError, match='label of the train split: changes'):
    pack.encode(recordings)


def test_pack_rejects_scattered_segments():
  recordings = _recordings()
  recordings['train'].segment[:] = [0, 1, 0]
  with pytest.raises(ValueError, match='segment of the train split'):
    pack.encode(recordings)


def test_rounding_error_detects_a_decoder_that_disagrees():
  recordings = _recordings()
  packed = pack.encode(recordings)
  packed['residual'][0, 4, 70] ^= 1
  with pytest.raises(ValueError, match='encode and decode disagree'):
    pack.rounding_error(packed, recordings)


def test_pack_binary_is_deterministic_and_never_overwrites(tmp_path):
  _write_float32(tmp_path)
  run = functools.partial(binaries.run_python, '-m', 'third_party.uci_har.pack',
                          f'--source={tmp_path}',
                          f'--output={tmp_path / "out.npz"}')
  status, printed = run()
  assert status == 0 and 'largest rounding error' in printed
  content = (tmp_path / 'out.npz').read_bytes()
  assert content == pack.to_bytes(pack.encode(_recordings()))
  assert f'{len(content)} bytes' in printed
  with zipfile.ZipFile(tmp_path / 'out.npz') as archive:
    assert {info.date_time[0] for info in archive.infolist()} == {1980}
  status, printed = run()
  assert status != 0 and 'out.npz: exists; remove it' in printed
  assert (tmp_path / 'out.npz').read_bytes() == content


# The float32 files.


def test_float32_loader_reads_what_was_written(tmp_path):
  _write_float32(tmp_path)
  _assert_equal(data.load_float32(tmp_path), _synthetic())


def test_float32_loader_names_a_missing_file(tmp_path):
  _write_float32(tmp_path)
  (tmp_path / 'test.npz').unlink()
  with pytest.raises(FileNotFoundError, match='test.npz: no such file; pass'):
    data.load_float32(tmp_path)


def test_float32_loader_rejects_a_truncated_file(tmp_path):
  _write_float32(tmp_path)
  path = tmp_path / 'train.npz'
  path.write_bytes(path.read_bytes()[:5000])
  with pytest.raises(ValueError, match='train.npz: cannot be read.*SHA-256'):
    data.load_float32(tmp_path)


@pytest.mark.parametrize('key, value, message', [
    ('inertial', np.zeros((3, 9, 128)), r'inertial has shape \(3, 9, 128\)'),
    ('inertial', np.full((3, 128, 9), np.inf), 'inertial: row 1 .*non-finite'),
    ('label', [1, 1], 'label: 2 rows, but the split has 3'),
    ('label', [1, 0, 6], 'label: row 2 .* holds 0'),
    ('subject', [1, 2, 30], 'subject: row 2 .* holds 2'),
    ('label', None, 'cannot be read .*label'),
])
def test_float32_loader_rejects(tmp_path, key, value, message):
  _write_float32(tmp_path)
  with np.load(tmp_path / 'train.npz') as stored:
    arrays = dict(stored)
  if value is None:
    del arrays[key]
  else:
    arrays[key] = np.asarray(value)
  np.savez(tmp_path / 'train.npz', **arrays)
  with pytest.raises(ValueError, match=f'train.npz: {message}'):
    data.load_float32(tmp_path)


# The original text files.


def test_archive_loader_reads_what_was_written(tmp_path):
  root = _write_archive(tmp_path)
  _assert_equal(data.load_archive(root), _synthetic())
  _assert_equal(data.load_archive(tmp_path), _synthetic())


@needs_float32
def test_archive_sample_is_the_start_of_the_set(embedded, float32):
  for name, sample in data.load_archive(_FLOAT32 / 'layout_sample').items():
    assert len(sample.x) == 100
    for got, want in zip(sample, float32[name], strict=True):
      np.testing.assert_array_equal(got, want[:100])
    error = np.abs(embedded[name].x[:100].astype(np.float64) - sample.x)
    assert (error.max(axis=(0, 1)) <= data.ROUNDING_BOUND).all()
    np.testing.assert_array_equal(embedded[name].y[:100], sample.y)
    np.testing.assert_array_equal(embedded[name].subject[:100], sample.subject)


def test_archive_loader_names_a_folder_without_the_archive(tmp_path):
  with pytest.raises(FileNotFoundError, match=f'{tmp_path}: neither.*unzip'):
    data.load_archive(tmp_path)


@pytest.mark.parametrize('name', [
    'test/y_test.txt',
    'train/subject_train.txt',
    'train/Inertial Signals/body_gyro_y_train.txt',
])
def test_archive_loader_names_a_missing_file(tmp_path, name):
  root = _write_archive(tmp_path)
  (root / name).unlink()
  with pytest.raises(FileNotFoundError, match=f'{name}: no such file; unzip'):
    data.load_archive(root)


_GYRO = 'test/Inertial Signals/body_gyro_z_test.txt'


@pytest.mark.parametrize('name, row, text, message', [
    (_GYRO, 1, None, '2 rows, but the split has 3'),
    (_GYRO, 1, 'nan ' * 128, r'row 2 \(the first is 1\) holds a non-finite'),
    (_GYRO, 2, '-inf ' * 128, r'row 3 \(the first is 1\) holds a non-finite'),
    (_GYRO, 0, '1 ' * 127, 'not a table of numbers'),
    (_GYRO, 0, 'one ' * 128, 'not a table of numbers'),
    ('train/y_train.txt', 1, '7', r'row 2 \(the first is 1\) holds 7'),
    ('train/y_train.txt', 2, '0', r'row 3 \(the first is 1\) holds 0'),
    ('train/y_train.txt', 1, '1 # so', 'not a table of numbers'),
    ('train/y_train.txt', 2, '1.5', r'row 3 \(the first is 1\) holds 1.5'),
    ('train/y_train.txt', 2, 'nan', r'row 3 \(the first is 1\) holds nan'),
    ('train/subject_train.txt', 1, None, '2 rows, but the split has 3'),
    ('train/subject_train.txt', 0, '2', r'row 1 \(the first is 1\) holds 2'),
])
def test_archive_loader_rejects(tmp_path, name, row, text, message):
  root = _write_archive(tmp_path)
  lines = (root / name).read_text().splitlines()
  lines[row:row + 1] = [] if text is None else [text]
  (root / name).write_text('\n'.join(lines) + '\n')
  with pytest.raises(ValueError, match=f'{name}: {message}.*unzip'):
    data.load_archive(root)


@pytest.mark.parametrize('content, message', [
    ('', 'not a table of numbers'),
    ('1 2\n3 4\n5 6\n', '2 numbers a row, expected 128'),
])
def test_archive_loader_rejects_a_whole_file(tmp_path, content, message):
  root = _write_archive(tmp_path)
  (root / _GYRO).write_text(content)
  with pytest.raises(ValueError, match=f'{_GYRO}: {message}.*unzip'):
    data.load_archive(root)


# Splits.


def test_validation_subjects_are_every_fourth_of_the_training_subjects():
  assert data.VALIDATION_SUBJECTS == (6, 14, 19, 25, 29)


def test_no_subject_is_in_two_splits(embedded):
  train, validation = data.validation_split(embedded['train'])
  subjects = [
      set(split.subject.tolist())
      for split in (train, validation, embedded['test'])
  ]
  assert [len(chosen) for chosen in subjects] == [16, 5, 9]
  assert len(set.union(*subjects)) == 30
  assert subjects[1] == set(data.VALIDATION_SUBJECTS)
  assert len(train.y) + len(validation.y) == 7352
  assert set(validation.y.tolist()) == set(range(6))


def test_validation_split_keeps_examples_together():
  split = _synthetic()['train']
  train, validation = data.validation_split(split, [1])
  for array, kept, held_out in zip(split, train, validation):
    np.testing.assert_array_equal(kept, array[2:])
    np.testing.assert_array_equal(held_out, array[:2])


@pytest.mark.parametrize('subjects', [[], [3], [1, 2], [1, 30]])
def test_validation_split_rejects(subjects):
  with pytest.raises(ValueError, match='validation_split: subjects'):
    data.validation_split(_synthetic()['train'], subjects)


# The TFDS builder.


def test_builder_gives_the_embedded_set_back(tmp_path, embedded):
  builder = tfds.builder('uci_har', data_dir=tmp_path)
  assert isinstance(builder, builder_lib.UciHar)
  builder.download_and_prepare()
  _assert_equal(builder_lib.read_prepared(builder), embedded)
  reread = tfds.builder_from_directory(builder.data_dir)
  assert reread.info.features['label'].names == list(data.CLASSES)
  assert reread.info.splits['test'].num_examples == 2947
  assert reread.info.file_format is tfds.core.FileFormat.ARRAY_RECORD
  example = reread.as_data_source(split='test')[2946]
  np.testing.assert_array_equal(example['x'], embedded['test'].x[-1])


def test_builder_gives_an_archive_back(tmp_path):
  _write_archive(tmp_path / 'manual')
  builder = builder_lib.UciHar(data_dir=tmp_path / 'tfds', config='archive')
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(
      manual_dir=tmp_path / 'manual'))
  _assert_equal(builder_lib.read_prepared(builder), _synthetic())


def test_read_prepared_names_what_is_not_prepared(tmp_path):
  builder = builder_lib.UciHar(data_dir=tmp_path)
  with pytest.raises(FileNotFoundError, match='download_and_prepare'):
    builder_lib.read_prepared(builder)


@pytest.fixture(name='served_url')
def _served_url(tmp_path) -> Iterator[str]:
  """Serves the synthetic archive, a zip file inside a zip file."""
  root = _write_archive(tmp_path / 'unzipped')
  inner = shutil.make_archive(str(tmp_path / 'inner'), 'zip', root.parent,
                              root.name)
  outer = io.BytesIO()
  with zipfile.ZipFile(outer, 'w') as archive:
    archive.write(inner, 'UCI HAR Dataset.zip')
  (tmp_path / 'web').mkdir()
  (tmp_path / 'web' / 'har.zip').write_bytes(outer.getvalue())
  with web.serve(tmp_path / 'web') as url:
    yield f'{url}/har.zip'


def test_builder_downloads_an_archive(tmp_path, served_url, monkeypatch):
  monkeypatch.setattr(builder_lib, 'ARCHIVE_URL', served_url)
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  builder = builder_lib.UciHar(data_dir=tmp_path / 'tfds', config='download')
  builder.download_and_prepare()
  _assert_equal(builder_lib.read_prepared(builder), _synthetic())


def test_builder_checks_the_download_of_the_archive():
  # Without this entry TFDS would take whatever the address serves.
  info = builder_lib.UciHar.url_infos[builder_lib.ARCHIVE_URL]
  assert (info.size, len(info.checksum)) == (61005872, 64)


def test_builder_metadata_has_licence_and_citation(tmp_path):
  info = builder_lib.UciHar(data_dir=tmp_path).info
  assert 'CC BY 4.0' in info.redistribution_info.license
  assert 'Anguita' in info.citation and 'Public Domain' in info.citation
  assert info.homepage == builder_lib.HOMEPAGE
