"""Benchmarks: turns and ratios by a fake clock, binaries at small shapes."""

import json

import numpy as np
import pytest

from experiments import bench_memory
from experiments.benchmarks import bench
from experiments.benchmarks import bench_main
from experiments.benchmarks import bench_models
from experiments.benchmarks import peers
from experiments.benchmarks.bench import Key
from experiments.benchmarks.bench import Limits
from experiments.benchmarks.bench import Shape
from experiments.benchmarks.bench import Subject
from tests import binaries

SHAPE = Shape(elements=3, features=2, batch=4, hidden=5, layers=2)
SMALL = ('--elements=3', '--features=2', '--batch=2', '--hidden=4',
         '--layers=1', '--seconds=0')


class Machine:
  """Subjects that take a given time on a clock of their own."""

  def __init__(self):
    self.now = 0.0
    self.log = []

  def clock(self):
    return self.now

  def subject(self, name, *seconds):
    """Takes these times in turn, the last one for ever."""
    left = list(seconds)

    def run():
      self.log.append(name)
      self.now += left.pop(0) if len(left) > 1 else left[0]

    return run


def test_each_has_one_turn_a_round_after_two_untimed():
  machine = Machine()
  runs = {'a': machine.subject('a', 100, 50, 1), 'b': machine.subject('b', 2)}
  times = bench.in_turns(runs, Limits(4, 4, 0.0), machine.clock)
  np.testing.assert_allclose(times['a'], [1] * 4)  # neither 100 nor 50
  np.testing.assert_allclose(times['b'], [2] * 4)
  rounds = machine.log[4:]
  assert all(
      sorted(rounds[k:k + 2]) == ['a', 'b'] for k in range(0, len(rounds), 2))
  assert len({tuple(rounds[k:k + 2]) for k in range(0, len(rounds), 2)}) == 2


@pytest.mark.parametrize('seconds, rounds', [(0.0, 3), (100.0, 9), (14.9, 5)])
def test_rounds_end_with_the_time_but_not_before_the_least(seconds, rounds):
  machine = Machine()
  runs = {'a': machine.subject('a', 1), 'b': machine.subject('b', 2)}
  times = bench.in_turns(runs, Limits(3, 9, seconds), machine.clock)
  assert {len(taken) for taken in times.values()} == {rounds}


def test_only_fast_subjects_settle():
  machine = Machine()
  runs = {
      'fast': machine.subject('fast', 1),
      'slow': machine.subject('slow', 9)
  }
  times = bench.in_turns(runs, Limits(2, 2, settle=3.5), machine.clock)
  np.testing.assert_allclose(times['fast'], [1] * 2)
  np.testing.assert_allclose(times['slow'], [9] * 2)
  rounds = machine.log[4:]
  # 4 untimed runs until 3.5 s are over, and the one that is timed.
  assert (rounds.count('fast'), rounds.count('slow')) == (2 * 5, 2)


def test_rows_have_medians_hiding_and_ratios():
  machine = Machine()
  keys = {
      Key(bench.LSTM, 'stacked'): 4.0,
      Key(bench.LSTM, 'wavefront'): 8.0,
      Key(bench.SNN, 'stacked', 1): 6.0,
      Key(bench.SNN, 'stacked', 2): 9.0,
      Key(bench.SHARED, 'stacked', 2): 5.0,
      Key('torch'): 2.0,
      Key(bench.FLOOR, None, 1): 1.0,
      Key(bench.FLOOR, None, 2): 3.0,
  }
  subjects = {
      key: Subject(machine.subject(key, seconds), compile_s=7.0)
      for key, seconds in keys.items()
  }
  rows = {
      (row['name'], row['executor'], row['steps']): row
      for row in bench.measure(SHAPE, subjects, Limits(5, 5), machine.clock)
  }
  assert len(rows) == len(keys)
  snn = rows[bench.SNN, 'stacked', 2]
  assert snn['median_ms'] == pytest.approx(9000)
  assert snn['hiding'] == pytest.approx(1.5)
  assert snn['ratio'] == pytest.approx({
      'LSTM': 9 / 4,
      'torch': 4.5,
      'floor': 3
  })
  assert rows[bench.SNN, 'stacked', 1]['ratio']['floor'] == pytest.approx(6)
  # Its steps share one product, that of T = 1.
  assert rows[bench.SHARED, 'stacked', 2]['ratio']['floor'] == pytest.approx(5)
  assert rows['torch', None, None]['hiding'] is None
  assert (snn['elements'], snn['layers'], snn['rounds']) == (3, 2, 5)
  assert snn['compile_s'] == 7.0


def test_quartiles_are_those_of_numpy_in_ms():
  found = bench.quartiles(np.asarray([0.005, 0.001, 0.002, 0.003, 0.004]))
  assert list(found.values()) == pytest.approx([2, 3, 4])


def test_the_network_that_is_timed_spikes_and_stays():
  (params, config), = bench_models.spiking(SHAPE, (2,), ('o', 'c'))
  assert 0.05 < bench_models.spike_rate(params, config, SHAPE) < 0.95
  made = bench_models.ours(SHAPE._replace(layers=1), (2,), ('stacked',),
                           ('o', 'c'), ('step', 'shared'), True)
  assert list(made) == [
      Key(bench.LSTM, 'stacked'),
      Key(bench.SNN, 'stacked', 2),
      Key(bench.SHARED, 'stacked', 2)
  ]
  for subject in made.values():
    subject.run()
    subject.run()  # what was donated is there again
    assert subject.peak_bytes > 0 and subject.compile_s > 0


