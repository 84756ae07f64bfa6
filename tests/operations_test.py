"""Tests of slstm.operations: by hand, by values, and by a recount."""

import collections
import functools
import types as builtin_types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import activity
from slstm import model as model_lib
from slstm import neurons
from slstm import operations
from slstm import types
from slstm.operations import Moved
from slstm.operations import Product
from slstm.operations import Stored
from slstm.sigma_delta import sigma_delta
from slstm.sigma_delta import SigmaDelta
from slstm.types import (Elementwise, Encoder, Gates, Layer, Model, Readout,
                         Sites)
from tests import networks
from tests import oracle
from third_party.uci_har import data

Config = functools.partial(types.Config, pooling=('last',))
BINARY = neurons.integrate_and_fire(signed=False)
TERNARY = neurons.integrate_and_fire(signed=True)
ALL_SITES = dict(i=BINARY, f=BINARY, g=TERNARY, o=BINARY, c=TERNARY)

# --- By hand ------------------------------------------------------------------
#
# N = T = D = H = K = 2, U = 0, W_g = 1 and W of the other gates such that they
# vary where that does not matter, in unit 1: i is (1, 1) at n = 1, (3/4, 1) at
# n = 2, where g is 0; f is (3/4, 1) at n = 1, where c_0 is 0, (1, 1) at n = 2;
# o is (7/8, 1/2), (1, 1/2). With x_1 = (1, 1/4), x_2 = (0, -9/8), g is (1, 1/4)
# and (0, -1):
#
#   c   n = 1: (1, 1/4)           n = 2: (1, -3/4)
#
# o is a binary neuron: v_0 = 1/2, fires at 1. Unit 1: u = 11/8, 5/4 and 3/2,
# 3/2: spikes 1 1. Unit 2: u = 1, 1/2: spikes 1 0. 3 spikes for each n: 6.
# c is a ternary neuron: v_0 = 0, fires at +-1/2, reset 1.
#   n = 1  unit 1: u = 1, 1: 1 1         unit 2: u = 1/4, 1/2: 0 1
#   n = 2  unit 1: u = 1, 1: 1 1         unit 2: u = -3/4, -1/2: -1 -1
# 7 spikes. h = o c at t = 1, t = 2:
#   n = 1  (1, 0), (1, 0): 2 spikes      n = 2  (1, -1), (1, 0): 3 spikes
X = np.array([[[1, 0.25], [0, -1.125]]], np.float32)  # [B, N, D], B = 1
# c = 0.31, -0.69 in unit 2, which are no small multiples of anything; a neuron
# at c spikes 0 1, -1 0.
ANALOG = np.array([[[1, 0.31], [0, -1.125]]], np.float32)
CONFIG = Config(num_steps=2)


def hand_layer(**converted):
  zero, unit_1 = jnp.zeros((2, 2)), jnp.diag(jnp.array([1.0, 0.0]))
  return Layer(w=Gates(1.5 * unit_1, -1.5 * unit_1, jnp.eye(2), -0.75 * unit_1),
               u=Gates(zero, zero, zero, zero),
               b=Gates(jnp.array([1.5, 3.0]), jnp.full((2,), 3.0),
                       jnp.zeros((2,)), jnp.array([3.0, 0.0])),
               neurons=Sites(**converted))


def network(*layers, config=CONFIG, neuron=None, num_outputs=2):
  features, pools = layers[0].w.i.shape[0], len(config.pooling)
  encoder = Encoder(jnp.zeros(features), jnp.ones(features), neuron)
  w = jnp.ones((pools * layers[-1].num_units, num_outputs))
  return Model(encoder, layers, Readout(w, jnp.zeros(num_outputs)), config)


def count(*args, **kwargs):
  """`count_operations` op by op: compiling these tiny networks is slow."""
  with jax.disable_jit():
    return operations.count_operations(*args, **kwargs)


def hand_count(config=CONFIG, x=X, **converted):
  return count(network(hand_layer(**converted), config=config), x)


def test_one_spiking_layer_by_hand():
  counts = hand_count(o=BINARY, c=TERNARY)
  layer = counts.layers[0]
  # W x: 3 inputs are not 0: 3 * 4H MAC, whatever T. U h: h_1, 2 spikes * 8.
  assert layer.input == Product(mac=24, ac=0)
  assert layer.recurrent == Product(mac=0, ac=16)
  # The read-out sees h_2: 3 spikes * K.
  assert counts.readout.product == Product(mac=0, ac=6)
  assert counts.readout.elementwise == Elementwise()
  # Multiplications: i g in each of N T H = 8 updates, f c in the 4 of n = 2;
  # o c is gating. Additions: c in the 4 of n = 2; 8 + 8 steps of neurons;
  # resets of 6 + 7 spikes. Comparisons: 8 binary, 2 * 8 ternary. Clips: i f g.
  assert layer.elementwise == Elementwise(multiply=8 + 4,
                                          add=4 + 8 + 8 + 6 + 7,
                                          compare=8 + 16,
                                          smooth=0,
                                          clip=24)
  assert layer.spike_rate == Sites(o=6 / 8, c=7 / 8, h=5 / 8)
  assert layer.sparsity == Sites(i=0, f=0, g=2 / 8, o=2 / 8, c=1 / 8, h=3 / 8)
  assert counts.encoder.spike_rate is None
  assert counts.encoder == (Elementwise(), None, Moved())
  assert counts.sequences == 1
  # The row of a unit serves both steps: h_1 needs one, h_2 two. Activations:
  # x is read, both h are written, h_1 is read. A c of each step; biases.
  assert layer.spikes_per_element == 5 / 4 and layer.rows_per_element == 3 / 4
  assert layer.moved == Moved(24, 8, 3 + 3 + 1, 2 * 8, 2 * 8)
  assert counts.readout.moved == Moved(4, 0, 2, 0, 2)
  assert counts.stored == Stored(weights=16 + 16 + 4, states=4, accumulators=0)
  assert counts.fetched == (24 + 8 + 4,) * 5


def test_two_spiking_layers_by_hand():
  # The second layer is the same and sees h of the first as its g, so f is 3/4
  # in unit 1 at n = 2, too. At t = 1, t = 2:
  #   n = 1  c = (1, 0), (1, 0)   n = 2  c = (7/4, -1), (7/4, 0)
  # c neuron, unit 1: fires at every step (u = 1, 1; 7/4, 5/2). Unit 2: n = 1
  # never, n = 2: u = -1: -1, back to 0: 0. Five spikes. o: u = 11/8, 5/4.
  #   h  n = 1  (1, 0), (1, 0)    n = 2  (1, -1), (1, 0)
  net = network(*[hand_layer(o=BINARY, c=TERNARY)] * 2)
  counts = count(net, X)
  first, second = counts.layers
  assert first == count(network(net.layers[0]), X).layers[0]
  assert second.input == Product(ac=5 * 8)  # 2 + 3 spikes of h
  assert second.recurrent == Product(ac=2 * 8)
  assert second.spike_rate == Sites(o=6 / 8, c=5 / 8, h=5 / 8)
  assert second.elementwise.add == 4 + 8 + 8 + 6 + 5
  # i = 1 and g are gating. f has the two values of spikes of amplitude (3/4, 1)
  # and multiplies in unit 1, at n = 2.
  assert second.elementwise.multiply == 2
  assert counts.readout.product == Product(ac=3 * 2)


