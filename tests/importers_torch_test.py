"""torch's LSTMs as Models and back, against torch."""

from typing import Any

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm

torch: Any = pytest.importorskip('torch', reason='torch is not installed')

B, N, D, K = 3, 6, 2, 3
POOLS = {'last': lambda h: h[:, -1], 'mean': lambda h: h.mean(1),
         'max': lambda h: h.amax(1)}  # yapf: disable


class Classifier(torch.nn.Module):
  """Modules of LSTM layers one after the other, pools, and a head."""

  def __init__(self, sizes, num_layers=1, pooling=('last',), bias=True):
    super().__init__()
    self.stack = torch.nn.ModuleList(
        torch.nn.LSTM(features, size, num_layers, batch_first=True, bias=bias)
        for features, size in zip((D, *sizes), sizes))
    self.dropout = torch.nn.Dropout(0.5)
    self.out = torch.nn.Linear(len(pooling) * sizes[-1], K, bias=bias)
    self.pooling = pooling

  def forward(self, x):
    for lstm in self.stack:
      x, _ = lstm(x)
    pooled = torch.cat([POOLS[name](x) for name in self.pooling], -1)
    return self.out(self.dropout(pooled))


def inputs(seed=0):
  return np.random.default_rng(seed).normal(size=(B, N, D)).astype(np.float32)


def outputs(module, x):
  with torch.no_grad():
    return module.eval()(torch.tensor(x)).numpy()


def classifier(*args, seed=0, **kwargs):
  torch.manual_seed(seed)
  return Classifier(*args, **kwargs)


def check_equal(module, model, x=None):
  x = inputs() if x is None else x
  expected = outputs(module, x)
  assert np.ptp(expected) > 0.01  # or anything would do
  found = slstm.apply(model, x).outputs
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def joined(lstm, units=4):
  return torch.nn.ModuleDict({'lstm': lstm, 'head': torch.nn.Linear(units, K)})


@hypothesis.given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=2),
                  num_layers=st.integers(1, 3),
                  bias=st.booleans(),
                  pooling=st.permutations(list(POOLS)),
                  pools=st.integers(1, 3),
                  seed=st.integers(0, 99))
def test_random_weights_give_the_same_outputs(sizes, num_layers, bias, pooling,
                                              pools, seed):
  pooling = tuple(pooling[:pools])
  module = classifier(sizes, num_layers, pooling, bias, seed=seed)
  model = slstm.from_torch(module, pooling=pooling)
  assert len(model.layers) == num_layers * len(sizes)
  x = inputs(seed)
  expected = outputs(module, x)
  np.testing.assert_allclose(slstm.apply(model, x).outputs,
                             expected,
                             rtol=1e-5,
                             atol=1e-5)
  back = classifier(sizes, num_layers, pooling, bias, seed=seed + 1)
  back.load_state_dict(slstm.to_torch_state_dict(model, back.state_dict()))
  np.testing.assert_allclose(outputs(back, x), expected, rtol=1e-6, atol=1e-6)


def trained(module, steps=100):
  """Trains a module to tell which third of the sum of x an example is in."""
  x = np.random.default_rng(1).normal(size=(96, N, D)).astype(np.float32)
  y = torch.tensor(np.digitize(x.sum((1, 2)), (-1.5, 1.5)))
  optimiser = torch.optim.Adam(module.parameters(), lr=0.03)
  losses = []
  for _ in range(steps):
    optimiser.zero_grad()
    loss = torch.nn.functional.cross_entropy(module(torch.tensor(x)), y)
    loss.backward()
    optimiser.step()
    losses.append(loss.item())
  assert losses[-1] < 0.8 * losses[0]
  return x


def test_a_trained_module_and_its_state_dict_give_the_same_outputs():
  module = classifier((6, 5), 2)
  x = trained(module)
  check_equal(module, slstm.from_torch(module), x)
  arrays = {k: v.numpy() for k, v in module.state_dict().items()}
  check_equal(module, slstm.from_torch(arrays), x)


