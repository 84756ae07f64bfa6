"""Tests of slstm.counts and slstm.activity: by hand, and by a recount."""

import collections
import dataclasses
import types as builtin_types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import activity
from slstm import counts as counts_lib
from slstm import encoders
from slstm import model
from slstm import neurons
from slstm.counts import Elementwise
from slstm.counts import Product
from slstm.types import Config, Encoder, Gates, Layer, Params, Readout, Sites
from tests import networks
from tests import oracle
from third_party.uci_har import data

BINARY = neurons.integrate_and_fire(signed=False)
TERNARY = neurons.integrate_and_fire(signed=True)
ALL_SITES = dict(i=BINARY, f=BINARY, g=TERNARY, o=BINARY, c=TERNARY)

# --- By hand ------------------------------------------------------------------
#
# N = T = D = H = K = 2. The gates see no data: b_i = b_f = 3 makes i = f = 1
# (z = 3 is d = 1), b_o = (3, 0) makes the drive of o (1, 1/2). W_g = 1 and U =
# 0, so that g = x. With x_1 = (1, 1/4), x_2 = (0, -1):
#
#   c   n = 1: (1, 1/4)           n = 2: (1, -3/4)
#
# o is a binary neuron: v_0 = 1/2, fires at 1. Unit 1: u = 3/2, 3/2: spikes 1 1.
# Unit 2: u = 1, 1/2: spikes 1 0. Both for each n: 2 (2 + 1) = 6 spikes.
# c is a ternary neuron: v_0 = 0, fires at +-1/2, reset 1.
#   n = 1  unit 1: u = 1, 1: 1 1         unit 2: u = 1/4, 1/2: 0 1
#   n = 2  unit 1: u = 1, 1: 1 1         unit 2: u = -3/4, -1/2: -1 -1
# 7 spikes. h = o c at t = 1, t = 2:
#   n = 1  (1, 0), (1, 0): 2 spikes      n = 2  (1, -1), (1, 0): 3 spikes
X = np.array([[[1, 0.25]], [[0, -1]]], np.float32)  # [N, B, D], B = 1
CONFIG = Config(num_steps=2)


def hand_layer(**converted):
  zero, one = jnp.zeros((2, 2)), jnp.eye(2)
  three = jnp.full((2,), 3.0)
  return Layer(w=Gates(zero, zero, one, zero),
               u=Gates(zero, zero, zero, zero),
               b=Gates(three, three, jnp.zeros((2,)), jnp.array([3.0, 0.0])),
               neurons=Sites(**converted))


def network(*layers, pools=1, num_classes=2):
  features = layers[0].w.i.shape[0]
  hidden = layers[-1].u.i.shape[0]
  return Params(
      encoders.identity(features), layers,
      Readout(jnp.ones((pools * hidden, num_classes)), jnp.zeros(num_classes)))


def count(*args, **kwargs):
  """`count_operations` op by op: compiling these tiny networks is slow."""
  with jax.disable_jit():
    return counts_lib.count_operations(*args, **kwargs)


def test_one_spiking_layer_by_hand():
  net = network(hand_layer(o=BINARY, c=TERNARY))
  counts = count(net, X, CONFIG)
  layer = counts.layers[0]
  # W x: N D 4H = 2 * 2 * 8 MAC, whatever T. U h: only h_1, 2 spikes * 8.
  assert layer.input == Product(mac=32, ac=0)
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
  assert counts.encoder.elementwise == Elementwise()
  assert counts.sequences == 1


def test_two_spiking_layers_by_hand():
  # The second layer is the same and sees h of the first as its g:
  #   n = 1  c = (1, 0), (1, 0)   n = 2  c = (2, -1), (2, 0)   at t = 1, t = 2
  # c neuron, unit 1: fires at every step (u = 1, 1; 2, 3). Unit 2: n = 1 never,
  # n = 2: u = -1: -1, back to 0: 0. Five spikes. With the same o as before,
  #   h  n = 1  (1, 0), (1, 0)    n = 2  (1, -1), (1, 0)
  net = network(*[hand_layer(o=BINARY, c=TERNARY)] * 2)
  counts = count(net, X, CONFIG)
  first, second = counts.layers
  assert first == count(network(net.layers[0]), X, CONFIG).layers[0]
  assert second.input == Product(ac=5 * 8)  # 2 + 3 spikes of h
  assert second.recurrent == Product(ac=2 * 8)
  assert second.spike_rate == Sites(o=6 / 8, c=5 / 8, h=5 / 8)
  assert second.elementwise.add == 4 + 8 + 8 + 6 + 5
  assert counts.readout.product == Product(ac=3 * 2)


