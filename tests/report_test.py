"""The report shows what the stages wrote, all of it, and nothing else.

The work directory is written by hand, with figures from which the expected
cells can be read off.
"""

import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest

from experiments import config as config_lib
from experiments import configs
from experiments import main
from experiments import provenance
from experiments import report
from experiments import runs
from experiments.reporting import load
from experiments.reporting import tables
from slstm import types
from tests import trees

PLOTS = ('accuracy', 'energy', 'raster', 'staircases', 'training')
SITES = dict.fromkeys(types.SITES)
WORK = trees.WORK
ERROR = {'mae_fit': 0.2, 'mse_fit': 0.1, 'mae_held_out': 0.2}


def evaluation(score, spent, mac, ac, rate=None, metric='accuracy'):
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
      f'test_{metric}': score,
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
      'neuron': 'LIF', 'rules': {'if_uniform': 1, 'if_data': 0, 'lif': 2},
      'parameters': {'v_th': [0.5, 1.0, 2.0], 'leak': [0.9, 0.9, 0.9],
                     'v_0': [0, 0, 0.5]},
      'errors': {rule: {**ERROR, 'mse_held_out': e}
                 for rule, e in zip(rules, held_out) if e is not None},
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
  write_run(tmp_path / 'run')
  return tmp_path / 'run'


def write_run(run, name_of_metric='accuracy', **said):
  """Accuracies of four models, or another metric of the same values."""
  metric = name_of_metric
  history = [{
      'epoch': e,
      'loss': 1.0 / e,
      f'validation_{metric}': 0.5 + 0.1 * e
  } for e in (1, 2)]
  for name, stage, source, score, spent, mac, ac, rate in (
      ('standard', 'train_ann', None, 0.9, (8e3, 1e4, 2e4, 3e4), 4e3, 0, None),
      ('hard', 'train_ann', None, 0.875, (8e3, 9e3, 2e4, 3e4), 4e3, 0, None),
      ('converted_T2', 'convert', 'hard', 0.75, (2e3, 4e3, 8e3, 2e4), 1e3, 1e6,
       0.25),
      ('tuned_T2', 'train_snn', 'converted_T2', 0.9, (2e3, 5e3, 8e3, 4e4), 1e3,
       2e6, 0.5)):  # yapf: disable
    family = name if stage == 'train_ann' else 'hard'
    changes = {'model': {'hidden': (6,), 'family': family}}
    metrics = {**said, f'validation_{metric}': score + 0.01}
    if stage == 'convert':
      metrics['report'] = [{
          'o': site_report((0.8, 0.4, 0.4, 0.2, 0.1)),
          'c': site_report((None, 0.4, None, None, 0.4))
      }]
    trees.write(run / name, stage, source, metrics, **changes)
    trees.write(run / f'{name}_test', 'evaluate', name,
                {**said, **evaluation(score, spent, mac, ac, rate, metric)},
                stage, **changes)  # yapf: disable
    if stage != 'convert':
      (run / name / 'history.json').write_text(json.dumps(history))
  models = {
      'standard': executors(sequential=3.0, stacked=2.0, wavefront=4.0),
      'hard': executors(sequential=3.0, stacked=2.5, wavefront=4.0),
      'converted_T2': executors(sequential=9.0, stacked=8.0, wavefront=5.0),
      'tuned_T2': executors(sequential=9.0, stacked=4.0),
  }
  trees.write(run / 'latency', 'latency', None, {
      'machine': {'platform': 'p', 'cpu_count': 2, 'jax_version': '1',
                  'device_kind': 'cpu'},
      'rounds': 7,
      'models': {k: {'num_steps': 1, 'executors': v} for k, v in models.items()}
  }, 'train_snn')  # yapf: disable
  write_traces(run)


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
          'outputs': np.arange(3.0),
          'layers[0].o': np.abs(spikes),
          'layers[0].h': spikes,
          'layers[0].state': np.zeros((8, 6), np.float32),
      })


def read(folder):
  run, = load.read(folder).runs.values()
  return run


