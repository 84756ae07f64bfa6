r"""Trains weights, thresholds and leaks of a converted SNN jointly.

python -m experiments.train_snn --config=experiments/configs/har.py \
  --source=runs/converted_T2 --workdir=runs/tuned_T2
"""

import pathlib

from experiments import binary
from experiments import main
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base

_TEACHER = binary.define_path(
    'teacher', 'Work directory of the LSTM that config.snn.distillation is of.')


def _run(experiment: Experiment, dataset: base.DataSet,
         workdir: pathlib.Path) -> None:
  teacher = _TEACHER.value
  if teacher and not experiment.snn.distillation:
    raise ValueError(f'--teacher={teacher} does nothing, as config.snn.'
                     'distillation is 0; leave it out, or give a share.')
  stages.train_snn(experiment, dataset, main.source(), workdir, teacher)


if __name__ == '__main__':
  main.main(_run, reads_source=True, reads=('data', 'snn', 'seed'))
