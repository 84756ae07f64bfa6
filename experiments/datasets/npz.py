"""Sequences of your own, for classification."""

import dataclasses
import pathlib
from typing import ClassVar
import warnings

import numpy as np

from experiments.datasets import arrays
from experiments.datasets import base
import slstm

_SPLIT = ('There is no split in the file, so examples are dealt out at random, '
          '70 / 15 / 15 %.')


@dataclasses.dataclass(frozen=True)
class Npz:
  """Your own sequences.

  Attributes:
    path: of an .npz with x [examples, N, D], y [examples] and, to choose the
      split yourself, split [examples], 0 training, 1 validation, 2 test; or of
      a .csv with one row per element and columns sequence, label and features.
    frames: consecutive samples joined to one element.
  """
  name: ClassVar[str] = 'npz'
  path: str = ''
  frames: int = 1

  def load(self) -> base.DataSet:
    """Reads the file; an error names the array and its first bad row."""
    path = f'config.data.path={self.path}'
    read = arrays.read(pathlib.Path(self.path).expanduser(), path)
    if read.y is None:
      raise ValueError(f'{path}: missing arrays [\'y\'], the labels (in a .csv '
                       'the column label).')
    x = read.x
    y, classes = _labels(read.y, read.class_names, path)
    if not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
      raise ValueError(f'{path}: x has dtype {x.dtype}; expected real numbers. '
                       'Of complex ones give two features each, such as '
                       'magnitude and phase.')
    base.check(slstm.Data(x, y), path)
    split = _random_split(len(y)) if read.split is None else read.split
    if split.shape != y.shape or not np.isin(split, (0, 1, 2)).all():
      raise ValueError(f'{path}: split has shape {split.shape}; expected one '
                       'of 0 (training), 1 (validation), 2 (test) for each of '
                       f'{len(y)} examples.')
    told = '' if read.split is not None else _SPLIT
    sizes = np.bincount(split.astype(int), minlength=3)
    if not sizes.all():
      raise ValueError(f'{path}: of {len(y)} examples {sizes[0]} are for '
                       f'training, {sizes[1]} for validation, {sizes[2]} for '
                       f'test; expected at least one each. {told}'.rstrip())
    x, offset = _as_float32(x, x[split == 0], path)
    parts = (slstm.Data(x[split == part], y[split == part])
             for part in range(3))  # yapf: disable
    return base.DataSet(*base.join_frames(self.frames, *parts), classes,
                        split=told, offset=offset, features=read.features
                       )  # yapf: disable


def _labels(y: np.ndarray, names: np.ndarray | None,
            path: str) -> tuple[np.ndarray, tuple[str, ...]]:
  """Labels as int32, and the names of all classes."""
  if names is not None and (names.ndim != 1 or names.dtype.kind != 'U' or
                            len(set(names)) != len(names)):
    raise ValueError(f'{path}: class_names has shape {names.shape} and dtype '
                     f'{names.dtype}; expected strings, [classes], none twice.')
  if y.ndim == 1 and y.dtype.kind in 'US':
    y = y.astype(str)
    known = np.unique(y) if names is None else names
    place = {name: index for index, name in enumerate(known.tolist())}
    unknown = [name for name in y.tolist() if name not in place]
    if unknown:
      raise ValueError(f'{path}: y has {unknown[0]!r}, which class_names has '
                       'not.')
    return np.asarray([place[name] for name in y.tolist()],
                      np.int32), (tuple(known.tolist()))
  if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
    raise ValueError(f'{path}: y has shape {y.shape} and dtype {y.dtype}; '
                     'expected integers or strings, [examples].')
  most = max(2, len(y)) if names is None else len(names)
  bad = np.flatnonzero((y < 0) | (y >= most))
  if bad.size:
    hint = ('expected labels from 0, numbered without gaps. To do that: y = '
            'np.unique(y, return_inverse=True)[1].' if names is None else
            f'expected one of 0..{most - 1}, as class_names has {most} names.')
    raise ValueError(f'{path}: y is {y[bad[0]]} in row {bad[0]} of {len(y)}; '
                     f'{hint}')
  classes = map(str, range(y.max() + 1)) if names is None else names.tolist()
  return y.astype(np.int32), tuple(classes)


def _as_float32(x: np.ndarray, train: np.ndarray,
                path: str) -> tuple[np.ndarray, tuple[float, ...]]:
  """x in float32; features that this would round away lose their mean before.

  That is the mean over the training examples, of features that float32 would
  round by more than 1/1000 of their standard deviation: degrees of latitude, or
  seconds since 1970.

  Returns:
    x, and what was subtracted of each feature, or () if nothing was.
  """
  if np.can_cast(x.dtype, np.float32) or not len(train):
    return x.astype(np.float32), ()
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
        'subtracted before, as predict does; do so yourself where you use the '
        'model elsewhere.')
  offset = np.where(coarse, mean, 0)
  with np.errstate(over='ignore'):
    found = (x - offset).astype(np.float32)
  base.check(slstm.Data(found, found[:, 0, 0]), f'{path} as float32')
  return found, tuple(offset.tolist()) if coarse.any() else ()


def _random_split(num_examples: int) -> np.ndarray:
  """A fixed random split, 70 / 15 / 15 %; it mixes any groups there are."""
  place = np.random.default_rng(0).permutation(num_examples) / num_examples
  return np.digitize(place, (0.70, 0.85))
