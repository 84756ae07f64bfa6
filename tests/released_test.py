"""The released models load in one call and do what is said of them."""

import json

import jax
import numpy as np
import pytest

from experiments import spot
from experiments.datasets import base
from experiments.datasets import har
import slstm
from slstm import energy
from slstm import integer
from tests import binaries
from tests import large_data
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import frontend

MODELS = binaries.ROOT / 'results' / 'models'
SAMPLE = large_data.FOLDER / 'speech_commands' / 'layout_sample'


def released(name):
  """(model, what was measured on the test set, options of its data)."""
  folder = MODELS / name
  tested = json.loads((folder / 'test_metrics.json').read_text())
  stage = json.loads((folder / 'config.json').read_text())
  return slstm.load_model(folder / 'model'), tested, stage['experiment']['data']


DATA = {'gsc': 'speech_commands', 'har': 'har', 'har_lif': 'har'}


@pytest.mark.parametrize('name', DATA)
def test_readme_says_what_was_measured(name):
  model, tested, data = released(name)
  assert model.config.num_steps == (2 if name == 'har_lif' else 1)
  assert data['name'] == DATA[name]
  line, = [
      line for line in (MODELS / 'README.md').read_text().splitlines()
      if line.startswith(f'| `{name}`')
  ]
  assert f'{100 * tested["test_accuracy"]:.2f} %' in line


def test_readme_says_what_integers_have():
  ints = slstm.load_integers(MODELS / 'har_int8.slstm')
  x, y, _ = base.load(har.Har()).test
  right = integer.outputs(ints, x).argmax(-1) == y
  line, = [
      line for line in (MODELS / 'README.md').read_text().splitlines()
      if line.startswith('| `har_int8.slstm`')
  ]
  assert f'| {100 * right.mean():.2f} % |' in line


@pytest.mark.parametrize('name', ['har', 'har_lif'])
def test_har_has_its_accuracy(name):
  model, tested, options = released(name)
  del options['name']
  found = slstm.evaluate(model, base.load(har.Har(**options)).test)
  # Sums in another order may move a drive across a threshold.
  assert found.metric == pytest.approx(tested['test_accuracy'], abs=0.001)
  assert found.loss == pytest.approx(tested['test_loss'], rel=1e-3)


def test_har_has_its_counts():
  model, tested, options = released('har')
  del options['name']
  x = base.load(har.Har(**options)).test.x
  counts = energy.to_dict(slstm.count_operations(model, x))
  expected, structure = jax.tree.flatten(tested['counts'])
  leaves, its_structure = jax.tree.flatten(counts)
  assert structure == its_structure and len(leaves) > 40
  assert leaves == pytest.approx(expected, rel=2e-3)


@large_data.needs('speech_commands/layout_sample')
def test_gsc_hears_words():
  """48 clips of 10 words, of speakers of all splits."""
  model = spot.load(MODELS / 'gsc')
  right = []
  for path in sorted(SAMPLE.glob('*/*.wav')):
    heard, = spot.listen(model, frontend.stream_audio(path).blocks, 1.0)
    assert heard.spikes > 0
    right.append(heard.label == path.parent.name)
  assert len(right) == 48 and np.mean(right) > 0.9
  assert {path.parent.name for path in SAMPLE.glob('*/*.wav')
         } <= set(speech_commands.KEYWORDS)
