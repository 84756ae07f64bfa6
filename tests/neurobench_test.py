"""Counts of operations and sparsity, against those of NeuroBench.

NeuroBench watches what goes into the layers of a torch module. Where all of it
is -1, 0 or 1 it counts an effective AC for each pair of an input and a weight
that are not zero, else an effective MAC. It takes a network as it is written;
our rules take it as it is best run. So a `Shell` of torch layers replays what
enters each product, from what our network was seen to do, in this form:

  spikes     -1, 0 and 1; their amplitudes are in the weights
  sums       k times an amplitude is |k| spikes, one after the other
  changes    x_n - x_{n-1} enters, two spikes where a neuron that sent -1 sends
             1, and the products are added up over n
  raw input  mean and std are in the weights and in the bias

A test makes sure that these products give what our network computed. The last
tests count networks as they are written, among them torch's own LSTM cell, and
name each term by which that is another number than ours.

Source: Yik et al., "The NeuroBench framework for benchmarking neuromorphic
computing algorithms and systems", Nature Communications 16, 2025.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import model as model_lib
from slstm import operations
from slstm import types
from slstm.operations import Product
from slstm.sigma_delta import sigma_delta
from slstm.types import Encoder, Model, Readout, Sites
from tests import networks

REASON = "compares with NeuroBench: pip install 'slstm[neurobench]'"
torch = pytest.importorskip('torch', reason=REASON)
benchmarks = pytest.importorskip('neurobench.benchmarks', reason=REASON)
models = pytest.importorskip('neurobench.models', reason=REASON)
workload = pytest.importorskip('neurobench.metrics.workload', reason=REASON)
Module: Any = torch.nn.Module

B, N, D, H, K = 3, 6, networks.FEATURES, networks.HIDDEN, 2
MOST = 7  # spikes that one value may stand for
CLOSE: Any = dict(rtol=1e-4, atol=1e-4)
METRICS = [
    # The last one does not say that it needs hooks: another has to stand first.
    workload.SynapticOperations,
    workload.ActivationSparsity,
    workload.ActivationSparsityByLayer,
]

# --- What NeuroBench counts ---------------------------------------------------


class Operand(NamedTuple):
  """What enters a product, and how the outputs of that are put together.

  Attributes:
    values: [N, S, B, F]; there is one product for each n and s.
    weights: [F, M].
    apart: T if each of T steps has its own sum of outputs, else 1.
    running: whether the sums of all elements so far are added up.
  """
  values: Any
  weights: Any
  apart: int = 1
  running: bool = False


class Site(Module):
  """A place whose output NeuroBench looks at."""

  def forward(self, values):
    return values


class Shell(Module):
  """Replays what enters products, and what sites put out [N, S, B, F]."""

  def __init__(self, operands, sites=None):
    super().__init__()
    self.operands, self.put_out = operands, sites or {}
    layers = {k: linear(operand.weights) for k, operand in operands.items()}
    self.products = torch.nn.ModuleDict(layers)
    self.sites = torch.nn.ModuleDict({name: Site() for name in self.put_out})

  def forward(self, sequences):
    """What each product gives for some of the sequences, [N, apart, B, M]."""
    for name, values in self.put_out.items():
      for step in tensor(values)[:, :, sequences].flatten(0, 1):
        self.sites[name](step)
    made = {}
    for name, (values, _, apart, running) in self.operands.items():
      values = tensor(values)[:, :, sequences]
      out = torch.stack([self.products[name](v) for v in values.flatten(0, 1)])
      out = out.reshape(len(values), apart, -1, *out.shape[1:]).sum(2)
      made[name] = out.cumsum(0) if running else out
    return made


def tensor(array):
  return torch.tensor(np.array(array, np.float32))


def linear(weights, bias=None):
  layer = torch.nn.Linear(*weights.shape, bias=bias is not None)
  layer.weight.data = tensor(weights.T)
  if bias is not None:
    layer.bias.data = tensor(bias)
  return layer


def report(module, x=None):
  """What NeuroBench says of a module: means per sequence."""
  x = torch.arange(B) if x is None else tensor(x)
  pairs = torch.utils.data.TensorDataset(x, torch.zeros(B))
  batches = torch.utils.data.DataLoader(pairs, batch_size=2)
  model = models.TorchModel(module)
  model.add_activation_module(Site)
  with torch.no_grad():
    return benchmarks.Benchmark(model, batches, [], [],
                                [[], METRICS]).run(quiet=True)


def count(module, x=None):
  """Effective operations per sequence."""
  found = report(module, x)['SynapticOperations']
  return Product(found['Effective_MACs'], found['Effective_ACs'])


def count_operand(operand):
  return count(Shell({'product': operand}))


# --- What enters the products of a network ------------------------------------


class Sent(NamedTuple):
  """What the input or a layer hands on.

  Attributes:
    k: [N, S, B, F]: spikes, or their sum up to n; else analog values.
    scale: [F], what k is multiplied by.
    spikes: whether k are integers, as the former are.
    apart: T if each of T steps sees its own, else 1.
  """
  k: Any
  scale: Any
  spikes: bool = True
  apart: int = 1

  @property
  def proves_something(self):
    """Whether an active unit has at least two values that are not zero."""
    used = self.k != 0
    return used.sum() >= 2 * used.any((0, 1, 2)).sum()


def as_spikes(k):
  """Integers [N, S, B, F] as |k| spikes, one after the other."""
  place = np.arange(max(1, int(abs(k).max())))[:, None, None]
  trains = np.sign(k)[:, :, None] * (abs(k)[:, :, None] > place)
  return trains.reshape(len(k), -1, *k.shape[2:])


def ways(sent, weights):
  """Operands of a product: what is sent as it is, and by its change."""
  k, weights = sent.k, sent.scale[:, None] * weights
  spell = as_spikes if sent.spikes else np.asarray
  found = {'values': Operand(spell(k), weights, sent.apart)}
  if sent.apart == 1:
    change = np.diff(k.sum(1, keepdims=True), axis=0, prepend=0)
    found['change'] = Operand(spell(change), weights, running=True)
  return found


def cheapest(sent):
  """Our choice, by what NeuroBench counts: of spikes, the way that has fewer.

  Of analog values it is the change only if that has less than half of them.
  """
  assert sent.proves_something
  assert not sent.spikes or abs(sent.k).max() <= MOST
  found = ways(sent, np.ones((len(sent.scale), 1)))
  counts = {way: sum(count_operand(operand)) for way, operand in found.items()}
  if not sent.spikes:
    counts['change'] *= 2
  return min(counts, key=lambda way: counts[way])


def in_lowest_terms(sent):
  """Sums as a few times one number for each unit; else they are analog."""
  common = np.maximum(1, np.gcd.reduce(sent.k.astype(int), axis=(0, 1, 2)))
  few = sent._replace(k=sent.k / common, scale=sent.scale * common)
  if few.proves_something and abs(few.k).max() <= MOST:
    return few
  return Sent(sent.k * sent.scale, np.ones_like(sent.scale), spikes=False)


class Seen(NamedTuple):
  """A network, our counts of it, and what it did."""
  model: Any  # of NumPy arrays
  x: Any
  counts: Any
  forward: Any
  sent: Any  # by the input, and by each layer

  def products(self, *taken):
    """Operands of W and U; `taken` says how each of `sent` is taken."""
    found = {}
    for i, layer in enumerate(self.model.layers):
      h = self.sent[i + 1]
      h = h._replace(k=np.concatenate([0 * h.k[:1], h.k[:-1]]))  # h_{n-1}
      found[f'w{i}'] = ways(self.sent[i], fuse(layer.w))[taken[i]]
      found[f'u{i}'] = ways(h, fuse(layer.u))[taken[i + 1]]
    return found

  def readouts(self, taken):
    """Operands of the read-out, by pooling; `taken` says how h is taken.

    It sees the mean of all steps; but of the last element each step of spikes,
    where these are taken as they are.
    """
    h, found = self.sent[-1], {}
    pooling, w = self.model.config.pooling, self.model.readout.w
    for name, weights in zip(pooling, np.split(w, len(pooling))):
      k = h.k[-1:] if name == 'last' else h.k
      seen = Sent(k, h.scale / (len(k) * k.shape[1]), h.spikes)
      if not h.spikes or name != 'last' or taken == 'change':
        seen = seen._replace(k=k.sum((0, 1), keepdims=True))
        seen = in_lowest_terms(seen) if h.spikes else seen
      found[name] = ways(seen, weights)['values']
    return found

  @property
  def counted(self):
    """Our counts, by the names of `products`."""
    return {
        f'{name}{i}': each for i, layer in enumerate(self.counts.layers)
        for name, each in (('w', layer.input), ('u', layer.recurrent))
    }

  def biases(self, layer):
    """Where the accumulators of a layer start, [4H]."""
    b, encoder = fuse(self.model.layers[layer].b), self.model.encoder
    if layer > 0 or encoder.neuron is not None:
      return b
    return b - (encoder.mean / encoder.std) @ fuse(self.model.layers[0].w)


def fuse(gates):
  return np.concatenate(gates, -1)


def input_of(model, x, encoded):
  """What the input sends."""
  neuron, ones = model.encoder.neuron, np.ones(D)
  if neuron is None:
    k = np.moveaxis(x, 1, 0)[:, None]
    return Sent(k, 1 / model.encoder.std, spikes=False)
  spikes = np.asarray(encoded.spikes)
  if hasattr(neuron, 'theta'):
    return Sent(spikes.cumsum(0), ones * neuron.theta)
  if model.config.encoder_steps:  # the mean of them in every step
    return Sent(spikes, ones * neuron.amplitude / spikes.shape[1])
  return Sent(spikes, ones * neuron.amplitude, apart=spikes.shape[1])


def output_of(layer, record):
  """What a layer sends."""
  at, ones = layer.neurons, np.ones(H)
  if at.h is not None:
    return Sent(record.spikes.h.cumsum(0), ones * at.h.theta)
  if at.present:
    steps = record.spikes_of_h.shape[1]
    scale = ones * at.o.amplitude * at.c.amplitude
    return Sent(record.spikes_of_h, scale, apart=steps)
  return Sent(record.output.h, ones, spikes=False)


def see(model, x):
  """Runs a network, and counts it."""
  with jax.disable_jit():  # compiling such small ones takes longer
    forward = model_lib.apply(model, x, observe=lambda record: record)
    counts = operations.count_operations(model, x)
  model, forward = jax.tree.map(np.asarray, (model, forward))
  sent = [input_of(model, x, forward.encoded)]
  sent += map(output_of, model.layers, forward.observed)
  return Seen(model, x, counts, forward, sent)


def network(sites, *, neuron=None, **config):
  """Random weights, none of them zero, and amplitudes, none of them one.

  Args:
    sites: converted ones of each layer; 'D' is a sigma-delta neuron at h.
    neuron: at the input: None, 'LIF' or 'D'.
    **config: of `types.Config`.
  """
  rng = np.random.default_rng(0)
  normal = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
  fainter = lambda lif: lif._replace(amplitude=0.9 * lif.amplitude)
  layers = [*networks.gaussian_layers(rng, [s.strip('D') for s in sites])]
  for index, names in enumerate(sites):
    at_sites = Sites(*(n and fainter(n) for n in layers[index].neurons))
    at_sites = Sites(h=sigma_delta(0.3)) if names == 'D' else at_sites
    layers[index] = layers[index]._replace(neurons=at_sites)
  at_input = dict(LIF=fainter(networks.dyadic_neuron(rng, True, (D,))),
                  D=sigma_delta(0.6))
  std = jnp.asarray(rng.uniform(0.5, 1.5, D), jnp.float32)
  encoder = Encoder(normal(D), std, at_input.get(neuron))
  config = types.Config(**dict(pooling=('last', 'mean')) | config)
  readout = Readout(normal(H * len(config.pooling), K), normal(K))
  return Model(encoder, tuple(layers), readout, config)


def random_input(hold=1):
  """[B, N, D], of which a third is zero, but for feature 0.

  Args:
    hold: for how many elements it stands still.
  """
  rng = np.random.default_rng(1)
  x = 2 * rng.standard_normal((B, N // hold, D)).astype(np.float32)
  x[..., 1:] *= rng.random((B, N // hold, D - 1)) > 1 / 3
  return np.repeat(x, hold, 1)


CASES = {
    'LSTM':
        dict(sites=('', ''), family='standard'),
    'hard LSTM':
        dict(sites=('', '')),
    'LSTM, x stands still':
        dict(sites=('',), family='standard', hold=3),
    'LIF, T = 2':
        dict(sites=('oc', 'oc'), num_steps=2),
    'LIF, T = 1':
        dict(sites=('oc', 'oc')),
    'LIF, T = 1, x stands still':
        dict(sites=('oc',), hold=3),
    'sigma-delta':
        dict(sites=('D', 'D')),
    'LIF at the input':
        dict(sites=('oc', 'oc'), neuron='LIF', num_steps=2),
    'three steps at the input':
        dict(sites=('oc',), neuron='LIF', num_steps=2, encoder_steps=3),
    'sigma-delta at the input':
        dict(sites=('D', 'D'), neuron='D'),
}


@functools.cache
def case(name):
  config = dict(CASES[name])
  x = random_input(config.pop('hold', 1))
  return see(network(**config), x)


def add_up(products):
  return Product(*map(sum, zip(*products)))


# --- The counts are those of NeuroBench ---------------------------------------


@pytest.mark.parametrize('name', CASES)
def test_products(name):
  seen = case(name)
  taken = [*map(cheapest, seen.sent)]
  products, readouts = seen.products(*taken), seen.readouts(taken[-1])
  found = {k: count_operand(operand) for k, operand in products.items()}
  assert found == seen.counted
  found = add_up(map(count_operand, readouts.values()))
  assert found == pytest.approx(seen.counts.readout.product)
  # And of the network as a whole.
  whole = add_up([*seen.counted.values(), seen.counts.readout.product])
  assert count(Shell(products | readouts)) == pytest.approx(whole)


@pytest.mark.parametrize('name', CASES)
def test_activity(name):
  """Zeros of sites, and spikes, which are what is not zero of their trains."""
  seen = case(name)
  sites, expected = {}, {}
  for i, record in enumerate(seen.forward.observed):
    layer = seen.counts.layers[i]
    for site, zeros in layer.sparsity._asdict().items():
      sites[f'{site}{i}'] = getattr(record.output, site)
      expected[f'{site}{i}'] = zeros
    trains = record.spikes._replace(h=record.spikes_of_h)
    assert layer.spike_rate.present == trains.present
    for site in trains.present:
      sites[f'spikes {site}{i}'] = getattr(trains, site)
      expected[f'spikes {site}{i}'] = 1 - getattr(layer.spike_rate, site)
  if seen.forward.encoded.spikes is not None:
    sites['input'] = seen.forward.encoded.spikes
    expected['input'] = 1 - seen.counts.encoder.spike_rate
  found = report(Shell({}, sites))
  assert found['ActivationSparsityByLayer'] == pytest.approx(expected)
  sizes = [values.size for values in sites.values()]
  mean = np.average([*expected.values()], weights=sizes)
  assert found['ActivationSparsity'] == pytest.approx(mean)


@pytest.mark.parametrize('way', ['values', 'change'])
@pytest.mark.parametrize('name', CASES)
def test_the_shell_computes_the_network(name, way):
  """What is replayed is what entered: it gives the same z and outputs."""
  seen = case(name)
  taken = [way if sent.apart == 1 else 'values' for sent in seen.sent]
  products, readouts = seen.products(*taken), seen.readouts(taken[-1])
  with torch.no_grad():
    made = Shell(products | readouts)(torch.arange(B))
  made = {name: out.numpy() for name, out in made.items()}
  slope = seen.model.config.slope
  for i, record in enumerate(seen.forward.observed):
    z = made[f'w{i}'] + made[f'u{i}'] + seen.biases(i)
    drive = record.drive._asdict()
    expected = [
        drive[k] if k == 'g' else 2 * slope * (drive[k] - 0.5) for k in 'ifgo'
    ]
    np.testing.assert_allclose(z, fuse(expected), **CLOSE)
  outputs = sum(made[name][-1, 0] for name in readouts) + seen.model.readout.b
  np.testing.assert_allclose(outputs, seen.forward.outputs, **CLOSE)


# --- Networks as they are written ---------------------------------------------


class Cells(Module):
  """An LSTM of torch's cells, with the weights of ours."""

  def __init__(self, seen):
    super().__init__()
    self.cells = torch.nn.ModuleList()
    for i, (w, u, _, _) in enumerate(seen.model.layers):
      w, u = fuse(w), fuse(u)
      cell = torch.nn.LSTMCell(len(w), H)
      w = w / seen.model.encoder.std[:, None] if i == 0 else w
      cell.weight_ih.data, cell.weight_hh.data = tensor(w.T), tensor(u.T)
      cell.bias_ih.data = tensor(seen.biases(i))
      cell.bias_hh.data = torch.zeros(4 * H)
      self.cells.append(cell)
    self.readout = linear(seen.model.readout.w, seen.model.readout.b)

  def forward(self, x):
    states = [(torch.zeros(len(x), H),) * 2 for _ in self.cells]
    last = []
    for n in range(N):
      h = x[:, n]
      for i, cell in enumerate(self.cells):
        states[i] = cell(h, states[i])
        h = states[i][0]
      last.append(h)
    return self.readout(torch.cat([h, torch.stack(last).mean(0)], -1))


