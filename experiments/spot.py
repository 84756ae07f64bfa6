r"""Keyword spotting: what a trained model hears in audio files.

  python -m experiments.spot --audio=FILE.wav,OTHER.flac

A file of up to a second is one window; a longer one is heard through a window
of a second that moves by --hop. Each window is printed with the best class, its
score, the spikes that the last layer hands on, and the energy of an inference.

--model is a work directory of train_ann, convert or train_snn on
speech_commands; by default the model that is released with the project.
"""

import pathlib
from typing import Callable, Iterator, NamedTuple

from absl import flags
from absl import logging
import jax
import numpy as np
import rich
import rich.table

from experiments import binary
from experiments import runs
from experiments import stages
import slstm
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import frontend

RELEASED = pathlib.Path(__file__).parents[1] / 'results' / 'models' / 'gsc'
_SECONDS_PER_FRAME = 0.01
_COLUMNS = 'from, s', 'class', 'score', 'spikes', 'energy, nJ'


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


def load(folder: pathlib.Path) -> slstm.Model:
  """Reads a model of speech_commands; an error names the folder."""
  name = runs.read_config(folder)['experiment']['data']['name']
  if name != 'speech_commands':
    raise ValueError(f'--model={folder} was trained on {name}; expected '
                     'a model of speech_commands.')
  return stages.read_model(folder).model


def as_input(model: slstm.Model, values: np.ndarray) -> np.ndarray:
  """Joins frames [B, 98, 40] to the elements [B, N, D] that a model takes."""
  return values.reshape(len(values), -1, model.num_features)


def windows(audio: np.ndarray, hop: float) -> tuple[np.ndarray, np.ndarray]:
  """Cuts audio [samples] at 16 kHz into windows of a second, `hop` s apart.

  Returns:
    (start in seconds [windows], log-mel values [windows, 98, 40]). What is left
    at the end is heard by one more window, which ends there.

  Raises:
    ValueError: for a hop below one frame.
  """
  every = round(hop / _SECONDS_PER_FRAME)
  if every < 1:
    raise ValueError(f'--hop={hop}: expected at least {_SECONDS_PER_FRAME} s.')
  if len(audio) <= speech_commands.SAMPLE_RATE:
    return np.zeros(1), frontend.one_second(audio)[None]
  values = frontend.log_mel(audio)
  last = len(values) - speech_commands.FRAMES
  starts = np.unique([*range(0, last + 1, every), last])
  return starts * _SECONDS_PER_FRAME, np.stack(
      [values[start:start + speech_commands.FRAMES] for start in starts])


def listen(model: slstm.Model, audio: np.ndarray,
           hop: float) -> Iterator[Heard]:
  """Yields what a model hears in each window of the audio."""
  starts, values = windows(audio, hop)
  for start, x in zip(starts, as_input(model, values)):
    x = x[None]
    probabilities = np.asarray(jax.nn.softmax(slstm.predict(model, x)[0]))
    best = int(np.argmax(probabilities))
    counts = slstm.count_operations(model, x)
    rate = counts.layers[-1].spike_rate.h
    steps = x.shape[1] * model.config.num_steps * model.layers[-1].num_units
    yield Heard(float(start), speech_commands.CLASSES[best],
                float(probabilities[best]),
                None if rate is None else rate * steps,
                slstm.ledger(counts)[1].total)


def start(run: Callable[[slstm.Model], None]) -> None:
  """Defines --model and calls `run` with it; bad input ends with status 1."""

  flags.DEFINE_string('model', str(RELEASED), 'Work directory of the model.')
  logging.set_verbosity(logging.WARNING)
  binary.run(lambda: run(load(pathlib.Path(flags.FLAGS.model))))


def _run(model: slstm.Model) -> None:
  for path in flags.FLAGS.audio:
    audio = frontend.read_audio(path)
    form = f'{audio.original_rate} Hz, {audio.channels} channel(s)'
    if form != f'{speech_commands.SAMPLE_RATE} Hz, 1 channel(s)':
      rich.print(f'{path}: {form}; made 16 kHz mono.')
    heard = list(listen(model, audio.samples, flags.FLAGS.hop))
    rich.print(f'{path}: {len(heard)} window(s)')
    table = rich.table.Table(*_COLUMNS)
    for window in heard:
      keyword = window.label in speech_commands.KEYWORDS
      if len(heard) == 1 or keyword and window.score >= flags.FLAGS.threshold:
        spikes = '-' if window.spikes is None else f'{window.spikes:,.0f}'
        table.add_row(f'{window.start:.2f}', window.label,
                      f'{window.score:.2f}', spikes,
                      f'{1e-3 * window.energy:,.1f}')
    rich.print(table)


if __name__ == '__main__':
  flags.DEFINE_list('audio', None, 'WAV or FLAC files.')
  flags.DEFINE_float('hop', 0.25, 'Seconds from one window to the next.')
  flags.DEFINE_float('threshold', 0.0,
                     'Of several windows print keywords of that score.')
  flags.mark_flag_as_required('audio')
  start(_run)
