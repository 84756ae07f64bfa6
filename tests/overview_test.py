"""results/README.md shows all rows over their seeds, and nothing else."""

import os
import pathlib
import shutil
import subprocess
import sys
import types

from absl import app
from absl import flags
import pytest

from experiments import provenance
from experiments import reference
from experiments import report
from experiments.reporting import overview
from experiments.reporting import overview_plots
from experiments.reporting import overview_table
from experiments.reporting import plots
from experiments.reporting import results as results_lib
from experiments.reporting import rows as rows_lib
from tests import trees

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHEAP = trees.evaluation(0.85, (1e3, 1e3, 1e3, 1e3), 0.125)


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """One row, of two seeds."""
  for seed in (0, 1):
    trees.add_run(tmp_path / 'small' / f'seed{seed}', seed)
  return tmp_path


def models(folder):
  return [m for row in rows_lib.read(folder) for m in rows_lib.models(row)]


def table(folder):
  """Cells by model; a ratio is named after the energy before it."""
  found = overview_table.table(models(folder))
  header = [
      f'{found.header[i - 1]}, less' if name == 'times less' else name
      for i, name in enumerate(found.header)
  ]
  return {row[1]: dict(zip(header, row)) for row in found.rows}


def remove(folder, *names):
  for name in names:
    shutil.rmtree(folder / name)


def test_cells_over_two_seeds(folder):
  found = overview_table.table(models(folder))
  assert found.rows == (
      ('small', 'standard LSTM', '91.00 ± 1.41', '2', '92.00 ± 1.41', '-', '-',
       '-', '4,010', '1', '8.0', '-', '20.0', '-', '10.0', '-', '-'),
      ('small', 'hard LSTM', '90.00 ± 2.83', '2', '91.00 ± 2.83', '-',
       '-1.00 ± 1.41', '-', '4,010', '1', '8.0', '1.00', '20.0', '1.00', '9.0',
       '1.11', '-'),
      ('small', 'converted T=2', '83.00 ± 4.24', '2', '84.00 ± 4.24',
       '-7.00 ± 1.41', '-8.00 ± 2.83', '0.375', '1,010', '2,001', '2.0', '4.00',
       '8.0', '2.50', '4.0', '2.50', '4.00'),
      # The ratio is the mean of 4 and 2, not that of the means.
      ('small', 'fine-tuned T=2', '90.50 ± 0.71', '2', '91.50 ± 0.71',
       '+0.50 ± 2.12', '-0.50 ± 0.71', '0.250', '1,010', '2,001', '3.0', '3.00',
       '8.0', '2.50', '5.0', '2.00', '4.00'),
  )  # yapf: disable


def test_one_seed_has_no_deviation(folder):
  remove(folder, 'small/seed1')
  found = table(folder)['fine-tuned T=2']
  assert (found['test %'], found['n']) == ('90.00', '1')
  assert (found['vs source'], found['int32 1, nJ, less']) == ('+2.00', '4.00')


def test_what_a_seed_lacks_is_counted(folder):
  remove(folder, 'small/seed1/standard_test', 'small/seed0/tuned_T2')
  found = table(folder)
  assert found['standard LSTM']['test %'] == '90.00'
  assert found['standard LSTM']['n'] == '1'
  assert found['standard LSTM']['validation %'] == '92.00 ± 1.41 (n = 2)'
  assert found['hard LSTM']['vs standard'] == '-2.00 (n = 1)'
  tuned = found['fine-tuned T=2']
  assert (tuned['test %'], tuned['n']) == ('90.50 ± 0.71', '2')
  assert tuned['validation %'] == '92.00 (n = 1)'
  assert tuned['vs source'] == '-1.00 (n = 1)'
  text = overview.write(folder).read_text()
  assert '- Missing for seed 1: standard LSTM: no test figures' in text
  assert '- Missing for seed 0: fine-tuned T=2: folder tuned_T2/ is' in text


def test_what_all_seeds_lack_is_missing(folder):
  for seed in (0, 1):
    remove(folder / 'small' / f'seed{seed}', 'converted_T2_test', 'tuned_T2',
           'tuned_T2_test')
  found = table(folder)
  assert found['converted T=2']['validation %'] == '84.00 ± 4.24 (n = 2)'
  planned = list(found['fine-tuned T=2'].values())[2:]
  assert planned == ['missing', '0'] + ['missing'] * 13
  assert 'nan' not in overview.write(folder).read_text()


