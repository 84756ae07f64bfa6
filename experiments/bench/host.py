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
import importlib
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

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import measure
from experiments.datasets import base
import slstm
from slstm import integer
from slstm.model import read_out

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
# How far outputs may be from those of the float model, in deviations of these:
# of the same computation; of int8, or if a spike may be rounded away.
_SAME, _NEAR = 1e-3, 0.5
_IOFC = (0, 3, 1, 2)  # the gates i, f, g, o in the order of ONNX


class Contender(NamedTuple):
  """What is timed.

  Attributes:
    run: does all sequences once.
    outputs: [B, K], of what `run` returns.
    tolerance: of their `difference` to those of the float model; infinite for
      C, of which every bit is compared with `integer.run`.
    spikes: of h by layer, per unit and element; of C only.
  """
  run: Callable[[], Any]
  outputs: Callable[[Any], np.ndarray]
  tolerance: float
  spikes: tuple[float, ...] = ()


class Key(NamedTuple):
  """What runs, and the name of its model."""
  name: str
  model: str


def _package(name: str) -> Any:
  with base.extra('host'):
    found = importlib.import_module(name)
  return found


# --- Exported C ---------------------------------------------------------------


def compiler() -> tuple[str, ...]:
  """The command of a C compiler: one on PATH, else that of ziglang."""
  for name in 'gcc', 'clang', 'cc':
    found = shutil.which(name)
    if found:
      return (found,)
  _package('ziglang')
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
         command: Sequence[str]) -> Contender:
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
  return Contender(functools.partial(library.run, placed),
                   lambda outputs: scale * outputs, math.inf,
                   expected.spikes)  # yapf: disable


# --- Libraries that are called from Python ------------------------------------


def _pooled_outputs(model: slstm.Model, h: np.ndarray) -> np.ndarray:
  """Outputs [B, K] of the last layer's h, [B, N, H]."""
  h = np.reshape(h, (len(h), -1, model.layers[-1].num_units))
  pools = {'last': h[:, -1], 'mean': h.mean(1), 'max': h.max(1)}
  pooled = np.concatenate([pools[k] for k in model.config.pooling], -1)
  return np.asarray(read_out(model.readout, jnp.asarray(pooled)))


def of_step(model: slstm.Model, x: np.ndarray) -> Contender:
  """Our own step, jitted."""
  units = model.layers[-1].num_units

  @jax.jit
  def step(model: slstm.Model, state: Any, x_n: jax.Array) -> tuple:
    forward = slstm.apply(model, x_n, state=state)
    # Of a single element every pool is its h.
    return forward.pooled[:, :units], forward.state

  sequences = [[jnp.asarray(x_n, jnp.float32)[None, None] for x_n in one]
               for one in x]  # yapf: disable

  def run() -> list:
    found = []
    for one in sequences:
      state = None
      for x_n in one:
        h, state = step(model, state, x_n)
        found.append(h.block_until_ready())
    return found

  def outputs(h: list) -> np.ndarray:
    shape = (*x.shape[:2], units)
    return _pooled_outputs(model, np.reshape(np.asarray(h), shape))

  return Contender(run, outputs, _NEAR if model.is_spiking else _SAME)


def _standardised(model: slstm.Model, x: np.ndarray) -> np.ndarray:
  mean, std = (np.asarray(k) for k in (model.encoder.mean, model.encoder.std))
  return ((x - mean) / std).astype(np.float32)


def _packed(gates: slstm.Gates, order: Sequence[int] = range(4)) -> np.ndarray:
  """Weights [F, H] or biases [H] of all gates as [4H, F] or [4H]."""
  return np.concatenate([np.asarray(gates[k]).T for k in order])


def of_torch(model: slstm.Model, x: np.ndarray, *, whole: bool) -> Contender:
  """torch.nn.LSTM, of one layer or several."""
  torch = _package('torch')
  torch.set_num_threads(1)
  layers, tensor = model.layers, torch.from_numpy
  hidden = layers[0].num_units
  lstm = torch.nn.LSTM(model.num_features, hidden, len(layers)).eval()
  with torch.no_grad():
    for index, layer in enumerate(layers):
      parameters = {'weight_ih': _packed(layer.w),
                    'weight_hh': _packed(layer.u),
                    'bias_ih': _packed(layer.b),
                    'bias_hh': np.zeros(4 * hidden, np.float32)
                   }  # yapf: disable
      for name, value in parameters.items():
        getattr(lstm, f'{name}_l{index}').copy_(tensor(value))
  placed = tensor(_standardised(model, x))[:, :, None]  # [B, N, 1, D]
  sequences = [[one] if whole else list(one.split(1)) for one in placed]

  def run() -> list:
    found = []
    with torch.inference_mode():
      for one in sequences:
        state = None
        for part in one:
          h, state = lstm(part, state)
          found.append(h)
    return found

  def outputs(h: list) -> np.ndarray:
    return _pooled_outputs(model, torch.cat(h).reshape(len(x), -1).numpy())

  return Contender(run, outputs, _SAME)


