"""What the README says: its Python runs, its figures are the published ones."""

import collections
import pathlib
import re
import shlex
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import report
from experiments.reporting import load
import slstm
from slstm import neurons
from tests import binaries

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
RESULTS = ROOT / 'results' / 'README.md'
FEW = ('data = data._replace(**{part: type(data.train)(x[:128], y[:128])'
       ' for part, (x, y, _) in zip(data._fields, data[:3])})')


def cells(line):
  return [cell.strip() for cell in line.strip('|').split('|')]


def test_the_examples(capsys, tmp_path, monkeypatch):
  """As they stand, but for fewer epochs and examples."""
  monkeypatch.chdir(tmp_path)
  ten, five, integers = (re.sub(
      r'epochs=\d+', 'epochs=1',
      code) for code in re.findall('```python\n(.*?)```',
                                   README.read_text(encoding='utf-8'),
                                   flags=re.DOTALL))
  whole = '.load()'
  assert ten.count(whole) == 1 and ten.count('epochs=') == 2
  names: dict = {}
  few = ten.replace(whole, f'{whole}\n{FEW}')
  exec(few, names)  # pylint: disable=exec-used
  snn = names['state'].best
  assert snn.config.num_steps == 2
  assert snn.layers[0].neurons.present == ('o', 'c')
  assert snn.layers[0].neurons.o.v_th.shape == (128,)  # as the published rows
  assert names['lstm'].config.pooling == ('mean',)
  assert 'Evaluation(metric=' in capsys.readouterr().out
  exec(five, names)  # pylint: disable=exec-used
  assert names['state'].best.layers[0].neurons.h.theta.shape == (128,)
  assert float(capsys.readouterr().out) > 0
  exec(integers, names)  # pylint: disable=exec-used
  assert (tmp_path / 'c' / 'model.c').is_file()


@pytest.mark.slow
def test_the_commands_for_data_of_ones_own(tmp_path):
  """As they stand, but for folders, sizes and a shorter training."""
  text = README.read_text(encoding='utf-8').replace('\\\n', '')
  blocks = re.findall('```sh\n(.*?)```', text, flags=re.DOTALL)
  block, = (code for code in blocks if 'mine.csv' in code)
  commands = [shlex.split(line) for line in block.splitlines()]
  assert len(commands) == 4 and '--help' in commands[0]
  element = [f's{k // 3},{("up", "down")[k // 3 % 2]},{k % 7},{k // 3 % 2}\n'
             for k in range(240)]  # yapf: disable
  for name in ('mine.csv', 'new.csv'):
    (tmp_path / name).write_text('sequence,label,a,b\n' + ''.join(element))
  short = ['--config.ann.epochs=2', '--config.snn.epochs=1',
           '--config.ann.batch_size=8', '--config.snn.batch_size=8',
           '--config.model.hidden=4', '--converted_steps=1', '--tuned_steps=1',
           '--sigma_delta_steps=', '--quantised_levels=', '--latency_seconds=0'
          ]  # yapf: disable
  places = r'(?<==)(?=mine|new|runs|predictions)'
  for index, (python, *arguments) in enumerate(commands):
    assert python == 'python'
    arguments = [re.sub(places, f'{tmp_path}/', word) for word in arguments]
    status, printed = binaries.run_python(*arguments, *short * (index == 1))
    assert 'Traceback' not in printed and status == (index == 0), printed
  predicted = (tmp_path / 'predictions.csv').read_text().splitlines()
  assert predicted[0] == 'sequence,class,score_down,score_up'
  assert len(predicted) == 81 and predicted[1].startswith('s0,')
  assert (tmp_path / 'runs' / 'mine' / 'report.md').is_file()


