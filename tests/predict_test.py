"""Data of a user's own: names of classes, .csv files, and predictions."""

import numpy as np
import pandas as pd
import pytest

from experiments import config as config_lib
from experiments import predict
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base
from experiments.datasets.npz import Npz
import slstm
from tests import binaries

NAMES = ('walk', 'run', 'sit')


def table(sequences=60, length=4):
  """One row per element; the class is told by the mean of `ax`."""
  rng = np.random.default_rng(0)
  label = np.repeat(np.arange(sequences) % 3, length)
  return pd.DataFrame({
      'sequence': [f's{k // length}' for k in range(sequences * length)],
      'ax': rng.normal(size=len(label)) + 4 * label,
      'label': np.asarray(NAMES)[label],
      'ay': rng.normal(size=len(label)),
  })


def write(path, data):
  data.to_csv(path, index=False)
  return path


def load(path, **options):
  return base.load(Npz(path=str(path), **options))


def arrays():
  x = np.random.default_rng(0).normal(size=(40, 3, 2)).astype(np.float32)
  return x, np.asarray(NAMES)[np.arange(40) % 3]


def test_a_csv_is_what_its_arrays_are(tmp_path):
  data = table()
  found = load(write(tmp_path / 'mine.csv', data))
  x = data[['ax', 'ay']].to_numpy().reshape(60, 4, 2)
  y = data['label'].to_numpy(str).reshape(60, 4)[:, 0]
  np.savez(tmp_path / 'mine.npz', x=x, y=y)
  expected = load(tmp_path / 'mine.npz')
  for part, other in zip(found[:3], expected[:3]):
    np.testing.assert_array_equal(part.x, other.x)
    np.testing.assert_array_equal(part.y, other.y)
  assert found.classes == expected.classes == ('run', 'sit', 'walk')
  assert found.features == ('ax', 'ay')
  # Elements stand in order, wherever the sequences do.
  shuffled = data.iloc[np.argsort(np.tile(np.arange(4), 60), kind='stable')]
  other = load(write(tmp_path / 'other.csv', shuffled))
  assert base.digest(other) == base.digest(found)


