"""Packs the float32 windows of UCI HAR into the embedded file.

  python -m third_party.uci_har.pack --source=../shared/data/uci_har \
      --output=har.npz

Prints the size, the checksum and the largest rounding errors; takes about five
seconds. The arrays it writes are described in README.md.
"""

from collections.abc import Mapping
import hashlib
import io
from pathlib import Path
from typing import NamedTuple
import zipfile

from absl import app
from absl import flags
import numpy as np

from third_party.uci_har import data

# Differences in time that leave the smallest file: the first for body_acc and
# body_gyro, the second for gravity (total_acc - body_acc), which is smooth.
_ORDER = (1,) * 6 + (2,) * 3
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file can hold


class Recordings(NamedTuple):
  """A split and how its windows hang together.

  Attributes:
    split: windows, labels and subjects.
    segment: int [examples], the recording a window is from: 0, 1, 2, ...
    ambiguous: bool [examples], see data.ambiguous_rows.
  """
  split: data.Split
  segment: np.ndarray
  ambiguous: np.ndarray


def load_recordings(folder: data.PathLike) -> dict[str, Recordings]:
  """Reads windows and segments.

  Args:
    folder: as for data.load_float32; the files also hold `segment`, and that
      of the training split `order_ambiguous`.

  Returns:
    'train' and 'test'.

  Raises:
    FileNotFoundError, ValueError: as data.load_float32, or an array is missing.
  """
  recordings = {}
  for name, split in data.load_float32(folder).items():
    path = Path(folder) / f'{name}.npz'
    with np.load(path, allow_pickle=False) as arrays:
      if 'segment' not in arrays:
        raise ValueError(f'{path}: no array "segment"; pack needs it to store '
                         'each sample once.')
      none = np.zeros(len(split.y), bool)
      recordings[name] = Recordings(split, arrays['segment'].astype(np.int64),
                                    arrays.get('order_ambiguous', none))
  return recordings


def encode(recordings: Mapping[str, Recordings]) -> dict[str, np.ndarray]:
  """Turns windows into the arrays of the embedded file.

  Args:
    recordings: 'train' and 'test'.

  Returns:
    The arrays; `data.decode` gives the quantised windows back exactly.

  Raises:
    ValueError: the windows of a segment are not consecutive, do not overlap
      exactly, or differ in label or subject.
  """
  scale = _scales([recordings[name].split.x for name in data.SPLITS])
  packed: dict[str, np.ndarray] = {
      'scale': scale,
      'order': np.array(_ORDER, np.uint8),
  }
  samples = []
  for name in data.SPLITS:
    split, segment, ambiguous = recordings[name]
    starts = _segment_starts(segment, name)
    samples.append(_samples(quantise(split.x, scale), starts, name))
    packed[f'{name}_windows'] = np.diff(starts,
                                        append=len(segment)).astype(np.uint8)
    for key, values in (('label', split.y), ('subject', split.subject),
                        ('ambiguous', ambiguous)):
      _check_constant(values, starts, f'{key} of the {name} split')
      dtype = bool if key == 'ambiguous' else np.uint8
      packed[f'{name}_{key}'] = values[starts].astype(dtype)
  packed['residual'] = _residual(np.concatenate(samples))
  return packed