def test_analog_layers_by_hand():
  # N H 4H = 2 * 2 * 8 for W x and for the input of layer 2, (N - 1) H 4H for
  # U h, H K for the read-out. Element-wise, in N H = 4 updates: 5 activations,
  # i g and o phi(c); f c and an addition in the 2 of n = 2.
  for family, smooth, clip in (('standard', 20, 0), ('hard', 0, 20),
                               ('quantised', 0, 20)):
    counts = count(network(hand_layer(), hand_layer()), X, Config(family))
    for layer in counts.layers:
      assert layer.input == Product(mac=32)
      assert layer.recurrent == Product(mac=16)
      assert layer.elementwise == Elementwise(10, 2, 0, smooth, clip)
      assert layer.spike_rate == Sites()
    assert counts.readout == (Product(mac=4), Elementwise())
  hard = count(network(hand_layer()), X, Config())
  # h = o phi(c), o = (1, 1/2), never 0; g is 0 once in 4.
  assert hard.layers[0].sparsity == Sites(0, 0, 1 / 4, 0, 0, 0)


def test_an_analog_network_is_not_charged_for_the_steps_of_its_spiking_twin():
  for layers in (1, 2):
    net = network(*[hand_layer()] * layers)
    for coupling in ('step', 'rate'):
      repeated = Config(num_steps=4, coupling=coupling)
      assert count(net, X, repeated) == count(net, X, Config())


def test_spiking_layer_on_an_analog_layer():
  net = network(hand_layer(), hand_layer(o=BINARY, c=TERNARY))
  first, second = count(net, X, CONFIG).layers
  assert first.elementwise.clip == 20  # N H = 4 updates, not N T H
  assert second.input == Product(mac=32)  # the same h for t = 1, 2
  assert second.recurrent.mac == 0
  # The other way round, analog h depends on t: N T H 4H, (N - 1) T H 4H.
  net = network(*net.layers[::-1])
  first, second = count(net, X, CONFIG).layers
  assert second.input == Product(ac=5 * 8)
  assert second.recurrent == Product(mac=32)
  assert second.elementwise.clip == 40


def test_every_site_spiking_by_hand():
  # x_1 = (1, 1), x_2 = (0, 0): g spikes 1 in the 4 updates of n = 1 only. i and
  # f, drive 1, always spike. All three scale: amplitude 2, in unit 1 for f.
  doubled = lambda neuron, a: neuron._replace(amplitude=jnp.array(a))
  sites = ALL_SITES | dict(i=doubled(BINARY, 2.0),
                           f=doubled(BINARY, [2.0, 1.0]),
                           g=doubled(TERNARY, 2.0))
  x = np.array([[[1, 1]], [[0, 0]]], np.float32)
  layer = count(network(hand_layer(**sites)), x, CONFIG).layers[0]
  assert layer.spike_rate[:3] == (1, 1, 1 / 2)
  # Only amplitudes multiply: i 8 spikes, g 4, f 2 (unit 1, n = 2).
  assert layer.elementwise.multiply == 8 + 4 + 2
  assert layer.elementwise.clip == 0
  assert layer.elementwise.compare == 8 * (1 + 1 + 2 + 1 + 2)


def test_leak_multiplies_from_the_second_step_on():
  leaky = TERNARY._replace(leak=jnp.array(0.5))
  net = network(hand_layer(o=BINARY, c=leaky))
  for num_steps in (1, 2, 3):
    layer = count(net, X, Config(num_steps=num_steps))
    updates = 4 * num_steps
    assert layer.layers[0].elementwise.multiply == (updates + updates / 2 + 4 *
                                                    (num_steps - 1))


# --- Which products are accumulate-only ---------------------------------------


def operations(config=CONFIG, x=X, pools=1, **converted):
  return count(network(hand_layer(**converted), pools=pools), x, config)


