"""Tests of slstm.energy: ledgers by hand, their bounds, and their form."""

import json
import math

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import energy
from slstm import neurons
from slstm import operations
from slstm.operations import Counts
from slstm.operations import EncoderCounts
from slstm.operations import LayerCounts
from slstm.operations import Product
from slstm.operations import ReadoutCounts
from slstm.types import (Config, Elementwise, Encoder, Gates, Layer, Model,
                         Readout, Sites)

LAYER = LayerCounts(Product(mac=32, ac=5), Product(mac=7, ac=16),
                    Elementwise(12, 33, 24, 2, 24), Sites(o=0.5), Sites())
COUNTS = Counts(EncoderCounts(Elementwise(add=10, compare=4), None), (LAYER,),
                ReadoutCounts(Product(mac=3, ac=6), Elementwise(add=1)), 5)


def test_constants_are_those_of_horowitz():
  assert energy.INT32 == (3.2, 0.1, 3.1, 0.1, 0.1)
  assert energy.FP32 == (4.6, 0.9, 3.7, 0.9, 0.9)
  for constants in energy.CONSTANTS.values():
    assert constants.mac == pytest.approx(constants.multiply + constants.add)
  assert list(energy.CONSTANTS) == ['int32', 'fp32']


@pytest.mark.parametrize(
    'constants, products, work',
    [
        # W: 32 * 3.2 + 5 * 0.1; U: 7 * 3.2 + 16 * 0.1; 3 * 3.2 + 6 * 0.1.
        # Encoder: 14 * 0.1. Layer: (12 + 2) * 3.1 + (33 + 2) * 0.1 + (24 + 2 *
        # 24) * 0.1. Read-out: 0.1.
        (energy.INT32, (102.9, 24.0, 10.2), (1.4, 54.1, 0.1)),
        # W: 32 * 4.6 + 5 * 0.9; U: 7 * 4.6 + 16 * 0.9; 3 * 4.6 + 6 * 0.9.
        # Encoder: 14 * 0.9. Layer: 14 * 3.7 + 35 * 0.9 + 72 * 0.9.
        (energy.FP32, (151.7, 46.6, 19.2), (12.6, 148.1, 0.9)),
    ])
def test_ledgers_by_hand(constants, products, work):
  ledgers = energy.ledger(COUNTS, constants)
  assert list(ledgers) == [1, 2]
  for number, elementwise in ((1, (0, 0, 0)), (2, work)):
    one = ledgers[number]
    assert one.input == pytest.approx(products[:1])
    assert one.recurrent == pytest.approx(products[1:2])
    assert one.readout == pytest.approx(products[2])
    assert one.elementwise == pytest.approx(elementwise)
    assert one.total == pytest.approx(sum(products) + sum(elementwise))


def test_ledgers_of_a_network_by_hand():
  """A layer like that of `operations_test`, in int32, from counts by hand."""
  work = Elementwise(multiply=12, add=33, compare=24, clip=24)
  layer = LayerCounts(Product(mac=32), Product(ac=16), work, Sites(), Sites())
  counts = Counts(EncoderCounts(Elementwise(), None), (layer, layer),
                  ReadoutCounts(Product(ac=6), Elementwise()), 1)
  # 2 (32 * 3.2 + 16 * 0.1) + 6 * 0.1; 2 (12 * 3.1 + (33 + 24 + 48) * 0.1).
  ledgers = energy.ledger(counts)
  assert ledgers[1].total == pytest.approx(208.6)
  assert ledgers[2].total == pytest.approx(208.6 + 95.4)


amounts = st.integers(0, 10**6)
products = st.builds(Product, amounts, amounts)
works = st.builds(Elementwise, *[amounts] * 5)
layers = st.builds(LayerCounts, products, products, works, st.just(Sites()),
                   st.just(Sites()))
counts_of_any_kind = st.builds(
    Counts, st.builds(EncoderCounts, works, st.none()),
    st.lists(layers, min_size=1, max_size=3).map(tuple),
    st.builds(ReadoutCounts, products, works), st.just(1))


@hypothesis.given(counts_of_any_kind, st.data())
def test_more_operations_never_cost_less(counts, data):
  leaves, tree = jax.tree.flatten(counts)
  index = data.draw(st.integers(0, len(leaves) - 2))  # but for `sequences`
  more = list(leaves)
  more[index] += 1
  more = jax.tree.unflatten(tree, more)
  for constants in energy.CONSTANTS.values():
    before, after = (energy.ledger(c, constants) for c in (counts, more))
    assert before[1].total <= before[2].total
    assert before[1].total <= after[1].total
    assert before[2].total < after[2].total


def spiking_or_not(hidden, v_th=None, num_steps=1):
  """One layer, all gates vary with x; o, c spike where v_th is given."""
  w, bias = jnp.ones((2, hidden)), jnp.zeros((hidden,))
  sites = Sites()
  if v_th is not None:
    o = neurons.integrate_and_fire(signed=False)._replace(v_th=jnp.array(v_th))
    sites = Sites(o=o, c=neurons.integrate_and_fire(signed=True))
  layer = Layer(Gates(-w, -w, w, -w),
                Gates(*(jnp.zeros((hidden, hidden)),) * 4),
                Gates(bias + 3.3, bias + 3, bias + 0.7, bias + 3), sites)
  encoder = Encoder(jnp.zeros(2), jnp.ones(2))
  readout = Readout(jnp.zeros((hidden, 2)), jnp.zeros(2))
  return Model(encoder, (layer,), readout, Config(num_steps=num_steps))


