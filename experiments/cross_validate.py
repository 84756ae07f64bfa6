r"""How well a source LSTM does on unseen people, blind to the test set.

python -m experiments.cross_validate --config=experiments/configs/har.py \
  --config.ann.dropout=0.5 --workdir=runs/folds/dropout_0.5

The subjects of the training and the validation set are dealt out to folds; one
LSTM is trained for each, on the subjects of the others. The metric after the
last epoch is what counts: that of the best epoch was chosen on the same fold.
Folds that are finished are not trained again.
"""

import pathlib

from absl import flags
import numpy as np
import pandas as pd

from experiments import lock
from experiments import main
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base
import slstm

_FOLDS = flags.DEFINE_integer('folds', 4, 'Folds of subjects.', lower_bound=2)


def folds(dataset: base.DataSet, count: int) -> list[base.DataSet]:
  """Deals the subjects out, in ascending order, one to each fold in turn.

  Returns:
    For each fold, what to train on and, as validation and as test set, the
    examples of its subjects. The test set of `dataset` is in none.
  """
  if dataset.subjects is None:
    raise ValueError('this data set does not say who made an example; '
                     'cross-validation needs subjects.')
  both = dataset.train, dataset.validation
  whole = slstm.Data(*(None if parts[0] is None else np.concatenate(parts)
                       for parts in zip(*both)))
  subjects = np.concatenate(dataset.subjects)
  present = np.unique(subjects)
  if len(present) < count:
    raise ValueError(f'--folds={count} of {len(present)} subjects; expected at '
                     'most one for each.')
  parted = []
  for fold in range(count):
    held_out = np.isin(subjects, present[fold::count])
    validation = whole.rows(held_out)
    parted.append(
        dataset._replace(train=whole.rows(~held_out),
                         validation=validation,
                         test=validation,
                         subjects=None))
  return parted


def run(experiment: Experiment, dataset: base.DataSet,
        workdir: pathlib.Path) -> None:
  """Trains and validates every fold; prints and writes the metrics."""
  name = f'validation_{dataset.task.metric_name}'
  rows, parted = [], folds(dataset, _FOLDS.value)
  lock.hold(workdir)
  for index, fold in enumerate(parted):
    folder = workdir / f'fold{index}'
    stages.train_ann(experiment, fold, folder)
    metrics = runs.read_json(folder / 'metrics.json')
    last, best = metrics['history'][-1][name], metrics[name]
    rows.append({'last_epoch': last, 'best_epoch': best})
  table = pd.DataFrame(rows).rename_axis('fold')
  means = table.mean()
  found = {'metric': dataset.task.metric_name, **table.to_dict('list')}
  found |= means.add_prefix('mean_').to_dict()
  runs.write_json(workdir / 'folds.json', found)
  table.loc['mean'] = means
  lock.release(workdir)
  print(f'{name} of held-out subjects', table.to_string(), sep='\n')


if __name__ == '__main__':
  main.main(run, reads=('data', 'model', 'ann', 'seed'))
