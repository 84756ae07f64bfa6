r"""UCI HAR, one layer of 128 units; the default config, that of `make demo`.

python -m experiments.pipeline --config=experiments/configs/har.py:2x64 \
  --workdir=runs/har_2x64

Two samples per element: N = 64, D = 18. About 5 minutes on 2 CPU cores.
"""

from experiments import config
from experiments import configs
from experiments.config import Experiment
from experiments.datasets.har import Har

VARIANTS: configs.Variants = {
    '1x64': {'model': {'hidden': (64,)}},
    '2x64': {'model': {'hidden': (64, 64)}},
    # Spikes at the input, too.
    'spiking': {'conversion': {'encoding': 'spiking', 'encoder_steps': 4}},
}  # yapf: disable


def get_config(variant: str = '') -> Experiment:
  """One of VARIANTS, or '' for the experiment itself."""
  experiment = Experiment(Har(), config.ModelConfig(hidden=(128,)))
  return configs.choose(experiment, VARIANTS, variant)