def test_a_cell_and_a_loss_and_data_parallel_are_read():
  cell, head = torch.nn.LSTMCell(D, 4), torch.nn.Linear(4, K)
  module = torch.nn.DataParallel(
      torch.nn.ModuleList([cell, head, torch.nn.CrossEntropyLoss()]))
  x, state = torch.tensor(inputs()), None
  for n in range(N):
    state = cell(x[:, n], state)
  found = slstm.apply(slstm.from_torch(module), inputs()).outputs
  expected = head(state[0]).detach().numpy()
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('sizes, num_layers, first, later', [
    ((3,), 12, 'stack.0.bias_hh_l10', 'stack.0.bias_hh_l2'),
    ((2,) * 12, 1, 'stack.10.bias_hh_l0', 'stack.2.bias_hh_l0'),
])
def test_entries_in_any_order(sizes, num_layers, first, later):
  """Such as from a file that sorts them by name."""
  module = classifier(sizes, num_layers)
  for parameter in module.stack.parameters():  # or 12 layers forget x
    parameter.data *= 2
  state = dict(sorted(module.state_dict().items()))
  names = list(state)
  assert names.index(first) < names.index(later)
  check_equal(module, slstm.from_torch(state))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_narrow_weights_become_float32(dtype):
  module = classifier((4,)).to(dtype)
  model = slstm.from_torch(module)
  assert {leaf.dtype for leaf in jax.tree.leaves(model)
         } == {jnp.dtype('float32')}
  check_equal(module.float(), model)


def test_wide_weights_stay_wide():
  module = classifier((4,)).double()
  with jax.enable_x64(True):
    model = slstm.from_torch(module)
    x = inputs().astype(np.float64)
    found = slstm.apply(model, x).outputs
    np.testing.assert_allclose(found, outputs(module, x), rtol=1e-12)


def test_the_encoder_is_folded_in_on_the_way_back():
  x = 10 + 3 * inputs()
  encoder = slstm.standardising(x)
  module = classifier((4, 3))
  model = slstm.from_torch(module, encoder=encoder)
  state = slstm.to_torch_state_dict(model, module.state_dict())
  module.load_state_dict(state)
  check_equal(module, model, x)


def test_a_fine_tuned_model_goes_back_under_default_names():
  """As slstm made it, through slstm.fit."""
  x, y = inputs(), np.arange(B)
  model = slstm.init(jax.random.key(0), num_features=D, hidden_sizes=(4, 4),
                     num_outputs=K,
                     config=slstm.Config(family='standard'))  # yapf: disable
  data, how = slstm.Data(x, y), slstm.TrainConfig(epochs=1, batch_size=B)
  *_, (state, _) = slstm.fit(model, data, data, config=how)
  lstm = torch.nn.LSTM(D, 4, 2, batch_first=True)
  module = joined(lstm)
  module.load_state_dict(slstm.to_torch_state_dict(state.best))
  with torch.no_grad():
    expected = module['head'](lstm(torch.tensor(x))[0].mean(1)).numpy()
  found = slstm.apply(state.best, x).outputs
  assert np.ptp(expected) > 0.01
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_dtypes_are_those_of_the_module():
  module = classifier((4,)).double()
  state = slstm.to_torch_state_dict(slstm.from_torch(module),
                                    module.state_dict())
  assert {leaf.dtype for leaf in state.values()} == {torch.float64}


def edited(**changes):
  """A state dict with entries replaced, or removed where they are None."""
  state = classifier((4,)).state_dict() | changes
  return {k: v for k, v in state.items() if v is not None}


class Peephole(Classifier):

  def __init__(self):
    super().__init__((4,))
    self.w_ci = torch.nn.Parameter(torch.zeros(4))