def test_analog_layers_by_hand():
  # 3 values * 8 for W x, N H 4H = 4 * 8 for the input of layer 2, (N - 1) H 4H
  # for U h, H K for the read-out. Element-wise, in N H = 4 updates: 5
  # activations, i g and o phi(c); f c and an addition in the 2 of n = 2.
  for family, smooth, clip in (('standard', 20, 0), ('hard', 0, 20)):
    config = Config(family)
    counts = count(network(hand_layer(), hand_layer(), config=config), ANALOG)
    assert [layer.input for layer in counts.layers
           ] == [Product(mac=24), Product(mac=32)]
    for layer in counts.layers:
      assert layer.recurrent == Product(mac=16)
      assert layer.elementwise == Elementwise(10, 2, 0, smooth, clip)
      assert layer.spike_rate == Sites()
      assert layer.spikes_per_element is None and layer.rows_per_element == 1
    assert counts.readout == (Product(mac=4), Elementwise(),
                              Moved(4, 0, 2, 0, 2))
    # Read and written: weights as often as multiplied; x or h, h and h_1; c;
    # biases.
    assert [layer.moved for layer in counts.layers
           ] == [Moved(24, 16, 3 + 4 + 2, 8, 16),
                 Moved(32, 16, 4 + 4 + 2, 8, 16)]  # yapf: disable
    assert counts.stored == Stored(4 * 16 + 4, states=4, accumulators=0)
    assert counts.fetched == (24 + 16 + 32 + 16 + 4,) * 5
  hard = hand_count(Config())
  # h = o phi(c) is never 0; g is 0 once in 4.
  assert hard.layers[0].sparsity == Sites(0, 0, 1 / 4, 0, 0, 0)


def test_an_analog_network_is_not_charged_for_the_steps_of_its_spiking_twin():
  for layers in (1, 2):
    layers = [hand_layer()] * layers
    once = count(network(*layers, config=Config()), X)
    for coupling in ('step', 'shared'):
      repeated = Config(num_steps=4, coupling=coupling)
      assert count(network(*layers, config=repeated), X) == once


def test_spiking_layer_on_an_analog_layer():
  net = network(hand_layer(), hand_layer(o=BINARY, c=TERNARY))
  first, second = count(net, X).layers
  assert first.elementwise.clip == 20  # N H = 4 updates, not N T H
  # The same h for t = 1, 2: (7/8, 1/8), (1, -3/8), in eighths more than 7. But
  # its change is (7, 1), (1, -4) eighths.
  assert second.input == Product(ac=13 * 8)
  assert first.recurrent == Product(ac=8 * 8)
  assert second.recurrent.mac == 0
  # The other way round, analog h depends on t. It is (7/8, 0) but for -1/2 in
  # one place: spikes, if by chance.
  net = network(*net.layers[::-1])
  first, second = count(net, X).layers
  assert second.input == Product(ac=5 * 8)
  assert second.recurrent == Product(ac=16)
  assert second.elementwise.clip == 40


def test_every_site_spiking_by_hand():
  # x_1 = (1, 1), x_2 = (0, 0): g spikes 1 in the 4 updates of n = 1 only. i and
  # f, drive >= 3/4, always spike. All scale: amplitude 2, in unit 1 only for f.
  doubled = lambda neuron, a: neuron._replace(amplitude=jnp.array(a))
  sites = ALL_SITES | dict(i=doubled(BINARY, 2.0),
                           f=doubled(BINARY, [2.0, 1.0]),
                           g=doubled(TERNARY, 2.0))
  x = np.array([[[1, 1], [0, 0]]], np.float32)
  layer = hand_count(x=x, **sites).layers[0]
  assert layer.spike_rate[:3] == (1, 1, 1 / 2)
  # Only amplitudes multiply: i 8 spikes, g 4, f 2 (unit 1, n = 2).
  assert layer.elementwise.multiply == 8 + 4 + 2
  assert layer.elementwise.clip == 0
  assert layer.elementwise.compare == 8 * (1 + 1 + 2 + 1 + 2)


def test_leak_multiplies_from_the_second_step_on():
  leaky = TERNARY._replace(leak=jnp.array(0.5))
  for num_steps in (1, 2, 3):
    layer, = hand_count(Config(num_steps=num_steps), o=BINARY, c=leaky).layers
    updates = 4 * num_steps
    assert layer.elementwise.multiply == (updates + updates / 2 + 4 *
                                          (num_steps - 1))


@pytest.mark.parametrize('converted', [dict(o=BINARY), dict(c=TERNARY)])
def test_an_operand_that_is_not_ternary_is_multiplied(converted):
  counts = hand_count(x=ANALOG, **converted)
  layer, readout = counts.layers[0], counts.readout
  # o and c are 0 in unit 2 at one t each.
  assert layer.recurrent == Product(mac=3 * 8)
  assert readout.product == Product(mac=4)  # once on the mean over t,
  assert readout.elementwise == Elementwise(add=2)  # which is (T - 1) H
  assert layer.spike_rate.h is None
  assert layer.elementwise.multiply == 12  # a spike gates o phi(c)


@pytest.mark.parametrize('converted', [
    dict(h=TERNARY),
    dict(o=BINARY, h=TERNARY),
    dict(o=BINARY, c=TERNARY, h=TERNARY),
])
def test_spikes_of_h_are_accumulated(converted):
  layer = hand_count(**converted).layers[0]
  assert layer.recurrent.mac == 0 and layer.recurrent.ac > 0
  # o phi(c) is a product of analog values only where both are analog.
  assert layer.elementwise.multiply == 12 + (8 if len(converted) == 1 else 0)


@pytest.mark.parametrize('o, c', [(0.3, [0.7, -1.9]), ([0.1, 0.3], 0.7),
                                  ([0.1, 0.3], [0.7, 1.9])])
def test_amplitudes_may_differ_between_units(o, c):
  counts = hand_count(o=BINARY._replace(amplitude=jnp.array(o)),
                      c=TERNARY._replace(amplitude=jnp.array(c)))
  plain = hand_count(o=BINARY, c=TERNARY)
  assert counts.layers[0].recurrent == Product(ac=16)
  assert counts == plain  # the amplitudes fold into U and the read-out


def test_zero_amplitude_is_silence():
  layer = hand_count(o=BINARY._replace(amplitude=jnp.array([0.0, 0.0])),
                     c=TERNARY).layers[0]
  assert layer.recurrent == Product()
  assert layer.spike_rate.h == 0 and layer.spike_rate.o == 6 / 8


def test_one_step_is_the_same_in_both_couplings():
  x = np.tile(X, (2, 1, 1))  # for values enough
  step, shared = (hand_count(Config(coupling=coupling), x, o=BINARY, c=TERNARY)
                  for coupling in ('step', 'shared'))
  assert shared == step
  assert shared.layers[0].recurrent == Product(ac=8)


def test_silence_costs_no_products():
  layers = [hand_layer(o=BINARY, c=TERNARY)] * 2
  zero = np.zeros_like(X)
  for neuron in (None, TERNARY):
    counts = count(network(*layers, neuron=neuron), zero)
    for layer in counts.layers:
      assert layer.input == layer.recurrent == Product()
    assert counts.readout.product == Product()
    assert counts.encoder.spike_rate == (None if neuron is None else 0)


