"""The original archive, `<word>/<speaker>_nohash_<n>.wav`, as log-mel values.

The clips of a split and their order are those of `packed.load`, except for
`_silence_`, which `silence` cuts from the noise files. Which unknown clips the
packed features hold follows from no rule, so their names are listed
(unknown.txt).
"""

from collections.abc import Iterable, Mapping
import os
from pathlib import Path
import re

import numpy as np

from third_party.speech_commands import data
from third_party.speech_commands import frontend
from third_party.speech_commands import silence

PathLike = str | os.PathLike[str]

NOISE = '_background_noise_'
UNKNOWN_LIST = Path(__file__).with_name('unknown.txt')
LISTS = {'validation': 'validation_list.txt', 'test': 'testing_list.txt'}
# Clips of v0.02: training, validation, test.
CLIPS = {
    'yes': (3228, 397, 419),
    'no': (3130, 406, 405),
    'up': (2948, 350, 425),
    'down': (3134, 377, 406),
    'left': (3037, 352, 412),
    'right': (3019, 363, 396),
    'on': (3086, 363, 396),
    'off': (2970, 373, 402),
    'stop': (3111, 350, 411),
    'go': (3106, 372, 402),
}
_CLIP = re.compile('[0-9a-f]{8}_nohash_[0-9]+')
_UNPACK = ('unpack speech_commands_v0.02.tar.gz again and pass the folder that '
           'holds its words')
_PARTIAL = 'or pass complete=False for whatever there is'


def load(
    folder: PathLike,
    complete: bool = True,
    lists: PathLike | None = None,
) -> dict[str, data.Split]:
  """Reads the 12-class task from the WAV files, one after the other.

  Args:
    folder: holds a folder for each word, and `_background_noise_`.
    complete: whether to insist on every clip that the task has. If not, the
      splits hold what there is of it, and no silence without noise files.
    lists: the folder with the official lists of validation and test clips; by
      default `folder`.

  Returns:
    The three splits; x is rounded and has not gone through a JPEG.

  Raises:
    FileNotFoundError: the folder or a list is missing.
    ValueError: clips are missing (if complete), a split would be empty, a
      speaker is in two splits, or a file is not a 16 kHz mono recording.
    ImportError: soundfile or librosa is not installed.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise FileNotFoundError(f'{folder}: no such folder; {_UNPACK}.')
  held_out = {
      split: _read_list((folder if lists is None else Path(lists)) / file)
      for split, file in LISTS.items()
  }
  names = assign(_find(folder), held_out)
  noise = sorted((folder / NOISE).glob('[!.]*.wav'))
  if complete:
    _check_complete(folder, names, noise)
  cuts = _read_silence(noise)
  return {
      split: _read_split(folder, split, names[split], cuts[split])
      for split in data.SPLITS
  }


def unknown_names() -> list[str]:
  """Returns the 3,854 names of class `_unknown_`, of all splits."""
  return UNKNOWN_LIST.read_text('utf-8').split()


def assign(
    names: Iterable[str],
    held_out: Mapping[str, Iterable[str]],
) -> dict[str, list[str]]:
  """Assigns clips to splits by the official lists.

  Args:
    names: `<word>/<speaker>_nohash_<n>`, in any order.
    held_out: the names that belong to 'validation' and 'test'; they may be
      more than `names`. All others are for training.

  Returns:
    The names of each split in the order of the packed features: by class, then
    by name.

  Raises:
    ValueError: a speaker would be in two splits.
  """
  split_of = {name: split for split in held_out for name in held_out[split]}
  splits: dict[str, list[str]] = {split: [] for split in data.SPLITS}
  speakers: dict[str, str] = {}
  for name in sorted(names, key=lambda name: (_label(name), name)):
    split = split_of.get(name, 'train')
    speaker = name.partition('/')[2].partition('_')[0]
    other = speakers.setdefault(speaker, split)
    if other != split:
      raise ValueError(f'assign: {name} is for {split}, but other clips of its '
                       f'speaker are for {other}; a list is truncated or of '
                       f'another version; {_UNPACK}.')
    splits[split].append(name)
  return splits


def _label(name: str) -> int:
  """Returns the class of a clip that is not silence."""
  word = name.partition('/')[0]
  return data.CLASSES.index(word if word in data.KEYWORDS else data.UNKNOWN)


def _find(folder: Path) -> list[str]:
  """Returns the names of all clips of the task that the folder holds."""
  names = [
      name for name in unknown_names() if (folder / f'{name}.wav').is_file()
  ]
  for word in data.KEYWORDS:
    for path in (folder / word).glob('[!.]*.wav'):
      if not _CLIP.fullmatch(path.stem):
        raise ValueError(f'{path}: not named <speaker>_nohash_<n>.wav, so its '
                         f'speaker is not known; remove it, or {_UNPACK}.')
      names.append(f'{word}/{path.stem}')
  return names


def _read_list(path: Path) -> list[str]:
  """Returns the names in an official list, without `.wav`."""
  if not path.is_file():
    raise FileNotFoundError(f'{path}: no such file, but the official split '
                            f'needs it; {_UNPACK}, or pass the folder of the '
                            'lists as `lists`.')
  return [line.removesuffix('.wav') for line in path.read_text('utf-8').split()]


def _check_complete(
    folder: Path,
    names: Mapping[str, list[str]],
    noise: list[Path],
) -> None:
  """Raises if the task's clips are not all there, in their splits."""
  faults = []
  for row, split in enumerate(data.SPLITS):
    words = [name.partition('/')[0] for name in names[split]]
    for word, expected in CLIPS.items():
      if words.count(word) != expected[row]:
        faults.append(f'{words.count(word)} of {expected[row]} {split} clips '
                      f'of "{word}"')
  found = {name for split in data.SPLITS for name in names[split]}
  absent = sorted(set(unknown_names()) - found)
  if absent:
    faults.append(f'{len(absent)} unknown clips missing, first {absent[0]}')
  if not noise:
    faults.append(f'no WAV file in {NOISE}')
  if faults:
    raise ValueError(f'{folder}: not the complete archive: '
                     f'{"; ".join(faults[:4])} ({len(faults)} faults in all); '
                     f'{_UNPACK}, {_PARTIAL}.')


