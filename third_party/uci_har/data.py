"""UCI HAR inertial windows from the embedded file, float32 or text.

128 samples (2.56 s at 50 Hz) of nine channels, six activities, 30 subjects in
the official split: no subject is in two splits.

Source: Anguita, Ghio, Oneto, Parra, Reyes-Ortiz, "A Public Domain Dataset for
Human Activity Recognition Using Smartphones", ESANN 2013. See README.md.
"""

from collections.abc import Collection, Mapping
import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple
import warnings
import zipfile
import zlib

import numpy as np

PathLike = str | os.PathLike[str]

SPLITS = ('train', 'test')
WINDOW = 128  # samples in an example
STEP = 64  # samples from one window of a recording to the next
SAMPLE_RATE = 50.0  # Hz

CHANNELS = (
    'body_acc_x',
    'body_acc_y',
    'body_acc_z',
    'body_gyro_x',
    'body_gyro_y',
    'body_gyro_z',
    'total_acc_x',
    'total_acc_y',
    'total_acc_z',
)
CLASSES = (
    'WALKING',
    'WALKING_UPSTAIRS',
    'WALKING_DOWNSTAIRS',
    'SITTING',
    'STANDING',
    'LAYING',
)

TRAIN_SUBJECTS = (1, 3, 5, 6, 7, 8, 11, 14, 15, 16, 17, 19, 21, 22, 23, 25, 26,
                  27, 28, 29, 30)
TEST_SUBJECTS = (2, 4, 9, 10, 12, 13, 18, 20, 24)
# Every fourth training subject in ascending order, fixed before any training.
VALIDATION_SUBJECTS = TRAIN_SUBJECTS[3::4]
_SUBJECTS = {'train': TRAIN_SUBJECTS, 'test': TEST_SUBJECTS}

EMBEDDED = Path(__file__).with_name('har.npz')
EMBEDDED_SHA256 = (
    '6c2a7df7495dbad5131816891562d4cb88e772158d5ddf4e0c9958f0a4382eb4')
# Half a quantum of each channel: g for accelerations, rad/s for `gyro`.
ROUNDING_BOUND = (2**-15,) * 3 + (2**-13, 2**-13, 2**-14) + (2**-15,) * 3

_ARCHIVE_FOLDER = 'UCI HAR Dataset'
_UNZIP = ('unzip the original archive (README.md of third_party/uci_har says '
          'where it is) into an empty folder and pass that folder')
_RESTORE = ('restore it with `git checkout -- third_party/uci_har/har.npz`, or '
            'make it anew with `python -m third_party.uci_har.pack`')
_FETCH = 'fetch the file again and compare its SHA-256 with README.md'


class Split(NamedTuple):
  """The examples of one split, in the order of the original files.

  Attributes:
    x: float32 [examples, 128, 9], channels as in CHANNELS; accelerations in
      units of g, angular velocities in rad/s.
    y: int32 [examples], 0..5, an index into CLASSES.
    subject: int32 [examples], 1..30, who carried the smartphone.
  """
  x: np.ndarray
  y: np.ndarray
  subject: np.ndarray


def load_embedded(path: PathLike = EMBEDDED) -> dict[str, Split]:
  """Reads the whole set from the file that comes with this package.

  Args:
    path: the file; another place than the default must hold the same bytes.

  Returns:
    'train' (7352 examples) and 'test' (2947). Every value is within
    ROUNDING_BOUND of the original one and exact in float32.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: its SHA-256 is not EMBEDDED_SHA256.
  """
  return decode(_read_embedded(path))


def ambiguous_rows(path: PathLike = EMBEDDED) -> np.ndarray:
  """Tells the training rows whose place in the original file is not certain.

  Their recording may be swapped with another one of the same subject and
  activity. Needed only to compare with the original archive row by row.

  Args:
    path: as for load_embedded.

  Returns:
    bool [7352], 392 of them True.

  Raises:
    FileNotFoundError, ValueError: as load_embedded.
  """
  packed = _read_embedded(path)
  return np.repeat(packed['train_ambiguous'], packed['train_windows'])


def load_float32(folder: PathLike) -> dict[str, Split]:
  """Reads `train.npz` and `test.npz`, the windows rounded to float32.

  Args:
    folder: holds both files, each with the arrays inertial [examples, 128, 9],
      label (1..6) and subject.

  Returns:
    'train' and 'test'.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file cannot be read, lacks an array, or holds a wrong shape,
      a non-finite value, or a label or subject that its split cannot have.
  """
  return {
      name: _load_float32_split(Path(folder) / f'{name}.npz', name)
      for name in SPLITS
  }


