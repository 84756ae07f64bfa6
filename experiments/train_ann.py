r"""Trains the source LSTM.

python -m experiments.train_ann --config=experiments/configs/har.py \
  --workdir=runs/hard
"""

from experiments import main
from experiments import stages

if __name__ == '__main__':
  main.main(stages.train_ann, reads=('data', 'model', 'ann', 'seed'))
