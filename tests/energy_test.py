"""Tests of slstm.energy: ledgers by hand, their bounds, and their form."""

import dataclasses
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
from slstm.operations import Moved
from slstm.operations import Product
from slstm.operations import ReadoutCounts
from slstm.operations import Stored
from slstm.types import (Config, Elementwise, Encoder, Gates, Layer, Model,
                         Readout, Sites)

LAYER = LayerCounts(Product(mac=32, ac=5), Product(mac=7, ac=16),
                    Elementwise(12, 33, 24, 2, 24), Sites(o=0.5), Sites(), 0.5,
                    0.25, Moved(40, 20, 9, 8, 16))
COUNTS = Counts(
    EncoderCounts(Elementwise(add=10, compare=4), None, Moved(0, 0, 6, 2)),
    (LAYER,),
    ReadoutCounts(Product(mac=3, ac=6), Elementwise(add=1),
                  Moved(9, 0, 3, 4, 2)), Stored(100, 7, 8), (69.0,) * 5, 5)
# A table with everything of its own.
OWN = {
    'mac': 5,
    'ac': 0.5,
    'multiply': 4,
    'add': 0.25,
    'compare': 0.125,
    'weight': 1,
    'activation': 2,
    'state': 3,
    'accumulator': 4,
    'sram': [[50, 8], [100, 16], [200, 24]],
    'dram': 80
}


def own(**changes):
  sram = tuple(map(tuple, OWN['sram']))
  return energy.Constants(**OWN | {'sram': sram} | changes)


def test_constants_are_those_of_horowitz():
  amounts = lambda e: (e.mac, e.ac, e.multiply, e.add, e.compare)
  sizes = lambda e: (e.weight, e.activation, e.state, e.accumulator)
  # A MAC is a product of 8 bits, 0.2, and a sum of 32.
  assert amounts(energy.INT8) == (0.3, 0.1, 0.8, 0.05, 0.05)
  assert amounts(energy.INT32) == (3.2, 0.1, 3.1, 0.1, 0.1)
  assert amounts(energy.FP32) == (4.6, 0.9, 3.7, 0.9, 0.9)
  assert sizes(energy.INT8) == (1, 1, 2, 4)
  assert sizes(energy.INT32) == sizes(energy.FP32) == (4, 4, 4, 4)
  for constants in energy.INT32, energy.FP32:
    assert constants.mac == pytest.approx(constants.multiply + constants.add)
  for constants in energy.CONSTANTS.values():
    assert constants.sram == ((2**13, 10), (2**15, 20), (2**20, 100))
    assert constants.dram == 1300
  assert list(energy.CONSTANTS) == ['int8', 'int32', 'fp32']


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
  assert list(ledgers) == [1, 2, 3]
  for number, elementwise in ((1, (0, 0, 0)), (2, work), (3, work)):
    one = ledgers[number]
    assert one.input == pytest.approx(products[:1])
    assert one.recurrent == pytest.approx(products[1:2])
    assert one.readout == pytest.approx(products[2])
    assert one.elementwise == pytest.approx(elementwise)
    assert number == 3 or one.memory == (0, 0, 0)
    assert one.total == pytest.approx(
        sum(products) + sum(elementwise) + sum(one.memory))


@pytest.mark.parametrize(
    'constants, memory',
    [
        # Everything in the smallest memory of 10 pJ for 8 bytes. Encoder: 6 * 1
        # + 2 * 2 bytes. Layer: 60 * 1 + 9 * 1 + 8 * 2 + 16 * 4. Read-out: 9 * 1
        # + 3 * 1 + 4 * 2 + 2 * 4.
        (energy.INT8, (10 * 1.25, 149 * 1.25, 28 * 1.25)),
        # All of four bytes.
        (energy.FP32, (32 * 1.25, 372 * 1.25, 72 * 1.25)),
        # 100 weights just fit into the memory of 2 pJ a byte. 7 states of 3 and
        # 8 sums of 4 bytes are 53 and do not fit into that of 1. 6 * 2 + 2 * 3;
        # 9 * 2 + 8 * 3 + 16 * 4; 3 * 2 + 4 * 3 + 2 * 4.
        (own(), (18 * 2, 60 * 2 + 106 * 2, 9 * 2 + 26 * 2)),
        # Weights of 2 bytes need that of 3 pJ, 53 bytes fit into one of 1.
        (own(weight=2, sram=((53, 8), (199, 16), (200, 24))),
         (18, 60 * 2 * 3 + 106, 9 * 2 * 3 + 26)),
        # Weights of 2.5 bytes need the DRAM, of 10.
        (own(weight=2.5), (36, 60 * 2.5 * 10 + 212, 9 * 2.5 * 10 + 52)),
        # There is nothing else.
        (own(sram=()), (180, 600 + 1060, 90 + 260)),
    ])