def count(*args):
  """`count_operations` op by op, which compiles less."""
  with jax.disable_jit():
    return operations.count_operations(*args)


# Two sequences [B, N, D] with no zeros, and no values that are small multiples.
X = np.array([[[0.113, 0.117], [0.13, 0.17], [0.19, 0.23]],
              [[0.29, 0.31], [0.37, 0.41], [0.43, 0.47]]], np.float32)


@hypothesis.given(st.lists(st.floats(0.5, 8), min_size=2, max_size=2))
def test_more_spikes_never_cost_less(v_ths):
  """c fires at every step, so h fires as o does: the less, the higher v_th."""
  x = np.tile(X, (2, 1, 1))  # even a single spike is one of two
  high, low = (operations.count_operations(spiking_or_not(2, v, 4), x)
               for v in sorted(v_ths, reverse=True))
  assert high.layers[0].spike_rate.h <= low.layers[0].spike_rate.h
  for constants in energy.CONSTANTS.values():
    few, many = (energy.ledger(c, constants) for c in (high, low))
    for number in (1, 2):
      assert few[number].total <= many[number].total
      same = high.layers[0].spike_rate == low.layers[0].spike_rate
      assert same == (few[number].total == many[number].total)


def test_ledgers_of_an_lstm_and_of_its_snn():
  analog, spiking = (energy.ledger(count(net, X))
                     for net in (spiking_or_not(4), spiking_or_not(4, 1.0)))
  # N = 3, D = 2, H = 4, K = 2. Both: N D 4H = 96 MAC for W x.
  # LSTM: + (N - 1) H 4H = 128 MAC, H K = 8 MAC: 232 * 3.2.
  # SNN: every unit spikes: 128 AC, 8 AC: 96 * 3.2 + 136 * 0.1.
  assert analog[1].total == pytest.approx(742.4)
  assert spiking[1].total == pytest.approx(320.8)
  # Element-wise, 12 updates, 8 of them at n >= 2. LSTM: f c, i g, o phi(c):
  # 32 * 3.1; 8 * 0.1; 60 clips of 2 * 0.1. SNN: 20 * 3.1; (8 + 24 steps + 24
  # resets) * 0.1; (12 + 24) * 0.1 comparisons; 36 clips of 2 * 0.1.
  assert analog[2].total == pytest.approx(742.4 + 99.2 + 0.8 + 12)
  assert spiking[2].total == pytest.approx(320.8 + 62 + 5.6 + 3.6 + 7.2)


@pytest.mark.parametrize('value', [-0.1, math.nan, math.inf])
def test_bad_constants(value):
  with pytest.raises(ValueError, match='constants.ac is'):
    energy.ledger(COUNTS, energy.INT32._replace(ac=value))


def test_cap_is_what_a_silent_layer_reaches():
  analog = count(spiking_or_not(4), X)
  silent = count(spiking_or_not(4, 100.0), X)
  for constants in energy.CONSTANTS.values():
    lstm, snn = (energy.ledger(c, constants)[1] for c in (analog, silent))
    assert snn.recurrent == (0,) and snn.readout == 0
    # Without the read-out exactly: N = 3, D = 2, H = 4.
    cap = energy.direct_encoding_cap(2, 4, 3)
    assert cap == pytest.approx((3 * 2 + 2 * 4) / (3 * 2))
    assert (lstm.total - lstm.readout) / snn.total == pytest.approx(cap)
    # With it P K / (4 N D) more, P = 1, K = 2, below the limit still.
    with_readout = cap + 1 * 2 / (4 * 3 * 2)
    assert lstm.total / snn.total == pytest.approx(with_readout)
    assert with_readout < energy.direct_encoding_cap(2, 4)


@hypothesis.given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 999))
def test_cap_approaches_its_limit_from_below(num_features, hidden,
                                             num_elements):
  limit = energy.direct_encoding_cap(num_features, hidden)
  assert limit == pytest.approx((num_features + hidden) / num_features)
  cap = energy.direct_encoding_cap(num_features, hidden, num_elements)
  assert 1 <= cap < limit
  assert limit - cap == pytest.approx(hidden / (num_features * num_elements))


@pytest.mark.parametrize('sizes, name', [
    ((0, 4), 'num_features'),
    ((4, 0), 'hidden'),
    ((4, 4, 0), 'num_elements'),
])
def test_cap_of_nothing(sizes, name):
  with pytest.raises(ValueError, match=f'{name} is 0'):
    energy.direct_encoding_cap(*sizes)


def test_all_of_it_goes_into_json():
  counts = count(spiking_or_not(4, 1.0), X)
  ledgers = energy.ledger(counts)
  tree = energy.to_dict({'counts': counts, 'ledgers': ledgers})
  read = json.loads(json.dumps(tree, allow_nan=False))
  assert read == tree
  assert read['counts']['layers'][0]['recurrent'] == {'mac': 0, 'ac': 128}
  assert read['counts']['layers'][0]['spike_rate']['i'] is None
  assert read['counts']['layers'][0]['spike_rate']['h'] == 1
  assert read['counts']['sequences'] == 2
  assert read['ledgers']['1']['total'] == ledgers[1].total
  assert list(read['ledgers']) == ['1', '2']
