"""Source networks that were trained elsewhere, as slstm parameters.

flax.linen names the matrices of an LSTM `i` + gate for the input and `h` +
gate for the recurrence, and keeps the bias with the latter. Its LSTM is the
'standard' family: run it with Config(family='standard').
"""

from typing import Any, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from slstm import coverage
from slstm import encoders
from slstm.types import Encoder, Gates, Layer, Params, Readout

_GATES = Gates._fields


def layer_from_linen(cell: Mapping[str, Any]) -> Layer:
  """Makes a Layer of the parameters of one flax.linen LSTM cell.

  Args:
    cell: parameters of `linen.OptimizedLSTMCell` or `linen.LSTMCell`: 'ii',
      'if', 'ig', 'io' with a kernel [D, H], and 'hi', 'hf', 'hg', 'ho' with a
      kernel [H, H] and a bias [H].

  Returns:
    A Layer without neurons.

  Raises:
    ValueError: naming the leaf, where one is missing, not expected, of another
      shape, or not finite.
  """
  try:
    features, hidden = np.shape(cell['ii']['kernel'])
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
        "layer_from_linen: cell['ii']['kernel'] of shape [D, H] is "
        'missing. Are these the parameters of one LSTM cell, such '
        "as variables['params']['cell'] of a linen.RNN?") from error
  template: dict[str, Any] = {
      'i' + gate: {
          'kernel': np.zeros((features, hidden), np.float32)
      } for gate in _GATES
  }
  template |= {
      'h' + gate: {
          'kernel': np.zeros((hidden, hidden), np.float32),
          'bias': np.zeros((hidden,), np.float32)
      } for gate in _GATES
  }
  coverage.check_leaves(dict(cell), template, 'layer_from_linen')
  pick = lambda letter, kind: Gates(*(jnp.asarray(cell[letter + gate][kind])
                                      for gate in _GATES))
  return Layer(pick('i', 'kernel'), pick('h', 'kernel'), pick('h', 'bias'))


def from_linen(cells: Sequence[Mapping[str, Any]],
               dense: Mapping[str, Any],
               encoder: Encoder | None = None) -> Params:
  """Makes Params of flax.linen LSTM cells and a linen.Dense read-out.

  Args:
    cells: parameters of the cells, first layer to last.
    dense: 'kernel' [P H, K] and 'bias' [K].
    encoder: input statistics; by default the input is taken as it is.

  Returns:
    Params of an ANN.

  Raises:
    ValueError: naming what does not fit.
  """
  layers = tuple(layer_from_linen(cell) for cell in cells)
  if not layers:
    raise ValueError('from_linen: no cells; expected at least one.')
  for below, (index, layer) in zip(layers, enumerate(layers[1:], 1)):
    given, expected = layer.w.i.shape[0], below.u.i.shape[0]
    if given != expected:
      raise ValueError(f'from_linen: cell {index} takes {given} features; '
                       f'expected {expected}, the units of the cell below.')
  hidden = layers[-1].u.i.shape[0]
  rows, classes = (*np.shape(dense.get('kernel', 0)), 0, 0)[:2]
  pools = max(1, round(rows / hidden))
  template = {
      'kernel': np.zeros((pools * hidden, classes), np.float32),
      'bias': np.zeros((classes,), np.float32)
  }
  coverage.check_leaves(dict(dense), template, 'from_linen: dense')
  return Params(
      encoder or encoders.identity(layers[0].w.i.shape[0]), layers,
      Readout(jnp.asarray(dense['kernel']), jnp.asarray(dense['bias'])))