@pytest.mark.parametrize('converted, multiply', [
    (dict(o=BINARY), 12),
    (dict(c=TERNARY), 12),
    (dict(i=BINARY, f=BINARY, g=TERNARY, o=BINARY), 0),
])
def test_an_operand_that_is_not_ternary_is_multiplied(converted, multiply):
  counts = operations(**converted)
  layer, readout = counts.layers[0], counts.readout
  assert layer.recurrent == Product(mac=2 * 2 * 8)  # (N - 1) T H 4H
  assert readout.product == Product(mac=4)  # once on the mean over t,
  assert readout.elementwise == Elementwise(add=2)  # which is (T - 1) H
  assert layer.spike_rate.h is None
  assert layer.elementwise.multiply == multiply  # a spike gates o phi(c)


@pytest.mark.parametrize('converted', [
    dict(h=TERNARY),
    dict(o=BINARY, h=TERNARY),
    dict(o=BINARY, c=TERNARY, h=TERNARY),
])
def test_spikes_of_h_are_accumulated(converted):
  layer = operations(**converted).layers[0]
  assert layer.recurrent.mac == 0 and layer.recurrent.ac > 0
  # o phi(c) is a product of analog values only where both are analog.
  assert layer.elementwise.multiply == 12 + (8 if len(converted) == 1 else 0)


@pytest.mark.parametrize('o, c', [(0.3, [0.7, -1.9]), ([0.1, 0.3], 0.7),
                                  ([0.1, 0.3], [0.7, 1.9])])
def test_amplitudes_may_differ_between_units(o, c):
  counts = operations(o=BINARY._replace(amplitude=jnp.array(o)),
                      c=TERNARY._replace(amplitude=jnp.array(c)))
  plain = operations(o=BINARY, c=TERNARY)
  assert counts.layers[0].recurrent == Product(ac=16)
  assert counts == plain  # the amplitudes fold into U and the read-out


def test_zero_amplitude_is_silence():
  layer = operations(o=BINARY._replace(amplitude=jnp.array([0.0, 0.0])),
                     c=TERNARY).layers[0]
  assert layer.recurrent == Product()
  assert layer.spike_rate.h == 0 and layer.spike_rate.o == 6 / 8


@pytest.mark.parametrize(
    'change',
    [
        lambda h: 1.5 * h,
        # One unit of sequence 2 only: where it fires, and where it may not.
        lambda h: h.at[..., 1, 0].set(0.25),
        lambda h: h.at[..., 1, 1].set(0.25),
    ])
def test_values_decide_not_the_configuration(monkeypatch, change):
  apply = model.apply

  def faulty(params, x, config, executor, observe):
    return apply(
        params, x, config, executor, lambda record: observe(
            record._replace(output=record.output._replace(h=change(record.output
                                                                   .h)))))

  monkeypatch.setattr(model, 'apply', faulty)
  layer = operations(x=np.tile(X, (1, 2, 1)), o=BINARY, c=TERNARY).layers[0]
  assert layer.recurrent == Product(mac=32)
  assert layer.spike_rate.h is None and layer.spike_rate.o == 6 / 8


def test_rates_are_multiplied():
  rate = dataclasses.replace(CONFIG, coupling='rate')
  counts = operations(rate, o=BINARY, c=TERNARY)
  layer = counts.layers[0]
  assert layer.recurrent == Product(mac=16)  # once an element
  assert counts.readout == (Product(mac=4), Elementwise())
  # i g, o c in the N H = 4 updates, f c in 2. The drives are those above but
  # for c at n = 2: the same spikes. Neurons take all T steps.
  assert layer.elementwise == Elementwise(multiply=10,
                                          add=2 + 8 + 8 + 6 + 7,
                                          compare=24,
                                          clip=12)
  assert layer.spike_rate == Sites(o=6 / 8, c=7 / 8)
  silent = operations(rate, x=0 * X, o=BINARY, c=TERNARY)
  assert silent.layers[0].recurrent == Product(mac=16)


def test_one_step_is_the_same_in_both_couplings():
  step, rate = (operations(Config(coupling=coupling), o=BINARY, c=TERNARY)
                for coupling in ('step', 'rate'))
  assert rate == step
  assert rate.layers[0].recurrent.mac == 0