def test_memory_by_hand(constants, memory):
  ledgers = energy.ledger(COUNTS, constants)
  assert ledgers[3].memory == pytest.approx(memory)
  assert ledgers[3].total == pytest.approx(ledgers[2].total + sum(memory))


def test_ledgers_of_a_network_by_hand():
  """A layer like that of `operations_test`, in int32, from counts by hand."""
  work = Elementwise(multiply=12, add=33, compare=24, clip=24)
  moved = Moved(24, 8, 7, 16, 16)
  layer = LayerCounts(Product(mac=32), Product(ac=16), work, Sites(), Sites(),
                      None, 0.75, moved)
  counts = Counts(
      EncoderCounts(Elementwise(), None), (layer, layer),
      ReadoutCounts(Product(ac=6), Elementwise(), Moved(4, 0, 2, 0, 2)),
      Stored(68, 8, 0), (36.0,) * 5, 1)
  # 2 (32 * 3.2 + 16 * 0.1) + 6 * 0.1; 2 (12 * 3.1 + (33 + 24 + 48) * 0.1).
  ledgers = energy.ledger(counts)
  assert ledgers[1].total == pytest.approx(208.6)
  assert ledgers[2].total == pytest.approx(208.6 + 95.4)
  # 2 * 71 + 8 values of four bytes, at 10 pJ for two of them.
  assert ledgers[3].total == pytest.approx(208.6 + 95.4 + 150 * 5)


amounts = st.integers(0, 10**6)
products = st.builds(Product, amounts, amounts)
works = st.builds(Elementwise, *[amounts] * 5)
moves = st.builds(Moved, *[amounts] * 5)
layers = st.builds(LayerCounts, products, products, works, st.just(Sites()),
                   st.just(Sites()), st.none(), st.just(0.5), moves)
counts_of_any_kind = st.builds(
    Counts, st.builds(EncoderCounts, works, st.none(), moves),
    st.lists(layers, min_size=1, max_size=3).map(tuple),
    st.builds(ReadoutCounts, products, works, moves),
    st.builds(Stored, *[amounts] * 3), st.just(()), st.just(1))


@hypothesis.given(counts_of_any_kind, st.data())
def test_more_operations_never_cost_less(counts, data):
  paths, tree = jax.tree.flatten_with_path(counts)
  names = [jax.tree_util.keystr(path) for path, _ in paths]
  is_rate = lambda name: 'rows_per_element' in name or name == '.sequences'
  of_work = [i for i, name in enumerate(names) if not is_rate(name)]
  index = data.draw(st.sampled_from(of_work))
  more = [leaf for _, leaf in paths]
  more[index] += 1
  more = jax.tree.unflatten(tree, more)
  for constants in energy.CONSTANTS.values():
    before, after = (energy.ledger(c, constants) for c in (counts, more))
    assert before[1].total <= before[2].total <= before[3].total
    for number in (1, 2, 3):
      assert before[number].total <= after[number].total
    if 'stored' not in names[index]:  # which may stay in the same memory
      assert before[3].total < after[3].total
    if not {'stored', 'moved'} & set(names[index].split('.')):
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
  config = Config(num_steps=num_steps, pooling=('last',))
  return Model(encoder, (layer,), readout, config)


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
    for number in (1, 2, 3):
      assert few[number].total <= many[number].total
      same = high.layers[0].spike_rate == low.layers[0].spike_rate
      assert same == (few[number].total == many[number].total)


