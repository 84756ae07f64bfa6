"""Compares the front end's features of audio with the packed features.

  python -m third_party.speech_commands.compare --data=FOLDER

prints, for the clips of `audio8` that also stand in the packed features under
the same name, how well the two correlate.
"""

import os
from typing import NamedTuple

from absl import app
from absl import flags
import numpy as np

from third_party.speech_commands import audio8
from third_party.speech_commands import data
from third_party.speech_commands import frontend
from third_party.speech_commands import packed as packed_lib

PathLike = str | os.PathLike[str]


class Shared(NamedTuple):
  """The same clips by two front ends.

  Attributes:
    packed: uint8 [clips, 98, 40], decoded from JPEG.
    audio: float32 [clips, 98, 40], `frontend.one_second` of the audio.
    y: int32 [clips], an index into data.CLASSES.
    names: str [clips], `<word>/<speaker>_nohash_<n>`.
  """
  packed: np.ndarray
  audio: np.ndarray
  y: np.ndarray
  names: np.ndarray


def shared_clips(
    folder: PathLike,
    split: str,
    cache: PathLike | None = None,
) -> Shared:
  """Reads the clips that are there both as audio and as packed features.

  Args:
    folder: holds the packed file and the files of audio8.
    split: one of data.SPLITS.
    cache: as for packed.load.

  Returns:
    The clips in the order of audio8. Equal names are mostly, but not always,
    equal recordings: see README.md.

  Raises:
    FileNotFoundError, ValueError, ImportError: as packed.load, audio8.load and
      frontend.one_second.
  """
  clips = audio8.load(folder, split)
  stored = packed_lib.load(folder, cache)[split]
  row_of = {name: row for row, name in enumerate(stored.name.tolist())}
  ours = [row for row, name in enumerate(clips.name) if name in row_of]
  theirs = [row_of[clips.name[row]] for row in ours]
  audio = np.empty((len(ours), data.FRAMES, data.CHANNELS), np.float32)
  for index, row in enumerate(ours):
    samples = clips.samples[row, :clips.length[row]]
    audio[index] = frontend.one_second(samples.astype(np.float32) / 32768)
  return Shared(stored.x[theirs], audio, stored.y[theirs], stored.name[theirs])


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Correlates two sets of features, clip by clip.

  Args:
    a, b: [clips, frames, channels].

  Returns:
    float64 [clips], Pearson's correlation over all values of a clip; 0 where
    one of the two is constant.
  """
  a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
  a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
  norm = np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b, axis=1))
  return np.sum(a * b, axis=1) / np.where(norm > 0, norm, 1)


def main(argv: list[str]) -> None:
  """Prints a row for each split."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments {argv[1:]}')
  print(f'{"split":10} {"clips":>6} {"median":>7} {">0.95":>6} {">0.99":>6}')
  for split in data.SPLITS:
    shared = shared_clips(flags.FLAGS.data, split)
    r = correlations(shared.packed, shared.audio)
    print(f'{split:10} {len(r):6} {np.median(r):7.4f} '
          f'{np.mean(r > 0.95):6.3f} {np.mean(r > 0.99):6.3f}')


if __name__ == '__main__':
  # Here, so that who imports this module need not pass it.
  flags.DEFINE_string('data',
                      None,
                      'Folder with the packed file and audio8_*.',
                      required=True)
  app.run(main)
