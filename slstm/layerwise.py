"""The schedules that run one whole layer after the other."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from slstm import cells
from slstm.types import Array, CellState


class _Packed(NamedTuple):
  """Weights of a layer, its gates packed: [D, 4H], [H, 4H], [4H]."""
  w: Array
  u: Array
  b: Array


def layer_by_layer(run_layer, layers, x, state, config, observe):
  """Runs `sequential` or `stacked` for every layer; (h, state, observed)."""
  final, observed = [], []
  for layer, layer_state in zip(layers, state):
    layer_state, (x, seen) = run_layer(layer, x, layer_state, config, observe)
    final.append(layer_state)
    observed.append(seen)
  return x, tuple(final), tuple(observed)


def _rate(layer, x, state, config, observe):
  """A layer with 'rate' coupling: one update an element."""
  u = cells.fuse(layer.u)

  def element(state, zx_n):
    record = cells.rate_update(layer, zx_n + state.h @ u, state.c, config)
    return record.state, (record.state.h, jax.vmap(observe)(record))

  return jax.lax.scan(element, state, cells.input_product(layer, x))


def sequential(layer, x, state, config, observe):
  """A layer, one (n, t) after the other: a scan over t in a scan over n."""
  if config.coupling == 'rate':
    return _rate(layer, x, state, config, observe)
  u = cells.fuse(layer.u)
  shape = state.h.shape[1:]

  def time_step(membranes, inputs):
    zx_nt, state_nm1 = inputs
    record, membranes = cells.update(layer, zx_nt + state_nm1.h @ u,
                                     state_nm1.c, membranes, config)
    return membranes, (record.state, observe(record))

  def element(state, zx_n):
    each_step = cells.over_steps((zx_n, state), config)
    _, (state, seen) = jax.lax.scan(time_step,
                                    cells.initial_membranes(layer, shape),
                                    each_step)
    state = cells.carried(state, config)
    return state, (state.h, seen)

  return jax.lax.scan(element, state, cells.input_product(layer, x))


def stacked(layer, x, state, config, observe, lean=False):
  """A layer, one element after the other: T products in one."""
  if config.coupling == 'rate':
    return _rate(layer, x, state, config, observe)

  def elementwise(spread, z, c_nm1):
    state, record = cells.element(layer._replace(neurons=spread), z, c_nm1,
                                  config)
    return state, jax.vmap(observe)(record)

  packed = _Packed(*map(cells.fuse, (layer.w, layer.u, layer.b)))
  shape = (config.num_steps, *state.h.shape[1:])
  spread = cells.spread(layer, shape).neurons
  return _recurrent_scan(elementwise, lean, packed, spread, state, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recurrent_scan(elementwise, lean, packed, spread, state, x):
  """Scans the product z_n = W x_n + b + U h_{n-1} and an element-wise half.

  W x of all n is one product. The forward pass keeps z, h and c. The backward
  pass computes the element-wise half again, for to keep all of it costs more
  than that, and takes the gradients of W and U by one product of all n each,
  after its scan. A lean scan keeps h and c only: z is computed again, too (with
  W x of one n at a time, whose last bits can differ), and the gradient of U
  adds up inside.

  Args:
    elementwise: maps (spread, z [slots, B, 4H], c_{n-1} [slots, B, H]) to
      (state of n, what is observed), see `config.slots`.
    lean: whether to save memory for time.
    packed: weights.
    spread: neurons, one value for each entry of h.
    state: before the first element, h and c [slots, B, H].
    x: [N, slots, B, D] or [N, 1, B, D].

  Returns:
    (state, (h [N, slots, B, H], what is observed)).
  """
  return _recurrent_scan_fwd(elementwise, lean, packed, spread, state, x)[0]


def _recurrent_scan_fwd(elementwise, lean, packed, spread, state, x):

  def element(nm1, zx_n):
    z = _drive(packed, zx_n, nm1.h)
    state, seen = elementwise(spread, z, nm1.c)
    return state, ((state.h, seen), (nm1.c, () if lean else z))

  # Without the axis of size 1, for which XLA would lay out all of W x anew.
  zx = (x[:, 0] if x.shape[1] == 1 else x) @ packed.w
  end, (outputs, (c_nm1, z)) = jax.lax.scan(element, state, zx)
  nm1 = CellState(jnp.concatenate([state.h[None], outputs[0][:-1]]), c_nm1)
  return (end, outputs), (packed, spread, nm1, z, x)


def _recurrent_scan_bwd(elementwise, lean, residuals, cotangents):
  packed, spread, nm1, z, x = residuals
  d_end, d_outputs = cotangents

  def summed(dz):  # all t share an input that has one slot
    return dz if x.shape[1] == dz.shape[-3] else dz.sum(-3, keepdims=True)

  def element(carry, inputs):
    d_state, d_spread, d_u = carry
    nm1_n, z_n, x_n, (d_h, d_seen) = inputs
    if lean:
      z_n = _drive(packed, x_n @ packed.w, nm1_n.h)
    _, pull = jax.vjp(elementwise, spread, z_n, nm1_n.c)
    d_spread_n, dz, d_c = pull((d_state._replace(h=d_state.h + d_h), d_seen))
    d_spread = jax.tree.map(jnp.add, d_spread, d_spread_n)
    d_nm1 = CellState(dz @ packed.u.T, d_c)
    if lean:
      d_u += _gradient(nm1_n.h, dz)
      dz = summed(dz)
    return (d_nm1, d_spread, d_u), dz

  zeros = jax.tree.map(jnp.zeros_like, (spread, packed.u))
  (d_start, d_spread, d_u), dz = jax.lax.scan(element, (d_end, *zeros),
                                              (nm1, z, x, d_outputs),
                                              reverse=True)
  if not lean:
    d_u = _gradient(nm1.h, dz)
    dz = summed(dz)
  d_packed = _Packed(_gradient(x, dz), d_u, _rows(dz).sum(0))
  return d_packed, d_spread, d_start, dz @ packed.w.T


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
