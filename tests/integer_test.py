"""Networks in integers, against the oracle in real numbers."""

import ast
import inspect
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.datasets.har import Har
import slstm
from slstm import integer
from slstm import neurons
from slstm.quantise import _neuron
from slstm.sigma_delta import sigma_delta
from slstm.types import Config, Readout, Sites
from tests import networks
from tests import oracle

D, H, B, N = networks.FEATURES, networks.HIDDEN, 5, 5
RELEASED = pathlib.Path(__file__).resolve().parents[1] / 'results' / 'models'
RAN = [  # sites of each layer, config, neuron at the input
    (('oc',), dict(), None),
    (('oc', 'oc'), dict(num_steps=2), None),
    (('oc', 'oc'), dict(num_steps=2, coupling='shared'), None),
    (('oc', 'oc'), dict(num_steps=4), 'lif'),
    (('oc',), dict(num_steps=2, encoder_steps=4), 'lif'),
    (('oc', 'oc'), dict(num_steps=2, coupling='shared'), 'lif'),
    (('ifgoc', 'oc'), dict(num_steps=2), None),
    (('ifh', 'goc'), dict(num_steps=2), None),
    (('ifgoch',), dict(num_steps=4, coupling='shared'), None),
    (('d', 'd'), dict(), None),
    (('d', 'd'), dict(num_steps=2, coupling='shared'), 'delta'),
    (('d', 'oc'), dict(), 'delta'),
]


def dyadic(sites, options, at_input, pooling=('last',), seed=0):
  """A model and an input of which every value is a small dyadic fraction."""
  rng = np.random.default_rng(seed)
  delta = sigma_delta([0.5, 0.25, 0.5, 0.5], 0.75)
  layers = [
      layer._replace(neurons=Sites(h=delta)) if names == 'd' else layer
      for layer, names in zip(
          networks.dyadic_layers(rng, [n.replace('d', '')
                                       for n in sites]), sites)
  ]
  neuron = {
      None: None,
      'lif': networks.dyadic_neuron(rng, True, (D,)),
      'delta': sigma_delta([1.0, 0.5, 0.5]),
  }[at_input]
  model = networks.dyadic_model(rng, layers, neuron, **options)
  x = np.asarray(networks.dyadic_input(rng, B, N))
  if pooling != ('last',):
    wide = networks.grid(rng, (len(pooling) * H, 2), 2, 0.5)
    model = slstm.Model(model.encoder, model.layers,
                        Readout(wide, model.readout.b),
                        Config(**{
                            **vars(model.config), 'pooling': pooling
                        }))
  return model, x


@pytest.mark.parametrize('sites, options, at_input', RAN)
def test_dyadic_networks_are_exact(sites, options, at_input):
  """Nothing is rounded where integers can hold what is computed."""
  sent = 0
  for seed in range(3):
    model, x = dyadic(sites, options, at_input, seed=seed)
    ints = slstm.quantise(model, x)
    result = integer.run(ints, integer.features(ints, x))
    expected = oracle.apply(model, x, np.float64)
    np.testing.assert_array_equal(result.outputs * 2.0**-ints.output_bits,
                                  expected.outputs)
    for rate, spikes in zip(result.spikes, expected.result.spikes):
      found = spikes.get('h', None)
      if found is None:
        found = spikes['o'] * spikes['c']
      assert rate == pytest.approx(np.abs(found).mean() * len(found[0]))
      sent += rate
  assert sent > 0


@pytest.mark.parametrize('pooling', [('mean',), ('max', 'last'),
                                     ('last', 'mean', 'max')])
@pytest.mark.parametrize('sites, options, at_input', RAN[1:10:4])
def test_pooling(pooling, sites, options, at_input):
  model, x = dyadic(sites, options, at_input, pooling)
  ints = slstm.quantise(model, x)
  expected = oracle.apply(model, x, np.float64).outputs
  np.testing.assert_allclose(integer.outputs(ints, x), expected, atol=0.01)


def gaussian(family, x, **changes):
  config = slstm.Config(family=family, pooling=('last', 'mean'), **changes)
  return slstm.init(jax.random.key(3), num_features=D, hidden_sizes=(9, 7),
                    num_outputs=4, config=config,
                    encoder=slstm.standardising(x))  # yapf: disable


@pytest.mark.parametrize('family', ['standard', 'hard'])
def test_an_lstm_of_8_bits_is_near_the_one_of_reals(family):
  x = np.random.default_rng(0).normal(2, 3, (40, 12, D)).astype(np.float32)
  model = gaussian(family, x)
  exact = oracle.apply(model, x, np.float64).outputs
  errors = {}
  for bits in 4, 8:
    ints = slstm.quantise(model, x, bits=bits)
    errors[bits] = np.abs(integer.outputs(ints, x) - exact).max()
  assert errors[8] < 0.1 * exact.std() < errors[4]


@pytest.mark.parametrize('sites, options, at_input', RAN[::3])
def test_a_product_adds_what_rows_add(sites, options, at_input):
  model, x = dyadic(sites, options, at_input)
  ints = slstm.quantise(model, x)
  q = integer.features(ints, x)
  by_rows, by_product = (integer.run(ints, q, add=add)
                         for add in (integer.add_rows, integer.add_product))
  np.testing.assert_array_equal(by_rows.outputs, by_product.outputs)


