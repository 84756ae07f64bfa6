"""LSTMs trained in flax.linen."""

from typing import Any, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from slstm import borders
from slstm.importers import stack
from slstm.types import Encoder, Gates, Layer, Model, Readout


def layer_from_linen(cell: Mapping[str, Any]) -> Layer:
  """Makes a Layer of the parameters of one flax.linen LSTM cell.

  `linen.OptimizedLSTMCell` and `linen.LSTMCell` have 'ii', 'if', 'ig', 'io'
  with a kernel [D, H], and 'hi', 'hf', 'hg', 'ho' with a kernel [H, H] and a
  bias [H].
  """
  try:
    features, hidden = np.shape(cell['ii']['kernel'])
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
        "layer_from_linen: cell['ii']['kernel'] of shape [D, H] is missing. "
        'Are these the parameters of one LSTM cell, such as '
        "variables['params']['cell'] of a linen.RNN?") from error
  from_x: dict[str, Any] = {'kernel': np.zeros((features, hidden))}
  from_h = {'kernel': np.zeros((hidden, hidden)), 'bias': np.zeros(hidden)}
  template = {'i' + gate: from_x for gate in Gates._fields}
  template |= {'h' + gate: from_h for gate in Gates._fields}
  borders.check_leaves(dict(cell), template, 'layer_from_linen')
  pick = lambda letter, kind: Gates(*(jnp.asarray(cell[letter + gate][kind])
                                      for gate in Gates._fields))
  return Layer(pick('i', 'kernel'), pick('h', 'kernel'), pick('h', 'bias'))


def from_linen(cells: Sequence[Mapping[str, Any]],
               dense: Mapping[str, Any],
               *,
               pooling: tuple[str, ...] = ('last',),
               encoder: Encoder | None = None) -> Model:
  """Makes a 'standard' ANN of flax.linen LSTM cells and a linen.Dense read-out.

  Args:
    cells: parameters of the cells, first layer to last.
    dense: 'kernel' [P H, K] and 'bias' [K].
    pooling: what the read-out sees, see `Config.pooling`.
    encoder: input statistics; by default the input is taken as it is.

  Raises:
    ValueError: naming the leaf that is missing, not expected, of another shape
      or not finite.

  Example:
    model = slstm.from_linen([params['cell']], params['Dense_0'])
  """
  layers = tuple(layer_from_linen(cell) for cell in cells)
  if not layers:
    raise ValueError('from_linen: no cells; expected at least one.')
  classes = np.shape(dense.get('kernel', 0))[-1:]
  rows = len(pooling) * layers[-1].num_units
  template = {'kernel': np.zeros((rows, *classes)), 'bias': np.zeros(classes)}
  borders.check_leaves(dict(dense), template, 'from_linen: dense')
  readout = Readout(jnp.asarray(dense['kernel']), jnp.asarray(dense['bias']))
  return stack.build(layers,
                     readout,
                     'from_linen',
                     pooling=pooling,
                     encoder=encoder)
