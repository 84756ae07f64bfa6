"""The whole chain: train, convert, fine-tune, evaluate, report.

  python -m experiments.pipeline --preset=har --work_dir=runs/har

Runs a standard and a convertible LSTM of the same size, conversions without
training at several T, and fine-tuned ones. A run that was killed goes on where
it was; one that is finished only writes its report anew.
"""

import dataclasses
import pathlib

from absl import flags

from experiments import data as data_lib
from experiments import latency
from experiments import main
from experiments import report
from experiments import stages
from experiments.config import Experiment

_CONVERTED = flags.DEFINE_list('converted_steps', ['1', '2', '4', '8'],
                               'T of the conversions without training.')
_TUNED = flags.DEFINE_list('tuned_steps', ['1', '2', '4'],
                           'T of the fine-tuned SNNs; part of the above.')


def run(experiment: Experiment, dataset: data_lib.DataSet,
        work_dir: pathlib.Path) -> None:
  """Runs all stages under one work directory, one folder each."""
  converted, tuned = (
      tuple(map(int, flag.value)) for flag in (_CONVERTED, _TUNED))
  if not set(tuned) <= set(converted):
    raise ValueError(f'--tuned_steps={tuned} are not all among '
                     f'--converted_steps={converted}.')
  evaluate = lambda name, variant: stages.evaluate(
      variant, dataset, work_dir / name, work_dir / f'{name}_test')

  for family in ('standard', experiment.family):
    variant = dataclasses.replace(experiment, family=family)
    stages.train_ann(variant, dataset, work_dir / family)
    evaluate(family, variant)
  for num_steps in converted:
    variant = dataclasses.replace(experiment, num_steps=num_steps)
    name = f'converted_T{num_steps}'
    stages.convert(variant, dataset, work_dir / experiment.family,
                   work_dir / name)
    evaluate(name, variant)
  for num_steps in tuned:
    variant = dataclasses.replace(experiment, num_steps=num_steps)
    name = f'tuned_T{num_steps}'
    stages.train_snn(variant, dataset, work_dir / f'converted_T{num_steps}',
                     work_dir / name)
    evaluate(name, variant)
  models = {
      name: work_dir / name for name in (
          'standard', experiment.family,
          *(f'converted_T{num_steps}' for num_steps in converted),
          *(f'tuned_T{num_steps}' for num_steps in tuned))
  }
  latency.latency(experiment, dataset, models, work_dir / 'latency')
  report.write(work_dir)


if __name__ == '__main__':
  main.main(run)
