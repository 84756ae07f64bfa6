"""What stages store for the report, against direct computation; latencies."""

import json

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import config as config_lib
from experiments import latency
from experiments import runs
from experiments import traces
from experiments.datasets import base
from experiments.datasets.npz import Npz
import slstm
from slstm import fitting
from slstm.types import Config, Encoder, Model, Readout
from tests import networks
from tests import oracle

N, CLASSES = 5, 3


@pytest.fixture(scope='module', name='source')
def _source():
  """(model, calibration) of a standard LSTM of two layers."""
  model = slstm.init(jax.random.key(0),
                     num_features=networks.FEATURES,
                     hidden_sizes=(networks.HIDDEN, 6),
                     num_outputs=CLASSES,
                     config=Config(family='standard'))
  x = jax.random.normal(jax.random.key(1), (12, N, networks.FEATURES))
  return model, slstm.calibrate(model, x, bins=128)


def spiking(rng, sites, **config):
  """(model, x) of a dyadic SNN; its encoder standardises."""
  layers = networks.dyadic_layers(rng, sites)
  encoder = Encoder(jnp.full((networks.FEATURES,), 0.5),
                    jnp.full((networks.FEATURES,), 0.25))
  readout = Readout(networks.grid(rng, (networks.HIDDEN, CLASSES), 2, 0.5),
                    jnp.zeros((CLASSES,)))
  config = Config(family='quantised', slope=0.5, **config)
  x = networks.dyadic_input(rng, 1, N)
  return Model(encoder, layers, readout, config), x


@pytest.mark.parametrize('granularity', ['layer', 'unit'])
def test_staircases(source, granularity):
  model, calibration = source
  conversion = slstm.convert(
      model, calibration,
      slstm.ConversionConfig(sites=('o', 'c'),
                             num_steps=3,
                             fit=fitting.lif,
                             granularity=granularity))
  found = traces.staircases(calibration, conversion)
  sites = {key.rpartition('.')[0] for key in found}
  assert sites == {f'layers[{i}].{site}' for i in (0, 1) for site in 'oc'}
  assert len(found) == 6 * len(sites)
  for index, layer in enumerate(conversion.model.layers):
    for site in ('o', 'c'):
      trace = {
          k.rpartition('.')[2]: v
          for k, v in found.items()
          if k.startswith(f'layers[{index}].{site}.')
      }
      d = trace['centres'].astype(np.float64)
      histogram = getattr(calibration.layers[index], site).fit
      counts = np.zeros(len(d))
      for row in histogram:
        counts += row
      np.testing.assert_allclose(trace['density'] * (d[1] - d[0]),
                                 counts / counts.sum(),
                                 rtol=1e-6)
      np.testing.assert_allclose(trace['source'],
                                 oracle.activation(site, d, model.config),
                                 atol=1e-6)
      signed = site == 'c'
      uniform = np.clip(np.floor(3 * d + 0.5) / 3, -signed, 1)
      if signed:  # symmetric about 0: fires at |d| = 1/6 on both sides
        uniform = np.sign(d) * np.clip(np.floor(3 * np.abs(d) + 0.5) / 3, 0, 1)
      np.testing.assert_allclose(trace['uniform'], uniform, atol=1e-6)
      check_chosen(trace, getattr(layer.neurons, site), signed, granularity)


def check_chosen(trace, neuron, signed, granularity):
  neuron = jax.tree.map(lambda leaf: np.atleast_1d(np.asarray(leaf)), neuron)
  all_units = [
      oracle.staircase(jax.tree.map(lambda leaf, u=u: leaf[u], neuron),
                       trace['centres'], 3, signed)
      for u in range(len(neuron.v_th))
  ]
  if granularity == 'layer':
    assert trace['units'].tolist() == [-1]
    np.testing.assert_allclose(trace['chosen'], all_units, atol=1e-5)
    return
  assert len(trace['units']) == 3
  np.testing.assert_allclose(trace['chosen'],
                             np.asarray(all_units)[trace['units']],
                             atol=1e-5)
  onsets = [trace['centres'][np.argmax(row > 0)] for row in trace['chosen']]
  assert onsets == sorted(onsets)


def test_units_are_picked_by_onset():
  grid = np.arange(10.0)
  # Unit u fires from 9 - u on; one does not fire at all.
  curves = np.stack([grid >= 9 - u for u in range(10)] + [grid < 0]) * 1.0
  assert traces._pick(curves) == [8, 4, 0]