def test_numbers_as_labels_of_a_csv_are_names_in_their_order(tmp_path):
  data = table()
  data['label'] = data['label'].map({'walk': 10, 'run': 2, 'sit': -1})
  data['split'] = np.repeat(np.arange(60) % 3, 4)
  data['split'] = np.repeat(np.arange(60) // 3 % 3, 4)
  found = load(write(tmp_path / 'mine.csv', data))
  assert found.classes == ('-1', '2', '10')
  np.testing.assert_array_equal(found.test.y,
                                np.tile([2, 1, 0], 7)[:len(found.test.y)])


def test_class_names_of_arrays(tmp_path):
  x, y = arrays()
  np.savez(tmp_path / 'a.npz', x=x, y=y, class_names=NAMES)
  assert load(tmp_path / 'a.npz').classes == NAMES
  np.savez(tmp_path / 'b.npz', x=x, y=np.arange(40) % 3, class_names=NAMES)
  found = load(tmp_path / 'b.npz')
  assert found.classes == NAMES
  assert base.digest(found) == base.digest(load(tmp_path / 'a.npz'))


ARRAYS = {
    'a name too few': ({'y': np.arange(40) % 4, 'class_names': NAMES},
                       'y is 3 in row 3 of 40; .* class_names has 3 names'),
    'an unknown name': ({'class_names': NAMES[:2]}, "y has 'sit', which"),
    'a name twice': ({'class_names': ('a', 'a')}, 'class_names .* none twice'),
    'numbers as names': ({'class_names': np.arange(3)}, 'class_names .*int64'),
    'objects': ({'y': arrays()[1].astype(object)}, r'Python objects; .*astype'),
    'too few': ({'x': arrays()[0][:3], 'y': arrays()[1][:3]},
                'of 3 examples 3 are for .* one each. There is no split .* 70'),
}  # yapf: disable


@pytest.mark.parametrize('what', ARRAYS)
def test_bad_labels_are_named(what, tmp_path):
  changes, message = ARRAYS[what]
  x, y = arrays()
  np.savez(tmp_path / 'mine.npz', **{'x': x, 'y': y, **changes})
  with pytest.raises(ValueError, match=message):
    load(tmp_path / 'mine.npz')


def with_cell(name, row, value):
  data = table().astype({name: object})
  data.loc[row, name] = value
  return data


TABLES = {
    'no sequence': (table().drop(columns='sequence'), 'no column sequence among'
                    ' ax, label, ay; .*\n.*\nnp.savez'),
    'no features': (table()[['sequence', 'label']], 'no columns of features'),
    'no label': (table().drop(columns='label'), 'missing arrays .*column'),
    'a word': (with_cell('ay', 7, 'x'), "column ay has 'x' in line 9 of .*num"),
    'an empty cell': (with_cell('ax', 0, None), 'column ax has .* in line 2 '),
    'no label in a row': (with_cell('label', 3, None), 'column label .*line 5'),
    'a shorter one': (table().drop(index=7), 'sequence s1 has 3 rows, sequence '
                                             's0 has 4'),
    'two labels': (with_cell('label', 5, 'sit'), 'sequence s1 has several '),
    'labels 0.5': (table().assign(label=0.5), 'y has .* dtype float64'),
}  # yapf: disable


@pytest.mark.parametrize('what', TABLES)
def test_bad_tables_are_named(what, tmp_path):
  data, message = TABLES[what]
  with pytest.raises(ValueError, match=message):
    load(write(tmp_path / 'mine.csv', data))


def test_other_files_are_refused(tmp_path):
  (tmp_path / 'mine.txt').write_text('1')
  with pytest.raises(ValueError, match='expected a file .npz or .csv; make an'):
    load(tmp_path / 'mine.txt')
  (tmp_path / 'mine.csv').write_text('')
  with pytest.raises(ValueError, match='cannot be read as .csv: No columns'):
    load(tmp_path / 'mine.csv')


@pytest.fixture(scope='module', name='source')
def _source(tmp_path_factory):
  """A trained LSTM, of frames of two elements; x far from 0, in float64."""
  folder = tmp_path_factory.mktemp('runs')
  data = table()
  data['ay'] = 1e9 + data['ay']
  path = write(folder / 'mine.csv', data)
  experiment = config_lib.replace(Experiment(Npz(path=str(path), frames=2)),
                                  model={'hidden': (6,)},
                                  ann={'batch_size': 8, 'epochs': 20,
                                       'learning_rate': 0.03}
                                 )  # yapf: disable
  with pytest.warns(UserWarning, match='feature 1'):
    dataset = base.load(experiment.data)
  stages.train_ann(experiment, dataset, folder / 'lstm')
  return folder, data, dataset


def test_predictions_are_those_of_the_model_by_name(source):
  folder, data, dataset = source
  columns = ['ay', 'sequence', 'ax']  # in another order, without labels
  found = predict.predict(folder / 'lstm',
                          write(folder / 'new.csv', data[columns]))
  assert list(found) == ['sequence', 'class', 'score_run', 'score_sit',
                         'score_walk']  # yapf: disable
  assert list(found['sequence']) == [f's{k}' for k in range(60)]
  truth = data['label'].to_numpy()[::4]
  assert np.mean(found['class'] == truth) > 0.9
  np.testing.assert_allclose(found.iloc[:, 2:].sum(axis=1), 1, rtol=1e-5)
  model = stages.read_model(folder / 'lstm').model
  metric, _ = slstm.evaluate(model, dataset.test)
  split = np.digitize(np.random.default_rng(0).permutation(60) / 60,
                      (0.7, 0.85))  # yapf: disable
  assert np.mean((found['class'] == truth)[split == 2]) == metric
  x = data[['ax', 'ay']].to_numpy().reshape(60, 4, 2)
  np.savez(folder / 'new.npz', x=x)
  other = predict.predict(folder / 'lstm', folder / 'new.npz')
  np.testing.assert_array_equal(other.iloc[:, 1:], found.iloc[:, 1:])


INPUTS = {
    'a feature renamed': (lambda data: data.rename(columns={'ax': 'az'}),
                          r"columns \['ax'\] are missing, \['az'\] are not"),
    'a feature more': (lambda data: data.assign(az=1.0), r"\['az'\] are not"),
    'shorter ones': (lambda data: data[np.arange(len(data)) % 4 < 3],
                     r'x has shape \(60, 3, 2\); .*N = 4.* trained on'),
    'infinite': (lambda data: data.assign(ax=np.inf), 'x of 60 examples'),
}  # yapf: disable


@pytest.mark.parametrize('what', INPUTS)
def test_data_of_another_shape_are_refused_by_name(what, source, tmp_path):
  change, message = INPUTS[what]
  folder, data, _ = source
  path = write(tmp_path / 'new.csv', change(data))
  with pytest.raises(ValueError, match=f'--input={path}.*{message}'):
    predict.predict(folder / 'lstm', path)


def test_a_run_of_before_has_numbers_for_names(source, tmp_path):
  folder, data, _ = source
  metrics = runs.read_json(folder / 'lstm' / 'metrics.json')
  assert metrics['data'] == {
      'classes': ['run', 'sit', 'walk'], 'elements': 2, 'features': 4,
      'feature_names': ['ax', 'ay'],
      'subtracted': [0.0, pytest.approx(1e9, abs=1)]}  # yapf: disable
  del metrics['data']
  runs.write_json(folder / 'lstm' / 'metrics.json', metrics)
  path = write(tmp_path / 'new.csv', data)
  found = predict.predict(folder / 'lstm', path)
  assert set(found['class']) <= {'0', '1', '2'}
  runs.write_json(folder / 'lstm' / 'metrics.json', {'metric': 'error'})
  with pytest.raises(ValueError, match='is judged by error; expected a class'):
    predict.predict(folder / 'lstm', path)


def test_the_binary_never_overwrites(tmp_path):
  (tmp_path / 'there.csv').write_text('mine')
  status, printed = binaries.run('predict', '--source=nowhere', '--input=a.csv',
                                 f'--output={tmp_path / "there.csv"}')
  assert status == 1 and 'there.csv is there already' in printed
  assert (tmp_path / 'there.csv').read_text() == 'mine'
  assert 'Traceback' not in printed