def test_spiking_encoder():
  # x = (1, 1/4), (0, -9/8): the neuron spikes 1 1, 0 1, 0 0, -1 -1.
  neuron = TERNARY._replace(amplitude=jnp.array([0.3, 0.7]))

  def encoded(config, *sites):
    layer = hand_layer(**{site: ALL_SITES[site] for site in sites})
    return count(network(layer, config=config, neuron=neuron), X)

  counts = encoded(CONFIG, 'o', 'c')
  assert counts.layers[0].input == Product(ac=5 * 8)
  assert counts.encoder.spike_rate == 5 / 8
  # N T D steps and resets, N D subtractions of the mean; two comparisons each.
  assert counts.encoder.elementwise == Elementwise(add=8 + 5 + 4, compare=16)
  shared = encoded(Config(num_steps=2, coupling='shared'), 'o', 'c')
  assert shared.layers[0].input == Product(ac=5 * 8)
  assert shared.encoder == counts.encoder
  two = encoded(Config(encoder_steps=2), 'o', 'c')
  assert two.encoder == counts.encoder
  assert two.layers[0].input == Product(ac=5 * 8)
  # In either case x is read, and the input of the layer, not 0 in 3 places, is
  # written, and read.
  for each in counts, shared, two:
    assert each.encoder.moved == Moved(activations=4 + 3)
    assert each.layers[0].moved.input_weights == 3 * 8
  # x = 1/4 spikes 0 1 0 0 in four steps, 1 and -1 in all, which T = 2 share.
  four = Config(num_steps=2, encoder_steps=4)
  counts = encoded(four, 'o', 'c')
  assert counts.encoder.spike_rate == 9 / 16
  # Spike by spike that is 4 + 1 + 4. Their mean is (1, 1/4), (0, -1), and its
  # change (1, 1/4), (-1, -5/4), which is 1 + 1 + 1 + 5. For that it takes 3
  # additions for each mean and 1 for each change.
  assert counts.layers[0].input == Product(ac=8 * 8)
  assert counts.encoder.elementwise.add == 16 + 9 + 4 + 3 * 4 + 4
  assert counts.encoder.moved == Moved(activations=4 + 4, states=2 * 4)
  # An analog layer upon it is the same at every t: U h once, of h_1.
  assert encoded(four).layers[0].recurrent == Product(mac=2 * 8)


def test_pooling():

  def pooled(names, x=X, **sites):
    return hand_count(Config(num_steps=2, pooling=names), x, **sites).readout

  spiking = dict(o=BINARY, c=TERNARY)
  # The 5 spikes of h are one or less than one addition each; the mean over t is
  # (1, 0), (1, -1/2), whose largest is (1, 0). Each sum and maximum is read and
  # written in N H = 4 updates; biases of the read-out are read.
  mean, largest, last = Moved(4, 0, 2, 8, 2), Moved(2, 0, 1, 8, 2), (4, 0, 2, 0)
  assert pooled(('mean',),
                **spiking) == (Product(mac=4), Elementwise(add=5), mean)
  assert pooled(('max',),
                **spiking) == (Product(mac=2), Elementwise(add=4,
                                                           compare=2), largest)
  # 6 of N T H = 8 analog values are not 0; the mean is (1, .16), (1, -.35).
  assert pooled(('mean',), ANALOG,
                o=BINARY) == (Product(mac=4), Elementwise(add=6), mean)
  assert pooled(('max',), ANALOG,
                o=BINARY) == (Product(mac=4), Elementwise(add=4,
                                                          compare=2), mean)
  every = Moved(*map(sum, zip(mean[:4], largest, last)), accumulators=2)
  assert pooled(
      ('max', 'last', 'mean'),
      **spiking) == (Product(mac=6, ac=6), Elementwise(add=9, compare=2), every)


def test_a_single_element_has_no_recurrent_product():
  for sites in ({}, dict(o=BINARY, c=TERNARY)):
    layer = hand_count(x=X[:, :1], **sites).layers[0]
    assert layer.recurrent == Product()
    assert layer.elementwise.add == (8 + 3 + 3 if sites else 0)


# --- Changes, by hand ---------------------------------------------------------
#
# X and its second element again: g of unit 2 is -1 in both. What goes into h is
#
#   n = 1  (7/8, 1/8)    n = 2  (1, -3/8)    n = 3  (1, -1/2)
#
# A neuron of theta = 3/8 at h fires at +-3/16. T = 1: v = (7/8, 1/8), then
# (5/8, -3/8), (1/4, -1/8). T = 2: v = (7/8, 1/8), (1/2, 1/8), then (1/4, -3/8),
# (-1/8, 0), then (-1/8, -1/8) twice. It sends and sums up to, in units of theta
#
#   T = 1  (1, 0), (1, -1), (1, 0)    (1, 0), (2, -1), (3, -1)
#   T = 2  (2, 0), (1, -1), (0, 0)    (2, 0), (3, -1), (3, -1)
#
# which is 4 sent, 8 or 10 in sum. Two sequences, for values enough.
X3 = np.tile(X[:, [0, 1, 1]], (2, 1, 1))
WORK = Elementwise(multiply=4 + 6 + 6, add=4, clip=30)  # of c, and f i g o c


def plus(work, **more):
  return work._replace(**{k: getattr(work, k) + v for k, v in more.items()})


@pytest.mark.parametrize(
    'num_steps, sent, rows, spikes, compare',
    [
        # n = 1, 2 are sent to U; the units that send; additions of a spike are
        # those to the sum and, for a second step, to the membrane.
        (1, 1 + 2, (1 + 2, 1), 4, 12),
        (2, 2 + 2, (1 + 2, 0), 4 * 2, 24),
    ])
def test_sigma_delta_by_hand(num_steps, sent, rows, spikes, compare):
  config = Config(num_steps=num_steps, coupling='shared')
  counts = hand_count(config, X3, h=sigma_delta(0.375))
  layer, = counts.layers
  # x is not 0 in 4 places, as many as its change.
  assert layer.input == Product(mac=4 * 8)
  assert layer.recurrent == Product(ac=sent * 8)
  # d - x in 6 updates; nothing for the change, which the neuron makes.
  assert layer.elementwise == plus(WORK, add=6 + spikes, compare=compare)
  assert layer.spike_rate == Sites(h=4 / 6 / num_steps)
  assert layer.spikes_per_element == pytest.approx(4 / 6)
  assert layer.sparsity.h == 1 / 6
  assert layer.rows_per_element == sum(rows) / 6
  # States: c and the sum of the neuron. Accumulators: W x + U h, read and
  # written in N = 3 elements.
  assert layer.moved == Moved(input_weights=4 * 8,
                              recurrent_weights=rows[0] * 8,
                              activations=4 + sum(rows) + rows[0],
                              states=2 * 6 * 2,
                              accumulators=2 * 3 * 8)
  # The read-out sees h_3, of which both units are one of one value.
  assert counts.readout == (Product(ac=2 * 2), Elementwise(),
                            Moved(2 * 2, 0, 2, 0, 2))
  assert counts.stored == Stored(weights=16 + 16 + 4, states=4, accumulators=8)
  assert counts.fetched == (4 * 8 + rows[0] * 8 + 4,) * 5


def test_sigma_delta_at_the_input_by_hand():
  # theta = 3/8, T = 2. Unit 1: v = 1, 5/8, then 1/4, -1/8, then -1/8, -1/8.
  # Unit 2: 1/4, -1/8, then -3/2, -9/8, then -3/4, -3/8. Sent and in sum:
  #   (2, 1), (1, -2), (0, -2)    (2, 1), (3, -1), (3, -3)
  # which is 8, not 13, in 8 spikes and 5 rows.
  x = np.array([[[1, 0.25], [1, -1.125], [1, -1.125]]], np.float32)
  config = Config(num_steps=2, coupling='shared')
  counts = count(
      network(hand_layer(), config=config, neuron=sigma_delta(0.375)), x)
  layer, encoder = counts.layers[0], counts.encoder
  assert layer.input == Product(ac=8 * 8)
  assert layer.moved.input_weights == 5 * 8
  assert layer.moved.accumulators == 2 * 3 * 8
  # In each of 6 places -mean and d - x, and four comparisons.
  assert encoder.elementwise == Elementwise(add=6 + 6 + 2 * 8, compare=24)
  assert encoder.spike_rate == 8 / 12
  # x is read, and what is sent is written; the sum is read and written.
  assert encoder.moved == Moved(activations=6 + 5, states=2 * 6)
  assert counts.stored.accumulators == 8


