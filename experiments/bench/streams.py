"""LSTMs that are called from Python, one element at a time or all at once.

  of_step   `slstm.apply` on one element, jitted, which hands its state on
  of_torch  torch.nn.LSTM, float32, in inference mode
  of_onnx   ONNX Runtime's LSTM in float32, or DynamicQuantizeLSTM of int8
            weights, with bound memory, so that no array is copied

`experiments.bench.host` times them beside exported C. PyTorch and ONNX Runtime
are the extra `host`.
"""

import importlib
import pathlib
import tempfile
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.datasets import base
import slstm
from slstm.model import read_out

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


def package(name: str) -> Any:
  """A module of the extra `host`."""
  with base.extra('host'):
    found = importlib.import_module(name)
  return found


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
  torch = package('torch')
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
  onnx = package('onnx')
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
  onnx, quantization = map(package, ('onnx', 'onnxruntime.quantization'))
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
  runtime = package('onnxruntime')
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
