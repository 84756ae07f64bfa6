"""MNIST from its four IDX files: images, splits and sequences.

Handwritten digits in the official split: 60,000 training, 10,000 test images.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to
document recognition", Proceedings of the IEEE 86(11), 1998. See README.md.
"""

import gzip
import math
import os
from pathlib import Path
from typing import NamedTuple
import zlib

import numpy as np

PathLike = str | os.PathLike[str]

# Images and labels of each split, as distributed but for the suffix .gz.
FILES = {
    'train': ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte'),
    'test': ('t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'),
}
SPLITS = tuple(FILES)
CLASSES = ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
SIDE = 28  # pixels in a row and in a column
PIXELS = SIDE**2
VALIDATION_EXAMPLES = 5000
ORDERS = ('rows', 'pixels', 'permuted')
PERMUTATION_SEED = 0

# First number of a file: uint8 values (8) in 3 or 1 dimensions.
_IMAGES_MAGIC = 0x0803
_LABELS_MAGIC = 0x0801
_GZIP_MAGIC = b'\x1f\x8b'
_FETCH = ('fetch the original files (README.md of third_party/mnist says '
          'where) and compare their SHA-256 with that README')


class Split(NamedTuple):
  """The examples of one split, in the order of the original files.

  Attributes:
    x: uint8 [examples, 28, 28], rows from the top, columns from the left; 0 is
      background, 255 is ink.
    y: int32 [examples], 0..9, an index into CLASSES.
  """
  x: np.ndarray
  y: np.ndarray


def load(folder: PathLike) -> dict[str, Split]:
  """Reads the four files, each as distributed or unpacked (without .gz).

  The structure is checked, not who wrote it: sets that imitate MNIST's files
  pass as well.

  Args:
    folder: holds the files of FILES; where one is there in both forms, the
      compressed one is read.

  Returns:
    'train' (60,000 examples of the original) and 'test' (10,000).

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: as load_split.
  """
  return {
      name: load_split(*(_find(Path(folder), file) for file in files))
      for name, files in FILES.items()
  }


def load_split(images: PathLike, labels: PathLike) -> Split:
  """Reads one split from a file of images and one of labels.

  Args:
    images: IDX file, gzip or not, whatever its name says.
    labels: the same for the labels.

  Returns:
    The split, with as many examples as the files hold.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file cannot be decompressed, is of another kind, is shorter or
      longer than its header says, or holds images that are not 28 x 28 or a
      label above 9; or there are not as many labels as images.
  """
  x = _read_idx(Path(images), _IMAGES_MAGIC)
  y = _read_idx(Path(labels), _LABELS_MAGIC)
  if x.shape[1:] != (SIDE, SIDE):
    raise ValueError(f'{images}: images of {x.shape[1]} x {x.shape[2]} pixels, '
                     f'expected {SIDE} x {SIDE}; {_FETCH}.')
  if len(x) != len(y):
    raise ValueError(f'{labels}: {len(y)} labels, but {images} holds {len(x)} '
                     f'images; {_FETCH}.')
  wrong = np.flatnonzero(y >= len(CLASSES))
  if wrong.size:
    raise ValueError(
        f'{labels}: label {wrong[0] + 1} (the first is 1) is '
        f'{y[wrong[0]]}, expected 0 to {len(CLASSES) - 1}; {_FETCH}.')
  return Split(x, y.astype(np.int32))


def validation_split(train: Split) -> tuple[Split, Split]:
  """Holds out the last 5,000 training images.

  Args:
    train: the training split, 60,000 examples of the original.

  Returns:
    (all examples but the last 5,000, the last 5,000), views of `train`.

  Raises:
    ValueError: none would be left to train on.
  """
  kept = len(train.y) - VALIDATION_EXAMPLES
  if kept < 1:
    raise ValueError(f'validation_split: a split of {len(train.y)} examples; '
                     f'the last {VALIDATION_EXAMPLES} are held out; pass the '
                     'whole training split.')
  return (Split(train.x[:kept],
                train.y[:kept]), Split(train.x[kept:], train.y[kept:]))


def as_sequence(x: np.ndarray, order: str) -> np.ndarray:
  """Turns images into sequences of rows or of single pixels.

  Args:
    x: [examples, 28, 28], of any dtype.
    order: 'rows' from top to bottom (N = 28, D = 28); 'pixels' row by row, each
      from left to right (N = 784, D = 1); or 'permuted', the same pixels in the
      order of permutation().

  Returns:
    [examples, N, D], of the dtype of `x`; a view of it except for 'permuted'.

  Raises:
    ValueError: another order or another shape.

  Source: Le, Jaitly, Hinton, "A Simple Way to Initialize Recurrent Networks of
  Rectified Linear Units", 2015, for pixels and permuted pixels. Every author
  draws a permutation of their own.
  """
  if order not in ORDERS:
    raise ValueError(f'as_sequence: order {order!r}; choose one of '
                     f'{", ".join(ORDERS)}.')
  if x.shape[1:] != (SIDE, SIDE):
    raise ValueError(f'as_sequence: x has shape {x.shape}, expected (examples, '
                     f'{SIDE}, {SIDE}); pass x of a Split.')
  if order == 'rows':
    return x
  pixels = x.reshape(len(x), PIXELS, 1)
  return pixels if order == 'pixels' else pixels[:, permutation()]


def halved(x: np.ndarray) -> np.ndarray:
  """Means of 2 x 2 pixels: [examples, 28, 28] -> float32 [examples, 14, 14]."""
  half = SIDE // 2
  return x.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32)


def permutation() -> np.ndarray:
  """Returns int64 [784]: step n of 'permuted' reads this pixel of 'pixels'."""
  return np.random.default_rng(PERMUTATION_SEED).permutation(PIXELS)


def _find(folder: Path, name: str) -> Path:
  """Returns the path of a file that may be compressed."""
  for path in (folder / f'{name}.gz', folder / name):
    if path.is_file():
      return path
  raise FileNotFoundError(f'{folder / name}.gz: no such file, nor one without '
                          f'.gz; pass the folder with the four files of MNIST, '
                          f'or {_FETCH}.')


def _read_idx(path: Path, magic: int) -> np.ndarray:
  """Returns the uint8 array of an IDX file that starts with `magic`."""
  content = path.read_bytes()
  if content.startswith(_GZIP_MAGIC):
    try:
      content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
      raise ValueError(f'{path}: cannot be decompressed ({error}): truncated '
                       f'or altered; {_FETCH}.') from error
  header = 4 * (1 + magic % 256)  # bytes: magic and the size of each dimension
  if len(content) < header:
    raise ValueError(f'{path}: {len(content)} bytes, fewer than the {header} '
                     f'of the header; {_FETCH}.')
  found, *shape = np.frombuffer(content[:header], '>u4').tolist()
  if found != magic:
    raise ValueError(f'{path}: starts with {found}, expected {magic} '
                     f'({_IMAGES_MAGIC} for images, {_LABELS_MAGIC} for '
                     f'labels); {_FETCH}.')
  if len(content) - header != math.prod(shape):
    raise ValueError(
        f'{path}: {len(content) - header} bytes after the header, expected '
        f'{" x ".join(map(str, shape))} = {math.prod(shape)}; {_FETCH}.')
  return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
