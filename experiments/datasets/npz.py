"""Arrays of your own, for classification."""

import dataclasses
import pathlib
from typing import ClassVar
import warnings

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
    if not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
      raise ValueError(f'{path}: x has dtype {x.dtype}; expected real numbers. '
                       'Of complex ones give two features each, such as '
                       'magnitude and phase.')
    base.check(slstm.Data(x, y), path)
    bad = np.flatnonzero((y < 0) | (y >= max(2, len(y))))
    if bad.size:
      raise ValueError(f'{path}: y is {y[bad[0]]} in row {bad[0]} of {len(y)}; '
                       'expected labels from 0, numbered without gaps. To do '
                       'that: y = np.unique(y, return_inverse=True)[1].')
    split = stored.get('split', _random_split(len(y)))
    if split.shape != y.shape or not np.isin(split, (0, 1, 2)).all():
      raise ValueError(f'{path}: split has shape {split.shape}; expected one '
                       'of 0 (training), 1 (validation), 2 (test) for each of '
                       f'{len(y)} examples.')
    x, y = _as_float32(x, x[split == 0], path), y.astype(np.int32)
    parts = (slstm.Data(x[split == part], y[split == part])
             for part in range(3))  # yapf: disable
    return base.DataSet(*base.join_frames(self.frames, *parts),
                        tuple(map(str, range(y.max() + 1))))


def _as_float32(x: np.ndarray, train: np.ndarray, path: str) -> np.ndarray:
  """x in float32; features that this would round away lose their mean before.

  That is the mean over the training examples, of features that float32 would
  round by more than 1/1000 of their standard deviation: degrees of latitude, or
  seconds since 1970.
  """
  if np.can_cast(x.dtype, np.float32) or not len(train):
    return x.astype(np.float32)
  wide = train.astype(np.float64)
  with np.errstate(over='ignore', invalid='ignore'):
    mean, std = wide.mean((0, 1)), wide.std((0, 1))
  coarse = (np.abs(mean) * 2.0**-24 > std / 1000) & (std > 0)
  if coarse.any():
    named = ', '.join(f'{feature} (mean {mean[feature]:.12g})'
                      for feature in np.flatnonzero(coarse))  # yapf: disable
    warnings.warn(
        f'{path}: float32, in which networks compute, cannot resolve how '
        f'feature {named} of x changes. The mean over the training examples is '
        'subtracted before; do so yourself where you use the model elsewhere.')
  with np.errstate(over='ignore'):
    found = (x - np.where(coarse, mean, 0)).astype(np.float32)
  base.check(slstm.Data(found, found[:, 0, 0]), f'{path} as float32')
  return found


def _random_split(num_examples: int) -> np.ndarray:
  """A fixed random split, 70 / 15 / 15 %; it mixes any groups there are."""
  place = np.random.default_rng(0).permutation(num_examples) / num_examples
  return np.digitize(place, (0.70, 0.85))