def test_products_with_spikes_do_not_multiply():
  nodes = list(ast.walk(ast.parse(inspect.getsource(integer.add_rows))))
  operations = {type(node.op) for node in nodes if hasattr(node, 'op')}
  assert operations == {ast.Add, ast.Sub, ast.USub}
  calls = [node.func.id for node in nodes if isinstance(node, ast.Call)]
  assert calls == ['enumerate']
  default = inspect.signature(integer.run).parameters['add'].default
  assert default is integer.add_rows


def test_activations_are_within_two_units_of_12_bits():
  d = np.arange(-6 * integer.ONE, 6 * integer.ONE, 7, dtype=np.int32)
  config, real = Config(family='standard'), d / integer.ONE
  for site, exact in (('c', np.tanh(real)),
                      ('f', 1 / (1 + np.exp(-6 * (real - 0.5))))):
    found = integer.squash(site, d, config) / integer.ONE
    assert np.abs(found - exact).max() < 2 * 2.0**-12
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize('at_input', [None, 'lif'])
def test_sums_reach_their_bounds_and_stay_within(at_input):
  """Under an input that is at its limit wherever a weight is not 0."""
  model, x = dyadic(('d',), dict(num_steps=2, coupling='shared'), at_input)
  ints = slstm.quantise(model, x)
  rows, limit = ints.layers[0].w.astype(int), ints.encoder.limit
  worst = rows[:, np.abs(rows).sum(0).argmax()]
  q = np.where(worst > 0, -limit - 1, limit) * np.ones((1, 3, 1), int)
  sums_of_w = [q[0, 0] @ rows]

  def add(sums, spikes, rows):
    integer.add_product(sums, spikes, rows)
    if len(rows) == D:
      sums_of_w.append(sums)

  integer.run(ints, q, add=add)
  largest = max(np.abs(sums).max() for sums in sums_of_w[bool(at_input):])
  most = integer.bounds(ints)['sum of layers[0].w']
  assert 0.98 * most <= largest <= most


def test_a_running_sum_stays_within_its_bound():
  """The output of a sigma-delta neuron cannot pass its drive by more."""
  model, x = dyadic(('d',), {}, None)
  ints = slstm.quantise(model, x)
  neuron, rng = ints.layers[0].neurons.h, np.random.default_rng(0)
  most = (integer.ONE + neuron.theta - neuron.level) // neuron.theta
  x, spikes = np.zeros(H, np.int32), np.zeros(H, int)
  for _ in range(500):
    drive = rng.integers(-integer.ONE, integer.ONE + 1, H)
    x, (s,) = integer.sigma_delta(neuron, x, drive, 1)
    spikes += s
    assert (np.abs(spikes) <= most).all()
  bound = np.abs(ints.layers[0].u.astype(int)).T @ most
  assert integer.bounds(ints)['sum of layers[0].u'] == bound.max()


def test_the_released_model_stays_what_it_is():
  data = Har().load()
  model = slstm.load_model(RELEASED / 'har_lif' / 'model')
  x, y = data.test.x[::4], data.test.y[::4]
  ints = slstm.quantise(model, data.train.x[:512])
  exact, found = slstm.predict(model, x), integer.outputs(ints, x)
  assert np.mean(exact.argmax(-1) == found.argmax(-1)) > 0.97
  hits = lambda outputs: np.mean(outputs.argmax(-1) == y)
  assert abs(hits(exact) - hits(found)) < 0.005


def test_what_cannot_be_quantised_is_named():
  model, x = dyadic(('oc',), {}, None)
  with pytest.raises(ValueError, match='bits is 9; expected 2 to 8'):
    slstm.quantise(model, x, bits=9)
  loud = model.layers[0].neurons.o._replace(amplitude=jnp.full((H,), 2.5))
  layer = model.layers[0]
  layer = layer._replace(neurons=layer.neurons._replace(o=loud))
  with pytest.raises(ValueError, match='layers.0. at o: amplitudes up to 2.5'):
    slstm.quantise(slstm.Model(model.encoder, (layer,), model.readout,
                               model.config), x)  # yapf: disable
  with pytest.raises(ValueError, match=r'at h: theta is in 0.5 .. 2.5'):
    _neuron('layers[0] at h', sigma_delta([0.5, 2.5, 1.0, 1.0]), H, True)
  with pytest.raises(ValueError, match='is a Odd; expected a LIF'):
    odd = type('Odd', (neurons.LIF,), {})(*loud)
    _neuron('layers[0] at o', odd, H, False)


def test_inputs_that_are_no_features_are_named():
  model, x = dyadic(('oc',), {}, None)
  ints = slstm.quantise(model, x)
  with pytest.raises(ValueError, match='run: x is float32'):
    integer.run(ints, x)
  with pytest.raises(ValueError, match=r'expected integers in \[-128, 127\]'):
    integer.run(ints, np.full((1, 2, D), 128))
  with pytest.raises(ValueError, match='run: x has shape'):
    integer.run(ints, np.zeros((2, D), int))
