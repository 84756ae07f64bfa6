r"""How well a source LSTM does on unseen people, blind to the test set.

  python -m experiments.cross_validate --preset=har --dropout=0.5 \
    --work_dir=runs/folds/dropout_0.5

The subjects of the training and the validation set are dealt out to folds; one
LSTM is trained for each, on the subjects of the others. The accuracy after the
last epoch is what counts: that of the best epoch was chosen on the same fold.
Folds that are finished are not trained again.
"""

import pathlib

from absl import flags
import numpy as np
import rich

from experiments import data as data_lib
from experiments import main
from experiments import stages
from experiments import workdir
from experiments.config import Experiment
from experiments.reporting import tables
from slstm.train import Data

_FOLDS = flags.DEFINE_integer('folds', 4, 'Folds of subjects.', lower_bound=2)


def folds(dataset: data_lib.DataSet, count: int) -> list[data_lib.DataSet]:
  """Deals the subjects out, in ascending order, one to each fold in turn.

  Returns:
    For each fold, what to train on and, as validation and as test set, the
    examples of its subjects. The test set of `dataset` is in none.

  Raises:
    ValueError: if the data set knows no subjects, or fewer than folds.
  """
  if dataset.subjects is None:
    raise ValueError('this data set does not say who made an example; '
                     'cross-validation needs subjects.')
  x, y = (
      np.concatenate(parts) for parts in zip(dataset.train, dataset.validation))
  subjects = np.concatenate(dataset.subjects)
  present = np.unique(subjects)
  if len(present) < count:
    raise ValueError(f'--folds={count} of {len(present)} subjects; expected at '
                     'most one for each.')
  parted = []
  for fold in range(count):
    held_out = np.isin(subjects, present[fold::count])
    validation = Data(x[held_out], y[held_out])
    parted.append(
        dataset._replace(train=Data(x[~held_out], y[~held_out]),
                         validation=validation,
                         test=validation,
                         subjects=None))
  return parted


def run(experiment: Experiment, dataset: data_lib.DataSet,
        work_dir: pathlib.Path) -> None:
  """Trains and validates every fold; prints and writes the accuracies."""
  accuracies = []
  for index, fold in enumerate(folds(dataset, _FOLDS.value)):
    folder = work_dir / f'fold{index}'
    stages.train_ann(experiment, fold, folder)
    metrics = workdir.read_json(folder / 'metrics.json')
    accuracies.append((metrics['history'][-1]['validation_accuracy'],
                       metrics['validation_accuracy']))
  last, best = (list(column) for column in zip(*accuracies))
  workdir.write_json(
      work_dir / 'folds.json', {
          'last_epoch': last,
          'best_epoch': best,
          'mean_last_epoch': float(np.mean(last)),
          'mean_best_epoch': float(np.mean(best)),
      })
  rows = [(f'{index}', *map(tables.percent, row))
          for index, row in enumerate(accuracies)]
  rows.append(('mean', *map(tables.percent, np.mean(accuracies, axis=0))))
  rich.print(
      tables.rich_table(
          tables.Table('Held-out subjects',
                       ('fold', 'last epoch, %', 'best epoch, %'),
                       tuple(rows))))


if __name__ == '__main__':
  main.main(run)
