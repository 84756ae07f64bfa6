"""The report shows what the stages wrote, all of it, and nothing else.

The work directory is written by hand, with figures from which the expected
cells can be read off.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from experiments import config as config_lib
from experiments import provenance
from experiments import reference
from experiments import report
from experiments.presets import PRESETS
from experiments.reporting import details
from experiments.reporting import results as results_lib
from experiments.reporting import summary
from experiments.reporting import tables
from slstm import types

PLOTS = ('accuracy', 'energy', 'raster', 'staircases', 'training')
SITES = dict.fromkeys(types.SITES)
WORK = {'multiply': 1.0, 'add': 2.0, 'compare': 3.0, 'smooth': 4.0, 'clip': 5.0}
ERROR = {'mae_fit': 0.2, 'mse_fit': 0.1, 'mae_held_out': 0.2}


def write(folder, stage, source, metrics, **experiment):
  experiment = dataclasses.asdict(
      dataclasses.replace(config_lib.Experiment(), hidden=(6,), **experiment))
  folder.mkdir()
  (folder / 'config.json').write_text(
      json.dumps({
          'stage': stage,
          'source': source,
          'experiment': experiment,
          'data_digest': '5a',
          'commit': 'c0ffee'
      }))
  (folder / 'metrics.json').write_text(json.dumps(metrics))


def evaluation(accuracy, spent, mac, ac, rate=None):
  """As `evaluate` writes them; `spent` in pJ for int32 1, 2, fp32 1, 2."""

  def energy(total):
    return {
        'total': total,
        'input': [total / 2],
        'recurrent': [total / 4],
        'readout': total / 8,
        'elementwise': [0.0, total / 8, 0.0]
    }

  layer = {
      'input': {'mac': mac, 'ac': 0.0},
      'recurrent': {'mac': 0.0, 'ac': ac},
      'elementwise': WORK,
      'spike_rate': {**SITES, 'h': rate},
      'sparsity': {**SITES, 'o': 0.125, 'h': 0.75},
  }  # yapf: disable
  return {
      'sizes': {'elements': 8, 'features': 2, 'hidden': [6], 'classes': 3,
                'parameters': 9},
      'test_accuracy': accuracy,
      'counts': {
          'encoder': {'elementwise': WORK, 'spike_rate': None},
          'layers': [layer],
          'readout': {'product': {'mac': 10.0, 'ac': 1.0}, 'elementwise': WORK},
          'sequences': 4,
      },
      'energy': {
          'int32': {'1': energy(spent[0]), '2': energy(spent[1])},
          'fp32': {'1': energy(spent[2]), '2': energy(spent[3])},
      },
  }  # yapf: disable


def site_report(held_out):
  rules = ('if_floor', 'if_uniform', 'if_data', 'lif', 'chosen')
  return {
      'neuron': 'lif', 'rules': {'if_uniform': 1, 'if_data': 0, 'lif': 2},
      'v_th': [0.5, 1.0, 2.0], 'leak': [0.9, 0.9, 0.9], 'v_0': [0, 0, 0.5],
      'amplitude': [1, 1, 1],
      'errors': {rule: {**ERROR, 'mse_held_out': e}
                 for rule, e in zip(rules, held_out)},
  }  # yapf: disable


def executors(**medians):
  return {
      name: {
          'lower_quartile_ms': ms - 0.25,
          'median_ms': ms,
          'upper_quartile_ms': ms + 0.5,
          'speedup': 2.0 / ms,
          'dependent_steps': int(100 * ms)
      } for name, ms in medians.items()
  }


@pytest.fixture(name='run')
def _run(tmp_path):
  """A finished run: standard and hard LSTM, converted and tuned at T = 2."""
  run = tmp_path / 'run'
  run.mkdir()
  history = [{
      'epoch': e,
      'loss': 1.0 / e,
      'validation_accuracy': 0.5 + 0.1 * e
  } for e in (1, 2)]
  for name, stage, source, accuracy, spent, mac, ac, rate in (
      ('standard', 'train_ann', None, 0.9, (8e3, 1e4, 2e4, 3e4), 4e3, 0, None),
      ('hard', 'train_ann', None, 0.875, (8e3, 9e3, 2e4, 3e4), 4e3, 0, None),
      ('converted_T2', 'convert', 'hard', 0.75, (2e3, 4e3, 8e3, 2e4), 1e3, 1e6,
       0.25),
      ('tuned_T2', 'train_snn', 'converted_T2', 0.9, (2e3, 5e3, 8e3, 4e4), 1e3,
       2e6, 0.5)):  # yapf: disable
    which = {'num_steps': 2} if rate else {'family': name}
    metrics = {'validation_accuracy': accuracy + 0.01}
    if stage == 'convert':
      metrics['report'] = [{'o': site_report((0.8, 0.4, 0.4, 0.2, 0.1))}]
    write(run / name, stage, source, metrics, **which)
    write(run / f'{name}_test', 'evaluate', name,
          evaluation(accuracy, spent, mac, ac, rate), **which)
    if stage != 'convert':
      (run / name / 'history.json').write_text(json.dumps(history))
  models = {
      'standard': executors(sequential=3.0, stacked=2.0, wavefront=4.0),
      'hard': executors(sequential=3.0, stacked=2.5, wavefront=4.0),
      'converted_T2': executors(sequential=9.0, stacked=8.0, wavefront=5.0),
      'tuned_T2': executors(sequential=9.0, stacked=4.0),
  }
  write(run / 'latency', 'latency', None, {
      'machine': {'platform': 'p', 'cpu_count': 2, 'jax_version': '1',
                  'device_kind': 'cpu'},
      'rounds': 7,
      'models': {k: {'num_steps': 1, 'executors': v} for k, v in models.items()}
  })  # yapf: disable
  write_traces(run)
  return run


def write_traces(run):
  d = np.linspace(-4, 4, 65)[:-1]
  one = {'centres': d, 'density': np.exp(-d**2), 'source': np.clip(d, 0, 1),
         'uniform': np.round(np.clip(d, 0, 1)), 'units': np.asarray([-1]),
         'chosen': np.round(np.clip(d, 0, 1))[None]}  # yapf: disable
  np.savez_compressed(run / 'converted_T2' / 'staircases.npz', **{
      f'layers[0].o.{k}': v for k, v in one.items()
  })
  spikes = np.random.default_rng(0).integers(-1, 2, (8, 2, 6)).astype(np.int8)
  np.savez_compressed(
      run / 'tuned_T2_test' / 'raster.npz', **{
          'input': np.ones((8, 2), np.float32),
          'logits': np.arange(3.0),
          'layers[0].o': np.abs(spikes),
          'layers[0].h': spikes,
          'layers[0].state': np.zeros((8, 6), np.float32),
      })


def rows(table):
  return {row[0]: dict(zip(table.header, row)) for row in table.rows}


def test_accuracy_table(run):
  found = rows(summary.accuracy(results_lib.read(run)))
  assert list(found) == [
      'standard LSTM', 'hard LSTM', 'converted T=2', 'fine-tuned T=2'
  ]
  assert [list(row.values())[1:] for row in found.values()] == [
      ['91.00', '90.00', '-', '-', '4,010', '1'],
      ['88.50', '87.50', '-', '-', '4,010', '1'],
      ['76.00', '75.00', '-12.50', '0.250', '1,010', '1,000,001'],
      ['91.00', '90.00', '+2.50', '0.500', '1,010', '2,000,001'],
  ]


def test_energy_table_and_cap(run):
  table = summary.energies(results_lib.read(run))
  assert table.rows[2] == ('converted T=2', '2.0', '4.00', '4.0', '2.50', '8.0',
                           '2.50', '20.0', '1.50')
  assert table.rows[0] == ('standard LSTM', '8.0', '1.00', '10.0', '1.00',
                           '20.0', '1.00', '30.0', '1.00')
  assert table.rows[3][-1] == '0.75'  # takes more than the standard LSTM
  assert '(2 + 6) / 2 = 4.00' in table.note
  assert '3.62 at N = 8' in table.note  # 1 + 7/8 3


def test_latency_tables(run):
  results = results_lib.read(run)
  found = summary.latencies(results).rows
  assert found[2] == ('converted T=2', 'wavefront', '5.00', '4.75 .. 5.50',
                      '0.40', '500')
  assert found[3][:3] == ('fine-tuned T=2', 'stacked', '4.00')
  assert summary.schedules(results).rows[3] == ('fine-tuned T=2', '9.00', '900',
                                                '4.00', '400', '-', '-')


def test_longer_tables(run):
  results = results_lib.read(run)
  sparsity, rates = map(rows, details.activities(results))
  assert sparsity['hard LSTM, layer 0']['h'] == '0.750'
  assert sparsity['hard LSTM, layer 0']['g'] == '-'
  assert list(rates) == ['converted T=2, layer 0', 'fine-tuned T=2, layer 0']
  counts = rows(details.operations(results))['converted T=2']
  assert counts['W x, MAC + AC'] == '1,000 + 0'
  assert counts['U h, MAC + AC'] == '0 + 1,000,000'
  assert counts['clip'] == '15'  # of encoder, layer and read-out
  neuron = details.neurons(results).rows[0]
  assert neuron == ('T=2, layer 0, o', 'lif', 'if_uniform 1, lif 2',
                    '1 [0.5, 2]', '0.9', '0 [0, 0.5]', '1')
  error = rows(details.errors(results))['T=2, layer 0, o']
  assert error['lif'] == '2.00e-01'
  assert error['gain of the shift, %'] == '50.0'
  assert error['gain of if_data, %'] == '0.0'
  assert error['gain of chosen, %'] == '75.0'


def test_report_holds_the_tables_and_the_plots(run, capsys):
  report.write(run)
  text = (run / 'report.md').read_text()
  results = results_lib.read(run)
  for table in (summary.accuracy(results), summary.energies(results)):
    assert tables.markdown(table) in text
  assert '## Missing' not in text
  for name in PLOTS:
    assert f']({name}.png)' in text
    content = (run / f'{name}.png').read_bytes()
    assert content.startswith(b'\x89PNG') and len(content) > 5000
  for part in ('c0ffee', '`5a`', 'Seed: 0', '91 to 94', '--hidden=6',
               '--converted_steps=2 --tuned_steps=2'):
    assert part in text
  assert not list(run.glob('*.partial'))
  printed = capsys.readouterr().out
  assert '-12.50' in printed and 'Missing' not in printed


@pytest.mark.parametrize('gone, told', [
    (('tuned_T2',), 'folder tuned_T2/ is missing; run experiments.train_snn'),
    (('tuned_T2_test',), 'folder tuned_T2_test/ is missing'),
    (('tuned_T2', 'tuned_T2_test'), 'folders tuned_T*/ are missing'),
    (('standard', 'standard_test'), 'folder standard/ is missing'),
    (('hard',), 'folder hard/ is missing; run experiments.train_ann'),
    (('latency',), 'folder latency/ is missing'),
])
def test_missing_stage_is_named(run, gone, told):
  for name in gone:
    shutil.rmtree(run / name)
  results = results_lib.read(run)
  assert told in '\n'.join(summary.missing(results))


def test_missing_figures_are_not_made_up(run):
  shutil.rmtree(run / 'standard_test')
  (run / 'converted_T2' / 'metrics.json').unlink()
  results = results_lib.read(run)
  assert summary.energies(results).rows[2][1:3] == ('2.0', 'missing')
  assert summary.accuracy(results).rows[0][2] == 'missing'
  found = ' '.join(summary.missing(results))
  assert 'converted_T2/ is not finished; run experiments.convert' in found
  report.write(run)
  text = (run / 'report.md').read_text()
  assert f'- {summary.missing(results)[0]}' in text.split('## Results')[0]
  assert 'nan' not in text and 'staircases.png' not in text


def test_planned_models_are_expected(run):
  (run / 'plan.json').write_text('{"models": ["hard", "tuned_T1"]}')
  results = results_lib.read(run)
  assert [e.label for e in results.entries
         ][-2:] == ['fine-tuned T=1', 'fine-tuned T=2']
  assert any(
      'tuned_T1/ is missing' in line for line in summary.missing(results))


@pytest.mark.parametrize('name', [
    'hard/metrics.json', 'hard/config.json', 'tuned_T2_test/metrics.json',
    'tuned_T2/history.json', 'tuned_T2_test/raster.npz',
    'converted_T2/staircases.npz'
])
def test_corrupt_file_is_named(run, name):
  path = run / name
  content = path.read_bytes()[:-20]
  path.write_bytes(content)
  with pytest.raises(ValueError, match=name.replace('.', r'\.')):
    report.write(run)
  assert path.read_bytes() == content
  assert not (run / 'report.md').exists()


def test_absent_entry_is_named(run):
  (run / 'hard_test' / 'metrics.json').write_text('{"test_accuracy": 0.5}')
  with pytest.raises(ValueError, match='hard_test.*no entry counts'):
    report.write(run)


def test_other_data_is_refused(run):
  path = run / 'tuned_T2' / 'config.json'
  path.write_text(path.read_text().replace('"5a"', '"5b"'))
  with pytest.raises(ValueError, match='converted_T2 and tuned_T2'):
    report.write(run)


def test_no_stages(tmp_path):
  with pytest.raises(FileNotFoundError, match='holds no stages'):
    report.write(tmp_path)


def test_command_makes_the_same_experiment():
  wanted = dataclasses.replace(PRESETS['npz'],
                               data='my own.npz',
                               hidden=(6, 5),
                               sites=('h',),
                               learning_rate=1e-4)
  given = provenance.flags(json.loads(json.dumps(dataclasses.asdict(wanted))))
  assert given[0] == '--preset=npz'
  parsed = dict(flag[2:].split('=') for flag in given[1:])
  assert parsed == {'data': 'my own.npz', 'hidden': '6,5', 'sites': 'h',
                    'learning_rate': '0.0001'}  # yapf: disable


def test_stages_of_different_configs_get_a_command_each(run):
  path = run / 'tuned_T2' / 'config.json'
  path.write_text(path.read_text().replace('"snn_epochs": 4',
                                           '"snn_epochs": 3'))
  results = results_lib.read(run)
  found = provenance.commands(results)
  assert len(found) == 8
  assert any('experiments.train_snn' in line and '--snn_epochs=3' in line and
             'converted_T2' in line for line in found)
  assert 'snn_epochs=3' in provenance.config(results).note


def test_published_figures_have_sources():
  for figure in reference.FIGURES:
    assert all(figure), figure
  har, *paper = reference.for_dataset('uci_har')
  assert har.task == reference.UCI_HAR
  assert [figure.value for figure in paper] == ['94.75', '4.1']
  assert reference.for_dataset('npz') == tuple(paper)


def test_markdown_escapes_and_aligns():
  table = tables.Table('t', ('a|b', 'n'), (('x', '1'),))
  assert tables.markdown(table).splitlines()[2:] == [
      '| a\\|b |   n |', '| :--- | --: |', '| x    |   1 |'
  ]