def test_silence_costs_no_products():
  net = network(*[hand_layer(o=BINARY, c=TERNARY)] * 2)
  zero = np.zeros_like(X)
  first, second = count(net, zero, CONFIG).layers
  assert first.input == Product(mac=32) and first.recurrent == Product()
  assert second.input == second.recurrent == Product()
  net = net._replace(encoder=net.encoder._replace(neuron=TERNARY))
  counts = count(net, zero, CONFIG)
  assert counts.layers[0].input == counts.readout.product == Product()
  assert counts.encoder.spike_rate == 0


def test_spiking_encoder():
  # x = (1, 1/4), (0, -1): the neuron spikes 1 1, 0 1, 0 0, -1 -1.
  net = network(hand_layer(o=BINARY, c=TERNARY))
  amplitude = jnp.array([0.3, 0.7])
  net = net._replace(encoder=net.encoder._replace(neuron=TERNARY._replace(
      amplitude=amplitude)))
  counts = count(net, X, CONFIG)
  assert counts.layers[0].input == Product(ac=5 * 8)
  assert counts.encoder.spike_rate == 5 / 8
  # N T D steps and resets, N D subtractions of the mean; two comparisons each.
  assert counts.encoder.elementwise == Elementwise(add=8 + 5 + 4, compare=16)
  rate = count(net, X, dataclasses.replace(CONFIG, coupling='rate'))
  assert rate.layers[0].input == Product(ac=5 * 8)
  assert rate.encoder == counts.encoder
  # x = 1/4 spikes 0 1 0 0 in four steps, 1 and -1 in all, which T = 2 share.
  shared = count(net, X, dataclasses.replace(CONFIG, encoder_steps=4))
  assert shared.layers[0].input == Product(ac=(4 + 1 + 4) * 8)
  assert shared.encoder.spike_rate == 9 / 16
  # An analog layer upon it is the same at every t: U h once, of h_1.
  analog = net._replace(layers=(hand_layer(),))
  analog = count(analog, X, dataclasses.replace(CONFIG, encoder_steps=4))
  assert analog.layers[0].recurrent == Product(mac=2 * 8)


def test_one_level_source_is_credited_as_its_spiking_twin():
  """With Q = T = 1 both are the same function, so both may accumulate."""
  source = operations(Config('quantised', levels=1))
  twin = operations(Config(), **ALL_SITES)
  assert source.layers[0].recurrent == twin.layers[0].recurrent
  assert source.layers[0].recurrent.mac == 0
  assert source.layers[0].elementwise == Elementwise(add=2, clip=20)
  assert source.readout == twin.readout
  two = operations(Config('quantised', levels=2)).layers[0]
  assert two.recurrent.ac == 0 and two.elementwise.multiply == 10


def test_pooling():
  spiking = dict(o=BINARY, c=TERNARY)
  pooled = lambda names, **sites: operations(
      Config(num_steps=2, pooling=names), pools=len(names), **sites).readout
  # h has 5 spikes; N T H = 8 values if analog.
  assert pooled(('mean',), **spiking) == (Product(mac=4), Elementwise(add=5))
  assert pooled(('max',),
                **spiking) == (Product(mac=4), Elementwise(add=5, compare=2))
  assert pooled(('mean',), o=BINARY) == (Product(mac=4), Elementwise(add=6))
  assert pooled(('max',),
                o=BINARY) == (Product(mac=4), Elementwise(add=4, compare=2))
  assert pooled(('max', 'last', 'mean'),
                **spiking) == (Product(mac=8,
                                       ac=6), Elementwise(add=10, compare=2))


def test_a_single_element_has_no_recurrent_product():
  for sites in ({}, dict(o=BINARY, c=TERNARY)):
    layer = operations(x=X[:1], **sites).layers[0]
    assert layer.recurrent == Product()
    assert layer.elementwise.add == (8 + 3 + 3 if sites else 0)


# --- A recount of random networks and of real data ----------------------------


