"""Executors: how the N elements and T steps of stacked layers are scheduled.

The update of (n, t) needs the state of (n-1, t), the neurons' states after
(n, t-1) and the output of the layer below at (n, t), and nothing else:

  sequential  L N T dependent steps, one after the other: the reference
  stacked     L N dependent steps; the T recurrent products of an element are
              one [T B, H] x [H, 4H] product
  lean        the same, but its gradient computes again what stacked keeps
  wavefront   N + T + L - 2 dependent steps, see `slstm.wavefront`

All of them compute the same function. With coupling 'shared' an element needs
all T steps of the one before, so there is nothing to pipeline; but all T steps
see one z, so stacked and lean take one product per element, whatever T.

An executor is a function of (layers, x, state, config, observe):

  layers   parameters of each layer
  x        input, [N, B, D], or [N, slots, B, D] where steps differ
  state    of each layer, a CellState
  config   static choices, among them T
  observe  function of a Record; its outputs are stacked over n and t

and returns a `Run`. Gradients are reverse-mode: `stacked` and `lean` have a
hand-written one, which `jax.jvp` refuses with a TypeError. `sequential` and
`wavefront` allow `jax.jvp` for networks without spikes.
"""

import collections
import functools
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp

from slstm import cells
from slstm.types import Array, CellState, Config, Layer, Record

Observer = Callable[[Record], Any]


class Run(NamedTuple):
  """What an executor returns.

  Attributes:
    h: output of the last layer, [N, slots, B, H].
    state: final state of each layer.
    observed: for each layer what `observe` made of its records, [N, T, ...].
  """
  h: Array
  state: tuple[CellState, ...]
  observed: tuple[Any, ...]


Executor = Callable[
    [Sequence[Layer], Array, Sequence[CellState], Config, Observer], Run]

# Weights of a layer, its gates packed: [D, 4H], [H, 4H], [4H].
_Packed = collections.namedtuple('_Packed', 'w u b')


def _layer_by_layer(run_layer, layers, x, state, config, observe):
  final, observed = [], []
  for layer, layer_state in zip(layers, state):
    layer_state, (x, seen) = run_layer(layer, x, layer_state, config, observe)
    final.append(layer_state)
    observed.append(seen)
  return Run(x, tuple(final), tuple(observed))


def sequential(layers: Sequence[Layer], x: Array, state: Sequence[CellState],
               config: Config, observe: Observer) -> Run:
  """One (n, t) after the other: a scan over t in a scan over n."""
  return _layer_by_layer(_sequential, layers, x, state, config, observe)


def stacked(layers: Sequence[Layer], x: Array, state: Sequence[CellState],
            config: Config, observe: Observer) -> Run:
  """One element after the other: T products in one."""
  return _layer_by_layer(functools.partial(_stacked, lean=False), layers, x,
                         state, config, observe)


def lean(layers: Sequence[Layer], x: Array, state: Sequence[CellState],
         config: Config, observe: Observer) -> Run:
  """As `stacked`, with a gradient that saves memory for time."""
  return _layer_by_layer(functools.partial(_stacked, lean=True), layers, x,
                         state, config, observe)


def _sequential(layer, x, state, config, observe):
  u = cells.fuse(layer.u)
  shape = state.h.shape[1:-1]

  def time_step(states, inputs):
    zx_nt, h_nm1, c_nm1 = inputs
    record, states = cells.update(layer, zx_nt + h_nm1 @ u, c_nm1, states,
                                  config)
    return states, (record, observe(record))

  def element(state, zx_n):
    zx_n = zx_n.reshape(-1, *zx_n.shape[-2:])
    each_step = cells.over_steps((zx_n, state.h, state.c), config)
    states, (record, seen) = jax.lax.scan(
        time_step, cells.initial_states(layer, state.neurons, shape), each_step)
    state = cells.next_state(layer, record.state, states, config)
    return state, (state.h, seen)

  return jax.lax.scan(element, state, cells.input_product(layer, x))


