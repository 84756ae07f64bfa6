"""The LSTM cell, analog or spiking: one update of one (element, step).

  z_k = W_k x_n + U_k h_{n-1} + b_k         k in {i, f, g, o}
  i, f, o = sigma(z),  g = phi(z)
  c_n = f c_{n-1} + i g
  h_n = o phi(c_n)

The product is apart from the element-wise rest, because the executors differ
in how many products they fuse. A site that has a neuron replaces its squashing
function by that neuron's output. The equations stay the same and are written
once, in `lstm_equations`.
"""

import functools
from typing import Any, Callable

import jax
import jax.numpy as jnp

from slstm import activations
from slstm import neurons
from slstm import types
from slstm.types import Array, CellState, Config, Gates, Layer, Record, Sites

Squash = Callable[[str, Array], Array]
# Maps (site, neuron, drive) to (output, spikes).
Fired = Callable[[str, Any, Array], tuple[Array, Array]]


def fuse(gates: Gates) -> Array:
  """Packs [..., H] of four gates into one [..., 4H], in the order i f g o."""
  return jnp.concatenate(gates, axis=-1)


def split(z: Array) -> Gates:
  """The inverse of `fuse`."""
  return Gates(*jnp.split(z, 4, axis=-1))


def lstm_equations(squash: Squash, z: Gates, c_nm1: Array,
                   slope: float) -> tuple[CellState, Sites, Sites]:
  """The element-wise half of an LSTM, for any squashing functions.

  Args:
    squash: maps (site, normalised drive) to the site's output.
    z: pre-activations, each [..., H].
    c_nm1: cell state of the element before, [..., H].
    slope: a of the hard sigmoid.

  Returns:
    (state, drive, output): the new h and c, and what went into and came out of
    each site.
  """
  gates = {k: activations.normalise(k, getattr(z, k), slope) for k in z._fields}
  i, f, g, o = (squash(k, gates[k]) for k in z._fields)
  c = f * c_nm1 + i * g
  squashed_c = squash('c', c)
  product = o * squashed_c
  h = squash('h', product)
  drive = Sites(**gates, c=c, h=product)
  return CellState(h, c), drive, Sites(i, f, g, o, squashed_c, h)


def update(layer: Layer, z: Array, c_nm1: Array, states: Sites,
           config: Config) -> tuple[Record, Sites]:
  """One update of a layer, with spikes at its converted sites.

  A layer without neurons is the source LSTM (ANN). With neurons this is
  c_{n,t} = f_{n,t} c_{n-1,t} + i_{n,t} g_{n,t}. With coupling 'shared' the
  state of (n-1, t) is the same for all t, see `next_state`.

  Args:
    layer: parameters; sites without a neuron stay analog.
    z: packed pre-activations of (n, t), [..., 4H].
    c_nm1: cell state of (n-1, t), [..., H].
    states: of the neurons before (n, t), leaves [..., H].
    config: static choices.

  Returns:
    (what was computed, the neurons' states after (n, t)).
  """
  after, fire = {}, neurons.firing(config)

  def fired(site, neuron, d):
    kind, before = neurons.kind_of(neuron), getattr(states, site)
    signed = site in types.SIGNED_SITES
    after[site], s = kind.step(neuron, before, d, signed=signed, fire=fire)
    return kind.output(neuron, before, s[None])[0], s

  return _record(layer, fired, z, c_nm1, config), Sites(**after)


def element(layer: Layer, z: Array, state_nm1: CellState,
            config: Config) -> tuple[CellState, Record]:
  """All T updates of an element at once: what T times `update` gives.

  Only neurons go from one step to the next. All else is computed for all t
  together, and once where it is the same for all.

  Args:
    layer: parameters; sites without a neuron stay analog.
    z: packed pre-activations, [slots, B, 4H], see `Config.slots`.
    state_nm1: of the element before; its h is not read.
    config: static choices.

  Returns:
    (what the next element starts from, what was computed [T, B, H]).
  """
  starts = initial_states(layer, state_nm1.neurons, z.shape[1:-1])
  after, fire = {}, neurons.firing(config)

  def fired(site, neuron, d):
    start, signed = getattr(starts, site), site in types.SIGNED_SITES
    d = over_steps(d, config)
    after[site], s = neurons.run(neuron, start, d, signed=signed, fire=fire)
    return neurons.kind_of(neuron).output(neuron, start, s), s

  record = _record(layer, fired, z, state_nm1.c, config)
  state = next_state(layer, record.state, Sites(**after), config)
  return state, over_steps(record, config)


