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
  spread = cells.spread(layer, state.h.shape[1:]).neurons
  return _recurrent_scan(elementwise, lean, packed, spread, state, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recurrent_scan(elementwise, lean, packed, spread, state, x):
  """Scans the product z_n = W x_n + b + U h_{n-1} and an element-wise half.

  W x of all n is one product. The forward pass writes z over it, and keeps c.
  The backward pass computes the element-wise half again, for to keep all of it
  costs more than that, writes dz over z, and takes the gradients of W and U by
  one product of all n each. A lean scan keeps c only: it computes z again, too,
  and adds up the gradients of W and U as it goes.

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
  del lean  # of the gradient
  return _forward(elementwise, False, packed, spread, state, x)[0]


def _forward(elementwise, keep_z, packed, spread, state, x):
  """What `_recurrent_scan` returns, all c_{n-1}, and all z or None."""
  w, u, b = packed
  zx = x @ w
  zs = None
  if keep_z:
    zs = jnp.broadcast_to(zx, (len(x), *state.h.shape[:-1], zx.shape[-1]))
    # Three axes: with one of size 1 more, XLA copies it to lay it out anew.
    zs = zs.reshape(len(x), -1, zx.shape[-1])

  def element(carry, inputs):
    nm1, zs = carry
    zx_n = _read(zs, inputs, nm1.h) if keep_z else inputs
    z = zx_n + b.reshape(1, 1, -1) + nm1.h @ u
    state, seen = elementwise(spread, z, nm1.c)
    zs = _write(zs, inputs, z) if keep_z else None
    return (state, zs), ((state.h, seen), nm1.c)

  inputs = jnp.arange(len(x)) if keep_z else zx
  (state, zs), (outputs, c) = jax.lax.scan(element, (state, zs), inputs)
  return (state, outputs), c, zs


def _recurrent_scan_fwd(elementwise, lean, packed, spread, state, x):
  result, c_nm1, zs = _forward(elementwise, not lean, packed, spread, state, x)
  _, (h, _) = result
  nm1 = CellState(jnp.concatenate([state.h[None], h[:-1]]), c_nm1)
  return result, (packed, spread, zs, nm1, x)


def _recurrent_scan_bwd(elementwise, lean, residuals, cotangents):
  (w, u, b), spread, zs, nm1, x = residuals
  d_state, d_outputs = cotangents

  def summed(dz):  # all t share an input that has one slot
    return dz if x.shape[1] == dz.shape[-3] else dz.sum(-3, keepdims=True)

  def element(carry, inputs):
    d_state, d_spread, d_packed, zs = carry
    n, x_n, nm1_n, (d_h, d_seen) = inputs
    if lean:
      z = x_n @ w + b.reshape(1, 1, -1) + nm1_n.h @ u
    else:
      z = _read(zs, n, nm1_n.h)
    _, pull = jax.vjp(elementwise, spread, z, nm1_n.c)
    d_spread_n, dz, d_c = pull((d_state._replace(h=d_state.h + d_h), d_seen))
    d_spread = jax.tree.map(jnp.add, d_spread, d_spread_n)
    d_x = ()
    if lean:
      d_packed = jax.tree.map(jnp.add, d_packed,
                              _gradients(x_n, nm1_n.h, dz, summed(dz)))
      d_x = summed(dz) @ w.T
    else:
      zs = _write(zs, n, dz)
    return (CellState(dz @ u.T, d_c), d_spread, d_packed, zs), d_x

  zeros = lambda tree: jax.tree.map(jnp.zeros_like, tree)
  start = d_state, zeros(spread), zeros(_Packed(w, u, b)) if lean else (), zs
  end, d_x = jax.lax.scan(element,
                          start, (jnp.arange(len(x)), x, nm1, d_outputs),
                          reverse=True)
  d_state, d_spread, d_packed, zs = end
  if not lean:
    dz = zs.reshape(*nm1.h.shape[:-1], -1)
    d_packed = _gradients(x, nm1.h, dz, summed(dz))
    d_x = summed(dz) @ w.T
  return d_packed, d_spread, d_state, d_x


_recurrent_scan.defvjp(_recurrent_scan_fwd, _recurrent_scan_bwd)


def _gradients(x, h_nm1, dz, dz_x):
  """Those of the packed weights, from dz summed over what x has once."""
  rows = lambda a: a.reshape(-1, a.shape[-1])
  return _Packed(
      rows(x).T @ rows(dz_x),
      rows(h_nm1).T @ rows(dz),
      rows(dz_x).sum(0))


def _read(zs, n, h):
  """Entry n of [N, slots B, 4H], as [slots, B, 4H]."""
  return jax.lax.dynamic_index_in_dim(zs, n, keepdims=False).reshape(
      *h.shape[:-1], -1)


def _write(zs, n, z):
  """Replaces entry n of [N, slots B, 4H] by z [slots, B, 4H]."""
  return jax.lax.dynamic_update_index_in_dim(zs, z.reshape(-1, z.shape[-1]), n,
                                             0)