def test_the_change_of_a_lif_neuron_by_hand():
  # o always fires. c: u = (1, 1/4), (1, -3/4), (1, -7/4): 1 0, 1 -1, 1 -1. So h
  # has 5 spikes, and stands still at n = 3: its change has one for each unit.
  counts = hand_count(Config(), X3, o=BINARY, c=TERNARY)
  layer, = counts.layers
  assert layer.recurrent == Product(ac=2 * 8)
  # f c and i g; 4 additions of c, 6 + 6 steps and 6 + 5 resets, 6 subtractions.
  assert layer.elementwise == Elementwise(multiply=4 + 6,
                                          add=4 + 12 + 11 + 6,
                                          compare=6 + 12,
                                          clip=18)
  assert layer.spike_rate.h == layer.spikes_per_element == 5 / 6
  assert layer.rows_per_element == 2 / 6
  # States: c, and h of the element before.
  assert layer.moved == Moved(4 * 8, 2 * 8, 4 + 2 + 2, 2 * 6 * 2, 2 * 3 * 8)
  assert counts.readout.product == Product(ac=2 * 2)
  assert counts.stored == Stored(weights=36, states=4, accumulators=8)
  assert counts.fetched == (4 * 8 + 2 * 8 + 4,) * 5


def test_the_same_h_costs_the_same_whoever_makes_it():
  """h = (1, 0), (1, -1), (1, -1) of LIF neurons, of clips, of sigma-delta."""
  one = dict(family='quantised', levels=1)
  lif = hand_count(Config(), X3, o=BINARY, c=TERNARY)
  quantised = hand_count(Config(**one), X3)
  shared = Config(num_steps=2, coupling='shared', **one)
  changes = hand_count(shared, X3, h=sigma_delta(1.0))
  for counts in (quantised, changes):
    layer, expected = counts.layers[0], lif.layers[0]
    assert layer[:2] == expected[:2]  # products
    assert layer.rows_per_element == expected.rows_per_element
    assert layer.moved == expected.moved
    assert counts[2:] == lif[2:]  # read-out, stored, fetched, sequences
  # What the neuron's own work is, in place of the 6 subtractions of a change.
  assert changes.layers[0].elementwise == plus(quantised.layers[0].elementwise,
                                               add=-6 + 6 + 2 * 2,
                                               compare=24)


def test_what_is_silent_fetches_nothing():
  still = np.zeros_like(X)
  for x, amount in (X, 3 * 8), (still, 0):
    counts = hand_count(Config(), x, h=sigma_delta(100.0))
    layer, = counts.layers
    assert layer.rows_per_element == layer.spikes_per_element == 0
    assert layer.recurrent == Product()
    assert layer.moved.recurrent_weights == 0
    assert layer.moved.activations == amount / 8
    assert counts.readout.moved == Moved(accumulators=2)
    assert counts.fetched == (amount,) * 5


def test_what_is_fetched_is_a_matter_of_the_sequence():
  x = np.concatenate([X3, X3])
  x[1] = 0
  net = network(hand_layer(h=sigma_delta(0.375)), config=Config())
  counts = count(net, x, batch_size=2)
  # Nothing, and thrice the 60 of `test_sigma_delta_by_hand`; 5 % of the way
  # from the first to the fourth is 15 % of that from the first to the second.
  assert counts.fetched == pytest.approx((0, 9, 60, 60, 60))
  assert counts.layers[0].moved.input_weights == 32 * 3 / 4


def test_rows_are_those_of_the_mean_where_that_is_multiplied():
  # c of unit 2 is 0. Its neuron starts at 1/2 and so fires 1, -1: a mean of 0.
  # Unit 1: i g = (.31 / 4 + 3/4) .31 = .26, u = .76, .01: 1, 0, and 1, 1.
  # o = .96 and .875: h has means of .48 and .875, no increments.
  x = np.array([[[0.31, 0], [1, 0]]], np.float32)
  config = Config(num_steps=2, coupling='shared')
  c = TERNARY._replace(v_0=jnp.array(0.5))
  layer = hand_count(config, x, c=c).layers[0]
  assert layer.sparsity.h == 1 / 8
  assert layer.recurrent == Product(mac=8)
  assert layer.rows_per_element == 2 / 4
  assert layer.moved.recurrent_weights == 8


# --- Values decide ------------------------------------------------------------


@pytest.mark.parametrize('unit, nonzero', [(0, 2), (1, 3)])
def test_values_decide_not_the_configuration(monkeypatch, unit, nonzero):
  """One unit of sequence 2 only: where it fires, and where it may not."""
  apply = model_lib.apply

  def faulty(model, x, observe):

    def changed(record):
      h = record.output.h.at[..., 1, unit].set(1 / np.pi)
      return observe(record._replace(output=record.output._replace(h=h)))

    return apply(model, x, observe=changed)

  monkeypatch.setattr(model_lib, 'apply', faulty)
  layer = hand_count(x=np.tile(X, (2, 1, 1)), o=BINARY, c=TERNARY).layers[0]
  assert layer.recurrent == Product(mac=nonzero * 8)
  assert layer.spike_rate.h is None and layer.spike_rate.o == 6 / 8


def random_model(seed=0, features=5, hidden=8, config=Config(), **converted):
  rng = np.random.default_rng(seed)
  normal = lambda *shape: Gates(*rng.normal(0, 0.7, (4, *shape)).astype('f4'))
  layer = Layer(normal(features, hidden), normal(hidden, hidden),
                normal(hidden), Sites(**converted))
  return network(layer, config=config)


def random_input(seed=1, features=5):
  shape = (6, 7, features)
  return np.random.default_rng(seed).normal(0, 1, shape).astype('f4')


class Rate(NamedTuple):
  """Two steps of an IF at once: spikes that count, output their mean."""
  v_th: Any


@pytest.fixture(name='rate')
def _rate(monkeypatch):
  monkeypatch.setattr(neurons, 'KINDS', dict(neurons.KINDS))

  def step(neuron, state, d, *, signed, fire):
    twice = jnp.broadcast_to(d, (2, *d.shape))
    _, spikes = neurons.run(neurons.integrate_and_fire(signed),
                            jnp.zeros_like(d),
                            twice,
                            signed=signed,
                            fire=fire)
    return state, spikes.sum(0)

  neurons.register(
      Rate,
      neurons.Kind(initial=lambda neuron, shape: (),
                   step=step,
                   output=lambda neuron, state, spikes: spikes / 2,
                   constrain=lambda raw: raw,
                   unconstrain=lambda neuron: neuron,
                   work=lambda neuron, signed, num_steps:
                   (Elementwise(add=10.0 * num_steps), Elementwise(compare=1))))
  return Rate(jnp.ones(()))


def test_spikes_and_their_sum_cost_the_same(rate):
  """As two spikes or as their mean, h has the same values: the same counts."""
  x = random_input()
  spiking = random_model(h=TERNARY,
                         config=Config(num_steps=2, coupling='shared'))
  summed = random_model(h=rate)
  outputs = [model_lib.apply(m, x).outputs for m in (spiking, summed)]
  np.testing.assert_allclose(*outputs, atol=1e-5)
  spiking, summed = (
      operations.count_operations(m, x) for m in (spiking, summed))
  recurrent = spiking.layers[0].recurrent
  assert recurrent.mac == 0 and recurrent.ac > 0
  assert summed.layers[0].recurrent == recurrent
  # The neuron's own work: 10 per unit and element, and 1 per spike.
  assert summed.layers[0].elementwise.compare == pytest.approx(
      7 * 8 * summed.layers[0].spike_rate.h)
  assert summed.layers[0].elementwise.add == 10 * 7 * 8 + 6 * 8