def load_archive(folder: PathLike) -> dict[str, Split]:
  """Reads the text files of the original archive.

  Args:
    folder: 'UCI HAR Dataset' itself or the folder that holds it.

  Returns:
    'train' and 'test', the decimal numbers rounded to float32.

  Raises:
    FileNotFoundError: the folder or one of its 22 files is missing.
    ValueError: a file is not a table of 128 (signals) or 1 (labels, subjects)
      numbers a row, or the files of a split differ in their rows, or there is
      a non-finite value, or a label or subject that the split cannot have.
  """
  root = _archive_root(Path(folder))
  return {name: _load_archive_split(root / name, name) for name in SPLITS}


def validation_split(
    split: Split,
    subjects: Collection[int] = VALIDATION_SUBJECTS,
) -> tuple[Split, Split]:
  """Parts a split by whole subjects, so that none is on both sides.

  Args:
    split: usually the training split.
    subjects: those to hold out; each must be in `split`.

  Returns:
    (the other subjects' examples, the held-out subjects' examples), both in
    the order of `split`.

  Raises:
    ValueError: no subject is named, one is absent from `split`, or none would
      be left to train on.
  """
  present = {int(subject) for subject in np.unique(split.subject)}
  absent = sorted(set(subjects) - present)
  if not subjects or absent or present == set(subjects):
    raise ValueError(
        f'validation_split: subjects {sorted(subjects)} of a split with '
        f'subjects {sorted(present)}; name at least one, only such as are in '
        'the split, and leave at least one to train on.')
  held_out = np.isin(split.subject, list(subjects))
  return _take(split, ~held_out), _take(split, held_out)


def decode(packed: Mapping[str, np.ndarray]) -> dict[str, Split]:
  """Rebuilds the overlapping windows from samples that are stored once.

  Args:
    packed: the arrays that `pack.encode` returns; see README.md.

  Returns:
    'train' and 'test'.
  """
  samples = decode_samples(packed)
  values = samples.astype(np.float32) * packed['scale']
  splits = {}
  begin = 0  # in units of STEP
  for name in SPLITS:
    count = packed[f'{name}_windows']
    segment = np.repeat(np.arange(count.size), count)
    # A recording of n windows has n + 1 half windows.
    first = STEP * (begin + np.arange(segment.size) + segment)
    splits[name] = Split(
        x=values[first[:, None] + np.arange(WINDOW)],
        y=packed[f'{name}_label'][segment].astype(np.int32),
        subject=packed[f'{name}_subject'][segment].astype(np.int32),
    )
    begin += segment.size + count.size
  return splits


def decode_samples(packed: Mapping[str, np.ndarray]) -> np.ndarray:
  """Undoes byte planes, zigzag, differences in time and total - body.

  Args:
    packed: as for decode.

  Returns:
    int32 [samples, 9], in units of `packed['scale']`.
  """
  low, high = packed['residual'].astype(np.uint16)
  zigzag = low | high << 8
  stored = zigzag >> 1 ^ -(zigzag & 1)  # modulo 2^16, as the sums below
  for channel, order in enumerate(packed['order']):
    for _ in range(order):
      stored[channel] = np.cumsum(stored[channel], dtype=np.uint16)
  samples = stored.view(np.int16).T.astype(np.int32)
  samples[:, 6:] += samples[:, :3]
  return samples


def _read_embedded(path: PathLike) -> dict[str, np.ndarray]:
  """Returns the arrays of the embedded file once its checksum is right."""
  path = Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'{path}: the embedded UCI HAR file is missing; '
                            f'{_RESTORE}.')
  content = path.read_bytes()
  digest = hashlib.sha256(content).hexdigest()
  if digest != EMBEDDED_SHA256:
    raise ValueError(
        f'{path}: SHA-256 of the embedded UCI HAR file is {digest} '
        f'({len(content)} bytes), expected {EMBEDDED_SHA256}: truncated, '
        f'altered, or not checked out; {_RESTORE}.')
  with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
    return dict(arrays)


def _load_float32_split(path: Path, name: str) -> Split:
  """Returns one split of load_float32."""
  if not path.is_file():
    raise FileNotFoundError(f'{path}: no such file; pass the folder with '
                            'train.npz and test.npz.')
  try:
    # An open file, since np.load leaves a path open if it cannot be read.
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      x, label, subject = (
          arrays[key] for key in ('inertial', 'label', 'subject'))
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile,
          zlib.error) as error:
    raise ValueError(f'{path}: cannot be read ({error}); {_FETCH}.') from error
  if x.ndim != 3 or x.shape[1:] != (WINDOW, len(CHANNELS)):
    raise ValueError(f'{path}: inertial has shape {x.shape}, expected '
                     f'(examples, {WINDOW}, {len(CHANNELS)}); {_FETCH}.')
  _check_finite(x, f'{path}: inertial', _FETCH)
  _check_rows(label, len(x), f'{path}: label', _FETCH)
  _check_rows(subject, len(x), f'{path}: subject', _FETCH)
  _check_labels(label, f'{path}: label', _FETCH)
  _check_subjects(subject, name, f'{path}: subject', _FETCH)
  return _split(x, label, subject)


