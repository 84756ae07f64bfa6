r"""Converts a trained source LSTM to an SNN, without training it.

  python -m experiments.convert --preset=har \
    --source=runs/hard --num_steps=2 \
    --work_dir=runs/converted_T2
"""

from experiments import main
from experiments import stages

if __name__ == '__main__':
  main.source_flag()
  main.main(lambda experiment, dataset, work_dir: stages.convert(
      experiment, dataset, main.source(), work_dir))
