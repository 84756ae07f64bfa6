"""Tests of slstm.model: init, encoding, forward pass, gradients, stretch."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from slstm import model as model_lib
from slstm import neurons
from slstm import scan
from slstm import types
from slstm.types import CellState, Config, Encoder, Model, Readout, Sites, State
from tests import networks
from tests import oracle

D = networks.FEATURES
K = 2


def network(sites, config=Config(), spiking_input=False, seed=0):
  """A random model; its leaves are float64 in `jax.enable_x64`."""
  rng = np.random.default_rng(seed)
  layers = networks.gaussian_layers(rng, sites)
  random = lambda *shape: jnp.asarray(rng.standard_normal(shape))
  encoder = Encoder(random(D), 0.5 + random(D)**2)
  if spiking_input:
    encoder = encoder._replace(
        neuron=jax.tree.map(lambda leaf: leaf.astype(encoder.mean.dtype),
                            networks.dyadic_neuron(rng, True, (D,))))
  width = len(config.pooling) * networks.HIDDEN
  return Model(encoder, layers, Readout(random(width, K), random(K)), config)


def random_input(batch, num_elements, seed=1):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.standard_normal((batch, num_elements, D)))


_outputs = jax.jit(lambda model, x: model_lib.apply(model, x).outputs)

# --- Initial parameters -------------------------------------------------------


def init(seed=0,
         num_features=3,
         hidden_sizes=(16, 8),
         num_outputs=5,
         **options):
  return model_lib.init(jax.random.key(seed),
                        num_features=num_features,
                        hidden_sizes=hidden_sizes,
                        num_outputs=num_outputs,
                        **options)


@pytest.fixture(scope='module', name='model')
def _model():
  return init(config=Config(pooling=('last', 'mean')))


def test_init_gives_the_documented_shapes(model):
  for layer, (fan_in, hidden) in zip(model.layers, [(3, 16), (16, 8)]):
    assert {w.shape for w in layer.w} == {(fan_in, hidden)}
    assert {u.shape for u in layer.u} == {(hidden, hidden)}
    assert {b.shape for b in layer.b} == {(hidden,)}
    assert layer.neurons.present == ()
  assert model.readout.w.shape == (2 * 8, 5)
  assert model.readout.b.shape == (5,)
  np.testing.assert_array_equal(model.encoder.mean, np.zeros(3))
  np.testing.assert_array_equal(model.encoder.std, np.ones(3))
  assert model.encoder.neuron is None


def test_init_gives_the_documented_distributions(model):
  for layer in model.layers:
    for w in layer.w:
      bound = np.sqrt(6 / sum(w.shape))
      assert 0.7 * bound < jnp.max(jnp.abs(w)) <= bound
    for u in layer.u:
      np.testing.assert_allclose(u @ u.T, np.eye(len(u)), atol=1e-5)
    for gate, b in layer.b._asdict().items():
      np.testing.assert_array_equal(b, np.full(b.shape, gate == 'f'))
  bound = np.sqrt(6 / sum(model.readout.w.shape))
  assert 0.7 * bound < jnp.max(jnp.abs(model.readout.w)) <= bound
  np.testing.assert_array_equal(model.readout.b, np.zeros(5))


def test_init_uses_every_key_once(model):
  drawn = [leaf for leaf in jax.tree.leaves(model) if jnp.std(leaf) > 0]
  assert len(drawn) == 8 * 2 + 1
  assert len({float(leaf.ravel()[0]) for leaf in drawn}) == len(drawn)


def test_init_is_a_function_of_the_key(model):
  again, other = (init(seed, config=model.config) for seed in (0, 1))
  jax.tree.map(np.testing.assert_array_equal, model, again)
  assert jnp.any(model.layers[0].w.i != other.layers[0].w.i)
  assert again.config == model.config and init().config == Config()


def test_init_takes_an_encoder():
  encoder = model_lib.standardising(jnp.asarray([[1.0, 2.0], [3.0, 6.0]]))
  assert init(num_features=2, encoder=encoder).encoder is encoder
  with pytest.raises(ValueError, match=r'init: encoder.mean has .* D = 3'):
    init(num_features=3, encoder=encoder)


@pytest.mark.parametrize('sizes', [(0, (4,), 2), (3, (), 2), (3, (4, 0), 2),
                                   (3, (4,), 0)])
def test_init_refuses_sizes_below_one(sizes):
  with pytest.raises(ValueError, match='init: sizes D, H.., K are'):
    init(0, *sizes)


# --- Encoding -----------------------------------------------------------------


def dyadic_model(shape=(D,), seed=0, **options):
  """With the input neuron of an Encoder that keeps dyadic inputs exact."""
  rng = np.random.default_rng(seed)
  encoder = Encoder(mean=networks.grid(rng, (D,), 4, 0.25),
                    std=networks.choose(rng, (D,), (0.5, 1.0, 2.0)),
                    neuron=networks.dyadic_neuron(rng, True, shape))
  config = Config(**options)
  return network([''], config).replace(encoder=encoder)


def dyadic_x():
  return networks.grid(np.random.default_rng(1), (2, 4, D), 16, 0.125)


_encode = jax.jit(lambda model, x: model_lib.apply(model, x).encoded)


def test_an_encoder_is_by_default_the_identity():
  x = random_input(2, 4)
  encoded = _encode(init(config=Config(num_steps=3)), x)
  np.testing.assert_array_equal(encoded.values, jnp.swapaxes(x, 0, 1))
  np.testing.assert_array_equal(encoded.drive, encoded.values)
  assert encoded.spikes is None


@pytest.mark.parametrize('axes', [(500,), (50, 10)])
def test_standardising_gives_mean_0_and_std_1(axes):
  rng = np.random.default_rng(0)
  x = rng.normal([1, -20, 300], [1, 0.1, 50], (*axes, 3)).astype(np.float32)
  encoder = model_lib.standardising(x)
  assert encoder.neuron is None
  np.testing.assert_allclose(encoder.mean, x.reshape(-1, 3).mean(0), rtol=1e-4)
  np.testing.assert_allclose(encoder.std, x.reshape(-1, 3).std(0), rtol=1e-4)
  y = _encode(init(encoder=encoder), x.reshape(50, 10, 3)).values
  np.testing.assert_allclose(np.mean(y, (0, 1)), 0, atol=2e-3)
  np.testing.assert_allclose(np.std(y, (0, 1)), 1, atol=1e-3)


def test_shared_scale_divides_all_features_by_one_number():
  x = np.random.default_rng(0).normal(size=(500, 3)) * [0.01, 1.0, 5.0]
  encoder = model_lib.standardising(jnp.asarray(x, jnp.float32),
                                    shared_scale=True)
  rms = np.sqrt(np.mean(np.var(x, 0)))
  np.testing.assert_allclose(encoder.std, [rms] * 3, rtol=1e-4)
  flat = model_lib.standardising(jnp.ones((5, 2)), shared_scale=True)
  np.testing.assert_array_equal(flat.std, 1.0)


def test_standardising_integers_is_not_integer_arithmetic():
  x = jnp.asarray([[0], [255], [0], [255]], jnp.uint8)
  encoder = model_lib.standardising(x)
  np.testing.assert_array_equal([encoder.mean[0], encoder.std[0]], [127.5] * 2)


@pytest.mark.parametrize('value', [0.0, 0.1])
def test_a_constant_feature_keeps_std_1(value):
  encoder = model_lib.standardising(np.full((1000, 1), value, np.float32))
  np.testing.assert_array_equal(encoder.std, [1])


@pytest.mark.parametrize('coupling', ['step', 'shared'])
@pytest.mark.parametrize('num_steps', [1, 2, 7])
@pytest.mark.parametrize('shape', [(), (D,)], ids=['a layer', 'a feature'])
def test_spiking_encoding_agrees_with_the_oracle(coupling, num_steps, shape):
  model = dyadic_model(shape, num_steps=num_steps, coupling=coupling)
  x = dyadic_x()
  expected = oracle.encode(model.encoder, x, model.config, np.float32)
  encoded = _encode(model, x)
  if coupling == 'step':
    np.testing.assert_array_equal(encoded.values, expected)
    np.testing.assert_array_equal(encoded.outputs, encoded.values)
    spikes = np.asarray(encoded.values) / np.asarray(model.encoder.neuron[2])
    np.testing.assert_array_equal(encoded.spikes, spikes)
    assert set(np.unique(spikes)) <= {-1.0, 0.0, 1.0}
  else:
    np.testing.assert_allclose(encoded.values, expected[:, 0], rtol=1e-6)
    assert encoded.spikes.shape == (4, num_steps, 2, D)


@pytest.mark.parametrize('coupling', ['step', 'shared'])
@pytest.mark.parametrize('encoder_steps', [1, 3])
def test_all_steps_share_what_encoder_steps_add_up_to(coupling, encoder_steps):
  model = dyadic_model(num_steps=2,
                       encoder_steps=encoder_steps,
                       coupling=coupling)
  x = dyadic_x()
  encoded = _encode(model, x)
  expected = oracle.encode(model.encoder, x, Config(num_steps=encoder_steps),
                           np.float32)
  np.testing.assert_array_equal(encoded.outputs, expected)
  np.testing.assert_allclose(encoded.values, expected.mean(1), rtol=1e-6)


def test_spikes_of_the_optimal_if_are_within_half_a_step_of_the_input():
  neuron = neurons.integrate_and_fire(True)
  x = jnp.linspace(-1.2, 1.2, 241).reshape(1, -1, 1)
  for num_steps in (1, 4, 16):
    model = init(num_features=1, config=Config(encoder_steps=num_steps))
    model = model.replace(encoder=model.encoder._replace(neuron=neuron))
    y = _encode(model, x).values[:, 0, 0]
    error = np.abs(y - np.clip(x[0, :, 0], -1, 1)).max()
    assert error <= 0.5 / num_steps + 1e-5


def test_leaves_of_an_encoder_of_another_size_are_refused():
  model, x = dyadic_model(num_steps=2), dyadic_x()
  encoder, wrong = model.encoder, jnp.ones((D + 1,))
  for bad in (encoder._replace(std=wrong),
              encoder._replace(neuron=encoder.neuron._replace(v_th=wrong))):
    with pytest.raises(ValueError, match=rf'shape \({D + 1},\)'):
      model_lib.apply(model.replace(encoder=bad), x)


# --- Forward pass -------------------------------------------------------------

FORWARD = [
    (['', ''], False, Config(family='standard')),
    (['', ''], False, Config(family='hard', pooling=('last', 'mean', 'max'))),
    ([''], False, Config(family='quantised', levels=3, pooling=('max',))),
    (['oc', 'h'], False, Config(num_steps=3, pooling=('mean', 'last'))),
    (['ifgoc', 'oc'], True, Config(num_steps=2, family='standard')),
    (['ifgoch', 'oc'], True, Config(num_steps=3, coupling='shared')),
]


@pytest.mark.parametrize(
    'case',
    FORWARD,
    ids=['standard', 'hard', 'quantised', 'oc_h', 'spiking_input', 'shared'])
def test_apply_agrees_with_the_oracle(case):
  sites, spiking_input, config = case
  with jax.enable_x64():
    model = network(sites, config, spiking_input)
    x = random_input(3, 4)
    found = jax.jit(model_lib.apply)(model, x)
    expected = oracle.apply(model, x, np.float64)
    close = functools.partial(np.testing.assert_allclose,
                              rtol=1e-11,
                              atol=1e-13)
    close(found.outputs, expected.outputs)
    close(found.pooled, expected.pooled)
    for state, h, c in zip(found.state.layers, expected.result.final_h,
                           expected.result.final_c):
      close(state.h, h)
      close(state.c, c)


def test_eager_and_jitted_agree():
  config = Config(num_steps=2, pooling=('last', 'max'))
  model, x = network(['ifgoc', 'oc'], config), random_input(2, 3)
  eager, jitted = (
      f(model, x) for f in (model_lib.apply, jax.jit(model_lib.apply)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), eager,
               jitted)


def test_executor_observer_and_state_are_handed_on():
  model = network(['ifgoc', 'oc'], Config(num_steps=2, pooling=('last',)))
  x = random_input(2, 3)
  apply = jax.jit(functools.partial(model_lib.apply,
                                    observe=lambda record: record.spikes.c),
                  static_argnames='executor')
  runs = [
      apply(model, x, executor=executor)
      for executor in (scan.stacked, model_lib.EXECUTORS['wavefront'])
  ]
  for run in runs:
    assert [seen.shape for seen in run.observed
           ] == [(3, 2, 2, networks.HIDDEN)] * 2
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *runs)
  head = apply(model, x[:, :2])
  tail = apply(model, x[:, 2:], state=head.state)
  np.testing.assert_allclose(tail.outputs, runs[0].outputs, atol=1e-5)


def test_another_executor_is_another_program():
  model, x = network(['oc'], Config(num_steps=2)), random_input(2, 3)
  called = []

  def executor(*args):
    called.append(len(args))
    return scan.sequential(*args)

  model_lib.apply(model, x, executor=executor)
  assert called == [5]


def test_executors_for_a_model_are_those_that_run_it():
  names = lambda **options: set(
      model_lib.executors_for(network(['oc'], Config(**options))))
  assert names(num_steps=2) == set(model_lib.EXECUTORS)
  shared = set(model_lib.EXECUTORS) - {'wavefront'}
  assert names(num_steps=2, coupling='shared') == shared


def test_examples_of_a_batch_do_not_mix():
  model, x = network(['ifgoc', 'oc'], Config(num_steps=2)), random_input(4, 3)
  order = np.asarray([2, 0, 1, 3])
  np.testing.assert_allclose(_outputs(model, x[order]),
                             _outputs(model, x)[order],
                             atol=1e-5)


@pytest.mark.parametrize('sites', ['oc', 'ifgoc', 'ifgoch'])
def test_rates_of_the_oracle_tend_to_the_hard_lstm(sites):
  """A site that is the mean of T steps has the LSTM as its limit: C / T."""
  model, x = network(['']), random_input(4, 3)
  ann = _outputs(model, x)
  converted = Sites(**{
      site: neurons.integrate_and_fire(site in types.SIGNED_SITES)
      for site in sites
  })
  snn = model.replace(layers=(model.layers[0]._replace(neurons=converted),))
  for num_steps in (1, 4, 16, 64):
    config = SimpleNamespace(**{
        **vars(Config(num_steps=num_steps)), 'coupling': 'rate'
    })
    rates = oracle.apply(snn, x, np.float32, config).outputs
    assert np.max(np.abs(rates - ann)) <= 2 / num_steps


def test_shared_steps_of_h_tend_to_the_hard_lstm():
  """The same limit of the library itself; where h alone spikes it is exact."""
  model, x = network(['']), random_input(4, 3)
  ann = _outputs(model, x)
  converted = Sites(h=neurons.integrate_and_fire(True))
  layers = (model.layers[0]._replace(neurons=converted),)
  for num_steps in (1, 4, 16, 64):
    config = Config(num_steps=num_steps, coupling='shared')
    snn = model.replace(layers=layers, config=config)
    assert np.max(np.abs(_outputs(snn, x) - ann)) <= 2 / num_steps


# --- A model carries its config -----------------------------------------------


def test_outputs_are_those_of_the_config_of_the_model_whatever_happens_to_it():
  """T = 2 stays T = 2; in old calls the config could be that of the source."""
  config = Config(num_steps=2, pooling=('mean',))
  model, x = network(['oc'], config), random_input(3, 4)
  expected = oracle.apply(model, x, np.float32).outputs
  other = oracle.apply(model, x, np.float32, Config(pooling=('mean',))).outputs
  assert np.max(np.abs(other - expected)) > 0.01, 'the case shows nothing'
  leaves, treedef = jax.tree.flatten(model)
  for same in (model, jax.tree.unflatten(treedef, leaves),
               jax.tree.map(lambda leaf: leaf * 1.0, model),
               neurons.constrain(neurons.unconstrain(model)),
               jax.jit(lambda model: model)(model)):
    assert same.config == config
    np.testing.assert_allclose(_outputs(same, x), expected, atol=1e-5)
  one = _outputs(model.replace(config=Config(pooling=('mean',))), x)
  np.testing.assert_allclose(one, other, atol=1e-5)


# --- Dtypes -------------------------------------------------------------------


@pytest.mark.parametrize('dtype', ['int32', 'uint8', 'bfloat16', 'float16'])
def test_an_input_of_another_dtype_is_widened(dtype):
  model = network(['oc', 'igh'], Config(num_steps=2))
  x = jnp.asarray(jnp.round(4 * jnp.abs(random_input(2, 3))), dtype)
  found = _outputs(model, x)
  assert found.dtype == jnp.float32
  np.testing.assert_array_equal(found, _outputs(model, x.astype(jnp.float32)))


@pytest.mark.parametrize('name', sorted(model_lib.EXECUTORS))
def test_float32_neurons_in_float64_layers(name):
  model = dyadic_model(num_steps=2, family='quantised', slope=0.5)
  layers = networks.dyadic_layers(np.random.default_rng(0), ['oc', 'igh'])
  model, x = model.replace(layers=layers), dyadic_x()
  pooled = lambda model: jax.jit(lambda model, x: model_lib.apply(
      model, x, executor=model_lib.EXECUTORS[name]).pooled)(model, x)
  narrow = pooled(model)
  with jax.enable_x64(True):
    wide = [
        layer._replace(u=jax.tree.map(lambda u: u.astype(jnp.float64), layer.u))
        for layer in layers
    ]
    found = pooled(model.replace(layers=tuple(wide)))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, narrow)  # sums on a dyadic grid


# --- Learning signal ----------------------------------------------------------


def test_gradient_of_a_smooth_network():
  config = Config(family='standard', pooling=('last', 'mean'))
  with jax.enable_x64():
    model, x = network([''], config), random_input(2, 3)
    trained = model.layers, model.readout

    def outputs(trained, x):
      layers, readout = trained
      return _outputs(model.replace(layers=layers, readout=readout), x)

    check_grads(outputs, (trained, x),
                order=1,
                modes=['rev'],
                atol=1e-6,
                rtol=1e-6)


@pytest.mark.parametrize('coupling', ['step', 'shared'])
def test_gradient_reaches_every_trained_leaf(coupling):
  config = Config(num_steps=2,
                  coupling=coupling,
                  surrogate='fast_sigmoid',
                  pooling=('last', 'mean'))
  with jax.enable_x64():
    model = network(['ifgoch'], config, spiking_input=True)
    x = random_input(6, 4)

    def loss(model):
      return jnp.sum(jnp.square(model_lib.apply(model, x).outputs))

    # Unoptimised, because compilation is nearly all of the time.
    options = {'xla_backend_optimization_level': 0}
    gradient = jax.jit(jax.grad(loss), compiler_options=options)(model)
    gradient = jax.tree.map(np.asarray, gradient)
  for path, leaf in jax.tree.leaves_with_path(gradient):
    name = jax.tree_util.keystr(path)
    if name in ('.encoder.mean', '.encoder.std'):
      assert not np.any(leaf), name
    else:
      assert np.all(np.isfinite(leaf)) and np.any(leaf != 0), name


# --- Bad input ----------------------------------------------------------------


@pytest.mark.parametrize('shape', [(3, D), (2, 3, D + 1), (2, 0, D), (0, 3, D),
                                   (1, 2, 3, D)])
def test_an_input_of_another_shape_is_refused(shape):
  with pytest.raises(ValueError,
                     match=r'apply: x has shape .*\[B, N, D\] with D = 3'):
    model_lib.apply(network(['']), jnp.zeros(shape))


@pytest.mark.parametrize('part', ['w', 'u', 'b'])
def test_weights_of_another_shape_are_refused_by_name(part):
  model = network(['', ''])
  first, second = model.layers
  gates = getattr(second, part)
  bad = second._replace(**{part: gates._replace(g=gates.g[..., :-1])})
  with pytest.raises(ValueError, match=rf'layers\[1\].{part}.g has shape'):
    model_lib.apply(model.replace(layers=(first, bad)), random_input(2, 3))


def test_no_layers_are_refused():
  with pytest.raises(ValueError, match='no layers'):
    model_lib.apply(network(['']).replace(layers=()), random_input(2, 3))


def test_another_pooling_is_refused():
  model = network(['']).replace(config=Config(pooling=('last', 'max')))
  with pytest.raises(ValueError, match='readout.w .*another Config.pooling'):
    model_lib.apply(model, random_input(2, 3))


@pytest.mark.parametrize('shape', [(1, 5, 4), (3, 5, 4), (2, 1, 4), (2, 5, 3)])
def test_a_state_of_another_shape_is_refused(shape):
  model = network(['oc'], Config(num_steps=2))
  state = State(None, (CellState(jnp.zeros(shape), jnp.zeros(shape)),))
  with pytest.raises(ValueError, match=r'state.layers\[0\].h has shape'):
    model_lib.apply(model, random_input(5, 2), state=state)


def test_a_state_of_another_model_is_refused():
  model, x = network(['oc', 'oc'], Config(num_steps=2)), random_input(2, 2)
  zero = jnp.zeros((2, 2, networks.HIDDEN))
  with pytest.raises(ValueError,
                     match=r'state.layers\[1\].h has .*another model'):
    model_lib.apply(model, x, state=State(None, (CellState(zero, zero),)))


@pytest.mark.parametrize('name', sorted(model_lib.EXECUTORS))
@pytest.mark.parametrize('shape', [(3,), (5, networks.HIDDEN)])
def test_a_neuron_of_another_size_is_refused(name, shape):
  """Also one of the size of the batch, which would broadcast."""
  model = network(['oc'], Config(num_steps=2))
  layer, = model.layers
  neuron = layer.neurons.o._replace(v_th=jnp.ones(shape))
  layer = layer._replace(neurons=layer.neurons._replace(o=neuron))
  with pytest.raises(ValueError, match='neuron parameter of shape'):
    model_lib.apply(model.replace(layers=(layer,)),
                    random_input(5, 2),
                    executor=model_lib.EXECUTORS[name])


# --- Stretch ------------------------------------------------------------------


def stretchable():
  return network(['', ''], Config(family='standard'))


def odds(z):
  """p / (1 - p) of p = 1 / (1 + exp(-z)), in float64."""
  p = 1 / (1 + np.exp(-np.asarray(z, np.float64)))
  return p / (1 - p)


@pytest.mark.parametrize('factor', [4.0, 1.0, 0.5])
def test_odds_of_forgetting_and_of_input_move_by_the_factor(factor):
  before = stretchable()
  after = model_lib.stretch(before, factor)
  for a, b in zip(before.layers, after.layers):
    np.testing.assert_allclose(odds(b.b.f), factor * odds(a.b.f), rtol=1e-5)
    np.testing.assert_allclose(odds(b.b.i), odds(a.b.i) / factor, rtol=1e-5)
    kept = lambda layer: (layer.w, layer.u, layer.b.g, layer.b.o)
    jax.tree.map(np.testing.assert_array_equal, kept(a), kept(b))


def test_an_impulse_decays_as_many_times_slower():
  """By what is left of c = 1 after one element without input."""
  model = jax.tree.map(jnp.zeros_like, stretchable())
  model = model.replace(encoder=init().encoder)
  layer = model.layers[0]
  layer = layer._replace(b=layer.b._replace(f=layer.b.f + 2, i=layer.b.i - 3))
  model = model.replace(layers=(layer,))
  c = CellState(*(jnp.ones((1, 1, networks.HIDDEN)) for _ in 'hc'))
  time_constant = {}
  for k in (1.0, 10.0):
    end = model_lib.apply(model_lib.stretch(model, k),
                          jnp.zeros((1, 1, D)),
                          state=State(None, (c,))).state
    time_constant[k] = 1 / (1 - float(end.layers[0].c[0, 0, 0]))
  assert time_constant[10.0] - 1 == pytest.approx(10 * (time_constant[1.0] - 1),
                                                  rel=1e-3)


@pytest.mark.parametrize('sites, family, factor, message', [
    ('', 'standard', 0.0, 'stretch: factor is 0.0'),
    ('', 'standard', float('nan'), 'stretch: factor is nan'),
    ('', 'hard', 2.0, "family is 'hard'"),
    ('oc', 'standard', 2.0, 'the model is spiking'),
])
def test_what_cannot_be_stretched_is_refused(sites, family, factor, message):
  with pytest.raises(ValueError, match=message):
    model_lib.stretch(network([sites], Config(family=family)), factor)
