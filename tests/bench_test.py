"""Benchmarks: turns and ratios by a fake clock, binaries at small shapes."""

import json
import re

from absl import flags
import jax
import numpy as np
import pytest

from experiments.bench import main
from experiments.bench import measure
from experiments.bench import memory
from experiments.bench import models
from experiments.bench import peers
from experiments.bench import report
from experiments.bench.measure import Key
from experiments.bench.measure import Shape
from experiments.bench.measure import Subject
from tests import binaries

SHAPE = Shape(elements=3, features=2, batch=4, hidden=5, layers=2)
SMALL = ('--elements=3', '--features=2', '--batch=2', '--hidden=4',
         '--layers=1', '--seconds=0')
PUBLISHED = binaries.ROOT / 'results' / 'bench'


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
  times = measure.in_turns(runs, seconds=0, rounds=(4, 4), clock=machine.clock)
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
  times = measure.in_turns(runs,
                           seconds=seconds,
                           rounds=(3, 9),
                           clock=machine.clock)
  assert {len(taken) for taken in times.values()} == {rounds}


def test_only_fast_subjects_settle():
  machine = Machine()
  runs = {
      'fast': machine.subject('fast', 1),
      'slow': machine.subject('slow', 9)
  }
  times = measure.in_turns(runs,
                           seconds=8,
                           settle=3.5,
                           rounds=(2, 2),
                           clock=machine.clock)
  np.testing.assert_allclose(times['fast'], [1] * 2)
  np.testing.assert_allclose(times['slow'], [9] * 2)
  rounds = machine.log[4:]
  # 4 untimed runs until 3.5 s are over, and the one that is timed.
  assert (rounds.count('fast'), rounds.count('slow')) == (2 * 5, 2)


def test_rows_have_medians_and_ratios():
  machine = Machine()
  keys = {
      Key(measure.LSTM, 'stacked'): 4.0,
      Key(measure.LSTM, 'wavefront'): 8.0,
      Key(measure.SNN, 'stacked', 1): 6.0,
      Key(measure.SNN, 'stacked', 2): 9.0,
      Key(measure.SHARED, 'stacked', 2): 5.0,
      Key('torch'): 2.0,
      Key(measure.FLOOR, None, 1): 1.0,
      Key(measure.FLOOR, None, 2): 3.0,
  }
  subjects = {
      key: Subject(machine.subject(key, seconds), compile_s=7.0)
      for key, seconds in keys.items()
  }
  rows = {
      (row['name'], row['executor'], row['steps']): row for row in
      measure.measure(SHAPE, subjects, seconds=0, clock=machine.clock)
  }
  assert len(rows) == len(keys)
  snn = rows[measure.SNN, 'stacked', 2]
  assert snn['median_ms'] == pytest.approx(9000)
  assert snn['ratio'] == pytest.approx({
      'LSTM': 9 / 4,
      'torch': 4.5,
      'floor': 3
  })
  assert rows[measure.SNN, 'stacked', 1]['ratio']['floor'] == pytest.approx(6)
  # Its steps share one product, that of T = 1.
  assert rows[measure.SHARED, 'stacked',
              2]['ratio']['floor'] == pytest.approx(5)
  assert (snn['elements'], snn['layers'], snn['rounds']) == (3, 2, 5)
  assert snn['compile_s'] == 7.0


def test_quartiles_are_those_of_numpy_in_ms():
  found = measure.quartiles(np.asarray([0.005, 0.001, 0.002, 0.003, 0.004]))
  assert list(found.values()) == pytest.approx([2, 3, 4])


@pytest.mark.parametrize('name', ['train', 'latency', 'long_512'])
def test_report_is_the_published_one(name):
  """Its numbers were written by hand-made loops, these by pandas."""
  metrics = json.loads((PUBLISHED / name / 'metrics.json').read_text())
  assert report.report(metrics) == (PUBLISHED / name / 'report.md').read_text()


def test_figure_has_a_curve_or_level_of_each_subject():
  rows = json.loads((PUBLISHED / 'train' / 'metrics.json').read_text())['rows']
  axes, = report.figure(SHAPE, rows).axes
  curves = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
  medians = [row['median_ms'] for row in rows if row['name'] == 'SNN']
  np.testing.assert_allclose(curves['SNN stacked'], medians)
  torch, = [row['median_ms'] for row in rows if row['name'] == 'torch']
  np.testing.assert_allclose(curves['torch'], [torch, torch])
  assert {'floor', 'LSTM'} < curves.keys()


