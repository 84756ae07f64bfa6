"""flax.nnx's LSTMs as Models, against flax."""

from typing import Any

from flax import nnx
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import slstm

B, N, D, K = 3, 6, 2, 3
CELLS = {'plain': nnx.LSTMCell, 'optimised': nnx.OptimizedLSTMCell}
HARD: dict[str, Any] = {
    'gate_fn': nnx.hard_sigmoid,
    'activation_fn': nnx.hard_tanh
}


@pytest.fixture(autouse=True)
def _rank_promotion():
  """flax adds its biases so."""
  with jax.numpy_rank_promotion('allow'):
    yield


class Classifier(nnx.Module):
  """LSTM layers and a head."""

  def __init__(self, sizes, kind='plain', bias=True, seed=0, **options):
    rngs = nnx.Rngs(seed)
    layers = [
        nnx.RNN(CELLS[kind](features, size, rngs=rngs, **options))
        for features, size in zip((D, *sizes), sizes)
    ]
    self.head = nnx.Linear(sizes[-1], K, use_bias=bias, rngs=rngs)
    self.layers = nnx.List(layers)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)

  def __call__(self, x):
    for layer in self.layers:
      x = layer(x)
    return self.head(self.dropout(x[:, -1]))


def classifier(*args, seed=0, **kwargs):
  """With random biases, which flax starts from 0."""
  module = Classifier(*args, seed=seed, **kwargs)
  rng = np.random.default_rng(seed)
  state = nnx.state(module, nnx.Param)
  noisy = jax.tree.map(
      lambda leaf: leaf + rng.normal(0, 0.3, leaf.shape).astype(leaf.dtype),
      state)
  nnx.update(module, noisy)
  module.eval()
  return module


def inputs(seed=0):
  return np.random.default_rng(seed).normal(size=(B, N, D)).astype(np.float32)


def check_equal(module, model, x):
  expected = module(x)
  assert np.ptp(expected) > 0.01  # or anything would do
  found = slstm.apply(model, x).outputs
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@hypothesis.settings(max_examples=12)
@hypothesis.given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
                  kind=st.sampled_from(list(CELLS)),
                  bias=st.booleans(),
                  seed=st.integers(0, 99))
def test_random_weights_give_the_same_outputs(sizes, kind, bias, seed):
  module = classifier(sizes, kind, bias, seed=seed)
  check_equal(module, slstm.from_nnx(module), inputs(seed))


def test_a_trained_module_gives_the_same_outputs():
  module = Classifier((6, 5))
  x = np.random.default_rng(1).normal(size=(96, N, D)).astype(np.float32)
  y = np.digitize(x.sum((1, 2)), (-1.5, 1.5))
  optimiser = nnx.Optimizer(module, optax.adam(0.03), wrt=nnx.Param)

  @nnx.jit
  def step(module, optimiser):

    def loss_of(module):
      return optax.softmax_cross_entropy_with_integer_labels(module(x),
                                                             y).mean()

    loss, gradient = nnx.value_and_grad(loss_of)(module)
    optimiser.update(module, gradient)
    return loss

  losses = [float(step(module, optimiser)) for _ in range(30)]
  assert losses[-1] < 0.8 * losses[0]
  module.eval()
  check_equal(module, slstm.from_nnx(module), x)


def test_hard_activations_are_the_hard_family():
  module = classifier((4, 3), **HARD)
  model = slstm.from_nnx(module)
  assert model.config.family == 'hard'
  check_equal(module, model, inputs())


def test_a_list_of_layers_and_other_poolings():
  rngs = nnx.Rngs(0)
  rnn, head = nnx.RNN(nnx.LSTMCell(D, 4, rngs=rngs)), nnx.Linear(8,
                                                                 K,
                                                                 rngs=rngs)
  model = slstm.from_nnx([rnn, head], pooling=('mean', 'max'))
  h = rnn(inputs())
  expected = head(jnp.concatenate([h.mean(1), h.max(1)], -1))
  found = slstm.apply(model, inputs()).outputs
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


class Named(nnx.Module):
  """Twelve layers, each an attribute, made in the order of their use."""

  def __init__(self, names):
    rngs = nnx.Rngs(0)
    for k, name in enumerate(names):
      setattr(self, name, nnx.RNN(nnx.LSTMCell(2, 2, rngs=rngs)))
    self.head = nnx.Linear(2, K, rngs=rngs)

  def __call__(self, x, names):
    for name in names:
      x = getattr(self, name)(x)
    return self.head(x[:, -1])


