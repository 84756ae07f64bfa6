"""The scripts of experiments/examples, on few examples of their data."""

import os
import pathlib
import runpy

import jax
import pytest

from experiments.datasets.har import Har

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / 'experiments/examples'
SCRIPTS = sorted(path for path in EXAMPLES.glob('*.py') if path.stem[0] != '_')
FEW = 128


@pytest.mark.filterwarnings('ignore:__array__ implementation')  # Keras's own
@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.stem)
def test_an_example(script, monkeypatch, capsys):
  library = script.stem.removesuffix('_lstm')
  os.environ.setdefault('KERAS_BACKEND', 'jax')
  if library in ('torch', 'keras'):
    pytest.importorskip(library, reason=f'{library} is not installed')
  whole = Har.load

  def few(self):
    data = whole(self)
    return data._replace(**{
        part: getattr(data, part).rows(slice(FEW)) for part in data._fields[:3]
    })

  monkeypatch.setattr(Har, 'load', few)
  with jax.numpy_rank_promotion('allow'):  # Keras and flax add biases so
    names = runpy.run_path(str(script))
  assert capsys.readouterr().out.count('Evaluation(metric=') == 2
  assert names['snn'].layers[0].neurons.present == ('h',)
  assert not names['model'].is_spiking


def test_examples_are_short():
  assert len(SCRIPTS) == 4
  for script in SCRIPTS:
    lines = script.read_text(encoding='utf-8').splitlines()
    assert len([line for line in lines if line]) <= 20, script.stem
