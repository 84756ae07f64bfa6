"""The front of sigma-delta neurons is measured, and a budget picks from it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import model as model_lib
from slstm.front import pick
from slstm.front import Point
from slstm.front import trade_off
from slstm.sigma_delta import sigma_delta
from slstm.types import Config, Sites
from tests import oracle

B, N, D, H, K = 6, 5, 3, 4, 3
THETAS, LEVELS = (0.1, 0.4), (0.5, 0.75)


@functools.cache
def _source(layers=2):
  """(model, x) of a small source network."""
  rng = np.random.default_rng(0)
  x = rng.normal(1.0, 2.0, (B, N, D)).astype(np.float32)
  model = model_lib.init(jax.random.key(0),
                         num_features=D,
                         hidden_sizes=(H,) * layers,
                         num_outputs=K,
                         config=Config('standard'),
                         encoder=model_lib.standardising(jnp.asarray(x)))
  triple = lambda leaf: 3 * leaf
  return model.replace(layers=jax.tree.map(triple, model.layers)), x


def _check(point, snn, x, spikes):
  """Its error and agreement are the oracle's; `spikes` are those of a place."""
  source = oracle.apply(_source()[0], x, np.float32).outputs
  outputs = oracle.apply(snn, x, np.float32).outputs
  error = np.mean((outputs - source)**2) / np.var(source)
  assert point.error == pytest.approx(error, rel=1e-3)
  same = np.mean(outputs.argmax(1) == source.argmax(1))
  assert point.agreement == pytest.approx(same)
  assert point.rate == pytest.approx(np.mean(spikes), rel=1e-5)
  np.testing.assert_allclose(model_lib.apply(point.model, x).outputs,
                             outputs,
                             atol=1e-4)


@pytest.mark.parametrize('num_steps', [1, 2])
def test_points_are_those_of_the_oracle(num_steps):
  model, x = _source()
  points = trade_off(model,
                     x,
                     num_steps=num_steps,
                     thetas=THETAS,
                     levels=LEVELS,
                     batch_size=4)
  assert [p.rate for p in points] == sorted(p.rate for p in points)
  assert {(p.theta, p.level) for p in points
         } == {(t, v) for t in THETAS for v in LEVELS}
  config = Config('standard', num_steps=num_steps, coupling='shared')
  for point in points:
    neuron = sigma_delta(np.full(H, point.theta), point.level)
    layers = tuple(
        layer._replace(neurons=Sites(h=neuron)) for layer in model.layers)
    snn = model.replace(layers=layers, config=config)
    run = oracle.apply(snn, x, np.float32).result
    _check(point, snn, x,
           [np.abs(layer['h']).sum(1).mean() for layer in run.spikes])


def test_points_of_the_input():
  model, x = _source()
  points = trade_off(model,
                     x,
                     place='input',
                     num_steps=3,
                     thetas=(0.5,),
                     levels=(0.5,))
  snn = model.replace(encoder=model.encoder._replace(neuron=sigma_delta(0.5)),
                      config=Config('standard', encoder_steps=3))
  seen = oracle.encode(snn.encoder, x, snn.config, np.float32)[:, 0]
  first = np.abs(seen[:1]).sum() + np.abs(np.diff(seen, axis=0)).sum()
  _check(points[0], snn, x, first / 0.5 / seen.size)
  assert points[0].on_front and len(points) == 1


def _point(rate, error):
  return Point(0.5, 0.5, error, 1.0, rate, False, None)


def test_pick():
  points = [_point(*p) for p in ((0.1, 0.4), (0.2, 0.1), (0.3, 0.2))]
  assert pick(points, rate=0.3) == points[1]
  assert pick(points, rate=0.19) == points[0]
  assert pick(points, error=0.5) == points[0]
  assert pick(points, error=0.3) == points[1]
  with pytest.raises(ValueError,
                     match='no point has rate <= 0.05; the least '
                     'is 0.1'):
    pick(points, rate=0.05)
  for budgets in ({}, {'rate': 0.1, 'error': 0.1}):
    with pytest.raises(ValueError, match='expected one of them'):
      pick(points, **budgets)


def test_the_front_has_what_nothing_beats():
  model, x = _source()
  points = trade_off(model, x, thetas=(0.1, 0.2, 0.4, 0.8), levels=LEVELS)
  for one in points:
    beaten = any(other.rate <= one.rate and other.error <= one.error and
                 (other.rate < one.rate or other.error < one.error)
                 for other in points)
    assert one.on_front == (not beaten)


@pytest.mark.parametrize('changes, words', [
    ({'place': 'o'}, "place is 'o'"),
    ({'thetas': ()}, 'at least one theta'),
    ({'thetas': (-1.0,)}, 'theta is'),
    ({'levels': (0.3,)}, 'level is'),
])  # yapf: disable
def test_bad_arguments(changes, words):
  model, x = _source()
  with pytest.raises(ValueError, match=words):
    trade_off(model, x, **changes)


def test_neurons_that_are_there_are_refused():
  model, x = _source()
  point, = trade_off(model, x, thetas=(0.5,), levels=(0.5,))
  with pytest.raises(ValueError, match="has neurons at place 'h' already"):
    trade_off(point.model, x)
  both, = trade_off(point.model, x, place='input', thetas=(0.5,), levels=(0.5,))
  with pytest.raises(ValueError, match="neurons at place 'input' already"):
    trade_off(both.model, x, place='input')


def test_a_source_without_an_opinion_is_refused():
  model, x = _source()
  silent = model.replace(readout=jax.tree.map(jnp.zeros_like, model.readout))
  with pytest.raises(ValueError, match='all outputs of the model .* the same'):
    trade_off(silent, x)
