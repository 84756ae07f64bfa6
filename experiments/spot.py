r"""Keyword spotting: what a trained model hears in audio files.

  python -m experiments.spot --audio=FILE.wav,OTHER.flac

A file of up to a second is one window, whose class is printed whatever it is; a
longer one is heard through a window of a second that moves by --hop.
Neighbouring windows in which one keyword scores best, --threshold at least, are
one event: from the start of the first window to the end of the last, with the
highest score. Events are printed as they end, and files of any length take the
same memory. A file that cannot be heard is named and skipped; the status is 1
then.

--model is a work directory of train_ann, convert or train_snn on
speech_commands; by default the model that is released with the project.
"""

import itertools
import math
import pathlib
import sys
import time
from typing import Callable, Iterable, Iterator, NamedTuple

from absl import flags
from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from experiments import binary
from experiments import runs
from experiments import stages
import slstm
from slstm import types
from slstm.types import Array
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import frontend

RELEASED = pathlib.Path(__file__).parents[1] / 'results' / 'models' / 'gsc'
_SECONDS_PER_FRAME = 0.01
_SECONDS = 1.0  # of a window
_BATCH = 128  # windows that run together, a power of 2
_LINE = '{:>10} {:>10}  {:<8} {:>5}'


class Heard(NamedTuple):
  """What a model heard in one window.

  Attributes:
    start: of the window, s.
    label: the class of the highest score.
    score: its probability.
    spikes: that the last layer handed on, None for an LSTM.
  """
  start: float
  label: str
  score: float
  spikes: float | None


class Event(NamedTuple):
  """A keyword, the windows in which it was heard, s, and its highest score."""
  start: float
  end: float
  label: str
  score: float


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


def windows(blocks: Iterable[np.ndarray],
            hop: float) -> Iterator[tuple[float, np.ndarray]]:
  """Cuts audio at 16 kHz into windows of a second, `hop` s apart.

  Args:
    blocks: the audio in parts [samples] of any length; of all of them, no more
      is kept than a window needs.
    hop: seconds, rounded to frames of 10 ms.

  Yields:
    (start in seconds, log-mel values [98, 40]). What is left at the end is
    heard by one more window, which ends there.

  Raises:
    ValueError: for a hop below one frame; if the audio is none.
  """
  every, parts = _frames(hop), iter(blocks)
  head = np.zeros(0, np.float32)
  while len(head) <= speech_commands.SAMPLE_RATE:
    part = next(parts, None)
    if part is None:
      yield 0.0, frontend.one_second(head)
      return
    head = np.concatenate([head, part])
  size, start, first = speech_commands.FRAMES, 0, 0
  kept = np.zeros((0, speech_commands.CHANNELS), np.float32)  # from `first` on
  for values in _log_mel(itertools.chain([head], parts)):
    kept = np.concatenate([kept, values])
    while start + size <= first + len(kept):
      yield _SECONDS_PER_FRAME * start, kept[start - first:][:size]
      start += every
    used = max(0, min(start - first, len(kept) - size))
    kept, first = kept[used:], first + used
  last = first + len(kept) - size
  if last > start - every:
    yield _SECONDS_PER_FRAME * last, kept[-size:]


def _frames(hop: float) -> int:
  """Frames from one window to the next."""
  if not math.isfinite(hop) or round(hop / _SECONDS_PER_FRAME) < 1:
    raise ValueError(f'--hop={hop}: expected at least {_SECONDS_PER_FRAME} s.')
  return round(hop / _SECONDS_PER_FRAME)


