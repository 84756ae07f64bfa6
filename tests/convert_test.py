"""Conversion changes the neurons and nothing else, and tends to the source."""

import dataclasses
import functools
import json
import types as types_lib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import fitting
from slstm import model as model_lib
from slstm import neurons
from slstm.calibrate import calibrate
from slstm.convert import ConversionConfig
from slstm.convert import convert
from slstm.types import Array, Config, SIGNED_SITES, Sites, SITES
from tests import oracle

N, B, D, HIDDEN, K = 6, 32, 3, (5, 4), 3
IF = fitting.integrate_and_fire


@functools.cache
def _source(family='hard'):
  """(model, x, calibration) of a source network of lively activations."""
  rng = np.random.default_rng(0)
  x = np.swapaxes(rng.normal(1.0, 2.0, (N, B, D)).astype(np.float32), 0, 1)
  model = model_lib.init(jax.random.key(0),
                         num_features=D,
                         hidden_sizes=HIDDEN,
                         num_outputs=K,
                         config=Config(family=family, pooling=('last', 'mean')),
                         encoder=model_lib.standardising(jnp.asarray(x)))
  lively = lambda leaf: jnp.asarray(
      np.float32(2.5 * leaf + rng.normal(0, 0.5, leaf.shape)))
  model = model.replace(layers=jax.tree.map(lively, model.layers))
  return model, x, calibrate(model, x, bins=256)


def _outputs(model, x):
  return np.asarray(jax.jit(model_lib.apply)(model, x).outputs)


def _rate(model, x):
  """Outputs of the oracle, each neuron for the mean of T steps."""
  config = types_lib.SimpleNamespace(**{
      **dataclasses.asdict(model.config), 'coupling': 'rate'
  })
  return oracle.apply(model, x, np.float64, config).outputs


@pytest.mark.parametrize('fit', ['if', 'lif'])
@pytest.mark.parametrize('granularity', ['layer', 'unit'])
def test_only_the_neurons_change(fit, granularity):
  model, _, calibration = _source()
  sites = ('c', 'f', 'h')
  snn = convert(
      model, calibration,
      ConversionConfig(sites=sites,
                       fit=fitting.FITS[fit],
                       granularity=granularity)).model
  analog = snn.replace(layers=tuple(
      layer._replace(neurons=Sites()) for layer in snn.layers),
                       config=model.config)
  assert jax.tree.structure(analog) == jax.tree.structure(model)
  jax.tree.map(np.testing.assert_array_equal, analog, model)
  for layer, hidden in zip(snn.layers, HIDDEN):
    assert layer.neurons.present == ('f', 'c', 'h')
    for site in sites:
      made = getattr(layer.neurons, site)
      assert (made.leak is None) == (fit == 'if')
      for leaf in jax.tree.leaves(made):
        assert leaf.shape == (() if granularity == 'layer' else (hidden,))
        assert leaf.dtype == jnp.float32
      assert (made.v_th > 0).all() and (made.amplitude > 0).all()


def test_uniform_if_is_the_integrate_and_fire_neuron():
  model, _, calibration = _source()
  snn = convert(model, calibration, ConversionConfig(sites=SITES, fit=IF)).model
  for layer in snn.layers:
    for site in SITES:
      jax.tree.map(np.testing.assert_array_equal, getattr(layer.neurons, site),
                   neurons.integrate_and_fire(site in SIGNED_SITES))


class Half(NamedTuple):
  """A neuron of the tests, which outputs theta in each step."""
  theta: Array


@pytest.fixture
def _half(monkeypatch):
  """Makes `Half` known for a test."""
  monkeypatch.setattr(neurons, 'KINDS', dict(neurons.KINDS))
  neurons.register(
      Half,
      neurons.Kind(
          initial=lambda neuron, shape: jnp.zeros(shape),
          step=lambda neuron, state, d, *, signed, fire:
          (state, jnp.ones_like(d)),
          output=lambda neuron, state, s: neurons.align(neuron.theta, s) * s,
          constrain=lambda raw: raw,
          unconstrain=lambda neuron: neuron,
          work=lambda *_: ()))


