"""Streaming: one element at a time, in constant memory.

A step runs the network on x_n, from the state that element n - 1 left, and
pools as it goes. With h_n the output of the last layer, the read-out sees

  'last'  p_n = h_n
  'mean'  p_n = p_{n-1} + (h_n - p_{n-1}) / n
  'max'   p_n = max(p_{n-1}, h_n)

so that the output after n elements is that of `apply` on these n. With 'each',
p_n = h_n, it is that of element n.
"""

from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp

from slstm import model as model_lib
from slstm import types
from slstm.types import Array, Model, State

# Maps (pooled before, h, n) to what is pooled after element n = 1, 2, ...
_RUNNING: dict[str, Callable[[Array, Array, Array], Array]] = {
    'last': lambda pooled, h, n: h,
    types.EACH: lambda pooled, h, n: h,
    'mean': lambda pooled, h, n: pooled + (h - pooled) / n,
    'max': lambda pooled, h, n: jnp.maximum(pooled, h),
}
_BEFORE = {'last': 0.0, types.EACH: 0.0, 'mean': 0.0, 'max': -jnp.inf}


class StreamState(NamedTuple):
  """What a stream carries from element to element.

  Attributes:
    network: of the encoder and the layers.
    pooled: what the read-out has seen last, [B, H] of each pooling.
    elements: how many there were so far, [].
  """
  network: State
  pooled: tuple[Array, ...]
  elements: Array


Step = Callable[[StreamState, Array], tuple[StreamState, Array]]


def stream(model: Model, *, batch_size: int = 1) -> tuple[Step, StreamState]:
  """A pure function that runs a network element by element, and its start.

  Args:
    model: an ANN or SNN. It is computed in the widest dtype of its leaves.
    batch_size: B, sequences that run side by side.

  Returns:
    (step, state). `step(state, x_n)` takes raw input [B, D] of one element and
    returns (state, outputs [B, K]): those of `apply` on all elements since the
    first state. It can be compiled and scanned. To start a new
    sequence take the first state again.

  Raises:
    ValueError: for shapes that do not fit.

  Example:
    step, state = slstm.stream(model)
    step = jax.jit(step)
    for frame in microphone:  # each [D]
      state, logits = step(state, frame[None])
  """
  model_lib.check_model(model)
  if batch_size < 1:
    raise ValueError(f'stream: batch_size is {batch_size}; expected >= 1.')
  dtype = jnp.result_type(*jax.tree.leaves(model))
  shape = (batch_size, model.layers[-1].num_units)
  pooled = tuple(
      jnp.full(shape, _BEFORE[name], dtype) for name in model.config.pooling)
  state = StreamState(model_lib.zero_state(model, batch_size, dtype), pooled,
                      jnp.zeros((), jnp.int32))
  # Parameters become arguments where the step is compiled, and no constants.
  return jax.tree_util.Partial(_step, model), state


def _step(model: Model, state: StreamState,
          x_n: Any) -> tuple[StreamState, Array]:
  dtype, batch = state.pooled[0].dtype, len(state.pooled[0])
  x_n = jnp.asarray(x_n, dtype)
  types.check_shape('stream: x_n', x_n, 'B D',
                    'It is one element of each sequence.',
                    B=batch, D=model.num_features)  # yapf: disable
  run = model_lib.apply(model, x_n[:, None], state=state.network)
  # Every pooling of one element is that element.
  h = run.pooled.reshape(batch, -1)[:, :model.layers[-1].num_units]
  n = state.elements + 1
  pooled = tuple(_RUNNING[name](before, h, n.astype(dtype))
                 for name, before in zip(model.config.pooling, state.pooled))
  outputs = model_lib.read_out(model.readout, jnp.concatenate(pooled, -1))
  assert run.state is not None  # there are no lengths
  return StreamState(run.state, pooled, n), outputs
