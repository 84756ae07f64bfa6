r"""Measures a model on the test set: accuracy, spikes, operations, energy.

python -m experiments.evaluate --config=experiments/configs/har.py \
  --source=runs/tuned_T2 --workdir=runs/tuned_T2_test

Of the config it reads the data set only.
"""

from experiments import main
from experiments import stages

if __name__ == '__main__':
  run = lambda experiment, dataset, workdir: stages.evaluate(
      dataset, main.source(), workdir)
  main.main(run, reads_source=True, reads=('data',))
