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


@pytest.mark.parametrize('name', ['gsc', 'har'])
def test_readme_says_what_was_measured(name):
  model, tested, data = released(name)
  assert model.config.num_steps == 2
  assert data['name'] == {'gsc': 'speech_commands', 'har': 'har'}[name]
  line, = [
      line for line in (MODELS / 'README.md').read_text().splitlines()
      if line.startswith(f'| `{name}`')
  ]
  assert f'{100 * tested["test_accuracy"]:.2f} %' in line


def test_readme_says_what_integers_have():
  ints = slstm.load_integers(MODELS / 'har_int8.slstm')
  x, y = base.load(har.Har()).test
  right = integer.outputs(ints, x).argmax(-1) == y
  line, = [
      line for line in (MODELS / 'README.md').read_text().splitlines()
      if line.startswith('| `har_int8.slstm`')
  ]
  assert f'| {100 * right.mean():.2f} % |' in line


def _like(found, before):
  """Those entries of nested dicts and lists that there were before."""
  if isinstance(before, dict):
    return {key: _like(found[key], value) for key, value in before.items()}
  if isinstance(before, list):
    assert len(found) == len(before)
    return [*map(_like, found, before)]
  return found


def test_har_has_its_accuracy_and_counts():
  model, tested, options = released('har')
  del options['name']
  dataset = base.load(har.Har(**options))
  found = slstm.evaluate(model, dataset.test)
  # Sums in another order may move a drive across a threshold.
  assert found.metric == pytest.approx(tested['test_accuracy'], abs=0.001)
  assert found.loss == pytest.approx(tested['test_loss'], rel=1e-3)
  counts = energy.to_dict(slstm.count_operations(model, dataset.test.x))
  # They were counted before the zeros of analog operands were skipped.
  skipped = [
      (counts['layers'][0]['input'], tested['counts']['layers'][0]['input']),
      (counts['readout']['product'], tested['counts']['readout']['product'])
  ]
  (first, dense), (readout, dense_readout) = skipped
  x = dataset.test.x
  assert first['mac'] == pytest.approx(dense['mac'] * np.mean(x != 0))
  assert 0.95 < readout['mac'] / dense_readout['mac'] <= 1
  for now, before in skipped:
    now['mac'] = before['mac']
  expected, structure = jax.tree.flatten(tested['counts'])
  leaves, its_structure = jax.tree.flatten(_like(counts, tested['counts']))
  assert structure == its_structure and len(leaves) > 40
  assert leaves == pytest.approx(expected, rel=1e-3)


@large_data.needs('speech_commands/layout_sample')
def test_gsc_hears_words():
  """48 clips of 10 words, of speakers of all splits."""
  model = spot.load(MODELS / 'gsc')
  right = []
  for path in sorted(SAMPLE.glob('*/*.wav')):
    heard, = spot.listen(model, frontend.read_audio(path).samples, 1.0)
    assert heard.spikes > 0 and heard.energy > 0
    right.append(heard.label == path.parent.name)
  assert len(right) == 48 and np.mean(right) > 0.9
  assert {path.parent.name for path in SAMPLE.glob('*/*.wav')
         } <= set(speech_commands.KEYWORDS)