def test_an_lstm_of_torch():
  """For a cell, NeuroBench counts f c, i g and o phi(c) as MACs, too."""
  seen = case('LSTM')
  lstm = Cells(seen)
  with torch.no_grad():
    outputs = lstm(tensor(seen.x))
  np.testing.assert_allclose(outputs, seen.forward.outputs, **CLOSE)
  products = add_up([*seen.counted.values(), seen.counts.readout.product])
  multiply = sum(layer.elementwise.multiply for layer in seen.counts.layers)
  assert products.ac == 0
  assert count(lstm, seen.x) == pytest.approx((products.mac + multiply, 0))


def written(values, weights):
  """Count of a product with values [N, S, B, F] as they are."""
  return count_operand(Operand(np.asarray(values), weights))


def nonzeros(values, outputs):
  """Operations per sequence if each value that is not zero costs `outputs`."""
  return np.count_nonzero(values) * outputs / B


def test_a_lif_network_as_it_is_written():
  """x, standardised, in each step; what h is; and the mean of its steps."""
  model = network(('oc',), num_steps=2, pooling=('last',))
  seen = see(model, random_input())
  layer, drive = seen.model.layers[0], seen.forward.encoded.drive
  # W x: where x is 0, x - mean is not; and all of it is multiplied in step 2.
  zeros, again = nonzeros(seen.x == 0, 4 * H), nonzeros(drive, 4 * H)
  found = written(np.stack([drive] * 2, 1), fuse(layer.w))
  assert zeros > 0
  assert found == pytest.approx((seen.counted['w0'].mac + zeros + again, 0))
  # U h: as many, but amplitudes are in h, so NeuroBench sees no spikes.
  h = seen.forward.observed[0].output.h
  found = written(h[:-1], fuse(layer.u))
  assert found == pytest.approx((seen.counted['u0'].ac, 0))
  # The read-out: the steps of h_N are added up before they are multiplied.
  mean = h[-1:].mean(1, keepdims=True)
  merged = nonzeros(h[-1], K) - nonzeros(mean, K)
  found = written(mean, seen.model.readout.w)
  assert merged > 0
  assert found == pytest.approx((seen.counts.readout.product.ac - merged, 0))


