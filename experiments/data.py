"""Data sets by name: training, validation and test arrays in memory."""

import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from experiments import download
from experiments import files
from experiments.config import Experiment
from slstm.train import Data
from slstm.types import check_choice
from third_party.mnist import data as mnist
from third_party.speech_commands import archive
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import packed
from third_party.uci_har import data as uci_har


class DataSet(NamedTuple):
  """Three disjoint sets.

  Attributes:
    train, validation, test: x [examples, N, D], uint8 where the source is.
    classes: their names.
    shared_scale: whether the features are of one kind, such as pixels.
    background: training inputs that are noise alone, [clips, N, D].
    subjects: who made each example of train and of validation.
    shorter: train and validation in a shorter version, x [examples, N', D].
  """
  train: Data
  validation: Data
  test: Data
  classes: tuple[str, ...]
  shared_scale: bool = False
  background: np.ndarray | None = None
  subjects: tuple[np.ndarray, np.ndarray] | None = None
  shorter: tuple[Data, Data] | None = None


def load(experiment: Experiment) -> DataSet:
  """Loads the data set of an experiment.

  Raises:
    FileNotFoundError: if a file is absent.
    ValueError: if a file is corrupt or an array is unusable; names the array
      and its first offending row.
  """
  check_choice('--dataset', experiment.dataset, tuple(_LOADERS))
  loaded = _LOADERS[experiment.dataset](experiment)
  if experiment.short_epochs and loaded.shorter is None:
    raise ValueError(f'--short_epochs={experiment.short_epochs}: only --dataset'
                     '=mnist --order=pixels has a shorter version.')

  def prepare(data: Data, name: str) -> Data:
    check(data, len(loaded.classes), name)
    return Data(join_frames(data.x, experiment.frames), data.y)

  shorter = None
  if loaded.shorter:
    shorter = (prepare(loaded.shorter[0], 'shorter train'),
               prepare(loaded.shorter[1], 'shorter validation'))
  return loaded._replace(shorter=shorter,
                         train=prepare(loaded.train, 'train'),
                         validation=prepare(loaded.validation, 'validation'),
                         test=prepare(loaded.test, 'test'))