def _log_mel(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """Yields the frames of the whole audio, [frames, 40], as they are known."""
  kept = np.zeros(0, np.float32)
  for block in blocks:
    kept = np.concatenate([kept, block])
    if len(kept) >= frontend.WINDOW:
      values = frontend.log_mel(kept)
      kept = kept[len(values) * frontend.STEP:]
      yield values


def listen(model: slstm.Model, blocks: Iterable[np.ndarray],
           hop: float) -> Iterator[Heard]:
  """Yields what a model hears in each of the `windows`, which run together."""
  found = windows(blocks, hop)
  while batch := list(itertools.islice(found, _BATCH)):
    starts, values = zip(*batch)
    x = as_input(model, np.stack(values))
    # Of few shapes, for each is compiled.
    room = 1 << (len(x) - 1).bit_length()
    padded = np.pad(x, ((0, room - len(x)), (0, 0), (0, 0)))
    probabilities, spikes = jax.device_get(_run(model, padded))
    for at, scores, sent in zip(starts, probabilities, spikes):
      best = int(np.argmax(scores))
      yield Heard(at, speech_commands.CLASSES[best], float(scores[best]),
                  float(sent) if model.is_spiking else None)  # yapf: disable


@jax.jit
def _run(model: slstm.Model, x: Array) -> tuple[Array, Array]:
  """Probabilities [B, K], and spikes of the last layer [B]; 0 of an LSTM."""

  def sent(record: types.Record) -> Array:
    spikes = record.spikes_of_h
    return jnp.zeros(len(x)) if spikes is None else jnp.abs(spikes).sum(-1)

  forward = slstm.apply(model, x, observe=sent)
  spikes = jnp.sum(forward.observed[-1], axis=(0, 1))
  return jax.nn.softmax(forward.outputs), spikes


def events(heard: Iterable[Heard], threshold: float) -> Iterator[Event]:
  """Joins neighbouring windows of one keyword, of that score at least."""

  def word(window: Heard) -> str | None:
    sure = window.score >= threshold
    known = window.label in speech_commands.KEYWORDS
    return window.label if sure and known else None

  for label, group in itertools.groupby(heard, word):
    if label is not None:
      first, *rest = group
      score = max(window.score for window in (first, *rest))
      end = (rest or [first])[-1].start + _SECONDS
      yield Event(first.start, end, label, score)


def start(run: Callable[[slstm.Model], None]) -> None:
  """Defines --model and calls `run` with it; bad input ends with status 1."""

  flags.DEFINE_string('model', str(RELEASED), 'Work directory of the model.')
  logging.set_verbosity(logging.WARNING)
  binary.run(lambda: run(load(pathlib.Path(flags.FLAGS.model))))


def _hear(model: slstm.Model, path: str, hop: float, threshold: float) -> None:
  """Prints the events of a file as they end, and a summary."""
  began, worked = time.monotonic(), time.process_time()
  stream = frontend.stream_audio(path)
  other = stream[1:] != (speech_commands.SAMPLE_RATE, 1)
  print(f'{path}: {stream.original_rate} Hz, {stream.channels} channel(s)' +
        ', made 16 kHz mono' * other)  # yapf: disable
  print(_LINE.format('from, s', 'to, s', 'word', 'score'), flush=True)
  count, spikes, newest, found = 0, 0.0, Heard(0.0, '', 0.0, None), 0

  def tallied() -> Iterator[Heard]:
    nonlocal count, spikes, newest
    for newest in listen(model, stream.blocks, hop):
      count, spikes = count + 1, spikes + (newest.spikes or 0.0)
      yield newest

  for found, event in enumerate(events(tallied(), threshold), 1):
    _tell(event)
  end = newest.start + _SECONDS
  if count == 1 and not found:
    _tell(Event(newest.start, end, newest.label, newest.score))
  took, work = time.monotonic() - began, time.process_time() - worked
  sent = f', {spikes / count:,.0f} spikes of the last layer per window'
  print(f'  {found} event(s) in {count} window(s){sent * model.is_spiking}\n'
        f'  {end:,.0f} s of audio in {took:.1f} s, {end / took:.0f} times as '
        f'fast as real time ({work:.1f} s of processor time)', flush=True
       )  # yapf: disable


def _tell(event: Event) -> None:
  print(_LINE.format(f'{event.start:.2f}', f'{event.end:.2f}', event.label,
                     f'{event.score:.2f}'), flush=True)  # yapf: disable


def _hear_all(model: slstm.Model) -> None:
  given, bad = flags.FLAGS, 0
  _frames(given.hop)
  for path in given.audio:
    try:
      _hear(model, path, given.hop, given.threshold)
    except (ValueError, OSError) as error:
      print(f'error: {error}', file=sys.stderr, flush=True)
      bad += 1
  if bad:
    raise ValueError(f'{bad} of {len(given.audio)} file(s) could not be heard '
                     'to the end; each is named above.')


if __name__ == '__main__':
  flags.DEFINE_list('audio', None, 'WAV or FLAC files.')
  flags.DEFINE_float('hop', 0.25, 'Seconds from one window to the next.')
  flags.DEFINE_float('threshold', 0.5, 'Least score of a keyword.', 0.0, 1.0)
  flags.mark_flag_as_required('audio')
  start(_hear_all)