def test_a_sigma_delta_network_as_it_is_written():
  """The sum is multiplied, also where it stands still."""
  seen = case('sigma-delta')
  record = seen.forward.observed[0]
  h, spikes = record.output.h[:-1], record.spikes.h[:-1]
  still = nonzeros((h != 0) & (spikes == 0), 4 * H)
  back = nonzeros((h == 0) & (spikes != 0), 4 * H)  # to zero
  assert still > 0 and back > 0
  assert written(h, fuse(seen.model.layers[0].u)) == pytest.approx(
      (seen.counted['u0'].ac + still - back, 0))


def test_weights_that_are_zero():
  """NeuroBench skips them. We do not: rows are stored and fetched whole."""
  model, rng = network(('oc',), num_steps=2), np.random.default_rng(2)
  thinned = lambda leaf: leaf * (rng.random(leaf.shape) < 0.7)
  w, u = jax.tree.map(thinned, (model.layers[0].w, model.layers[0].u))
  layer = model.layers[0]._replace(w=w, u=u)
  seen = see(model.replace(layers=(layer,)), random_input())
  products = seen.products(*map(cheapest, seen.sent))
  for name, weights, entering in (('w0', w, seen.sent[0].k),
                                  ('u0', u, seen.sent[1].k[:-1])):
    zeros_of_row = (fuse(weights) == 0).sum(1)
    skipped = np.sum((entering != 0) * zeros_of_row) / B
    found = count_operand(products[name])
    assert skipped > 0
    assert sum(found) == pytest.approx(sum(seen.counted[name]) - skipped)


def test_few_spikes():
  """NeuroBench takes any -1, 0, 1 for spikes; we want two values of a unit."""
  seen = see(network(('oc',), pooling=('last',)), random_input(hold=3))
  last = seen.sent[-1]._replace(k=seen.sent[-1].k[-1:])
  assert cheapest(seen.sent[-1]) == 'change' and not last.proves_something
  found = written(last.k, seen.model.readout.w)
  assert found.ac > 0
  assert seen.counts.readout.product == pytest.approx((found.ac, 0))
