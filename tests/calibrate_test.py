"""Calibration counts what NumPy counts, of two disjoint halves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import encoders
from slstm import model
from slstm.calibrate import calibrate
from slstm.neurons import integrate_and_fire
from slstm.types import Config, Sites, SITES
from tests import oracle

N, B, D, HIDDEN = 4, 7, 3, (4, 3)
SEED = 0


def _network(config, gain=1.0, hidden=HIDDEN):
  """A source network of large enough weights to saturate here and there."""
  x = np.random.default_rng(SEED).normal(1.0, 2.0, (N, B, D)).astype(np.float32)
  params = model.init(jax.random.key(0), D, hidden, 2, config,
                      encoders.standardising(jnp.asarray(x)))
  layers = jax.tree.map(lambda leaf: gain * leaf, params.layers)
  return params._replace(layers=layers), x


def _histograms(params, x, config, bins):
  """For each layer and site [2, H, bins], by NumPy from the oracle's drives."""
  width = 8 / bins
  edges = (np.arange(bins + 1) - bins // 2 - 0.5) * width
  found = []
  for drive in oracle.apply(params, x, config, np.float64).result.drive:
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
  params, x = _network(config, gain=3.0)
  calibration = calibrate(params, x, config, bins=bins)
  assert calibration.config == config
  assert len(calibration.layers) == len(HIDDEN)
  expected = _histograms(params, x, config, bins)
  for layer, sites in zip(calibration.layers, expected):
    assert layer.present == SITES
    for site in SITES:
      histogram = getattr(layer, site)
      np.testing.assert_array_equal(np.stack(histogram), sites[site], site)
      assert histogram.fit.dtype == np.int64


def test_counts_of_the_input_are_those_of_numpy():
  config = Config()
  params, x = _network(config)
  mean, std = (np.asarray(part, np.float64) for part in params.encoder[:2])
  found = calibrate(params, x, config, bins=64).input
  d = np.clip((x - mean) / std, -4.0, 3.9)
  edges = (np.arange(65) - 32.5) / 8
  for half, counts in enumerate(found):
    expected = [np.histogram(d[:, half::2, k], edges)[0] for k in range(D)]
    np.testing.assert_array_equal(counts, expected)


def test_drives_beyond_the_range_count_in_the_edge_bins():
  config = Config(slope=0.5)
  params, x = _network(config, gain=20.0)
  layer = calibrate(params, x, config, bins=64).layers[0]
  assert layer.g.fit[:, 0].sum() > N and layer.g.fit[:, -1].sum() > N
  expected = _histograms(params, x, config, 64)[0]
  np.testing.assert_array_equal(layer.g.held_out, expected['g'][1])


def test_centres():
  config = Config()
  params, x = _network(config)
  centres = calibrate(params, x[:, :2], config).centres
  assert centres.shape == (1024,) and centres.dtype == np.float32
  np.testing.assert_array_equal(np.diff(centres), 1 / 128)
  assert centres[512] == 0 and centres[512 + 128] == 1 and centres[0] == -4


def test_dyadic_drives_count_at_their_own_value():
  config = Config(family='quantised', levels=2, slope=0.5)
  params, x = _network(config, gain=2.0)
  calibration = calibrate(params, x, config)
  h = calibration.layers[0].h
  taken = calibration.centres[(h.fit + h.held_out).sum(0) > 0]
  assert set(taken) <= {-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0}
  assert len(taken) > 3


def _assert_equal(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_halves_are_disjoint_and_complete():
  config = Config()
  params, x = _network(config)
  layers = calibrate(params, x, config, bins=64).layers
  for histogram in [h for layer in layers for h in layer]:
    np.testing.assert_array_equal(histogram.fit.sum(1), N * 4)
    np.testing.assert_array_equal(histogram.held_out.sum(1), N * 3)
  # Examples count where they stand, and nowhere else.
  there = calibrate(params, x[:, :6], config, bins=64).layers
  swapped = calibrate(params, x[:, [1, 0, 3, 2, 5, 4]], config, bins=64).layers
  for a, b in zip(there, swapped):
    for one, other in zip(a, b):
      np.testing.assert_array_equal(one.fit, other.held_out)
      np.testing.assert_array_equal(one.held_out, other.fit)
      assert (one.fit != one.held_out).any()


@pytest.mark.parametrize('batch_size', [1, 3])
def test_batches_do_not_matter(batch_size):
  config = Config()
  params, x = _network(config)
  _assert_equal(calibrate(params, x, config, bins=64),
                calibrate(params, x, config, batch_size, bins=64))


def test_time_steps_and_kind_of_array_do_not_matter():
  config = Config()
  params, x = _network(config)
  expected = calibrate(params, x, config, bins=64).layers
  for num_steps, coupling in (3, 'step'), (3, 'rate'):
    other = dataclasses.replace(config, num_steps=num_steps, coupling=coupling)
    _assert_equal(calibrate(params, x, other, bins=64).layers, expected)
  for same in x.astype(np.float64), jnp.asarray(x):
    _assert_equal(calibrate(params, same, config, bins=64).layers, expected)
  integers = np.round(x).astype(np.int8)
  _assert_equal(calibrate(params, integers, config, bins=64),
                calibrate(params, integers.astype(np.float32), config, bins=64))


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_x_that_is_not_finite(value):
  config = Config()
  params, x = _network(config)
  x = x.copy()
  x[2, 5, 1] = x[0, 3, 0] = value
  with pytest.raises(ValueError, match='calibrate: x .*2 examples.*index 3'):
    calibrate(params, x, config)


@pytest.mark.parametrize('shape', [(N, D), (N, 1, D), (0, 2, D), (N, 2, D, 1)])
def test_x_of_another_shape(shape):
  config = Config()
  params, _ = _network(config)
  with pytest.raises(ValueError, match='calibrate: x has shape'):
    calibrate(params, np.zeros(shape, np.float32), config)
  with pytest.raises(ValueError, match='3 features'):
    calibrate(params, np.zeros((N, 2, D + 1), np.float32), config)


def test_bad_arguments():
  config = Config()
  params, x = _network(config)
  for bins in 0, 32, 100, 32768:
    with pytest.raises(ValueError, match=f'bins is {bins}'):
      calibrate(params, x, config, bins=bins)
  with pytest.raises(ValueError, match='batch_size is 0'):
    calibrate(params, x, config, batch_size=0)


def test_params_that_are_no_source_network():
  config = Config()
  params, x = _network(config)
  neuron = integrate_and_fire(True)
  spiking = params._replace(layers=(params.layers[0], params.layers[1]._replace(
      neurons=Sites(h=neuron))))
  encoding = params._replace(encoder=params.encoder._replace(neuron=neuron))
  for bad in spiking, encoding:
    with pytest.raises(ValueError, match='calibrate: params have spiking'):
      calibrate(bad, x, config)
  diverged = params._replace(readout=params.readout._replace(
      b=jnp.array([0.0, jnp.nan])))
  with pytest.raises(ValueError, match='params: 1 of 2 values of readout.b'):
    calibrate(diverged, x, config)
