"""UCI HAR: human activities from a phone's inertial sensors, embedded."""

import dataclasses
import math
import pathlib
from typing import ClassVar

from experiments import augment
from experiments.datasets import base
from third_party.uci_har import data as uci_har


@dataclasses.dataclass(frozen=True)
class Har:
  """UCI HAR: N = 128 / frames, D = 9 frames, 6 classes.

  Attributes:
    path: folder of the original files; by default the embedded copy.
    frames: consecutive samples joined to one element.
    rotation: training inputs are turned by that much, radians.
    noise: standard deviation of noise added to training inputs, units of x.
  """
  name: ClassVar[str] = 'har'
  path: str = ''
  frames: int = 2
  rotation: float = 0.1
  noise: float = 0.1

  def __post_init__(self):
    augment.check_strengths(self, 'rotation', 'noise')
    if self.rotation > math.pi:
      raise ValueError(f'rotation is {self.rotation}; expected radians in '
                       '0..pi, of which pi turns anything anywhere.')

  def load(self) -> base.DataSet:
    """Validation is whole subjects of the training split."""
    if not self.path:
      splits = uci_har.load_embedded()
    elif (pathlib.Path(self.path) / 'train.npz').exists():
      splits = uci_har.load_float32(self.path)
    else:
      splits = uci_har.load_archive(self.path)
    train, validation = uci_har.validation_split(splits['train'])
    parts = base.join_frames(self.frames, train, validation, splits['test'])
    return base.DataSet(*parts,
                        uci_har.CLASSES,
                        augment=augment.chain((augment.rotate, self.rotation),
                                              (augment.add_noise, self.noise),
                                              frames=self.frames),
                        subjects=(train.subject, validation.subject))
