"""Exported C on an emulated Cortex-M4, against the NumPy reference."""

import numpy as np
import pytest

from experiments import bench_mcu
from experiments.bench import emulator
import slstm
from slstm import integer
from tests import integer_test
from tests import networks

REASON = "runs a Cortex-M4: pip install 'slstm[mcu]'"
for needed in ('ziglang', 'unicorn', 'elftools'):
  pytest.importorskip(needed, reason=REASON)


@pytest.mark.parametrize('sites, options, at_input', integer_test.RAN)
def test_the_dsp_path_is_the_reference(sites, options, at_input, tmp_path):
  model, x = integer_test.dyadic(sites, options, at_input, ('last', 'mean'))
  x = x + np.random.default_rng(0).normal(0, 0.3, x.shape)
  check(slstm.quantise(model, x), x, tmp_path)


@pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
def test_an_lstm_is_the_reference(family, tmp_path):
  x = np.random.default_rng(0).normal(2, 3, (20, 9, networks.FEATURES))
  model = integer_test.gaussian(family, x.astype(np.float32))
  check(slstm.quantise(model, x), x, tmp_path)


def check(ints, x, folder):
  q = integer.features(ints, x)
  machine = emulator.Machine(emulator.build(ints, folder, '-O1'), ints)
  found = [machine.run(one) for one in q[:3]]
  np.testing.assert_array_equal(found, integer.run(ints, q).outputs[:3])


def test_work_grows_with_spikes(tmp_path):
  """A silent input costs no row; each spike costs the same again."""
  model, x = integer_test.dyadic(('d',), {}, 'delta')
  ints = slstm.quantise(model, x)
  machine = emulator.Machine(emulator.build(ints, tmp_path), ints)
  read = []
  for level in 0, 1:
    machine.forget()
    q = np.zeros((1, networks.FEATURES), int)
    q[:, :level] = ints.encoder.neuron.theta[0]
    machine.run(q)
    read.append(machine.read['layer0_w'])
    assert sum(machine.instructions.values()) > 100
  assert read == [0, 4 * networks.HIDDEN]  # one row of bytes


def test_products_with_spikes_do_not_multiply(tmp_path):
  model, x = integer_test.dyadic(('d', ''), {}, 'delta')
  ints = slstm.quantise(model, x)
  machine = emulator.Machine(emulator.build(ints, tmp_path), ints)
  for name in 'choose_rows', 'add_rows', 'add_chosen':
    assert machine.multiplications(name) == 0
  assert machine.multiplications('multiply') > 16  # of the layer above


def test_counts_of_a_benchmark():
  model, x = integer_test.dyadic(('d',), {}, None)
  x = x + np.random.default_rng(0).normal(0, 0.3, x.shape)
  ints = slstm.quantise(model, x)
  found = bench_mcu.count(ints, integer.features(ints, x[:2]))
  assert found['instructions'] == pytest.approx(sum(found['parts'].values()))
  assert max(found['each']) >= found['instructions'] > 100
  assert {'layer0_w', 'layer0_u', 'model_step'} < set(found['parts'])
  dense = -(-networks.FEATURES // 4) * 4 * 4 * networks.HIDDEN  # W, filled up
  assert dense <= found['weight_bytes'] < 2 * dense
  made = {'sequences': 2, 'commit': 'c0ffee', 'models': {'a': found}}
  assert f' {round(found["instructions"]):,} |' in bench_mcu.report(made)
