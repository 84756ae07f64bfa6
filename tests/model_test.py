"""Tests of slstm.model: initial parameters, forward pass, learning signal."""

import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

import slstm
from slstm import encoders
from slstm import neurons
from slstm import types
from slstm.types import Config, Params, Readout, Sites
from tests import networks
from tests import oracle

K = 2
ALL = types.SITES


def classifier(sites, config, spiking_input=False, seed=0):
  """A random classifier; its leaves are float64 in `jax.enable_x64`."""
  rng = np.random.default_rng(seed)
  layers = networks.gaussian_layers(rng, sites)
  random = lambda *shape: jnp.asarray(rng.standard_normal(shape))
  encoder = encoders.Encoder(random(networks.FEATURES),
                             0.5 + random(networks.FEATURES)**2)
  if spiking_input:
    encoder = encoder._replace(neuron=jax.tree.map(
        lambda leaf: leaf.astype(encoder.mean.dtype),
        networks.dyadic_neuron(rng, True, (networks.FEATURES,))))
  width = len(config.pooling) * networks.HIDDEN
  return Params(encoder, layers, Readout(random(width, K), random(K)))


def random_input(num_elements, batch, seed=1):
  rng = np.random.default_rng(seed)
  return jnp.asarray(
      rng.standard_normal((num_elements, batch, networks.FEATURES)))


# --- Initial parameters -------------------------------------------------------


@pytest.fixture(scope='module', name='params')
def _params():
  return slstm.init(jax.random.key(0), 3, (16, 8), 5,
                    Config(pooling=('last', 'mean')))


def test_init_gives_the_documented_shapes(params):
  for layer, (fan_in, hidden) in zip(params.layers, [(3, 16), (16, 8)]):
    assert {w.shape for w in layer.w} == {(fan_in, hidden)}
    assert {u.shape for u in layer.u} == {(hidden, hidden)}
    assert {b.shape for b in layer.b} == {(hidden,)}
    assert layer.neurons.present == ()
  assert params.readout.w.shape == (2 * 8, 5)
  assert params.readout.b.shape == (5,)
  np.testing.assert_array_equal(params.encoder.mean, np.zeros(3))
  np.testing.assert_array_equal(params.encoder.std, np.ones(3))
  assert params.encoder.neuron is None


@pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
def test_memory_sets_time_constants(family):
  config = Config(family=family, slope=2.0, levels=4)
  b = slstm.init(jax.random.key(0), 1, (500,), 2, config,
                 memory=100).layers[0].b
  z = {k: np.asarray(getattr(b, k), np.float64) for k in 'if'}
  if family == 'standard':
    value = {k: 1 / (1 + np.exp(-z[k])) for k in z}
  else:
    value = {k: z[k] / 4 + 0.5 for k in z}
  np.testing.assert_allclose(value['i'] + value['f'], 1.0, atol=1e-6)
  tau = 1 / value['i']
  assert 2 - 1e-3 <= tau.min() < 4 and 97 < tau.max() <= 100.01
  assert abs(tau.mean() - 51) < 4  # uniform
  np.testing.assert_array_equal(b.g, 0.0)
  with pytest.raises(ValueError, match='memory is 1.5'):
    slstm.init(jax.random.key(0), 1, (5,), 2, config, memory=1.5)


def test_init_gives_the_documented_distributions(params):
  for layer in params.layers:
    for w in layer.w:
      bound = np.sqrt(6 / sum(w.shape))
      assert 0.7 * bound < jnp.max(jnp.abs(w)) <= bound
    for u in layer.u:
      np.testing.assert_allclose(u @ u.T, np.eye(len(u)), atol=1e-5)
    for gate, b in layer.b._asdict().items():
      np.testing.assert_array_equal(b, np.full(b.shape, gate == 'f'))
  bound = np.sqrt(6 / sum(params.readout.w.shape))
  assert 0.7 * bound < jnp.max(jnp.abs(params.readout.w)) <= bound
  np.testing.assert_array_equal(params.readout.b, np.zeros(5))


def test_init_uses_every_key_once(params):
  drawn = [leaf for leaf in jax.tree.leaves(params) if jnp.std(leaf) > 0]
  assert len(drawn) == 8 * 2 + 1
  assert len({float(leaf.ravel()[0]) for leaf in drawn}) == len(drawn)


def test_init_is_a_function_of_the_key(params):
  again, other = (slstm.init(jax.random.key(seed), 3, (16, 8), 5,
                             Config(pooling=('last', 'mean')))
                  for seed in (0, 1))
  jax.tree.map(np.testing.assert_array_equal, params, again)
  assert jnp.any(params.layers[0].w.i != other.layers[0].w.i)


def test_init_takes_an_encoder():
  encoder = encoders.standardising(jnp.asarray([[1.0, 2.0], [3.0, 6.0]]))
  params = slstm.init(jax.random.key(0), 2, (4,), K, Config(), encoder)
  assert params.encoder is encoder


@pytest.mark.parametrize('sizes', [(0, (4,), 2), (3, (), 2), (3, (4, 0), 2),
                                   (3, (4,), 0)])
def test_init_refuses_sizes_below_one(sizes):
  with pytest.raises(ValueError, match='init: sizes D, H.., K are'):
    slstm.init(jax.random.key(0), *sizes, Config())


# --- Forward pass -------------------------------------------------------------

FORWARD = [
    (['', ''], False, Config(family='standard')),
    (['', ''], False, Config(family='hard', pooling=('last', 'mean', 'max'))),
    ([''], False, Config(family='quantised', levels=3, pooling=('max',))),
    (['oc', 'h'], False, Config(num_steps=3, pooling=('mean', 'last'))),
    (['ifgoc', 'oc'], True, Config(num_steps=2, family='standard')),
    (['ifgoch', 'oc'], True, Config(num_steps=3, coupling='rate')),
]


