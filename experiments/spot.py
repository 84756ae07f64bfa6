r"""Keyword spotting: what a trained model hears in audio files.

  python -m experiments.spot --audio=FILE.wav,OTHER.flac

A file of up to a second is one window; a longer one is heard through a window
of a second that moves by --hop. Each window is printed with the best class, its
score, the spikes that the last layer hands on, and the energy of an inference.

--model is a work directory of train_ann, convert or train_snn on
speech_commands; by default the model that is released with the project.
"""

import pathlib
import sys
from typing import Iterator, NamedTuple

from absl import app
from absl import flags
from absl import logging
import jax
import numpy as np
import rich

from experiments import config as config_lib
from experiments import data as data_lib
from experiments import stages
from experiments import workdir
from experiments.reporting import tables
import slstm
from slstm import train
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import frontend

RELEASED = pathlib.Path(__file__).parents[1] / 'results' / 'models' / 'gsc'
SECONDS_A_FRAME = 0.01


class Heard(NamedTuple):
  """What a model heard in one window.

  Attributes:
    start: of the window, s.
    label: the class of the highest score.
    score: its probability.
    spikes: that the last layer handed on, None for an LSTM.
    energy: of this inference, products only (ledger 1, int32), pJ.
  """
  start: float
  label: str
  score: float
  spikes: float | None
  energy: float


class Spotter(NamedTuple):
  """A trained model and how many frames it joins to an element."""
  params: slstm.Params
  config: slstm.Config
  frames: int


def load(folder: pathlib.Path) -> Spotter:
  """Reads a model that was trained on speech_commands.

  Raises:
    FileNotFoundError, ValueError: there is no such model; names the folder.
  """
  experiment = workdir.read_config(folder)['experiment']
  if experiment['dataset'] != 'speech_commands':
    raise ValueError(f'--model={folder} was trained on {experiment["dataset"]};'
                     ' expected a model of speech_commands.')
  return Spotter(*slstm.load_model(folder / 'model'), experiment['frames'])


def windows(audio: np.ndarray, hop: float) -> tuple[np.ndarray, np.ndarray]:
  """Cuts audio into windows of a second.

  Args:
    audio: float [samples] at 16 kHz.
    hop: seconds from one window to the next, at least one frame.

  Returns:
    (start in seconds [windows], log-mel values [windows, 98, 40]). What is left
    at the end is heard by one more window, which ends there.

  Raises:
    ValueError: for a hop below one frame.
  """
  every = round(hop / SECONDS_A_FRAME)
  if every < 1:
    raise ValueError(f'--hop={hop}: expected at least {SECONDS_A_FRAME} s.')
  if len(audio) <= speech_commands.SAMPLE_RATE:
    return np.zeros(1), frontend.one_second(audio)[None]
  values = frontend.log_mel(audio)
  last = len(values) - speech_commands.FRAMES
  starts = np.unique([*range(0, last + 1, every), last])
  return starts * SECONDS_A_FRAME, np.stack(
      [values[start:start + speech_commands.FRAMES] for start in starts])


def listen(spotter: Spotter, audio: np.ndarray, hop: float) -> Iterator[Heard]:
  """Yields what a model hears in each window of the audio."""
  starts, values = windows(audio, hop)
  elements = data_lib.join_frames(values, spotter.frames)
  for start, element in zip(starts, elements):
    x = stages.time_major(element[None])
    logits = train.predict(spotter.params, x, spotter.config)
    probabilities = np.asarray(jax.nn.softmax(logits[0]))
    best = int(np.argmax(probabilities))
    counts = slstm.count_operations(spotter.params, x, spotter.config)
    rate = counts.layers[-1].spike_rate.h
    units = spotter.params.layers[-1].u.i.shape[0]
    spikes = None if rate is None else (rate * len(x) *
                                        spotter.config.num_steps * units)
    yield Heard(float(start), speech_commands.CLASSES[best],
                float(probabilities[best]), spikes,
                slstm.ledger(counts)[1].total)


def _table(heard: list[Heard], threshold: float) -> tables.Table:
  """What was heard in one file."""
  rows = []
  for window in heard:
    keyword = window.label in speech_commands.KEYWORDS
    if len(heard) > 1 and (not keyword or window.score < threshold):
      continue
    spikes = '-' if window.spikes is None else tables.count(window.spikes)
    rows.append(
        (f'{window.start:.2f}', window.label, f'{window.score:.2f}', spikes,
         tables.nanojoule(window.energy)))
  return tables.Table('', ('from, s', 'class', 'score', 'spikes', 'energy, nJ'),
                      tuple(rows))


def main(argv: list[str]) -> None:
  """Listens to all files; one that cannot be read ends with status 1."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
  flag = flags.FLAGS
  try:
    spotter = load(pathlib.Path(flag.model))
    for path in config_lib.entries('audio', str):
      audio = frontend.read_audio(path)
      if (audio.original_rate, audio.channels) != (speech_commands.SAMPLE_RATE,
                                                   1):
        rich.print(f'{path}: {audio.original_rate} Hz, {audio.channels} '
                   'channel(s); made 16 kHz mono.')
      heard = list(listen(spotter, audio.samples, flag.hop))
      rich.print(f'{path}: {len(heard)} window(s)')
      rich.print(tables.rich_table(_table(heard, flag.threshold)))
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.DEFINE_list('audio', None, 'WAV or FLAC files.')
  flags.DEFINE_string('model', str(RELEASED), 'Work directory of the model.')
  flags.DEFINE_float('hop', 0.25, 'Seconds from one window to the next.')
  flags.DEFINE_float(
      'threshold', 0.0,
      'Of a file with several windows print those with a keyword of that score.'
  )
  flags.mark_flag_as_required('audio')
  logging.set_verbosity(logging.WARNING)
  app.run(main)