def collect(folder):
  return tables.collect([load.read(folder)])


def cells(frame):
  """Cells by the name of their row."""
  return {
      row[0]: dict(zip(frame.columns, row))
      for row in frame.itertuples(index=False)
  }


def test_accuracy_table(run):
  path = run / 'tuned_T2_test' / 'metrics.json'
  written = json.loads(path.read_text())
  path.write_text(json.dumps({**written, 'int8': {'test_accuracy': 0.8925}}))
  path = run / 'hard_test' / 'metrics.json'
  written = json.loads(path.read_text())
  path.write_text(json.dumps({**written, 'int8': {'reason': 'of an Odd'}}))
  found = cells(tables.accuracy(collect(run)))
  assert list(found) == [
      'standard LSTM', 'hard LSTM', 'converted T=2', 'fine-tuned T=2'
  ]
  assert list(found['hard LSTM']) == [
      'model', 'test %', 'int8 %', 'validation %', 'vs source', 'vs standard',
      'spikes of h', 'rows of h', 'MAC', 'AC'
  ]
  # T = 2 of 0.25 and 0.5 spikes per step; runs of before have no rows.
  assert [list(row.values())[1:] for row in found.values()] == [
      ['90.00', '-', '91.00', '-', '-', '-', '-', '4,010', '1'],
      ['87.50', '-', '88.50', '-', '-2.50', '-', '-', '4,010', '1'],
      [
          '75.00', '-', '76.00', '-12.50', '-15.00', '0.500', '-', '1,010',
          '1,000,001'
      ],
      [
          '90.00', '89.25', '91.00', '+2.50', '+0.00', '1.000', '-', '1,010',
          '2,000,001'
      ],
  ]


def test_energy_table_and_cap(run):
  int32, fp32 = ([
      tuple(row.values())
      for row in cells(tables.energies(collect(run), name)).values()
  ]
                 for name in ('int32', 'fp32'))
  assert int32[2] == ('converted T=2', '2.0', '4.00', '4.0', '2.50', '4.00')
  assert fp32[2] == ('converted T=2', '8.0', '2.50', '20.0', '1.50', '4.00')
  assert int32[0] == ('standard LSTM', '8.0', '-', '10.0', '-', '-')
  assert fp32[3][-2] == '0.75'  # takes more than the standard LSTM
  assert tables.energies(collect(run), 'int8') is None  # not in older runs


def add_sigma_delta(run):
  """A sigma-delta model that was counted with rows, and the LSTM's energy."""
  changes = dict(conversion={'neuron': 'sigma_delta', 'sites': ('h',),
                             'num_steps': 1})  # yapf: disable
  point = {'theta': 0.5, 'level': 0.6, 'error': 0.125, 'agreement': 1.0,
           'rate': 0.1, 'on_front': True}  # yapf: disable
  trees.write(
      run / 'converted_sd_T1', 'convert', 'standard', {
          'validation_accuracy': 0.9,
          'fronts': {
              'h': [point, {
                  **point, 'on_front': False
              }]
          }
      }, **changes)
  metrics = trees.evaluation(0.89, (1e3, 2e3, 3e3, 4e3), 0.1)
  metrics['counts']['layers'][0] |= {'spikes_per_element': 0.1,
                                     'rows_per_element': 0.09}  # yapf: disable
  metrics['counts']['fetched'] = [1.0, 2.0, 3.0, 4.0, 5.0]
  for name, of_h in (('1', 500.0), ('2', 800.0)):
    metrics['energy']['int32'][name]['of_h'] = of_h
  trees.write(run / 'converted_sd_T1_test', 'evaluate', 'converted_sd_T1',
              metrics, 'convert', **changes)