def test_absent_peers_are_named_with_the_reason(monkeypatch):
  absent = peers.Peer('no_such_module', lambda shape, training: None)
  monkeypatch.setitem(peers.PEERS, 'absent', absent)
  found, skipped = peers.present(('flax.linen', 'absent'))
  assert found == ('flax.linen',)
  assert 'no_such_module' in skipped['absent']


@pytest.mark.parametrize('name', ['flax.linen', 'flax.nnx'])
@pytest.mark.parametrize('training', [False, True])
def test_peers_of_jax_run(name, training):
  (key, subject), = peers.subjects((name,), SHAPE, training).items()
  assert key == Key(name)
  subject.run()
  subject.run()


def test_grid_is_the_product_and_bad_sizes_are_named():
  chosen = {name: () for name in bench_main.FULL}
  shapes, steps = bench_main.grid(chosen, bench_main.FULL)
  assert len(shapes) == 3 * 1 * 2 * 2 * 2 and steps == (1, 2, 4, 8)
  for bad in (0,), (2, 2):
    with pytest.raises(ValueError, match='--hidden='):
      bench_main.grid({**chosen, 'hidden': bad}, bench_main.FULL)


def call(binary, *arguments):
  """Runs a binary where norse is absent; returns (status, what it printed)."""
  code = ('import runpy, sys; sys.modules["norse"] = None; '
          f'runpy.run_module("experiments.{binary}", run_name="__main__")')
  return binaries.run_python('-c', code, *arguments)


@pytest.mark.parametrize('binary, kind, executors', [
    ('bench_executor', 'inference', ('stacked', 'wavefront')),
    ('bench_train', 'training step', ('stacked',)),
])
def test_binaries(binary, kind, executors, tmp_path):
  work_dir = tmp_path / 'bench'
  arguments = (*SMALL, '--steps=1,2', f'--executors={",".join(executors)}',
               '--peers=flax.linen,norse', f'--work_dir={work_dir}')
  status, printed = call(binary, *arguments)
  assert status == 0, printed
  assert 'norse: skipped (' in printed
  metrics = json.loads((work_dir / 'metrics.json').read_text())
  assert metrics['benchmark'] == kind
  assert list(metrics['skipped']) == ['norse']
  names = [
      (row['name'], row['executor'], row['steps']) for row in metrics['rows']
  ]
  assert set(names) == {
      *(('LSTM', e, None) for e in executors),
      *(('SNN', e, t) for e in executors for t in (1, 2)),
      *(('SNN, shared', 'stacked', t) for t in (1, 2)),
      ('flax.linen', None, None), ('floor', None, 1), ('floor', None, 2)
  }
  assert len({row['rounds'] for row in metrics['rows']}) == 1
  assert {'commit', 'jax_version', 'device_kind',
          'usable_cpus'} <= set(metrics['environment'])
  report = (work_dir / 'report.md').read_text()
  assert 'T = 2 / T = 1' in report and (work_dir /
                                        'N3_D2_B2_H4_L1.png').exists()
  status, printed = call(binary, *arguments)
  assert status == 1 and 'holds a benchmark' in printed


@pytest.mark.parametrize('flag, message', [
    ('--executors=fast', "--executors is 'fast'"),
    ('--peers=jaxless', "--peers is 'jaxless'"),
    ('--sites=z', "--sites is 'z'"),
    ('--couplings=rate', "--couplings is 'rate'"),
    ('--couplings=shared --executors=wavefront',
     '--executors=wavefront runs --couplings=step only'),
    ('--steps=0', '--steps=0'),
])
def test_bad_flags_are_named(flag, message, tmp_path):
  status, printed = call('bench_executor', *SMALL, *flag.split(),
                         f'--work_dir={tmp_path / "bench"}')
  assert status == 1 and message in printed
  assert not (tmp_path / 'bench').exists()


def test_planned_memory():
  shape = Shape(40, 3, 4, 16, 1)
  table = bench_memory.planned(shape, (2, 8), ('stacked', 'lean'), ('o', 'c'),
                               run=False)
  floats = {row[:2]: float(row[3]) for row in table.rows}
  assert list(floats) == [('stacked', '2'), ('lean', '2'), ('stacked', '8'),
                          ('lean', '8')]
  assert 1 < floats['lean', '8'] < floats['stacked', '8']


def test_a_step_that_is_run_has_been_resident():
  rows = bench_memory.planned(Shape(40, 3, 64, 16, 1), (8,), ('stacked',),
                              ('o', 'c'),
                              run=True).rows
  assert 0.1 < float(rows[0][5]) < 100 and float(rows[0][5]) > float(rows[0][2])


def test_planned_memory_of_no_steps_is_refused():
  assert binaries.run_python(
      '-m', 'experiments.bench_memory',
      '--steps=2,0') == (1, 'error: --steps=2,0: expected T, SNN time steps an '
                         'element: each >= 1, none twice.\n')
