"""Slows a trained LSTM down, for longer versions of the sequences it knows."""

import math

import jax.numpy as jnp

from slstm import types
from slstm.types import Config, Params


def stretch(params: Params, factor: float, config: Config) -> Params:
  r"""Multiplies the time constants of every unit by a factor.

  A unit that forgets the share 1 - f in each element has the time constant
  tau = 1 / (1 - f), and tau - 1 = f / (1 - f), the odds of f. In an LSTM with
  sigmoid gates a bias moves the odds, whatever the input:

    b_f <- b_f + log k      tau - 1 is multiplied by k
    b_i <- b_i - log k      an element adds 1 / k of what it did, if i is small

  so what took an element before takes about k. It is where training on longer
  sequences can start from: exact for no network, but near enough to learn from
  short sequences what is expensive on long ones.

  Args:
    params: an ANN of sigmoid gates; what is not a bias of i or f stays.
    factor: k, > 0, such as the quotient of the lengths of the sequences.
    config: its config.

  Returns:
    Params of the same structure.

  Raises:
    ValueError: for a factor that is not finite and > 0, an SNN, or a family
      without sigmoid gates.

  Source: the argument of Tallec & Ollivier, "Can recurrent neural networks warp
  time?", ICLR 2018, section 1, who choose initial biases by it.
  """
  types.check_positive('stretch: factor', factor)
  if config.family != 'standard':
    raise ValueError(f'stretch: the family is {config.family!r}; a bias moves '
                     "the odds of sigmoid gates only, those of 'standard'.")
  if any(layer.neurons.present for layer in params.layers):
    raise ValueError('stretch: params have neurons; stretch the source LSTM '
                     'and convert it then.')
  shift = jnp.asarray(math.log(factor), jnp.float32)

  def stretched(layer: types.Layer) -> types.Layer:
    b = layer.b._replace(f=layer.b.f + shift, i=layer.b.i - shift)
    return layer._replace(b=b)

  return params._replace(layers=tuple(map(stretched, params.layers)))
