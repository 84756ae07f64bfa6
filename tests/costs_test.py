"""Tables of what exported models take, from numbers that are known."""

import copy
import json

import pytest

from experiments import costs
from experiments.reporting import instructions
from experiments.reporting import times
from tests import binaries


def one(**changes):
  """What `bench_mcu` knows of a model."""
  return {
      'instructions': 120000.0, 'each': [110000.0, 130000.0],
      'parts': {'layer0_w': 20000.0, 'layer0_u': 90000.0,
                'model_step': 10000.0},
      'spikes': [], 'sent': 0.0, 'weight_bytes': 70000.0,
      'read': 9e4, 'written': 1e4, 'weights': 70000, 'flash': 80000,
      'ram': 5000, 'buffers': 4000, 'stack': 400, 'metric': 0.92,
      'of_floats': 0.925, 'same': 0.99, 'sigma_delta': False, **changes
  }  # yapf: disable


def of_har(**changes):
  spiking = {'instructions': 24000.0, 'spikes': [0.05], 'sent': 6.4,
             'weight_bytes': 10000.0, 'metric': 0.916, 'sigma_delta': True,
             'parts': {'layer0_w': 4000.0, 'layer0_u': 5000.0,
                       'model_step': 15000.0}}  # yapf: disable
  return {'commit': 'c0ffee' + 'e' * 34, 'command': 'python -m this',
          'sequences': 2, 'data': 'har', 'units': [128],
          'models': {'standard': one(),
                     'tuned_sd_T1': one(**{**spiking, **changes})}
         }  # yapf: disable


def cells(text, first):
  """Rows of the tables whose first cell contains a text."""
  found = [[cell.strip()
            for cell in line.strip('|').split('|')]
           for line in text.splitlines()
           if line.startswith('|')]
  return [row for row in found if first in row[0]]


def test_overview_by_hand():
  text = instructions.overview({'har': of_har()})
  dense, spiking = cells(text, '[har](har/report.md)')
  assert dense[1:8] == ['har, 128', 'standard', '92', '99', '0', '120,000', '1']
  assert spiking[2:13] == [
      'tuned_sd_T1', '91.6', '99', '-0.4', '24,000', '5', '10,000', '7',
      '0.050', '1.01', '80,000'
  ]  # 0.05 (120,000 - 19,000) / 5,000 spikes cost as much as the dense one
  assert spiking[-2:] == ['6.264', 'c0ffeeeeee']  # 24,000 x 261 pJ


@pytest.mark.parametrize('changes, missed', [
    ({}, ''),
    ({'instructions': 30001.0}, 'instructions, times less'),
    ({'weight_bytes': 11667.0}, 'weight bytes, times less'),
    ({'metric': 0.9149}, 'accuracy against dense, points'),
    ({'flash': 85193}, 'flash'),
    ({'buffers': 2951}, 'RAM per unit'),
])  # yapf: disable
def test_a_target_that_is_missed(changes, missed):
  text = instructions.overview({'har': of_har(**changes)})
  targets = [row for row in cells(text, 'har') if row[0] == 'har']
  assert len(targets) == 2 + 5
  found = [row[2] for row in targets if row[-1] == 'no']
  assert found == [missed] * bool(missed)


def test_other_networks_have_no_targets_but_memory():
  other = {**of_har(), 'units': [64]}
  text = instructions.overview({'small': other})
  assert {row[2] for row in cells(text, 'small') if row[0] == 'small'
         } == {'flash', 'RAM per unit'}


def test_a_row_of_old_is_named():
  made = of_har()
  del made['units']
  with pytest.raises(ValueError, match='old: .* c0ffeeeeee, has no units'):
    instructions.overview({'har': of_har(), 'old': made})


def test_no_break_even_where_rows_are_added_together():
  parts = {'layer0_u and layer0_w': 9000.0, 'model_step': 15000.0}
  made = of_har(parts=parts)
  assert instructions.break_even(*reversed(made['models'].values())) is None


HOST = {
    'hidden': [256, 256],
    'environment': {'commit': 'decaf' + 'f' * 35},
    'rows': [
        {'name': 'C', 'model': 'tuned_sd_T1', 'us': 30.0,
         'times': {'torch': 50.0, 'ONNX Runtime int8': 3.5},
         'spikes': [0.07, 0.04]},
        {'name': 'torch', 'model': 'standard', 'us': 1500.0, 'times': {},
         'spikes': []},
    ],
}  # yapf: disable


def test_overview_of_times():
  row, = cells(times.overview({'gsc': HOST}), '[gsc](gsc/report.md)')
  assert row[1:] == [
      '256 x 256', 'tuned_sd_T1', '30', '50', '3.5', '0.070 / 0.040',
      'decaffffff'
  ]
  skipped = copy.deepcopy(HOST)
  del skipped['rows'][0]['times']['torch']
  row, = cells(times.overview({'gsc': skipped}), '[gsc](gsc/report.md)')
  assert row[4:6] == ['-', '3.5']


def test_the_binary_writes_both(tmp_path):
  for name, made in ('mcu/har', of_har()), ('host/gsc', HOST):
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / 'metrics.json').write_text(json.dumps(made))
  binaries.must('costs', f'--results={tmp_path}')
  written = (tmp_path / 'mcu' / 'README.md').read_text()
  assert written == instructions.overview({'har': of_har()})
  written = (tmp_path / 'host' / 'README.md').read_text()
  assert written == times.overview({'gsc': HOST})
  assert costs.rows(tmp_path / 'mcu') == {'har': of_har()}
  status, told = binaries.run('costs', f'--results={tmp_path / "mcu"}')
  assert status == 1 and 'has no */metrics.json' in told.splitlines()[-1]


@pytest.mark.parametrize('name', costs.OVERVIEWS)
def test_published_overviews_are_of_the_rows_beside_them(name):
  folder = binaries.ROOT / 'results' / name
  text = (folder / 'README.md').read_text()
  assert text == costs.OVERVIEWS[name](costs.rows(folder))