def test_row_without_standard_lstm(folder):
  for seed in (0, 1):
    remove(folder / 'small' / f'seed{seed}', 'standard', 'standard_test')
  found = table(folder)
  assert found['standard LSTM']['test %'] == 'missing'
  tuned = found['fine-tuned T=2']
  assert tuned['vs source'] == '+0.50 ± 2.12'
  assert tuned['vs standard'] == tuned['fp32 1, nJ, less'] == 'missing'
  assert tuned['fp32 1, nJ'] == '8.0'


def test_variants_are_named_by_their_config(folder):
  run = folder / 'small' / 'seed0'
  remove(folder, 'small/seed1')
  own = {'hidden': (6,), 'num_steps': 2}
  trees.add_snn(run, 'tuned_T2_x', 'converted_T2', CHEAP, rate_penalty=0.5,
                **own)  # yapf: disable
  trees.add_snn(run, 'mine', 'hard', CHEAP, 'convert', sites=('h',), **own)
  # It tells nothing of what its source was converted to.
  trees.add_snn(run, 'mine_tuned', 'mine', CHEAP, snn_epochs=9, **own)
  found = table(folder)
  assert list(found)[2:] == [
      'converted T=2', 'converted T=2, sites h', 'fine-tuned T=2',
      'fine-tuned T=2, rate penalty 0.5',
      'fine-tuned T=2, sites h, snn epochs 9'
  ]
  penalised = found['fine-tuned T=2, rate penalty 0.5']
  assert (penalised['test %'], penalised['vs source']) == ('85.00', '-3.00')
  assert penalised['int32 1, nJ, less'] == '8.00'


def test_models_of_two_sources_are_not_one(folder):
  own = {'hidden': (6,), 'num_steps': 2, 'family': 'standard'}
  trees.add_snn(folder / 'small' / 'seed0', 'other', 'standard', CHEAP,
                'convert', **own)  # yapf: disable
  found = table(folder)
  assert found['converted T=2']['n'] == '2'
  other = found['converted T=2, family standard']
  assert (other['test %'], other['n']) == ('85.00', '1')
  text = overview.write(folder).read_text()
  pipelines = [
      line for line in text.splitlines() if 'experiments.pipeline' in line
  ]
  assert len(pipelines) == 2  # seed 0 has a command more, seed 1 has not
  for line in pipelines:
    assert '--family' not in line and '--converted_steps=2 ' in line


def test_variant_that_a_seed_lacks_keeps_its_name(folder):
  own = {'num_steps': 2, 'hidden': (6,), 'sites': ('h',)}
  for seed in (0, 1):
    run = folder / 'small' / f'seed{seed}'
    trees.add_snn(run, 'tuned_T2_h', 'converted_T2', CHEAP, seed=seed, **own)
  remove(folder, 'small/seed1/tuned_T2_h')
  found = table(folder)
  assert list(found)[-1] == 'fine-tuned T=2, sites h'
  assert found['fine-tuned T=2, sites h']['n'] == '2'
  remove(folder, 'small/seed0/tuned_T2_h')
  assert 'fine-tuned T=2, folder tuned_T2_h' in table(folder)


@pytest.mark.parametrize('old, new, told', [
    ('"epochs": 12', '"epochs": 13', 'seed1 and .*seed0 differ in epochs'),
    ('"family": "hard"', '"family": "quantised"', 'differ in family'),
    ('"seed": 1', '"seed": 2', 'seed1 holds a run of seed 2; expected seed 1'),
    ('"5a"', '"5b"', r'differ in their data \(data_digest\)'),
])
def test_seeds_of_other_experiments_are_refused(folder, old, new, told):
  for path in (folder / 'small' / 'seed1').glob('*/config.json'):
    if old in path.read_text():
      trees.edit(path, old, new)
  with pytest.raises(ValueError, match=told):
    overview.write(folder)
  assert not (folder / 'README.md').exists()


def test_one_model_twice_is_refused(folder):
  run = folder / 'small' / 'seed0'
  shutil.copytree(run / 'tuned_T2', run / 'again')
  with pytest.raises(ValueError, match='again/ and tuned_T2/ are both'):
    overview.write(folder)


def test_files_elsewhere_and_fields_unknown_then_do_not_matter(folder):
  for path in (folder / 'small' / 'seed1').glob('*/config.json'):
    trees.edit(path, '"data": ""', '"data": "/there"')
    trees.edit(path, '"order": "rows", ', '')
  assert {cells['n'] for cells in table(folder).values()} == {'2'}


