"""A sequence classifier: encoder, stacked LSTM layers, linear read-out.

The read-out is a linear layer on the mean over t of the last layer's output,
pooled over n as `Config.pooling` says; it has no spikes.
"""

from typing import Any, NamedTuple, Sequence

import jax
import jax.numpy as jnp

from slstm import activations
from slstm import encoders
from slstm import executor as executor_lib
from slstm.types import (Array, CellState, Config, Encoder, Gates, Layer,
                         Params, Readout)

_POOLS = {
    'last': lambda h: h[-1],
    'mean': lambda h: jnp.mean(h, axis=0),
    'max': lambda h: jnp.max(h, axis=0),
}


class Output(NamedTuple):
  """What a forward pass returns.

  Attributes:
    logits: [B, K].
    pooled: input of the read-out, [B, P H].
    state: final state of each layer, h and c, see `executor.Run`.
    observed: for each layer what the observer made of its records, [N, T, ...].
  """
  logits: Array
  pooled: Array
  state: tuple[CellState, ...]
  observed: tuple[Any, ...]


def init(key: Array,
         num_features: int,
         hidden_sizes: Sequence[int],
         num_classes: int,
         config: Config,
         encoder: Encoder | None = None,
         memory: float = 0.0) -> Params:
  """Draws the parameters of a source network.

  W and the read-out are Glorot-uniform, U is orthogonal, b is 0 except for the
  forget gate, where it is 1 (Jozefowicz et al. 2015). For long sequences,
  `memory` gives unit k a time constant tau_k, uniform in 2..memory:

    sigma(b_f) = 1 - 1 / tau,  sigma(b_i) = 1 / tau

  (chrono initialisation, Tallec & Ollivier, "Can recurrent neural networks warp
  time?", ICLR 2018, eq. 16, here for any sigma).

  Args:
    key: PRNG key.
    num_features: D.
    hidden_sizes: H of each layer, first to last.
    num_classes: K.
    config: pooling decides the width of the read-out.
    encoder: input statistics; by default the input is taken as it is.
    memory: longest time constant in elements, about N; 0 for the biases above.

  Returns:
    Params without neurons: an ANN.

  Raises:
    ValueError: for a size below 1, or a memory that is neither 0 nor > 2.
  """
  sizes = (num_features, *hidden_sizes, num_classes)
  if not hidden_sizes or min(sizes) < 1:
    raise ValueError(
        f'init: sizes D, H.., K are {sizes}; expected at least one '
        'layer and every size >= 1.')
  if encoder and encoder.mean.shape != (num_features,):
    raise ValueError(f'init: the encoder has mean of shape '
                     f'{encoder.mean.shape} for {num_features} features; make '
                     'it of the same training data.')
  if memory and not 2 < memory < float('inf'):
    raise ValueError(
        f'init: memory is {memory}; expected 0, or a finite number '
        'of elements > 2.')
  readout_key, *layer_keys = jax.random.split(key, len(hidden_sizes) + 1)
  layers = tuple(
      _init_layer(layer_key, fan_in, hidden, config, memory)
      for layer_key, fan_in, hidden in zip(layer_keys, (
          num_features, *hidden_sizes), hidden_sizes))
  pooled = len(config.pooling) * hidden_sizes[-1]
  w = jax.nn.initializers.glorot_uniform()(readout_key, (pooled, num_classes))
  return Params(encoder or encoders.identity(num_features), layers,
                Readout(w, jnp.zeros((num_classes,))))


def _init_layer(key: Array, fan_in: int, hidden: int, config: Config,
                memory: float) -> Layer:
  w_key, u_key = jax.random.split(key)
  glorot = jax.nn.initializers.glorot_uniform()
  orthogonal = jax.nn.initializers.orthogonal()
  zeros = jnp.zeros((hidden,))
  biases = Gates(zeros, jnp.ones((hidden,)), zeros, zeros)
  if memory:
    rate = 1.0 / jax.random.uniform(
        jax.random.fold_in(key, 0), (hidden,), minval=2.0, maxval=memory)
    biases = biases._replace(f=activations.gate_drive(1.0 - rate, config),
                             i=activations.gate_drive(rate, config))
  return Layer(
      w=Gates(
          *(glorot(k, (fan_in, hidden)) for k in jax.random.split(w_key, 4))),
      u=Gates(*(
          orthogonal(k, (hidden, hidden)) for k in jax.random.split(u_key, 4))),
      b=biases)


def apply(params: Params,
          x: Array,
          config: Config,
          executor: str = 'stacked',
          observe: executor_lib.Observer | None = None,
          state: Sequence[CellState] | None = None) -> Output:
  """Classifies a batch of sequences.

  Args:
    params: an ANN or SNN.
    x: raw input, time-major, [N, B, D].
    config: static choices; num_steps is T.
    executor: a key of `executor.EXECUTORS`.
    observe: see `executor.run`.
    state: see `executor.run`.

  Returns:
    An Output.

  Raises:
    ValueError: for shapes that do not fit the parameters.
  """
  encoded = encoders.encode(params.encoder, x, config)
  result = executor_lib.run(params.layers, encoded, config, executor, observe,
                            state)
  h = jnp.mean(result.h, axis=1)
  pooled = jnp.concatenate([_POOLS[name](h) for name in config.pooling], -1)
  return Output(read_out(params.readout, pooled), pooled, result.state,
                result.observed)


def read_out(readout: Readout, pooled: Array) -> Array:
  """Logits [B, K] of pooled features [B, P H].

  Raises:
    ValueError: if the features are not those the read-out was made for.
  """
  w, b = readout
  if pooled.shape[-1] != w.shape[0]:
    raise ValueError(
        f'read_out: weights of shape {w.shape} for {pooled.shape[-1]} pooled '
        'features. Was the model made with another Config.pooling?')
  if b.shape != w.shape[1:]:
    raise ValueError(f'read_out: readout.b has shape {b.shape}; expected '
                     f'{w.shape[1:]}, one value a class.')
  return pooled @ w + b.reshape(1, -1)
