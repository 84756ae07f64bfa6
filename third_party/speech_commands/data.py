"""Google Speech Commands v0.02, 12 classes: what a clip is and which count.

One-second recordings of English words, split officially by speaker. Ten words
are keywords; all others are `_unknown_`, of which each split keeps as many
clips as it has of one keyword on average; `_silence_` is background noise.

Source: Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech
Recognition", arXiv:1804.03209, 2018. See README.md.
"""

import hashlib
from typing import NamedTuple

import numpy as np

SPLITS = ('train', 'validation', 'test')
SILENCE, UNKNOWN = '_silence_', '_unknown_'
KEYWORDS = ('yes', 'no', 'up', 'down', 'left', 'right', 'on', 'off', 'stop',
            'go')
CLASSES = (SILENCE, UNKNOWN) + KEYWORDS

SAMPLE_RATE = 16000  # Hz
FRAMES = 98  # in a clip of one second; a new one every 10 ms
CHANNELS = 40  # mel channels


class Split(NamedTuple):
  """The examples of one split, ordered by class and name: shuffle them.

  Attributes:
    x: uint8 [examples, 98, 40], log-mel energy as `frontend` scales it.
    y: int32 [examples], an index into CLASSES.
    name: str [examples], `<word>/<speaker>_nohash_<n>`, or a name in
      `_background_noise_/`.
  """
  x: np.ndarray
  y: np.ndarray
  name: np.ndarray


def balanced(y: np.ndarray, name: np.ndarray) -> np.ndarray:
  """Chooses the rows of a split that count.

  All keywords and all silence count, and as many unknown clips as there are of
  one keyword on average, rounded: those of smallest SHA-1 of their name.

  Args:
    y: [examples], indices into CLASSES.
    name: str [examples], `<word>/<clip>` without `.wav`.

  Returns:
    The rows, ascending.
  """
  unknown = np.flatnonzero(y == CLASSES.index(UNKNOWN))
  others = np.flatnonzero(y != CLASSES.index(UNKNOWN))
  keywords = np.sum(y >= len(CLASSES) - len(KEYWORDS))
  keep = round(int(keywords) / len(KEYWORDS))
  by_digest = sorted(
      unknown, key=lambda row: hashlib.sha1(str(name[row]).encode()).digest())
  return np.sort(np.concatenate([others, by_digest[:keep]]).astype(int))