def test_further_ledger_gets_columns_once_there_is_one(folder):
  assert 'int32 3, nJ' not in table(folder)['hard LSTM']
  path = folder / 'small' / 'seed0' / 'hard_test' / 'metrics.json'
  trees.edit(path, '{"1": {"total": 8000.0', '{"3": {"total": 7e4}, "1": '
             '{"total": 8000.0')
  found = table(folder)
  assert found['hard LSTM']['int32 3, nJ'] == '70.0 (n = 1)'
  assert found['hard LSTM']['int32 3, nJ, less'] == 'missing'
  assert found['fine-tuned T=2']['int32 3, nJ'] == 'missing'


def test_two_layers_have_two_rates_and_no_cap(tmp_path):
  trees.add_run(tmp_path / 'deep' / 'seed0', hidden=(6, 6))
  found = table(tmp_path)['fine-tuned T=2']
  assert (found['spike rate of h'], found['cap']) == ('0.250 / 0.250', '-')


def test_an_input_of_spikes_has_no_cap(folder):
  for seed in (0, 1):
    path = folder / 'small' / f'seed{seed}' / 'tuned_T2_test' / 'metrics.json'
    trees.edit(path, '"input": {"mac": 1000.0', '"input": {"mac": 0.0')
  found = table(folder)
  assert found['fine-tuned T=2']['cap'] == '-'
  assert found['converted T=2']['cap'] == '4.00'


def test_tasks_have_sections_with_their_published_figures(folder, monkeypatch):
  drawn = []
  monkeypatch.setattr(plots, 'save', lambda _, path: drawn.append(path.name))
  for row, fields in (('gsc', {'dataset': 'speech_commands'}),
                      ('rows', {'dataset': 'mnist'}),
                      ('mixed', {'dataset': 'mnist', 'order': 'permuted'}),
                      ('own', {'dataset': 'npz'})):  # yapf: disable
    trees.add_run(folder / row / 'seed0', **fields)
  trees.add_run(folder / 'har_demo')  # has no seeds
  shutil.copytree(folder / 'own' / 'seed0', folder / 'own' / 'seed_old')
  text = overview.write(folder).read_text()
  sections = {s.split('\n')[0]: s for s in text.split('\n## ')[1:]}
  assert list(sections) == [
      'permuted MNIST', 'row-wise MNIST', 'npz', 'Google Speech Commands',
      'UCI HAR'
  ]
  expected = {
      'UCI HAR': ('91 to 94',),
      'row-wise MNIST': ('98.97', '98.81', '92.89'),
      'permuted MNIST': (),
      'Google Speech Commands':
          ('94.75', '4.1', '97.5', '94.84', '95.93', '96.92'),
      'npz': (),
  }
  for title, values in expected.items():
    section = sections[title]
    shown = [f for f in reference.FIGURES if f'\n| {f.task} ' in section]
    assert tuple(f.value for f in shown) == values
    assert all(f.source in section and f.note in section for f in shown)
    assert ('No published figure' in section) == (not values)
    assert section.index('### Ours') < section.index('ublished figure')
  assert drawn == [
      f'{stem}_{name}.png' for stem in ('mnist_permuted', 'mnist_rows', 'npz',
                                        'speech_commands', 'uci_har')
      for name in ('energy', 'accuracy')
  ]
  assert all(f']({name})' in text for name in drawn)
  assert 'har_demo' not in text and 'seed_old' not in text


def test_writing_twice_gives_the_same_bytes(folder):

  def written():
    overview.write(folder)
    return {p.name: p.read_bytes() for p in folder.glob('*.*')}

  first = written()
  assert sorted(first) == [
      'README.md', 'uci_har_accuracy.png', 'uci_har_energy.png'
  ]
  assert all(len(content) > 1000 for content in first.values())
  assert written() == first


def test_origin_of_a_row(folder):
  for path in (folder / 'small' / 'seed1').glob('tuned_T2*/config.json'):
    trees.edit(path, 'c0ffee', 'decade')
  trees.add_run(folder / 'one' / 'seed1', 1)
  text = overview.write(folder).read_text()
  row = text.split('### Row small')[1].split('###')[0]
  assert '- Seeds: 0, 1\n' in row
  assert '- Commit of seed 0: `c0ffee`\n' in row
  assert '- Commit of seed 1: `decade` (tuned_T2, tuned_T2_test)\n' in row
  pipeline, publish = row.split('for seed in 0 1; do\n')[1].split('\n')[:2]
  assert pipeline.startswith('  python -m experiments.pipeline --preset=')
  assert '--converted_steps=2 --tuned_steps=2 ' in pipeline
  assert pipeline.endswith(' --work_dir=runs/small/seed$seed')
  assert '--seed=$seed' in pipeline
  assert publish == ('  python -m experiments.publish --work_dir=runs/small/'
                     'seed$seed --results=results/small/seed$seed')
  assert '--work_dir=runs/one/seed1 --results=results/one/seed1' in text
  assert '@' not in text