def test_ledgers_of_an_lstm_and_of_its_snn():
  analog, spiking = (energy.ledger(count(net, X))
                     for net in (spiking_or_not(4), spiking_or_not(4, 1.0)))
  # N = 3, D = 2, H = 4, K = 2. Both: N D 4H = 96 MAC for W x.
  # LSTM: + (N - 1) H 4H = 128 MAC, H K = 8 MAC: 232 * 3.2.
  # SNN: every unit spikes, so h stands still: all of its change is at n = 1.
  # H 4H = 64 AC, 8 AC: 96 * 3.2 + 72 * 0.1.
  assert analog[1].total == pytest.approx(742.4)
  assert spiking[1].total == pytest.approx(314.4)
  # Element-wise, 12 updates, 8 of them at n >= 2. LSTM: f c, i g, o phi(c):
  # 32 * 3.1; 8 * 0.1; 60 clips of 2 * 0.1. SNN: 20 * 3.1; (8 + 24 steps + 24
  # resets, 12 changes) * 0.1; (12 + 24) * 0.1 comparisons; 36 clips of 2 * 0.1.
  assert analog[2].total == pytest.approx(742.4 + 99.2 + 0.8 + 12)
  assert spiking[2].total == pytest.approx(314.4 + 62 + 6.8 + 3.6 + 7.2)
  # Memory, at 5 pJ for each value. LSTM: 232 weights; 6 x and 8 h read, 12
  # written, 4 read; 12 c read and written; 3 * 16 + 2 biases. SNN: 168 weights;
  # 6 x, 4 changes, written and read, 4 h; 12 c, 12 h and 3 * 16 sums, read and
  # written, and 2 biases.
  assert sum(analog[3].memory) == pytest.approx(5 * (232 + 30 + 24 + 50))
  assert sum(spiking[3].memory) == pytest.approx(5 * (168 + 18 + 48 + 98))


@pytest.mark.parametrize('name, values, expected', [
    ('ac', (-0.1, math.nan, math.inf, True, '1', None), 'ac is .*number >= 0'),
    ('dram', (-1, math.nan), 'dram is .*number >= 0'),
    ('state', (0, -1, math.inf, False, [2]), 'state is .*number > 0'),
    ('sram',
     (None, 8, [(8, 1)], ((8,),), ((8, 1, 2),), ((0, 1),), ((8, 0),),
      ((8, math.nan),), ((8, True),), (('8', 1),),
      ((9, 1),
       (8, 2))), r'sram is .*\(bytes, pJ per 8 bytes\) .* from the smallest'),
])
def test_bad_constants(name, values, expected):
  for value in values:
    with pytest.raises(ValueError, match=f'Constants.{expected}'):
      dataclasses.replace(energy.INT32, **{name: value})


def test_a_table_of_ones_own(tmp_path):
  path = tmp_path / 'own.json'
  path.write_text(json.dumps(OWN))
  assert energy.load_constants(path) == own()
  for constants in energy.CONSTANTS.values():
    path.write_text(json.dumps(dataclasses.asdict(constants)))
    assert energy.load_constants(str(path)) == constants
  # What may be left out has the defaults of int32.
  few = dict(mac=3.2, ac=0.1, multiply=3.1, add=0.1, compare=0.1)
  path.write_text(json.dumps(few))
  assert energy.load_constants(path) == energy.INT32


@pytest.mark.parametrize('text, message', [
    ({'mac': None}, "missing .*'mac'"),
    ({'joule': 1}, "unexpected .*'joule'"),
    ({'ac': -1}, 'Constants.ac is -1'),
    ({'ac': True}, 'Constants.ac is True'),
    ({'ac': math.nan}, 'Constants.ac is nan'),
    ({'ac': '1'}, "Constants.ac is '1'"),
    ({'weight': 0}, 'Constants.weight is 0; expected .* > 0'),
    ({'sram': [[100, 16], [50, 8]]}, r'Constants.sram is \(\(100, 16\), '),
    ({'sram': [[100]]}, r'Constants.sram is \(\(100,\),\)'),
    ({'sram': 5}, 'not iterable'),
    ('{"mac": 1,', 'Expecting'),
    ('[1, 2]', 'expected a JSON object'),
    ('', 'Expecting'),
])  # yapf: disable
def test_a_bad_table(tmp_path, text, message):
  """Changes of a good table, where None takes a field away, or a whole text."""
  path = tmp_path / 'bad.json'
  if isinstance(text, dict):
    fields = OWN | text
    text = json.dumps({k: v for k, v in fields.items() if v is not None})
  path.write_text(text)
  with pytest.raises(ValueError, match=f'bad.json is no table.*{message}'):
    energy.load_constants(path)


