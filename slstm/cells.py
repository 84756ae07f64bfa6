"""The LSTM cell, analog or spiking: one update of one (element, step).

  z_k = W_k x_n + U_k h_{n-1} + b_k         k in {i, f, g, o}
  i, f, o = sigma(z),  g = phi(z)
  c_n = f c_{n-1} + i g
  h_n = o phi(c_n)

The product is apart from the element-wise rest, because the executors differ
in how many products they fuse. A site that has a neuron replaces its squashing
function by that neuron's spikes; the equations stay the same and are written
once, in `lstm_equations`.
"""

import functools
from typing import Any, Callable

import jax
import jax.numpy as jnp

from slstm import activations
from slstm import neurons
from slstm import types
from slstm.types import (Array, CellState, Config, Gates, Layer, Neuron, Record,
                         Sites)

Squash = Callable[[str, Array], Array]


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


def update(layer: Layer, z: Array, c_nm1: Array, membranes: Sites,
           config: Config) -> tuple[Record, Sites]:
  """One update of a layer, with spikes at its converted sites.

  A layer without neurons is the source LSTM (ANN). With neurons this is
  c_{n,t} = f_{n,t} c_{n-1,t} + i_{n,t} g_{n,t}. With coupling 'shared' the
  state of (n-1, t) is the same for all t, see `carried`.

  Args:
    layer: parameters; sites without a neuron stay analog.
    z: packed pre-activations of (n, t), [..., 4H].
    c_nm1: cell state of (n-1, t), [..., H].
    membranes: membranes of (n, t-1) at the converted sites, each [..., H].
    config: static choices.

  Returns:
    (record, membranes): what was computed, and the membranes of (n, t).
  """
  moved = {}

  def fire(site, neuron, d):
    moved[site], spikes = neurons.step(neuron, getattr(membranes, site), d, site
                                       in types.SIGNED_SITES, config.surrogate,
                                       config.width)
    return spikes

  record = _record(layer, fire, z, c_nm1, config)
  return record, Sites(**moved)


def element(layer: Layer, z: Array, c_nm1: Array,
            config: Config) -> tuple[CellState, Record]:
  """All T updates of an element at once: what T times `update` gives.

  Only the neurons have to go from one step to the next; all else is computed
  for all t together, and once where it is the same for all.

  Args:
    layer: parameters; sites without a neuron stay analog.
    z: packed pre-activations, [slots, ..., 4H], see `config.slots`.
    c_nm1: cell states of the element before, [slots, ..., H].
    config: static choices.

  Returns:
    (state, record): what the next element starts from, [slots, ..., H], and
    what was computed, [T, ..., H].
  """

  def fire(site, neuron, d):
    return neurons.spike_train(neuron, over_steps(d, config), site
                               in types.SIGNED_SITES, config.surrogate,
                               config.width)

  record = _record(layer, fire, z, c_nm1, config)
  return carried(record.state, config), over_steps(record, config)


def over_steps(tree: Any, config: Config) -> Any:
  """Leaves [slots, ...] that all steps of an element share, as [T, ...]."""
  return jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (config.num_steps, *leaf.shape[1:])),
      tree)


def carried(state: CellState, config: Config) -> CellState:
  """What the next element starts from, given where the T steps ended."""
  if config.coupling == 'step':
    return state
  return jax.tree.map(lambda leaf: _mean(leaf, len(leaf)), state)


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


def _record(layer: Layer, fire: Callable[[str, Neuron, Array], Array], z: Array,
            c_nm1: Array, config: Config) -> Record:
  """The equations, where `fire` gives the spikes of a neuron's drive."""
  spikes = {}

  def squash(site, d):
    neuron = getattr(layer.neurons, site)
    if neuron is None:
      return activations.squash(site, d, config)
    spikes[site] = fire(site, neuron, d)
    return neurons.align(neuron.amplitude, spikes[site]) * spikes[site]

  state, drive, output = lstm_equations(squash, split(z), c_nm1, config.slope)
  return Record(drive, output, Sites(**spikes), state)


def rate_update(layer: Layer, z: Array, c_nm1: Array, config: Config) -> Record:
  """One update in which each site outputs its mean over the T steps ('rate').

  Every drive is constant over t, so a neuron's mean output is its staircase.
  The result tends to the hard source LSTM as T grows. What enters the next
  product is a rate, not a spike: a reference, not an SNN to deploy.
  """

  def squash(site, d):
    neuron = getattr(layer.neurons, site)
    if neuron is None:
      return activations.squash(site, d, config)
    return neurons.staircase(neuron, d, config.num_steps, site
                             in types.SIGNED_SITES, config.surrogate,
                             config.width)

  state, drive, output = lstm_equations(squash, split(z), c_nm1, config.slope)
  return Record(drive, output, Sites(), state)


def initial_membranes(layer: Layer, shape: tuple[int, ...]) -> Sites:
  """Membranes v_0 of a layer's converted sites, each of the given shape."""
  return Sites(
      **{
          site: neurons.initial_membrane(getattr(layer.neurons, site), shape)
          for site in layer.neurons.present
      })


def input_product(layer: Layer, x: Array) -> Array:
  """W x + b for the whole sequence at once, [N, S, B, 4H]."""
  return x @ fuse(layer.w) + fuse(layer.b).reshape(1, 1, 1, -1)


def spread(layer: Layer, shape: tuple[int, ...]) -> Layer:
  """A layer whose neurons are those of `neurons.spread`."""
  sites = {
      site: neurons.spread(getattr(layer.neurons, site), shape)
      for site in layer.neurons.present
  }
  return layer._replace(neurons=layer.neurons._replace(**sites))
