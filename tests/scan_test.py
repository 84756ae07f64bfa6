"""Tests of slstm.scan and slstm.wavefront: one function, and the oracle."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import cells
from slstm import model as model_lib
from slstm.types import Config
from slstm.wavefront import obstacle
from tests import networks
from tests import oracle

EXECUTORS, NAMES = model_lib.EXECUTORS, model_lib.FORWARD
names = pytest.mark.parametrize('name', NAMES)

# (N, T, B, spiking sites of each of the L layers): every pair of values of N, T
# and L, then the subsets alone.
CASES = [
    (1, 1, 1, ['ifgoc']),
    (1, 2, 5, ['oc', 'ifgoc']),
    (1, 7, 5, ['h', 'oc', '']),
    (2, 1, 5, ['ifgoch', 'h']),
    (2, 2, 1, ['', 'ifgoc', 'i']),
    (2, 7, 5, ['ifgoc']),
    (7, 1, 5, ['oc', '', 'h']),
    (7, 2, 1, ['ifgoc']),
    (7, 7, 5, ['oc', 'ifg']),
    (7, 7, 1, ['h']),
    (7, 2, 5, ['oc']),
    (7, 2, 5, ['h']),
    (7, 1, 5, ['', '']),
]
# A few kinds of sites in two layers, for what needs one network only.
MIXED = ['oc', 'igh']


def network(sites, num_elements, num_steps, batch, per_step):
  """Random dyadic (layers, x, state, config)."""
  rng = np.random.default_rng(0)
  layers = networks.dyadic_layers(rng, sites)
  steps = (num_steps,) if per_step else ()
  x = networks.dyadic_input(rng, num_elements, *steps, batch)
  state = networks.dyadic_state(rng, layers, num_steps, batch)
  config = Config(family='quantised', levels=2, slope=0.5, num_steps=num_steps)
  return layers, x, state, config


def share(config, state):
  """The same with one state for all steps."""
  config = dataclasses.replace(config, coupling='shared')
  return config, jax.tree.map(lambda leaf: leaf[:1], state)


def keep_all(record):
  return record


def keep_nothing(_):
  return ()


def run(name, layers, x, config, state=None, observe=keep_nothing):
  """A `Run`; by default from the state before the first element."""
  if state is None:
    state = tuple(
        cells.zero_state(layer, config.slots, x.shape[-2], layer.u.i.dtype)
        for layer in layers)
  return EXECUTORS[name](layers, x, state, config, observe)


observed_eagerly = functools.partial(run, observe=keep_all)
observed = jax.jit(observed_eagerly, static_argnums=(0, 3))


def as_dict(sites):
  return {name: getattr(sites, name) for name in sites.present}


def check_against_oracle(found, layers, x, config, state=None):
  """Every value of every layer is the oracle's, bit for bit."""
  x = x[:, None] if x.ndim == 3 else x
  state = state and [(s.h, s.c) for s in state]
  expected = oracle.run(layers, x, config, np.float32, state)
  # The premise: nothing was rounded.
  jax.tree.map(np.testing.assert_array_equal, vars(expected),
               vars(oracle.run(layers, x, config, np.float64, state)))
  np.testing.assert_array_equal(found.h, expected.h)
  for index, record in enumerate(found.observed):
    np.testing.assert_array_equal(record.state.h, expected.all_h[index])
    np.testing.assert_array_equal(record.state.c, expected.all_c[index])
    np.testing.assert_array_equal(found.state[index].h, expected.final_h[index])
    np.testing.assert_array_equal(found.state[index].c, expected.final_c[index])
    for part in ('drive', 'output', 'spikes'):
      jax.tree.map(np.testing.assert_array_equal, as_dict(getattr(record,
                                                                  part)),
                   getattr(expected, part)[index])
  return expected


@pytest.mark.parametrize('case', CASES, ids=str)
def test_all_executors_agree_with_the_oracle(case):
  num_elements, num_steps, batch, sites = case
  odd = (num_elements + num_steps + len(sites)) % 2 == 1
  layers, x, state, config = network(sites, num_elements, num_steps, batch, odd)
  state = state if batch > 1 else None
  runs = [observed(name, layers, x, config, state) for name in NAMES]
  check_against_oracle(runs[0], layers, x, config, state)
  for other in runs[1:]:
    jax.tree.map(np.testing.assert_array_equal, runs[0], other)


