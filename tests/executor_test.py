"""Tests of slstm.executor: three schedules, one function, and the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import executor
from slstm.types import CellState, Config, Sites
from tests import networks
from tests import oracle

NAMES = executor.FORWARD
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
  x = networks.dyadic_input(rng, num_elements, num_steps if per_step else 1,
                            batch)
  state = networks.dyadic_state(rng, layers, num_steps, batch)
  config = Config(family='quantised', levels=2, slope=0.5, num_steps=num_steps)
  return layers, x, state, config


_jitted_run = jax.jit(executor.run, static_argnums=(2, 3, 4))


def keep_all(record):
  return record


def observed_run(name, layers, x, config, state, run=_jitted_run):
  """A `Run` whose observer keeps all there is."""
  return run(layers, x, config, name, keep_all, state)


def as_dict(sites):
  return {name: getattr(sites, name) for name in sites.present}


def check_against_oracle(run, layers, x, config, state=None):
  """Every value of every layer is the oracle's, bit for bit."""
  expected = oracle.run(layers, x, config, np.float32, state)
  # The premise: nothing was rounded.
  jax.tree.map(np.testing.assert_array_equal, vars(expected),
               vars(oracle.run(layers, x, config, np.float64, state)))
  np.testing.assert_array_equal(run.h, expected.h)
  for index, record in enumerate(run.observed):
    np.testing.assert_array_equal(record.state.h, expected.all_h[index])
    np.testing.assert_array_equal(record.state.c, expected.all_c[index])
    np.testing.assert_array_equal(run.state[index].h, expected.final_h[index])
    np.testing.assert_array_equal(run.state[index].c, expected.final_c[index])
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
  runs = [observed_run(name, layers, x, config, state) for name in NAMES]
  check_against_oracle(runs[0], layers, x, config, state)
  for other in runs[1:]:
    jax.tree.map(np.testing.assert_array_equal, runs[0], other)


@names
def test_eager_runs_agree_with_the_oracle(name):
  layers, x, state, config = network(MIXED, 3, 2, 2, True)
  run = observed_run(name, layers, x, config, state, executor.run)
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
@pytest.mark.parametrize('dtype', ['int32', 'uint8', 'bfloat16', 'float16'])
def test_input_of_another_dtype_is_widened(name, dtype):
  layers, x, _, config = network(MIXED, 3, 2, 2, True)
  x = jnp.asarray(jnp.round(4 * jnp.abs(x)), dtype)
  run = executor.run(layers, x, config, name)
  wide = executor.run(layers, x.astype(jnp.float32), config, name)
  assert run.h.dtype == jnp.float32
  jax.tree.map(np.testing.assert_array_equal, run, wide)


@names
def test_float32_neurons_in_float64_layers(name):
  layers, x, _, config = network(MIXED, 3, 2, 2, True)
  narrow = executor.run(layers, x, config, name)
  with jax.enable_x64(True):
    wide = [
        layer._replace(u=jax.tree.map(lambda u: u.astype(jnp.float64), layer.u))
        for layer in layers
    ]
    run = executor.run(wide, x, config, name)
    assert run.h.dtype == np.float64
    np.testing.assert_array_equal(run.h, narrow.h)  # sums on a dyadic grid


@names
def test_steps_to_wait_for(name):
  """The lengths of the scans, as the module's head has them."""
  num_elements, num_steps = 5, 3
  layers, x, _, config = network(MIXED, num_elements, num_steps, 1, False)
  jaxpr = jax.make_jaxpr(lambda x: executor.run(layers, x, config, name).h)(x)
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
  batch = x.shape[2]
  h_weights = rng.standard_normal(
      (x.shape[0], config.slots, batch, networks.HIDDEN)).astype(x.dtype)
  c_weights = rng.standard_normal(
      (config.slots, batch, networks.HIDDEN)).astype(x.dtype)

  def loss(layers, x, state):
    run = executor.run(layers, x, config, name, state=state)
    return jnp.sum(h_weights * run.h) + sum(
        jnp.sum(c_weights * s.c) for s in run.state)

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
    check_gradients_agree(layers, x, state, config, executor.EXECUTORS, rtol)


@pytest.mark.parametrize('num_elements, sites', [(7, ['oc', 'ih']),
                                                 (1, ['ifgoch'])])
