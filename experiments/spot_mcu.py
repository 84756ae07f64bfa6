r"""Keyword spotting on an emulated Cortex-M4: `make demo-mcu`.

  python -m experiments.spot_mcu --audio=FILE.wav,OTHER.flac

The released network in integers is exported as C, compiled for the processor
and run on each file, in windows of a second. Printed is what it hears, how many
instructions that took, and the time at 80 MHz with one instruction per cycle.
The dense int8 LSTM beside it has random weights, on which its instructions do
not depend; it runs two elements. Needs the extra `mcu`.
"""

import pathlib
import tempfile
from typing import NamedTuple

from absl import flags
from absl import logging
import jax
import numpy as np
import rich
import rich.table

from experiments import binary
from experiments import spot
from experiments.bench import emulator
import slstm
from slstm import integer
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import frontend

RELEASED = spot.RELEASED.with_name('gsc_int8.slstm')
CLIPS = pathlib.Path(speech_commands.__file__).with_name('clips')
_MHZ = 80


class Heard(NamedTuple):
  """What was heard in a window, its score, and the instructions it took."""
  label: str
  score: float
  instructions: int


def listen(machine: emulator.Machine, ints: integer.IntegerModel,
           x: np.ndarray) -> Heard:
  """Runs one window [N, D] of log-mel values on the machine."""
  machine.forget()
  outputs = machine.run(integer.features(ints, x[None])[0])
  scores = np.asarray(jax.nn.softmax(outputs * 2.0**-ints.output_bits))
  best = int(scores.argmax())
  return Heard(speech_commands.CLASSES[best], float(scores[best]),
               sum(machine.instructions.values()))


def dense_like(ints: integer.IntegerModel, x: np.ndarray) -> float:
  """Instructions per element of a dense int8 LSTM of the same size."""
  like = slstm.init(jax.random.key(0), num_features=x.shape[-1],
                    hidden_sizes=[k.num_units for k in ints.layers],
                    num_outputs=len(ints.readout_b),
                    config=slstm.Config(family='standard',
                                        pooling=ints.config.pooling),
                    encoder=slstm.standardising(x))  # yapf: disable
  lstm = slstm.quantise(like, x)
  with tempfile.TemporaryDirectory() as folder:
    machine = emulator.Machine(emulator.build(lstm, pathlib.Path(folder)),
                               lstm,
                               count='instructions')
  elements = integer.features(lstm, x[:1, :2])[0]
  machine.run(elements)
  of_steps = machine.instructions
  del of_steps['model_reset'], of_steps['model_classify']
  return sum(of_steps.values()) / len(elements)


def _run() -> None:
  logging.set_verbosity(logging.WARNING)
  given = flags.FLAGS
  paths = given.audio or sorted(map(str, CLIPS.glob('*.flac')))
  ints = slstm.load_integers(given.model)
  heard = []
  features = len(ints.encoder.mean)
  with tempfile.TemporaryDirectory() as folder:
    machine = emulator.Machine(emulator.build(ints, pathlib.Path(folder)),
                               ints,
                               count='instructions')
  table = rich.table.Table('file', 'from, s', 'class', 'score',
                           'instructions, million', f'ms at {_MHZ} MHz')
  for path in paths:
    blocks = frontend.stream_audio(path).blocks
    starts, values = zip(*spot.windows(blocks, given.hop))
    x = np.reshape(values, (len(values), -1, features))
    for start, window in zip(starts, x):
      one = listen(machine, ints, window)
      heard.append(one)
      table.add_row(
          pathlib.Path(path).name, f'{start:.2f}', one.label,
          f'{one.score:.2f}', f'{1e-6 * one.instructions:.2f}',
          f'{1e-3 * one.instructions / _MHZ:.1f}')
  rich.print(table)
  spiking = np.mean([one.instructions for one in heard])
  dense = dense_like(ints, x) * x.shape[1]
  memory = slstm.memory_of_c(ints)
  rich.print(f'A dense int8 LSTM of the same size: {1e-6 * dense:.2f} million '
             f'instructions, {dense / spiking:.1f} times as many.\n'
             f'Flash {memory["flash"] + machine.code:,} bytes, of which '
             f'{memory["weights"]:,} weights; RAM {memory["ram"]:,}, stack '
             f'{machine.stack:,}.')


if __name__ == '__main__':
  flags.DEFINE_string('model', str(RELEASED), 'File of slstm.save_integers.')
  flags.DEFINE_list('audio', None,
                    'WAV or FLAC files; by default the clips of the project.')
  flags.DEFINE_float('hop', 0.25, 'Seconds from one window to the next.')
  binary.run(_run)
