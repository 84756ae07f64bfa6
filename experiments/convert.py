r"""Converts a trained source LSTM to an SNN, without training it.

python -m experiments.convert --config=experiments/configs/har.py \
  --config.conversion.num_steps=2 --source=runs/hard --workdir=runs/converted_T2
"""

from experiments import main
from experiments import stages

if __name__ == '__main__':
  run = lambda experiment, dataset, workdir: stages.convert(
      experiment, dataset, main.source(), workdir)
  main.main(run, reads_source=True, reads=('data', 'conversion'))
