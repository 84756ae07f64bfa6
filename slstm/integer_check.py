"""What an `IntegerModel` has to be, so that no sum overflows.

`integer.run` and exported C compute with 8, 16 and 32 bits and check nothing on
the way. They need not, for whoever makes a model checks it here once: shapes
fit, numbers have their type and range, neurons stand where they can, and sums
stay within 32 bits whatever the input is.
"""

from typing import Any

import numpy as np

from slstm import integer
from slstm import neurons
from slstm import types
from slstm.integer import IntegerEncoder
from slstm.integer import IntegerLayer
from slstm.integer import IntegerLIF
from slstm.integer import IntegerModel
from slstm.integer import IntegerSigmaDelta
from slstm.integer import MEMBRANE

MOST_C_BITS = 12  # so that f c + i g fits into 32 bits
_MOST_STEPS = 2**15  # or levels, so that sums of 16-bit integers over them do
_INT8, _INT16, _INT30, _INT31 = 2**7 - 1, 2**15 - 1, 2**30 - 1, 2**31 - 1
_SLOPES = 2.0**-12, 2.0**9  # for which a table has steps that fit
_FLOAT = float(np.finfo(np.float32).max)
_LEAST = float(np.finfo(np.float32).smallest_subnormal)
# Ranges of the parameters of a neuron. The first one is what a spike takes away
# from what makes it fire, at a level between half of that and all of it.
_RANGES: dict[type, dict[str, tuple[int, int]]] = {
    IntegerLIF: {
        'v_th': (1, _INT16),
        'v_0': (-_INT16, _INT16),
        'level': (1, _INT16),
        'amplitude': (-_INT16, _INT16),
        'leak': (0, 2**15),
    },
    IntegerSigmaDelta: {
        'theta': (1, _INT16),
        'level': (1, _INT16),
    },
}


def check_integers(model: IntegerModel, what: str) -> None:
  """Checks that a network in integers can be run, by `integer.run` and in C.

  Args:
    model: anything of that type; its parts may be of any other.
    what: function or file, which starts the message.

  Raises:
    ValueError: naming the part whose type, shape, range or place is wrong, or
      the sum that can overflow 32 bits.

  Example:
    check_integers(ints._replace(output_bits=99.5), 'mine')  # ValueError
  """
  try:
    _check_config(model.config)
    features = _check_encoder(model.encoder)
    if not model.layers:
      raise ValueError('there are no layers; expected at least one.')
    for index, layer in enumerate(model.layers):
      features = _check_layer(f'layers[{index}]', layer, features, model.config)
    _check_array('readout_w', model.readout_w, 'PH K', 'int8', (-_INT8, _INT8),
                 PH=len(model.config.pooling) * features)  # yapf: disable
    _check_array('readout_b', model.readout_b, 'K', 'int32', (-_INT31, _INT31),
                 K=model.readout_w.shape[1])  # yapf: disable
    _check_int('output_bits', model.output_bits, (-127, 127))
    for name, most in bounds(model).items():
      bits = 31 if name == 'sum of the read-out' else 30
      if most >= 2**bits:
        raise ValueError(f'the {name} can reach {most:.3g}, beyond 2^{bits}; '
                         'expected fewer units or steps.')
  except ValueError as error:
    raise ValueError(f'{what}: {error}') from error


def _check_int(what: str, value: Any, limits: tuple[int, int]) -> None:
  low, high = limits
  if type(value) is not int or not low <= value <= high:
    raise ValueError(f'{what} is {value!r:.99}; expected an int in {low} .. '
                     f'{high}.')


def _check_array(what: str, array: Any, axes: str, dtype: str,
                 limits: tuple[float, float], **sizes: int) -> None:
  """Checks an array, whose values are to be in low .. high, and not NaN."""
  found = array.dtype if isinstance(array, np.ndarray) else repr(array)
  if found != np.dtype(dtype):
    raise ValueError(f'{what} is {found}; expected an array of {dtype}.')
  types.check_shape(what, array, axes, '', **sizes)
  (low, high), least, most = limits, array.min(), array.max()
  if not low <= least <= most <= high:
    raise ValueError(f'{what} is in {least:.6g} .. {most:.6g}; expected '
                     f'{low:.6g} .. {high:.6g}.')


def _check_config(config: types.Config) -> None:
  for name in ('num_steps', 'encoder_steps', 'levels'):
    _check_int(f'config.{name}', getattr(config, name), (0, _MOST_STEPS))
  for name in ('slope', 'width'):
    value = getattr(config, name)
    if type(value) not in (int, float):
      raise ValueError(f'config.{name} is {value!r}; expected a number.')
  if not _SLOPES[0] <= config.slope <= _SLOPES[1]:
    raise ValueError(f'config.slope is {config.slope}; expected '
                     f'{_SLOPES[0]:.3g} .. {_SLOPES[1]:g}.')
  types.check_choice('config.surrogate', config.surrogate,
                     tuple(neurons.SURROGATES))


