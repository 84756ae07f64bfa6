"""Exported C on this machine, beside LSTMs of other libraries.

All run the same sequences one element at a time, on one thread, as a stream
does: the output h of an element is there before the next element is taken.

  C              exported, compiled for this CPU, called by a loop in C, so that
                 no call from Python counts; with read-out and saturation
  slstm          `slstm.apply` on one element, jitted, which hands its state on;
                 a call from Python per element
  torch          torch.nn.LSTM, float32, in inference mode; the same
  ONNX Runtime   LSTM in float32, or DynamicQuantizeLSTM of int8 weights; the
                 same, with bound memory, so that no array is copied

Torch and ONNX Runtime are also timed with all elements in one call ('whole').
No stream can do that, for it needs the end of the sequence; it is what they
take without the calls from Python. The input of all of them is standardised
before, and laid out element by element; h is read out afterwards.

What is measured is the CPU time of all threads of the process. On a machine
that does nothing else it is the time that passes.

PyTorch, ONNX Runtime and a compiler, where there is none, are the extra `host`.
"""

import ctypes
import functools
import math
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import jax.numpy as jnp
import numpy as np

from experiments.bench import measure
from experiments.bench import streams
import slstm
from slstm import integer

C, STEP, TORCH = 'C', 'slstm', 'torch'
ONNX, ONNX_INT8 = 'ONNX Runtime float32', 'ONNX Runtime int8'
WHOLE = ', whole'
# What the times of the others are compared with.
BASELINES = (TORCH, TORCH + WHOLE, ONNX_INT8, ONNX_INT8 + WHOLE)

_FLAGS = ('-std=c99', '-O3', '-march=native', '-shared', '-fPIC')
_LOOP = '''\
#include "model.h"

/* Outputs of sequences, one element at a time. */
void run(const model_feature *x, int32_t sequences, int32_t elements,
         int32_t *outputs) {
  static model_state state;
  for (int32_t b = 0; b < sequences; ++b, outputs += NUM_OUTPUTS) {
    model_reset(&state);
    for (int32_t n = 0; n < elements; ++n, x += NUM_FEATURES) {
      model_step(&state, x);
    }
    model_classify(&state, outputs);
  }
}
'''


class Key(NamedTuple):
  """What runs, and the name of its model."""
  name: str
  model: str


# --- Exported C ---------------------------------------------------------------


def compiler() -> tuple[str, ...]:
  """The command of a C compiler: one on PATH, else that of ziglang."""
  for name in 'gcc', 'clang', 'cc':
    found = shutil.which(name)
    if found:
      return (found,)
  streams.package('ziglang')
  return sys.executable, '-m', 'ziglang', 'cc'


def version(command: Sequence[str]) -> str:
  """The first line of what a compiler says of itself."""
  found = subprocess.run([*command, '--version'], capture_output=True,
                         text=True, check=False)  # yapf: disable
  return (found.stdout.splitlines() or ['unknown'])[0]


class Library:
  """An exported network, compiled for this machine."""

  def __init__(self, model: integer.IntegerModel, command: Sequence[str] = ()):
    self._model = model
    # Where a library that is in use cannot be removed, it stays.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
      folder = pathlib.Path(made)
      slstm.export_c(model, folder)
      (folder / 'loop.c').write_text(_LOOP, encoding='utf-8')
      done = subprocess.run(
          [*(command or compiler()), *_FLAGS, '-o', 'model.so', 'loop.c',
           'model.c'], cwd=folder, capture_output=True, text=True,
          check=False)  # yapf: disable
      if done.returncode:
        raise ValueError(f'the exported C does not compile:\n{done.stderr}')
      self._run = ctypes.CDLL(str(folder / 'model.so')).run
    self._run.restype = None

  def place(self, x: np.ndarray) -> np.ndarray:
    """`integer.features` [B, N, D] as the network takes them."""
    return np.ascontiguousarray(x, self._model.encoder.dtype)

  def run(self, x: np.ndarray) -> np.ndarray:
    """Outputs [B, K] of features that `place` returned, as integers."""
    outputs = np.empty((len(x), len(self._model.readout_b)), np.int32)
    pointer = lambda array: ctypes.c_void_p(array.ctypes.data)
    size = ctypes.c_int32
    self._run(pointer(x), size(len(x)), size(x.shape[1]), pointer(outputs))
    return outputs


def of_c(model: slstm.Model, calibration: np.ndarray, x: np.ndarray,
         command: Sequence[str]) -> streams.Contender:
  """Exported C; ValueError if it does not give what `integer.run` gives."""
  ints = slstm.quantise(model, calibration)
  library = Library(ints, command)
  q = integer.features(ints, x)
  expected = integer.run(ints, q, add=integer.add_product)
  placed = library.place(q)
  if not np.array_equal(library.run(placed), expected.outputs):
    raise ValueError('the outputs of the exported C are not those of '
                     'integer.run.')
  scale = 2.0**-ints.output_bits
  return streams.Contender(functools.partial(library.run, placed),
                   lambda outputs: scale * outputs, math.inf,
                   expected.spikes)  # yapf: disable