@names
def test_eager_runs_agree_with_the_oracle(name):
  layers, x, state, config = network(MIXED, 3, 2, 2, True)
  run = observed_eagerly(name, layers, x, config, state)
  expected = check_against_oracle(run, layers, x, config, state)
  for layer_spikes in expected.spikes:
    for site, spikes in layer_spikes.items():
      assert set(np.unique(spikes)) <= {-1.0, 0.0, 1.0}
      assert 0 < np.abs(spikes).mean() < 1, f'{site}: the case shows nothing'


def find_scans(jaxpr):
  """The outermost scans of a jaxpr, also inside of calls."""
  found = []
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == 'scan':
      found.append(eqn)
    else:
      called = jax.tree.leaves(list(eqn.params.values()),
                               is_leaf=lambda value: hasattr(value, 'eqns') or
                               hasattr(value, 'jaxpr'))
      for value in called:
        if hasattr(value, 'eqns'):
          found += find_scans(getattr(value, 'jaxpr', value))
  return found


@names
def test_steps_to_wait_for(name):
  """The lengths of the scans, as the module's head has them."""
  num_elements, num_steps = 5, 3
  layers, x, _, config = network(MIXED, num_elements, num_steps, 1, False)
  jaxpr = jax.make_jaxpr(lambda x: run(name, layers, x, config).h)(x)
  scans = find_scans(jaxpr.jaxpr)
  inner = [s for scan in scans for s in find_scans(scan.params['jaxpr'].jaxpr)]
  lengths = lambda scans: [scan.params['length'] for scan in scans]
  products = [str(scan.params['jaxpr']).count('dot_general') for scan in inner]
  neurons = sum(len(layer.neurons.present) for layer in layers)
  expected = {
      # A product in every step of t.
      'sequential': ([num_elements] * 2, [num_steps] * 2, [1, 1]),
      # One before; what runs over t are the neurons alone.
      'stacked': ([num_elements] * 2, [num_steps] * neurons, [0] * neurons),
      'wavefront': ([num_elements + num_steps + len(layers) - 2], [], []),
  }[name]
  assert (lengths(scans), lengths(inner), products) == expected


def gradients(name, layers, x, state, config):
  """Gradients of a sum over all outputs, with one random weight each."""
  rng = np.random.default_rng(1)
  batch = x.shape[-2]
  h_weights = rng.standard_normal(
      (x.shape[0], config.slots, batch, networks.HIDDEN)).astype(x.dtype)
  c_weights = rng.standard_normal(
      (config.slots, batch, networks.HIDDEN)).astype(x.dtype)

  def loss(layers, x, state):
    found = run(name, layers, x, config, state)
    return jnp.sum(h_weights * found.h) + sum(
        jnp.sum(c_weights * s.c) for s in found.state)

  # Unoptimised, because compilation is nearly all of the time.
  options = {'xla_backend_optimization_level': 0}
  gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)),
                     compiler_options=options)
  return jax.tree.map(np.asarray, gradient(layers, x, state))


@pytest.mark.parametrize('case', [
    (7, 2, 2, ['oc', 'ih'], 'float64'),
    (7, 1, 5, ['oc', ''], 'float64'),
    (2, 4, 5, ['h'], 'float32'),
    (1, 2, 5, ['ifgoch'], 'float32'),
],
                         ids=str)
def test_gradients_of_all_executors_agree(case):
  num_elements, num_steps, batch, sites, dtype = case
  rtol = 1e-5 if dtype == 'float32' else 1e-12
  with jax.enable_x64(dtype == 'float64'):
    layers, x, state, config = network(sites, num_elements, num_steps, batch,
                                       dtype == 'float64')
    layers, x, state = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype),
                                    (layers, x, state))
    check_gradients_agree(layers, x, state, config, EXECUTORS, rtol)


@pytest.mark.parametrize('num_elements, sites', [(7, ['oc', 'ih']),
                                                 (1, ['ifgoch'])])
