"""What the README says: its Python runs, its figures are the published ones."""

import collections
import pathlib
import re
import shutil

import jax
import numpy as np

from experiments.reporting import overview
import slstm

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
RESULTS = ROOT / 'results' / 'README.md'


def cells(line):
  return [cell.strip() for cell in line.strip('|').split('|')]


def test_the_ten_lines(tmp_path, monkeypatch, capsys):
  code, = re.findall('```python\n(.*?)```',
                     README.read_text(encoding='utf-8'),
                     flags=re.DOTALL)
  config = slstm.Config(pooling=('mean',))
  params = slstm.init(jax.random.key(0), 3, (8,), 4, config)
  monkeypatch.chdir(tmp_path)
  slstm.save_model(tmp_path / 'runs/demo/hard/model', params, config)
  x = np.random.default_rng(0).normal(size=(6, 10, 3)).astype(np.float32)
  names = {'x_train': x, 'x_test': x[:, :5]}
  exec(code, names)  # pylint: disable=exec-used
  assert names['labels'].shape == (5,)
  assert names['snn'].params.layers[0].neurons.present == ('o', 'c')
  assert names['energy'][2].total > names['energy'][1].total > 0
  assert 'mse_held_out' in capsys.readouterr().out


def test_the_results_are_written_from_what_is_beside_them(tmp_path):
  for path in RESULTS.parent.glob('*/seed*/*/*.json'):
    copy = tmp_path / path.relative_to(RESULTS.parent)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, copy)
  written = overview.write(tmp_path).read_text(encoding='utf-8')
  assert written == RESULTS.read_text(
      encoding='utf-8'), ('run python -m experiments.report')


def test_the_figures_are_those_of_the_results():
  published = collections.defaultdict(set)  # by row
  for line in RESULTS.read_text(encoding='utf-8').splitlines():
    if line.startswith('| '):
      published[cells(line)[0]].update(cells(line)[2:])
  table = README.read_text(encoding='utf-8').split('| standard LSTM |')[1]
  rows = table.split('\n\n')[0].splitlines()[2:]
  assert len(rows) >= 5
  for row in rows:
    *accuracies, energies = cells(row)[1:]
    figures = {*accuracies, *re.findall(r'[\d.]+', energies)}
    assert any(figures <= there for there in published.values()), row
