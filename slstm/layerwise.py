"""The schedules that run one whole layer after the other."""

import functools

import jax
import jax.numpy as jnp

from slstm import cells
from slstm.types import CellState


def layer_by_layer(run_layer, layers, x, state, config, observe):
  """Runs `sequential` or `stacked` for every layer; (h, state, observed)."""
  final, observed = [], []
  for layer, layer_state in zip(layers, state):
    layer_state, (x, seen) = run_layer(layer, cells.input_product(layer, x),
                                       layer_state, config, observe)
    final.append(layer_state)
    observed.append(seen)
  return x, tuple(final), tuple(observed)


def _rate(layer, zx, state, config, observe):
  """A layer with 'rate' coupling: one update an element."""
  u = cells.fuse(layer.u)

  def element(state, zx_n):
    record = cells.rate_update(layer, zx_n + state.h @ u, state.c, config)
    return record.state, (record.state.h, jax.vmap(observe)(record))

  return jax.lax.scan(element, state, zx)


def sequential(layer, zx, state, config, observe):
  """A layer, one (n, t) after the other: a scan over t in a scan over n."""
  if config.coupling == 'rate':
    return _rate(layer, zx, state, config, observe)
  u = cells.fuse(layer.u)
  shape = state.h.shape[1:]

  def time_step(membranes, inputs):
    zx_nt, state_nm1 = inputs
    record, membranes = cells.update(layer, zx_nt + state_nm1.h @ u,
                                     state_nm1.c, membranes, config)
    return membranes, (record.state, observe(record))

  def element(state, zx_n):
    each_step = jax.tree.map(
        lambda a: jnp.broadcast_to(a, (config.num_steps, *a.shape[1:])),
        (zx_n, state))
    _, (state, seen) = jax.lax.scan(time_step,
                                    cells.initial_membranes(layer, shape),
                                    each_step)
    state = cells.carried(state, config)
    return state, (state.h, seen)

  return jax.lax.scan(element, state, zx)


def stacked(layer, zx, state, config, observe, lean=False):
  """A layer, one element after the other: T products in one."""
  if config.coupling == 'rate':
    return _rate(layer, zx, state, config, observe)

  def elementwise(spread, z, c_nm1):
    state, record = cells.element_spread(layer._replace(neurons=spread), z,
                                         c_nm1, config)
    return state, jax.vmap(observe)(record)

  spread = cells.spread(layer, state.h.shape[1:]).neurons
  return _recurrent_scan(elementwise, lean, cells.fuse(layer.u), spread, state,
                         zx)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recurrent_scan(elementwise, lean, u, spread, state, zx):
  """Scans an element-wise half and the product z_n = zx_n + h_{n-1} u.

  The forward pass keeps z, h and c. The backward pass computes the element-wise
  half again, for to keep all of it costs more than that, and the gradient of u
  by one product of all h_{n-1} and all dz_n after its scan. A lean scan keeps h
  and c only: z is computed again, too, and the gradient of u adds up inside.

  Args:
    elementwise: maps (spread, z [slots, B, 4H], c_{n-1} [slots, B, H]) to
      (state of n, what is observed), see `config.slots`.
    lean: whether to save memory for time.
    u: packed recurrent weights, [H, 4H].
    spread: neurons, one value for each entry of h.
    state: before the first element, h and c [slots, B, H].
    zx: [N, slots, B, 4H] or [N, 1, B, 4H].

  Returns:
    (state, (h [N, slots, B, H], what is observed)).
  """
  return _recurrent_scan_fwd(elementwise, lean, u, spread, state, zx)[0]


def _recurrent_scan_fwd(elementwise, lean, u, spread, state, zx):

  def element(nm1, zx_n):
    z = zx_n + nm1.h @ u
    state, seen = elementwise(spread, z, nm1.c)
    return state, ((state.h, seen), (nm1, zx_n if lean else z))

  state, (outputs, kept) = jax.lax.scan(element, state, zx)
  return (state, outputs), (u, spread, kept, zx.shape[1])


def _recurrent_scan_bwd(elementwise, lean, residuals, cotangents):
  u, spread, kept, num_inputs = residuals
  d_state, d_outputs = cotangents

  def summed(dz):  # all t share an input that has one slot
    return dz if num_inputs == dz.shape[-3] else dz.sum(-3, keepdims=True)

  def element(carry, inputs):
    d_state, d_spread, d_u = carry
    (nm1, z), (d_h, d_seen) = inputs
    if lean:
      z = z + nm1.h @ u
    _, pull = jax.vjp(elementwise, spread, z, nm1.c)
    d_spread_n, dz, d_c = pull((d_state._replace(h=d_state.h + d_h), d_seen))
    d_spread = jax.tree.map(jnp.add, d_spread, d_spread_n)
    d_nm1 = CellState(dz @ u.T, d_c)
    if lean:
      d_u += jnp.einsum('tbh,tbk->hk', nm1.h, dz)
      dz = summed(dz)
    return (d_nm1, d_spread, d_u), dz

  zeros = jax.tree.map(jnp.zeros_like, (spread, u))
  (d_state, d_spread, d_u), dz = jax.lax.scan(element, (d_state, *zeros),
                                              (kept, d_outputs),
                                              reverse=True)
  if not lean:
    d_u = jnp.einsum('ntbh,ntbk->hk', kept[0].h, dz)
    dz = summed(dz)
  return d_u, d_spread, d_state, dz


_recurrent_scan.defvjp(_recurrent_scan_fwd, _recurrent_scan_bwd)