@pytest.mark.parametrize('sites', [[('o', 'c')], [('i', 'h'), ('o', 'c')]])
def test_raster_is_the_oracles(sites):
  model, x = spiking(np.random.default_rng(2), sites, num_steps=3)
  found = traces.raster(model, x)
  encoded = oracle.encode(model.encoder, x, model.config, np.float64)
  expected = oracle.run(model.layers, encoded, model.config, np.float64)
  np.testing.assert_array_equal(found['input'], encoded[:, 0, 0])
  assert found['outputs'].shape == (CLASSES,)
  for index in range(len(sites)):
    spikes = {k: v[:, :, 0] for k, v in expected.spikes[index].items()}
    if 'h' not in spikes:
      spikes['h'] = spikes['o'] * spikes['c']
    for site, values in spikes.items():
      trace = found.pop(f'layers[{index}].{site}')
      assert trace.dtype == np.int8
      np.testing.assert_array_equal(trace, values)
    np.testing.assert_allclose(found.pop(f'layers[{index}].state'),
                               expected.all_c[index][:, :, 0].mean(1),
                               rtol=1e-6)
  assert set(found) == {'input', 'outputs'}


def test_raster_refuses_batches_and_lstms(source):
  model, _ = source
  with pytest.raises(ValueError, match='no neurons'):
    traces.raster(model, np.zeros((1, N, networks.FEATURES)))
  with pytest.raises(ValueError, match='one sequence'):
    traces.raster(model, np.zeros((2, N, networks.FEATURES)))


def test_sizes(source):
  d, h, k = networks.FEATURES, networks.HIDDEN, CLASSES
  found = traces.sizes(source[0], N)
  assert found == {
      'elements': N, 'features': d, 'hidden': [h, 6], 'classes': k,
      'parameters': 4 * h * (d + h + 1) + 4 * 6 * (h + 6 + 1) + 6 * k + k,
  }  # yapf: disable
  json.dumps(found)


@pytest.mark.parametrize('executor, steps, expected', [
    ('sequential', 1, 20), ('sequential', 4, 80), ('stacked', 4, 20),
    ('wavefront', 4, 14), ('wavefront', 1, 11),
])  # yapf: disable
def test_dependent_steps(source, executor, steps, expected):
  model = source[0].replace(config=Config(num_steps=steps))
  assert latency.dependent_steps(executor, model, 10) == expected


def test_latency_is_measured_once_for_all_models(source, tmp_path, monkeypatch):
  flags.FLAGS.mark_as_parsed()
  monkeypatch.setattr(flags.FLAGS['latency_seconds'], 'value', 0.01)
  model, calibration = source
  snn = slstm.convert(model, calibration,
                      slstm.ConversionConfig(coupling='shared')).model
  for name, one in (('snn', snn), ('standard', model)):
    slstm.save_model(tmp_path / name / 'model', one)
    runs.begin(tmp_path / name, name, {}, '5a')
  models = latency.find_models(tmp_path)
  assert list(models) == ['snn', 'standard']
  x = np.zeros((2, N, networks.FEATURES), np.float32)
  data = slstm.Data(x, np.zeros(2, np.int32))
  dataset = base.DataSet(data, data, data, ('a', 'b', 'c'))
  experiment = config_lib.Experiment(Npz())
  run = lambda models: latency.latency(experiment, dataset, models, tmp_path /
                                       'latency')
  path = tmp_path / 'latency' / 'metrics.json'

  run({'standard': models['standard']})
  first = json.loads(path.read_text())
  assert list(first['models']) == ['standard']
  run({'standard': models['standard']})
  assert json.loads(path.read_text()) == first
  run(models)
  found = json.loads(path.read_text())
  lstm = found['models']['standard']['executors']
  spiking_at = found['models']['snn']['executors']
  assert list(lstm) == ['sequential', 'stacked', 'wavefront']
  assert list(spiking_at) == ['sequential', 'stacked']  # coupling 'shared'
  best = min(lstm.values(), key=lambda at: at['median_ms'])
  assert lstm[found['baseline']['executor']] == best
  assert best['speedup'] == 1.0
  for at in (*lstm.values(), *spiking_at.values()):
    assert at['speedup'] == pytest.approx(best['median_ms'] / at['median_ms'])
    assert (0 < at['lower_quartile_ms'] <= at['median_ms'] <=
            at['upper_quartile_ms'])


def test_no_models(tmp_path):
  with pytest.raises(FileNotFoundError, match='no models'):
    latency.find_models(tmp_path)
