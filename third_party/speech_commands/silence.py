"""Which seconds of the background noise make the class `_silence_`.

Each noise file of n samples is parted in time: training takes the first 8/10,
validation the next 1/10, test the last 1/10. The cuts of a split go to the
files in turn, in the order of their names, and those of one file are evenly
spaced over its part, the first at its beginning and the last at its end.
"""

from third_party.speech_commands import data

CUTS = {'train': 793, 'validation': 97, 'test': 110}  # as in the packed file
_TENTHS = {'train': (0, 8), 'validation': (8, 9), 'test': (9, 10)}


def starts(length: int, split: str, index: int, files: int) -> list[int]:
  """Returns where the cuts of one file begin.

  Args:
    length: samples of the file, more than ten seconds.
    split: one of data.SPLITS.
    index: of the file among all noise files, sorted by name.
    files: number of noise files.

  Returns:
    First samples, ascending; a cut is one second and may overlap the next one
    of its split, never one of another split.

  Raises:
    ValueError: the file is too short for so many different cuts.
  """
  begin, end = (length * tenths // 10 for tenths in _TENTHS[split])
  room = end - begin - data.SAMPLE_RATE
  count = len(range(index, CUTS[split], files))
  if room < count - 1:
    raise ValueError(f'starts: a noise file of {length} samples has no room '
                     f'for {count} different {split} cuts; expected about a '
                     'minute.')
  return [begin + cut * room // max(count - 1, 1) for cut in range(count)]