def _archive_root(folder: Path) -> Path:
  """Returns the folder that holds train/ and test/."""
  for root in (folder, folder / _ARCHIVE_FOLDER):
    if (root / 'train').is_dir() and (root / 'test').is_dir():
      return root
  raise FileNotFoundError(f'{folder}: neither it nor "{_ARCHIVE_FOLDER}" in it '
                          f'holds train/ and test/; {_UNZIP}. The archive is a '
                          'zip file inside a zip file.')


def _load_archive_split(folder: Path, name: str) -> Split:
  """Returns one split of load_archive."""
  label_path = folder / f'y_{name}.txt'
  subject_path = folder / f'subject_{name}.txt'
  label = _read_table(label_path, 1)[:, 0]
  subject = _read_table(subject_path, 1)[:, 0]
  _check_rows(subject, len(label), subject_path, _UNZIP)
  _check_labels(label, label_path, _UNZIP)
  _check_subjects(subject, name, subject_path, _UNZIP)
  x = np.empty((len(label), WINDOW, len(CHANNELS)), np.float32)
  for index, channel in enumerate(CHANNELS):
    path = folder / 'Inertial Signals' / f'{channel}_{name}.txt'
    signal = _read_table(path, WINDOW)
    _check_rows(signal, len(label), path, _UNZIP)
    _check_finite(signal, path, _UNZIP)
    x[:, :, index] = signal
  return _split(x, label, subject)


def _read_table(path: Path, columns: int) -> np.ndarray:
  """Returns float64 [rows, columns] from a text file."""
  if not path.is_file():
    raise FileNotFoundError(f'{path}: no such file; {_UNZIP}.')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('error')  # NumPy only warns of an empty file.
      table = np.loadtxt(path, ndmin=2, comments=None, encoding='ascii')
  except (ValueError, UserWarning) as error:
    raise ValueError(
        f'{path}: not a table of numbers ({error}); {_UNZIP}.') from error
  if table.shape[1] != columns:
    raise ValueError(f'{path}: {table.shape[1]} numbers a row, expected '
                     f'{columns}; {_UNZIP}.')
  return table


def _check_rows(
    values: np.ndarray,
    expected: int,
    source: str | Path,
    remedy: str,
) -> None:
  """Raises if the rows of a file do not match those of its split."""
  if len(values) != expected:
    raise ValueError(f'{source}: {len(values)} rows, but the split has '
                     f'{expected}; {remedy}.')


def _check_finite(values: np.ndarray, source: str | Path, remedy: str) -> None:
  """Raises at the first row with a NaN or an infinity."""
  finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
  if not finite.all():
    raise ValueError(f'{source}: row {np.argmin(finite) + 1} (the first is 1) '
                     f'holds a non-finite value; {remedy}.')


def _check_labels(label: np.ndarray, source: str | Path, remedy: str) -> None:
  """Raises at the first label that is not 1..6."""
  _check_members(label, range(1, len(CLASSES) + 1), source, remedy)


def _check_subjects(
    subject: np.ndarray,
    name: str,
    source: str | Path,
    remedy: str,
) -> None:
  """Raises at the first subject that is not of the split called `name`."""
  _check_members(subject, _SUBJECTS[name], source, remedy)


def _check_members(
    values: np.ndarray,
    allowed: Collection[int],
    source: str | Path,
    remedy: str,
) -> None:
  """Raises at the first value that is not allowed."""
  known = np.isin(values, list(allowed))
  if not known.all():
    row = np.argmin(known)
    raise ValueError(f'{source}: row {row + 1} (the first is 1) holds '
                     f'{values[row]}, expected one of {list(allowed)}; '
                     f'{remedy}.')


def _split(x: np.ndarray, label: np.ndarray, subject: np.ndarray) -> Split:
  """Returns checked arrays in their final types, labels from 0."""
  return Split(
      x=x.astype(np.float32, copy=False),
      y=label.astype(np.int32) - 1,
      subject=subject.astype(np.int32),
  )


def _take(split: Split, rows: np.ndarray) -> Split:
  """Returns the chosen rows of each array."""
  return Split(*(array[rows] for array in split))
