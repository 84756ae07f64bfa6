"""The wavefront: all (n, t, layer) on an anti-diagonal are updated at once."""

import functools

import jax
import jax.numpy as jnp

from slstm import cells
from slstm.types import Array


def wavefront(layers, x, state, config, observe):
  """Runs all layers along n + t + layer = k; (h, state, observed)."""
  slots, batch = state[0].h.shape[:2]
  num_elements = x.shape[0]
  num_diagonals = num_elements + slots + len(layers) - 2
  slot = jnp.arange(slots)
  weights = [(cells.fuse(layer.w), cells.fuse(layer.u), cells.fuse(layer.b))
             for layer in layers]
  starts = [
      cells.initial_membranes(layer, (1,) + s.h.shape[1:])
      for layer, s in zip(layers, state)
  ]
  spread = [
      cells.spread(layer, s.h.shape[1:]) for layer, s in zip(layers, state)
  ]

  def shift(start, membranes):
    """Hands the membranes of slot t to slot t + 1; slot 0 starts anew."""
    return jax.tree.map(lambda v_0, v: jnp.concatenate([v_0, v[:-1]]), start,
                        membranes)

  def diagonal(carry, inputs):
    k, zx_k = inputs
    new_carry, outputs = [], []
    for index, (layer, (w, u, b)) in enumerate(zip(spread, weights)):
      state_nm1, membranes = carry[index]
      if index == 0:
        zx = zx_k
      else:  # the layer below was at the same (n, t) one diagonal ago
        zx = carry[index - 1][0].h @ w + b.reshape(1, 1, -1)
      update = functools.partial(cells.update, layer, config=config)
      over_slots = jax.vmap(lambda z, c, v, update=update: update(z, c, v))
      record, membranes = over_slots(zx + state_nm1.h @ u, state_nm1.c,
                                     shift(starts[index], membranes))
      n = k - slot - index
      active = ((n >= 0) & (n < num_elements)).reshape(-1, 1, 1)
      new_state = jax.tree.map(functools.partial(jnp.where, active),
                               record.state, state_nm1)
      new_carry.append((new_state, membranes))
      outputs.append(jax.vmap(observe)(record))
    return tuple(new_carry), (new_carry[-1][0].h, tuple(outputs))

  start = tuple((s, cells.initial_membranes(layer, s.h.shape))
                for layer, s in zip(layers, state))
  diagonals = (jnp.arange(num_diagonals),
               _skew(cells.input_product(layers[0], x), slots, num_diagonals))
  carry, (h, observed) = jax.lax.scan(diagonal, start, diagonals)
  unskew = lambda leaf, index: _unskew(leaf, index, num_elements)
  return (unskew(h,
                 len(layers) - 1),
          tuple(layer_state for layer_state, _ in carry),
          tuple(
              jax.tree.map(functools.partial(unskew, index=index), leaf)
              for index, leaf in enumerate(observed)))


def _skew(zx: Array, slots: int, num_diagonals: int) -> Array:
  """[N, S, ...] -> [diagonals, T, ...] with out[k, t] = zx[k - t, t]."""
  zx = jnp.broadcast_to(zx, zx.shape[:1] + (slots,) + zx.shape[2:])
  tail = num_diagonals - zx.shape[0]
  columns = [
      jnp.pad(zx[:, t], [(t, tail - t)] + [(0, 0)] * (zx.ndim - 2))
      for t in range(slots)
  ]
  return jnp.stack(columns, axis=1)


def _unskew(diagonals: Array, layer: int, num_elements: int) -> Array:
  """[diagonals, T, ...] -> [N, T, ...]: out[n, t] = in[n + t + layer, t]."""
  columns = [
      diagonals[t + layer:t + layer + num_elements, t]
      for t in range(diagonals.shape[1])
  ]
  return jnp.stack(columns, axis=1)
