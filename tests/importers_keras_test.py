"""Keras's LSTMs as Models, against Keras on its JAX backend."""

import os

import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

import slstm

os.environ.setdefault('KERAS_BACKEND', 'jax')
keras = pytest.importorskip('keras', reason='keras is not installed')
layers = keras.layers
# Keras's own, of its get_weights().
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning')

B, N, D, K = 3, 6, 2, 3
POOLS = {'last': None, 'mean': layers.GlobalAveragePooling1D,
         'max': layers.GlobalMaxPooling1D}  # yapf: disable
HARD = {'activation': 'hard_tanh', 'recurrent_activation': 'hard_sigmoid'}


@pytest.fixture(autouse=True)
def _rank_promotion():
  """Keras adds its biases so."""
  with jax.numpy_rank_promotion('allow'):
    yield


def network(*steps):
  return keras.Sequential([keras.Input((N, D)), *steps])


def stacked(sizes, pooling='last', head='linear', **options):
  """LSTM layers, pooling, head."""
  lstms = [
      layers.LSTM(size,
                  return_sequences=pooling != 'last' or k < len(sizes) - 1,
                  **options) for k, size in enumerate(sizes)
  ]
  pool = [] if pooling == 'last' else [POOLS[pooling]()]
  return network(*lstms, *pool, layers.Dense(K, activation=head))


def randomise(model, seed=0):
  """Also of the biases, most of which start from 0."""
  rng = np.random.default_rng(seed)
  model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
  return model


def inputs(seed=0):
  return np.random.default_rng(seed).normal(size=(B, N, D)).astype(np.float32)


def check_equal(model, x, found):
  expected = np.asarray(model(x))
  assert np.ptp(expected) > 0.01  # or anything would do
  np.testing.assert_allclose(found.outputs, expected, rtol=1e-5, atol=1e-5)


@hypothesis.settings(max_examples=12)
@hypothesis.given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
                  pooling=st.sampled_from(list(POOLS)),
                  bias=st.booleans(),
                  seed=st.integers(0, 99))
def test_random_weights_give_the_same_outputs(sizes, pooling, bias, seed):
  source = randomise(stacked(sizes, pooling, use_bias=bias), seed)
  model = slstm.from_keras(source)
  assert model.config.pooling == (pooling,)
  check_equal(source, inputs(seed), slstm.apply(model, inputs(seed)))
  if bias:
    model = slstm.from_keras(source.get_weights(), pooling=(pooling,))
    check_equal(source, inputs(seed), slstm.apply(model, inputs(seed)))


def test_a_trained_model_gives_the_same_outputs():
  source = stacked((6, 5), dropout=0.1, recurrent_dropout=0.1)
  x = np.random.default_rng(1).normal(size=(96, N, D)).astype(np.float32)
  y = np.digitize(x.sum((1, 2)), (-1.5, 1.5))
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  source.compile(keras.optimizers.Adam(0.03), loss)
  losses = source.fit(x, y, epochs=6, verbose=0).history['loss']
  assert losses[-1] < 0.8 * losses[0]
  check_equal(source, x, slstm.apply(slstm.from_keras(source), x))


def test_hard_activations_are_the_hard_family():
  source = randomise(stacked((4, 3), **HARD))
  model = slstm.from_keras(source)
  assert model.config.family == 'hard'
  check_equal(source, inputs(), slstm.apply(model, inputs()))


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
def test_the_outputs_are_those_before_a_softmax_or_sigmoid(activation):
  source = randomise(stacked((4,), head=activation))
  outputs = slstm.apply(slstm.from_keras(source), inputs()).outputs
  expected = getattr(jax.nn, activation)(outputs)
  np.testing.assert_allclose(source(inputs()), expected, rtol=1e-5, atol=1e-6)


def test_functional_and_nested_models_are_read():
  x = keras.Input((N, D))
  inner = network(layers.LSTM(4, return_sequences=True), layers.Dropout(0.5))
  h = layers.LSTM(3)(inner(x))
  source = randomise(keras.Model(x, layers.Dense(K)(h)))
  check_equal(source, inputs(), slstm.apply(slstm.from_keras(source), inputs()))


def lstm(**options):
  return network(layers.LSTM(4, name='r', **options), layers.Dense(K))


def weights_of(*steps):
  return network(*steps, layers.Dense(K)).get_weights()


REFUSED = {
    'two directions': (lambda: network(
        layers.Bidirectional(layers.LSTM(4), name='r'), layers.Dense(K)),
                       'layer r, a Bidirectional, cannot'),
    'GRU': (lambda: network(layers.GRU(4, name='r'), layers.Dense(K)),
            'layer r, a GRU, cannot'),
    'GRU, reset_after': (lambda: weights_of(layers.GRU(4)),
                         'recurrent weights .* those of a GRU'),
    'simple RNN': (lambda: weights_of(layers.SimpleRNN(4)), 'a simple RNN'),
    'normalisation': (lambda: network(
        layers.LSTM(4), layers.LayerNormalization(name='n'), layers.Dense(K)),
                      'layer n, a LayerNormalization, cannot'),
    'masking': (lambda: network(
        layers.Masking(name='m'), layers.LSTM(4), layers.Dense(K)),
                'layer m, a Masking, cannot'),
    'backwards': (lambda: lstm(go_backwards=True), 'r has go_backwards=True'),
    'activation': (lambda: lstm(activation='relu'),
                   'r: its gates are activated by sigmoid, .* by relu'),
    'gates': (lambda: lstm(recurrent_activation='hard_sigmoid'),
              'r: its gates are activated by hard_sigmoid, .* by tanh'),
    'two families': (lambda: network(
        layers.LSTM(4, return_sequences=True), layers.LSTM(4, **HARD),
        layers.Dense(K)), 'of the families hard, standard'),
    'a head that is a ReLU': (lambda: stacked((4,), head='relu'),
                              'has activation=relu'),
    'an output of every element': (lambda: lstm(return_sequences=True),
                                   'r has return_sequences=True and is '
                                   'followed by Dense'),
    'no head': (lambda: network(layers.LSTM(4)), 'the layers are LSTM; expect'),
    'two heads': (lambda: network(
        layers.LSTM(4), layers.Dense(K), layers.Dense(K)),
                  'the layers are LSTM, Dense, Dense; expected'),
    'not built': (lambda: keras.Sequential(
        [layers.LSTM(4, name='r'), layers.Dense(K)]), 'has 0 weights'),
    'no biases in a list': (lambda: weights_of(layers.LSTM(4, use_bias=False)),
                            r'shapes \(2, 16\), .*use_bias=False'),
    'no weights': (lambda: [], r'the shapes \(none\)'),
    'NaN': (lambda: [w + np.nan for w in weights_of(layers.LSTM(4))],
            'are not finite'),
    'neither': (lambda: 3, 'source is a int; expected a keras.Model'),
}  # yapf: disable


@pytest.mark.parametrize('make, message', REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_expressed_is_named(make, message):
  with pytest.raises(ValueError, match='^from_keras: .*' + message):
    slstm.from_keras(make())


def test_an_lstm_that_keeps_its_state_is_named():
  source = keras.Sequential([
      keras.Input(batch_shape=(B, N, D)),
      layers.LSTM(4, stateful=True, name='r'),
      layers.Dense(K)
  ])
  with pytest.raises(ValueError, match='from_keras: r has stateful=True'):
    slstm.from_keras(source)


def test_the_pooling_of_a_model_is_its_own():
  with pytest.raises(ValueError, match="pooling is .'mean',.; expected none"):
    slstm.from_keras(lstm(), pooling=('mean',))