@pytest.mark.parametrize('levels', [1, 2, 3])
def test_a_quantised_lstm_is_an_snn_by_its_values(levels):
  """h is k / Q^2, |k| <= Q^2: 1, 4, and 9, which is too much."""
  config = Config('quantised', levels=levels)
  model, x = random_model(config=config), random_input()
  h = model_lib.apply(model, x, observe=lambda r: r.output.h).observed[0][:, 0]
  k = np.rint(np.abs(h) * levels**2).astype(int)
  assert k.max() == levels**2
  units = np.gcd.reduce(k, axis=(0, 1))
  layer, = operations.count_operations(model, x).layers
  if levels < 3:
    amount = (k // np.maximum(units, 1))[:-1].sum() / 6 * 32
    assert layer.recurrent == Product(ac=pytest.approx(amount))
  else:
    assert layer.recurrent == Product(mac=pytest.approx((k[:-1] > 0).sum() / 6 *
                                                        32))
  # Only Q = 1 makes spikes of the gates.
  assert (layer.elementwise.multiply == 0) == (levels == 1)
  assert (layer.spike_rate.h is not None) == (levels == 1)


def test_one_level_source_is_credited_as_its_spiking_twin():
  """With Q = T = 1 both are the same function, so both may accumulate."""
  x = np.tile(X, (2, 1, 1))  # for values enough
  source = hand_count(Config('quantised', levels=1), x)
  twin = hand_count(Config(), x, **ALL_SITES)
  assert source.layers[0].recurrent == twin.layers[0].recurrent
  assert source.layers[0].recurrent == Product(ac=8)
  # h is (1, 0), (1, -1): its change has 2 spikes, not 3, at N H subtractions.
  assert source.layers[0].elementwise == Elementwise(add=2 + 4, clip=20)
  assert source.readout == twin.readout


def input_product(*columns, batch_size):
  """Product of 4H = 8 with up to three features of 6 values each."""
  columns = [*columns, *[[0] * 6] * (3 - len(columns))]
  x = np.reshape(np.transpose(columns), (3, 2, 3)).astype(np.float32)
  layer = hand_layer()._replace(w=Gates(*(jnp.ones((3, 2)),) * 4))
  return operations.count_operations(network(layer), x,
                                     batch_size=batch_size).layers[0].input


A = [1.7, 0, -0.4, 0.9, 0, 0]  # nothing but an analog feature
SPIKES, TWO_THREE = [0, 0.3, 0, -0.3, 0, 0], [20, 30, -30, 20, 0, 0]


@pytest.mark.parametrize(
    'columns, product',
    [
        # A MAC for each value that is not 0, for an LSTM, too.
        ([A], Product(mac=3)),
        ([A, SPIKES], Product(mac=5)),  # all or none
        # One-hot.
        (np.eye(3)[[0, 1, 2, 1, 0, 2]].T, Product(ac=6)),
        ([SPIKES, [5, 0, 5, 0, 5, 5]], Product(ac=2 + 4)),
        # The change is +-5 in 4 places, of 5.
        ([SPIKES, [5, 0, 5, 5, 5, 5]], Product(ac=2 + 4)),
        # Multiples of 10, which itself does not occur.
        ([SPIKES, TWO_THREE], Product(ac=2 + 10)),
        # In units of 0.1, and the change from the first to the second.
        ([[0.7, 0.1, 0, 0, 0, 0]], Product(ac=7 + 1)),
        ([[0.1, 0.7, 0, 0, 0, 0]], Product(ac=1 + 6)),
        ([[0.1, 0.8, 0, 0, 0, 0]], Product(ac=1 + 7)),
        ([[0.1, 0.9, 0, 0, 0, 0]], Product(mac=2)),
        ([[0.2, 0.7, 0, 0, 0, 0]], Product(ac=2 + 5)),
        ([[-0.2, 0.7, 0, 0, 0, 0]], Product(ac=2 + 7)),
        ([[0.7, 0.8, 0, 0, 0, 0]], Product(ac=7 + 1)),
        ([[0.7, -0.8, 0, 0, 0, 0]], Product(mac=2)),
        # Rounding, and more than that.
        ([[0.1, 0.500005, 0, 0, 0, 0]], Product(ac=1 + 4)),
        ([[0.1, 0.5005, 0, 0, 0, 0]], Product(mac=2)),
        ([[0.1, 0.100005, 0, 0, 0, 0]], Product(ac=2)),
        ([[0.1, 0.1001, 0, 0, 0, 0]], Product(mac=2)),
        # One value proves nothing, but others may speak for it; silence does.
        ([[0, 0.1, 0, 0, 0, 0]], Product(mac=1)),
        ([[0, 0.1, 0, 0, 0, 0], [0, 0.1, 0, 0, 0, 0.1]], Product(mac=3)),
        # One that goes back to 0 changes twice, by as much.
        ([[0.1, 0, 0, 0, 0, 0]], Product(ac=2)),
        ([[0.1, 0, 0, 0, 0, 0], [0.1, 0, 0.1, 0, 0, 0.1]], Product(ac=4)),
        ([[0] * 6, [0.1, 0, 0, 0, 0, 0.1]], Product(ac=2)),
        ([[0] * 6], Product()),
    ])
def test_what_values_cost(columns, product):
  for batch_size in (1, 3):
    counted = input_product(*columns, batch_size=batch_size)
    assert counted == pytest.approx((product.mac * 8 / 3, product.ac * 8 / 3))


def test_direct_encoding_sees_the_raw_input():
  """80 % zeros, which mean and std would hide."""
  rng = np.random.default_rng(0)
  x = random_input() * (rng.random((6, 7, 5)) < 0.2)
  model = random_model()
  moved = model.replace(encoder=Encoder(jnp.full(5, 0.3), jnp.full(5, 2.0)))
  for net in (model, moved):
    layer, = operations.count_operations(net, x).layers
    assert layer.input == Product(mac=pytest.approx((x != 0).sum() / 6 * 32))
    assert layer.input.mac < 0.3 * 7 * 5 * 32


def test_a_gate_that_never_changes_is_gating():
  """f = 1 and i = 1/4 in every unit: no f c, and i scales i g."""
  model = random_model()
  layer = model.layers[0]
  constant = lambda gates, f, i: gates._replace(f=0 * gates.f + f,
                                                i=0 * gates.i + i)
  still = layer._replace(w=constant(layer.w, 0, 0),
                         u=constant(layer.u, 0, 0),
                         b=constant(layer.b, 4.0, -1.5))
  x = random_input()
  for changed, multiply in ((layer, 6 + 7 + 7), (still, 7 + 7)):
    counted, = operations.count_operations(model.replace(layers=(changed,)),
                                           x).layers
    assert counted.elementwise.multiply == multiply * 8


class Tired(NamedTuple):
  """A neuron of a state with two arrays that live for the whole sequence."""
  level: Any


def test_any_neuron_is_counted(monkeypatch):
  monkeypatch.setattr(neurons, 'KINDS', dict(neurons.KINDS))

  def step(neuron, state, d, *, signed, fire):
    v, tired = state['v'] + d, state['tired']
    level = neurons.align(neuron.level, d) + tired
    s = fire(v - level) - fire(-v - level) * signed
    return dict(v=v - s, tired=0.5 * tired + abs(s)), s

  zeros = lambda neuron, shape: dict(v=jnp.zeros(shape), tired=jnp.zeros(shape))
  neurons.register(
      Tired,
      neurons.Kind(initial=zeros,
                   step=step,
                   output=lambda neuron, state, spikes: 0.7 * spikes,
                   constrain=lambda raw: raw,
                   unconstrain=lambda neuron: neuron,
                   work=lambda neuron, signed, num_steps:
                   (Elementwise(multiply=num_steps), Elementwise(smooth=100)),
                   carried=True))
  x = random_input()
  for coupling in ('step', 'shared'):
    config = Config(num_steps=2, coupling=coupling)
    tired = Tired(jnp.full((), 0.5))
    net = random_model(config=config, o=BINARY, c=tired)
    net = net.replace(encoder=net.encoder._replace(neuron=tired))
    counts = operations.count_operations(net, x)
    layer, rate = counts.layers[0], counts.encoder.spike_rate
    assert 0 < rate < 1 and 0 < layer.spike_rate.c < 1
    assert layer.input == Product(ac=pytest.approx(rate * 7 * 2 * 5 * 32))
    assert layer.recurrent.mac == 0 and layer.recurrent.ac > 0
    if coupling == 'step':  # two arrays of each neuron, and two c
      assert counts.encoder.moved.states == 2 * 2 * 7 * 5
      assert layer.moved.states == 2 * (2 + 2) * 7 * 8
      assert counts.stored.states == 2 * 5 + (2 + 2) * 8
    assert counts.encoder.elementwise == Elementwise(multiply=2 * 7 * 5,
                                                     add=7 * 5,
                                                     smooth=pytest.approx(
                                                         100 * 70 * rate))
    assert layer.elementwise.smooth == pytest.approx(100 * 7 * 2 * 8 *
                                                     layer.spike_rate.c)


class Step(NamedTuple):
  """A neuron that fires where its drive is, and carries a state for nothing."""
  level: Any


def test_a_change_is_taken_from_what_no_neuron_carries(monkeypatch):
  monkeypatch.setattr(neurons, 'KINDS', dict(neurons.KINDS))
  same = lambda neuron: neuron
  neurons.register(
      Step,
      neurons.Kind(initial=lambda neuron, shape: jnp.zeros(shape),
                   step=lambda neuron, state, d, signed, fire:
                   (state, fire(d - neurons.align(neuron.level, d))),
                   output=lambda neuron, state, spikes: spikes,
                   constrain=same,
                   unconstrain=same,
                   work=lambda *args: (Elementwise(), Elementwise()),
                   carried=True))
  # All that is 1 fires, in both steps: input, o, c and h are 1, their change is
  # 1 once for each unit.
  step = Step(jnp.full((), 0.5))
  net = network(hand_layer(o=step, c=step), config=Config(), neuron=step)
  counts = count(net, np.ones_like(X3))
  layer, = counts.layers
  assert layer.input == layer.recurrent == Product(ac=2 * 8)
  # -mean and a subtraction in 6 places; the neuron's state, and the last input.
  assert counts.encoder.elementwise == Elementwise(add=6 + 6)
  assert counts.encoder.moved == Moved(activations=6 + 2, states=2 * 6 * 2)
  # c, the states of two neurons, and the last h; f c and a subtraction.
  assert layer.elementwise.add == 4 + 6
  assert layer.moved.states == 2 * 6 * (1 + 2 + 1)
  assert counts.stored.states == 2 * 2 + 2 * 4


# --- A recount of random networks and of real data ----------------------------


def accumulations(values):
  """|k| of each of values [N, S, B, F] in {0, 1, .., 7}, or None.

  Every unit's values are k times a number of its own, the largest that will do.
  """
  sizes = np.abs(np.asarray(values, np.float64))
  units = [sizes[..., j] for j in range(sizes.shape[-1])]
  active = sum(unit.any() for unit in units)
  if (sizes > 0).sum() < 2 * active:
    return None
  for unit in units:
    smallest = min(unit[unit > 0], default=1.0)
    for m in range(1, 8):
      k = unit / (smallest / m)
      if np.abs(k - np.rint(k)).max() < 1e-3 and k.max() < 7.5:
        unit[...] = np.rint(k)  # a view of `sizes`
        break
    else:
      return None
  return sizes


def are_spikes(values):
  k = accumulations(values)
  return k is not None and k.max() <= 1


class Entering(NamedTuple):
  """What enters a product.

  Attributes:
    values: [N, S, B, F].
    k: their |k|, or None if they are multiplied.
    terms: what they are the change of, or None.
  """
  values: Any
  k: Any
  terms: Any = None

  @property
  def cost(self):
    return self.values != 0 if self.k is None else self.k

  @property
  def rows(self):
    """Whose weights are fetched, [N, B, F]."""
    return (self.values != 0).any(1)

  def at(self, elements):
    k = None if self.k is None else self.k[elements]
    return Entering(self.values[elements], k)


def recount(model, x, encoded, pooled, result):
  """Every operation of every update, one by one, in plain loops.

  Args:
    model: the network.
    x: raw input, [B, N, D].
    encoded: what the first layer sees, [N, S, B, D].
    pooled: what the read-out sees, [B, P H].
    result: lists over layers of `output` and `spikes`: dicts from site to
      [N, T, B, H], as `oracle.run` returns them.

  Returns:
    Mean operations and values moved per sequence, by (place, kind), and what
    is stored and fetched.
  """
  total, flat = collections.Counter(), {}
  config, shared = model.config, model.config.coupling == 'shared'

  def neuron_work(place, neuron, unit, ternary, spikes):
    """`spikes`: whether it fired at each of the steps of one element."""
    sums_up = is_sum(neuron)
    total[place, 'add'] += sums_up  # d - x
    for t, fired in enumerate(spikes):
      total[place, 'add'] += 0 if sums_up else 1
      total[place,
            'add'] += (2 if sums_up and len(spikes) > 1 else 1) * bool(fired)
      total[place, 'compare'] += 2 if ternary else 1
      leak = not sums_up and neuron.leak is not None
      total[place, 'multiply'] += 1 if leak and t > 0 else 0
      total[place, f'spikes {unit}'] += bool(fired)

  def is_sum(neuron):
    return isinstance(neuron, SigmaDelta)

  def choose(*operands):
    """The first operand that accumulates, else the last; or its change."""
    known = [Entering(a, accumulations(a)) for a in operands]
    direct = next((a for a in known if a.k is not None), known[-1])
    values = operands[-1]
    if values.shape[1] > 1:
      return direct
    change = values.copy()
    change[1:] -= values[:-1]
    change = Entering(change, accumulations(change), values)
    if (direct.k is None) != (change.k is None):
      return change if direct.k is None else direct
    enough = 1 if change.k is not None else 0.5  # analog: it has to halve it
    less = change.cost.sum() < enough * direct.cost.sum()
    return change if less else direct

  def product(place, reader, kind, entering, outputs):
    operation = 'mac' if entering.k is None else 'ac'
    total[place, operation] += outputs * int(entering.cost.sum())
    rows = entering.rows.sum((0, 2))
    total[reader, f'{kind}_weights'] += outputs * rows.sum()
    total[reader, 'activations'] += rows.sum()
    fetched.append(outputs * rows)

  def subtract(place, entering, neuron):
    """Takes a change, unless of what a neuron sums up; states of a unit."""
    if entering.terms is None or is_sum(neuron):
      return 0
    total[place, 'add'] += entering.values.size
    return 1

  model, x, encoded = jax.tree.map(np.asarray, (model, x, encoded))
  x = np.moveaxis(x, 1, 0)
  num_elements, batch, features = x.shape
  neuron = model.encoder.neuron
  entering, fetched = choose(x[:, None]), []
  units = num_elements * batch * features
  stored, sums = 0, 0
  if neuron is not None:
    states = {}
    trains = np.zeros((num_elements, config.input_steps, batch, features))
    for n in range(num_elements):
      for b in range(batch):
        for j in range(features):
          total['encoder', 'add'] += 1
          d = (x[n, b, j] - model.encoder.mean[j]) / model.encoder.std[j]
          kind, spikes = oracle.kind_of(neuron), []
          if n == 0 or not kind.carried:
            states[b, j] = kind.initial(neuron, np.float32(d))
          for _ in range(config.input_steps):
            states[b, j], s, _ = kind.step(neuron, states[b, j], np.float32(d),
                                           True)
            spikes.append(s)
          neuron_work('encoder', neuron, 'x', True, spikes)
          trains[n, :, b, j] = spikes
    entering = choose(encoded) if is_sum(neuron) else choose(trains, encoded)
    if not is_sum(neuron):  # the mean over steps enters
      total['encoder', 'add'] += trains.size - entering.values.size
    total['encoder', 'activations'] += units + entering.rows.sum()
  kept = is_sum(neuron) + subtract('encoder', entering, neuron)
  total['encoder', 'states'] += 2 * units * kept
  stored += features * kept

  for index, layer in enumerate(model.layers):
    output, fired = result.output[index], result.spikes[index]
    h = output['h']
    hidden = h.shape[-1]
    converted = set(layer.neurons.present)
    below, slots = entering, 1 if shared else config.num_steps
    product((index, 'input'), index, 'input', below, 4 * hidden)
    if is_sum(layer.neurons.h):
      h = h[:, -1:]  # the sum of all spikes so far
      output = output | dict(h=h)
      entering = choose(h)
    else:
      entering = choose(h, h.mean(1, keepdims=True)) if shared else choose(h)
    # The mean over t enters a product.
    total[index, 'add'] += (h.size - entering.values.size) * bool(converted)
    product((index, 'recurrent'), index, 'recurrent', entering.at(slice(-1)),
            4 * hidden)
    total[index, 'activations'] += entering.rows.sum()
    flat[index, 'rows'] = entering.rows.mean()
    sent = fired['h'] if 'h' in converted else h
    if 'h' in converted or are_spikes(h if converted else h[:, :1]):
      sent = sent if converted else sent[:, :1]
      flat[index, 'sent'] = np.count_nonzero(sent) / sent[:, 0].size
    kept = is_sum(layer.neurons.h) + subtract(index, entering, layer.neurons.h)
    units = num_elements * batch * hidden
    total[index, 'states'] += 2 * units * (slots + kept)
    stored += hidden * (slots + kept)
    running = below.terms is not None or entering.terms is not None
    total[index, 'accumulators'] += 4 * units * (2 if running else 1)
    sums += 4 * hidden * running

    gating, scale = set(), {}
    for site in 'ifgoc':
      steps = 1 if shared and not converted else None  # all steps are the same
      if site in 'ifgo' and site not in converted and shared:
        steps = 1
      if are_spikes(output[site][:, :steps]):
        gating.add(site)
        scale[site] = np.abs(output[site]).max((0, 1, 2))
    num_steps = config.num_steps
    for n, t, b, j in np.ndindex(num_elements, num_steps, batch, hidden):
      again = shared and t > 0  # gates see what they saw at t = 1
      varies = not again or bool(converted & {'i', 'f', 'g'})
      for site in ('' if again else 'ifgo') + ('c' if varies else ''):
        if site not in converted:
          smooth = config.family == 'standard'
          total[index, 'smooth' if smooth else 'clip'] += 1
      if not again or 'f' in converted:
        total[index, 'multiply'] += n > 0 and 'f' not in gating
      if not again or converted & {'i', 'g'}:
        total[index, 'multiply'] += not gating & {'i', 'g'}
      if varies or converted & {'o', 'c'}:
        total[index, 'multiply'] += not gating & {'o', 'c'}
      total[index, 'add'] += varies and n > 0
      total[index, 'add'] += again and varies and n < num_elements - 1
      for site in gating & {'i', 'f', 'g'}:
        if output[site][n, t, b, j] != 0 and abs(scale[site][j] - 1) > 1e-3:
          if not again or site in converted:
            total[index, 'multiply'] += site != 'f' or n > 0
    for site in converted:
      ternary = oracle.TERNARY[site]
      neuron = oracle.cast(getattr(layer.neurons, site), np.float32)
      for n, b, j in np.ndindex(num_elements, batch, hidden):
        neuron_work(index, neuron, site, ternary, fired[site][n, :, b, j])

  values = entering.values if entering.terms is None else entering.terms
  each = entering.cost if entering.terms is None else values != 0
  slots, outputs = values.shape[1], model.readout.b.size
  total['readout', 'accumulators'] += batch * outputs
  for pool, part in zip(config.pooling, np.split(pooled, len(config.pooling),
                                                 1)):
    terms = num_elements * (slots - 1)
    if pool == 'last' and entering.k is not None and entering.terms is None:
      product('readout', 'readout', 'input', entering.at(slice(-1, None)),
              outputs)
      continue
    part = part[None, None]
    product('readout', 'readout', 'input', Entering(part, accumulations(part)),
            outputs)
    if pool != 'last':
      total['readout', 'states'] += 2 * units
      stored += hidden
    if pool == 'max':
      total['readout', 'compare'] += batch * (num_elements - 1) * hidden
    if pool == 'mean':
      terms = num_elements * slots - 1
    if pool == 'last':
      terms = slots - 1
    total['readout', 'add'] += min(int(each.sum()), terms * batch * hidden)
  flat |= {key: value / batch for key, value in total.items()}
  for index, level in enumerate((0, 5, 50, 95, 100)):
    flat['fetched', index] = np.percentile(sum(fetched), level)
  weights = (*[leaf for a in model.layers for leaf in (*a.w, *a.u)],
             model.readout.w)
  flat['stored', 'weights'] = sum(leaf.size for leaf in weights)
  flat |= {('stored', 'states'): stored, ('stored', 'accumulators'): sums}
  return {key: value for key, value in flat.items() if value}


def flatten(counts, num_elements, model):
  """Counts in the form of `recount`."""
  flat, config = {}, model.config

  def put(place, tree):
    for name, value in tree._asdict().items():
      if value:
        flat[place, name] = value

  put('encoder', counts.encoder.elementwise)
  put('encoder', counts.encoder.moved)
  put('stored', counts.stored)
  flat.update({('fetched', i): v for i, v in enumerate(counts.fetched) if v})
  steps = num_elements * config.num_steps
  if counts.encoder.spike_rate:
    trains = num_elements * config.input_steps * model.num_features
    flat['encoder', 'spikes x'] = counts.encoder.spike_rate * trains
  for index, (layer, counted) in enumerate(zip(model.layers, counts.layers)):
    put((index, 'input'), counted.input)
    put((index, 'recurrent'), counted.recurrent)
    put(index, counted.elementwise)
    put(index, counted.moved)
    if counted.rows_per_element:
      flat[index, 'rows'] = counted.rows_per_element
    if counted.spikes_per_element:
      flat[index, 'sent'] = counted.spikes_per_element
    for site in layer.neurons.present:
      rate = getattr(counted.spike_rate, site)
      if rate:
        flat[index, f'spikes {site}'] = rate * steps * layer.num_units
  put('readout', counts.readout.product)
  put('readout', counts.readout.elementwise)
  put('readout', counts.readout.moved)
  return flat


CASES = [
    # converted sites of each layer, where D is a sigma-delta neuron at h and at
    # the input, encoder_steps or None for an analog input, T, coupling, pooling
    (('oc',), None, 1, 'step', ('last',)),
    (('oc', 'oc'), None, 3, 'step', ('last', 'mean')),
    (('ifgoc', 'ifgoc'), 0, 2, 'step', ('last', 'max')),
    (('h', 'oh'), 0, 3, 'step', ('mean', 'max')),
    (('ifgoch', 'igoc', 'foc'), None, 2, 'step', ('last',)),
    (('ifg', 'go'), 0, 2, 'step', ('last', 'mean', 'max')),
    (('ifg', 'oc'), 4, 2, 'step', ('last', 'mean')),
    (('oc', 'h'), 2, 3, 'step', ('last',)),
    (('oc', '', 'oc'), None, 2, 'shared', ('last', 'mean')),
    (('ho', 'ifgoc'), 0, 4, 'shared', ('last', 'max')),
    (('c', 'fo'), 4, 2, 'shared', ('last', 'mean', 'max')),
    (('D', 'D'), 0, 2, 'shared', ('last', 'mean')),
]


@pytest.mark.parametrize('sites, encoding, num_steps, coupling, pooling', CASES)
def test_recount_of_the_oracle(sites, encoding, num_steps, coupling, pooling):
  rng = np.random.default_rng(len(sites) + num_steps)
  layers = networks.dyadic_layers(rng, [a.strip('D') for a in sites])
  sends_changes = 'D' in sites
  if sends_changes:
    changes = Sites(h=sigma_delta(0.5))
    layers = [layer._replace(neurons=changes) for layer in layers]
  # With this slope and T a power of two, every drive is exact.
  config = Config('hard',
                  0.5,
                  2,
                  num_steps,
                  coupling,
                  encoding or 0,
                  pooling=pooling)
  spiking = encoding is not None
  neuron = networks.dyadic_neuron(rng, True, ()) if spiking else None
  neuron = sigma_delta(0.75, 0.75) if sends_changes else neuron
  half = jnp.full((networks.FEATURES,), 0.5)
  model = network(*layers, config=config, num_outputs=3)
  model = model.replace(encoder=Encoder(half, half, neuron))
  x = networks.dyadic_input(rng, 4, 4)
  encoded = oracle.encode(model.encoder, x, config, np.float32)
  forward = oracle.apply(model, x, np.float32)
  expected = recount(model, x, encoded, forward.pooled, forward.result)
  counts = count(model, x, batch_size=2)
  assert flatten(counts, 4, model) == pytest.approx(expected)


def random_layer(rng, features, hidden, sites):
  normal = lambda *shape: Gates(*rng.standard_normal((4, *shape)).astype('f4'))
  return Layer(
      normal(features, hidden), normal(hidden, hidden), normal(hidden),
      Sites(
          **{
              site: networks.dyadic_neuron(rng, site in 'gch', (hidden,))
              for site in sites
          }))


@pytest.mark.parametrize('num_steps, sites, family', [
    (1, '', 'standard'),
    (1, '', 'quantised'),
    (2, 'oc', 'hard'),
    (2, 'ifgoc', 'hard'),
])
def test_recount_of_real_data(num_steps, sites, family):
  x = data.load_embedded()['train'].x[::1800, :48]
  config = Config(family, num_steps=num_steps, pooling=('last', 'mean'))
  rng = np.random.default_rng(0)
  layers = (random_layer(rng, 9, 6, sites), random_layer(rng, 6, 5, sites))
  model = network(*layers, config=config, num_outputs=6)
  forward = jax.jit(lambda model, x: model_lib.apply(
      model, x, observe=lambda record: record))(model, x)
  as_dicts = lambda part: [{
      site: np.asarray(leaf)
      for site, leaf in getattr(record, part)._asdict().items()
      if leaf is not None
  }
                           for record in forward.observed]
  result = builtin_types.SimpleNamespace(output=as_dicts('output'),
                                         spikes=as_dicts('spikes'))
  expected = recount(model, x, None, np.asarray(forward.pooled), result)
  counts = operations.count_operations(model, x)
  assert counts.sequences == len(x) > 4
  assert flatten(counts, 48, model) == pytest.approx(expected)
  for layer, output in zip(counts.layers, result.output):
    sparsity = {site: np.mean(value == 0) for site, value in output.items()}
    assert layer.sparsity._asdict() == pytest.approx(sparsity)
  quantised = family == 'quantised'
  assert bool(counts.layers[0].recurrent.ac) == (num_steps == 2 or quantised)


# --- Invariants ---------------------------------------------------------------


def test_counts_are_means_however_they_are_batched():
  rng = np.random.default_rng(0)
  net = network(*networks.gaussian_layers(rng, ('ioc',)))
  x = rng.standard_normal((7, 30, networks.FEATURES)).astype('f4')
  count_jitted = lambda x, batch_size: operations.count_operations(
      net, x, batch_size=batch_size)
  whole = count_jitted(x, 3)  # 3, 3 and 1
  assert whole.sequences == 7
  assert count_jitted(x, 1) == whole
  assert count_jitted(jnp.asarray(x[::-1]), 3) == whole
  singles = [count_jitted(x[b:b + 1], 1) for b in range(7)]
  fetched = [single.fetched[0] for single in singles]
  assert whole.fetched == pytest.approx(
      np.quantile(fetched, (0, 0.05, 0.5, 0.95, 1)))
  assert len(set(whole.fetched)) == 5
  leaves = lambda c: jax.tree.leaves(c._replace(sequences=7, fetched=()))
  assert leaves(whole) == pytest.approx(np.mean([*map(leaves, singles)], 0))


def test_compiles_once_for_each_batch_shape():
  net = network(hand_layer(), config=Config())
  x = np.zeros((5, 1, 2), np.float32)
  before = activity._watch._cache_size()
  operations.count_operations(net, x, batch_size=2)
  assert activity._watch._cache_size() - before == 2  # of 2, 2 and 1


def test_sums_are_exact_beyond_float32():
  """2^24 + 1 spikes: float32 would lose one."""
  seen = np.full((2, 1, 1), 2**23, np.int32)
  seen[0] += 1
  operand = activity.Operand(seen, seen, True, None)
  assert operations._product(operand, 3, 1).ac == 3 * (2**24 + 1)
  seen = np.full((4, 1, 1), 2**30, np.int32)
  many = activity.Operand(seen, seen, True, None)
  assert operations._product(many, 1, 1).ac == 2.0**32


# --- Errors -------------------------------------------------------------------


@pytest.mark.parametrize('x, message', [
    (X[0], r'x has shape \(2, 2\); expected \[B, N, D\]'),
    (X[:0], r'x has shape \(0, 2, 2\)'),
    (X[:, :0], r'x has shape \(1, 0, 2\)'),
    (np.where(X == 1, np.nan, X), 'x of 1 examples is not finite'),
    (np.where(X == 1, -np.inf, X), 'x of 1 examples is not finite'),
    (np.ones((1, 2, 3)), r'x has shape \(1, 2, 3\).*D = 2'),
])
def test_bad_input(x, message):
  with pytest.raises(ValueError, match=message):
    operations.count_operations(network(hand_layer()), x)


def test_other_bad_arguments():
  net = network(hand_layer())
  with pytest.raises(ValueError, match='batch_size is 0'):
    operations.count_operations(net, X, batch_size=0)
  broken = net.layers[0]._replace(u=Gates(*(jnp.full((2, 2), jnp.nan),) * 4))
  with pytest.raises(ValueError, match=r'layers\[0\]\.u\.i are not finite'):
    operations.count_operations(net.replace(layers=(broken,)), X)
