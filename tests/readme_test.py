"""What the README says: its Python runs, its figures are the published ones."""

import collections
import pathlib
import re
import shutil

from experiments import report
from experiments.reporting import load

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
RESULTS = ROOT / 'results' / 'README.md'
FEW = ('data = data._replace(**{part: type(data.train)(x[:512], y[:512])'
       ' for part, (x, y) in zip(data._fields, data[:3])})')


def cells(line):
  return [cell.strip() for cell in line.strip('|').split('|')]


def test_the_ten_lines(capsys):
  """As they stand, but for fewer epochs and examples."""
  code = re.findall('```python\n(.*?)```',
                    README.read_text(encoding='utf-8'),
                    flags=re.DOTALL)[0]
  whole = '.load()'
  assert code.count(whole) == 1 and code.count('epochs=') == 2
  code = re.sub(r'epochs=\d+', 'epochs=1',
                code).replace(whole, f'{whole}\n{FEW}')
  names: dict = {}
  exec(code, names)  # pylint: disable=exec-used
  snn = names['state'].best
  assert snn.config.num_steps == 2
  assert snn.layers[0].neurons.present == ('o', 'c')
  assert snn.layers[0].neurons.o.v_th.shape == (128,)  # as the published rows
  assert names['lstm'].config.pooling == ('mean',)
  assert 'Evaluation(metric=' in capsys.readouterr().out


def test_the_results_are_written_from_what_is_beside_them(tmp_path):
  for path in RESULTS.parent.glob('*/seed*/*/*.json'):
    copy = tmp_path / path.relative_to(RESULTS.parent)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, copy)
  written = report.write_all(tmp_path).read_text(encoding='utf-8')
  assert written == RESULTS.read_text(
      encoding='utf-8'), ('run python -m experiments.report')


def test_the_figures_are_those_of_the_results():
  published = collections.defaultdict(dict)  # cells by row and model
  for line in RESULTS.read_text(encoding='utf-8').splitlines():
    if line.startswith('| '):
      row, model, *rest = cells(line)
      published[row][model] = published[row].get(model, []) + rest
  epochs = {(row.name, m.label): str(m.fields['snn.epochs'])
            for row in load.read_rows(RESULTS.parent)
            for run in row.runs.values()
            for m in run.models if m.kind == 'tuned'}  # yapf: disable
  table = '| task, ' + README.read_text(encoding='utf-8').split('| task, ')[1]
  header, _, *lines = map(cells, table.split('\n\n')[0].splitlines())
  assert len(lines) >= 5 and header[1:4] == [
      'standard LSTM', 'SNN, T = 2', 'SNN, T = 1'
  ]
  for line in lines:
    shown = dict(zip(header, line))
    trained = shown.pop('epochs of fine-tuning')
    lstm, two, one, *energies = list(shown.values())[1:]
    found = [
        dict.fromkeys((epochs[row, model], epochs[row, other]))
        for row, models in published.items()
        for model, figures in models.items()
        if model.startswith('fine-tuned T=2')
        for other, figures_of_other in models.items()
        if other.startswith('fine-tuned T=1') and figures[0] == two and
        figures_of_other[0] == one and {*energies} <= {*figures} and
        models['standard LSTM'][0] == lstm
    ]  # yapf: disable
    assert trained in [' and '.join(of) for of in found], line
