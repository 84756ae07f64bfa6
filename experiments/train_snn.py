r"""Trains weights, thresholds and leaks of a converted SNN jointly.

  python -m experiments.train_snn --preset=har \
    --source=runs/converted_T2 --num_steps=2 \
    --work_dir=runs/tuned_T2
"""

import pathlib

from absl import flags

from experiments import main
from experiments import stages

_TEACHER = flags.DEFINE_string(
    'teacher', None, 'Work directory of the LSTM that --distillation is from.')


def teacher() -> pathlib.Path | None:
  """The value of --teacher."""
  return pathlib.Path(_TEACHER.value) if _TEACHER.value else None


if __name__ == '__main__':
  main.source_flag()
  main.main(lambda experiment, dataset, work_dir: stages.train_snn(
      experiment, dataset, main.source(), work_dir, teacher()))