def recount(params, config, x, encoded, result):
  """Every operation of every update, one by one, in plain loops.

  Args:
    params, config: the network; T > 1 with coupling 'rate'.
    x: raw input, [N, B, D].
    encoded: what the first layer sees, [N, S, B, D].
    result: lists over layers of `output`, `drive` and `spikes`: dicts from
      site to [N, T, B, H], as `oracle.run` returns them.

  Returns:
    Mean operations a sequence, by (place, kind).
  """
  total = collections.Counter()
  rate, shared = config.coupling == 'rate', config.coupling == 'shared'

  def neuron_work(place, neuron, unit, ternary, spikes):
    """`spikes`: whether it fired at each of the steps of one element."""
    leak = neuron.leak is not None
    for t, fired in enumerate(spikes):
      total[place, 'add'] += 1 + bool(fired)
      total[place, 'compare'] += 2 if ternary else 1
      total[place, 'multiply'] += 1 if leak and t > 0 else 0
      total[place, f'spikes {unit}'] += bool(fired)

  def is_ternary(values, amplitude):
    return all(
        np.isin(values[..., j], [-amplitude[j], 0, amplitude[j]]).all()
        for j in range(values.shape[-1]))

  def product(place, operand, spiking, outputs):
    for value in operand.ravel():
      if not spiking:
        total[place, 'mac'] += outputs
      elif value != 0:
        total[place, 'ac'] += outputs

  params, x, encoded = jax.tree.map(np.asarray, (params, x, encoded))
  num_elements, batch, features = x.shape
  neuron = params.encoder.neuron
  operand, spiking = encoded, False
  if neuron is not None:
    trains = np.zeros((num_elements, config.input_steps, batch, features))
    for n in range(num_elements):
      for b in range(batch):
        for j in range(features):
          total['encoder', 'add'] += 1
          d = (x[n, b, j] - params.encoder.mean[j]) / params.encoder.std[j]
          v, spikes = np.float32(neuron.v_0), []
          for _ in range(config.input_steps):
            v, s = oracle.lif_step(neuron, v, np.float32(d), True)
            spikes.append(s)
          neuron_work('encoder', neuron, 'x', True, spikes)
          trains[n, :, b, j] = spikes
    operand, spiking = trains, True

  for index, layer in enumerate(params.layers):
    output, drive, fired = (
        part[index] for part in (result.output, result.drive, result.spikes))
    h = output['h']
    hidden = h.shape[-1]
    converted = set(layer.neurons.present)
    product((index, 'input'), operand, spiking, 4 * hidden)
    unit_amplitude = {
        site:
            np.broadcast_to(np.asarray(getattr(layer.neurons, site).amplitude),
                            (hidden,)) for site in converted
    }
    spiking = False
    if not rate and 'h' in converted:
      spiking = is_ternary(h, unit_amplitude['h'])
    elif not rate and {'o', 'c'} <= converted:
      spiking = is_ternary(h, unit_amplitude['o'] * unit_amplitude['c'])
    operand = h
    if shared and not spiking:  # the mean over t enters a product
      operand = h[:, :1]
      total[index, 'add'] += (h.size - operand.size) * bool(converted)
    product((index, 'recurrent'), operand[:-1], spiking, 4 * hidden)

    gates = set() if rate else converted
    for n, t, b, j in np.ndindex(*h.shape):
      again = shared and t > 0  # gates see what they saw at t = 1
      varies = not again or bool(converted & {'i', 'f', 'g'})
      for site in ('' if again else 'ifgo') + ('c' if varies else ''):
        if site not in converted:
          smooth = config.family == 'standard'
          total[index, 'smooth' if smooth else 'clip'] += 1
      if not again:
        total[index, 'multiply'] += n > 0 and 'f' not in gates
        total[index, 'multiply'] += not gates & {'i', 'g'}
      if varies:
        total[index, 'add'] += n > 0
        total[index, 'multiply'] += not gates & {'o', 'c'}
      total[index, 'add'] += again and varies and n < num_elements - 1
      for site in converted & {'i', 'f', 'g'}:
        if output[site][n, t, b, j] != 0 and unit_amplitude[site][j] != 1:
          total[index, 'multiply'] += site != 'f' or n > 0
    for site in converted:
      ternary = oracle.TERNARY[site]
      neuron = oracle.cast(getattr(layer.neurons, site), np.float32)
      for n, b, j in np.ndindex(num_elements, batch, hidden):
        if rate:  # the drive is the same for every step
          mine = neuron._replace(
              **{
                  k: np.broadcast_to(v, (hidden,))[j]
                  for k, v in neuron._asdict().items()
                  if v is not None
              })
          v, spikes = mine.v_0, []
          for _ in range(config.num_steps):
            v, s = oracle.lif_step(mine, v, drive[site][n, 0, b, j], ternary)
            spikes.append(s)
        else:
          spikes = fired[site][n, :, b, j]
        neuron_work(index, neuron, site, ternary, spikes)

  for pool in config.pooling:
    last = operand[-1:] if pool == 'last' else operand
    if pool == 'last' and spiking:
      product('readout', last, True, params.readout.b.size)
      continue
    slots, hidden = operand.shape[1], operand.shape[3]
    total['readout', 'mac'] += batch * hidden * params.readout.b.size
    if pool == 'max':
      total['readout', 'compare'] += batch * (num_elements - 1) * hidden
    if spiking:
      total['readout', 'add'] += int((last != 0).sum())
    else:
      rows = slots if pool != 'mean' else num_elements * slots
      groups = num_elements if pool == 'max' else 1
      total['readout', 'add'] += groups * (rows - 1) * batch * hidden
  return {key: value / batch for key, value in total.items() if value}