REFUSED = {
    'two directions': (joined(torch.nn.LSTM(D, 4, bidirectional=True), 8),
                       'lstm, a LSTM, has bidirectional=True'),
    'two directions, entries':
        (joined(torch.nn.LSTM(D, 4, bidirectional=True), 8).state_dict(),
         'entry lstm.weight_ih_l0_reverse .* bidirectional'),
    'projection':
        (joined(torch.nn.LSTM(D, 4, proj_size=2)), 'has proj_size=2; .*=0'),
    'projection, entries':
        (joined(torch.nn.LSTM(D, 4, proj_size=2)).state_dict(),
         'entry lstm.weight_hr_l0 .* proj_size'),
    'GRU': (joined(torch.nn.GRU(D, 4)), 'lstm, a GRU, cannot be expressed'),
    'GRU, entries': (joined(torch.nn.GRU(D, 4)).state_dict(),
                     r'lstm.\*_l0: recurrent weights .* those of a GRU'),
    'RNN, entries':
        (joined(torch.nn.RNN(D, 4)).state_dict(), 'a simple RNN'),
    'normalisation':
        (torch.nn.ModuleList([classifier((4,)), torch.nn.LayerNorm(4)]),
         '1, a LayerNorm, cannot'),
    'ReLU': (torch.nn.ModuleList([classifier((4,)), torch.nn.ReLU()]),
             '1, a ReLU, cannot'),
    'peepholes': (Peephole(), 'entries w_ci, out.weight, .*Peepholes'),
    'normalisation for a head':
        (torch.nn.ModuleDict({'lstm': torch.nn.LSTM(D, 4),
                              'norm': torch.nn.LayerNorm(4)}).state_dict(),
         r'norm: weight has shape \(4,\); .*normalisation'),
    'two heads': (
        torch.nn.ModuleList([classifier((4,)), torch.nn.Linear(3, K)]),
                  'entries 0.out.weight, 0.out.bias, 1.weight, 1.bias'),
    'no head': (torch.nn.LSTM(D, 4), r'entries \(none\); .*ModuleList'),
    'no LSTM': (torch.nn.Linear(D, K), 'no LSTM among the entries weight'),
    'a wide head': (edited(**{'out.weight': torch.zeros(K, 8)}),
                    r'readout.w has shape \(8, 3\)'),
    'no recurrent weights': (edited(**{'stack.0.weight_hh_l0': None}),
                             'stack.0.weight_hh_l0 is missing'),
    'layers of another order': (
        torch.nn.ModuleList([torch.nn.LSTM(4, 3), torch.nn.LSTM(D, 4),
                             torch.nn.Linear(4, K)]),
        r'layers\[1\].w.i has shape \(2, 4\)'),
    'NaN': (edited(**{'out.bias': torch.full((K,), torch.nan)}),
            'readout.b are not finite'),
    'neither': (3, 'source is a int; expected a torch.nn.Module'),
}  # yapf: disable


@pytest.mark.parametrize('source, message', REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_expressed_is_named(source, message):
  with pytest.raises(ValueError, match='^from_torch: .*' + message):
    slstm.from_torch(source)


def source_model(hidden=(4,), **config):
  return slstm.init(jax.random.key(0),
                    num_features=D,
                    hidden_sizes=hidden,
                    num_outputs=K,
                    config=slstm.Config(**{
                        'family': 'standard',
                        **config
                    }))


def spiking():
  model = source_model()
  neurons = slstm.Sites(h=slstm.sigma_delta(0.5))
  return model.replace(layers=(model.layers[0]._replace(neurons=neurons),))


def with_input_spikes():
  model = source_model()
  return model.replace(encoder=model.encoder._replace(
      neuron=slstm.sigma_delta(0.5)))


NO_WAY_BACK = {
    'spiking': (spiking, None, r'model has layers\[0\].neurons.h; expect'),
    'input': (with_input_spikes, None, 'the model has encoder.neuron; expect'),
    'hard': (lambda: source_model(family='hard'), None, "model is 'hard'"),
    'two sizes': (lambda: source_model((4, 3)), None, r'have \[4, 3\] units'),
    'layers': (lambda: source_model((4, 4)), classifier((4,)),
               'like has 1 LSTM layers; expected 2'),
    'units': (source_model, classifier((5,)),
              r'weight_ih_l0 of like has shape \(20, 2\); expected \(16, 2\)'),
    'no bias': (source_model, classifier((4,), bias=False),
                'like has no stack.0.bias_ih_l0; .*bias=False'),
}  # yapf: disable


@pytest.mark.parametrize('make, module, message',
                         NO_WAY_BACK.values(),
                         ids=NO_WAY_BACK)
def test_what_torch_does_not_have_is_named(make, module, message):
  like = None if module is None else module.state_dict()
  with pytest.raises(ValueError, match='^to_torch_state_dict: .*' + message):
    slstm.to_torch_state_dict(make(), like)
