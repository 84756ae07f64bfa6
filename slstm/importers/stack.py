"""What all imports end with: layers and a head, as a checked Model."""

import re
from typing import Any, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from slstm import borders
from slstm import model as model_lib
from slstm import types
from slstm.types import Array, Config, Encoder, Gates, Layer, Model, Readout

# Pairs of activation functions that a family of ours computes, by name.
FAMILIES = {
    ('sigmoid', 'tanh'): 'standard',
    ('hard_sigmoid', 'hard_tanh'): 'hard',
}


def floating(array: Any) -> Array:
  """A leaf in float32 or wider, since no leaf of a Model is narrower."""
  leaf = jnp.asarray(array)
  return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def layer(w: Any, u: Any, b: Any, what: str, order: str = 'ifgo') -> Layer:
  """A Layer of weights whose gates are packed side by side.

  Args:
    w, u, b: [D, 4H], [H, 4H], [4H]; b is None for a layer without biases.
    what: the function and the name of the layer, for errors.
    order: of the four gates.

  Raises:
    ValueError: if they are not the weights of an LSTM.
  """
  w, u = floating(w), floating(u)
  types.check_shape(f'{what}: recurrent weights', u, 'H 4H')
  hidden = u.shape[0]
  other = {hidden: 'a simple RNN', 3 * hidden: 'a GRU'}.get(u.shape[1])
  if other:
    raise ValueError(f'{what}: recurrent weights have shape {u.shape}, which '
                     f'are those of {other}; expected an LSTM, [H, 4H].')
  sizes = {'4H': 4 * hidden}
  types.check_shape(f'{what}: recurrent weights', u, 'H 4H', **sizes)
  types.check_shape(f'{what}: input weights', w, 'D 4H', **sizes)
  b = jnp.zeros(4 * hidden, u.dtype) if b is None else floating(b)
  types.check_shape(f'{what}: biases', b, '4H', **sizes)

  def gates(leaf: Array) -> Gates:
    parts = dict(zip(order, jnp.split(leaf, 4, axis=-1)))
    return Gates(**parts)

  return Layer(gates(w), gates(u), gates(b))


def readout(w: Any, b: Any, what: str) -> Readout:
  """A Readout of w [P H, K] and b [K], or None for a head without a bias."""
  w = floating(w)
  types.check_shape(f'{what}: weights', w, 'PH K')
  b = jnp.zeros(w.shape[1], w.dtype) if b is None else floating(b)
  types.check_shape(f'{what}: bias', b, 'K', K=w.shape[1])
  return Readout(w, b)


def numbered(names: Sequence[str]) -> list[str] | None:
  """Names that differ in their numbers alone, by these; None for others."""
  if len({re.sub(r'\d+', '', name) for name in names}) > 1:
    return None
  return sorted(names,
                key=lambda name: list(map(int, re.findall(r'\d+', name))))


def family(gate: str, candidate: str, what: str) -> str:
  """`Config.family` of the functions of i, f, o and of g, c, by name.

  Raises:
    ValueError: if there is no such family.
  """
  if (gate, candidate) not in FAMILIES:
    known = ' or '.join(' and '.join(pair) for pair in FAMILIES)
    raise ValueError(f'{what}: its gates are activated by {gate}, candidate '
                     f'and cell state by {candidate}; expected {known}.')
  return FAMILIES[gate, candidate]


def build(
    layers: Sequence[Layer],
    head: Readout,
    what: str,
    *,
    pooling: tuple[str, ...],
    encoder: Encoder | None,
    families: Sequence[str] = ('standard',)) -> Model:
  """Makes an ANN, all of whose leaves were checked.

  Args:
    layers: first to last, at least one.
    head: on the pooled output of the last layer.
    what: the function that is called, for errors.
    pooling: what the head sees, see `Config.pooling`.
    encoder: input statistics; by default the input is taken as it is.
    families: `Config.family` of every layer; they have to agree.

  Raises:
    ValueError: naming what does not fit, or is not finite.
  """
  if len(set(families)) > 1:
    raise ValueError(f'{what}: its layers are of the families '
                     f'{", ".join(sorted(set(families)))}; expected one.')
  if encoder is None:
    features = layers[0].w.i.shape[0]
    encoder = Encoder(jnp.zeros(features), jnp.ones(features))
  model = Model(encoder, tuple(layers), head,
                Config(family=families[0], pooling=tuple(pooling)))
  try:
    model_lib.check_model(model)
    borders.check_encoder(encoder, 'encoder')
  except ValueError as error:
    raise ValueError(f'{what}: {error}') from error
  borders.check_finite(model, what)
  return model


def fold_encoder(model: Model) -> Layer:
  """The first layer, with a direct encoder's mean and std folded in.

  W (x - mean) / std + b = (W / std) x + (b - W mean / std), in float64.
  """
  first, encoder = model.layers[0], model.encoder
  mean, std = (np.asarray(leaf, np.float64) for leaf in encoder[:2])
  wide = lambda leaf: np.asarray(leaf, np.float64)
  w = Gates(*(wide(gate) / std[:, None] for gate in first.w))
  b = Gates(*(wide(gate) - mean @ scaled for gate, scaled in zip(first.b, w)))
  folded = first._replace(w=w, b=b)
  return jax.tree.map(lambda new, old: np.asarray(new, old.dtype), folded,
                      first)
