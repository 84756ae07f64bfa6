"""Tests of slstm.stretch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm
from slstm.types import Config
from tests import networks

CONFIG = Config(family='standard')


def params(sites=''):
  rng = np.random.default_rng(0)
  layers = networks.gaussian_layers(rng, [sites, sites])
  like = slstm.init(jax.random.key(0), networks.FEATURES,
                    (networks.HIDDEN, networks.HIDDEN), 2, CONFIG)
  return like._replace(layers=layers)


def odds(z):
  """p / (1 - p) of p = 1 / (1 + exp(-z)), in float64."""
  p = 1 / (1 + np.exp(-np.asarray(z, np.float64)))
  return p / (1 - p)


@pytest.mark.parametrize('factor', [4.0, 1.0, 0.5])
def test_odds_of_forgetting_and_of_input_move_by_the_factor(factor):
  before = params()
  after = slstm.stretch(before, factor, CONFIG)
  for a, b in zip(before.layers, after.layers):
    np.testing.assert_allclose(odds(b.b.f), factor * odds(a.b.f), rtol=1e-5)
    np.testing.assert_allclose(odds(b.b.i), odds(a.b.i) / factor, rtol=1e-5)
    kept = lambda layer: (layer.w, layer.u, layer.b.g, layer.b.o)
    jax.tree.map(np.testing.assert_array_equal, kept(a), kept(b))


def test_an_impulse_decays_as_many_times_slower():
  """By what is left of c = 1 after one element without input."""
  layer = jax.tree.map(jnp.zeros_like, params().layers[0])
  layer = layer._replace(b=layer.b._replace(f=layer.b.f + 2, i=layer.b.i - 3))
  net = params()._replace(layers=(layer,))
  c = slstm.CellState(*(jnp.ones((1, 1, networks.HIDDEN)) for _ in 'hc'))
  time_constant = {}
  for k in (1.0, 10.0):
    stretched = slstm.stretch(net, k, CONFIG)
    run = slstm.run(stretched.layers,
                    jnp.zeros((1, 1, 1, networks.FEATURES)),
                    CONFIG,
                    state=[c])
    time_constant[k] = 1 / (1 - float(run.state[0].c[0, 0, 0]))
  assert time_constant[10.0] - 1 == pytest.approx(10 * (time_constant[1.0] - 1),
                                                  rel=1e-3)


@pytest.mark.parametrize('net, factor, config, message', [
    (params(), 0.0, CONFIG, 'stretch: factor is 0.0'),
    (params(), float('nan'), CONFIG, 'stretch: factor is nan'),
    (params(), 2.0, Config(family='hard'), "family is 'hard'"),
    (params('oc'), 2.0, CONFIG, 'params have neurons'),
])
def test_what_cannot_be_stretched_is_refused(net, factor, config, message):
  with pytest.raises(ValueError, match=message):
    slstm.stretch(net, factor, config)
