"""Raw audio of eight keywords: one FLAC file and one table for each split.

Clip i of a split is the second i of its file. README.md says where the clips
come from; a name may be another take here than in the packed features.
"""

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from third_party.speech_commands import data
from third_party.speech_commands import frontend

PathLike = str | os.PathLike[str]

_FILES = {
    'train': 'audio8_train',
    'validation': 'audio8_val',
    'test': 'audio8_test',
}
_FETCH = ('fetch both files again and compare their SHA-256 with README.md of '
          'third_party/speech_commands')


class Clips(NamedTuple):
  """The audio of one split.

  Attributes:
    samples: int16 [clips, 16000]; a shorter clip ends with zeros.
    word: str [clips], one of eight keywords.
    name: str [clips], `<word>/<speaker>_nohash_<n>`.
    length: int64 [clips], samples before the zeros.
  """
  samples: np.ndarray
  word: np.ndarray
  name: np.ndarray
  length: np.ndarray


def load(folder: PathLike, split: str) -> Clips:
  """Reads one split.

  Args:
    folder: holds `audio8_*.flac` and `audio8_*.csv`.
    split: one of data.SPLITS.

  Returns:
    The clips, in the order of the files.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: no such split, or the table and the audio disagree.
    ImportError: soundfile is not installed.
  """
  if split not in _FILES:
    raise ValueError(f'load: split {split!r}; expected one of {data.SPLITS}.')
  table = Path(folder) / f'{_FILES[split]}.csv'
  audio = table.with_suffix('.flac')
  for path in (table, audio):
    if not path.is_file():
      raise FileNotFoundError(f'{path}: no such file; pass the folder that '
                              'holds audio8_*.flac and audio8_*.csv.')
  word, name, length = _read_table(table)
  return Clips(_read_flac(audio, len(name)), word, name, length)


def _read_table(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns word, name and length of each clip."""
  with path.open(newline='', encoding='utf-8') as file:
    rows = list(csv.DictReader(file))
  try:
    word = np.array([row['word'] for row in rows])
    name = [f'{row["word"]}/{row["file"].removesuffix(".wav")}' for row in rows]
    length = np.array([int(row['num_samples']) for row in rows])
    index = [int(row['index']) for row in rows]
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise ValueError(f'{path}: not a table of index, word, file, num_samples '
                     f'({error!r}); {_FETCH}.') from error
  if not rows or index != list(range(len(rows))):
    raise ValueError(f'{path}: {len(rows)} rows that do not count from 0; '
                     f'{_FETCH}.')
  if length.min() < 1 or length.max() > data.SAMPLE_RATE:
    raise ValueError(f'{path}: num_samples is {length.min()} to '
                     f'{length.max()}, expected 1 to {data.SAMPLE_RATE}; '
                     f'{_FETCH}.')
  return word, np.array(name), length


def _read_flac(path: Path, clips: int) -> np.ndarray:
  """Returns int16 [clips, 16000]."""
  soundfile = frontend.audio_module('soundfile')
  try:
    samples, rate = soundfile.read(path, dtype='int16')
  except soundfile.SoundFileError as error:
    raise ValueError(f'{path}: not a whole FLAC file ({error}); '
                     f'{_FETCH}.') from error
  expected = (clips * data.SAMPLE_RATE,)
  if rate != data.SAMPLE_RATE or samples.shape != expected:
    raise ValueError(f'{path}: samples {samples.shape} at {rate} Hz, but its '
                     f'table needs {expected} at {data.SAMPLE_RATE} Hz; '
                     f'{_FETCH}.')
  return samples.reshape(clips, data.SAMPLE_RATE)
