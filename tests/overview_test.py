"""results/README.md shows all rows over their seeds, and nothing else."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from experiments import provenance
from experiments import report
from experiments.datasets.mnist import Mnist
from experiments.datasets.npz import Npz
from experiments.datasets.speech_commands import SpeechCommands
from experiments.reporting import load
from experiments.reporting import plots
from experiments.reporting import tables
from tests import binaries
from tests import trees

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHEAP = trees.evaluation(0.85, (1e3, 1e3, 1e3, 1e3), 0.125)
OWN = {'model': {'hidden': (6,)}}


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """One row, of two seeds."""
  for seed in (0, 1):
    trees.add_run(tmp_path / 'small' / f'seed{seed}', seed)
  return tmp_path


def collect(folder):
  return tables.collect(load.read_rows(folder))


def table(folder):
  """Cells of both tables, by model."""
  found = collect(folder)
  joined = tables.accuracy(found)
  for constants in ('int32', 'fp32'):
    other = tables.energies(found, constants)
    if constants == 'int32':
      other = other.drop(columns='cap')
    joined = joined.merge(other, on=['row', 'model'], validate='one_to_one')
  return {row['model']: row for row in joined.to_dict('records')}


def remove(folder, *names):
  for name in names:
    shutil.rmtree(folder / name)


def test_cells_over_two_seeds(folder):
  found = [tuple(cells.values()) for cells in table(folder).values()]
  assert found == [
      ('small', 'standard LSTM', '91.00 ± 1.41', '2', '-', '92.00 ± 1.41', '-',
       '-', '-', '-', '4,010', '1',
       '8.0', '-', '10.0', '-', '20.0', '-', '30.0', '-', '-'),
      ('small', 'hard LSTM', '90.00 ± 2.83', '2', '-', '91.00 ± 2.83', '-',
       '-1.00 ± 1.41', '-', '-', '4,010', '1',
       '8.0', '1.00', '9.0', '1.11', '20.0', '1.00', '30.0', '1.00', '-'),
      ('small', 'converted T=2', '83.00 ± 4.24', '2', '-', '84.00 ± 4.24',
       '-7.00 ± 1.41', '-8.00 ± 2.83', '0.750', '-', '1,010', '2,001',
       '2.0', '4.00', '4.0', '2.50', '8.0', '2.50', '20.0', '1.50', '4.00'),
      # The ratio is the mean of 4 and 2, not that of the means.
      ('small', 'fine-tuned T=2', '90.50 ± 0.71', '2', '-', '91.50 ± 0.71',
       '+0.50 ± 2.12', '-0.50 ± 0.71', '0.500', '-', '1,010', '2,001',
       '3.0', '3.00', '5.0', '2.00', '8.0', '2.50', '40.0', '0.75', '4.00'),
  ]  # yapf: disable


def test_one_seed_has_no_deviation(folder):
  remove(folder, 'small/seed1')
  found = table(folder)['fine-tuned T=2']
  assert (found['test %'], found['n']) == ('90.00', '1')
  assert found['vs source'] == '+2.00'
  assert found['int32 1, times less'] == '4.00'


def test_what_a_seed_lacks_is_counted(folder):
  remove(folder, 'small/seed1/standard_test', 'small/seed0/tuned_T2')
  found = table(folder)
  assert found['standard LSTM']['test %'] == '90.00'
  assert found['standard LSTM']['n'] == '1'
  assert found['standard LSTM']['validation %'] == '92.00 ± 1.41 (n = 2)'
  assert found['hard LSTM']['vs standard'] == '-2.00 (n = 1)'
  tuned = found['fine-tuned T=2']  # of seed 0 nobody knows what was evaluated
  assert (tuned['test %'], tuned['n']) == ('91.00', '1')
  assert tuned['vs source'] == '-1.00'
  text = report.write_all(folder).read_text()
  assert ('- Missing: standard_test/ is missing or not finished. (seed 1)\n'
          in text)
  assert '- Missing: tuned_T2/ is missing or not finished. (seed 0)'\
      in text


def test_what_all_seeds_lack_is_missing(folder):
  for seed in (0, 1):
    remove(folder / 'small' / f'seed{seed}', 'converted_T2_test', 'tuned_T2',
           'tuned_T2_test')
  found = table(folder)
  converted = list(found['converted T=2'].values())[2:]
  assert converted == ['-', '0', '-', '84.00 ± 4.24 (n = 2)'
                      ] + ['-'] * 15  # yapf: disable
  text = report.write_all(folder).read_text()
  assert 'nan' not in text and 'fine-tuned' not in text.replace(
      'epochs of fine-tuning', '')
  assert 'Missing: tuned_T2/ is missing or not finished.\n' in text


def test_row_without_standard_lstm(folder):
  for seed in (0, 1):
    remove(folder / 'small' / f'seed{seed}', 'standard', 'standard_test')
  found = table(folder)
  tuned = found['fine-tuned T=2']
  assert tuned['vs source'] == '+0.50 ± 2.12'
  assert tuned['vs standard'] == tuned['fp32 1, times less'] == '-'
  assert tuned['fp32 1, nJ'] == '8.0'
  assert 'standard/ is missing' in report.write_all(folder).read_text()


def test_variants_are_named_by_their_config(folder):
  run = folder / 'small' / 'seed0'
  remove(folder, 'small/seed1')
  trees.add_model(run, 'tuned_T2_x', 'converted_T2', CHEAP,
                  snn={'rate_penalty': 0.5}, **OWN)  # yapf: disable
  trees.add_model(run, 'mine', 'hard', CHEAP, 'convert',
                  conversion={'sites': ('h',)}, **OWN)  # yapf: disable
  # It tells nothing of what its source was converted to.
  trees.add_model(run, 'mine_tuned', 'mine', CHEAP, snn={'epochs': 9}, **OWN)
  found = table(folder)
  assert list(found)[2:] == [
      'converted T=2, sites h', 'converted T=2, sites o+c',
      'fine-tuned T=2, sites h, snn epochs 9, snn rate penalty 0.0',
      'fine-tuned T=2, sites o+c, snn epochs 4, snn rate penalty 0.0',
      'fine-tuned T=2, sites o+c, snn epochs 4, snn rate penalty 0.5'
  ]
  penalised = list(found.values())[-1]
  assert (penalised['test %'], penalised['vs source']) == ('85.00', '-3.00')
  assert penalised['int32 1, times less'] == '8.00'


def test_unequal_fine_tuning_is_told(folder):
  for seed in (0, 1):
    trees.add_model(folder / 'small' / f'seed{seed}', 'tuned_T1',
                    'converted_T2', CHEAP, seed=seed, snn={'epochs': 1},
                    conversion={'num_steps': 1}, **OWN)  # yapf: disable
    path = folder / 'small' / f'seed{seed}' / 'tuned_T1' / 'config.json'
    trees.edit(path, '"converted_T2"', '"converted_T1"')
  assert list(table(folder))[-2:] == [
      'fine-tuned T=1, snn epochs 1', 'fine-tuned T=2, snn epochs 4'
  ]
  assert '| fine-tuned T=1, snn epochs 1 |' in report.write_all(
      folder).read_text()


def test_models_of_two_sources_are_not_one(folder):
  trees.add_model(folder / 'small' / 'seed0', 'other', 'standard', CHEAP,
                  'convert', model={'hidden': (6,), 'family': 'standard'}
                 )  # yapf: disable
  found = table(folder)
  assert found['converted T=2, family hard']['n'] == '2'
  other = found['converted T=2, family standard']
  assert (other['test %'], other['n']) == ('85.00', '1')
  text = report.write_all(folder).read_text()
  pipelines = [
      line for line in text.splitlines() if 'experiments.pipeline' in line
  ]
  assert len(pipelines) == 2  # seed 0 has a command more, seed 1 has not
  for line in pipelines:
    assert '--config.model.family' not in line
    assert '--converted_steps=2 ' in line


def test_seeds_of_other_configs_are_models_of_their_own(folder):
  for path in (folder / 'small' / 'seed1').glob('*/config.json'):
    config = json.loads(path.read_text())
    config['experiment']['ann']['epochs'] = 13
    path.write_text(json.dumps(config))
  found = table(folder)
  assert {cells['n'] for cells in found.values()} == {'1'}
  assert found['standard LSTM, ann epochs 12']['test %'] == '90.00'
  assert found['standard LSTM, ann epochs 13']['test %'] == '92.00'
  assert 'fine-tuned T=2, ann epochs 13' in found


@pytest.mark.parametrize('old, new, told', [
    ('"seed": 1', '"seed": 2', 'expected seed 1, .* it is of seed 2'),
    ('"5a"', '"5b"', r'the data \(data_digest\)'),
])
def test_seeds_of_other_data_are_refused(folder, old, new, told):
  for path in (folder / 'small' / 'seed1').glob('*/config.json'):
    trees.edit(path, old, new)
  with pytest.raises(ValueError, match=told):
    report.write_all(folder)
  assert not (folder / 'README.md').exists()


def test_one_model_twice_is_refused(folder):
  run = folder / 'small' / 'seed0'
  shutil.copytree(run / 'tuned_T2', run / 'again')
  with pytest.raises(ValueError, match='again/ and tuned_T2/ are both'):
    report.write_all(folder)


def test_files_elsewhere_and_fields_unknown_then_do_not_matter(folder):
  for path in (folder / 'small' / 'seed1').glob('*/config.json'):
    trees.edit(path, '"path": ""', '"path": "/there"')
    trees.edit(path, '"levels": 2, ', '')
  assert {cells['n'] for cells in table(folder).values()} == {'2'}


def test_further_ledger_gets_columns_once_there_is_one(folder):
  assert 'int32 3, nJ' not in table(folder)['hard LSTM']
  path = folder / 'small' / 'seed0' / 'hard_test' / 'metrics.json'
  trees.edit(path, '"2": {"total": 9000.0',
             '"3": {"total": 7e4}, "2": {"total": 9000.0')
  found = table(folder)
  assert found['hard LSTM']['int32 3, nJ'] == '70.0 (n = 1)'
  assert found['hard LSTM']['int32 3, times less'] == '-'
  assert found['fine-tuned T=2']['int32 3, nJ'] == '-'


def test_two_layers_have_two_rates_and_no_cap(tmp_path):
  trees.add_run(tmp_path / 'deep' / 'seed0', hidden=(6, 6))
  found = table(tmp_path)['fine-tuned T=2']
  assert (found['spikes of h'], found['cap']) == ('0.500 / 0.500', '-')


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
  for row, data in (('gsc', SpeechCommands()), ('rows', Mnist()),
                    ('mixed', Mnist(order='permuted')),
                    ('own', Npz())):  # yapf: disable
    trees.add_run(folder / row / 'seed0', data=data)
  trees.add_run(folder / 'har_demo')  # has no seeds
  shutil.copytree(folder / 'own' / 'seed0', folder / 'own' / 'seed_old')
  text = report.write_all(folder).read_text()
  sections = {s.split('\n')[0]: s for s in text.split('\n## ')[1:]}
  expected = {
      'Google Speech Commands':
          ('94.75', '4.1', '97.5', '94.84', '95.93', '96.92'),
      'mnist_permuted': (),
      'npz': (),
      'row-wise MNIST': ('98.97', '98.81', '92.89'),
      'UCI HAR': ('91 to 94',),
  }  # yapf: disable
  assert list(sections) == list(expected)
  everything = pd.read_csv(ROOT / 'experiments' / 'reference.csv', dtype=str)
  for title, values in expected.items():
    section = sections[title]
    shown = [f for f in everything.itertuples() if f'\n| {f.task} ' in section]
    assert tuple(f.value for f in shown) == values
    assert all(f.source in section and f.protocol in section for f in shown)
    assert ('No published figure' in section) == (not values)
    assert section.index('### Test accuracy') < section.index('ublished figure')
  assert drawn == [
      f'{stem}_{name}.png' for stem in ('speech_commands', 'mnist_permuted',
                                        'npz', 'mnist_rows', 'har')
      for name in ('energy', 'accuracy')
  ]
  assert all(f']({name})' in text for name in drawn)
  assert 'har_demo' not in text and 'seed_old' not in text


def test_writing_twice_gives_the_same_bytes(folder):

  def written():
    report.write_all(folder)
    return {p.name: p.read_bytes() for p in folder.glob('*.*')}

  first = written()
  assert sorted(first) == ['README.md', 'har_accuracy.png', 'har_energy.png']
  assert all(len(content) > 1000 for content in first.values())
  assert written() == first


def test_origin_of_a_row(folder):
  for path in (folder / 'small' / 'seed1').glob('tuned_T2*/config.json'):
    trees.edit(path, 'c0ffee', 'decade')
  trees.add_run(folder / 'one' / 'seed1', 1)
  text = report.write_all(folder).read_text()
  row = text.split('### Row small')[1].split('###')[0]
  assert '- Seeds: 0, 1\n' in row
  assert '- Commit: `c0ffee` (seed 0)\n' in row
  assert '- Commit: `decade` (tuned_T2, tuned_T2_test) (seed 1)\n' in row
  assert '- Data: har, SHA-256 `5a`\n' in row
  pipeline, publish = row.split('for seed in 0 1; do\n')[1].split('\n')[:2]
  assert pipeline.startswith('  python -m experiments.pipeline '
                             '--config=experiments/configs/')
  assert '--converted_steps=2 --tuned_steps=2 ' in pipeline
  assert pipeline.endswith(' --workdir=runs/small/seed$seed')
  assert '--config.seed=$seed' in pipeline
  assert publish == ('  python -m experiments.publish --workdir=runs/small/'
                     'seed$seed --results=results/small/seed$seed')
  assert '--workdir=runs/one/seed1 --results=results/one/seed1' in text
  assert '@' not in text


def test_stages_beside_a_pipeline_get_commands_of_their_own(folder):
  run = folder / 'small' / 'seed0'
  trees.add_model(run, 'extra', 'converted_T2', CHEAP,
                  snn={'distillation': 0.5}, **OWN)  # yapf: disable
  found, = load.read(run).runs.values()
  made = provenance.commands(found, 'W', 'K')
  assert [line.split()[2] for line in made] == [
      'experiments.pipeline', 'experiments.train_snn', 'experiments.evaluate'
  ]
  assert '--config.snn' not in made[0]
  assert '--config.snn.distillation=0.5' in made[1]
  assert '--config.seed=K' in made[1]
  assert made[1].endswith(
      '--source=W/converted_T2 --teacher=W/hard --workdir=W/extra')
  assert made[2].endswith('--source=W/extra --workdir=W/extra_test')


@pytest.mark.parametrize('higher, front', [
    (True, [(1, 80), (3, 91), (4, 95)]),
    (False, [(1, 79)]),
])
def test_pareto_front(higher, front):
  given = [(3, 90), (1, 80), (2, 80), (4, 95), (3, 91), (5, 94), (1, 79)]
  frame = pd.DataFrame(given, columns=['energy', 'value'])
  found = plots.pareto(frame, higher)
  assert list(zip(found['energy'], found['value'])) == front


def test_plot_against_energy(folder):
  run = folder / 'small' / 'seed0'
  remove(folder, 'small/seed1')
  trees.add_model(run, 'cheap', 'converted_T2', CHEAP,
                  snn={'epochs': 9}, **OWN)  # yapf: disable
  axes, = plots.against_energy(collect(folder), 'int32 1').axes
  assert axes.get_xscale() == 'log' and axes.get_title() == 'small'
  assert axes.get_xlabel().endswith('int32, ledger 1: matrix products')
  front, *others = axes.lines
  assert list(zip(*front.get_data())) == [(1.0, 85.0), (2.0, 90.0)]
  drawn = {tuple(map(float, line.get_xydata()[0])) for line in others
           if len(line.get_xydata())}  # yapf: disable
  assert drawn == {(8.0, 90.0), (8.0, 88.0), (2.0, 80.0), (2.0, 90.0),
                   (1.0, 85.0)}  # yapf: disable
  assert [t.get_text() for t in axes.texts] == ['S', 'H', '2', '2', '2']


def test_a_panel_has_its_row_over_the_others(folder):
  trees.add_run(folder / 'other' / 'seed0', hidden=(7,))
  small, other = plots.against_energy(collect(folder), 'int32 1').axes
  assert {small.get_title(), other.get_title()} == {'small', 'other'}
  assert small.get_ylim() == other.get_ylim()
  assert small.get_xlim() == other.get_xlim()
  grey = [line for line in small.lines if line.get_label() == 'other rows']
  assert len(grey[0].get_xydata()) == 4


def test_error_bars(folder):
  trees.add_run(folder / 'one' / 'seed0', hidden=(7,))
  found = plots.points(collect(folder)).set_index(['row', 'label'])
  over_seeds = found.loc['small', 'converted T=2']
  assert over_seeds['low'] == over_seeds['high'] == pytest.approx(4.2426, 1e-4)
  # Wilson's interval of 80 % of four examples, 65.30 ± 31.62.
  alone = found.loc['one', 'converted T=2']
  assert alone['value'] - alone['low'] == pytest.approx(33.68, abs=0.02)
  assert alone['value'] + alone['high'] == pytest.approx(96.92, abs=0.02)


def test_noise_does_not_fill_a_panel(folder):
  remove(folder, 'small/seed1')
  for path in folder.glob('small/seed0/*_test/metrics.json'):
    trees.edit(path, '"sequences": 4', '"sequences": 400')
  for axes in (plots.against_energy(collect(folder), 'int32 1').axes +
               plots.against_steps(collect(folder)).axes):
    # Values and bars are between 75 and 93 %, a bar is of about 6 points.
    low, high = axes.get_ylim()
    assert 0 < low < 70 and 94 < high <= 101


def test_plot_against_t(folder):
  for seed in (0, 1):
    trees.add_model(folder / 'small' / f'seed{seed}', 'tuned_T4',
                    'converted_T2', CHEAP, seed=seed,
                    conversion={'num_steps': 4}, **OWN)  # yapf: disable
    path = folder / 'small' / f'seed{seed}' / 'tuned_T4' / 'config.json'
    trees.edit(path, '"converted_T2"', '"converted_T4"')
  published = provenance.published('speech_commands')
  figure = plots.against_steps(collect(folder), published)
  axes, = figure.axes
  drawn = [line.get_xydata().tolist() for line in axes.lines]
  tuned, = [line for line in drawn if len(line) == 2 and line[0][1] == 90.5]
  np.testing.assert_allclose(tuned, [[2.0, 90.5], [4.0, 85.0]], rtol=0.05)
  assert [[0.0, 91.0], [1.0, 91.0]] in drawn  # a line for the standard LSTM
  assert [[2.0, 94.75]] in drawn  # the only one with a T
  legend = [text.get_text() for text in axes.get_legend().texts]
  assert sorted(legend) == [
      'converted', 'fine-tuned', 'hard LSTM (90)',
      'published:\nspiking LSTM, T = 2, direct encoding', 'standard LSTM (91)'
  ]


def test_nothing_spiking_nothing_drawn(folder):
  found = collect(folder)
  lstms = {key: m for key, m in found.models.items() if m.kind == 'ann'}
  for some in (lstms, {}):
    assert plots.against_energy(found._replace(models=some), 'int32 1') is None
    assert plots.against_steps(found._replace(models=some)) is None


def test_no_rows(tmp_path):
  trees.add_run(tmp_path / 'har_demo')
  with pytest.raises(FileNotFoundError, match='holds no <row>/seed<k>/'):
    report.write_all(tmp_path)


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
                        timeout=120)
  assert (done.returncode, done.stdout) == (0, 'results/README.md\n')
  assert '90.50 ± 0.71' in (folder / 'results' / 'README.md').read_text()


def test_two_reports_at_once_are_refused():
  status, printed = binaries.run('report', '--workdir=runs/a', '--results=b')
  assert status and 'are two reports; give one' in printed
