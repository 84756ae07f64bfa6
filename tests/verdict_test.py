"""What a report says first, how sure it is, and what it says of classes."""

import json
import shutil

import numpy as np
import pytest

from experiments import report
from experiments.datasets import base
from experiments.datasets import summary
from experiments.reporting import classes
from experiments.reporting import intervals
from experiments.reporting import load
from experiments.reporting import plots
from experiments.reporting import tables
from experiments.reporting import verdict
import slstm
from tests import trees

NAMES = ['rest', 'walk', 'run']
DATA = {'classes': NAMES,
        'examples': {'train': 60, 'validation': 20, 'test': 10},
        'balance': {'train': [40, 10, 10], 'validation': [10, 10, 0],
                    'test': [5, 3, 2]}}  # yapf: disable
TRUTH = np.repeat([0, 1, 2], [5, 3, 2])
SAID = {'standard': [0, 0, 0, 0, 1, 1, 1, 1, 2, 2],
        'tuned_T2': [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]}  # yapf: disable


def record(run, name, said):
  """What `evaluate` keeps of each example."""
  said = np.asarray(said)
  np.savez(run / f'{name}_test' / 'predictions.npz', outputs=np.eye(3)[said],
           truth=TRUTH, scores=np.float32(said == TRUTH))  # yapf: disable


def change(folder, **entries):
  path = folder / 'metrics.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """A run whose standard LSTM gets 9 of 10 examples right, its SNN 7."""
  trees.add_run(tmp_path)
  shutil.rmtree(tmp_path / 'latency')
  for name, said in SAID.items():
    record(tmp_path, name, said)
    change(tmp_path / f'{name}_test', data=DATA,
           test_accuracy=np.mean(np.equal(said, TRUTH)))  # yapf: disable
  return tmp_path


def read(folder):
  run, = load.read(folder).runs.values()
  return run


def model(folder, name):
  return next(m for m in read(folder).models if m.name == name)


@pytest.mark.parametrize('right, of, low, high', [
    (90, 100, 0.82563, 0.94477), (10, 10, 0.72247, 1.0), (0, 10, 0, 0.27753)
])  # yapf: disable
def test_wilson(right, of, low, high):
  """Figures of R: prop.test(right, of, correct = FALSE)."""
  scores = np.arange(of) < right
  assert intervals.of_mean(scores) == pytest.approx((low, high), abs=2e-5)


def test_paired_intervals_hold_the_truth_as_often_as_they_say():
  rng = np.random.default_rng(0)
  for both, ours, theirs in ((0.85, 0.05, 0.04), (0.5, 0.2, 0.1)):
    rest, hits = 1 - both - ours - theirs, 0
    for _ in range(1000):
      case = rng.choice(4, 300, p=(both, ours, theirs, rest))
      mean, half = intervals.of_difference(case < 2, (case == 0) | (case == 2))
      hits += abs(mean - (ours - theirs)) <= half
    assert 930 <= hits <= 975


def test_what_both_get_right_does_not_widen_a_paired_interval():
  ours, theirs = np.ones(1000), np.ones(1000)
  theirs[:5] = 0
  mean, half = intervals.of_difference(ours, theirs)
  assert mean == 0.005 and 0.003 < half < 0.007
  same, none = intervals.of_difference(ours, ours)
  assert same == 0 and 0 < none < half  # few examples never make it certain


def test_intervals_of_other_metrics():
  scores = np.array([1.0, 2.0, 3.0, 6.0])
  half = 1.96 * np.std(scores, ddof=1) / 2
  assert intervals.of_mean(scores) == pytest.approx((3 - half, 3 + half))
  assert intervals.of_difference(scores, scores * 0) == pytest.approx((3, half))


def test_verdict(folder):
  told = verdict.sentence(read(folder))
  # 1 example gained, 3 lost: -20 points; sqrt((5 - 4 / 12) / 144) * 1.96 = 35.
  assert told.startswith(
      'At T = 2 the SNN (fine-tuned T=2) loses 20.00 ± 35.28 points of test '
      'accuracy and needs 2.0 times less energy (all arithmetic) than the '
      'int32 standard LSTM. ± is a 95 % interval over the 10 test examples, '
      'paired; it shows no difference.')
  assert told.endswith('Of 2 SNNs it is the one that validation prefers among '
                       'the fine-tuned.')


def test_a_difference_is_told_as_one(folder):
  record(folder, 'tuned_T2', 2 - TRUTH)
  assert 'it shows a difference' in verdict.sentence(read(folder))


def test_verdict_of_older_runs_has_no_interval(folder):
  (folder / 'standard_test' / 'predictions.npz').unlink()
  told = verdict.sentence(read(folder))
  assert 'loses 20.00 points of test accuracy' in told and '±' not in told
  assert 'evaluate the models anew' in told