def flatten(counts, num_elements, config, params):
  """Counts in the form of `recount`."""
  flat = {}

  def put(place, tree, names=None):
    for name, value in (names or tree._asdict()).items():
      if value:
        flat[place, name] = value

  put('encoder', counts.encoder.elementwise)
  steps = num_elements * config.num_steps
  if counts.encoder.spike_rate:
    features = params.encoder.mean.size
    trains = num_elements * config.input_steps * features
    flat['encoder', 'spikes x'] = counts.encoder.spike_rate * trains
  for index, layer in enumerate(counts.layers):
    put((index, 'input'), layer.input)
    put((index, 'recurrent'), layer.recurrent)
    put(index, layer.elementwise)
    for site in params.layers[index].neurons.present:
      rate = getattr(layer.spike_rate, site)
      hidden = params.layers[index].b.i.size
      if rate:
        flat[index, f'spikes {site}'] = rate * steps * hidden
  put('readout', counts.readout.product)
  put('readout', counts.readout.elementwise)
  return flat


CASES = [
    # converted sites of each layer, encoder_steps or None for an analog input,
    # T, coupling, pooling
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
    (('oc', 'ifgoc'), 0, 2, 'rate', ('last', 'mean')),
    (('ich', 'gh'), None, 2, 'rate', ('max',)),
    (('oc', 'gh'), 4, 2, 'rate', ('max',)),
]


@pytest.mark.parametrize('sites, encoding, num_steps, coupling, pooling', CASES)
def test_recount_of_the_oracle(sites, encoding, num_steps, coupling, pooling):
  rng = np.random.default_rng(len(sites) + num_steps)
  layers = networks.dyadic_layers(rng, sites)
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
  params = Params(
      Encoder(jnp.full((networks.FEATURES,), 0.5),
              jnp.full((networks.FEATURES,), 0.5), neuron), layers,
      Readout(jnp.ones((len(pooling) * networks.HIDDEN, 3)), jnp.zeros(3)))
  x = networks.dyadic_input(rng, 4, 4)
  encoded = oracle.encode(params.encoder, x, config, np.float32)
  result = oracle.apply(params, x, config, np.float32).result
  expected = recount(params, config, x, encoded, result)
  counts = count(params, x, config, batch_size=2)
  assert flatten(counts, 4, config, params) == pytest.approx(expected)


def random_layer(rng, features, hidden, sites):
  normal = lambda *shape: Gates(*rng.standard_normal((4, *shape)).astype('f4'))
  return Layer(
      normal(features, hidden), normal(hidden, hidden), normal(hidden),
      Sites(
          **{
              site: networks.dyadic_neuron(rng, site in 'gch', (hidden,))
              for site in sites
          }))