def _read(path: Path) -> np.ndarray:
  """Returns float32 [samples] of a file that must be 16 kHz mono."""
  audio = frontend.read_audio(path)
  if (audio.original_rate, audio.channels) != (data.SAMPLE_RATE, 1):
    raise ValueError(f'{path}: {audio.original_rate} Hz, {audio.channels} '
                     f'channels; the archive has {data.SAMPLE_RATE} Hz, mono; '
                     f'{_UNPACK}.')
  return audio.samples


def _features(samples: np.ndarray, path: Path) -> np.ndarray:
  """Returns uint8 [98, 40] of samples that came from `path`."""
  try:
    return frontend.to_uint8(frontend.one_second(samples))
  except ValueError as error:
    raise ValueError(f'{path}: {error} {_UNPACK}.') from error


def _read_silence(noise: list[Path]) -> dict[str, dict[str, np.ndarray]]:
  """Returns {split: {name: uint8 [98, 40]}}; each file is read once."""
  cuts: dict[str, dict[str, np.ndarray]] = {split: {} for split in data.SPLITS}
  for index, path in enumerate(noise):
    samples = _read(path)
    for split in data.SPLITS:
      try:
        starts = silence.starts(len(samples), split, index, len(noise))
      except ValueError as error:
        raise ValueError(f'{path}: {error} {_UNPACK}.') from error
      for start in starts:
        cuts[split][f'{NOISE}/{path.stem}_{start:07}'] = _features(
            samples[start:start + data.SAMPLE_RATE], path)
  return cuts


def _read_split(
    folder: Path,
    split: str,
    names: list[str],
    cuts: Mapping[str, np.ndarray],
) -> data.Split:
  """Returns one split, silence first."""
  if not names:
    raise ValueError(f'{folder}: not one {split} clip; {_UNPACK}.')
  x = np.empty((len(cuts) + len(names), data.FRAMES, data.CHANNELS), np.uint8)
  for row, pixels in enumerate(cuts.values()):
    x[row] = pixels
  for row, name in enumerate(names, len(cuts)):
    path = folder / f'{name}.wav'
    x[row] = _features(_read(path), path)
  labels = [data.CLASSES.index(data.SILENCE)] * len(cuts)
  labels += [_label(name) for name in names]
  return data.Split(x, np.array(labels, np.int32), np.array([*cuts, *names]))