def test_gradients_of_executors_agree_with_shared_coupling(num_elements, sites):
  with jax.enable_x64(True):
    layers, x, state, config = network(sites, num_elements, 4, 5, False)
    layers, x, state = jax.tree.map(lambda leaf: jnp.asarray(leaf, 'float64'),
                                    (layers, x, state))
    config, state = share(config, state)
    check_gradients_agree(layers, x, state, config,
                          ('sequential', 'stacked', 'lean'), 1e-12)


def check_gradients_agree(layers, x, state, config, names, rtol):
  """No leaf is without a gradient, and all executors have the same."""
  results = [gradients(name, layers, x, state, config) for name in names]
  for path, leaf in jax.tree.leaves_with_path(results[0]):
    assert np.any(leaf != 0), f'no gradient at {jax.tree_util.keystr(path)}'
  for other in results[1:]:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=rtol * np.max(np.abs(a))), results[0], other)


@pytest.mark.parametrize('name, most', [('stacked', 16), ('lean', 7)])
def test_memory_of_a_gradient(name, most):
  """In floats for each entry of h [N, T, B, H]."""
  num_elements, num_steps, batch = 200, 8, 16
  layers, x, _, config = network(['oc'], num_elements, num_steps, batch, False)
  loss = lambda layers: jnp.mean(run(name, layers, x, config).h)
  plan = jax.jit(jax.grad(loss)).lower(layers).compile().memory_analysis()
  entries = num_elements * num_steps * batch * networks.HIDDEN
  assert 1 < plan.temp_size_in_bytes / (4 * entries) < most


@pytest.mark.parametrize(
    'name, coupling',
    [*((name, 'step') for name in NAMES), ('stacked', 'shared')])
def test_the_final_state_continues_the_sequence(name, coupling):
  layers, x, state, config = network(MIXED, 8, 2, 3, coupling == 'step')
  if coupling == 'shared':
    config, state = share(config, state)
  whole = observed(name, layers, x, config, state)
  first = observed(name, layers, x[:4], config, state)
  second = observed(name, layers, x[4:], config, first.state)
  jax.tree.map(np.testing.assert_array_equal, whole.state, second.state)
  jax.tree.map(
      lambda all_n, head, tail: np.testing.assert_array_equal(
          all_n, np.concatenate([head, tail])), (whole.h, whole.observed),
      (first.h, first.observed), (second.h, second.observed))


@names
def test_examples_of_a_batch_do_not_mix(name):
  layers, x, state, config = network(MIXED, 4, 2, 3, True)
  order = np.asarray([2, 0, 1])
  run = observed(name, layers, x, config, state)
  permuted = observed(name, layers, x[:, :, order], config,
                      jax.tree.map(lambda leaf: leaf[:, order], state))
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, :, order], b),
               (run.h, run.observed), (permuted.h, permuted.observed))


@names
def test_the_past_does_not_depend_on_the_future(name):
  """(n, t) sees no later element and no later time step."""
  layers, x, state, config = network(MIXED, 4, 2, 3, True)
  n, t = 2, 1
  a, b = (observed(name, layers, inputs, config, state)
          for inputs in (x, x.at[n, t].add(1.5)))
  assert jnp.any(a.observed[0].drive.g[n, t] != b.observed[0].drive.g[n, t])
  for part in (lambda leaf: leaf[:n], lambda leaf: leaf[:, :t]):
    jax.tree.map(np.testing.assert_array_equal,
                 *(jax.tree.map(part, (run.h, run.observed)) for run in (a, b)))


@pytest.mark.parametrize('sites', [['oc'], ['igh', 'oc'], ['', 'ifgoc', 'h']])
@pytest.mark.parametrize('num_steps', [1, 2, 4])
def test_shared_coupling_agrees_with_the_oracle(sites, num_steps):
  layers, x, state, config = network(sites, 3, num_steps, 2, False)
  config, state = share(config, state)
  runs = [
      observed(name, layers, x, config, state)
      for name in ('sequential', 'stacked')
  ]
  assert runs[0].h.shape == (3, 1, 2, networks.HIDDEN)
  check_against_oracle(runs[0], layers, x, config, state)
  jax.tree.map(np.testing.assert_array_equal, *runs)


