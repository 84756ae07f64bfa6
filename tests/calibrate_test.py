"""Calibration counts what NumPy counts, of two disjoint halves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import model as model_lib
from slstm.calibrate import calibrate
from slstm.neurons import integrate_and_fire
from slstm.types import Config, Sites, SITES
from tests import oracle

N, B, D, HIDDEN = 4, 7, 3, (4, 3)
SEED = 0


def _network(config=Config(), gain=1.0, hidden=HIDDEN):
  """A source network of large enough weights to saturate here and there."""
  x = np.random.default_rng(SEED).normal(1.0, 2.0, (N, B, D)).astype(np.float32)
  x = np.swapaxes(x, 0, 1)
  model = model_lib.init(jax.random.key(0),
                         num_features=D,
                         hidden_sizes=hidden,
                         num_outputs=2,
                         config=config,
                         encoder=model_lib.standardising(jnp.asarray(x)))
  layers = jax.tree.map(lambda leaf: gain * leaf, model.layers)
  return model.replace(layers=layers), x


def _histograms(model, x, bins):
  """For each layer and site [2, H, bins], by NumPy from the oracle's drives."""
  width = 8 / bins
  edges = (np.arange(bins + 1) - bins // 2 - 0.5) * width
  found = []
  for drive in oracle.apply(model, x, np.float64).result.drive:
    sites = {}
    for site, d in drive.items():
      d = d.reshape(N, B, -1)
      nearest_edge = np.abs((d / width - 0.5) - np.round(d / width - 0.5))
      assert nearest_edge.min() > 1e-5, 'too near for float32: another seed'
      d = np.clip(d, edges[0], edges[-1])
      sites[site] = np.asarray([[
          np.histogram(d[:, half::2, unit], edges)[0]
          for unit in range(d.shape[-1])
      ]
                                for half in (0, 1)])
    found.append(sites)
  return found


@pytest.mark.parametrize('family', ['hard', 'standard'])
@pytest.mark.parametrize('bins', [64, 128])
def test_counts_are_those_of_numpy(family, bins):
  config = Config(family=family, slope=2.0)
  model, x = _network(config, gain=3.0)
  calibration = calibrate(model, x, bins=bins)
  assert calibration.source == jax.eval_shape(lambda: model)
  assert calibration.source.config == config
  assert len(calibration.layers) == len(HIDDEN)
  expected = _histograms(model, x, bins)
  for layer, sites in zip(calibration.layers, expected):
    assert layer.present == SITES
    for site in SITES:
      histogram = getattr(layer, site)
      np.testing.assert_array_equal(np.stack(histogram), sites[site], site)
      assert histogram.fit.dtype == np.int64


def test_counts_of_the_input_are_those_of_numpy():
  model, x = _network()
  mean, std = (np.asarray(part, np.float64) for part in model.encoder[:2])
  found = calibrate(model, x, bins=64).input
  d = np.clip((x - mean) / std, -4.0, 3.9)
  edges = (np.arange(65) - 32.5) / 8
  for half, counts in enumerate(found):
    expected = [np.histogram(d[half::2, :, k], edges)[0] for k in range(D)]
    np.testing.assert_array_equal(counts, expected)


def test_drives_beyond_the_range_count_in_the_edge_bins():
  model, x = _network(Config(slope=0.5), gain=20.0)
  layer = calibrate(model, x, bins=64).layers[0]
  assert layer.g.fit[:, 0].sum() > N and layer.g.fit[:, -1].sum() > N
  expected = _histograms(model, x, 64)[0]
  np.testing.assert_array_equal(layer.g.held_out, expected['g'][1])


def test_centres():
  model, x = _network()
  centres = calibrate(model, x[:2]).centres
  assert centres.shape == (1024,) and centres.dtype == np.float32
  np.testing.assert_array_equal(np.diff(centres), 1 / 128)
  assert centres[512] == 0 and centres[512 + 128] == 1 and centres[0] == -4


def test_dyadic_drives_count_at_their_own_value():
  config = Config(family='quantised', levels=2, slope=0.5)
  calibration = calibrate(*_network(config, gain=2.0))
  h = calibration.layers[0].h
  taken = calibration.centres[(h.fit + h.held_out).sum(0) > 0]
  assert set(taken) <= {-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0}
  assert len(taken) > 3


def _assert_equal(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_halves_are_disjoint_and_complete():
  model, x = _network()
  layers = calibrate(model, x, bins=64).layers
  for histogram in [h for layer in layers for h in layer]:
    np.testing.assert_array_equal(histogram.fit.sum(1), N * 4)
    np.testing.assert_array_equal(histogram.held_out.sum(1), N * 3)
  # Examples count where they stand, and nowhere else.
  there = calibrate(model, x[:6], bins=64).layers
  swapped = calibrate(model, x[[1, 0, 3, 2, 5, 4]], bins=64).layers
  for a, b in zip(there, swapped):
    for one, other in zip(a, b):
      np.testing.assert_array_equal(one.fit, other.held_out)
      np.testing.assert_array_equal(one.held_out, other.fit)
      assert (one.fit != one.held_out).any()


@pytest.mark.parametrize('batch_size', [1, 3])
def test_batches_do_not_matter(batch_size):
  model, x = _network()
  _assert_equal(calibrate(model, x, bins=64),
                calibrate(model, x, batch_size=batch_size, bins=64))


def test_time_steps_and_kind_of_array_do_not_matter():
  model, x = _network()
  expected = calibrate(model, x, bins=64)
  for coupling in 'step', 'shared':
    config = dataclasses.replace(model.config, num_steps=3, coupling=coupling)
    found = calibrate(model.replace(config=config), x, bins=64)
    assert found.source.config == config
    _assert_equal(found.layers, expected.layers)
  for same in x.astype(np.float64), jnp.asarray(x):
    _assert_equal(calibrate(model, same, bins=64), expected)
  integers = np.round(x).astype(np.int8)
  _assert_equal(calibrate(model, integers, bins=64),
                calibrate(model, integers.astype(np.float32), bins=64))


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_x_that_is_not_finite(value):
  model, x = _network()
  x = x.copy()
  x[5, 2, 1] = x[3, 0, 0] = value
  with pytest.raises(ValueError, match='calibrate: x .*2 examples.*index 3'):
    calibrate(model, x)


@pytest.mark.parametrize('shape, message', [
    ((N, D), r'has shape \(4, 3\); expected \[B, N, D\] with D = 3'),
    ((2, 0, D), r'has shape \(2, 0, 3\)'),
    ((2, N, D, 1), r'has shape \(2, 4, 3, 1\)'),
    ((2, N, D + 1), r'has shape \(2, 4, 4\); .* D = 3'),
    ((1, N, D), 'has 1 example'),
])
def test_x_of_another_shape(shape, message):
  model, _ = _network()
  with pytest.raises(ValueError, match='calibrate: x ' + message):
    calibrate(model, np.zeros(shape, np.float32))


def test_bad_arguments():
  model, x = _network()
  for bins in 0, 32, 100, 32768:
    with pytest.raises(ValueError, match=f'bins is {bins}'):
      calibrate(model, x, bins=bins)
  with pytest.raises(ValueError, match='batch_size is 0'):
    calibrate(model, x, batch_size=0)


def test_models_that_are_no_source_network():
  model, x = _network()
  neuron = integrate_and_fire(True)
  spiking = model.layers[1]._replace(neurons=Sites(h=neuron))
  for bad in (model.replace(layers=(model.layers[0], spiking)),
              model.replace(encoder=model.encoder._replace(neuron=neuron))):
    with pytest.raises(ValueError, match='calibrate: model has spiking'):
      calibrate(bad, x)
  diverged = model.readout._replace(b=jnp.array([0.0, jnp.nan]))
  with pytest.raises(ValueError, match='model: 1 of 2 values of readout.b'):
    calibrate(model.replace(readout=diverged), x)
