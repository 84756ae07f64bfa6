"""Folds hold whole subjects, all of them once, and never the test set."""

import json

import numpy as np
import pytest

from experiments import cross_validate
from experiments.datasets import base
from experiments.datasets.har import Har
import slstm
from tests import binaries


def dataset(subjects):
  """An example is its own place; those from 100 on are the test set's."""
  places = np.arange(len(subjects))
  parts = [
      slstm.Data(part.reshape(-1, 1, 1), part % 2)
      for part in (places[:5], places[5:], np.arange(100, 104))
  ]
  return base.DataSet(*parts, ('even', 'odd'),
                      subjects=(subjects[:5], subjects[5:]))


def test_every_subject_is_held_out_once():
  subjects = np.array([7, 3, 3, 9, 1, 1, 7, 2, 9, 9])
  held_out = []
  for fold in cross_validate.folds(dataset(subjects), 2):
    train, validation = (part.x.ravel() for part in fold[:2])
    assert sorted([*train, *validation]) == list(range(10))
    assert not set(subjects[train]) & set(subjects[validation])
    np.testing.assert_array_equal(fold.train.y, train % 2)
    np.testing.assert_array_equal(fold.test.x, fold.validation.x)
    held_out.append(sorted(set(subjects[validation])))
  assert held_out == [[1, 3, 9], [2, 7]]


def test_folds_of_uci_har():
  loaded = base.load(Har())
  parted = cross_validate.folds(loaded, 4)
  assert sum(len(fold.validation.y) for fold in parted) == 7352
  assert {len(fold.train.y) + len(fold.validation.y) for fold in parted
         } == {7352}


def test_too_many_folds_are_refused():
  with pytest.raises(ValueError, match='--folds=3 of 2 subjects'):
    cross_validate.folds(dataset(np.arange(10) % 2), 3)


def test_a_data_set_without_subjects_is_refused(tmp_path):
  x = np.arange(18.0).reshape(9, 2, 1)
  np.savez(tmp_path / 'mine.npz', x=x, y=np.arange(9) % 2)
  status, printed = binaries.run('cross_validate',
                                 '--config=experiments/configs/npz.py',
                                 f'--config.data.path={tmp_path / "mine.npz"}',
                                 '--config.ann.batch_size=1',
                                 f'--workdir={tmp_path / "folds"}')
  assert status == 1
  assert printed.endswith('error: this data set does not say who made an '
                          'example; cross-validation needs subjects.\n')


def test_binary(tmp_path):
  printed = binaries.must('cross_validate', '--config.model.hidden=2',
                          '--config.ann.epochs=2',
                          '--config.ann.batch_size=512',
                          '--config.data.frames=32', '--folds=2',
                          f'--workdir={tmp_path}')
  found = json.loads((tmp_path / 'folds.json').read_text())
  assert found['metric'] == 'accuracy' and 'mean' in printed
  for name, pick in ('last_epoch', lambda h: h[-1]), ('best_epoch', max):
    expected = [
        pick([
            epoch['validation_accuracy']
            for epoch in json.loads((tmp_path / fold /
                                     'metrics.json').read_text())['history']
        ])
        for fold in ('fold0', 'fold1')
    ]
    np.testing.assert_allclose(found[name], expected, atol=1e-6)
    assert found[f'mean_{name}'] == pytest.approx(np.mean(expected))
