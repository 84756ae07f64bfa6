"""A source LSTM as the state dict of a torch module."""

from typing import Any, Mapping

import numpy as np

from slstm.importers import stack
from slstm.importers import torch as from_torch
from slstm.types import Layer, Model

_NAME = 'to_torch_state_dict'


def to_torch_state_dict(model: Model,
                        like: Mapping[str, Any] |
                        None = None) -> dict[str, Any]:
  """The inverse of `from_torch`: a state dict of the parameters of an LSTM.

  Of the two biases that torch adds up, the first is b and the second is 0. The
  statistics of the encoder are folded into the first layer, so that the torch
  module takes raw inputs.

  Args:
    model: a source LSTM of family 'standard'.
    like: a state dict of the module that is to load it, whose names and dtypes
      are taken; by default that of a module with attributes `lstm`, a
      torch.nn.LSTM (all layers of one size), and `head`, a torch.nn.Linear.

  Returns:
    Tensors by name, for `load_state_dict`.

  Raises:
    ValueError: if the model is spiking or of another family, or does not fit.
    ImportError: without torch.

  Example:
    module.load_state_dict(
        slstm.to_torch_state_dict(model, module.state_dict()))
  """
  _check_source(model)
  try:
    import torch  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise ImportError(f'{_NAME} makes tensors: pip install torch.') from error
  layers = (stack.fold_encoder(model), *model.layers[1:])
  if like is None:
    like = {name: torch.empty(0) for name in _default_names(layers)}
    arrays = _arrays(model, layers, like)
  else:
    arrays = _arrays(model, layers, like)
    _check_shapes(arrays, like)
  tensor = lambda name: torch.tensor(arrays[name])
  return {name: tensor(name).to(like[name].dtype) for name in like}


def _check_source(model: Model) -> None:
  neurons = [
      f'layers[{index}].neurons.{site}'
      for index, layer in enumerate(model.layers)
      for site in layer.neurons.present
  ] + (['encoder.neuron'] if model.encoder.neuron is not None else [])
  expected = "expected a source LSTM of family 'standard', which torch has."
  if neurons:
    raise ValueError(f'{_NAME}: the model has {", ".join(neurons)}; {expected}')
  if model.config.family != 'standard':
    raise ValueError(f'{_NAME}: the family of the model is '
                     f'{model.config.family!r}; {expected}')


def _default_names(layers: tuple[Layer, ...]) -> list[str]:
  """Entries of a module with one torch.nn.LSTM and a head."""
  sizes = [layer.num_units for layer in layers]
  if len(set(sizes)) > 1:
    raise ValueError(f'{_NAME}: the layers have {sizes} units, and those of a '
                     'torch.nn.LSTM are of one size; expected `like`, the '
                     'state dict of a module that has several.')
  kinds = 'weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'
  names = [f'lstm.{kind}_l{k}' for k in range(len(sizes)) for kind in kinds]
  return [*names, 'head.weight', 'head.bias']


def _arrays(model: Model, layers: tuple[Layer, ...],
            like: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Parameters under the names that `like` has for them."""
  names = from_torch.names_of(like, _NAME)
  if len(names.layers) != len(layers):
    raise ValueError(f'{_NAME}: like has {len(names.layers)} LSTM layers; '
                     f'expected {len(layers)}, as the model has.')
  arrays: dict[str, np.ndarray] = {}
  for layer, (prefix, suffix) in zip(layers, names.layers):
    w, u, b = (np.concatenate(gates, -1).T for gates in layer[:3])
    leaves = {'weight_ih': w, 'weight_hh': u, 'bias_ih': b,
              'bias_hh': np.zeros_like(b)}  # yapf: disable
    arrays |= {f'{prefix}{kind}{suffix}': a for kind, a in leaves.items()}
  arrays[f'{names.head}weight'] = np.asarray(model.readout.w).T
  arrays[f'{names.head}bias'] = np.asarray(model.readout.b)
  return arrays


def _check_shapes(arrays: Mapping[str, np.ndarray], like: Mapping[str,
                                                                  Any]) -> None:
  for name, array in arrays.items():
    if name not in like:
      if array.any():
        raise ValueError(f'{_NAME}: like has no {name}; expected it, as the '
                         'model has such a bias. Was the module made with '
                         'bias=False?')
    elif tuple(like[name].shape) != array.shape:
      raise ValueError(f'{_NAME}: {name} of like has shape '
                       f'{tuple(like[name].shape)}; expected {array.shape}, '
                       'as the model has.')
