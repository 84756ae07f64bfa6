"""The wavefront: all (n, t, layer) on an anti-diagonal are updated at once.

Step k updates every (n, t, layer) with n + t + layer = k, all time slots by one
`vmap`, so that N + T + L - 2 dependent steps do what takes L N T one after the
other.
"""

import functools
from typing import Sequence

import jax
import jax.numpy as jnp

from slstm import cells
from slstm import neurons
from slstm.scan import Observer
from slstm.scan import Run
from slstm.types import Array, CellState, Config, Layer


def obstacle(layers: Sequence[Layer], config: Config) -> str | None:
  """Why the wavefront cannot run a network, in a sentence; None if it can."""
  if config.coupling != 'step':
    return ("with coupling 'shared' the state of an element needs all of its T "
            'steps, so no step of element n can start before element n-1 has '
            'ended.')
  kinds = [
      neurons.kind_of(neuron)
      for layer in layers
      for neuron in layer.neurons
      if neuron is not None
  ]
  if config.num_steps > 1 and any(kind.carried for kind in kinds):
    return ('the state of a neuron goes from the last step of element n-1 to '
            'the first of element n, so these cannot overlap.')
  return None


def wavefront(layers: Sequence[Layer], x: Array, state: Sequence[CellState],
              config: Config, observe: Observer) -> Run:
  """Runs all layers along n + t + layer = k; see `scan` for the arguments.

  Raises:
    ValueError: if the network cannot be pipelined, see `obstacle`.
  """
  reason = obstacle(layers, config)
  if reason:
    raise ValueError(f'wavefront: {reason} Use executor `stacked`.')
  slots, batch = state[0].h.shape[:2]
  num_elements = x.shape[0]
  num_diagonals = num_elements + slots + len(layers) - 2
  slot = jnp.arange(slots)
  weights = [(cells.fuse(layer.w), cells.fuse(layer.u), cells.fuse(layer.b))
             for layer in layers]
  spread = [
      cells.broadcast(layer, s.h.shape[1:]) for layer, s in zip(layers, state)
  ]

  def starts(layer, carried, states):
    """What slot t + 1 begins with is where slot t ended."""
    first = cells.initial_states(layer, carried, (1, batch))
    return jax.tree.map(lambda start, v: jnp.concatenate([start, v[:-1]]),
                        first, states)

  def diagonal(carry, inputs):
    k, zx_k = inputs
    new_carry, outputs = [], []
    for index, (layer, (w, u, b)) in enumerate(zip(spread, weights)):
      nm1, states = carry[index]
      if index == 0:
        zx = zx_k
      else:  # the layer below was at the same (n, t) one diagonal ago
        zx = carry[index - 1][0].h @ w + b.reshape(1, 1, -1)
      update = functools.partial(cells.update, layer, config=config)
      over_slots = jax.vmap(lambda z, c, v, update=update: update(z, c, v))
      record, states = over_slots(zx + nm1.h @ u, nm1.c,
                                  starts(layer, nm1.neurons, states))
      n = k - slot - index
      active = ((n >= 0) & (n < num_elements)).reshape(-1, 1, 1)
      new = record.state._replace(neurons=cells.carried_states(layer, states))
      new = jax.tree.map(functools.partial(jnp.where, active), new, nm1)
      new_carry.append((new, states))
      outputs.append(jax.vmap(observe)(record))
    return tuple(new_carry), (new_carry[-1][0].h, tuple(outputs))

  # A state that is carried has no axis of slots; here it has one, of size 1.
  slotted = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)
  start = tuple(
      (s._replace(neurons=slotted(s.neurons)),
       cells.initial_states(layer, slotted(s.neurons), (slots, batch)))
      for layer, s in zip(layers, state))
  diagonals = (jnp.arange(num_diagonals),
               _skew(cells.input_product(layers[0], x), slots, num_diagonals))
  carry, (h, observed) = jax.lax.scan(diagonal, start, diagonals)
  unskew = lambda leaf, index: _unskew(leaf, index, num_elements)
  final = tuple(
      s._replace(neurons=jax.tree.map(lambda leaf: leaf[0], s.neurons))
      for s, _ in carry)
  return Run(
      unskew(h,
             len(layers) - 1), final,
      tuple(
          jax.tree.map(functools.partial(unskew, index=index), leaf)
          for index, leaf in enumerate(observed)))


def _skew(zx: Array, slots: int, num_diagonals: int) -> Array:
  """[N, (slots,) ...] -> [diagonals, slots, ...]: out[k, t] = zx[k - t, t]."""
  if zx.ndim == 3:
    zx = zx[:, None]
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
