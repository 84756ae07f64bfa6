"""C of trained networks on real sequences, bit for bit, and what it costs."""

import json
import pathlib

import jax
import numpy as np
import pytest

from experiments.bench import emulator
from experiments.datasets import base
from experiments.datasets.har import Har
from experiments.datasets.speech_commands import SpeechCommands
import slstm
from slstm import integer
from tests import export_c_test
from tests import large_data

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODELS = ROOT / 'results' / 'models'
FAST = ('-std=c99', '-O2')
ON_DEVICE = 10  # sequences, of the 200 that run on the host


@pytest.fixture(scope='module', name='har_data')
def fixture_har_data():
  return base.load(Har())


def lif(dataset):
  """The released network of LIF neurons, T = 2."""
  model = slstm.load_model(MODELS / 'har_lif' / 'model')
  return slstm.quantise(model, dataset.train.x[:512])


def dense(dataset):
  """An LSTM of which no spikes are known, of random weights."""
  x = dataset.train.x[:512]
  model = slstm.init(jax.random.key(0), num_features=x.shape[-1],
                     hidden_sizes=(128,), num_outputs=6,
                     config=slstm.Config(family='standard', pooling=('mean',)),
                     encoder=slstm.standardising(x))  # yapf: disable
  return slstm.quantise(model, x)


def released(_):
  return slstm.load_integers(MODELS / 'har_int8.slstm')


def chosen(ints, dataset):
  """200 test sequences, evenly spaced."""
  x = dataset.test.x
  x = x[np.linspace(0, len(x) - 1, 200).astype(int)]
  return integer.features(ints, x)


@export_c_test.needs_compiler
@pytest.mark.parametrize('made', [lif, dense, released])
def test_c_on_har(made, har_data, tmp_path):
  ints = made(har_data)
  export_c_test.check_c(ints, chosen(ints, har_data), tmp_path, FAST)


@export_c_test.needs_compiler
@large_data.needs('speech_commands')
def test_c_on_speech_commands(tmp_path):
  ints = slstm.load_integers(MODELS / 'gsc_int8.slstm')
  path = str(large_data.FOLDER / 'speech_commands')
  q = chosen(ints, base.load(SpeechCommands(path=path)))
  export_c_test.check_c(ints, q, tmp_path, FAST)


def on_device(ints, folder, count):
  for needed in ('ziglang', 'unicorn', 'elftools'):
    pytest.importorskip(needed, reason="pip install 'slstm[mcu]'")
  return emulator.Machine(emulator.build(ints, folder), ints, count=count)


@pytest.mark.parametrize('made', [lif, dense, released])
def test_the_device_on_har(made, har_data, tmp_path):
  ints = made(har_data)
  q = chosen(ints, har_data)[::200 // ON_DEVICE]
  machine = on_device(ints, tmp_path, 'nothing')
  found = [machine.run(one) for one in q]
  expected = integer.run(ints, q, add=integer.add_product)
  np.testing.assert_array_equal(found, expected.outputs)
  assert len(np.unique(expected.outputs.argmax(-1))) > 1


@pytest.mark.parametrize('made, name', [(dense, 'standard'),
                                        (released, 'tuned_sd_T1')])
def test_no_change_costs_two_per_cent(made, name, har_data, tmp_path):
  """What results/mcu says, on the first of its sequences."""
  ints = made(har_data)
  stored = json.loads(
      (ROOT / 'results' / 'mcu' / 'har_spiking' / 'metrics.json').read_text())
  machine = on_device(ints, tmp_path, 'instructions')
  one = integer.features(ints, har_data.test.x[:1])[0]
  machine.run(one)
  per_element = sum(machine.instructions.values()) / len(one)
  before = stored['models'][name]['each'][0]
  assert 0.98 * before < per_element < 1.02 * before