def _stacked(layer, x, state, config, observe, lean):

  def elementwise(neurons, z, nm1):
    state, record = cells.element(layer._replace(neurons=neurons), z, nm1,
                                  config)
    return state, jax.vmap(observe)(record)

  packed = _Packed(*map(cells.fuse, (layer.w, layer.u, layer.b)))
  neurons = cells.broadcast(layer, state.h.shape[1:]).neurons
  # What an observer takes from around it, such as a parameter that a gradient
  # is taken of, becomes an argument of its own.
  z = jax.ShapeDtypeStruct((*state.h.shape[:-1], 4 * layer.num_units),
                           state.h.dtype)
  elementwise, taken = jax.custom_derivatives.closure_convert(
      elementwise, neurons, z, state)
  return _recurrent_scan(elementwise, lean, packed, (neurons, *taken), state, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recurrent_scan(elementwise, lean, packed, rest, state, x):
  """Scans the product z_n = W x_n + b + U h_{n-1} and an element-wise half.

  W x of all n is one product. The forward pass keeps z and the states. The
  backward pass computes the element-wise half again, since keeping all of it
  costs more, and takes the gradients of W and U by one product of all n each,
  after its scan. A lean scan keeps the states only: z is computed again, too
  (with W x of one n at a time, whose last bits can differ), and the gradient of
  U adds up inside.

  Args:
    elementwise: maps (neurons, z [slots, B, 4H], state of n-1, *taken) to
      (state of n, what is observed).
    lean: whether to save memory for time.
    packed: weights.
    rest: (neurons with one value for each entry of h, *taken).
    state: before the first element.
    x: [N, slots, B, D] or [N, B, D].

  Returns:
    (state, (h [N, slots, B, H], what is observed)).
  """
  return _recurrent_scan_fwd(elementwise, lean, packed, rest, state, x)[0]


def _recurrent_scan_fwd(elementwise, lean, packed, rest, state, x):
  neurons, *taken = rest

  def element(nm1, zx_n):
    z = _drive(packed, zx_n, nm1.h)
    state, seen = elementwise(neurons, z, nm1, *taken)
    kept = nm1.c, nm1.neurons, () if lean else z
    return state, ((state.h, seen), kept)

  end, (outputs, (c_nm1, carried, z)) = jax.lax.scan(element, state,
                                                     x @ packed.w)
  h_nm1 = jnp.concatenate([state.h[None], outputs[0][:-1]])
  nm1 = CellState(h_nm1, c_nm1, carried)
  return (end, outputs), (packed, rest, nm1, z, x)


def _recurrent_scan_bwd(elementwise, lean, residuals, cotangents):
  packed, rest, nm1, z, x = residuals
  d_end, d_outputs = cotangents

  def summed(dz):  # all steps share an input [N, B, D]
    return dz.sum(-3) if x.ndim == 3 else dz

  def element(carry, inputs):
    d_state, d_rest, d_u = carry
    nm1_n, z_n, x_n, (d_h, d_seen) = inputs
    if lean:
      z_n = _drive(packed, x_n @ packed.w, nm1_n.h)
    _, pull = jax.vjp(
        lambda rest, z, nm1: elementwise(rest[0], z, nm1, *rest[1:]), rest, z_n,
        nm1_n)
    d_rest_n, dz, d_nm1 = pull((d_state._replace(h=d_state.h + d_h), d_seen))
    d_rest = jax.tree.map(jnp.add, d_rest, d_rest_n)
    # The element-wise half does not read h, so d_nm1.h is zero.
    d_nm1 = d_nm1._replace(h=dz @ packed.u.T)
    if lean:
      d_u += _gradient(nm1_n.h, dz)
      dz = summed(dz)
    return (d_nm1, d_rest, d_u), dz

  zeros = jax.tree.map(jnp.zeros_like, (rest, packed.u))
  (d_start, d_rest, d_u), dz = jax.lax.scan(element, (d_end, *zeros),
                                            (nm1, z, x, d_outputs),
                                            reverse=True)
  if not lean:
    d_u = _gradient(nm1.h, dz)
    dz = summed(dz)
  d_packed = _Packed(_gradient(x, dz), d_u, _rows(dz).sum(0))
  return d_packed, d_rest, d_start, dz @ packed.w.T


_recurrent_scan.defvjp(_recurrent_scan_fwd, _recurrent_scan_bwd)


def _drive(packed, zx, h_nm1):
  """z of an element, [slots, B, 4H], given W x."""
  zx = zx.reshape(-1, *zx.shape[-2:])
  return zx + packed.b.reshape(1, 1, -1) + h_nm1 @ packed.u


def _gradient(a, dz):
  """That of weights, of all their products a [..., K] -> dz [..., 4H]."""
  return _rows(a).T @ _rows(dz)


def _rows(a):
  return a.reshape(-1, a.shape[-1])
