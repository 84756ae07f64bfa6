"""Runs stacked LSTM layers over N elements and T steps, in three schedules.

The update of (n, t) needs the state of (n-1, t), the membranes of (n, t-1) and
the output of the layer below at (n, t), and nothing else:

  sequential  L N T dependent steps, one after the other: the oracle
  stacked     L N dependent steps; the T recurrent products of an element are
              one [T B, H] x [H, 4H] product
  wavefront   N + T + L - 2 dependent steps; step k updates every (n, t, layer)
              with n + t + layer = k, all time slots at once by `vmap`

All of them compute the same function. Coupling 'rate' averages over t inside
each element: there is nothing to pipeline, so wavefront refuses it, and
sequential and stacked share its single schedule.
"""

import functools
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp

from slstm import cells
from slstm import neurons
from slstm import types
from slstm.types import Array, CellState, Config, Layer, Record

Observer = Callable[[Record], Any]


class Run(NamedTuple):
  """What an executor returns.

  Attributes:
    h: output of the last layer, [N, T, B, H].
    state: final state of each layer, h and c [T, B, H]; feed it back as
      `state` to continue the sequence.
    observed: for each layer what `observe` made of its records, [N, T, ...].
  """
  h: Array
  state: tuple[CellState, ...]
  observed: tuple[Any, ...]


def run(layers: Sequence[Layer],
        x: Array,
        config: Config,
        executor: str = 'stacked',
        observe: Observer | None = None,
        state: Sequence[CellState] | None = None) -> Run:
  """Runs the layers over a batch of sequences.

  Args:
    layers: parameters of each layer, first to last.
    x: input, [N, S, B, D], where S is 1 (the same input at every time step) or
      T. If dtypes differ, all is computed in the widest.
    config: static choices, among them T.
    executor: 'sequential', 'stacked' or 'wavefront'.
    observe: function of a Record; its outputs are stacked over n and t.
    state: initial state of each layer, h and c [T, B, H]; zeros by default.

  Returns:
    A `Run`. T is 1 for an ANN, and for coupling 'rate'.

  Raises:
    ValueError: for an unknown executor, shapes that do not fit each other, or
      coupling 'rate' under wavefront.
  """
  types.check_choice('executor', executor, tuple(EXECUTORS))
  if executor == 'wavefront' and config.coupling == 'rate':
    raise ValueError(
        "executor 'wavefront' cannot run coupling 'rate': the cell state of "
        'an element needs all T steps of its gates, so no step of element n '
        "can start before element n-1 has ended. Use executor 'stacked' or "
        "coupling 'step'.")
  slots = 1 if config.coupling == 'rate' else config.num_steps
  _check_shapes(layers, x, slots)
  start = tuple(
      zero_state(layer, slots, x.shape[2], layer.u.i.dtype) for layer in layers)
  if state is not None:
    _check_state(state, start)
    start = tuple(state)
  # A scan keeps the dtype of what it carries, so all share the widest.
  dtype = jnp.result_type(*jax.tree.leaves((layers, x, start)))
  layers, x, start = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype),
                                  (tuple(layers), x, start))
  observe = observe or (lambda record: ())
  return EXECUTORS[executor](layers, x, start, config, observe)


def zero_state(layer: Layer, slots: int, batch: int, dtype: Any) -> CellState:
  """The state before the first element: h = c = 0, each [T, B, H]."""
  zeros = jnp.zeros((slots, batch, layer.u.i.shape[0]), dtype)
  return CellState(zeros, zeros)


def _check_state(state: Sequence[CellState], like: Sequence[CellState]) -> None:
  if len(state) != len(like):
    raise ValueError(f'run: {len(state)} initial states for {len(like)} '
                     'layers; expected one a layer.')
  for index, (given, expected) in enumerate(zip(state, like)):
    for name, leaf in given._asdict().items():
      if leaf.shape != expected.h.shape:
        raise ValueError(
            f'run: state[{index}].{name} has shape {leaf.shape}; expected '
            f'[T, B, H] = {expected.h.shape}. Is it of another batch or T?')


def _check_shapes(layers: Sequence[Layer], x: Array, slots: int) -> None:
  if x.ndim != 4 or x.shape[1] not in (1, slots) or x.shape[0] < 1:
    raise ValueError(f'run: x has shape {x.shape}; expected [N, S, B, D] with '
                     f'N >= 1 and S = 1 or T = {slots}.')
  if not layers:
    raise ValueError('run: no layers; expected at least one.')
  features = x.shape[3]
  for index, layer in enumerate(layers):
    hidden = layer.u.i.shape[0]
    for name, gates, expected in (('w', layer.w, (features, hidden)),
                                  ('u', layer.u, (hidden, hidden)),
                                  ('b', layer.b, (hidden,))):
      for gate, leaf in zip(gates._fields, gates):
        if leaf.shape != expected:
          raise ValueError(
              f'run: layers[{index}].{name}.{gate} has shape {leaf.shape}; '
              f'expected {expected} for an input of {features} features. Does '
              'x have the feature count that the model was made for?')
    features = hidden


def _input_product(layer: Layer, x: Array) -> Array:
  """W x + b for the whole sequence at once, [N, S, B, 4H]."""
  return x @ cells.fuse(layer.w) + cells.fuse(layer.b).reshape(1, 1, 1, -1)


