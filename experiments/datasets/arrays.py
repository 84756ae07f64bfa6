"""Sequences in a file of one's own, .npz or .csv.

An .npz has an array x [examples, N, D]. For training it also has y [examples],
integers from 0 or strings, and may have class_names [classes] and split
[examples].

A .csv has one row per element. Column `sequence` says which sequence it is of;
rows of a sequence stand in order. For training there also is `label`, and may
be `split`; both are the same in all rows of a sequence. All other columns are
features.
"""

import pathlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import runs

Path = pathlib.Path

_HOW = '''make an .npz: import numpy as np
x, y = ...  # [examples, N, D], and a label for each example
np.savez('mine.npz', x=x, y=y)'''


class Arrays(NamedTuple):
  """What a file holds.

  Attributes:
    x: [examples, N, D].
    y: labels as they stand there, [examples], or None.
    split: of each example 0, 1 or 2, or None.
    class_names: of the labels 0, 1, .., or None.
    features: names of the D features, or None.
    names: of the examples.
  """
  x: np.ndarray
  y: np.ndarray | None
  split: np.ndarray | None
  class_names: np.ndarray | None
  features: tuple[str, ...] | None
  names: list[str]


def read(path: Path, what: str) -> Arrays:
  """Reads a file; `what` names it in errors.

  Raises:
    FileNotFoundError: if it is absent.
    ValueError: if it has another form; names the array, or column and row.
  """
  if not path.is_file():
    raise FileNotFoundError(f'{what}: no such file; give an .npz with arrays '
                            'x [examples, N, D] and y [examples], or a .csv '
                            'with a row per element.')
  if path.suffix == '.npz':
    return _read_npz(path, what)
  if path.suffix == '.csv':
    return _read_csv(path, what)
  raise ValueError(f'{what}: expected a file .npz or .csv; {_HOW}')


def _read_npz(path: Path, what: str) -> Arrays:
  stored = runs.read_npz(path)
  unknown = set(stored) - {'x', 'y', 'split', 'class_names'}
  if 'x' not in stored or unknown:
    raise ValueError(f'{what}: missing arrays {sorted({"x"} - set(stored))}, '
                     f'unknown arrays {sorted(unknown)}; expected x, y and, if '
                     'you have them, split and class_names.')
  x = stored['x']
  names = list(map(str, range(len(x)))) if x.ndim else []
  return Arrays(x, stored.get('y'), stored.get('split'),
                stored.get('class_names'), None, names)


def _read_csv(path: Path, what: str) -> Arrays:
  try:
    table = pd.read_csv(path)
  except (ValueError, OSError) as error:
    raise ValueError(f'{what} cannot be read as .csv: {error}') from error
  if 'sequence' not in table:
    raise ValueError(
        f'{what}: no column sequence among {", ".join(table.columns)}; a row '
        f'is one element, and that column says of which sequence. Or {_HOW}')
  features = [name for name in table if name not in
              ('sequence', 'label', 'split')]  # yapf: disable
  if not features:
    raise ValueError(f'{what}: no columns of features beside '
                     f'{", ".join(table.columns)}.')
  for name in table:
    column = table[name]
    bad = column.isna() | (name in features and pd.to_numeric(
        column, errors='coerce').isna())  # yapf: disable
    if bad.any():
      row = int(np.flatnonzero(bad)[0])
      raise ValueError(f'{what}: column {name} has {column[row]!r} in line '
                       f'{row + 2} of the file; expected '
                       f'{"a number" if name in features else "a value"}.')
  groups = table.groupby('sequence', sort=False)
  lengths = groups.size()
  other = lengths[lengths != lengths.iloc[0]]
  if len(other):
    raise ValueError(
        f'{what}: sequence {other.index[0]} has {other.iloc[0]} rows, sequence '
        f'{lengths.index[0]} has {lengths.iloc[0]}; expected as many of all. '
        'Cut or pad them.')
  order = np.argsort(groups.ngroup(), kind='stable')
  shape = len(lengths), lengths.iloc[0], len(features)
  x = table[features].to_numpy(np.float64)[order].reshape(shape)
  once = {name: _of_sequence(groups, name, what)
          for name in ('label', 'split') if name in table}  # yapf: disable
  y, class_names = once.get('label'), None
  if y is not None and np.issubdtype(y.dtype, np.integer):
    # As words they could be any numbers, in the order of numbers.
    class_names = np.unique(y).astype(str)
    y = y.astype(str)
  return Arrays(x, y, once.get('split'), class_names, tuple(features),
                list(map(str, lengths.index)))


def _of_sequence(groups: Any, name: str, what: str) -> np.ndarray:
  """A column that has one value per sequence, [sequences]."""
  count = groups[name].nunique()
  if (count > 1).any():
    raise ValueError(f'{what}: sequence {count.index[(count > 1).argmax()]} '
                     f'has several values in column {name}; expected one.')
  values = groups[name].first().to_numpy()
  return values.astype(str) if values.dtype == object else values
