"""A task from outside: regression, with nothing changed in the project."""

import dataclasses
import json
import re
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import report
from experiments import stages
from experiments.config import Conversion
from experiments.config import Experiment
from experiments.config import ModelConfig
from experiments.config import Training
from experiments.config import Tuning
from experiments.datasets import base
import slstm


def _check(y, num_outputs):
  if np.shape(y)[1:] != (num_outputs,):
    raise ValueError(f'y has shape {np.shape(y)}; expected [examples, '
                     f'{num_outputs}].')


def _squared_error(outputs, y):
  return jnp.sum(jnp.square(outputs - y), -1)


REGRESSION = slstm.Task(targets=lambda y, num_outputs, smoothing: y,
                        link=lambda outputs: outputs,
                        loss=_squared_error,
                        metric=_squared_error,
                        check=_check,
                        metric_name='squared_error',
                        higher_is_better=False)


@dataclasses.dataclass(frozen=True)
class Slope:
  """The sum of the first feature, to be told at the last element."""
  name: ClassVar[str] = 'slope'
  examples: int = 192

  def load(self):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * self.examples, 6, 2)).astype(np.float32)
    y = 0.4 * x[:, :, 0].sum(1, keepdims=True)
    whole = [
        slstm.Data(x[part], y[part])
        for part in (slice(0, self.examples), slice(self.examples, -64),
                     slice(-64, None))
    ]
    return base.DataSet(*whole, classes=('slope',), task=REGRESSION)


EXPERIMENT = Experiment(Slope(),
                        ModelConfig(hidden=(16,), pooling=('last',)),
                        Training(epochs=10,
                                 batch_size=16,
                                 learning_rate=1e-2,
                                 dropout=0.0),
                        conversion=Conversion(num_steps=4, calibration=64),
                        snn=Tuning(epochs=6, dropout=0.0, distillation=0.5))


@pytest.fixture(scope='module', name='workdir')
def _workdir(tmp_path_factory):
  folder, dataset = tmp_path_factory.mktemp('slope'), base.load(EXPERIMENT.data)
  at = lambda name: folder / name
  stages.train_ann(EXPERIMENT, dataset, at('hard'))
  stages.convert(EXPERIMENT, dataset, at('hard'), at('converted_T4'))
  stages.train_snn(EXPERIMENT, dataset, at('converted_T4'), at('tuned_T4'),
                   at('hard'))
  for name in ('hard', 'converted_T4', 'tuned_T4'):
    stages.evaluate(dataset, at(name), at(f'{name}_test'))
  report.write(folder)
  return folder


def _metrics(folder):
  return json.loads((folder / 'metrics.json').read_text())


def test_it_learns(workdir):
  errors = {
      name: _metrics(workdir / f'{name}_test')['test_squared_error']
      for name in ('hard', 'converted_T4', 'tuned_T4')
  }
  variance = np.var(base.load(EXPERIMENT.data).test.y)
  assert errors['hard'] < 0.1 * variance
  assert errors['hard'] < errors['tuned_T4'] < 0.7 * variance
  assert errors['tuned_T4'] < errors['converted_T4']


def test_the_epoch_of_least_error_is_kept(workdir):
  metrics = _metrics(workdir / 'hard')
  history = [e['validation_squared_error'] for e in metrics['history']]
  assert metrics['validation_squared_error'] == pytest.approx(min(history))
  assert min(history) < history[0]


def test_it_is_reported(workdir):
  text = (workdir / 'report.md').read_text()
  found = _metrics(workdir / 'tuned_T4_test')['test_squared_error']
  ours = text.split('Published figures')[0]
  assert 'squared_error' in ours
  assert 'accuracy' not in ours.replace('(accuracy.png)', '').lower()
  results = ours.split('### Test squared_error')[1]
  row = next(line for line in results.splitlines()
             if line.startswith('| fine-tuned T=4'))  # yapf: disable
  numbers = [float(cell) for cell in re.findall(r'-?\d+\.\d+', row)]
  assert any(
      number == pytest.approx(found, rel=1e-2) for number in numbers), row


def test_labels_that_do_not_fit_are_named():
  dataset = base.load(EXPERIMENT.data)
  wrong = dataset.train._replace(y=dataset.train.y[:, 0])
  model = slstm.init(jax.random.key(0),
                     num_features=2,
                     hidden_sizes=(3,),
                     num_outputs=1)
  with pytest.raises(ValueError, match=r'evaluate: data.*\[examples, 1\]'):
    slstm.evaluate(model, wrong, task=REGRESSION)