@pytest.mark.usefixtures('_half')
@pytest.mark.parametrize('granularity', ['layer', 'unit'])
def test_neurons_of_ones_own(granularity):
  """Theta is the mean of phi(c), from the histogram by hand."""
  model, x, calibration = _source()

  def mean(problem, p):
    assert problem.num_steps == 3 and problem.signed
    return Half(np.float32(p @ problem.target))

  conversion = convert(
      model, calibration,
      ConversionConfig(sites=('c',),
                       num_steps=3,
                       fit=fitting.best_of(mean=mean),
                       granularity=granularity))
  for layer, histograms, report, hidden in zip(conversion.model.layers,
                                               calibration.layers,
                                               conversion.report, HIDDEN):
    p = histograms.c.fit / histograms.c.fit[:1].sum()
    expected = np.sum(p * np.clip(calibration.centres, -1, 1), 1)
    if granularity == 'layer':
      expected = expected.mean()
    theta = layer.neurons.c.theta
    assert theta.shape == (() if granularity == 'layer' else (hidden,))
    np.testing.assert_allclose(theta, expected, rtol=1e-5, atol=1e-6)
    assert report.c.neuron == 'Half'
    assert report.c.parameters == {'theta': np.ravel(theta).tolist()}
  run = model_lib.apply(conversion.model,
                        x,
                        observe=lambda record: record.output.c)
  np.testing.assert_array_equal(
      run.observed[0],
      np.broadcast_to(conversion.model.layers[0].neurons.c.theta,
                      (N, 3, B, HIDDEN[0])))


def _nothing(problem, p_fit, p_held_out):
  del problem, p_fit, p_held_out
  return (1.0,), None


def test_fits_that_make_no_neurons_of_the_layer():
  model, _, calibration = _source()
  with pytest.raises(ValueError, match='tuple is no registered neuron'):
    convert(model, calibration, ConversionConfig(fit=_nothing))
  wrong = lambda problem, p_fit, p_held_out: (fitting.uniform(
      problem, np.zeros(7)), None)
  for granularity in 'layer', 'unit':
    with pytest.raises(ValueError, match=r'shape \(7,\).* another size'):
      convert(model, calibration,
              ConversionConfig(fit=wrong, granularity=granularity))