def test_stages_beside_a_pipeline_get_commands_of_their_own(folder):
  run = folder / 'small' / 'seed0'
  trees.add_snn(run, 'extra', 'converted_T2', CHEAP, num_steps=2, hidden=(6,),
                distillation=0.5)  # yapf: disable
  made = provenance.commands(results_lib.read(run), 'W', 'K')
  assert [line.split()[2] for line in made] == [
      'experiments.pipeline', 'experiments.train_snn', 'experiments.evaluate'
  ]
  assert '--distillation' not in made[0]
  assert '--distillation=0.5' in made[1] and '--seed=K' in made[1]
  assert made[1].endswith(
      '--source=W/converted_T2 --teacher=W/hard --work_dir=W/extra')
  assert made[2].endswith('--source=W/extra --work_dir=W/extra_test')


def test_pareto_front(folder):
  some = models(folder)[0]
  given = [(3, 90), (1, 80), (2, 80), (4, 95), (3, 91), (5, 94), (1, 79)]
  front = overview_plots.pareto(
      [overview_plots.Point(some, a, 0, e) for e, a in given])
  assert [(p.energy, p.accuracy) for p in front] == [(1, 80), (3, 91), (4, 95)]


def test_plot_against_energy(folder):
  run = folder / 'small' / 'seed0'
  remove(folder, 'small/seed1')
  trees.add_snn(run, 'cheap', 'converted_T2', CHEAP, num_steps=2, hidden=(6,),
                sites=('h',))  # yapf: disable
  axes, = overview_plots.energy(models(folder)).axes
  assert axes.get_xscale() == 'log'
  front, *others = axes.lines
  assert list(zip(*front.get_data())) == [(1.0, 85.0), (2.0, 90.0)]
  drawn = {tuple(map(float, line.get_xydata()[0])) for line in others}
  assert drawn == {(8.0, 90.0), (8.0, 88.0), (2.0, 80.0), (2.0, 90.0),
                   (1.0, 85.0)}  # yapf: disable
  assert [t.get_text() for t in axes.texts
         ] == ['standard', 'hard', 'T=2', 'T=2', 'T=2, sites h']


def test_plot_against_t(folder):
  for seed in (0, 1):
    trees.add_snn(folder / 'small' / f'seed{seed}', 'tuned_T4', 'converted_T2',
                  CHEAP, num_steps=4, hidden=(6,), seed=seed)  # yapf: disable
  published = reference.of_task('speech_commands')
  figure = overview_plots.accuracy(models(folder), published)
  axes, = figure.axes
  drawn = [line.get_xydata().tolist() for line in axes.lines]
  assert [[2.0, 90.5], [4.0, 85.0]] in drawn
  assert [[0.0, 91.0], [1.0, 91.0]] in drawn  # a line for the standard LSTM
  assert [[2.0, 94.75]] in drawn  # the only one with a T
  legend = [text.get_text() for text in figure.legends[0].texts]
  assert legend == [
      'small, standard LSTM', 'small, hard LSTM', 'small, converted',
      'small, fine-tuned', 'published: spiking LSTM, T = 2, direct encoding'
  ]


def test_nothing_spiking_nothing_drawn(folder):
  lstms = [m for m in models(folder) if m.entry.kind == 'ann']
  assert overview_plots.energy(lstms) is None
  assert overview_plots.accuracy(lstms) is None


def test_no_rows(tmp_path):
  trees.add_run(tmp_path / 'har_demo')
  with pytest.raises(FileNotFoundError, match='holds no <row>/seed<k>/'):
    overview.write(tmp_path)


def test_report_of_all_rows_is_the_default(folder):
  (folder / 'results').mkdir()
  (folder / 'small').rename(folder / 'results' / 'small')
  done = subprocess.run([sys.executable, '-m', 'experiments.report'],
                        cwd=folder,
                        env={
                            **os.environ, 'PYTHONPATH': str(ROOT)
                        },
                        capture_output=True,
                        text=True,
                        check=False,
                        timeout=60)
  assert (done.returncode, done.stdout) == (0, 'results/README.md\n')
  assert '90.50 ± 0.71' in (folder / 'results' / 'README.md').read_text()


def test_two_reports_at_once_are_refused(monkeypatch):
  given = types.SimpleNamespace(work_dir='runs/a', results='results')
  monkeypatch.setattr(flags, 'FLAGS', given)
  with pytest.raises(app.UsageError, match='are two reports; give one'):
    report.run(['report'])
