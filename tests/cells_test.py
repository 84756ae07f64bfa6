"""Tests of slstm.cells: one update, for every subset of converted sites."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import cells
from slstm import types
from slstm.types import CellState, Config, Gates
from tests import networks
from tests import oracle

SUBSETS = [
    subset for size in range(len(types.SITES) + 1)
    for subset in itertools.combinations(types.SITES, size)
]


def squash_of(layer, membranes, fired, config):
  """The squashing functions of a converted layer, as the oracle has them."""

  def squash(site, d):
    neuron = getattr(layer.neurons, site)
    ternary = oracle.TERNARY[site]
    if neuron is None:
      return oracle.activation(site, d, config)
    fired[site] = oracle.lif_step(neuron, getattr(membranes, site), d, ternary)
    return neuron.amplitude * fired[site][1]

  return squash


def as_dict(sites):
  return {name: getattr(sites, name) for name in sites.present}


def case(subset, batch=3):
  """Random dyadic (layer, z, c, membranes) of one update."""
  rng = np.random.default_rng(sum(map(ord, subset)))
  layer, = networks.dyadic_layers(rng, [subset])
  shape = (batch, networks.HIDDEN)
  z = Gates(*(networks.grid(rng, shape, 8, 0.25) for _ in range(4)))
  c = networks.grid(rng, shape, 8, 0.25)
  membranes = types.Sites(
      **{site: networks.grid(rng, shape, 4, 0.125) for site in subset})
  return layer, z, c, membranes


def check(record, expected):
  h, c, drive, output = expected
  np.testing.assert_array_equal(record.state.h, h)
  np.testing.assert_array_equal(record.state.c, c)
  jax.tree.map(np.testing.assert_array_equal, as_dict(record.drive), drive)
  jax.tree.map(np.testing.assert_array_equal, as_dict(record.output), output)


def test_gates_are_packed_in_the_order_i_f_g_o():
  gates = Gates(*(jnp.full((2, 3), value) for value in (1, 2, 3, 4)))
  packed = cells.fuse(gates)
  np.testing.assert_array_equal(packed[0], np.repeat([1, 2, 3, 4], 3))
  jax.tree.map(np.testing.assert_array_equal, cells.split(packed), gates)


def test_the_equations_for_given_gates():
  """h and c by hand, with squashing functions that tell the sites apart."""
  constants = {'i': 2.0, 'f': 3.0, 'g': 5.0, 'o': 7.0}

  def squash(site, d):
    if site in constants:
      return jnp.full_like(d, constants[site])
    return 10 * d if site == 'c' else d + 0.5

  z = Gates(*(jnp.full((1, 1), value) for value in (1.0, 2.0, 3.0, 4.0)))
  state, drive, output = cells.lstm_equations(squash, z, jnp.ones((1, 1)), 2.0)
  c = 3 * 1 + 2 * 5
  assert state.c == c and state.h == 7 * 10 * c + 0.5
  assert [float(d[0, 0]) for d in drive
         ] == [1 / 4 + 0.5, 2 / 4 + 0.5, 3.0, 4 / 4 + 0.5, c, 70 * c]
  assert [float(y[0, 0]) for y in output] == [2, 3, 5, 7, 10 * c, 70 * c + 0.5]


@pytest.mark.parametrize('subset', SUBSETS, ids=''.join)
def test_update_agrees_with_the_oracle(subset):
  layer, z, c, membranes = case(subset)
  config = Config(slope=0.5)
  record, new_membranes = cells.update(layer, cells.fuse(z), c, membranes,
                                       config)
  fired = {}
  layer, z, c, membranes = oracle.cast((layer, z, c, membranes), np.float32)
  check(
      record,
      oracle.lstm_update(squash_of(layer, membranes, fired, config),
                         z._asdict(), c, config.slope))
  assert record.spikes.present == new_membranes.present == subset
  for site, (v, s) in fired.items():
    np.testing.assert_array_equal(getattr(new_membranes, site), v)
    np.testing.assert_array_equal(getattr(record.spikes, site), s)


def test_membranes_start_at_v_0_at_the_converted_sites():
  layer, _, c, _ = case(('f', 'g'))
  start = cells.initial_states(layer, types.Sites(), c.shape[:-1])
  assert start.present == ('f', 'g')
  for site, v in as_dict(start).items():
    v_0 = np.asarray(getattr(layer.neurons, site).v_0)
    np.testing.assert_array_equal(v, np.tile(v_0, (len(c), 1)))


def test_jit_changes_nothing():
  layer, z, c, membranes = case(types.SITES)
  args = layer, cells.fuse(z), c, membranes, Config(slope=0.5)
  jitted = jax.jit(cells.update, static_argnums=4)
  jax.tree.map(np.testing.assert_array_equal, cells.update(*args),
               jitted(*args))


def test_the_gradient_of_the_carried_mean_is_that_of_a_mean():
  state = CellState(*jnp.linspace(-1.0, 1.0, 60).reshape(2, 5, 2, 3))
  config = Config(num_steps=5, coupling='shared')
  layer, *_ = case(())
  means, pull = jax.vjp(
      lambda state: cells.next_state(layer, state, types.Sites(), config),
      state)
  plain, pull_plain = jax.vjp(
      lambda state: jax.tree.map(lambda a: a.mean(0, keepdims=True), state),
      state)
  d = CellState(*jnp.arange(12.0).reshape(2, 1, 2, 3))
  for got, expected in ((means, plain), (pull(d), pull_plain(d))):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        got, expected)


@pytest.mark.parametrize('coupling', ['step', 'shared'])
@pytest.mark.parametrize('subset', [(), ('h',), ('o', 'c'), types.SITES],
                         ids=''.join)
def test_an_element_is_its_updates_one_after_the_other(subset, coupling):
  layer, _, _, _ = case(subset)
  rng = np.random.default_rng(1)
  config = Config(slope=0.5, num_steps=3, coupling=coupling)
  shape = (config.slots, 2, networks.HIDDEN)
  z = networks.grid(rng, (*shape[:-1], 4 * networks.HIDDEN), 8, 0.25)
  nm1 = CellState(*(networks.grid(rng, shape, 8, 0.25) for _ in 'hc'))
  state, record = cells.element(layer, z, nm1, config)
  states = cells.initial_states(layer, nm1.neurons, shape[1:-1])
  steps = []
  for t in range(config.num_steps):
    slot = t if coupling == 'step' else 0
    one, states = cells.update(layer, z[slot], nm1.c[slot], states, config)
    steps.append(one)
  expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)
  jax.tree.map(np.testing.assert_array_equal, record, expected)
  end = expected.state
  if coupling == 'shared':
    end = jax.tree.map(lambda leaf: leaf.mean(0, keepdims=True), end)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state,
               end)


def test_the_input_product_adds_the_bias():
  layer, *_ = case(())
  x = networks.dyadic_input(np.random.default_rng(0), 5, 2)
  packed = cells.input_product(layer, x)
  for k, z in cells.split(packed)._asdict().items():
    w, b = np.asarray(getattr(layer.w, k)), np.asarray(getattr(layer.b, k))
    np.testing.assert_array_equal(z, np.asarray(x) @ w + b)