def test_sigma_delta_neurons_in_a_report(run):
  add_sigma_delta(run)
  name = 'converted T=1, sigma-delta'
  found = cells(tables.accuracy(collect(run)))[name]
  assert (found['spikes of h'], found['rows of h']) == ('0.100', '0.090')
  found = cells(tables.energies(collect(run), 'int32'))[name]
  # 8,000 pJ of the LSTM: 500 stay, 500 are for 0.09 rows: 0.09 * 7500 / 500.
  assert found['int32 1, break-even rows'] == '1.350'
  assert found['int32 2, break-even rows'] == f'{0.09 * (1e4 - 1200) / 800:.3f}'
  assert tables.fetched(read(run)).to_dict('records') == [{
      'model': name, 'least': 1.0, '5 %': 2.0, 'median': 3.0, '95 %': 4.0,
      'most': 5.0}]  # yapf: disable
  front, = tables.fronts(read(run)).to_dict('records')
  assert (front['model'], front['place'], front['rate']) == (name, 'h', 0.1)
  report.write(run)
  text = (run / 'report.md').read_text()
  for title in ('### Sigma-delta neurons', '### Weights fetched by a sequence'):
    assert title in text
  assert '--tuned_steps=2 --sigma_delta_steps=1' in text


def test_an_snn_is_compared_with_the_lstm_of_as_many_levels(run):
  add_sigma_delta(run)
  for levels, spent in (1, 4e3), (2, 3e3):
    model = {'family': 'quantised', 'levels': levels, 'hidden': (6,)}
    trees.add_model(run, f'quantised_Q{levels}', None, evaluation(
        0.7, (spent,) * 4, 4e3, 0), 'train_ann', model=model)  # yapf: disable
  found = cells(tables.energies(collect(run), 'int32'))
  column = 'int32 1, times less than quantised'
  assert found['converted T=1, sigma-delta'][column] == '4.00'  # 4,000 / 1,000
  assert found['converted T=2'][column] == '1.50'  # 3,000 / 2,000
  assert found['quantised Q2 LSTM'][column] == tables.NONE
  made = provenance.commands(read(run), 'W')
  assert len(made) == 1 and ' --quantised_levels=1,2 ' in made[0]


def test_the_command_of_sigma_delta_neurons_alone_has_their_conversion(run):
  for folder in run.glob('*_T*'):
    shutil.rmtree(folder)
  spiking = {'encoding': 'spiking', 'encoder_steps': 4, 'rate': 0.05,
             'num_steps': 1}  # yapf: disable
  changes = {'conversion': {**spiking, 'neuron': 'sigma_delta',
                            'sites': ('h',)},
             'snn': {'rate_target': 0.05, 'input_target': 0.6}}  # yapf: disable
  for name, stage, source in (('converted_sd_T1', 'convert', 'standard'),
                              ('tuned_sd_T1', 'train_snn', 'converted_sd_T1')):
    trees.add_model(run, name, source, evaluation(0.8, (1,) * 4, 1, 1, 0.1),
                    stage, **changes)  # yapf: disable
  made = provenance.commands(read(run), 'W')
  assert len(made) == 1
  assert made[0].endswith('--converted_steps= --tuned_steps= '
                          '--sigma_delta_steps=1 --quantised_levels= '
                          '--workdir=W')
  assert '/har.py:spiking ' in made[0] and '--config.conversion.rate=0.05' in (
      made[0]) and '_target' not in made[0]  # yapf: disable


def test_latency_table(run):
  frame = tables.latencies(read(run))
  found = {(row.pop('model'), row.pop('executor')): row
           for row in frame.to_dict('records')}  # yapf: disable
  assert len(found) == 11  # one of the SNNs cannot run the wavefront
  assert found['converted T=2', 'wavefront'] == {
      'lower_quartile_ms': 4.75,
      'median_ms': 5.0,
      'upper_quartile_ms': 5.5,
      'speedup': 0.4,
      'dependent_steps': 500
  }


