"""Arrays of your own, for classification."""

import dataclasses
import pathlib
from typing import ClassVar

import numpy as np

from experiments import runs
from experiments.datasets import base
import slstm


@dataclasses.dataclass(frozen=True)
class Npz:
  """Your own arrays.

  Attributes:
    path: of a file with x [examples, N, D], y [examples] and, to choose the
      split yourself, split [examples]: 0 training, 1 validation, 2 test.
    frames: consecutive samples joined to one element.
  """
  name: ClassVar[str] = 'npz'
  path: str = ''
  frames: int = 1

  def load(self) -> base.DataSet:
    """Reads the file; an error names the array and its first bad row."""
    path = f'config.data.path={self.path}'
    if not pathlib.Path(self.path).is_file():
      raise FileNotFoundError(f'{path}: no such file; give an .npz with arrays '
                              'x [examples, N, D] and y [examples].')
    stored = runs.read_npz(pathlib.Path(self.path))
    missing = {'x', 'y'} - set(stored)
    unknown = set(stored) - {'x', 'y', 'split'}
    if missing or unknown:
      raise ValueError(f'{path}: missing arrays {sorted(missing)}, unknown '
                       f'arrays {sorted(unknown)}; expected x, y and, if you '
                       'choose the split, split.')
    x, y = stored['x'], stored['y']
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
      raise ValueError(f'{path}: y has shape {y.shape} and dtype {y.dtype}; '
                       'expected integers, [examples].')
    if not np.issubdtype(x.dtype, np.number):
      raise ValueError(f'{path}: x has dtype {x.dtype}; expected numbers.')
    whole = slstm.Data(x.astype(np.float32), y.astype(np.int32))
    base.check(whole, path)
    bad = np.flatnonzero(y < 0)
    if bad.size:
      raise ValueError(f'{path}: y is {y[bad[0]]} in row {bad[0]}; expected '
                       'labels >= 0.')
    split = stored.get('split', _random_split(len(y)))
    if split.shape != y.shape or not np.isin(split, (0, 1, 2)).all():
      raise ValueError(f'{path}: split has shape {split.shape}; expected one '
                       'of 0 (training), 1 (validation), 2 (test) for each of '
                       f'{len(y)} examples.')
    parts = (slstm.Data(whole.x[split == part], whole.y[split == part])
             for part in range(3))  # yapf: disable
    return base.DataSet(*base.join_frames(self.frames, *parts),
                        tuple(map(str, range(whole.y.max() + 1))))


def _random_split(num_examples: int) -> np.ndarray:
  """A fixed random split, 70 / 15 / 15 %; it mixes any groups there are."""
  place = np.random.default_rng(0).permutation(num_examples) / num_examples
  return np.digitize(place, (0.70, 0.85))
