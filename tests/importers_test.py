"""Importers, against the library that the parameters come from."""

from flax import linen
import jax
import numpy as np
import pytest

import slstm
from slstm.importers import linen as importer


class Classifier(linen.Module):
  """Two LSTM layers of different size and a linear read-out."""

  @linen.compact
  def __call__(self, x):
    x = linen.RNN(linen.OptimizedLSTMCell(5, name='first'))(x)
    x = linen.RNN(linen.LSTMCell(4, name='second'))(x)
    return linen.Dense(3, name='out')(x[:, -1])


@pytest.fixture(scope='module', name='trained')
def _trained():
  x = np.random.default_rng(0).normal(size=(6, 7, 2)).astype(np.float32)
  with jax.numpy_rank_promotion('allow'):  # linen adds its biases so
    variables = Classifier().init(jax.random.key(0), x)
    noisy = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.
                                                    shape), variables)
    logits = Classifier().apply(noisy, x)
  return noisy['params'], x, logits


def imported(p, **kwargs):
  return slstm.from_linen([p['first'], p['second']], p['out'], **kwargs)


def test_same_logits_as_linen(trained):
  p, x, logits = trained
  found = slstm.apply(imported(p), x).outputs
  np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-6)


def test_import_can_be_converted(trained):
  p, x, _ = trained
  model = imported(p)
  snn = slstm.convert(model, slstm.calibrate(model, x),
                      slstm.ConversionConfig(num_steps=4)).model
  assert snn.is_spiking
  assert np.isfinite(slstm.apply(snn, x).outputs).all()


def test_pooling_and_encoder_are_those_that_were_given(trained):
  p, x, _ = trained
  wide = {**p, 'out': dense(8, 3)}
  encoder = slstm.standardising(x)
  model = imported(wide, pooling=('mean', 'max'), encoder=encoder)
  assert model.config.pooling == ('mean', 'max')
  assert model.encoder is encoder
  assert slstm.apply(model, x).outputs.shape == (6, 3)
  with pytest.raises(ValueError, match='encoder.std'):
    imported(p, encoder=encoder._replace(std=np.ones(3)))


@pytest.mark.parametrize('change, leaf', [
    (lambda cell: cell.pop('hf'), "'hf'"),
    (lambda cell: cell.pop('ii'), "'ii'"),
    (lambda cell: cell.update(hz={}, iz={'kernel': np.zeros(1)}), "'iz'"),
    (lambda cell: cell.update(ig={'kernel': np.zeros((2, 9))}), "'ig'"),
    (lambda cell: cell.update(ig={'kernel': np.full((2, 5), np.nan)}), "'ig'"),
])
def test_bad_leaf_is_named(trained, change, leaf):
  cell = dict(trained[0]['first'])
  change(cell)
  with pytest.raises(ValueError, match=leaf):
    importer.layer_from_linen(cell)


def dense(rows, biases):
  return {
      'kernel': np.zeros((rows, 3), np.float32),
      'bias': np.zeros(biases, np.float32)
  }


@pytest.mark.parametrize('out, message', [
    ({}, 'is missing'),
    ({'kernel': np.zeros((4, 3), np.float32)}, "'bias'. is missing"),
    (dense(8, 3), r"'kernel'. has shape \(8, 3\) .* expected \(4, 3\)"),
    (dense(4, 2), r"'bias'. has shape \(2,\)"),
])  # yapf: disable
def test_a_read_out_that_does_not_fit_is_named(trained, out, message):
  with pytest.raises(ValueError, match='from_linen: dense.*' + message):
    imported({**trained[0], 'out': out})


def test_cells_that_do_not_chain_are_named(trained):
  first = trained[0]['first']
  with pytest.raises(ValueError,
                     match=r'from_linen: layers\[1\].w.i has shape'):
    imported({**trained[0], 'second': first, 'out': dense(5, 3)})


def test_no_cells():
  with pytest.raises(ValueError, match='no cells'):
    slstm.from_linen([], {})
