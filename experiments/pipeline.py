"""The whole chain: train, convert, fine-tune, evaluate, report.

  python -m experiments.pipeline --preset=har --work_dir=runs/har

Runs a standard and a convertible LSTM of the same size, conversions without
training at several T, and fine-tuned ones. A run that was killed goes on where
it was; one that is finished only writes its report anew.
"""

import dataclasses
import pathlib

from absl import flags

from experiments import config as config_lib
from experiments import data as data_lib
from experiments import latency
from experiments import main
from experiments import report
from experiments import stages
from experiments import workdir
from experiments.config import Experiment

flags.DEFINE_list('converted_steps', ['1', '2', '4', '8'],
                  'T of the conversions without training.')
flags.DEFINE_list('tuned_steps', ['1', '2', '4'],
                  'T of the fine-tuned SNNs; part of the above.')


def run(experiment: Experiment, dataset: data_lib.DataSet,
        work_dir: pathlib.Path) -> None:
  """Runs all stages under one work directory, one folder each."""
  converted = config_lib.entries('converted_steps', int)
  tuned = config_lib.entries('tuned_steps', int)
  if not set(tuned) <= set(converted):
    raise ValueError(f'--tuned_steps={tuned} are not all among '
                     f'--converted_steps={converted}.')
  for num_steps in converted:
    dataclasses.replace(experiment, num_steps=num_steps).check()
  families = tuple(dict.fromkeys(('standard', experiment.family)))
  names = (*families, *(f'converted_T{num_steps}' for num_steps in converted),
           *(f'tuned_T{num_steps}' for num_steps in tuned))
  models = {name: work_dir / name for name in names}
  workdir.write_json(work_dir / 'plan.json', {'models': list(models)})

  def evaluate(name: str, variant: Experiment) -> None:
    stages.evaluate(variant, dataset, models[name], work_dir / f'{name}_test')

  for family in families:
    variant = dataclasses.replace(experiment, family=family)
    stages.train_ann(variant, dataset, models[family])
    evaluate(family, variant)
  for num_steps in converted:
    variant = dataclasses.replace(experiment, num_steps=num_steps)
    name = f'converted_T{num_steps}'
    stages.convert(variant, dataset, models[experiment.family], models[name])
    evaluate(name, variant)
  for num_steps in tuned:
    variant = dataclasses.replace(experiment, num_steps=num_steps)
    name = f'tuned_T{num_steps}'
    stages.train_snn(variant, dataset, models[f'converted_T{num_steps}'],
                     models[name], models[experiment.family])
    evaluate(name, variant)
  latency.latency(experiment, dataset, models, work_dir / 'latency')
  report.write(work_dir)


if __name__ == '__main__':
  main.main(run)
