"""StableHLO of a model, loaded by a fresh process that has no slstm."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import slstm
from tests import networks

LOADER = """
import sys
import jax, jax.export
import numpy as np
run = jax.export.deserialize(open('model.bin', 'rb').read())
for name in sys.argv[1:]:
  np.save(f'out_{name}', run.call(np.load(f'{name}')))
assert not [name for name in sys.modules if name.startswith('slstm')]
"""


def network(kind):
  rng = np.random.default_rng(0)
  layers = networks.dyadic_layers(rng,
                                  ['', ''] if kind != 'LIF' else ['oc'] * 2)
  neuron = None
  if kind == 'sigma-delta':
    neuron = slstm.sigma_delta(0.5)
    layers = tuple(
        layer._replace(neurons=slstm.Sites(h=neuron)) for layer in layers)
  return networks.dyadic_model(rng, layers, neuron)


def inputs(batch, length):
  return networks.dyadic_input(np.random.default_rng(1), batch, length)


@pytest.mark.parametrize('kind', ['LSTM', 'LIF', 'sigma-delta'])
def test_a_fresh_process_gives_the_same_outputs_for_any_shape(kind, tmp_path):
  pytest.importorskip('flatbuffers', reason='flatbuffers is not installed')
  model = network(kind)
  (tmp_path / 'model.bin').write_bytes(slstm.export(model).serialize())
  shapes = [(3, 5), (2, 7)]
  for k, shape in enumerate(shapes):
    np.save(tmp_path / f'x{k}.npy', inputs(*shape))
  subprocess.run([sys.executable, '-c', LOADER, 'x0.npy', 'x1.npy'],
                 cwd=tmp_path,
                 check=True)
  for k, shape in enumerate(shapes):
    found = np.load(tmp_path / f'out_x{k}.npy')
    expected = slstm.apply(model, inputs(*shape)).outputs
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(found, expected)


def test_sizes_that_are_given_are_those_that_run():
  run = slstm.export(network('LSTM'), batch_size=1, length=4)
  assert run.in_avals[0].shape == (1, 4, networks.FEATURES)
  assert run.call(inputs(1, 4)).shape == (1, 2)
  with pytest.raises(ValueError, match='[Ss]hape'):
    run.call(inputs(2, 4))


@pytest.mark.parametrize('name', ['batch_size', 'length'])
def test_sizes_below_one(name):
  with pytest.raises(ValueError, match=f'export: {name} is 0'):
    slstm.export(network('LSTM'), **{name: 0})


def test_bad_values_are_refused():
  model = network('LSTM')
  bad = model.replace(readout=model.readout._replace(b=jnp.full(2, np.nan)))
  with pytest.raises(ValueError, match='export: model: .* not finite'):
    slstm.export(bad)