def two_layers(rows, first_rows=None):
  """Counts of two layers of 4 units, N = 10, of whose h a share is sent."""
  rates = (rows if first_rows is None else first_rows), rows

  def layer(index):
    # Each row of U, W of the second, or of 160 weights of W of the first.
    below = 160 if index == 0 else 16 * 40 * rates[0]
    w = Product(mac=below) if index == 0 else Product(ac=below)
    u = Product(ac=16 * 36 * rates[index])
    moved = Moved(below, 16 * 36 * rates[index], 50, 80, 320)
    work = Elementwise(multiply=90, add=200, compare=80)
    return LayerCounts(w, u, work, Sites(), Sites(), None, rates[index], moved)

  return Counts(EncoderCounts(Elementwise(), None), (layer(0), layer(1)),
                ReadoutCounts(Product(mac=8), Elementwise(add=36),
                              Moved(8, 0, 4, 80, 2)),
                Stored(208, 16, 32), (0.0,) * 5, 1)  # yapf: disable


@pytest.mark.parametrize('number', [1, 2, 3])
@pytest.mark.parametrize('constants', [energy.INT8, own()])
def test_below_the_break_even_rate_a_network_costs_less(number, constants):
  measured = two_layers(0.5)
  total = lambda counts: energy.ledger(counts, constants)[number].total
  for share in (0.0, 0.01, 0.3, 0.5, 0.8):  # also more than was measured
    rate = energy.break_even(measured, total(two_layers(share)), number,
                             constants)
    assert rate == pytest.approx(share, abs=1e-9)
  # What costs less even than a silent network, by as much as it would save.
  saved = total(two_layers(0.5)) - total(two_layers(0.25))
  baseline = total(two_layers(0.0)) - saved
  rate = energy.break_even(measured, baseline, number, constants)
  assert rate == pytest.approx(-0.25)


def test_break_even_by_hand():
  # Of layers that send .25 and .75: the mean is a half. Products with h: 16 (36
  # * .25 + 36 * .75 + 40 * .25) = 736 AC, 73.6 pJ. 160 + 8 MAC stay, 50.4 pJ.
  counts = two_layers(0.75, 0.25)
  rate = lambda baseline: energy.break_even(counts, baseline, 1, energy.INT8)
  ledgers = energy.ledger(counts, energy.INT8)
  assert ledgers[1].total == pytest.approx(124.0)
  assert ledgers[1].of_h == ledgers[2].of_h == pytest.approx(73.6)
  assert ledgers[3].of_h == pytest.approx(73.6 + 920)
  assert rate(124.0) == pytest.approx(0.5)
  assert rate(50.4 + 73.6 / 4) == pytest.approx(0.125)
  assert rate(50.4) == pytest.approx(0, abs=1e-9)
  # In ledger 3 a row is read, too: 736 bytes at 1.25 pJ. By default in int32.
  half = ledgers[3].total - (73.6 + 920) / 2
  assert energy.break_even(counts, half, 3, energy.INT8) == pytest.approx(0.25)
  assert energy.break_even(counts,
                           energy.ledger(counts)[3].total,
                           3) == pytest.approx(0.5)


def test_no_break_even_of_silence():
  for number in (1, 2, 3):
    with pytest.raises(ValueError, match='no row of h is fetched; expected a'):
      energy.break_even(two_layers(0.0), 1e6, number)


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
  assert read['counts']['layers'][0]['recurrent'] == {'mac': 0, 'ac': 64}
  assert read['counts']['layers'][0]['spike_rate']['i'] is None
  assert read['counts']['layers'][0]['spike_rate']['h'] == 1
  assert read['counts']['sequences'] == 2
  assert read['ledgers']['1']['total'] == ledgers[1].total
  assert list(read['ledgers']) == ['1', '2', '3']
  assert read['counts']['stored'] == {
      'weights': 104, 'states': 8, 'accumulators': 16
  }  # yapf: disable