def test_gradients_of_executors_agree_with_shared_coupling(num_elements, sites):
  with jax.enable_x64(True):
    layers, x, state, config = network(sites, num_elements, 4, 5, False)
    layers, x, state = jax.tree.map(lambda leaf: jnp.asarray(leaf, 'float64'),
                                    (layers, x, state))
    state = jax.tree.map(lambda leaf: leaf[:1], state)
    shared = Config(**{**vars(config), 'coupling': 'shared'})
    check_gradients_agree(layers, x, state, shared,
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
  loss = lambda layers: jnp.mean(executor.run(layers, x, config, name).h)
  plan = jax.jit(jax.grad(loss)).lower(layers).compile().memory_analysis()
  entries = num_elements * num_steps * batch * networks.HIDDEN
  assert 1 < plan.temp_size_in_bytes / (4 * entries) < most


@pytest.mark.parametrize(
    'name, coupling',
    [*((name, 'step') for name in NAMES), ('stacked', 'shared')])
def test_the_final_state_continues_the_sequence(name, coupling):
  layers, x, state, config = network(MIXED, 7, 2, 3, coupling == 'step')
  config = Config(**{**vars(config), 'coupling': coupling})
  state = jax.tree.map(lambda leaf: leaf[:config.slots], state)
  whole = observed_run(name, layers, x, config, state)
  first = observed_run(name, layers, x[:3], config, state)
  second = observed_run(name, layers, x[3:], config, first.state)
  jax.tree.map(np.testing.assert_array_equal, whole.state, second.state)
  jax.tree.map(
      lambda all_n, head, tail: np.testing.assert_array_equal(
          all_n, np.concatenate([head, tail])), (whole.h, whole.observed),
      (first.h, first.observed), (second.h, second.observed))


@names
def test_examples_of_a_batch_do_not_mix(name):
  layers, x, state, config = network(MIXED, 4, 2, 3, True)
  order = np.asarray([2, 0, 1])
  run = observed_run(name, layers, x, config, state)
  permuted = observed_run(name, layers, x[:, :, order], config,
                          jax.tree.map(lambda leaf: leaf[:, order], state))
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, :, order], b),
               (run.h, run.observed), (permuted.h, permuted.observed))


@names
def test_the_past_does_not_depend_on_the_future(name):
  """(n, t) sees no later element and no later time step."""
  layers, x, state, config = network(MIXED, 4, 2, 3, True)
  n, t = 2, 1
  a, b = (observed_run(name, layers, inputs, config, state)
          for inputs in (x, x.at[n, t].add(1.5)))
  assert jnp.any(a.observed[0].drive.g[n, t] != b.observed[0].drive.g[n, t])
  for part in (lambda leaf: leaf[:n], lambda leaf: leaf[:, :t]):
    jax.tree.map(np.testing.assert_array_equal,
                 *(jax.tree.map(part, (run.h, run.observed)) for run in (a, b)))