def _record(layer: Layer, fired: Fired, z: Array, c_nm1: Array,
            config: Config) -> Record:
  """The equations, where `fired` runs the neuron of a site."""
  spikes = {}

  def squash(site, d):
    neuron = getattr(layer.neurons, site)
    if neuron is None:
      return activations.squash(site, d, config)
    output, spikes[site] = fired(site, neuron, d)
    return output

  state, drive, output = lstm_equations(squash, split(z), c_nm1, config.slope)
  return Record(drive, output, Sites(**spikes), state)


def over_steps(tree: Any, config: Config) -> Any:
  """Leaves [slots, ...] that all steps of an element share, as [T, ...]."""
  return jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (config.num_steps, *leaf.shape[1:])),
      tree)


def initial_states(layer: Layer, carried: Sites, shape: tuple) -> Sites:
  """States of a layer's neurons before the first step of an element.

  Args:
    layer: parameters.
    carried: states of the neurons that live for the whole sequence.
    shape: of a state, without H.
  """
  starts, shape = carried._asdict(), (*shape, layer.num_units)
  for site, neuron in _present(layer):
    if not neurons.kind_of(neuron).carried:
      starts[site] = neurons.initial_state(neuron, shape)
  return Sites(**starts)


def carried_states(layer: Layer, states: Sites) -> Sites:
  """Those of the states that live for the whole sequence."""
  return Sites(**{site: getattr(states, site) for site in _carried(layer)})


def zero_state(layer: Layer, slots: int, batch: int, dtype: Any) -> CellState:
  """The state before the first element: h = c = 0, and neurons at rest."""
  zeros = jnp.zeros((slots, batch, layer.num_units), dtype)
  shape = zeros.shape[1:]
  at_rest = {
      k: neurons.initial_state(v, shape) for k, v in _carried(layer).items()
  }
  return CellState(zeros, zeros, Sites(**at_rest))


def _present(layer: Layer) -> list[tuple[str, Any]]:
  return [(k, getattr(layer.neurons, k)) for k in layer.neurons.present]


def _carried(layer: Layer) -> dict[str, Any]:
  """The neurons whose state lives for the whole sequence, by site."""
  return {k: v for k, v in _present(layer) if neurons.kind_of(v).carried}


def next_state(layer: Layer, state: CellState, states: Sites,
               config: Config) -> CellState:
  """What the next element starts from.

  Args:
    layer: parameters.
    state: where the T steps ended, h and c [T, B, H], or [1, B, H] if they are
      the same for all t.
    states: of the neurons after the last step.
    config: static choices.
  """
  h, c = state.h, state.c
  if config.coupling == 'shared':
    h = h[-1:] if is_cumulative(layer) else _mean(h, len(h))
    c = _mean(c, len(c))
  return CellState(h, c, carried_states(layer, states))


def is_cumulative(layer: Layer) -> bool:
  """Whether the output of a layer is a running sum of spikes."""
  neuron = layer.neurons.h
  return neuron is not None and neurons.kind_of(neuron).cumulative


def check_sites(layer: Layer, what: str, config: Config) -> None:
  """Raises ValueError where neurons stand that cannot stand there."""
  for site, neuron in _present(layer):
    if not neurons.kind_of(neuron).cumulative:
      continue
    name = type(neuron).__name__
    if site != 'h' or len(_present(layer)) > 1:
      raise ValueError(
          f'{what} has neurons at {", ".join(layer.neurons.present)}, of them '
          f'a {name} at {site}. Its output is a running sum of spikes: it '
          'stands at h, the only neuron of its layer, or at the input.')
    if config.slots > 1:
      raise ValueError(
          f'{what}: a {name} takes T = {config.num_steps} steps from one state '
          "of h; expected coupling 'shared', or T = 1.")


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _mean(leaf: Array, count: int) -> Array:
  """Mean over the first axis, of `count` entries, which stays.

  It adds up term by term: for more than four XLA would start a kernel for a
  reduction, which takes longer than all else in an element at B = 1. The
  gradient of that would be a sum of T padded arrays, hence one of its own.
  """
  return functools.reduce(jnp.add, list(leaf))[None] / count


_mean.defvjp(
    lambda leaf, count: (_mean(leaf, count), None), lambda count, _, d:
    (jnp.broadcast_to(d / count, (count, *d.shape[1:])),))


def input_product(layer: Layer, x: Array) -> Array:
  """W x + b for the whole sequence at once, [..., 4H]."""
  b = fuse(layer.b)
  return x @ fuse(layer.w) + b.reshape((1,) * (x.ndim - 1) + b.shape)


def broadcast(layer: Layer, shape: tuple[int, ...]) -> Layer:
  """A layer whose neurons are those of `neurons.broadcast`."""
  sites = {k: neurons.broadcast(v, shape) for k, v in _present(layer)}
  return layer._replace(neurons=Sites(**sites))
