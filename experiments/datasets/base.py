"""What a data set is, and what all of them share.

A data set is a frozen dataclass of its own options with a method `load`, which
returns a `DataSet`. It is the value of `Experiment.data`, so that its options
are flags: --config.data.frames=2. Its `name` stands in config.json. One of your
own is such a class in your own config file; nothing here has to know it.
"""

import contextlib
import hashlib
import os
import pathlib
from typing import Any, Iterator, NamedTuple

import numpy as np
from rich import console

from experiments.augment import Augment
import slstm
from slstm import types


class Shorter(NamedTuple):
  """A shorter version of the sequences, to train on before the whole ones.

  Attributes:
    train, validation: x [examples, N', D].
    epochs: how long, see `slstm.stretch`.
  """
  train: slstm.Data
  validation: slstm.Data
  epochs: int


class DataSet(NamedTuple):
  """Three disjoint sets.

  Attributes:
    train, validation, test: x [examples, N, D], uint8 where the source is.
    classes: names of the outputs.
    task: what is to be learnt from them.
    augment: maps (key, x [B, N, D]) to the x that is trained on, if anything.
    shared_scale: whether the features are of one kind, such as pixels.
    subjects: who made each example of train and of validation.
    shorter: if training begins on shorter sequences.
  """
  train: slstm.Data
  validation: slstm.Data
  test: slstm.Data
  classes: tuple[str, ...]
  task: slstm.Task = slstm.classification
  augment: Augment | None = None
  shared_scale: bool = False
  subjects: tuple[np.ndarray, np.ndarray] | None = None
  shorter: Shorter | None = None


def load(data: Any) -> DataSet:
  """Loads a data set and checks its arrays.

  Raises:
    FileNotFoundError: if a file is absent.
    ValueError: if a file is corrupt or an array is unusable; names the array.
  """
  dataset = data.load()
  parts = (*dataset[:3], *(dataset.shorter[:2] if dataset.shorter else ()))
  names = 'train', 'validation', 'test', 'shorter train', 'shorter validation'
  for name, part in zip(names, parts):
    check(part, name)
    dataset.task.check(part.y, len(dataset.classes))
  return dataset


def check(data: slstm.Data, name: str) -> None:
  """Raises ValueError unless x is [examples, N, D], finite, with a y each."""
  x, y = data
  types.check_shape(f'{name}: x', x, 'examples N D')
  if y.shape[:1] != x.shape[:1]:
    raise ValueError(f'{name}: y has shape {y.shape} for {len(x)} examples; '
                     'expected one label each.')
  bad = np.flatnonzero(~np.isfinite(x).all((1, 2)))
  if bad.size:
    raise ValueError(f'{name}: x has a NaN or infinite value in row {bad[0]} '
                     f'({bad.size} such rows); remove or repair them.')


def join_frames(frames: int, train: Any, validation: Any,
                test: Any) -> tuple[slstm.Data, slstm.Data, slstm.Data]:
  """Makes x [examples, N, D] of each part [examples, N / frames, frames D]."""

  def joined(part: Any) -> slstm.Data:
    examples, length, features = part.x.shape
    if frames < 1 or length % frames:
      raise ValueError(f'config.data.frames is {frames}; expected a divisor of '
                       f'the sequence length {length}.')
    shape = examples, length // frames, frames * features
    return slstm.Data(part.x.reshape(shape), part.y)

  return joined(train), joined(validation), joined(test)


def digest(dataset: DataSet) -> str:
  """SHA-256 of all arrays, to tell two data sets apart."""
  sha = hashlib.sha256()
  for data in (dataset.train, dataset.validation, dataset.test):
    for array in data:
      sha.update(str(array.shape).encode())
      sha.update(np.ascontiguousarray(array).tobytes())
  return sha.hexdigest()


def folder(path: str, name: str) -> pathlib.Path | None:
  """The folder of a data set's files: as given, or in $SLSTM_DATA."""
  if path:
    return pathlib.Path(path)
  root = os.environ.get('SLSTM_DATA')
  return pathlib.Path(root) / name if root else None


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
  """Names the extra to install where an import inside it fails."""
  try:
    yield
  except ImportError as error:
    raise ImportError(f'{error}; install the extra: pip install '
                      f"'slstm[{name}]'.") from error


def prepare(builder: Any) -> Any:
  """A TFDS builder, whose data set is downloaded and prepared if need be.

  Raises:
    OSError: if it cannot be fetched; says what to do instead.
  """
  # These modules take seconds to import and are needed here alone.
  # pylint: disable=import-outside-toplevel
  from tensorflow_datasets.core.download import download_manager
  from tensorflow_datasets.core.download import util

  if not builder.is_prepared():
    console.Console(stderr=True).print(
        f'{builder.name}: no files given; fetching into {builder.data_dir}')
    try:
      builder.download_and_prepare()
    except (OSError, util.DownloadError,
            download_manager.NonMatchingChecksumError) as error:
      raise OSError(
          f'{builder.name} cannot be downloaded: {error} Give the folder of '
          'its files with --config.data.path, or set $SLSTM_DATA to the folder '
          'that holds one folder for each data set.') from error
  return builder