def join_frames(x: np.ndarray, frames: int) -> np.ndarray:
  """[examples, N, D] -> [examples, N / frames, frames D]."""
  examples, length, features = x.shape
  if frames < 1 or length % frames:
    raise ValueError(f'--frames={frames} does not divide the sequence length '
                     f'{length}.')
  return x.reshape(examples, length // frames, frames * features)


def check(data: Data, num_classes: int, name: str) -> None:
  """Raises ValueError unless x is [examples, N, D], finite, and y fits it."""
  x, y = data
  if x.ndim != 3 or 0 in x.shape:
    raise ValueError(f'{name}: x has shape {x.shape}; expected [examples, N, D]'
                     ' with at least one of each.')
  if y.shape != x.shape[:1]:
    raise ValueError(f'{name}: y has shape {y.shape} for {len(x)} examples; '
                     'expected one label each.')
  bad = np.flatnonzero(~np.isfinite(x).all((1, 2)))
  if bad.size:
    raise ValueError(f'{name}: x has a NaN or infinite value in row {bad[0]} '
                     f'({bad.size} such rows); remove or repair them.')
  bad = np.flatnonzero((y < 0) | (y >= num_classes))
  if bad.size:
    raise ValueError(f'{name}: y is {y[bad[0]]} in row {bad[0]}; expected a '
                     f'label in 0..{num_classes - 1}.')


def digest(dataset: DataSet) -> str:
  """SHA-256 of all arrays, to tell two data sets apart."""
  sha = hashlib.sha256()
  for data in (dataset.train, dataset.validation, dataset.test):
    for array in data:
      sha.update(str(array.shape).encode())
      sha.update(np.ascontiguousarray(array).tobytes())
  return sha.hexdigest()


def _uci_har(experiment: Experiment) -> DataSet:
  if not experiment.data:
    splits = uci_har.load_embedded()
  elif (pathlib.Path(experiment.data) / 'train.npz').exists():
    splits = uci_har.load_float32(experiment.data)
  else:
    splits = uci_har.load_archive(experiment.data)
  chosen = (*uci_har.validation_split(splits['train']), splits['test'])
  train, validation, test = (Data(part.x, part.y) for part in chosen)
  return DataSet(train,
                 validation,
                 test,
                 uci_har.CLASSES,
                 subjects=(chosen[0].subject, chosen[1].subject))


def _mnist(experiment: Experiment) -> DataSet:
  folder = _folder(experiment)
  splits = mnist.load(folder) if folder else _downloaded_mnist()
  chosen = (*mnist.validation_split(splits['train']), splits['test'])
  train, validation, test = (Data(mnist.as_sequence(part.x, experiment.order),
                                  part.y) for part in chosen)
  shorter = None
  if experiment.short_epochs and experiment.order == 'pixels':
    shorter = _half_size(chosen[0]), _half_size(chosen[1])
  return DataSet(train,
                 validation,
                 test,
                 mnist.CLASSES,
                 shared_scale=True,
                 shorter=shorter)


def _half_size(part: mnist.Split) -> Data:
  small = mnist.halved(part.x)
  return Data(small.reshape(len(small), -1, 1), part.y)


def _speech_commands(experiment: Experiment) -> DataSet:
  folder = _folder(experiment)
  if folder is None:
    splits = _downloaded_speech_commands()
  elif (folder / packed.FILE).exists():
    splits = packed.load(folder)
  else:
    splits = archive.load(folder)
  train, validation, test = (
      Data(splits[name].x, splits[name].y) for name in speech_commands.SPLITS)
  silence = speech_commands.CLASSES.index(speech_commands.SILENCE)
  return DataSet(train,
                 validation,
                 test,
                 speech_commands.CLASSES,
                 background=train.x[train.y == silence])


def _folder(experiment: Experiment) -> pathlib.Path | None:
  """The folder of a data set's files, if one was named."""
  if experiment.data:
    return pathlib.Path(experiment.data)
  root = os.environ.get('SLSTM_DATA')
  return pathlib.Path(root) / experiment.dataset if root else None


# TFDS takes seconds to import, so a builder is imported where it is needed.
# pylint: disable=import-outside-toplevel


def _downloaded_mnist() -> dict[str, mnist.Split]:
  from third_party.mnist import builder
  return builder.read_prepared(download.prepare(builder.MnistIdx()))


def _downloaded_speech_commands() -> dict[str, speech_commands.Split]:
  from third_party.speech_commands import builder
  made = builder.SpeechCommands12(config='download')
  return builder.read_prepared(download.prepare(made))


def _npz(experiment: Experiment) -> DataSet:
  path = pathlib.Path(experiment.data)
  if not experiment.data or not path.is_file():
    raise FileNotFoundError(
        f'--data={experiment.data}: no such file; expected an .npz with arrays '
        'x [examples, N, D] and y [examples].')
  stored = files.read_npz(path)
  missing = {'x', 'y'} - set(stored)
  unknown = set(stored) - {'x', 'y', 'split'}
  if missing or unknown:
    raise ValueError(
        f'--data={path}: missing arrays {sorted(missing)}, unknown '
        f'arrays {sorted(unknown)}; expected x, y and, if you '
        'choose the split, split.')
  x, y = stored['x'], stored['y']
  if not np.issubdtype(y.dtype, np.integer):
    raise ValueError(f'--data={path}: y has dtype {y.dtype}; expected '
                     'integers.')
  if not np.issubdtype(x.dtype, np.number):
    raise ValueError(f'--data={path}: x has dtype {x.dtype}; expected numbers.')
  num_classes = int(y.max(initial=0)) + 1
  whole = Data(x.astype(np.float32), y.astype(np.int32))
  check(whole, num_classes, str(path))
  split = stored.get('split', _random_split(len(y)))
  if split.shape != y.shape or not np.isin(split, (0, 1, 2)).all():
    raise ValueError(
        f'--data={path}: split has shape {split.shape}; expected '
        'one of 0 (training), 1 (validation), 2 (test) for each of '
        f'{len(y)} examples.')
  train, validation, test = (
      Data(whole.x[split == part], whole.y[split == part]) for part in range(3))
  return DataSet(train, validation, test, tuple(map(str, range(num_classes))))


def _random_split(num_examples: int) -> np.ndarray:
  """A fixed random split, 70 / 15 / 15 %; it mixes any groups there are."""
  place = np.random.default_rng(0).permutation(num_examples) / num_examples
  return np.digitize(place, (0.70, 0.85))


_LOADERS = {
    'uci_har': _uci_har,
    'mnist': _mnist,
    'speech_commands': _speech_commands,
    'npz': _npz,
}
