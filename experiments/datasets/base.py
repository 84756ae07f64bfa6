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
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from rich import console

from experiments.augment import Augment
import slstm
from slstm import padding
from slstm import types

# Times the standard deviation of x that an augmentation may move it.
_DROWNED = 10


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
    split: how the three sets were made, if that is not obvious: a sentence.
    offset: subtracted from each feature of what was read, or () for nothing.
    features: their names, before frames are joined.
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
  split: str = ''
  offset: tuple[float, ...] = ()
  features: tuple[str, ...] | None = None


def describe(dataset: DataSet) -> dict[str, Any]:
  """What new data have to be like, and the names of the classes, for JSON."""
  _, length, size = dataset.train.x.shape
  return {'classes': dataset.classes, 'elements': length, 'features': size,
          'feature_names': dataset.features, 'subtracted': dataset.offset
         }  # yapf: disable


def load(data: Any) -> DataSet:
  """Loads a data set and checks its arrays; warns of what is merely odd.

  Raises:
    FileNotFoundError: if a file is absent.
    ValueError: if a file is corrupt, an array is unusable or the augmentation
      does not fit; names the array.
  """
  dataset = data.load()
  parts = (*dataset[:3], *(dataset.shorter[:2] if dataset.shorter else ()))
  names = 'train', 'validation', 'test', 'shorter train', 'shorter validation'
  for name, part in zip(names, parts):
    check(part, name)
    dataset.task.check(part.y, len(dataset.classes))
  if dataset.task is slstm.classification:
    _check_classes(dataset)
  if not dataset.shared_scale:
    _check_features(dataset.train.x)
  if dataset.augment:
    _check_augment(dataset.augment, dataset.train.x[:8])
  return dataset


def _check_classes(dataset: DataSet) -> None:
  """Refuses a single class, and warns of one that cannot be learnt."""
  count = np.bincount(dataset.train.y, minlength=len(dataset.classes))
  present = np.flatnonzero(count)
  if len(present) < 2:
    raise ValueError(
        f'train: all {len(dataset.train.y)} labels are {present[0]}; expected '
        f'at least two classes. {dataset.split}'.rstrip())
  absent = np.flatnonzero(count == 0)
  if absent.size:
    warnings.warn(
        f'train: no example of class {_listed(absent)} (of '
        f'{len(dataset.classes)} classes, 0..{len(dataset.classes) - 1}); the '
        'network has outputs for them that learn nothing. To number the '
        'labels without gaps: y = np.unique(y, return_inverse=True)[1]. '
        f'{dataset.split}'.rstrip())


def _check_features(x: np.ndarray) -> None:
  """Warns of features that never change."""
  flat = x.reshape(-1, x.shape[-1])
  constant = np.flatnonzero(flat.min(0) == flat.max(0))
  if constant.size:
    warnings.warn(f'train: feature {_listed(constant)} of {x.shape[-1]} never '
                  'changes, so the network learns nothing from it; leave it '
                  'out of x, or look for what went wrong with it.')


def _check_augment(augment: Augment, x: np.ndarray) -> None:
  """Warns of an augmentation that leaves little of its input."""
  changed = np.asarray(augment(jax.random.key(0), jnp.asarray(x)), np.float64)
  moved = np.sqrt(np.mean(np.square(changed - x)))
  if not moved <= _DROWNED * np.std(x, dtype=np.float64):
    warnings.warn(
        f'augmentation moves training inputs by {moved:.3g} (root mean square) '
        f'where their standard deviation is {np.std(x):.3g}; lower its '
        'strength, in config.data.')


def _listed(numbers: np.ndarray) -> str:
  """The first of some numbers, as text."""
  more = ', ..' if len(numbers) > 5 else ''
  return ', '.join(map(str, numbers[:5])) + more


def check(data: slstm.Data, name: str) -> None:
  """Raises ValueError unless x is [examples, N, D], finite, with a y each."""
  x, y, lengths = data
  types.check_shape(f'{name}: x', x, 'examples N D')
  if np.iscomplexobj(x) or x.dtype == object:
    raise ValueError(f'{name}: x has dtype {x.dtype}; expected real numbers.')
  padding.check(lengths, x, f'{name}: lengths')
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
    lengths = getattr(part, 'lengths', None)
    if lengths is not None:  # a last element may be part padding
      lengths = -(-lengths // frames)
    return slstm.Data(part.x.reshape(shape), part.y, lengths)

  return joined(train), joined(validation), joined(test)


def digest(dataset: DataSet) -> str:
  """SHA-256 of all arrays, to tell two data sets apart."""
  sha = hashlib.sha256()
  for data in (dataset.train, dataset.validation, dataset.test):
    for array in filter(lambda part: part is not None, data):
      sha.update(str(array.shape).encode())
      sha.update(np.ascontiguousarray(array).tobytes())
  return sha.hexdigest()


def folder(path: str, name: str) -> pathlib.Path | None:
  """The folder of a data set's files: as given, or in $SLSTM_DATA."""
  if path:
    return pathlib.Path(path).expanduser()
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
