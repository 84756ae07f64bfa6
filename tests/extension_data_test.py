"""A data set from outside: arrays in memory, in the user's own config file."""

import json

from tests import binaries

CONFIG = '''
"""Which of two channels is louder, made up in memory."""
import dataclasses
from typing import ClassVar

import numpy as np

from experiments import config
from experiments.datasets import base
import slstm


@dataclasses.dataclass(frozen=True)
class Louder:
  """Attributes:
    length: N.
    gain: of the louder channel.
  """
  name: ClassVar[str] = 'louder'
  length: int = 6
  gain: float = 3.0

  def load(self):
    rng = np.random.default_rng(0)
    y = np.arange(120, dtype=np.int32) % 2
    x = rng.normal(size=(120, self.length, 2)).astype(np.float32)
    x[np.arange(120), :, y] *= self.gain
    parts = (slice(0, 64), slice(64, 92), slice(92, 120))
    return base.DataSet(*(slstm.Data(x[part], y[part]) for part in parts),
                        classes=('left', 'right'))


def get_config():
  return config.Experiment(
      Louder(), config.ModelConfig(hidden=(8,)),
      config.Training(epochs=12, batch_size=16, learning_rate=0.01, dropout=0),
      config.Conversion(num_steps=2, calibration=64),
      config.Tuning(epochs=2, batch_size=16, dropout=0.0))
'''


def test_it_runs_the_pipeline(tmp_path):
  path, folder = tmp_path / 'louder.py', tmp_path / 'run'
  path.write_text(CONFIG)
  binaries.must('pipeline', f'--config={path}', '--config.data.gain=4.0',
                '--converted_steps=2', '--tuned_steps=2', '--latency_seconds=0',
                f'--workdir={folder}')
  config = json.loads((folder / 'tuned_T2' / 'config.json').read_text())
  assert config['experiment']['data'] == {
      'name': 'louder',
      'length': 6,
      'gain': 4.0
  }
  for made in 'tuned_sd_T1', 'quantised_Q1':
    assert (folder / f'{made}_test' / 'metrics.json').is_file()
  tested = json.loads((folder / 'tuned_T2_test' / 'metrics.json').read_text())
  assert tested['test_accuracy'] > 0.65
  assert tested['sizes'] == {
      'elements': 6,
      'features': 2,
      'hidden': [8],
      'classes': 2,
      'parameters': tested['sizes']['parameters']
  }
  report = (folder / 'report.md').read_text()
  assert 'fine-tuned T=2' in report and 'louder' in report
