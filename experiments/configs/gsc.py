r"""Google Speech Commands, 12 classes, two layers of 256 units.

python -m experiments.pipeline --config=experiments/configs/gsc.py:1x256 \
  --workdir=runs/gsc_1x256

Two frames of 10 ms per element: N = 49, D = 80. The read-out over last, mean
and max was some points better than over the mean (validation, 1 x 128, a few
epochs, one seed). The source is the standard LSTM: with LIF neurons on {o, c}
alone it converts better than the hard one, whose gates i, f, g gain nothing
from being clips (results/README.md has both). On validation data the SNN is 0.4
points better after 12 epochs than after 4.

On one CPU core an epoch of the LSTM takes about 3 minutes, one of the SNN at T
= 2 about 4. With one layer it is 1 and 2; with 128 units, half a minute and 50
seconds.
"""

from experiments import config
from experiments import configs
from experiments.config import Experiment
from experiments.datasets.speech_commands import SpeechCommands

VARIANTS: configs.Variants = {
    '2x256': {},
    '1x256': {'model': {'hidden': (256,)}},
    '1x128': {'model': {'hidden': (128,)}},
    # Spikes at the input, too: eight steps of the encoder tell 17 levels of a
    # feature apart. All T steps of an element share one state, so that an epoch
    # of the SNN takes about as long as one of the LSTM. The LSTM is that of the
    # experiment itself; give its folder to --reuse.
    '2x256_spiking': {'conversion': {'encoding': 'spiking', 'encoder_steps': 8,
                                     'coupling': 'shared'}},
}  # yapf: disable


def get_config(variant: str = '') -> Experiment:
  """One of VARIANTS, or '' for the experiment itself."""
  experiment = Experiment(SpeechCommands(),
                          config.ModelConfig(hidden=(256, 256),
                                             family='standard',
                                             pooling=('last', 'mean', 'max')),
                          config.Training(epochs=18, learning_rate=2e-3),
                          snn=config.Tuning(epochs=12, distillation=0.5))
  return configs.choose(experiment, VARIANTS, variant)