def test_the_network_that_is_timed_spikes_and_stays():
  model, = models.spiking(SHAPE, (2,), ('o', 'c'))
  assert 0.05 < models.spike_rate(model, SHAPE) < 0.95
  made = models.ours(SHAPE._replace(layers=1), (2,), ('stacked',), ('o', 'c'),
                     ('step', 'shared'), True)
  assert list(made) == [
      Key(measure.LSTM, 'stacked'),
      Key(measure.SNN, 'stacked', 2),
      Key(measure.SHARED, 'stacked', 2)
  ]
  for subject in made.values():
    subject.run()
    subject.run()  # what was donated is there again
    assert subject.peak_bytes > 0 and subject.compile_s > 0


@pytest.mark.parametrize('training', [False, True])
def test_floor_is_all_products_of_a_stacked_schedule(training):
  n, d, b, h, _ = shape = Shape(7, 3, 4, 5, 2)
  t, passes = 2, 3 if training else 1  # a gradient of each operand
  first = n * b * d * 4 * h * (2 if training else 1)  # none of the input
  rest = n * t * b * h * 4 * h * passes
  x = np.zeros((b, n, d), np.float32)
  weights = [
      (np.zeros((size, 4 * h)), np.zeros((h, 4 * h))) for size in shape.fan_in
  ]
  function = models._gradient_products if training else models._products
  jaxpr = jax.make_jaxpr(function)(weights, x, np.zeros((t * b, h)))
  assert multiplications(jaxpr.jaxpr) == first + 3 * rest  # U twice, W of h


def multiplications(jaxpr, times=1):
  """Of all matrix products, those in a scan as often as it runs."""
  total = 0
  for equation in jaxpr.eqns:
    params = equation.params
    if equation.primitive.name == 'dot_general':
      (contracted, _), _ = params['dimension_numbers']
      inner = [equation.invars[0].aval.shape[axis] for axis in contracted]
      total += times * np.prod((*equation.outvars[0].aval.shape, *inner))
    if 'jaxpr' in params:
      inside = getattr(params['jaxpr'], 'jaxpr', params['jaxpr'])
      total += multiplications(inside, times * params.get('length', 1))
  return total


def test_absent_peers_are_named_with_the_reason(monkeypatch):

  def absent(shape, training):
    raise ImportError('No module named no_such_module')

  monkeypatch.setitem(peers.PEERS, 'absent', absent)
  found, skipped = peers.subjects(('flax.linen', 'absent'), SHAPE, False)
  assert list(found) == [Key('flax.linen')]
  assert list(skipped) == ['absent'] and 'no_such_module' in skipped['absent']


@pytest.mark.parametrize('name', ['flax.linen', 'torch'])
@pytest.mark.parametrize('training', [False, True])
def test_peers_run(name, training):
  if name == 'torch':
    pytest.importorskip('torch')
  (key, subject), = peers.subjects((name,), SHAPE, training)[0].items()
  assert key == Key(name)
  subject.run()
  subject.run()


def test_shapes_are_the_product_of_the_sizes(monkeypatch):
  values = flags.FlagValues()
  for name, sizes in zip(Shape._fields, ((1, 2), (3,), (4, 5), (6,), (7,))):
    flags.DEFINE(main._List(flags.IntegerParser(lower_bound=1), 1),
                 name,
                 ','.join(map(str, sizes)),
                 '',
                 flag_values=values)
  values.mark_as_parsed()
  monkeypatch.setattr(flags, 'FLAGS', values)
  assert main.shapes() == [
      Shape(1, 3, 4, 6, 7),
      Shape(1, 3, 5, 6, 7),
      Shape(2, 3, 4, 6, 7),
      Shape(2, 3, 5, 6, 7)
  ]


def call(binary, *arguments):
  """Runs a binary where norse is absent; returns (status, what it printed)."""
  code = (
      'import runpy, sys; sys.modules["norse"] = None; '
      f'runpy.run_module("experiments.bench.{binary}", run_name="__main__")')
  return binaries.run_python('-c', code, *arguments)