def _layer_by_layer(run_layer, layers, x, state, config, observe):
  """Runs whole layers one after the other."""
  final, observed = [], []
  for layer, layer_state in zip(layers, state):
    layer_state, (x, seen) = run_layer(layer, _input_product(layer, x),
                                       layer_state, config, observe)
    final.append(layer_state)
    observed.append(seen)
  return Run(x, tuple(final), tuple(observed))


def _rate(layer, zx, state, config, observe):
  """A layer with 'rate' coupling: one update an element."""
  u = cells.fuse(layer.u)

  def element(state, zx_n):
    record = cells.rate_update(layer, zx_n + state.h @ u, state.c, config)
    return record.state, (record.state.h, jax.vmap(observe)(record))

  return jax.lax.scan(element, state, zx)


def _sequential(layer, zx, state, config, observe):
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
    zx_n = jnp.broadcast_to(zx_n, state.h.shape[:1] + zx_n.shape[1:])
    _, (state, seen) = jax.lax.scan(time_step,
                                    cells.initial_membranes(layer, shape),
                                    (zx_n, state))
    return state, (state.h, seen)

  return jax.lax.scan(element, state, zx)


def _stacked(layer, zx, state, config, observe):
  """A layer, one element after the other: T products in one."""
  if config.coupling == 'rate':
    return _rate(layer, zx, state, config, observe)
  slots, shape = len(state.h), state.h.shape[1:]

  # The backward pass computes the cheap element-wise half again from z and c,
  # for to store all of it costs more than that.
  @jax.checkpoint
  def elementwise(spread, z, c_nm1):
    spiking = layer._replace(neurons=spread)

    def time_step(membranes, inputs):
      z_t, c_nm1_t = inputs
      record, membranes = cells.update(spiking, z_t, c_nm1_t, membranes, config)
      return membranes, (record.state, observe(record))

    _, outputs = jax.lax.scan(time_step,
                              cells.initial_membranes(spiking,
                                                      shape), (z, c_nm1))
    return outputs

  return _recurrent_scan(elementwise, cells.fuse(layer.u),
                         _spread(layer, shape).neurons, state, zx)


def _spread(layer: Layer, shape: tuple[int, ...]) -> Layer:
  """A layer whose neurons have one value for each entry of h, [B, H]."""
  sites = {
      site: neurons.spread(getattr(layer.neurons, site), shape)
      for site in layer.neurons.present
  }
  return layer._replace(neurons=layer.neurons._replace(**sites))


def _recurrent_scan(elementwise, u, spread, state, zx):
  """Scans an element-wise half and the product z_n = zx_n + h_{n-1} u.

  The gradient of u is one product of all h_{n-1} and all dz_n after the
  backward scan, instead of an accumulation in each of its N steps.
  """

  def scan(u, spread, state, zx):

    def element(state, zx_n):
      state, seen = elementwise(spread, zx_n + state.h @ u, state.c)
      return state, (state.h, seen)

    return jax.lax.scan(element, state, zx)

  def forward(u, spread, state, zx):
    every_slot = jnp.broadcast_to(
        zx, zx.shape[:1] + state.h.shape[:1] + zx.shape[2:])
    outputs, backward_scan = jax.vjp(functools.partial(scan, u), spread, state,
                                     every_slot)
    h = outputs[1][0]
    return outputs, (backward_scan, jnp.concatenate([state.h[None], h[:-1]]))

  def backward(residuals, cotangents):
    backward_scan, h_nm1 = residuals
    d_spread, d_state, dz = backward_scan(cotangents)
    d_u = jnp.einsum('ntbh,ntbk->hk', h_nm1, dz)
    d_zx = dz if zx.shape[1] == dz.shape[1] else dz.sum(1, keepdims=True)
    return d_u, d_spread, d_state, d_zx

  hoisted = jax.custom_vjp(scan)
  hoisted.defvjp(forward, backward)
  return hoisted(u, spread, state, zx)


def _wavefront(layers, x, state, config, observe):
  """All layers along the anti-diagonals n + t + layer = k."""
  slots, batch = state[0].h.shape[:2]
  num_elements = x.shape[0]
  layers = [_spread(layer, s.h.shape[1:]) for layer, s in zip(layers, state)]
  num_diagonals = num_elements + slots + len(layers) - 2
  slot = jnp.arange(slots)
  weights = [(cells.fuse(layer.w), cells.fuse(layer.u), cells.fuse(layer.b))
             for layer in layers]
  starts = [
      cells.initial_membranes(layer, (1,) + s.h.shape[1:])
      for layer, s in zip(layers, state)
  ]

  def shift(start, membranes):
    """Hands the membranes of slot t to slot t + 1; slot 0 starts anew."""
    return jax.tree.map(lambda v_0, v: jnp.concatenate([v_0, v[:-1]]), start,
                        membranes)

  def diagonal(carry, inputs):
    k, zx_k = inputs
    new_carry, outputs = [], []
    for index, (layer, (w, u, b)) in enumerate(zip(layers, weights)):
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
               _skew(_input_product(layers[0], x), slots, num_diagonals))
  carry, (h, observed) = jax.lax.scan(diagonal, start, diagonals)
  unskew = lambda leaf, index: _unskew(leaf, index, num_elements)
  return Run(h=unskew(h,
                      len(layers) - 1),
             state=tuple(layer_state for layer_state, _ in carry),
             observed=tuple(
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


EXECUTORS: dict[str, Callable[..., Run]] = {
    'sequential': functools.partial(_layer_by_layer, _sequential),
    'stacked': functools.partial(_layer_by_layer, _stacked),
    'wavefront': _wavefront,
}
