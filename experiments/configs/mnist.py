r"""Temporal MNIST, one layer of 128 units; row by row: N = 28, D = 28.

python -m experiments.pipeline --config=experiments/configs/mnist.py:pixels \
  --workdir=runs/mnist_pixels

About half a minute per epoch of the LSTM on one CPU core; pixel by pixel (N =
784, D = 1) about 6 minutes, of the SNN too.
"""

from experiments import config
from experiments import configs
from experiments.config import Experiment
from experiments.datasets.mnist import Mnist

_LONG = {'batch_size': 32, 'weight_decay': 1e-4, 'label_smoothing': 0.05,
         'dropout': 0.1}  # yapf: disable
# The LSTM learns images of half the side first, N = 196, where an epoch takes a
# quarter of the time; then its time constants are stretched by 4. Row
# mnist_pixels_unstretched in results/README.md is without that, and
# mnist_pixels_chrono with larger batches and larger initial time constants,
# which have been removed since.
_PIXELS = {
    'data': {'order': 'pixels', 'short_epochs': 4},
    'model': {'family': 'standard'},
    'ann': {**_LONG, 'epochs': 6, 'learning_rate': 2e-3},
    'conversion': {'coupling': 'shared', 'rate': 0.08},
    'snn': {**_LONG, 'epochs': 3},
}  # yapf: disable

VARIANTS: configs.Variants = {
    # Spikes at the input, too. The source is the standard LSTM, as it is the
    # better one on {o, c} (results/ablations/mnist_rows.md).
    'rows_spiking': {'model': {'family': 'standard'},
                     'conversion': {'encoding': 'spiking'}},
    'pixels': _PIXELS,
    # In one fixed random order.
    'permuted': {**_PIXELS, 'data': {'order': 'permuted'},
                 'ann': {**_LONG, 'epochs': 12, 'learning_rate': 4e-3}},
}  # yapf: disable


def get_config(variant: str = '') -> Experiment:
  """One of VARIANTS, or '' for the experiment itself."""
  experiment = Experiment(
      Mnist(),
      config.ModelConfig(hidden=(128,), pooling=('last', 'mean')),
      # Rows of an image change more than samples of a signal.
      config.Training(epochs=14, batch_size=128),
      config.Conversion(rate=0.16),
      config.Tuning(epochs=6, batch_size=128, distillation=0.5))
  return configs.choose(experiment, VARIANTS, variant)