def test_the_example_of_an_own_optimiser():
  """That of WORKSPACE.md, with a decay that would move anything."""
  code, = re.findall('```python\n(.*?)```',
                     (ROOT / 'WORKSPACE.md').read_text(encoding='utf-8'),
                     flags=re.DOTALL)
  adamw = 'adamw(1e-3)'
  assert code.count(adamw) == 1
  neuron = neurons.integrate_and_fire(True)._replace(leak=jnp.float32(0.99))
  model = slstm.init(jax.random.key(0), num_features=3, hidden_sizes=(4,),
                     num_outputs=2)  # yapf: disable
  model = model.replace(layers=(model.layers[0]._replace(
      neurons=slstm.Sites(o=neuron, c=neuron)),))
  x, y = jnp.ones((2, 3, 3)), jnp.arange(2)
  names = {'jax': jax, 'optax': optax, 'slstm': slstm, 'model': model, 'x': x,
           'y': y}  # yapf: disable
  wild = 'adamw(10.0, weight_decay=0.01)'
  exec(code.replace(adamw, wild), names)  # pylint: disable=exec-used
  assert (names['raw'].encoder.std != 1).all()
  found = names['model']
  np.testing.assert_array_equal(found.encoder.std, 1)
  assert found.layers[0].neurons.o.v_th != neuron.v_th
  slstm.evaluate(found, slstm.Data(x, y))


def test_the_results_are_written_from_what_is_beside_them(tmp_path):
  for path in RESULTS.parent.glob('*/seed*/*/*.json'):
    copy = tmp_path / path.relative_to(RESULTS.parent)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, copy)
  written = report.write_all(tmp_path).read_text(encoding='utf-8')
  assert written == RESULTS.read_text(
      encoding='utf-8'), ('run python -m experiments.report')


def published():
  """Cells of results/README.md, by row and model."""
  found = collections.defaultdict(dict)
  for line in RESULTS.read_text(encoding='utf-8').splitlines():
    if line.startswith('| '):
      row, model, *rest = cells(line)
      found[row][model] = found[row].get(model, []) + rest
  return found


def tables():
  """Cells of the tables of results in the README, each by its lines."""
  text = README.read_text(encoding='utf-8')
  for table in re.findall(r'(?:^\| .*\n)+', text, flags=re.MULTILINE):
    header, _, *lines = map(cells, table.splitlines())
    if header[0].startswith('task, network'):
      yield header, lines


def test_the_figures_of_sigma_delta_neurons_are_those_of_the_results():
  (header, lines), _ = tables()
  assert len(lines) >= 2 and header[1:3] == ['standard LSTM', 'SNN, T = 1']
  for line in lines:
    row = re.search(r'\((\w+)\)', line[0])[1]
    found = published()[row]
    assert found['standard LSTM'][0] == line[1], line
    figures = found['fine-tuned T=1, sigma-delta']
    assert figures[0] == line[2] and {*line[2:]} <= {*figures}, line


def test_the_figures_are_those_of_the_results():
  epochs = {(row.name, m.label): str(m.fields['snn.epochs'])
            for row in load.read_rows(RESULTS.parent)
            for run in row.runs.values()
            for m in run.models if m.kind == 'tuned'}  # yapf: disable
  _, (header, lines) = tables()
  assert len(lines) >= 5 and header[1:4] == [
      'standard LSTM', 'SNN, T = 2', 'SNN, T = 1'
  ]
  for line in lines:
    shown = dict(zip(header, line))
    trained = shown.pop('epochs of fine-tuning')
    lstm, two, one, *energies = list(shown.values())[1:]
    found = [
        dict.fromkeys((epochs[row, model], epochs[row, other]))
        for row, models in published().items()
        for model, figures in models.items()
        if model.startswith('fine-tuned T=2')
        for other, figures_of_other in models.items()
        if other.startswith('fine-tuned T=1') and figures[0] == two and
        figures_of_other[0] == one and {*energies} <= {*figures} and
        models['standard LSTM'][0] == lstm
    ]  # yapf: disable
    assert trained in [' and '.join(of) for of in found], line
