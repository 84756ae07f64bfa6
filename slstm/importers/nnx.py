"""LSTMs trained in flax.nnx, from the module itself."""

from typing import Any, Iterator, Mapping, Sequence

from flax import nnx
import jax.numpy as jnp

from slstm.importers import stack
from slstm.types import Array, Encoder, Layer, Model

# Of the activation functions that a family of ours has.
_NAMES = {
    nnx.sigmoid: 'sigmoid',
    nnx.hard_sigmoid: 'hard_sigmoid',
    nnx.tanh: 'tanh',
    nnx.hard_tanh: 'hard_tanh',
}
_CELLS = (nnx.LSTMCell, nnx.OptimizedLSTMCell)
_SOFTMAX = (nnx.softmax, nnx.log_softmax)  # after the head, see `Task.link`
_RANDOM = (nnx.Rngs, nnx.RngStream)


def from_nnx(source: Any,
             *,
             pooling: tuple[str, ...] = ('last',),
             encoder: Encoder | None = None) -> Model:
  """Makes an ANN of nnx LSTM cells and their linear head.

  Layers follow each other as in a list, or by the numbers in the names of
  attributes. flax sorts attributes when it updates a module, so that layers
  with other names have to be listed: from_nnx([m.first, m.second, m.head]).
  What the `__call__` of a module computes is not seen, see `slstm.importers`.

  Args:
    source: a flax.nnx.Module that has nnx.RNN of nnx.LSTMCell or
      nnx.OptimizedLSTMCell, or the cells alone, and one nnx.Linear for the
      head; or a list of those, first to last.
    pooling: what the head sees, see `Config.pooling`; ('last',) is `h[:, -1]`.
    encoder: input statistics; by default the input is taken as it is.

  Returns:
    A Model whose outputs are those of the head, such as logits; of family
    'hard' if the activations are nnx.hard_sigmoid and nnx.hard_tanh.

  Raises:
    ValueError: naming the part or option that cannot be expressed, or that does
      not fit.

  Example:
    model = slstm.from_nnx([nnx.RNN(cell, rngs=rngs), head])
  """
  parts = dict(_parts(source, 'source'))
  cells = {k: part for k, part in parts.items() if isinstance(part, _CELLS)}
  heads = [name for name in parts if name not in cells]
  if not cells or len(heads) != 1:
    raise ValueError(f'from_nnx: found {len(cells)} LSTM cells and the Linear '
                     f'layers {", ".join(heads) or "(none)"}; expected at '
                     'least one cell and one Linear, the head.')
  head = parts[heads[0]]
  return stack.build(
      [_layer(cell, f'from_nnx: {name}') for name, cell in cells.items()],
      stack.readout(_value(head.kernel), _value(head.bias),
                    f'from_nnx: {heads[0]}'),
      'from_nnx',
      pooling=pooling,
      encoder=encoder,
      families=[
          _family(cell, f'from_nnx: {name}') for name, cell in cells.items()
      ])


def _parts(node: Any, where: str) -> Iterator[tuple[str, Any]]:
  """The LSTM cells and Linear layers in a module, by path, in order."""
  kind, what = type(node).__name__, f'from_nnx: {where}'
  if type(node) in (*_CELLS, nnx.Linear):
    yield where, node
  elif isinstance(node, nnx.Bidirectional):
    raise ValueError(f'{what} is an nnx.Bidirectional; expected one direction.')
  elif isinstance(node, nnx.RNNCellBase) or isinstance(
      node, nnx.Linear | nnx.Variable):
    raise ValueError(f'{what}, a {kind}, cannot be expressed; expected '
                     'LSTMCell, OptimizedLSTMCell and one Linear after them.')
  elif isinstance(node, nnx.RNN):
    if node.reverse:
      raise ValueError(f'{what} has reverse=True; expected reverse=False.')
    yield from _parts(node.cell, f'{where}.cell')
  elif isinstance(node, nnx.Module | Sequence |
                  Mapping) and not isinstance(node, (*_RANDOM, str)):
    for name, child in _children(node, what):
      is_step = callable(child) and not isinstance(child, nnx.Module)
      if is_step and isinstance(node, Sequence) and child not in _SOFTMAX:
        raise ValueError(f'{what}{name} is the function '
                         f'{getattr(child, "__name__", child)}; expected LSTM '
                         'layers and one Linear after them.')
      yield from _parts(child, f'{where}{name}')


def _children(node: Any, what: str) -> Iterator[tuple[str, Any]]:
  """What a container holds, by name, layers in their order."""
  if isinstance(node, Sequence):
    yield from ((f'[{index}]', child) for index, child in enumerate(node))
    return
  items = node.items() if isinstance(node, Mapping) else vars(node).items()
  children = {k: child for k, child in items if not k.startswith('_')}
  layers = [k for k, child in children.items() if _has_cell(child)]
  order = stack.numbered(layers)
  if order is None:
    raise ValueError(f'{what} has LSTM layers under the names '
                     f'{", ".join(layers)}, whose order is not known; expected '
                     'a list of them and the head, in order.')
  rest = [k for k in children if k not in layers]
  yield from ((f'.{name}', children[name]) for name in (*order, *rest))


def _has_cell(node: Any) -> bool:
  """Whether there is a recurrent cell in a module or container."""
  if isinstance(node, Sequence | Mapping) and not isinstance(node, str):
    children = node.values() if isinstance(node, Mapping) else node
    return any(map(_has_cell, children))
  return isinstance(node, nnx.Module) and any(
      isinstance(module, nnx.RNNCellBase)
      for _, module in nnx.iter_modules(node))


def _layer(cell: Any, what: str) -> Layer:
  if isinstance(cell, nnx.OptimizedLSTMCell):
    w, u = [cell.dense_i], [cell.dense_h]
  else:
    w = [cell.ii, cell.if_, cell.ig, cell.io]
    u = [cell.hi, cell.hf, cell.hg, cell.ho]
  pack = lambda leaves: jnp.concatenate([leaf[...] for leaf in leaves], -1)
  return stack.layer(pack([dense.kernel for dense in w]),
                     pack([dense.kernel for dense in u]),
                     pack([dense.bias for dense in u]), what)


def _family(cell: Any, what: str) -> str:
  if cell.carry_init is not None:
    raise ValueError(f'{what} has a carry_init; expected none, as h and c '
                     'start from zero.')
  gate, candidate = (_NAMES.get(function,
                                getattr(function, '__name__', str(function)))
                     for function in (cell.gate_fn, cell.activation_fn))
  return stack.family(gate, candidate, what)


def _value(variable: Any) -> Array | None:
  return None if variable is None else variable[...]