def _check_encoder(encoder: IntegerEncoder) -> int:
  """Returns D."""
  neuron = encoder.neuron
  _check_array('encoder.mean', encoder.mean, 'D', 'float32', (-_FLOAT, _FLOAT))
  features = len(encoder.mean)
  _check_array('encoder.std', encoder.std, 'D', 'float32', (_LEAST, _FLOAT),
               D=features)  # yapf: disable
  bits, limit = (0, 7), _INT8
  if neuron is not None:
    _check_neuron('encoder.neuron', neuron, features)
    bits, limit = (MEMBRANE, MEMBRANE), _INT16
  if isinstance(neuron, IntegerSigmaDelta):  # its output passes the drive
    bits, limit = (0, MEMBRANE), _INT16 - int(neuron.theta.max())
  _check_int('encoder.bits', encoder.bits, bits)
  _check_int('encoder.limit', encoder.limit, (0, limit))
  return features


def _check_layer(what: str, layer: IntegerLayer, features: int,
                 config: types.Config) -> int:
  """Returns H."""
  _check_array(f'{what}.b', layer.b, 'M', 'int32', (-_INT30, _INT30))
  units, rest = divmod(len(layer.b), 4)
  if rest:
    raise ValueError(f'{what}.b has {len(layer.b)} values; expected 4 H.')
  for name, rows in (('w', features), ('u', units)):
    _check_array(f'{what}.{name}', getattr(layer, name), 'F M', 'int8',
                 (-_INT8, _INT8), F=rows, M=4 * units)  # yapf: disable
    shifts = getattr(layer, f'{name}_shift')
    if not isinstance(shifts, tuple) or len(shifts) != 4:
      raise ValueError(f'{what}.{name}_shift is {shifts!r}; expected 4 ints.')
    for gate, bits in zip('ifgo', shifts):
      _check_int(f'{what}.{name}_shift of {gate}', bits, (-30, 31))
  apart = np.abs(np.subtract(layer.w_shift, layer.u_shift)).max()
  if apart > 30:
    raise ValueError(f'{what}: w_shift and u_shift of a gate are {apart} apart;'
                     ' expected at most 30.')
  _check_int(f'{what}.c_bits', layer.c_bits, (0, MOST_C_BITS))
  present = layer.neurons.present
  for site in present:
    neuron = getattr(layer.neurons, site)
    _check_neuron(f'{what}.neurons.{site}', neuron, units)
    if isinstance(neuron, IntegerSigmaDelta) and (present != ('h',) or
                                                  config.slots > 1):
      raise ValueError(
          f'{what} has neurons at {", ".join(present)} and {config.slots} '
          f'states, and an IntegerSigmaDelta at {site}; expected it at h, the '
          'only neuron, and one state.')
  return units


def _check_neuron(what: str, neuron: Any, units: int) -> None:
  if type(neuron) not in _RANGES:
    raise ValueError(f'{what} is a {type(neuron).__name__}; expected one of '
                     f'{", ".join(kind.__name__ for kind in _RANGES)}.')
  for name, limits in _RANGES[type(neuron)].items():
    values = getattr(neuron, name)
    if values is not None or name not in neuron._field_defaults:
      _check_array(f'{what}.{name}', values, 'H', 'int32', limits, H=units)
  whole, level = neuron[0], neuron.level
  if (2 * level < whole).any() or (level > whole).any():
    raise ValueError(f'{what}.level is {level[:9]} of {neuron._fields[0]} '
                     f'{whole[:9]}; expected half of it to all of it.')


# --- Sums ---------------------------------------------------------------------


def bounds(model: IntegerModel) -> dict[str, float]:
  """The largest magnitude that sums of products can reach, by their name.

  Of a layer: the sums of each product, that of both and b, and what is left of
  it in the 14 bits of a drive.
  """
  found, config = {}, model.config
  most = _most_sent(model.encoder.neuron, model.encoder.limit + 1,
                    config.input_steps)
  for index, layer in enumerate(model.layers):
    own: Any = {
        integer.ANALOG: 128,
        integer.SPIKES: config.num_steps
    }.get(layer.sends)
    if own is None:
      own = _most_sent(layer.neurons.h, integer.ONE, config.num_steps)
    what, common = f'layers[{index}]', np.array(layer.shifts)
    total = np.abs(layer.b.astype(float)).reshape(4, -1)
    for name, rows, shifts, each in (('w', layer.w, layer.w_shift, most),
                                     ('u', layer.u, layer.u_shift, own)):
      sums = np.abs(rows.astype(np.int64)).T @ np.broadcast_to(each, len(rows))
      found[f'sum of {what}.{name}'] = float(sums.max())
      up = 2.0**(common - np.array(shifts))
      total = total + up[:, None] * sums.reshape(4, -1)
    found[f'sum of {what}'] = float(total.max())
    found[f'drive of {what}'] = float((total.max(1) * 2.0**-common).max())
    most = own
  weights = np.abs(model.readout_w.astype(np.int64)).sum(0)
  feature = max(2.0**15, config.num_steps << integer.FEATURE)
  largest = weights * feature + np.abs(model.readout_b)
  return {**found, 'sum of the read-out': float(largest.max())}


def _most_sent(neuron: Any, largest: int, num_steps: int) -> Any:
  """The most that a unit adds to sums, in rows; [] or [H]."""
  if isinstance(neuron, IntegerSigmaDelta):
    return (largest + neuron.theta - neuron.level) // neuron.theta
  return largest if neuron is None else num_steps
