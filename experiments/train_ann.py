"""Trains the source LSTM.

  python -m experiments.train_ann --preset=har --work_dir=runs/hard
"""

from experiments import main
from experiments import stages

if __name__ == '__main__':
  main.main(stages.train_ann)