# --- Measurement --------------------------------------------------------------


def contenders(
    models: Mapping[str, slstm.Model], calibration: np.ndarray, x: np.ndarray,
    command: Sequence[str]
) -> tuple[dict[Key, streams.Contender], dict[str, str]]:
  """All that is timed, and why some of it is skipped.

  Args:
    models: by name; the first is an LSTM that other libraries have, too.
    calibration: training inputs, for `slstm.quantise`.
    x: sequences [B, N, D].
    command: of the compiler.

  Raises:
    ValueError: if the first model is none that they have, or outputs differ.
  """
  first, lstm = next(iter(models.items()))
  units = {layer.num_units for layer in lstm.layers}
  if (lstm.is_spiking or lstm.config.family != 'standard' or
      lstm.encoder.neuron is not None or len(units) > 1):
    raise ValueError(f'{first} is the model that other libraries run; expected '
                     "an LSTM of family 'standard' without spikes, whose "
                     'layers have one size.')
  found: dict[Key, streams.Contender] = {}
  for name, model in models.items():
    found[Key(C, name)] = of_c(model, calibration, x, command)
    found[Key(STEP, name)] = streams.of_step(model, x)
  skipped = {}
  peers: dict[str, Callable[..., streams.Contender]] = {
      TORCH: streams.of_torch,
      ONNX: functools.partial(streams.of_onnx, int8=False),
      ONNX_INT8: functools.partial(streams.of_onnx, int8=True),
  }
  for name, peer in peers.items():
    try:
      for suffix in '', WHOLE:
        found[Key(name + suffix, first)] = peer(lstm, x, whole=bool(suffix))
    except ImportError as error:
      skipped[name] = str(error)
  return found, skipped


def difference(contender: streams.Contender, expected: np.ndarray) -> float:
  """Largest difference of an output, over the deviation of all of them."""
  outputs = contender.outputs(contender.run())
  return float(np.abs(outputs - expected).max() / expected.std())


def measure_all(models: Mapping[str, slstm.Model],
                calibration: np.ndarray,
                x: np.ndarray,
                command: Sequence[str] = (),
                **how: Any) -> dict[str, Any]:
  """Times C and all others in turns; arguments as of `contenders`, `in_turns`.

  Returns:
    A row per contender: median and quartiles in us per element, `difference`,
    `spikes`, and as `times` how many times faster than each of `BASELINES` it
    is; what is skipped, and why; the number of rounds.

  Raises:
    ValueError: if a contender does not give the outputs of its model.
  """
  command = tuple(command) or compiler()
  found, skipped = contenders(models, calibration, x, command)
  expected = {k: np.asarray(slstm.predict(model, jnp.asarray(x, jnp.float32)))
              for k, model in models.items()}  # yapf: disable
  differences = {}
  for key, one in found.items():
    differences[key] = difference(one, expected[key.model])
    if not differences[key] <= one.tolerance:
      raise ValueError(f'outputs of {key.name}, model {key.model}, are '
                       f'{differences[key]:.2g} deviations from those of the '
                       f'float model; expected at most {one.tolerance:g}.')
  taken = measure.in_turns({key: one.run for key, one in found.items()},
                           clock=time.process_time, **how)  # yapf: disable
  us = {key: 1e6 / x[..., 0].size * np.quantile(seconds, (.25, .5, .75))
        for key, seconds in taken.items()}  # yapf: disable
  baselines = {key.name: us[key][1] for key in found if key.name in BASELINES}
  rows = [{
      **key._asdict(),
      'us': float(us[key][1]),
      'quartiles_us': us[key][[0, 2]].tolist(),
      'times': {name: float(base / us[key][1])
                for name, base in baselines.items()},
      'difference': differences[key],
      'spikes': found[key].spikes,
  } for key in found]  # yapf: disable
  return {
      'rows': rows,
      'skipped': skipped,
      'rounds': len(next(iter(taken.values()))),
      'compiler': version(command),
      'flags': list(_FLAGS)
  }


# --- The machine --------------------------------------------------------------


def cpu() -> str:
  """The name of the processor, as the system has it."""
  info = pathlib.Path('/proc/cpuinfo')
  if info.exists():
    lines = info.read_text(encoding='utf-8').splitlines()
    for field in 'model name', 'Model':
      for line in lines:
        if line.partition(':')[0].strip() == field:
          return line.partition(':')[2].strip()
  return platform.processor() or platform.machine()


def use_one_cpu() -> None:
  """Binds all threads of this process to one CPU, where the system can."""
  if hasattr(os, 'sched_setaffinity'):
    one = {max(os.sched_getaffinity(0))}
    for thread in pathlib.Path('/proc/self/task').iterdir():
      os.sched_setaffinity(int(thread.name), one)