def test_longer_tables(run):
  found = read(run)
  sparsity = cells(tables.parts(found, 'sparsity'))
  assert sparsity['hard LSTM, layer 0']['sparsity.h'] == 0.75
  assert np.isnan(sparsity['hard LSTM, layer 0']['sparsity.g'])
  rates = cells(tables.parts(found, 'spike_rate'))
  assert list(rates) == ['converted T=2, layer 0', 'fine-tuned T=2, layer 0']
  counts = cells(tables.parts(found, 'input', 'recurrent', 'product',
                              'elementwise'))  # yapf: disable
  layer = counts['converted T=2, layer 0']
  assert layer['input.mac'] == 1000 and layer['input.ac'] == 0
  assert layer['recurrent.mac'] == 0 and layer['recurrent.ac'] == 1000000
  assert counts['converted T=2, readout']['product.mac'] == 10
  assert [
      counts[f'converted T=2, {part}']['elementwise.clip']
      for part in ('encoder', 'layer 0', 'readout')
  ] == [5, 5, 5]
  error = cells(tables.conversion(found))['converted T=2, layer 0, o']
  assert tuple(error.values())[1:6] == ('LIF', 'if_uniform 1, lif 2',
                                        '1 [0.5, 2]', '0.9', '0 [0, 0.5]')
  assert error['lif'] == 0.2
  assert error['gain of the shift, %'] == pytest.approx(50.0)
  assert error['gain of if_data, %'] == 0.0
  assert error['gain of chosen, %'] == pytest.approx(75.0)
  assert error['gain of chosen in mean |error|, %'] == 0.0


def test_rules_that_were_not_tried_have_no_error(run):
  error = cells(tables.conversion(read(run)))['converted T=2, layer 0, c']
  assert error['if_uniform'] == error['chosen'] == 0.4
  assert np.isnan(error['lif']) and np.isnan(error['gain of if_data, %'])
  assert '|   - |' in tables.markdown(tables.conversion(read(run)))


def test_reports_of_before_there_were_other_neurons(run):
  path = run / 'converted_T2' / 'metrics.json'
  metrics = json.loads(path.read_text())
  site = metrics['report'][0]['o']
  metrics['report'][0]['o'] = {**site, **site.pop('parameters')}
  path.write_text(json.dumps(metrics))
  neuron = cells(tables.conversion(read(run)))['converted T=2, layer 0, o']
  assert (neuron['v_th'], neuron['leak']) == ('1 [0.5, 2]', '0.9')


def test_report_holds_the_tables_and_the_plots(run, capsys):
  report.write(run)
  text = (run / 'report.md').read_text()
  for table in (tables.accuracy(collect(run)),
                tables.energies(collect(run), 'fp32')):  # yapf: disable
    assert tables.markdown(table) in text
  assert tables.markdown(tables.conversion(read(run)), 3) in text
  assert tables.markdown(tables.latencies(read(run)), 2) in text
  assert '## Missing' not in text
  for name in PLOTS:
    assert f']({name}.png)' in text
    content = (run / f'{name}.png').read_bytes()
    assert content.startswith(b'\x89PNG') and len(content) > 5000
  for part in ('c0ffee', '`5a`', 'Seed 0', '91 to 94', 'model.hidden',
               '--converted_steps=2 --tuned_steps=2', '7 rounds in turns'):
    assert part in text
  assert not list(run.glob('*.partial'))
  printed = capsys.readouterr().out
  assert 'report.md' in printed and 'Missing' not in printed


def test_ranking_of_sites_is_shown(run):
  ranked = [
      {'sites': ['o', 'c'], 'error': 0.125, 'agreement': 0.75,
       'energy': {'1': 2e3, '2': 3e3}, 'on_front': True},
      {'sites': ['h'], 'error': 0.5, 'agreement': 0.5,
       'energy': {'1': 4e3, '2': 5e3}, 'on_front': False}]  # yapf: disable
  trees.write(run / 'select', 'select', 'hard', {'candidates': ranked},
              'convert')
  report.write(run)
  found = cells(tables.candidates(read(run)))
  assert [list(row.values()) for row in found.values()] == [
      ['o, c', 0.125, 0.75, True, 2e3, 3e3],
      ['h', 0.5, 0.5, False, 4e3, 5e3],
  ]
  assert '### Which neurons, where' in (run / 'report.md').read_text()


