"""Importers, against the library that the parameters come from."""

from flax import linen
import jax
import numpy as np
import pytest

import slstm
from slstm import importers


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


def imported(p):
  return slstm.from_linen([p['first'], p['second']], p['out'])


def test_same_logits_as_linen(trained):
  p, x, logits = trained
  config = slstm.Config(family='standard')
  found = slstm.apply(imported(p), np.swapaxes(x, 0, 1), config).logits
  np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-6)


def test_import_can_be_converted(trained):
  p, x, _ = trained
  x = np.swapaxes(x, 0, 1)
  params = imported(p)
  calibration = slstm.calibrate(params, x, slstm.Config(family='standard'))
  snn = slstm.convert(params, calibration, slstm.ConversionConfig(num_steps=4))
  assert np.isfinite(slstm.apply(snn.params, x, snn.config).logits).all()


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
    importers.layer_from_linen(cell)


def dense(rows, biases):
  return {
      'kernel': np.zeros((rows, 3), np.float32),
      'bias': np.zeros(biases, np.float32)
  }


@pytest.mark.parametrize('out, message', [
    ({}, 'is missing'),
    ({'kernel': np.zeros((8, 3), np.float32)}, "'bias'. is missing"),
    (dense(7, 3), r"'kernel'. has shape \(7, 3\)"),
    (dense(8, 2), r"'bias'. has shape \(2,\)"),
])  # yapf: disable
def test_a_read_out_that_does_not_fit_is_named(trained, out, message):
  with pytest.raises(ValueError, match='from_linen: dense.*' + message):
    imported({**trained[0], 'out': out})


def test_cells_that_do_not_chain_are_named(trained):
  first = trained[0]['first']
  with pytest.raises(ValueError, match='cell 1 takes . features; expected'):
    imported({**trained[0], 'second': first})


def test_no_cells():
  with pytest.raises(ValueError, match='no cells'):
    slstm.from_linen([], {})