@pytest.mark.parametrize('case', FORWARD, ids=str)
def test_apply_agrees_with_the_oracle(case):
  sites, spiking_input, config = case
  with jax.enable_x64():
    params = classifier(sites, config, spiking_input)
    x = random_input(4, 3)
    output = jax.jit(slstm.apply, static_argnums=2)(params, x, config)
    expected = oracle.apply(params, x, config, np.float64)
    close = functools.partial(np.testing.assert_allclose,
                              rtol=1e-11,
                              atol=1e-13)
    close(output.logits, expected.logits)
    close(output.pooled, expected.pooled)
    for state, h, c in zip(output.state, expected.result.final_h,
                           expected.result.final_c):
      close(state.h, h)
      close(state.c, c)


def test_eager_and_jitted_agree():
  config = Config(num_steps=2, pooling=('last', 'max'))
  params, x = classifier(['ifgoc', 'oc'], config), random_input(3, 2)
  eager = slstm.apply(params, x, config)
  jitted = jax.jit(slstm.apply, static_argnums=2)(params, x, config)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), eager,
               jitted)


def test_executor_observer_and_state_are_handed_on():
  config = Config(num_steps=2)
  params, x = classifier(['ifgoc', 'oc'], config), random_input(3, 2)
  observe = lambda record: record.spikes.c
  outputs = [
      slstm.apply(params, x, config, name, observe)
      for name in ('stacked', 'wavefront')
  ]
  for output in outputs:
    assert [seen.shape for seen in output.observed
           ] == [(3, 2, 2, networks.HIDDEN)] * 2
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
               *outputs)
  with pytest.raises(ValueError, match="executor is 'serial'"):
    slstm.apply(params, x, config, 'serial')
  head = slstm.apply(params, x[:2], config)
  tail = slstm.apply(params, x[2:], config, state=head.state)
  np.testing.assert_allclose(tail.logits, outputs[0].logits, atol=1e-5)


def test_examples_of_a_batch_do_not_mix():
  config = Config(num_steps=2)
  params, x = classifier(['ifgoc', 'oc'], config), random_input(3, 4)
  order = np.asarray([2, 0, 1, 3])
  apply = jax.jit(slstm.apply, static_argnums=2)
  np.testing.assert_allclose(apply(params, x[:, order], config).logits,
                             apply(params, x, config).logits[order],
                             atol=1e-5)


@pytest.mark.parametrize('sites', ['oc', 'ifgoc', 'ifgoch'])
def test_rate_coupling_tends_to_the_hard_lstm(sites):
  """The error of the logits is at most C / T."""
  params = classifier([''], Config())
  x = random_input(3, 4)
  ann = slstm.apply(params, x, Config(family='hard')).logits
  converted = Sites(**{
      site: neurons.integrate_and_fire(site in types.SIGNED_SITES)
      for site in sites
  })
  snn = params._replace(layers=(params.layers[0]._replace(neurons=converted),))
  for num_steps in (1, 4, 16, 64):
    config = Config(num_steps=num_steps, coupling='rate')
    with jax.disable_jit():  # T is unrolled: slow to compile, quick to run.
      logits = slstm.apply(snn, x, config).logits
    assert np.max(np.abs(logits - ann)) <= 2 / num_steps


# --- Learning signal ----------------------------------------------------------


def test_gradient_of_a_smooth_network():
  config = Config(family='standard', pooling=('last', 'mean'))
  with jax.enable_x64():
    params, x = classifier([''], config), random_input(3, 2)
    statistics, trained = params.encoder, params._replace(encoder=None)

    def logits(trained, x):
      return slstm.apply(trained._replace(encoder=statistics), x, config).logits

    check_grads(jax.jit(logits), (trained, x),
                order=1,
                modes=['rev'],
                atol=1e-6,
                rtol=1e-6)


@pytest.mark.parametrize('coupling', ['step', 'shared', 'rate'])
def test_gradient_reaches_every_trained_leaf(coupling):
  config = Config(num_steps=2,
                  coupling=coupling,
                  surrogate='fast_sigmoid',
                  pooling=('last', 'mean'))
  with jax.enable_x64():
    params = classifier(['ifgoch'], config, spiking_input=True)
    x = random_input(4, 6)

    def loss(params):
      return jnp.sum(jnp.square(slstm.apply(params, x, config).logits))

    # Unoptimised, because compilation is nearly all of the time.
    options = {'xla_backend_optimization_level': 0}
    gradient = jax.jit(jax.grad(loss), compiler_options=options)(params)
    gradient = jax.tree.map(np.asarray, gradient)
  for path, leaf in jax.tree.leaves_with_path(gradient):
    name = jax.tree_util.keystr(path)
    if name in ('.encoder.mean', '.encoder.std'):
      assert not np.any(leaf), name
    else:
      assert np.all(np.isfinite(leaf)) and np.any(leaf != 0), name


# --- Bad input ----------------------------------------------------------------


def test_apply_refuses_an_input_of_another_shape():
  params = classifier([''], Config())
  with pytest.raises(ValueError, match='encode: x has shape'):
    slstm.apply(params, random_input(3, 2)[0], Config())
  with pytest.raises(ValueError, match='encode: x has shape'):
    slstm.apply(params, random_input(3, 2)[..., :2], Config())


def test_apply_refuses_another_pooling():
  params = classifier([''], Config())
  with pytest.raises(ValueError, match='pooling'):
    slstm.apply(params, random_input(3, 2), Config(pooling=('last', 'max')))