def test_another_metric(tmp_path):
  write_run(tmp_path, 'rmse', metric='rmse', higher_is_better=False)
  found = cells(tables.accuracy(collect(tmp_path)))['converted T=2']
  assert found['test rmse'] == '0.75' and found['vs source'] == '-0.125'
  assert found['validation rmse'] == '0.76'
  report.write(tmp_path)
  text = (tmp_path / 'report.md').read_text()
  assert 'Test rmse against T' in text and 'Less rmse is better.' in text
  assert 'accuracy,' not in text and 'points' not in text


def test_two_metrics_are_refused(run):
  trees.edit(run / 'hard' / 'metrics.json', '{"validation_accuracy"',
             '{"metric": "rmse", "validation_accuracy"')
  trees.edit(run / 'standard' / 'metrics.json', '{"validation_accuracy"',
             '{"metric": "mae", "validation_accuracy"')
  with pytest.raises(ValueError, match='different data or metrics'):
    report.write(run)


@pytest.mark.parametrize('gone, told', [
    (('tuned_T2',), 'tuned_T2/ is missing or not finished'),
    (('tuned_T2_test',), 'tuned_T2_test/ is missing'),
    (('standard', 'standard_test'), 'standard/ is missing'),
    (('hard',), 'hard/ is missing or not finished'),
    (('converted_T2',), 'converted_T2/ is missing or not finished'),
    (('latency',), 'latency/ is missing'),
])
def test_missing_stage_is_named(run, gone, told):
  (run / 'plan.json').write_text(json.dumps({'models': list(trees.ACCURACY)}))
  for name in gone:
    shutil.rmtree(run / name)
  found = read(run)
  assert told in '\n'.join(found.missing + found.untimed)


def test_missing_figures_are_not_made_up(run):
  shutil.rmtree(run / 'standard_test')
  (run / 'converted_T2' / 'metrics.json').unlink()
  energies = cells(tables.energies(collect(run), 'int32'))
  accuracies = cells(tables.accuracy(collect(run)))
  converted = energies['converted T=2']
  assert converted['int32 1, nJ'] == '2.0'
  assert converted['int32 1, times less'] == '-'
  assert accuracies['standard LSTM']['test %'] == '-'
  assert accuracies['converted T=2']['validation %'] == '-'
  report.write(run)
  text = (run / 'report.md').read_text()
  told = '- converted_T2/ is missing or not finished.'
  assert told in text.split('## Results')[0]
  assert 'nan' not in text and 'staircases.png' not in text


def test_planned_models_are_expected(run):
  (run / 'plan.json').write_text('{"models": ["hard", "tuned_T1"]}')
  assert read(run).missing == [
      'tuned_T1/ is missing or not finished.',
      'tuned_T1_test/ is missing or not finished.'
  ]


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
  assert not (run / 'report.md').exists() and not list(run.glob('*.png'))


def test_absent_entry_is_named(run):
  trees.edit(run / 'hard_test' / 'metrics.json', '"test_accuracy"', '"other"')
  with pytest.raises(ValueError, match='hard_test/metrics.json has no entry '
                     'test_accuracy'):  # yapf: disable
    report.write(run)


def test_other_data_is_refused(run):
  trees.edit(run / 'tuned_T2' / 'config.json', '"5a"', '"5b"')
  with pytest.raises(ValueError, match='different data.* tuned_T2;'):
    report.write(run)


def test_no_stages(tmp_path):
  with pytest.raises(FileNotFoundError, match='holds no stages'):
    report.write(tmp_path)


def parsed(arguments):
  """The experiment that a command line makes."""
  first, *changes = arguments
  experiment = configs.every()[first.removeprefix('--config=experiments/'
                                                  'configs/')]
  for change in changes:
    path, value = change.removeprefix('--config.').split('=', 1)
    section, key = path.split('.')
    known = getattr(getattr(experiment, section), key)
    parse = main._TupleParser().parse if isinstance(known,
                                                    tuple) else type(known)
    experiment = config_lib.replace(experiment, **{section: {key: parse(value)}
                                                  })  # yapf: disable
  return experiment