def quantise(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
  """Rounds to the nearest multiple of each channel's scale.

  Args:
    x: float32 [..., 9].
    scale: float32 [9], powers of two.

  Returns:
    int32 [..., 9], x / scale.
  """
  return np.rint(x / scale).astype(np.int32)


def to_bytes(packed: Mapping[str, np.ndarray]) -> bytes:
  """Writes an npz file whose bytes depend on the arrays (and zlib) only.

  Args:
    packed: arrays by name.

  Returns:
    The content of the file.
  """
  content = io.BytesIO()
  with zipfile.ZipFile(content, 'w') as archive:
    for key in sorted(packed):
      member = zipfile.ZipInfo(f'{key}.npy', date_time=_EPOCH)
      member.compress_type = zipfile.ZIP_DEFLATED
      member.create_system = 3  # the same on every operating system
      array = io.BytesIO()
      np.lib.format.write_array(array, packed[key], version=(1, 0))
      archive.writestr(member, array.getvalue(), compresslevel=9)
  return content.getvalue()


def rounding_error(
    packed: Mapping[str, np.ndarray],
    recordings: Mapping[str, Recordings],
) -> np.ndarray:
  """Compares the rebuilt windows with the originals.

  Args:
    packed: the arrays of the embedded file.
    recordings: what they were made from.

  Returns:
    float64 [9], the largest absolute difference of each channel.

  Raises:
    ValueError: a rebuilt window is not the quantised original, or a label or
      subject differs.
  """
  largest = np.zeros(len(data.CHANNELS))
  for name, rebuilt in data.decode(packed).items():
    original = recordings[name].split
    expected = quantise(original.x, packed['scale']) * packed['scale']
    pairs = ((rebuilt.x, expected), (rebuilt.y, original.y), (rebuilt.subject,
                                                              original.subject))
    if not all(np.array_equal(*pair) for pair in pairs):
      raise ValueError(f'rounding_error: the {name} split does not come back '
                       'as it was packed: encode and decode disagree.')
    error = np.abs(rebuilt.x.astype(np.float64) - original.x).max(axis=(0, 1))
    largest = np.maximum(largest, error)
  return largest


def _scales(windows: list[np.ndarray]) -> np.ndarray:
  """Returns the finest power of two with which each channel fits int16.

  total_acc takes the scale of body_acc: what is stored is their difference.
  """
  peak = np.max([np.abs(x).max(axis=(0, 1)) for x in windows], axis=0)
  peak[6:] = peak[:3]
  return np.exp2(np.ceil(np.log2(peak / 32767))).astype(np.float32)


def _segment_starts(segment: np.ndarray, name: str) -> np.ndarray:
  """Returns the first row of each segment."""
  step = np.diff(segment, prepend=-1)
  if not np.isin(step, (0, 1)).all() or not len(step) or step[0] != 1:
    raise ValueError(f'segment of the {name} split: expected 0, 1, 2, ... with '
                     'the rows of a segment together.')
  return np.flatnonzero(step)


def _samples(q: np.ndarray, starts: np.ndarray, name: str) -> np.ndarray:
  """Returns each sample of [windows, 128, 9] once: [samples, 9]."""
  inside = np.ones(len(q), bool)
  inside[starts] = False
  rows = np.flatnonzero(inside)
  same = (q[rows, :data.STEP] == q[rows - 1, data.STEP:]).all(axis=(1, 2))
  if not same.all():
    raise ValueError(
        f'{name} split: row {rows[np.argmin(same)] + 1} (the first is 1) does '
        'not begin with the second half of the row before it, although both '
        'have the same segment number.')
  parts = []
  for row, window in enumerate(q):
    parts.append(window[data.STEP:] if inside[row] else window)
  return np.concatenate(parts)


def _check_constant(values: np.ndarray, starts: np.ndarray, what: str) -> None:
  """Raises if a value changes inside a segment."""
  count = np.diff(starts, append=len(values))
  if not np.array_equal(np.repeat(values[starts], count), values):
    raise ValueError(f'{what}: changes inside a segment, so it cannot be '
                     'stored once a segment.')


def _residual(samples: np.ndarray) -> np.ndarray:
  """Returns the compressible form that data.decode_samples undoes."""
  stored = samples.copy()
  stored[:, 6:] -= stored[:, :3]
  if np.abs(stored).max() > 32767:
    raise ValueError('gravity (total_acc - body_acc) does not fit int16 at the '
                     'scale of body_acc.')
  residual = stored.T.astype(np.int16)  # differences are modulo 2^16
  for channel, order in enumerate(_ORDER):
    for _ in range(order):
      residual[channel] = np.diff(residual[channel], prepend=np.int16(0))
  zigzag = (residual << 1 ^ residual >> 15).view(np.uint16)
  return np.stack([zigzag & 255, zigzag >> 8]).astype(np.uint8)


def main(argv: list[str]) -> None:
  """Packs, reads back, prints and writes."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments {argv[1:]}')
  output = Path(flags.FLAGS.output)
  if output.exists():
    raise FileExistsError(f'{output}: exists; remove it first, or name another '
                          'file.')
  recordings = load_recordings(flags.FLAGS.source)
  content = to_bytes(encode(recordings))
  with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
    packed = dict(arrays)
  error = rounding_error(packed, recordings)
  for channel, scale, largest in zip(data.CHANNELS, packed['scale'], error):
    unit = 'rad/s' if 'gyro' in channel else 'g'
    print(f'{channel:12} quantum 2^{np.log2(scale):.0f} {unit:5} largest '
          f'rounding error {largest:.4g}')
  print(f'largest rounding error of all {error.max():.4g}')
  output.write_bytes(content)
  print(f'{output}: {len(content)} bytes, SHA-256 '
        f'{hashlib.sha256(content).hexdigest()}')


if __name__ == '__main__':
  # Here, so that who imports this module need not pass them.
  flags.DEFINE_string('source',
                      None,
                      'Folder with train.npz and test.npz.',
                      required=True)
  flags.DEFINE_string('output',
                      None,
                      'File to write; must not exist yet.',
                      required=True)
  app.run(main)
