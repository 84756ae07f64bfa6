"""The arrays that are written as C, and how many bits a sum takes."""

import re

import numpy as np
import pytest

import slstm
from slstm import integer
from slstm import weights_h
from slstm.types import Config, Sites
from tests import networks


def spiking(units, bias=0, wide=127, features=1):
  """A layer of sigma-delta neurons that send one spike at most."""
  theta = np.full(units, integer.ONE, np.int32)
  layer = integer.IntegerLayer(
      np.ones((features, 4 * units), np.int8),
      np.full((units, 4 * units), wide, np.int8),
      np.full(4 * units, bias, np.int32), (0,) * 4, (0,) * 4, 10,
      Sites(h=integer.IntegerSigmaDelta(theta, theta)))  # yapf: disable
  ones = np.ones(features, np.float32)
  return integer.IntegerModel(
      integer.IntegerEncoder(0 * ones, ones, 4, 127), (layer,),
      np.ones((units, 2), np.int8), np.zeros(2, np.int32), 20,
      Config(family='hard', pooling=('last',)))  # yapf: disable


@pytest.mark.parametrize('units, bits', [(258, 16), (259, 32)])
def test_sums_have_16_bits_if_all_of_them_fit(units, bits):
  assert (258 * 127 < 2**15) and (259 * 127 >= 2**15)
  header = weights_h.header(spiking(units))
  assert header.sum_bits == bits
  assert f'typedef int{bits}_t sum_t;' in header.text


def random_weights(units=5, features=6):
  """A layer of one more feature than a whole word holds, and odd shifts."""
  rng = np.random.default_rng(0)
  model = spiking(units, features=features)
  ints = lambda shape: rng.integers(-127, 128, shape)
  layer = model.layers[0]._replace(
      w=ints((features, 4 * units)).astype(np.int8),
      u=ints((units, 4 * units)).astype(np.int8),
      b=ints(4 * units).astype(np.int32),
      w_shift=(0, 1, -2, 5), u_shift=(0, 2, -1, 3))  # yapf: disable
  return model._replace(layers=(layer,),
                        config=Config(family='standard', pooling=('last',)))


def array(model, name):
  """The numbers of an array in C."""
  text = weights_h.header(model).text
  values = re.search(rf' {name}\[\d+\] = {{([^}}]*)}};', text)[1]
  return np.array(values.replace(',', ' ').split(), np.int64)


def test_rows_hold_the_gates_of_each_unit():
  model = random_weights()
  u, b = model.layers[0].u, model.layers[0].b
  units = len(u)
  found = array(model, 'layer0_u').reshape(units, units, 4)
  # What makes the shifts 0, 2, -1 and 5 round to nearest.
  halves, of_b = (0, 2, 0, 16), array(model, 'layer0_b').reshape(units, 4)
  for unit in range(units):
    for gate in range(4):
      np.testing.assert_array_equal(found[:, unit, gate],
                                    u[:, gate * units + unit])
      assert of_b[unit, gate] == b[gate * units + unit] + halves[gate]


def test_dense_weights_are_four_inputs_by_four_gates():
  model = random_weights()
  w = model.layers[0].w
  features, units = len(w), w.shape[1] // 4
  found = array(model, 'layer0_w').reshape(units, -1, 4, 4)
  for unit in range(units):
    for gate in range(4):
      inputs = found[unit, :, gate].ravel()
      np.testing.assert_array_equal(inputs[:features], w[:,
                                                         gate * units + unit])
      assert len(inputs) == 8 and not inputs[features:].any()


@pytest.mark.parametrize('name, site', [('signed', 'c'), ('gate', 'o')])
def test_points_know_the_next_one(name, site):
  model = random_weights()
  words = array(model, f'{name}_points')
  value, growth = words.astype(np.uint32).view(np.int16).reshape(256, 2).T[::-1]
  expected = integer.table(site, model.config.slope).values
  np.testing.assert_array_equal(value, expected[:-1])
  np.testing.assert_array_equal(value + growth, expected[1:])


def test_memory_by_hand():
  """Of each unit a layer keeps its sums, c, its output and its spike."""
  model, x = networks.dyadic(('d', 'd'), {}, 'delta', ('last', 'mean'))
  memory = slstm.memory_of_c(slstm.quantise(model, x))
  per_unit = 4 * 2 + 2 + 2 + 1  # both products have one sum, of 16 bits
  assert networks.HIDDEN % 4 == 0
  assert memory['ram'] - memory['buffers'] == 2 * networks.HIDDEN * per_unit
  wide = -(-networks.FEATURES // 4) * 4 * 3  # outputs and spikes of the input
  # h of the last element, the sum of all, the number of elements.
  assert memory['buffers'] == 2 * 4 * networks.HIDDEN + wide + 4
  rows = networks.FEATURES + 3 * networks.HIDDEN
  assert memory['weights'] == rows * 4 * networks.HIDDEN + model.readout.w.size
