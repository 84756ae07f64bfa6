"""LSTMs trained in torch, from a module or its state dict.

torch stacks the four gates in the order i f g o along the first axis and keeps
transposes of our weights:

  weight_ih [4H, D] = W^T,  weight_hh [4H, H] = U^T,  bias_ih + bias_hh = b

torch is not imported here: a module is asked for what it holds.
"""

import re
from typing import Any, Iterable, Mapping, NamedTuple

import numpy as np

from slstm.importers import stack
from slstm.types import Encoder, Layer, Model

# 'lstm.weight_ih_l0' of a torch.nn.LSTM, 'cell.weight_ih' of an LSTMCell.
_KEY = re.compile(r'(?P<prefix>(?:.*\.)?)(?:weight|bias)_(?P<side>ih|hh|hr)'
                  r'(?P<suffix>(?:_l(?P<number>\d+))?)(?P<reverse>_reverse)?')
# Modules of torch.nn that can be expressed or change nothing at inference. A
# softmax after the head is in the loss of a task, `Task.link`.
_ALLOWED = {
    'LSTM', 'LSTMCell', 'Linear', 'Sequential', 'ModuleList', 'ModuleDict',
    'Identity', 'DataParallel', 'DistributedDataParallel', 'Dropout',
    '_DropoutNd', 'Softmax', 'LogSoftmax', '_Loss'
}  # yapf: disable


class Names(NamedTuple):
  """Where the parameters of a Model stand in a state dict.

  Attributes:
    layers: 'prefix', 'suffix' of each layer; its input weights are called
      prefix + 'weight_ih' + suffix.
    head: prefix of the linear head.
  """
  layers: list[tuple[str, str]]
  head: str


def from_torch(source: Any,
               *,
               pooling: tuple[str, ...] = ('last',),
               encoder: Encoder | None = None) -> Model:
  """Makes an ANN of torch LSTM layers and their linear head.

  Layers follow each other by number, or, if their names differ otherwise, in
  the order in which the module made them. What the `forward` of a module
  computes is not seen, see `slstm.importers`.

  Args:
    source: a torch.nn.Module, or the mapping that its `state_dict()` returns,
      of tensors or NumPy arrays. It has torch.nn.LSTM or LSTMCell, and one
      torch.nn.Linear for the head, under any names and with or without biases.
    pooling: what the head sees, see `Config.pooling`; ('last',) is `out[:, -1]`
      of a batch-first LSTM.
    encoder: input statistics; by default the input is taken as it is.

  Returns:
    A Model whose outputs are those of the head, such as logits.

  Raises:
    ValueError: naming the module, option or entry that cannot be expressed, or
      that does not fit.

  Example:
    model = slstm.from_torch(torch.nn.ModuleList([lstm, head]))
  """
  if hasattr(source, 'named_modules'):
    for name, module in source.named_modules():
      _check_module(name, module)
    source = source.state_dict()
  if not isinstance(source, Mapping):
    raise ValueError(f'from_torch: source is a {type(source).__name__}; '
                     'expected a torch.nn.Module or its state_dict().')
  arrays = {str(name): _array(leaf) for name, leaf in source.items()}
  names = names_of(arrays, 'from_torch')
  layers = [_layer(arrays, *where) for where in names.layers]
  weight, bias = (arrays.get(names.head + kind) for kind in ('weight', 'bias'))
  what = f'from_torch: {names.head or "head."}'.rstrip('.')
  if weight is None or weight.ndim != 2:
    found = 'none' if weight is None else f'shape {weight.shape}'
    raise ValueError(f'{what}: weight has {found}; expected a torch.nn.Linear, '
                     '[K, P H]. Is it a normalisation?')
  head = stack.readout(weight.T, bias, what)
  return stack.build(layers,
                     head,
                     'from_torch',
                     pooling=pooling,
                     encoder=encoder)


def _check_module(name: str, module: Any) -> None:
  """Raises ValueError where a module is no part of what a Model is."""
  kinds = {
      kind.__name__
      for kind in type(module).__mro__
      if kind.__module__.startswith('torch.nn')
  } - {'Module'}
  where = f'from_torch: {name or "the module"}, a {type(module).__name__},'
  if kinds and not kinds & _ALLOWED:
    raise ValueError(f'{where} cannot be expressed; expected LSTM layers and '
                     'one Linear after them.')
  if 'LSTM' in kinds:
    for option, expected in (('bidirectional', False), ('proj_size', 0)):
      if getattr(module, option) != expected:
        raise ValueError(f'{where} has {option}={getattr(module, option)}; '
                         f'expected {option}={expected}.')


def names_of(names: Iterable[str], what: str) -> Names:
  """Finds the layers and the head; ValueError naming what is something else."""
  found = {name: _KEY.fullmatch(name) for name in names}
  matches = {name: match for name, match in found.items() if match}
  for name, match in matches.items():
    if match['reverse'] or match['side'] == 'hr':
      option = 'bidirectional' if match['reverse'] else 'proj_size'
      raise ValueError(f'{what}: entry {name} is of a layer with {option}; '
                       'expected one direction and no projection.')
  if not matches:
    raise ValueError(f'{what}: no LSTM among the entries {_listed(found)}; '
                     "expected some such as 'lstm.weight_ih_l0'. A quantised "
                     'module has others.')
  # Modules by number or in the order in which they were made; then layers.
  modules = list(dict.fromkeys(match['prefix'] for match in matches.values()))
  modules = stack.numbered(modules) or modules
  layers = sorted({(m['prefix'], m['suffix']) for m in matches.values()},
                  key=lambda layer:
                  (modules.index(layer[0]), int(layer[1][2:] or 0)))
  rest = [name for name in found if name not in matches]
  heads = {name.removesuffix(name.rpartition('.')[2]) for name in rest}
  kinds = {name.rpartition('.')[2] for name in rest}
  if len(heads) != 1 or not kinds <= {'weight', 'bias'}:
    raise ValueError(
        f'{what}: beside LSTM layers there are the entries {_listed(rest)}; '
        "expected weight and bias of one linear head. Peepholes, learnt first "
        'states, normalisations and further layers cannot be expressed. A bare '
        'LSTM can be joined with its head: torch.nn.ModuleList([lstm, head]).')
  return Names(layers, heads.pop())


def _listed(names: Iterable[str]) -> str:
  return ', '.join(names) or '(none)'


def _layer(arrays: Mapping[str, np.ndarray], prefix: str, suffix: str) -> Layer:
  for kind in ('weight_ih', 'weight_hh'):
    if f'{prefix}{kind}{suffix}' not in arrays:
      raise ValueError(f'from_torch: {prefix}{kind}{suffix} is missing. Is the '
                       'state dict complete?')
  w, u = (arrays[f'{prefix}weight_{side}{suffix}'] for side in ('ih', 'hh'))
  names = [f'{prefix}bias_{side}{suffix}' for side in ('ih', 'hh')]
  biases = [arrays[name] for name in names if name in arrays]
  return stack.layer(w.T, u.T,
                     sum(biases) if biases else None,
                     f'from_torch: {prefix}*{suffix}')


def _array(leaf: Any) -> np.ndarray:
  """A tensor, of any device and dtype, or an array, in float32 or wider."""
  if hasattr(leaf, 'detach'):
    leaf = leaf.detach().cpu()
    return (leaf.float() if leaf.element_size() < 4 else leaf).numpy()
  return np.asarray(leaf)