def graph(model: slstm.Model) -> Any:
  """The layers of an LSTM in ONNX: x [N, 1, D], and the state in and out."""
  onnx = _package('onnx')
  helper, real = onnx.helper, onnx.TensorProto.FLOAT
  value = lambda name, *shape: helper.make_tensor_value_info(name, real, shape)
  constant = onnx.numpy_helper.from_array
  nodes, constants = [], [constant(np.array([1]), 'direction')]
  inputs, outputs = [value('x', 'N', 1, model.num_features)], []
  x = 'x'
  for k, layer in enumerate(model.layers):
    hidden = layer.num_units
    b = np.concatenate([_packed(layer.b, _IOFC), np.zeros(4 * hidden)])
    parameters = {'w': _packed(layer.w, _IOFC), 'u': _packed(layer.u, _IOFC),
                  'b': b}  # yapf: disable
    for name, array in parameters.items():
      constants.append(constant(array[None].astype(np.float32), f'{name}{k}'))
    nodes.append(
        helper.make_node('LSTM',
                         [x, f'w{k}', f'u{k}', f'b{k}', '', f'h{k}', f'c{k}'],
                         [f'directions{k}', f'new_h{k}', f'new_c{k}'],
                         hidden_size=hidden))
    nodes.append(
        helper.make_node('Squeeze', [f'directions{k}', 'direction'], [f'y{k}']))
    x = f'y{k}'
    inputs += [value(f'{name}{k}', 1, 1, hidden) for name in 'hc']
    outputs += [value(f'new_{name}{k}', 1, 1, hidden) for name in 'hc']
  outputs.append(value(x, 'N', 1, model.layers[-1].num_units))
  made = helper.make_graph(nodes, 'lstm', inputs, outputs, constants)
  # Versions that old runtimes know, too.
  opset = helper.make_opsetid('', 17)
  proto = helper.make_model(made, opset_imports=[opset], ir_version=8)
  # Says that nothing has to be prepared; onnxruntime warns without it.
  ready = {'onnx.quant.pre_process': 'onnxruntime.quant'}
  helper.set_model_props(proto, ready)
  return proto


def _quantised(model: Any) -> Any:
  """A graph whose LSTMs have int8 weights; ValueError if one has not."""
  onnx, quantization = map(_package, ('onnx', 'onnxruntime.quantization'))
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'int8.onnx'
    quantization.quantize_dynamic(model,
                                  path,
                                  op_types_to_quantize=['LSTM'],
                                  weight_type=quantization.QuantType.QInt8)
    made = onnx.load(path)
  if 'LSTM' in [node.op_type for node in made.graph.node]:
    raise ValueError('quantize_dynamic left an LSTM in float32.')
  return made


def of_onnx(model: slstm.Model, x: np.ndarray, *, int8: bool,
            whole: bool) -> Contender:
  """ONNX Runtime's LSTM, in float32 or int8."""
  runtime = _package('onnxruntime')
  made = _quantised(graph(model)) if int8 else graph(model)
  options = runtime.SessionOptions()
  options.intra_op_num_threads = options.inter_op_num_threads = 1
  session = runtime.InferenceSession(made.SerializeToString(), options,
                                     ['CPUExecutionProvider'])
  value = runtime.OrtValue.ortvalue_from_numpy
  length = x.shape[1] if whole else 1
  # The state goes to and fro between two places, so there are two bindings.
  states = [{f'{name}{k}': np.zeros((1, 1, layer.num_units), np.float32)
             for k, layer in enumerate(model.layers) for name in 'hc'}
            for _ in range(2)]  # yapf: disable
  x_n = np.zeros((length, 1, model.num_features), np.float32)
  h = np.zeros((length, 1, model.layers[-1].num_units), np.float32)
  bindings = []
  for before, after in (states, states[::-1]):
    binding = session.io_binding()
    binding.bind_ortvalue_input('x', value(x_n))
    binding.bind_ortvalue_output(f'y{len(model.layers) - 1}', value(h))
    for name in before:
      binding.bind_ortvalue_input(name, value(before[name]))
      binding.bind_ortvalue_output(f'new_{name}', value(after[name]))
    bindings.append(binding)
  sequences = _standardised(model, x)
  sequences = sequences.reshape(len(x), -1, *x_n.shape)

  def run() -> list:
    found = []
    for one in sequences:
      for array in states[0].values():
        array[:] = 0
      for n, part in enumerate(one):
        x_n[:] = part
        session.run_with_iobinding(bindings[n % 2])
        found.append(h.copy())
    return found

  def outputs(found: list) -> np.ndarray:
    return _pooled_outputs(model, np.reshape(found, (len(x), -1)))

  return Contender(run, outputs, _NEAR if int8 else _SAME)


# --- Measurement --------------------------------------------------------------


def contenders(
    models: Mapping[str, slstm.Model], calibration: np.ndarray, x: np.ndarray,
    command: Sequence[str]) -> tuple[dict[Key, Contender], dict[str, str]]:
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
  found: dict[Key, Contender] = {}
  for name, model in models.items():
    found[Key(C, name)] = of_c(model, calibration, x, command)
    found[Key(STEP, name)] = of_step(model, x)
  skipped = {}
  peers: dict[str, Callable[..., Contender]] = {
      TORCH: of_torch,
      ONNX: functools.partial(of_onnx, int8=False),
      ONNX_INT8: functools.partial(of_onnx, int8=True),
  }
  for name, peer in peers.items():
    try:
      for suffix in '', WHOLE:
        found[Key(name + suffix, first)] = peer(lstm, x, whole=bool(suffix))
    except ImportError as error:
      skipped[name] = str(error)
  return found, skipped


def difference(contender: Contender, expected: np.ndarray) -> float:
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