@pytest.mark.parametrize('num_steps, sites, family, executor', [
    (1, '', 'standard', 'sequential'),
    (2, 'oc', 'hard', 'stacked'),
    (2, 'ifgoc', 'hard', 'wavefront'),
])
def test_recount_of_real_data(num_steps, sites, family, executor):
  x = np.moveaxis(data.load_embedded()['train'].x[::1800], 0, 1)
  config = Config(family, num_steps=num_steps, pooling=('last', 'mean'))
  rng = np.random.default_rng(0)
  layers = (random_layer(rng, 9, 6, sites), random_layer(rng, 6, 5, sites))
  params = network(*layers, pools=2, num_classes=6)
  records = jax.jit(lambda params, x: model.apply(
      params, x, config, observe=lambda record: record))(params, x)
  as_dicts = lambda part: [{
      site: np.asarray(leaf)
      for site, leaf in getattr(record, part)._asdict().items()
      if leaf is not None
  }
                           for record in records.observed]
  result = builtin_types.SimpleNamespace(output=as_dicts('output'),
                                         drive=as_dicts('drive'),
                                         spikes=as_dicts('spikes'))
  expected = recount(params, config, x, x[:, None], result)
  counts = counts_lib.count_operations(params, x, config, executor)
  assert counts.sequences == x.shape[1] > 4
  assert flatten(counts, 128, config, params) == pytest.approx(expected)
  for layer, output in zip(counts.layers, result.output):
    sparsity = {site: np.mean(value == 0) for site, value in output.items()}
    assert layer.sparsity._asdict() == pytest.approx(sparsity)


# --- Invariants ---------------------------------------------------------------


def test_counts_are_means_however_they_are_batched():
  rng = np.random.default_rng(0)
  net = network(*networks.gaussian_layers(rng, ('ioc',)))
  x = rng.standard_normal((6, 7, networks.FEATURES))
  count_jitted = lambda x, batch_size: counts_lib.count_operations(
      net, x, CONFIG, batch_size=batch_size)
  whole = count_jitted(x, 3)  # 3, 3 and 1
  assert whole.sequences == 7
  assert count_jitted(x, 1) == whole
  assert count_jitted(jnp.asarray(x[:, ::-1]), 3) == whole
  singles = [
      jax.tree.leaves(count_jitted(x[:, b:b + 1], 1)._replace(sequences=7))
      for b in range(7)
  ]
  assert jax.tree.leaves(whole) == pytest.approx(np.mean(singles, 0))


def test_compiles_once_for_each_batch_shape():
  net = network(hand_layer())
  x = np.zeros((1, 5, 2), np.float32)
  before = activity._watch._cache_size()
  counts_lib.count_operations(net, x, Config(), batch_size=2)
  assert activity._watch._cache_size() - before == 2  # of 2, 2 and 1


def test_sums_are_exact_beyond_float32():
  """2^24 + 1 spikes: float32 would lose one."""
  seen = np.full((2, 1, 1), 2**23, np.int32)
  seen[0] += 1
  operand = counts_lib._Operand(seen, True)
  assert counts_lib._product(operand, 3, 1).ac == 3 * (2**24 + 1)
  many = counts_lib._Operand(np.full((4, 1, 1), 2**30, np.int32), True)
  assert counts_lib._product(many, 1, 1).ac == 2.0**32


# --- Errors -------------------------------------------------------------------


@pytest.mark.parametrize('x, message', [
    (X[0], r'x has shape \(1, 2\); expected \[N, B, D\]'),
    (X[:, :0], r'x has shape \(2, 0, 2\)'),
    (X[:0], r'x has shape \(0, 1, 2\)'),
    (np.where(X == 1, np.nan, X), 'x has NaN or infinite'),
    (np.where(X == 1, -np.inf, X), 'x has NaN or infinite'),
    (np.ones((2, 1, 3)), r'x has shape \(2, 1, 3\).*D = 2'),
])
def test_bad_input(x, message):
  with pytest.raises(ValueError, match=message):
    counts_lib.count_operations(network(hand_layer()), x, CONFIG)


def test_other_bad_arguments():
  net = network(hand_layer())
  with pytest.raises(ValueError, match='batch_size is 0'):
    counts_lib.count_operations(net, X, CONFIG, batch_size=0)
  with pytest.raises(ValueError, match="executor is 'fast'"):
    counts_lib.count_operations(net, X, CONFIG, executor='fast')
  broken = net._replace(layers=(net.layers[0]._replace(u=Gates(
      *(jnp.full((2, 2), jnp.nan),) * 4)),))
  with pytest.raises(ValueError, match='layer 0 is not finite'):
    counts_lib.count_operations(broken, X, CONFIG)
