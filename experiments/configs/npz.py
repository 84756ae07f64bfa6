r"""Arrays of your own; one layer of 64 units.

python -m experiments.pipeline --config=experiments/configs/npz.py \
  --config.data.path=mine.npz --workdir=runs/mine
"""

from experiments import configs
from experiments.config import Experiment
from experiments.datasets.npz import Npz

VARIANTS: configs.Variants = {}


def get_config(variant: str = '') -> Experiment:
  """One of VARIANTS, or '' for the experiment itself."""
  return configs.choose(Experiment(Npz()), VARIANTS, variant)