def test_validation_chooses_what_the_verdict_is_of(folder):
  cheap = trees.evaluation(0.99, (1, 1, 1, 1), 0.1)
  changes = {'model': {'hidden': (6,)}, 'conversion': {'num_steps': 4}}
  trees.add_model(folder, 'tuned_T4', 'converted_T2', cheap, **changes)
  change(folder / 'tuned_T4', validation_accuracy=0.1)
  assert verdict.pair(read(folder)).snn.name == 'tuned_T2'
  change(folder / 'tuned_T4', validation_accuracy=0.995)
  assert verdict.pair(read(folder)).snn.name == 'tuned_T4'


@pytest.mark.parametrize('weights, told', [(2**20, 'from SRAM'),
                                           (2**20 + 1, 'from DRAM')])
def test_verdict_tells_where_weights_lie(folder, weights, told):
  for name, total in (('standard', 5.1e3), ('tuned_T2', 1e3)):
    path = folder / f'{name}_test'
    counts = json.loads((path / 'metrics.json').read_text())['counts']
    change(path, counts={**counts, 'stored': {'weights': weights}},
           energy={'int8': {'3': {'total': total}}})  # yapf: disable
  told = f'5.1 times less energy (arithmetic and memory, weights {told}) than'
  assert f'{told} the int8 standard LSTM' in verdict.sentence(read(folder))


def test_no_verdict_without_an_lstm(folder):
  change(folder / 'standard_test', test_accuracy=0.5)
  (folder / 'standard_test' / 'metrics.json').unlink()
  assert verdict.sentence(read(folder)).startswith('No verdict: it needs')


def test_certainty(folder):
  standard, snn = tables.certainty(read(folder)).to_dict('records')
  assert standard['95 % interval'] == '59.58 to 98.21'
  assert (snn['test %'], snn['vs standard']) == ('70.00', '-20.00 ± 35.28')
  assert (snn['better on'], snn['worse on']) == (1, 3)


def test_classes(folder):
  run = read(folder)
  assert classes.confusion(run, model(folder, 'tuned_T2')).tolist() == [
      [5, 0, 0], [2, 1, 0], [1, 0, 1]]  # yapf: disable
  found = classes.per_class(run, model(folder, 'tuned_T2')).to_dict('list')
  assert found['class'] == NAMES and found['examples'] == [5, 3, 2]
  recall = found['fine-tuned T=2: recall, %']
  assert recall == pytest.approx([100, 100 / 3, 50])
  precision = found['fine-tuned T=2: precision, %']
  assert precision == pytest.approx([62.5, 100, 100])
  assert '50.00 % of the test' in classes.baseline(run)
  assert 'Always answering rest,' in classes.baseline(run)


def test_report(folder):
  report.write(folder)
  text = (folder / 'report.md').read_text()
  first, second = text.splitlines()[:2]
  assert first.startswith('# Report') and second.startswith('**At T = 2 the')
  order = ['## Data', '| walk  ', '### Networks', '## Results',
           '### How sure that is', '### By class', '### What is taken for what',
           '](confusion.png)', '## Activity']  # yapf: disable
  places = [text.index(part) for part in order]
  assert places == sorted(places)
  assert (folder / 'confusion.png').stat().st_size > 5000


def test_report_of_older_runs_says_what_it_lacks(tmp_path):
  trees.add_run(tmp_path)
  shutil.rmtree(tmp_path / 'latency')
  report.write(tmp_path)
  text = (tmp_path / 'report.md').read_text()
  assert 'evaluate the models anew' in text.splitlines()[1]
  assert 'balance were not recorded; evaluate a model anew' in text
  assert 'How sure that is cannot be told' in text
  assert 'confusion.png' not in text


def test_the_raster_names_the_classes(folder):
  np.savez(folder / 'tuned_T2_test' / 'raster.npz', truth=1,
           input=np.ones((8, 2)), outputs=np.array([3.0, 1.0, 0.0]),
           **{'layers[0].h': np.ones((8, 2, 6), np.int8)})  # yapf: disable
  figure = plots.raster(read(folder))
  assert figure.axes[0].get_title().endswith('\nwalk, taken for rest')
  assert [axes.get_ylabel() for axes in figure.axes] == [
      'input feature', 'layers[0].h, unit', 'standard deviations', 'spike'
  ]


def test_summary_of_a_data_set():
  part = lambda *y: slstm.Data(np.zeros((len(y), 2, 1)), np.array(y, np.int32))
  dataset = base.DataSet(part(0, 0, 2), part(1), part(2, 2), tuple('abc'))
  found = summary.of(dataset)
  assert found == {'classes': ['a', 'b', 'c'],
                   'examples': {'train': 3, 'validation': 1, 'test': 2},
                   'balance': {'train': [2, 0, 1], 'validation': [0, 1, 0],
                               'test': [0, 0, 2]}}  # yapf: disable
  other = dataset._replace(task=slstm.classification._replace(link=None))
  assert 'balance' not in summary.of(other)
