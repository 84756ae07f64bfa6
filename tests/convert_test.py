"""Conversion changes the neurons and nothing else, and tends to the source."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import encoders
from slstm import model
from slstm import neurons
from slstm import rules
from slstm.calibrate import calibrate
from slstm.convert import ConversionConfig
from slstm.convert import convert
from slstm.types import Config, SIGNED_SITES, Sites, SITES
from tests import oracle

N, B, D, HIDDEN, K = 6, 32, 3, (5, 4), 3


@functools.cache
def _source(family='hard'):
  """(params, x, calibration) of a source network of lively activations."""
  rng = np.random.default_rng(0)
  x = rng.normal(1.0, 2.0, (N, B, D)).astype(np.float32)
  config = Config(family=family, pooling=('last', 'mean'))
  params = model.init(jax.random.key(0), D, HIDDEN, K, config,
                      encoders.standardising(jnp.asarray(x)))
  lively = lambda leaf: jnp.asarray(
      np.float32(2.5 * leaf + rng.normal(0, 0.5, leaf.shape)))
  params = params._replace(layers=jax.tree.map(lively, params.layers))
  return params, x, calibrate(params, x, config, bins=256)


def _logits(params, x, config):
  run = jax.jit(model.apply, static_argnums=2)
  return np.asarray(run(params, x, config).logits)


@pytest.mark.parametrize('neuron', ['if', 'lif'])
@pytest.mark.parametrize('granularity', ['layer', 'unit'])
def test_only_the_neurons_change(neuron, granularity):
  params, _, calibration = _source()
  sites = ('c', 'f', 'h')
  conversion = convert(
      params, calibration,
      ConversionConfig(sites=sites, neuron=neuron, granularity=granularity))
  analog = conversion.params._replace(layers=tuple(
      layer._replace(neurons=Sites()) for layer in conversion.params.layers))
  assert jax.tree.structure(analog) == jax.tree.structure(params)
  jax.tree.map(np.testing.assert_array_equal, analog, params)
  for layer, hidden in zip(conversion.params.layers, HIDDEN):
    assert layer.neurons.present == ('f', 'c', 'h')
    for site in sites:
      made = getattr(layer.neurons, site)
      assert (made.leak is None) == (neuron == 'if')
      for leaf in jax.tree.leaves(made):
        assert leaf.shape == (() if granularity == 'layer' else (hidden,))
        assert leaf.dtype == jnp.float32
      assert (made.v_th > 0).all() and (made.amplitude > 0).all()


def test_uniform_if_is_the_integrate_and_fire_neuron():
  params, _, calibration = _source()
  conversion = convert(params, calibration,
                       ConversionConfig(sites=SITES, neuron='if'))
  for layer in conversion.params.layers:
    for site in SITES:
      jax.tree.map(np.testing.assert_array_equal, getattr(layer.neurons, site),
                   neurons.integrate_and_fire(site in SIGNED_SITES))


@pytest.mark.parametrize('site', SITES)
def test_the_target_is_the_activation_of_the_source(site):
  """E of the uniform rule, from the histogram by hand."""
  params, _, calibration = _source()
  conversion = convert(
      params, calibration,
      ConversionConfig(sites=(site,), num_steps=1, granularity='unit'))
  histogram = getattr(calibration.layers[1], site)
  d = calibration.centres.reshape(1, -1)
  if site in SIGNED_SITES:
    e = 1.0 * (d >= 0.5) - (d <= -0.5) - np.clip(d, -1, 1)
  else:
    e = 1.0 * (d >= 0.5) - np.clip(d, 0, 1)
  errors = getattr(conversion.report[1], site).errors['if_uniform']
  for counts, mse, mae in ((histogram.fit, errors.mse_fit, errors.mae_fit),
                           (histogram.held_out, errors.mse_held_out,
                            errors.mae_held_out)):
    assert mse == pytest.approx(np.sum(counts * e**2) / counts.sum())
    assert mae == pytest.approx(np.sum(counts * np.abs(e)) / counts.sum())


def test_config_of_the_result():
  params, _, calibration = _source()
  config = convert(
      params, calibration,
      ConversionConfig(sites=('h',),
                       num_steps=3,
                       neuron='if',
                       coupling='rate',
                       surrogate='arctan',
                       width=0.5)).config
  assert config == dataclasses.replace(calibration.config,
                                       num_steps=3,
                                       coupling='rate',
                                       surrogate='arctan',
                                       width=0.5)
  assert config.pooling == ('last', 'mean')


def test_converting_twice_gives_the_same():
  params, _, calibration = _source('standard')
  config = ConversionConfig(granularity='unit')
  one, other = (convert(params, calibration, config) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
  assert one.report == other.report and one.config == other.config


@pytest.mark.parametrize('family', ['hard', 'standard'])
@pytest.mark.parametrize('granularity', ['layer', 'unit'])
def test_report_of_a_network(family, granularity):
  """The report repeats the neurons; none is worse than the uniform rule."""
  params, _, calibration = _source(family)
  conversion = convert(params, calibration,
                       ConversionConfig(sites=SITES, granularity=granularity))
  layers = json.loads(json.dumps(rules.report_dict(conversion.report)))
  for layer, made in zip(layers, conversion.params.layers):
    assert list(layer) == list(SITES)
    for site, entry in layer.items():
      neuron = getattr(made.neurons, site)
      for field, leaf in neuron._asdict().items():
        np.testing.assert_array_equal(np.float32(entry[field]), leaf.ravel())
      errors = entry['errors']
      assert errors['if_data']['mse_fit'] <= errors['if_uniform']['mse_fit']
      for half in 'mse_fit', 'mse_held_out':
        assert errors['chosen'][half] <= errors['if_uniform'][half] + 1e-9


def test_units_fit_better_than_layers():
  params, _, calibration = _source()
  by_layer, by_unit = (convert(params, calibration,
                               ConversionConfig(granularity=granularity))
                       for granularity in ('layer', 'unit'))
  for layer, unit in zip(by_layer.report, by_unit.report):
    for site in layer.present:
      assert (getattr(unit, site).errors['lif'].mse_fit
              <= getattr(layer, site).errors['lif'].mse_fit + 1e-4)


def test_rate_conversion_tends_to_the_source():
  """By the oracle, whose loops take any T."""
  params, x, calibration = _source()
  x = x[:, :6]
  expected = _logits(params, x, calibration.config)
  worst = []
  for num_steps in (4, 64):
    conversion = convert(
        params, calibration,
        ConversionConfig(sites=SITES,
                         num_steps=num_steps,
                         neuron='if',
                         coupling='rate'))
    found = oracle.apply(conversion.params, x, conversion.config, np.float64)
    worst.append(np.abs(found.logits - expected).max())
  assert worst[-1] < 0.05 * np.abs(expected).max()
  assert worst[1] < 0.2 * worst[0]


@pytest.mark.parametrize('coupling', ['step', 'shared', 'rate'])
def test_logits_of_a_converted_network_are_those_of_the_oracle(coupling):
  params, x, calibration = _source()
  conversion = convert(params, calibration,
                       ConversionConfig(coupling=coupling, granularity='unit'))
  found = oracle.apply(conversion.params, x[:, :6], conversion.config,
                       np.float32)
  logits = _logits(conversion.params, x[:, :6], conversion.config)
  np.testing.assert_allclose(logits, found.logits, atol=1e-4)


def test_a_quantised_source_of_as_many_levels_is_converted_exactly():
  """With Q = T, a neuron on c can do all that the source does.

  After few elements c is dyadic, and often just where the source rounds, which
  the shift that is fitted to the data has to get right.
  """
  params, x, calibration = _source('quantised')
  x = x[:3]
  calibration = calibrate(params, x, calibration.config, bins=256)
  conversion = convert(
      params, calibration,
      ConversionConfig(sites=('c',),
                       num_steps=calibration.config.levels,
                       neuron='if',
                       shift='data',
                       coupling='rate'))
  for layer in conversion.report:
    assert layer.c.errors['chosen'].mse_held_out < 1e-12
  np.testing.assert_allclose(_logits(conversion.params, x, conversion.config),
                             _logits(params, x, calibration.config),
                             atol=1e-5)


def test_a_spiking_encoder_stays():
  params, _, calibration = _source()
  neuron = neurons.integrate_and_fire(True)
  params = params._replace(encoder=params.encoder._replace(neuron=neuron))
  conversion = convert(params, calibration, ConversionConfig(neuron='if'))
  assert conversion.params.encoder is params.encoder


@pytest.mark.parametrize('granularity', ['layer', 'unit'])
@pytest.mark.parametrize('encoder_steps', [0, 5])
def test_a_spiking_encoder_follows_the_input(granularity, encoder_steps):
  params, x, calibration = _source()
  config = ConversionConfig(neuron='if', granularity=granularity)
  direct = convert(params, calibration, config)
  assert direct.encoder_report is None
  config = dataclasses.replace(config,
                               encoding='spiking',
                               encoder_steps=encoder_steps,
                               neuron='lif')
  conversion = convert(params, calibration, config)
  made = conversion.params.encoder
  for leaf in jax.tree.leaves(made.neuron):
    assert leaf.shape == (() if granularity == 'layer' else (D,))
  jax.tree.map(np.testing.assert_array_equal, made._replace(neuron=None),
               params.encoder)
  # The error of what the encoder puts out on the data, from the inputs alone.
  spikes = np.asarray(
      encoders.encode(made, jnp.asarray(x[:, ::2]), conversion.config))
  d = (x[:, ::2] - np.asarray(made.mean)) / np.asarray(made.std)
  error = np.mean((spikes.mean(1) - d)**2)
  errors = conversion.encoder_report.errors
  assert error == pytest.approx(errors['chosen'].mse_fit, rel=0.05)
  assert error < 0.6 * errors['if_uniform'].mse_fit


def test_steps_of_an_encoder_that_does_not_spike_are_refused():
  params, _, calibration = _source()
  config = ConversionConfig(encoder_steps=3)
  with pytest.raises(ValueError, match='encoder_steps is 3.*stays analog'):
    convert(params, calibration, config)


def test_a_spiking_encoder_is_not_fitted_twice():
  params, _, calibration = _source()
  config = ConversionConfig(encoding='spiking')
  spiking = convert(params, calibration, config).params.encoder
  with pytest.raises(ValueError,
                     match=r'encoder\.neuron\.v_th is not expected'):
    convert(params._replace(encoder=spiking), calibration, config)


def test_params_that_do_not_fit_the_calibration():
  params, _, calibration = _source()
  config = ConversionConfig()
  first, second = params.layers

  def check(message, **changes):
    with pytest.raises(ValueError, match='^convert: params ag.*' + message):
      convert(params._replace(**changes), calibration, config)

  check(r'layers\[1\]\.w\.i is missing', layers=(first,))
  check(r'layers\[2\]\.w\.i is not', layers=(first, second, second))
  u = first.u._replace(g=jnp.zeros((4, 4)))
  check(r'layers\[0\]\.u\.g has shape', layers=(first._replace(u=u), second))
  u = second.u._replace(g=second.u.g.at[1, 2].set(jnp.nan))
  check(r'layers\[1\]\.u\.g .* index \(1, 2\)',
        layers=(first, second._replace(u=u)))
  b = second.b._replace(i=jnp.zeros((4,), jnp.int32))
  check(r'layers\[1\]\.b\.i is of', layers=(first, second._replace(b=b)))
  check(r'readout\.w has shape \(4, 3\); expected \(8, 3\)',
        readout=params.readout._replace(w=params.readout.w[:4]))
  wider = jnp.zeros((D + 1,))
  check(r'encoder\.mean has shape',
        encoder=params.encoder._replace(mean=wider, std=wider + 1))
  spiking = convert(params, calibration, config).params
  check(r'layers\[0\]\.neurons\.o\.v_th is not', layers=spiking.layers)


@pytest.mark.parametrize('change, message', [
    ({'sites': ()}, r'sites is \(\); expected a tuple of at least one'),
    ({'sites': 'oc'}, "sites is 'oc'; expected a tuple"),
    ({'sites': ['o', 'c']}, 'expected a tuple'),
    ({'sites': ('o', 'c', 'o')}, 'none twice'),
    ({'sites': ('o', 'z')}, "sites is 'z'; expected one of 'i', 'f', 'g'"),
    ({'num_steps': 0}, 'num_steps is 0'),
    ({'num_steps': 2.0}, 'num_steps is 2.0'),
    ({'neuron': 'LIF'}, "neuron is 'LIF'; expected one of 'lif', 'if'"),
    ({'shift': 'half'}, "shift is 'half'"),
    ({'coupling': 'none'}, "coupling is 'none'"),
    ({'granularity': 'gate'}, "granularity is 'gate'"),
    ({'encoding': 'rate'}, "encoding is 'rate'"),
    ({'surrogate': 'none'}, "surrogate is 'none'"),
    ({'width': 0.0}, 'width is 0.0'),
])  # yapf: disable
def test_bad_config(change, message):
  with pytest.raises(ValueError, match=message):
    ConversionConfig(**change)
  assert hash(ConversionConfig()) == hash(ConversionConfig())
