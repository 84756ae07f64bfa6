"""LSTMs trained in Keras, from a model or its list of weights.

Keras packs the gates side by side in the order i f g o, and calls g the
candidate c. Its kernels [D, 4H] and [H, 4H] are W and U; a layer has one bias.
Keras is not imported here: a model is asked for its layers, their options and
their weights.
"""

from typing import Any, Iterator, Sequence

import numpy as np

from slstm.importers import stack
from slstm.types import Encoder, Layer, Model, Readout

_POOLS = {'GlobalAveragePooling1D': 'mean', 'GlobalMaxPooling1D': 'max'}
# Layers that do nothing at inference.
_IDLE = ('InputLayer', 'Dropout', 'SpatialDropout1D', 'GaussianNoise',
         'GaussianDropout')
# Options of LSTM that are not expressed, unless they are off.
_OFF = ('go_backwards', 'stateful', 'return_state')


def from_keras(source: Any,
               *,
               pooling: tuple[str, ...] | None = None,
               encoder: Encoder | None = None) -> Model:
  """Makes an ANN of Keras LSTM layers and their Dense head.

  Args:
    source: a keras.Model of keras.layers.LSTM, then GlobalAveragePooling1D or
      GlobalMaxPooling1D if the last LSTM returns sequences, then one Dense;
      or the list that its `get_weights()` returns, all of whose layers have
      biases, and the activations sigmoid and tanh.
    pooling: what the head sees, see `Config.pooling`; for a list of weights
      only, by default ('last',). A model says it itself.
    encoder: input statistics; by default the input is taken as it is.

  Returns:
    A Model whose outputs are those of the head before its softmax or sigmoid,
    if it has one: logits. It is of family 'hard' if the activations of all
    LSTM layers are hard_tanh and hard_sigmoid.

  Raises:
    ValueError: naming the layer or option that cannot be expressed, or that
      does not fit.

  Example:
    model = slstm.from_keras(keras.Sequential([
        keras.layers.LSTM(64, return_sequences=True), keras.layers.LSTM(64),
        keras.layers.Dense(6)]))
  """
  if hasattr(source, 'layers'):
    if pooling is not None:
      raise ValueError(f'from_keras: pooling is {pooling}; expected none, as '
                       'the layers of a model say it.')
    layers, families, head, pooling = _read_model(source)
  elif isinstance(source, (list, tuple)):
    layers, head = _read_weights([np.asarray(array) for array in source])
    families, pooling = ['standard'], pooling or ('last',)
  else:
    raise ValueError(f'from_keras: source is a {type(source).__name__}; '
                     'expected a keras.Model or its get_weights().')
  return stack.build(layers,
                     head,
                     'from_keras',
                     pooling=pooling,
                     encoder=encoder,
                     families=families)


def _flat(model: Any) -> Iterator[Any]:
  """Layers of a model and of the models in it."""
  for layer in model.layers:
    if hasattr(layer, 'layers'):
      yield from _flat(layer)
    else:
      yield layer


def _read_model(
    model: Any) -> tuple[list[Layer], list[str], Readout, tuple[str, ...]]:
  """(layers, family of each, head, pooling) of a keras.Model."""
  steps = [x for x in _flat(model) if type(x).__name__ not in _IDLE]
  kinds = [type(layer).__name__ for layer in steps]
  count = next((k for k, kind in enumerate(kinds) if kind != 'LSTM'),
               len(kinds))
  pools = kinds[count:-1]
  for layer, kind in zip(steps, kinds):
    if kind not in ('LSTM', 'Dense', *_POOLS):
      raise ValueError(f'from_keras: layer {layer.name}, a {kind}, cannot be '
                       'expressed; expected LSTM layers of one direction, a '
                       'pooling over the sequence, and one Dense.')
  if (not count or kinds[-1] != 'Dense' or len(pools) > 1 or
      not {*pools} <= {*_POOLS}):
    raise ValueError(f'from_keras: the layers are {", ".join(kinds)}; expected '
                     'LSTM layers, at most one pooling, and one Dense.')
  last = steps[count - 1].get_config()['return_sequences']
  if last != bool(pools):
    raise ValueError(
        f'from_keras: layer {steps[count - 1].name} has '
        f'return_sequences={last} and is followed by {kinds[count]}; expected '
        'return_sequences=True before a pooling, and False before Dense.')
  head, lstms = steps[-1], steps[:count]
  config, name = head.get_config(), f'from_keras: {head.name}'
  if config['activation'] not in ('linear', 'softmax', 'sigmoid'):
    raise ValueError(f'{name} has activation={config["activation"]}; expected '
                     'linear, or softmax or sigmoid, which is left out.')
  w, b = _with_bias(head, 1)
  return (list(map(_layer, lstms)), list(map(_family, lstms)),
          stack.readout(w, b, name), (_POOLS[pools[0]] if pools else 'last',))


def _layer(layer: Any) -> Layer:
  config, what = layer.get_config(), f'from_keras: {layer.name}'
  for option in _OFF:
    if config[option]:
      raise ValueError(f'{what} has {option}={config[option]}; expected '
                       f'{option}=False.')
  w, u, b = _with_bias(layer, 2)
  return stack.layer(w, u, b, what)


def _family(layer: Any) -> str:
  config = layer.get_config()
  return stack.family(config['recurrent_activation'], config['activation'],
                      f'from_keras: {layer.name}')


def _with_bias(layer: Any, kernels: int) -> tuple[Any, ...]:
  """The weights of a layer, whose bias is None if it has none."""
  weights = layer.get_weights()
  if len(weights) < kernels:
    raise ValueError(f'from_keras: {layer.name} has {len(weights)} weights; '
                     f'expected {kernels} or more. Was the model built? Call '
                     'it once on an input.')
  return (*weights, None)[:kernels + 1]


def _read_weights(arrays: Sequence[np.ndarray]) -> tuple[list[Layer], Readout]:
  """Layers and head of the list kernel, recurrent kernel, bias, ..."""
  shapes = ', '.join(str(array.shape) for array in arrays) or '(none)'
  if len(arrays) < 5 or len(arrays) % 3 != 2 or arrays[-1].ndim != 1:
    raise ValueError(
        f'from_keras: the weights have the shapes {shapes}; expected [D, 4H], '
        '[H, 4H] and [4H] of each LSTM, then [P H, K] and [K] of Dense. For '
        'layers with use_bias=False give the model itself.')
  layers = [
      stack.layer(w, u, b, f'from_keras: LSTM layer {k} of the weights')
      for k, (w, u, b) in enumerate(zip(*(arrays[k:-2:3] for k in range(3))))
  ]
  return layers, stack.readout(arrays[-2], arrays[-1],
                               'from_keras: the last weights')