def test_command_makes_the_same_experiment():
  wanted = config_lib.replace(configs.every()['npz.py'],
                              data={'path': 'my own.npz'},
                              model={'hidden': (6, 5)},
                              conversion={'sites': ('h', 'g')},
                              ann={'learning_rate': 1e-4})
  given = provenance.nearest(runs.flat(runs.as_dict(wanted)))
  assert given == [
      '--config=experiments/configs/npz.py', '--config.data.path=my own.npz',
      '--config.model.hidden=6,5', '--config.ann.learning_rate=0.0001',
      '--config.conversion.sites=h,g'
  ]
  assert parsed(shlex.split(shlex.join(given))) == wanted


def test_every_config_needs_no_other_flag():
  for name, experiment in configs.every().items():
    given = provenance.nearest(runs.flat(runs.as_dict(experiment)))
    assert len(given) == 1 and parsed(given) == experiment, name


@pytest.mark.parametrize('field, value', [('model.memory', 784.0),
                                          ('conversion.coupling', 'rate')])
def test_what_was_removed_is_not_commanded(run, field, value):
  section, key = field.split('.')
  for path in run.glob('*/config.json'):
    config = json.loads(path.read_text())
    if section in config['experiment']:
      config['experiment'][section][key] = value
      path.write_text(json.dumps(config))
  report.write(run)
  made = provenance.commands(read(run), 'W')
  told = [line for line in made if line.startswith('#')]
  assert told and all(f'{field}={value}' in line for line in told)
  assert all('made at commit c0ffee with the code of that time' in line
             for line in told)  # yapf: disable
  others = ' '.join(line for line in made if line not in told)
  assert str(value) not in others


def test_stages_beside_what_a_pipeline_makes_get_a_command_each(run):
  changes = {'model': {'hidden': (6,)}, 'conversion': {'num_steps': 1},
             'snn': {'epochs': 3, 'distillation': 0.5}}  # yapf: disable
  trees.add_model(run, 'tuned_T1', 'converted_T2', evaluation(
      0.8, (1, 1, 1, 1), 1, 1, 0.5), **changes)  # yapf: disable
  made = provenance.commands(read(run), 'W', '$seed')
  assert [line.split()[2] for line in made] == [
      'experiments.pipeline', 'experiments.train_snn', 'experiments.evaluate'
  ]
  assert made[0].endswith(
      '--tuned_steps=2 --sigma_delta_steps= --quantised_levels= --workdir=W')
  assert '--config.snn' not in made[0]
  assert '--config.snn.epochs=3' in made[1]
  assert made[1].endswith(
      '--source=W/converted_T2 --teacher=W/hard --workdir=W/tuned_T1')
  assert made[2].endswith('--source=W/tuned_T1 --workdir=W/tuned_T1_test')


def test_lstm_that_a_pipeline_would_make_otherwise(run):
  path = run / 'standard' / 'config.json'
  trees.edit(path, '"epochs": 12', '"epochs": 13')
  made = provenance.commands(read(run), 'W')
  assert len(made) == 8 and 'experiments.pipeline' not in ' '.join(made)
  assert '--config.ann.epochs=13' in made[0]


def test_published_figures_have_sources():
  har = provenance.published('har')
  assert list(har['value']) == ['91 to 94'] and har['task'].iloc[0] == 'UCI HAR'
  assert provenance.published('npz') is None
  everything = pd.read_csv(
      provenance.__file__.replace('provenance.py', 'reference.csv'))
  assert len(everything) == 13 and not everything.isna().any(axis=None)


def test_markdown_escapes_and_aligns():
  table = pd.DataFrame({'a|b': ['x', 'y'], 'n': ['1', '2']})
  assert tables.markdown(table).splitlines() == [
      '| a\\|b |   n |', '| :--- | --: |', '| x    |   1 |', '| y    |   2 |'
  ]


def test_numbers_in_tables():
  table = pd.DataFrame({'n': [1234567, 1234.567, 0.00012346, np.nan]})
  assert [line.strip('| ') for line in tables.markdown(table).splitlines()[2:]
         ] == ['1,234,567', '1,235', '0.0001235', '-']  # yapf: disable
