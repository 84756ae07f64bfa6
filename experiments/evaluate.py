r"""Measures a model on the test set: accuracy, spikes, operations, energy.

  python -m experiments.evaluate --preset=har \
    --source=runs/tuned_T2 --num_steps=2 \
    --work_dir=runs/tuned_T2_test
"""

from experiments import main
from experiments import stages

if __name__ == '__main__':
  main.source_flag()
  main.main(lambda experiment, dataset, work_dir: stages.evaluate(
      experiment, dataset, main.source(), work_dir))
