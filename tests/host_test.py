"""Exported C on this machine and LSTMs of other libraries: the same outputs."""

import dataclasses
import json
import os
import sys

import jax
import numpy as np
import pytest

from experiments import runs
from experiments.bench import host
from experiments.bench import streams
from experiments.reporting import times
import slstm
from slstm import integer
from tests import binaries
from tests import networks
from tests import oracle

try:
  COMMAND = host.compiler()
except ImportError:
  COMMAND = ()
needs_compiler = pytest.mark.skipif(not COMMAND, reason='needs a C compiler')
PEERS = {
    'torch': ('torch',),
    'ONNX Runtime float32': ('onnx', 'onnxruntime'),
    'ONNX Runtime int8': ('onnx', 'onnxruntime'),
}
ALL_PEERS = [k + suffix for k in PEERS for suffix in ('', ', whole')]


def lstm(hidden=(8, 8), features=networks.FEATURES, num_outputs=4):
  """A standard LSTM with biases, whose encoder shifts and scales."""
  rng = np.random.default_rng(0)
  x = rng.normal(2, 3, (6, 7, features)).astype(np.float32)
  config = slstm.Config(family='standard', pooling=('last', 'mean', 'max'))
  model = slstm.init(jax.random.key(1), num_features=features,
                     hidden_sizes=hidden, num_outputs=num_outputs,
                     config=config, encoder=slstm.standardising(x)
                    )  # yapf: disable
  moved = lambda b: b + rng.normal(0, 1, b.shape).astype(np.float32)
  layers = [k._replace(b=slstm.Gates(*map(moved, k.b))) for k in model.layers]
  return dataclasses.replace(model, layers=tuple(layers)), x


def need(*packages):
  for package in packages:
    pytest.importorskip(package, reason="pip install 'slstm[host]'")


def without(monkeypatch, *packages):
  for package in packages:
    monkeypatch.setitem(sys.modules, package, None)  # its import fails


@needs_compiler
@pytest.mark.parametrize('sites, options, at_input', networks.CASES)
def test_the_library_is_the_reference(sites, options, at_input):
  model, x = networks.dyadic(sites, options, at_input, ('last', 'mean'))
  check(model, x + np.random.default_rng(0).normal(0, 0.3, x.shape))


@needs_compiler
@pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
def test_the_library_of_an_lstm_is_the_reference(family):
  x = np.random.default_rng(0).normal(2, 3, (20, 9, networks.FEATURES))
  check(networks.gaussian(family, x.astype(np.float32)), x)


def check(model, x):
  ints = slstm.quantise(model, x)
  q = integer.features(ints, x)
  library = host.Library(ints)
  for _ in range(2):  # nothing is left of a call
    found = library.run(library.place(q))
    np.testing.assert_array_equal(found, integer.run(ints, q).outputs)
  assert len(np.unique(found)) > 3


@pytest.mark.parametrize('name', ['slstm', *ALL_PEERS])
def test_contenders_give_the_outputs_of_the_oracle(name):
  peer, _, whole = name.partition(',')
  need(*PEERS.get(peer, ()))
  model, x = lstm()
  made = {
      'slstm': lambda: streams.of_step(model, x),
      'torch': lambda: streams.of_torch(model, x, whole=bool(whole)),
  }.get(peer, lambda: streams.of_onnx(
      model, x, int8='int8' in peer, whole=bool(whole)))()  # yapf: disable
  expected = oracle.apply(model, x, np.float64).outputs
  for _ in range(2):  # nothing is left of a run
    found = host.difference(made, expected)
    assert found < (0.1 if 'int8' in peer else 1e-5)
  assert (found > 1e-4) == ('int8' in peer)  # quantised weights are others


@pytest.mark.parametrize('sites, options, at_input', networks.CASES[1::3])
def test_our_step_hands_its_state_on(sites, options, at_input):
  model, x = networks.dyadic(sites, options, at_input, ('last', 'max'))
  step = streams.of_step(model, x)
  np.testing.assert_array_equal(step.outputs(step.run()),
                                oracle.apply(model, x, np.float64).outputs)


def spiking():
  model, x = networks.dyadic(('d', 'oc'), {}, None)
  other = lstm(features=x.shape[-1])[0]
  return {'standard': other, 'spiking': model}, np.asarray(x)


def measured(models, x):
  return host.measure_all(models, x, x, seconds=0, rounds=(1, 1))


