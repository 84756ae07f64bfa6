"""The task as log-mel images in one file, each a JPEG of 98 x 40 pixels.

Decoding takes seconds, so it is done once: the pixels go to a cache, named
after the SHA-256 of the packed file, from which they are mapped into memory.
"""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from third_party.speech_commands import data

PathLike = str | os.PathLike[str]

FILE = 'gsc12_logmel_jpeg.npz'
SHA256 = 'f2b57318b15ea870eba1c1e4757af702e06b2f3622fa1c7e523a0147e62606ad'
_FETCH = ('fetch it again and compare its SHA-256 with README.md of '
          'third_party/speech_commands')


def load(folder: PathLike,
         cache: PathLike | None = None) -> dict[str, data.Split]:
  """Reads the 12-class task.

  Args:
    folder: holds FILE.
    cache: where decoded pixels are kept (207 MB); by default `slstm` in
      $XDG_CACHE_HOME, or in ~/.cache. A damaged cache is made anew.

  Returns:
    The three splits, `_unknown_` subsampled by `data.balanced`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: its SHA-256 is not the known one, or an image of it cannot be
      decoded.
  """
  path = Path(folder) / FILE
  if not path.is_file():
    raise FileNotFoundError(f'{path}: no such file; pass the folder that holds '
                            f'{FILE}.')
  content = path.read_bytes()
  found = hashlib.sha256(content).hexdigest()
  if found != SHA256:
    raise ValueError(f'{path}: SHA-256 is {found}, expected {SHA256}; it is '
                     f'truncated or another file. It was left as it is; '
                     f'{_FETCH}.')
  with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
    stored = {key: arrays[key] for key in arrays.files}
  words = stored['word_names'].astype(str)[stored['word']]
  names = np.char.add(np.char.add(words, '/'), stored['name'].astype(str))
  pixels = _cached(stored, _cache_folder(cache) / f'gsc12_{found[:16]}.npy')
  y = stored['label12'].astype(np.int32)
  splits = {}
  for index, split in enumerate(data.SPLITS):
    rows = np.flatnonzero(stored['split'] == index)
    rows = rows[data.balanced(y[rows], names[rows])]
    splits[split] = data.Split(pixels[rows], y[rows], names[rows])
  return splits


def decode(jpeg: bytes) -> np.ndarray:
  """Decodes one image.

  Args:
    jpeg: the whole JPEG file, grey, 40 wide, 98 high.

  Returns:
    uint8 [98, 40]: time frame, mel channel.

  Raises:
    ValueError: if it is no grey image of that size, or not all of it.
  """
  try:
    with Image.open(io.BytesIO(jpeg)) as image:
      pixels = np.asarray(image)
  except OSError as error:
    raise ValueError(f'decode: not a whole JPEG image ({error}).') from error
  if pixels.shape != (data.FRAMES, data.CHANNELS):
    raise ValueError(f'decode: an image of shape {pixels.shape}; expected '
                     f'{(data.FRAMES, data.CHANNELS)}, grey.')
  return pixels


def _cached(stored: dict[str, np.ndarray], path: Path) -> np.ndarray:
  """Returns all images, uint8 [clips, 98, 40], decoded at most once."""
  offset = stored['offset']
  shape = (len(offset) - 1, data.FRAMES, data.CHANNELS)
  pixels = _read_cache(path, shape)
  if pixels is not None:
    return pixels
  jpeg = stored['jpeg'].tobytes()
  pixels = np.empty(shape, np.uint8)
  for row, (start, end) in enumerate(zip(offset[:-1], offset[1:])):
    pixels[row] = decode(jpeg[start:end])
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(f'.{os.getpid()}.partial')
  with partial.open('wb') as file:
    np.save(file, pixels)
    file.flush()
    os.fsync(file.fileno())
  partial.replace(path)  # A run that is killed leaves no half cache.
  return pixels


def _read_cache(path: Path, shape: tuple[int, int, int]) -> np.ndarray | None:
  """Maps a cache into memory; None if there is none, or it is not whole."""
  try:
    pixels = np.load(path, mmap_mode='r', allow_pickle=False)
  except (FileNotFoundError, ValueError, EOFError):
    return None
  return pixels if (pixels.shape, pixels.dtype) == (shape, np.uint8) else None


def _cache_folder(cache: PathLike | None) -> Path:
  """Returns the folder of decoded pixels."""
  if cache is not None:
    return Path(cache)
  home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
  return Path(home) / 'slstm'