def test_shared_coupling_of_three_steps_is_near_the_oracle():
  layers, x, state, config = network(['oc'], 3, 3, 2, False)
  config, _ = share(config, state)
  expected = oracle.run(layers, x[:, None], config, np.float64)
  for name in ('sequential', 'stacked'):
    np.testing.assert_allclose(run(name, layers, x, config).h,
                               expected.h,
                               atol=1e-6)


def test_one_step_is_the_same_for_both_couplings():
  layers, x, state, config = network(MIXED, 3, 1, 2, True)
  shared, _ = share(config, state)
  a, b = (run('stacked', layers, x, c, state) for c in (config, shared))
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('sites', [['h'], ['h', 'h']])
def test_shared_coupling_is_rate_coupling_where_h_alone_spikes(sites):
  layers, x, state, config = network(sites, 5, 3, 2, False)
  config, _ = share(config, state)
  rate = types.SimpleNamespace(**{**vars(config), 'coupling': 'rate'})
  expected = oracle.run(layers, x[:, None], rate, np.float64)
  np.testing.assert_allclose(run('stacked', layers, x, config).h,
                             expected.h,
                             rtol=1e-6)


@names
def test_an_observer_sees_one_element_and_one_step(name):
  layers, x, _, config = network(MIXED, 3, 2, 5, False)
  shapes = []

  def observe(record):
    shapes.append(record.state.h.shape)
    return jnp.sum(record.output.o)

  found = run(name, layers, x, config, observe=observe)
  assert set(shapes) == {(5, networks.HIDDEN)}
  assert [seen.shape for seen in found.observed] == [(3, 2)] * 2


def observed_gradients(name):
  """Gradients of what an observer makes of o and of a parameter."""
  layers, x, state, config = network(['ico'], 3, 2, 2, False)

  def loss(scale, layers):
    found = run(name, layers, x, config, state,
                lambda record: scale * jnp.sum(record.output.o, 0))
    return sum(jnp.sum(seen**2) for seen in found.observed)

  scale = jnp.linspace(0.5, 1.5, networks.HIDDEN)
  options = {'xla_backend_optimization_level': 0}
  return jax.jit(jax.grad(loss, argnums=(0, 1)),
                 compiler_options=options)(scale, layers)


_observed_sequentially = functools.cache(
    functools.partial(observed_gradients, 'sequential'))


@pytest.mark.parametrize('name', ['stacked', 'lean', 'wavefront'])
def test_an_observer_may_close_over_what_a_gradient_is_taken_of(name):
  """As a penalty on rates does that is scaled by a parameter."""
  found, expected = observed_gradients(name), _observed_sequentially()
  assert all(np.any(g != 0) for g in (expected[0], expected[1][0].w.o))
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
      found, expected)


# --- Forward-mode gradients ---------------------------------------------------


@pytest.mark.parametrize('name', ['sequential', 'wavefront'])
def test_jvp_of_an_lstm_is_the_numerical_derivative(name):
  with jax.enable_x64():
    rng = np.random.default_rng(0)
    layers = networks.gaussian_layers(rng, ['', ''])
    x, tangent = (jnp.asarray(rng.standard_normal((4, 2, networks.FEATURES)))
                  for _ in range(2))
    f = lambda x: run(name, layers, x, Config(family='standard')).h
    eps = 1e-6

    @jax.jit
    def derivatives(x, tangent):
      ahead, behind = f(x + eps * tangent), f(x - eps * tangent)
      return jax.jvp(f, (x,), (tangent,)), (ahead - behind) / (2 * eps)

    (h, h_dot), numerical = derivatives(x, tangent)
    assert np.any(h != 0)
    np.testing.assert_allclose(h_dot, numerical, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize('name', ['stacked', 'lean'])
def test_jvp_is_refused_where_the_gradient_is_written_by_hand(name):
  layers, x, _, config = network([''], 3, 1, 2, False)
  with pytest.raises(TypeError, match='forward-mode'):
    jax.jvp(lambda x: run(name, layers, x, config).h, (x,), (x,))


# --- What the wavefront cannot run --------------------------------------------


def test_wavefront_refuses_one_state_for_all_steps_and_says_why():
  layers, x, state, config = network(MIXED, 2, 2, 1, False)
  assert obstacle(layers, config) is None
  config, state = share(config, state)
  with pytest.raises(ValueError, match='needs all of its T steps.*`stacked`'):
    run('wavefront', layers, x, config, state)
