"""Presets: one frozen experiment each, by name."""

import dataclasses

from experiments.config import Experiment

_HAR = Experiment(frames=2, hidden=(128,), rotation=0.1, noise=0.1)
_GSC = Experiment(dataset='speech_commands',
                  frames=2,
                  pooling=('last', 'mean', 'max'),
                  epochs=18,
                  learning_rate=2e-3,
                  time_shift=10,
                  time_mask=15,
                  feature_mask=6,
                  background=0.5)
_MNIST = Experiment(dataset='mnist', batch_size=128, hidden=(128,))

PRESETS = {
    'npz': Experiment(dataset='npz'),
    'har': _HAR,
    'gsc_1x128': dataclasses.replace(_GSC, hidden=(128,)),
    'gsc_1x256': dataclasses.replace(_GSC, hidden=(256,)),
    'gsc_2x256': dataclasses.replace(_GSC, hidden=(256, 256)),
    'mnist_rows': _MNIST,
}