@needs_compiler
def test_there_is_a_row_for_each_contender():
  need(*PEERS['torch'], *PEERS['ONNX Runtime int8'])
  models, x = spiking()
  found = measured(models, x)
  ours = [(name, k) for k in models for name in ('C', 'slstm')]
  expected = [*ours, *((name, 'standard') for name in ALL_PEERS)]
  assert [(k['name'], k['model']) for k in found['rows']] == expected
  assert not found['skipped']
  spikes = [row['spikes'] for row in found['rows'] if row['name'] == 'C']
  ints = slstm.quantise(models['spiking'], x)
  result = integer.run(ints, integer.features(ints, x))
  assert spikes[1] == result.spikes and min(result.spikes) > 0
  us = {(k['name'], k['model']): k['us'] for k in found['rows']}
  assert min(us.values()) > 0
  for row in found['rows']:
    assert row['times'] == pytest.approx(
        {name: us[name, 'standard'] / row['us'] for name in host.BASELINES})
  report = times.report({
      **found, 'cpu': 'Abacus', 'sequences': 5, 'hidden': [8, 8],
      'environment': {'versions': {'torch': '9'}, 'jax_version': '8',
                      'commit': 'c0ffee', 'command': 'python'},
  })  # yapf: disable
  lines = [k for k in report.splitlines() if k.startswith('| ')][2:]
  cells = [line.split('|') for line in lines]
  assert [(k[1].strip(), k[2].strip()) for k in cells] == expected
  for part in 'Abacus', 'torch 9', 'c0ffee', found['compiler']:
    assert part in report


@needs_compiler
def test_what_is_not_installed_is_skipped(monkeypatch):
  without(monkeypatch, 'torch', 'onnx')
  models, x = spiking()
  found = measured(models, x)
  assert [k['name'] for k in found['rows']] == 2 * ['C', 'slstm']
  assert list(found['skipped']) == list(PEERS)
  for package, reason in zip(('torch', 'onnx', 'onnx'),
                             found['skipped'].values()):
    assert package in reason and "pip install 'slstm[host]'" in reason


@needs_compiler
def test_wrong_outputs_are_not_timed(monkeypatch):
  without(monkeypatch, 'torch', 'onnx')
  models, x = spiking()
  right = streams.of_step

  def wrong(model, x):
    step = right(model, x)
    return step._replace(outputs=lambda h: 1 + step.outputs(h))

  with monkeypatch.context() as patched:
    patched.setattr(streams, 'of_step', wrong)
    with pytest.raises(ValueError, match='slstm, model standard, are .* dev'):
      measured(models, x)
  run = host.Library.run
  monkeypatch.setattr(host.Library, 'run', lambda *a: run(*a) + 1)
  with pytest.raises(ValueError, match='not those of integer.run'):
    measured(models, x)


@pytest.mark.parametrize('first', [
    networks.dyadic(('oc',), {}, None)[0],
    lstm(hidden=(8, 4))[0],
    networks.gaussian('hard', np.ones((2, 2, networks.FEATURES))),
])
def test_the_first_model_is_one_that_others_have(first):
  with pytest.raises(ValueError, match='spiky is the model that other'):
    host.contenders({'spiky': first}, None, None, ())


def test_without_a_compiler_the_extra_is_named(monkeypatch):
  monkeypatch.setattr(host.shutil, 'which', lambda _: None)
  without(monkeypatch, 'ziglang')
  with pytest.raises(ImportError, match=r"pip install 'slstm\[host\]'"):
    host.compiler()


@needs_compiler
def test_a_compiler_can_be_chosen():
  model, x = lstm()
  ints = slstm.quantise(model, x)
  assert host.version(COMMAND)
  with pytest.raises(ValueError, match='does not compile'):
    host.Library(ints, (sys.executable, '-c', 'import sys; sys.exit(1)'))


@needs_compiler
def test_the_binary_uses_one_cpu(tmp_path):
  model, _ = lstm(features=18, num_outputs=6)
  slstm.save_model(tmp_path / 'run' / 'standard' / 'model', model)
  runs.begin(tmp_path / 'run' / 'standard', 'train_ann', {}, '5a')
  binaries.must('bench_host', f'--source={tmp_path / "run"}', '--seconds=0',
                '--sequences=1', '--names=standard',
                f'--workdir={tmp_path / "host"}')
  found = json.loads((tmp_path / 'host' / 'metrics.json').read_text())
  assert found['rows'][0]['name'] == 'C' and found['rounds'] == 5
  assert found['hidden'] == [8, 8] and found['cpu'] == host.cpu() != ''
  if hasattr(os, 'sched_setaffinity'):
    assert found['environment']['usable_cpus'] == 1
  assert (tmp_path / 'host' / 'report.md').exists()
