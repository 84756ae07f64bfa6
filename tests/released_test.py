"""The released models load in one call and do what is said of them."""

import json

import numpy as np
import pytest

from experiments import data as data_lib
from experiments import spot
from experiments.config import Experiment
import slstm
from tests import binaries
from tests import large_data
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import frontend

MODELS = binaries.ROOT / 'results' / 'models'
SAMPLE = large_data.FOLDER / 'speech_commands' / 'layout_sample'


def released(name):
  """(params, config, accuracy on the test set, experiment) of a model."""
  folder = MODELS / name
  tested = json.loads((folder / 'test_metrics.json').read_text())
  stage = json.loads((folder / 'config.json').read_text())
  fields = {
      key: tuple(value) if isinstance(value, list) else value
      for key, value in stage['experiment'].items()
  }
  return (*slstm.load_model(folder / 'model'), tested['test_accuracy'],
          Experiment(**fields))


@pytest.mark.parametrize('name', ['gsc', 'har'])
def test_readme_says_what_was_measured(name):
  _, config, accuracy, _ = released(name)
  assert config.num_steps == 2
  line, = [
      line for line in (MODELS / 'README.md').read_text().splitlines()
      if line.startswith(f'| `{name}`')
  ]
  assert f'{100 * accuracy:.2f} %' in line


def test_har_reaches_its_accuracy():
  params, config, accuracy, experiment = released('har')
  found, _ = slstm.evaluate(params, data_lib.load(experiment).test, config)
  # Sums in another order may move a drive across a threshold.
  assert found == pytest.approx(accuracy, abs=0.003)


@large_data.needs('speech_commands/layout_sample')
def test_gsc_hears_words():
  """48 clips of 10 words, of speakers of all splits."""
  spotter = spot.load(MODELS / 'gsc')
  right = []
  for path in sorted(SAMPLE.glob('*/*.wav')):
    heard, = spot.listen(spotter, frontend.read_audio(path).samples, 1.0)
    assert heard.spikes > 0 and heard.energy > 0
    right.append(heard.label == path.parent.name)
  assert len(right) == 48 and np.mean(right) > 0.9
  assert {path.parent.name for path in SAMPLE.glob('*/*.wav')
         } <= set(speech_commands.KEYWORDS)
