"""Temporal MNIST: images read row by row or pixel by pixel."""

import dataclasses
from typing import ClassVar

from experiments.datasets import base
import slstm
from slstm import types
from third_party.mnist import data as mnist


@dataclasses.dataclass(frozen=True)
class Mnist:
  """Temporal MNIST: rows N = 28, D = 28; pixels N = 784, D = 1; 10 classes.

  Attributes:
    path: folder of the IDX files; by default mnist in $SLSTM_DATA, and where
      that is not set they are downloaded.
    order: of the pixels: rows, pixels or permuted (in one fixed random order).
    frames: consecutive elements joined to one.
    short_epochs: of the source LSTM on images of half the side, before those of
      config.ann (order pixels), see `slstm.stretch`.
  """
  name: ClassVar[str] = 'mnist'
  path: str = ''
  order: str = 'rows'
  frames: int = 1
  short_epochs: int = 0

  def __post_init__(self):
    types.check_choice('order', self.order, ('rows', 'pixels', 'permuted'))
    if self.short_epochs and (self.short_epochs < 0 or self.order != 'pixels'):
      raise ValueError(f'short_epochs is {self.short_epochs} with '
                       f'order {self.order!r}; expected >= 0, and 0 for orders '
                       'but pixels, which have no shorter version.')

  def load(self) -> base.DataSet:
    """Validation is the last 5,000 training images."""
    folder = base.folder(self.path, self.name)
    splits = mnist.load(folder) if folder else self._download()
    parts = (*mnist.validation_split(splits['train']), splits['test'])
    whole = [slstm.Data(mnist.as_sequence(x, self.order), y) for x, y in parts]
    shorter = None
    if self.short_epochs:
      small = (slstm.Data(mnist.halved(x).reshape(len(x), -1, 1), y)
               for x, y in parts)  # yapf: disable
      train, validation, _ = base.join_frames(self.frames, *small)
      shorter = base.Shorter(train, validation, self.short_epochs)
    return base.DataSet(*base.join_frames(self.frames, *whole),
                        mnist.CLASSES,
                        shared_scale=True,
                        shorter=shorter)

  def _download(self) -> dict[str, mnist.Split]:
    with base.extra('tfds'):  # pylint: disable=import-outside-toplevel
      from third_party.mnist import builder
    return builder.read_prepared(base.prepare(builder.MnistIdx()))