@pytest.mark.parametrize('name', ['sequential', 'stacked'])
def test_rate_coupling_agrees_with_the_oracle(name):
  layers, x, state, config = network(MIXED, 3, 4, 2, False)
  state = jax.tree.map(lambda leaf: leaf[:1], state)
  config = Config(slope=0.5, num_steps=4, coupling='rate')
  run = jax.jit(executor.run, static_argnums=(2, 3))(layers,
                                                     x,
                                                     config,
                                                     name,
                                                     state=state)
  expected = oracle.run(layers, x, config, np.float32, state)
  np.testing.assert_allclose(run.h, expected.h, rtol=1e-5, atol=1e-6)
  for s, h, c in zip(run.state, expected.final_h, expected.final_c):
    np.testing.assert_allclose(s.h, h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(s.c, c, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('sites', [['oc'], ['igh', 'oc'], ['', 'ifgoc', 'h']])
@pytest.mark.parametrize('num_steps', [1, 2, 4])
def test_shared_coupling_agrees_with_the_oracle(sites, num_steps):
  layers, x, state, config = network(sites, 3, num_steps, 2, False)
  state = jax.tree.map(lambda leaf: leaf[:1], state)
  config = Config(**{**vars(config), 'coupling': 'shared'})
  runs = [
      observed_run(name, layers, x, config, state)
      for name in ('sequential', 'stacked')
  ]
  assert runs[0].h.shape == (3, 1, 2, networks.HIDDEN)
  check_against_oracle(runs[0], layers, x, config, state)
  jax.tree.map(np.testing.assert_array_equal, *runs)


def test_shared_coupling_of_three_steps_is_near_the_oracle():
  layers, x, _, config = network(['oc'], 3, 3, 2, False)
  config = Config(**{**vars(config), 'coupling': 'shared'})
  expected = oracle.run(layers, x, config, np.float64)
  for name in ('sequential', 'stacked'):
    np.testing.assert_allclose(executor.run(layers, x, config, name).h,
                               expected.h,
                               atol=1e-6)


@pytest.mark.parametrize('coupling', ['shared', 'rate'])
def test_one_step_is_the_same_for_all_couplings(coupling):
  layers, x, state, config = network(MIXED, 3, 1, 2, True)
  other = Config(**{**vars(config), 'coupling': coupling})
  a, b = (executor.run(layers, x, c, state=state) for c in (config, other))
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('sites', [['h'], ['h', 'h']])
def test_shared_coupling_is_rate_coupling_where_h_alone_spikes(sites):
  layers, x, _, config = network(sites, 5, 3, 2, False)
  shared, rate = (Config(**{
      **vars(config), 'coupling': coupling
  }) for coupling in ('shared', 'rate'))
  a, b = (executor.run(layers, x, c).h for c in (shared, rate))
  np.testing.assert_allclose(a, b, rtol=1e-6)


@names
def test_an_observer_sees_one_element_and_one_step(name):
  layers, x, _, config = network(MIXED, 3, 2, 5, False)
  shapes = []

  def observe(record):
    shapes.append(record.state.h.shape)
    return jnp.sum(record.output.o)

  run = executor.run(layers, x, config, name, observe)
  assert set(shapes) == {(5, networks.HIDDEN)}
  assert [seen.shape for seen in run.observed] == [(3, 2)] * 2


def test_an_observer_sees_the_same_shape_with_rate_coupling():
  layers, x, _, _ = network(MIXED, 3, 2, 5, False)
  config = Config(num_steps=2, coupling='rate')
  run = executor.run(layers,
                     x,
                     config,
                     observe=lambda record: jnp.sum(record.output.o))
  assert [seen.shape for seen in run.observed] == [(3, 1)] * 2


# --- Bad input ----------------------------------------------------------------


@pytest.mark.parametrize('coupling', ['shared', 'rate'])
def test_wavefront_refuses_one_state_for_all_steps_and_says_why(coupling):
  layers, x, _, _ = network(MIXED, 2, 2, 1, False)
  with pytest.raises(ValueError,
                     match=f"'wavefront' cannot run coupling '{coupling}'"
                     '.*needs all of its T steps'):
    executor.run(layers, x, Config(coupling=coupling, num_steps=2), 'wavefront')


def test_an_unknown_executor_is_refused():
  layers, x, _, config = network(MIXED, 2, 2, 1, False)
  with pytest.raises(ValueError, match="executor is 'parallel'"):
    executor.run(layers, x, config, 'parallel')


@pytest.mark.parametrize('shape', [(2, 1, 3), (2, 3, 1, 3), (0, 1, 1, 3)])
def test_an_input_of_another_shape_is_refused(shape):
  layers, _, _, config = network(MIXED, 2, 2, 1, False)
  with pytest.raises(ValueError, match=r'run: x has shape .*\[N, S, B, D\]'):
    executor.run(layers, jnp.zeros(shape), config)


def test_an_input_of_other_features_is_refused():
  layers, _, _, config = network(MIXED, 2, 2, 1, False)
  x = jnp.zeros((2, 1, 1, 4))
  with pytest.raises(ValueError, match=r'layers\[0\].w.i .*4 features'):
    executor.run(layers, x, config)


@pytest.mark.parametrize('part', ['w', 'u', 'b'])
def test_weights_of_another_shape_are_refused_by_name(part):
  (first, second), x, _, config = network(MIXED, 2, 2, 1, False)
  gates = getattr(second, part)
  bad = second._replace(**{part: gates._replace(g=gates.g[..., :-1])})
  with pytest.raises(ValueError, match=rf'layers\[1\].{part}.g has shape'):
    executor.run((first, bad), x, config)


def test_no_layers_are_refused():
  with pytest.raises(ValueError, match='no layers'):
    executor.run((), jnp.zeros((2, 1, 1, 3)), Config())


def test_the_wrong_number_of_states_is_refused():
  layers, x, state, config = network(MIXED, 2, 2, 1, False)
  with pytest.raises(ValueError, match='1 initial states for 2 layers'):
    executor.run(layers, x, config, state=state[:1])


@names
@pytest.mark.parametrize('shape', [(1, 5, 4), (3, 5, 4), (2, 1, 4), (2, 5, 3)])
def test_a_state_of_another_shape_is_refused(name, shape):
  layers, x, state, config = network(['oc'], 2, 2, 5, False)
  state = [CellState(jnp.zeros(shape), jnp.zeros(shape))]
  with pytest.raises(ValueError, match=r'state\[0\]'):
    executor.run(layers, x, config, name, state=state)


@names
def test_a_neuron_of_another_size_is_refused(name):
  (layer,), x, _, config = network(['oc'], 2, 2, 5, False)
  neuron = layer.neurons.o._replace(v_th=jnp.ones((3,)))
  layer = layer._replace(neurons=Sites(o=neuron))
  with pytest.raises(ValueError, match=r'neuron parameter of shape \(3,\)'):
    executor.run([layer], x, config, name)


@pytest.mark.parametrize('name', sorted(executor.EXECUTORS))
def test_a_neuron_for_each_example_is_refused(name):
  rng = np.random.default_rng(0)
  layer, = networks.dyadic_layers(rng, ('o',))
  x = networks.dyadic_input(rng, 2, 4)[:, None]
  neuron = layer.neurons.o._replace(v_th=jnp.ones((4, layer.u.i.shape[0])))
  layer = layer._replace(neurons=layer.neurons._replace(o=neuron))
  with pytest.raises(ValueError, match='neuron parameter of shape'):
    executor.run((layer,), x, Config(num_steps=2), name)
