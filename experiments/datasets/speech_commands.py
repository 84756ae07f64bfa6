"""Google Speech Commands v0.02, 12 classes, as log-mel energies."""

import dataclasses
import functools
from typing import ClassVar

from experiments import augment
from experiments.datasets import base
from third_party.speech_commands import archive
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import packed


@dataclasses.dataclass(frozen=True)
class SpeechCommands:
  """Speech Commands: 98 frames of 10 ms, N = 98 / frames, D = 40 frames.

  Attributes:
    path: folder of the features or of the archive; by default speech_commands
      in $SLSTM_DATA, and where that is not set they are downloaded.
    frames: consecutive samples joined to one element.
    time_shift: training inputs are moved by up to that many samples.
    time_mask: up to that many samples are masked, twice.
    feature_mask: up to that many features are masked, twice.
    background: probability of mixing with a training clip of noise.
  """
  name: ClassVar[str] = 'speech_commands'
  path: str = ''
  frames: int = 2
  time_shift: int = 10
  time_mask: int = 15
  feature_mask: int = 6
  background: float = 0.5

  def __post_init__(self):
    augment.check_strengths(self, 'time_shift', 'time_mask', 'feature_mask',
                            'background')
    for name, most in (('time_shift', speech_commands.FRAMES - 1),
                       ('time_mask', speech_commands.FRAMES),
                       ('feature_mask', speech_commands.CHANNELS)):
      if getattr(self, name) > most:
        raise ValueError(f'{name} is {getattr(self, name)}; expected at most '
                         f'{most}: a clip has {speech_commands.FRAMES} frames '
                         f'of {speech_commands.CHANNELS} features.')
    if self.background > 1:
      raise ValueError(f'background is {self.background}; expected '
                       'a probability in 0..1.')

  def load(self) -> base.DataSet:
    """The official speaker split."""
    splits = self._splits()
    parts = [splits[name] for name in speech_commands.SPLITS]
    silence = speech_commands.CLASSES.index(speech_commands.SILENCE)
    noise = parts[0].x[parts[0].y == silence]
    mix = functools.partial(augment.mix, background=noise)
    return base.DataSet(*base.join_frames(self.frames, *parts),
                        speech_commands.CLASSES,
                        augment=augment.chain(
                            (mix, self.background),
                            (augment.shift_time, self.time_shift),
                            (augment.mask_time, self.time_mask),
                            (augment.mask_features, self.feature_mask),
                            frames=self.frames))

  def _splits(self) -> dict[str, speech_commands.Split]:
    folder = base.folder(self.path, self.name)
    if folder is None:
      with base.extra('tfds'):  # pylint: disable=import-outside-toplevel
        from third_party.speech_commands import builder
      made = builder.SpeechCommands12(config='download')
      return builder.read_prepared(base.prepare(made))
    if (folder / packed.FILE).exists():
      return packed.load(folder)
    return archive.load(folder)