def test_layers_by_number_whatever_order_flax_keeps():
  names = [f'lstm{k}' for k in range(12)]
  module = Named(names)
  nnx.update(module,
             jax.tree.map(lambda leaf: 2 * leaf, nnx.state(module, nnx.Param)))

  @nnx.jit
  def touch(module):
    module.touched = nnx.Param(jnp.zeros(1))

  touch(module)
  del module.touched
  assert list(vars(module)).index('lstm10') < list(vars(module)).index('lstm2')
  expected = module(inputs(), names)
  assert np.ptp(expected) > 1e-3
  found = slstm.apply(slstm.from_nnx(module), inputs()).outputs
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_layers_whose_order_is_not_known():
  names = ['first', 'second']
  module = Named(names)
  with pytest.raises(ValueError,
                     match='source has LSTM layers under the names '
                     'first, second, whose order is not known'):
    slstm.from_nnx(module)
  found = slstm.from_nnx([module.first, module.second, module.head])
  np.testing.assert_allclose(slstm.apply(found, inputs()).outputs,
                             module(inputs(), names),
                             rtol=1e-5,
                             atol=1e-5)


def lstm(kind=nnx.LSTMCell, **options):
  return kind(D, 4, rngs=nnx.Rngs(0), **options)


def head(features=4, **options):
  return nnx.Linear(features, K, rngs=nnx.Rngs(0), **options)


class Normalised(Classifier):

  def __init__(self):
    super().__init__((4,))
    self.norm = nnx.LayerNorm(4, rngs=nnx.Rngs(0))


REFUSED = {
    'two directions': (lambda: [
        nnx.Bidirectional(nnx.RNN(lstm()), nnx.RNN(lstm())), head(8)
    ], r'source\[0\] is an nnx.Bidirectional'),
    'reverse': (lambda: [nnx.RNN(lstm(), reverse=True), head()],
                r'source\[0\] has reverse=True'),
    'GRU': (lambda: [nnx.RNN(lstm(nnx.GRUCell)), head()],
            r'source\[0\].cell, a GRUCell, cannot'),
    'simple cell': (lambda: [lstm(nnx.SimpleCell), head()],
                    r'source\[0\], a SimpleCell, cannot'),
    'normalisation': (Normalised, 'source.norm.scale, a Param, cannot'),
    'ReLU': (lambda: nnx.Sequential(nnx.RNN(lstm()), nnx.relu, head()),
             r'source.layers\[1\] is the function relu'),
    'activation': (lambda: [lstm(activation_fn=nnx.relu), head()],
                   r'source\[0\]: its gates are activated by sigmoid, .* relu'),
    'gates': (lambda: [lstm(gate_fn=nnx.hard_sigmoid), head()],
              'activated by hard_sigmoid, candidate and cell state by tanh'),
    'two families': (lambda: [
        nnx.LSTMCell(D, 4, rngs=nnx.Rngs(0)),
        nnx.LSTMCell(4, 4, rngs=nnx.Rngs(0), **HARD), head()
    ], 'of the families hard, standard'),
    'two heads': (lambda: [lstm(), head(), head()],
                  r'1 LSTM cells and .* layers source\[1\], source\[2\]'),
    'no head': (lambda: nnx.RNN(lstm()), r'1 LSTM cells .* \(none\); expected'),
    'no cells': (head, 'found 0 LSTM cells'),
    'a wide head': (lambda: [lstm(), head(8)], r'readout.w has shape \(8, 3\)'),
    'NaN': (lambda: [lstm(bias_init=nnx.initializers.constant(np.nan)), head()],
            r'layers\[0\].b.i are not finite'),
    'parameters': (lambda: nnx.state(Classifier((4,))), 'cannot be expressed'),
}  # yapf: disable


@pytest.mark.parametrize('make, message', REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_expressed_is_named(make, message):
  with pytest.raises(ValueError, match='^from_nnx: .*' + message):
    slstm.from_nnx(make())


def test_a_first_state_is_named():
  with pytest.warns(UserWarning, match='carry_init'):
    cell = lstm(carry_init=nnx.initializers.ones_init())
  with pytest.raises(ValueError, match='from_nnx: .* has a carry_init'):
    slstm.from_nnx([cell, head()])