@pytest.mark.parametrize('site', SITES)
def test_the_target_is_the_activation_of_the_source(site):
  """E of the uniform rule, from the histogram by hand."""
  model, _, calibration = _source()
  conversion = convert(
      model, calibration,
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
  model, _, calibration = _source()
  config = convert(
      model, calibration,
      ConversionConfig(sites=('h',),
                       num_steps=3,
                       fit=IF,
                       coupling='shared',
                       surrogate='arctan',
                       width=0.5)).model.config
  assert config == dataclasses.replace(model.config,
                                       num_steps=3,
                                       coupling='shared',
                                       surrogate='arctan',
                                       width=0.5)
  assert config.pooling == ('last', 'mean')


def test_converting_twice_gives_the_same():
  model, _, calibration = _source('standard')
  config = ConversionConfig(granularity='unit')
  one, other = (convert(model, calibration, config) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, one.model, other.model)
  assert one.report == other.report


@pytest.mark.parametrize('family', ['hard', 'standard'])
@pytest.mark.parametrize('granularity', ['layer', 'unit'])
def test_report_of_a_network(family, granularity):
  """The report repeats the neurons; none is worse than the uniform rule."""
  model, _, calibration = _source(family)
  conversion = convert(model, calibration,
                       ConversionConfig(sites=SITES, granularity=granularity))
  layers = json.loads(json.dumps(fitting.report_dict(conversion.report)))
  for layer, made in zip(layers, conversion.model.layers):
    assert list(layer) == list(SITES)
    for site, entry in layer.items():
      neuron = getattr(made.neurons, site)
      for field, leaf in neuron._asdict().items():
        np.testing.assert_array_equal(np.float32(entry['parameters'][field]),
                                      leaf.ravel())
      errors = entry['errors']
      assert errors['if_data']['mse_fit'] <= errors['if_uniform']['mse_fit']
      for half in 'mse_fit', 'mse_held_out':
        assert errors['chosen'][half] <= errors['if_uniform'][half] + 1e-9


def test_units_fit_better_than_layers():
  model, _, calibration = _source()
  by_layer, by_unit = (convert(model, calibration,
                               ConversionConfig(granularity=granularity))
                       for granularity in ('layer', 'unit'))
  for layer, unit in zip(by_layer.report, by_unit.report):
    for site in layer.present:
      assert (getattr(unit, site).errors['lif'].mse_fit
              <= getattr(layer, site).errors['lif'].mse_fit + 1e-4)


def test_rate_conversion_tends_to_the_source():
  """By the oracle, whose loops take any T."""
  model, x, calibration = _source()
  expected = _outputs(model, x[:6])
  worst = []
  for num_steps in (4, 64):
    conversion = convert(
        model, calibration,
        ConversionConfig(sites=SITES, num_steps=num_steps, fit=IF))
    worst.append(np.abs(_rate(conversion.model, x[:6]) - expected).max())
  assert worst[-1] < 0.05 * np.abs(expected).max()
  assert worst[1] < 0.2 * worst[0]


@pytest.mark.parametrize('coupling', ['step', 'shared'])
def test_outputs_of_a_converted_network_are_those_of_the_oracle(coupling):
  model, x, calibration = _source()
  snn = convert(model, calibration,
                ConversionConfig(coupling=coupling, granularity='unit')).model
  found = oracle.apply(snn, x[:6], np.float32)
  np.testing.assert_allclose(_outputs(snn, x[:6]), found.outputs, atol=1e-4)


def test_a_quantised_source_of_as_many_levels_is_converted_exactly():
  """With Q = T, a neuron on c can do all that the source does.

  After few elements c is dyadic, and often just where the source rounds, which
  the shift that is fitted to the data has to get right.
  """
  model, x, _ = _source('quantised')
  x = x[:, :3]
  calibration = calibrate(model, x, bins=256)
  conversion = convert(
      model, calibration,
      ConversionConfig(sites=('c',),
                       num_steps=model.config.levels,
                       fit=fitting.if_data))
  for layer in conversion.report:
    assert layer.c.errors['chosen'].mse_held_out < 1e-12
  np.testing.assert_allclose(_rate(conversion.model, x),
                             _outputs(model, x),
                             atol=1e-5)


def test_a_spiking_encoder_stays():
  model, _, calibration = _source()
  neuron = neurons.integrate_and_fire(True)
  model = model.replace(encoder=model.encoder._replace(neuron=neuron))
  for steps in 0, 3:
    snn = convert(model, calibration,
                  ConversionConfig(fit=IF, encoder_steps=steps)).model
    assert snn.encoder is model.encoder
    assert snn.config.encoder_steps == steps


@pytest.mark.parametrize('granularity', ['layer', 'unit'])
@pytest.mark.parametrize('encoder_steps', [0, 5])
def test_a_spiking_encoder_follows_the_input(granularity, encoder_steps):
  model, x, calibration = _source()
  config = ConversionConfig(fit=IF, granularity=granularity)
  assert convert(model, calibration, config).encoder_report is None
  config = dataclasses.replace(config,
                               encoder_fit=fitting.lif,
                               encoder_steps=encoder_steps)
  conversion = convert(model, calibration, config)
  made = conversion.model.encoder
  assert made.neuron.leak is not None
  assert conversion.model.layers[0].neurons.o.leak is None
  for leaf in jax.tree.leaves(made.neuron):
    assert leaf.shape == (() if granularity == 'layer' else (D,))
  jax.tree.map(np.testing.assert_array_equal, made._replace(neuron=None),
               model.encoder)
  # The error of what the encoder puts out on the data, from the inputs alone.
  values = model_lib.apply(conversion.model, x[::2]).encoded.values
  if not encoder_steps:
    values = values.mean(1)
  d = (x[::2] - np.asarray(made.mean)) / np.asarray(made.std)
  error = np.mean((np.swapaxes(values, 0, 1) - d)**2)
  errors = conversion.encoder_report.errors
  assert error == pytest.approx(errors['chosen'].mse_fit, rel=0.05)
  assert error < 0.6 * errors['if_uniform'].mse_fit


def test_steps_of_an_encoder_that_does_not_spike_are_refused():
  model, _, calibration = _source()
  config = ConversionConfig(encoder_steps=3)
  with pytest.raises(ValueError, match='encoder_steps is 3.*stays analog'):
    convert(model, calibration, config)


def test_a_spiking_encoder_is_not_fitted_twice():
  model, _, calibration = _source()
  config = ConversionConfig(encoder_fit=IF, fit=IF)
  spiking = convert(model, calibration, config).model.encoder
  with pytest.raises(ValueError,
                     match=r'encoder\.neuron\.v_th is not expected'):
    convert(model.replace(encoder=spiking), calibration, config)


def test_a_model_that_does_not_fit_the_calibration():
  model, _, calibration = _source()
  config = ConversionConfig(fit=IF)
  first, second = model.layers

  def check(message, **changes):
    with pytest.raises(ValueError, match='^convert: model .*' + message):
      convert(model.replace(**changes), calibration, config)

  check(r'layers\[1\]\.w\.i is missing', layers=(first,))
  check(r'layers\[2\]\.w\.i is not', layers=(first, second, second))
  u = first.u._replace(g=jnp.zeros((4, 4)))
  check(r'layers\[0\]\.u\.g has shape', layers=(first._replace(u=u), second))
  u = second.u._replace(g=second.u.g.at[1, 2].set(jnp.nan))
  check(r'layers\[1\]\.u\.g .* index \(1, 2\)',
        layers=(first, second._replace(u=u)))
  b = second.b._replace(i=jnp.zeros((4,), jnp.int32))
  check(r'layers\[1\]\.b\.i has shape .* integer',
        layers=(first, second._replace(b=b)))
  check(r'readout\.w has shape \(4, 3\) .*expected \(8, 3\)',
        readout=model.readout._replace(w=model.readout.w[:4]))
  wider = jnp.zeros((D + 1,))
  check(r'encoder\.mean has shape',
        encoder=model.encoder._replace(mean=wider, std=wider + 1))
  other = dataclasses.replace(model.config, slope=2.0)
  check(r'slope=2\.0.*, the calibration .*slope=3\.0.*expected the same',
        config=other)
  spiking = convert(model, calibration, config).model
  check(r'layers\[0\]\.neurons\.o\.v_th is not', layers=spiking.layers)


@pytest.mark.parametrize('change, message', [
    ({'sites': ()}, r'sites is \(\); expected a tuple of at least one'),
    ({'sites': 'oc'}, "sites is 'oc'; expected a tuple"),
    ({'sites': ['o', 'c']}, 'expected a tuple'),
    ({'sites': ('o', 'c', 'o')}, 'none twice'),
    ({'sites': ('o', 'z')}, "sites is 'z'; expected one of 'i', 'f', 'g'"),
    ({'num_steps': 0}, 'num_steps is 0'),
    ({'num_steps': 2.0}, 'num_steps is 2.0'),
    ({'fit': 'lif'}, "a fit is 'lif'; expected a function.*fitting.FITS"),
    ({'fit': None}, 'a fit is None'),
    ({'encoder_fit': 'if'}, "a fit is 'if'"),
    ({'coupling': 'rate'}, "coupling is 'rate'"),
    ({'granularity': 'gate'}, "granularity is 'gate'"),
    ({'surrogate': 'none'}, "surrogate is 'none'"),
    ({'width': 0.0}, 'width is 0.0'),
])  # yapf: disable
def test_bad_config(change, message):
  with pytest.raises(ValueError, match=message):
    ConversionConfig(**change)
  assert hash(ConversionConfig()) == hash(ConversionConfig())