@pytest.mark.parametrize('binary, kind, executors', [
    ('executor', 'inference', ('stacked', 'wavefront')),
    ('train', 'training step', ('stacked',)),
])
def test_binaries(binary, kind, executors, tmp_path):
  workdir = tmp_path / 'bench'
  arguments = (*SMALL, '--steps=1,2', f'--executors={",".join(executors)}',
               '--peers=flax.linen,norse', f'--workdir={workdir}')
  status, printed = call(binary, *arguments)
  assert status == 0, printed
  assert 'norse: skipped (' in printed
  metrics = json.loads((workdir / 'metrics.json').read_text())
  assert metrics['benchmark'] == kind
  assert list(metrics['skipped']) == ['norse']
  names = [
      (row['name'], row['executor'], row['steps']) for row in metrics['rows']
  ]
  assert set(names) == {
      *(('LSTM', e, None) for e in executors),
      *(('SNN', e, t) for e in executors for t in (1, 2)),
      *(('SNN, shared', 'stacked', t) for t in (1, 2)),
      *(('SNN, sigma-delta', e, 1) for e in executors),
      ('SNN, sigma-delta', 'stacked', 2), ('flax.linen', None, None),
      ('floor', None, 1), ('floor', None, 2)
  }
  assert len({row['rounds'] for row in metrics['rows']}) == 1
  assert {'commit', 'jax_version', 'device_kind',
          'usable_cpus'} <= set(metrics['environment'])
  report = (workdir / 'report.md').read_text()
  assert 'T = 2 / T = 1' in report and (workdir / 'N3_D2_B2_H4_L1.png').exists()


def test_a_benchmark_is_not_written_over(tmp_path):
  (tmp_path / 'metrics.json').write_text('{}')
  status, printed = call('executor', *SMALL, f'--workdir={tmp_path}')
  assert status == 1 and 'holds a benchmark' in printed
  assert (tmp_path / 'metrics.json').read_text() == '{}'


@pytest.mark.parametrize('flag, message', [
    ('--steps=0', '--steps=0:'),
    ('--couplings=shared --executors=wavefront',
     '--executors=wavefront runs --couplings=step only'),
])
def test_bad_flags_are_named(flag, message, tmp_path):
  status, printed = call('executor', *SMALL, *flag.split(),
                         f'--workdir={tmp_path / "bench"}')
  assert status == 1 and message in printed
  assert not (tmp_path / 'bench').exists()


@pytest.mark.parametrize('entry, argument, message', [
    (flags.EnumParser(['o', 'c']), 'o,z', 'should be one of <o.c>'),
    (flags.EnumParser(['o', 'c']), '', 'at least 1'),
    (flags.EnumParser(['o', 'c']), 'c,c', 'none twice'),
    (flags.IntegerParser(lower_bound=1), '2,0', 'positive integer'),
    (flags.IntegerParser(lower_bound=1), 'x', 'int'),
])
def test_bad_lists_are_refused(entry, argument, message):
  with pytest.raises((ValueError, TypeError), match=message):
    main._List(entry, 1).parse(argument)


def test_lean_is_planned_to_take_less_memory():
  found = memory.planned(Shape(40, 3, 4, 16, 1), (8,), ('stacked', 'lean'),
                         ('o', 'c'))
  floats = {
      (name, t): size / 4 / (40 * 4 * 16 * t) for name, t, _, size in found
  }
  assert list(floats) == [('stacked', 8), ('lean', 8)]
  assert 1 < floats['lean', 8] < floats['stacked', 8]


def test_memory_binary():
  status, printed = binaries.run_python('-m', 'experiments.bench.memory',
                                        *SMALL[:-1], '--steps=2', '--run',
                                        '--executors=lean')
  assert status == 0, printed
  head, line = printed.splitlines()
  assert head == 'Training step, N = 3, D = 2, B = 2, H = 4, L = 1'
  found = re.fullmatch(
      r'lean, T = 2: (\S+) GB, (\S+) floats per entry of h, '
      r'compiled in \S+ s, (\S+) GB resident', line)
  planned, floats, resident = map(float, found.groups())
  assert 0.1 < resident < 100 and planned < resident and floats > 1
