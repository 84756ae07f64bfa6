"""The binaries as a user runs them, on a small data set of the user's own."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

from absl import flags
import jax
import numpy as np
import pytest

from experiments import ablate
from experiments import config as config_lib
from experiments import configs
from experiments import pareto
from experiments import pipeline
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base
from experiments.datasets.mnist import Mnist
from experiments.datasets.npz import Npz
import slstm
from slstm import checkpoint
from slstm import integer
from tests import binaries

SMALL = ('--config=experiments/configs/npz.py', '--config.model.hidden=6',
         '--config.ann.epochs=2', '--config.snn.epochs=1',
         '--config.ann.batch_size=8', '--config.snn.batch_size=8',
         '--config.conversion.calibration=32')
call, must = binaries.run, binaries.must


def arrays(examples=80):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(examples, 4, 3)).astype(np.float32)
  return {'x': x, 'y': (x[:, :, 0].sum(1) > 0).astype(np.int64)}


@pytest.fixture(scope='module', name='npz')
def _npz(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'mine.npz'
  np.savez(path, **arrays())
  return path


@pytest.fixture(scope='module', name='mine')
def _mine(npz):
  return (*SMALL, f'--config.data.path={npz}')


@pytest.fixture(scope='module', name='hard')
def _hard(mine, tmp_path_factory):
  """The work directory of a source LSTM, for all tests."""
  folder = tmp_path_factory.mktemp('models') / 'hard'
  must('train_ann', *mine, f'--workdir={folder}')
  return folder


def metrics(folder):
  return json.loads((folder / 'metrics.json').read_text())


def config_of(folder):
  return json.loads((folder / 'config.json').read_text())


def test_every_binary_in_turn(mine, small, hard, tmp_path):
  must('convert', *mine, '--config.conversion.num_steps=3', f'--source={hard}',
       f'--workdir={tmp_path / "converted_T3"}')
  # T is what the model has, whatever the config says.
  must('train_snn', *mine, f'--source={tmp_path / "converted_T3"}',
       f'--workdir={tmp_path / "tuned_T3"}')
  must('evaluate', *mine, f'--source={tmp_path / "tuned_T3"}',
       f'--workdir={tmp_path / "tuned_T3_test"}')
  model = checkpoint.load_model(tmp_path / 'tuned_T3' / 'model')
  assert model.config.num_steps == 3
  assert model.layers[0].neurons.present == ('o', 'c')
  converted, tested = (
      metrics(tmp_path / name) for name in ('converted_T3', 'tuned_T3_test'))
  assert converted['metric'] == tested['metric'] == 'accuracy'
  assert 0 <= converted['validation_accuracy'] <= 1
  whole = base.load(Npz(path=mine[-1].split('=')[1]))
  data = whole.test
  predicted = slstm.predict(model, data.x).argmax(-1)
  assert tested['test_accuracy'] == pytest.approx(np.mean(predicted == data.y))
  assert tested['test_examples'] == len(data.y) == 12
  ints = slstm.quantise(model, whole.train.x)
  predicted = integer.outputs(ints, data.x).argmax(-1)
  assert tested['int8'] == {'test_accuracy': np.mean(predicted == data.y)}
  found = config_of(tmp_path / 'tuned_T3_test')
  assert found['source'] == 'tuned_T3' and len(found['data_digest']) == 64
  assert found['experiment']['conversion']['num_steps'] == 3
  assert list(config_of(hard)['experiment']) == ['data', 'model', 'ann', 'seed']

  # A finished stage is left alone, and another one is not written over it.
  before = (hard / 'metrics.json').stat().st_mtime_ns
  experiment, dataset = small
  stages.train_ann(experiment, dataset, hard)
  assert (hard / 'metrics.json').stat().st_mtime_ns == before
  status, printed = call('train_ann', *mine, '--config.seed=1',
                         f'--workdir={hard}')
  assert status == 1
  assert 'different in seed' in printed
  assert 'Traceback' not in printed


@pytest.fixture(name='small')
def _small(npz):
  """(experiment, data set) of what SMALL asks for."""
  training = {'epochs': 2, 'batch_size': 8}
  experiment = config_lib.replace(Experiment(Npz(path=str(npz))),
                                  model={'hidden': (6,)},
                                  ann=training,
                                  conversion={'calibration': 32},
                                  snn={
                                      **training, 'epochs': 1
                                  })
  return experiment, base.load(experiment.data)


def flag(monkeypatch, **values):
  """Sets flags of a binary that runs in this process."""
  flags.FLAGS.mark_as_parsed()
  for name, value in values.items():
    monkeypatch.setattr(flags.FLAGS[name], 'value', value)


def test_ablation_runs_each_variant_from_one_source(small, hard, tmp_path,
                                                    monkeypatch):
  experiment, dataset = small
  experiment = config_lib.replace(experiment, conversion={'neuron': 'if'})
  names = 'if_no_shift', 'quantised', 'hard'
  flag(monkeypatch, variants=names)
  monkeypatch.setattr(ablate.main, 'source', lambda: hard)
  ablate.run(experiment, dataset, tmp_path)
  rows = [[cell.strip()
           for cell in line.split('|')]
          for line in (tmp_path / 'ablation.md').read_text().splitlines()
          if line.startswith('| ')]
  assert [row[1] for row in rows[2:]
         ] == ['IF, no shift of o', 'quantised source, Q = T']
  tuned = metrics(tmp_path / 'if_no_shift_tuned')['validation_accuracy']
  assert rows[2][3] == f'{tuned:.4f}'
  model = checkpoint.load_model(tmp_path / 'quantised_tuned' / 'model')
  assert model.config.family == 'quantised' and model.config.levels == 2
  model = checkpoint.load_model(tmp_path / 'if_no_shift_converted' / 'model')
  assert model.layers[0].neurons.o.leak is None
  np.testing.assert_array_equal(model.layers[0].neurons.o.v_0, 0.0)


def test_ablation_reads_no_test_data(small, tmp_path, monkeypatch):
  """Other test data change its data set, but none of its figures."""
  experiment, dataset = small
  flag(monkeypatch, variants=['if'])
  tables = []
  for name, scale in ('same', 1), ('other', -np.inf):
    test = dataset.test._replace(x=scale * dataset.test.x)
    changed, folder = dataset._replace(test=test), tmp_path / name
    stages.train_ann(experiment, changed, folder / 'hard')
    monkeypatch.setattr(ablate.main, 'source', lambda f=folder: f / 'hard')
    ablate.run(experiment, changed, folder)
    tables.append((folder / 'ablation.md').read_text())
  digests = {config_of(tmp_path / name / 'if_tuned')['data_digest']
             for name in ('same', 'other')}  # yapf: disable
  assert len(digests) == 2 and tables[0] == tables[1]


def test_pareto_has_every_budget_before_and_after_training(
    small, hard, tmp_path, monkeypatch):
  experiment, dataset = small
  flag(monkeypatch, rates=['0.4', '0.1'])
  monkeypatch.setattr(pareto.main, 'source', lambda: hard)
  pareto.run(experiment, dataset, tmp_path)
  rows = [[cell.strip()
           for cell in line.split('|')[1:-1]]
          for line in (tmp_path / 'pareto.md').read_text().splitlines()
          if line.startswith('| ')][2:]
  assert [row[:2] for row in rows] == [['0.1', 'converted'], ['0.1', 'tuned'],
                                       ['0.4', 'converted'], ['0.4', 'tuned'],
                                       ['-', 'LSTM']]
  energy = [float(row[4]) for row in rows]
  for row, spent in zip(rows, energy):
    assert float(row[5]) == pytest.approx(energy[-1] / spent, rel=0.02)
  sent = [float(row[3]) for row in rows[:-1]]
  assert 0 < sent[0] <= 0.1 and sent[0] < sent[2] <= 0.4
  tuned = tmp_path / 'tuned_0.4'
  assert rows[3][2] == f'{metrics(tuned)["validation_accuracy"]:.4f}'
  assert config_of(tuned)['experiment']['snn']['rate_target'] == 0.4
  model = checkpoint.load_model(tuned / 'model')
  counts = slstm.count_operations(model, dataset.validation.x)
  assert rows[3][3] == f'{counts.layers[0].spikes_per_element:.3f}'
  assert (tmp_path / 'pareto.png').stat().st_size > 5000


@pytest.mark.parametrize('words', [['0'], ['a'], [], ['0.1', 'inf'], ['nan']])
def test_pareto_needs_rates(words):
  with pytest.raises(ValueError, match='--rates='):
    pareto.rates(words)


def test_distillation_needs_a_teacher(small, hard, tmp_path):
  experiment, dataset = small
  experiment = config_lib.replace(experiment, snn={'distillation': 0.5})
  stages.convert(experiment, dataset, hard, tmp_path / 'converted')
  arguments = (experiment, dataset, tmp_path / 'converted', tmp_path / 'tuned')
  with pytest.raises(ValueError, match='needs --teacher'):
    stages.train_snn(*arguments)
  assert not (tmp_path / 'tuned').exists()
  stages.train_snn(*arguments, hard)
  assert config_of(tmp_path / 'tuned')['teacher'] == 'hard'


def test_killed_training_ends_in_the_same_parameters(mine, tmp_path):
  """Kill -9 after a saved epoch and in the middle of the next one."""
  flags = (*mine, '--config.ann.epochs=30')
  undisturbed, killed = tmp_path / 'undisturbed', tmp_path / 'killed'
  must('train_ann', *flags, f'--workdir={undisturbed}')
  command = [sys.executable, '-m', 'experiments.train_ann', *flags]
  with subprocess.Popen([*command, f'--workdir={killed}'],
                        cwd=binaries.ROOT,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL) as process:
    limit = time.monotonic() + 120
    while not (killed / 'epochs' / '3').exists():
      assert process.poll() is None and time.monotonic() < limit
      time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
  assert not (killed / 'metrics.json').exists(), 'it ended before the kill'
  must('train_ann', *flags, f'--workdir={killed}')
  assert metrics(killed) == metrics(undisturbed)
  expected = checkpoint.read(undisturbed / 'epochs')
  found = checkpoint.read(killed / 'epochs')
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)


def with_shorter():
  """(experiment, data set) of a training that begins on half the elements."""
  mine = arrays()
  whole = slstm.Data(mine['x'], mine['y'].astype(np.int32))
  short = slstm.Data(whole.x[:, :2], whole.y)
  dataset = base.DataSet(*[whole] * 3, ('0', '1'),
                         shorter=base.Shorter(short, short, 2))
  return config_lib.replace(Experiment(Npz()),
                            model={
                                'family': 'standard',
                                'hidden': (6,)
                            },
                            ann={
                                'epochs': 1,
                                'batch_size': 8
                            }), dataset


def test_a_training_starts_from_the_stretched_one_on_shorter_ones(tmp_path):
  experiment, dataset = with_shorter()
  experiment = config_lib.replace(experiment, ann={'learning_rate': 1e-9})
  stages.train_ann(experiment, dataset, tmp_path)
  history = metrics(tmp_path / 'short')['history']
  assert [epoch['epoch'] for epoch in history] == [1, 2]
  before, after = (checkpoint.load_model(tmp_path / name)
                   for name in ('short/model', 'model'))
  b, u = (lambda model: model.layers[0].b), (lambda model: model.layers[0].u)
  near = lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5)
  near(b(after).f - b(before).f, np.log(2))
  near(b(after).i - b(before).i, -np.log(2))
  near(u(after).g, u(before).g)
  near(after.encoder.mean, dataset.train.x.mean((0, 1)))


def test_a_training_killed_between_its_two_parts_goes_on(tmp_path, monkeypatch):
  experiment, dataset = with_shorter()
  stages.train_ann(experiment, dataset, tmp_path / 'whole')
  with monkeypatch.context() as patch:
    patch.setattr(stages.slstm, 'stretch', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      stages.train_ann(experiment, dataset, tmp_path / 'killed')
  made = (tmp_path / 'killed' / 'short' / 'metrics.json').stat().st_mtime_ns
  stages.train_ann(experiment, dataset, tmp_path / 'killed')
  assert made == (tmp_path / 'killed/short/metrics.json').stat().st_mtime_ns
  jax.tree.map(
      np.testing.assert_array_equal,
      *(checkpoint.load_model(tmp_path / name / 'model')
        for name in ('whole', 'killed')))


def test_a_stage_remembers_who_made_it(tmp_path, monkeypatch):
  sources = {}
  for name in ('converted', 'standard', 'hard'):
    sources[name] = tmp_path / name
    runs.begin(sources[name], name, {}, '5a')
  made_from = {'source': sources['converted'], 'teacher': sources['standard']}
  arguments = (tmp_path / 'w', 'train_snn', {'seed': 0}, '5a')
  for commit in ('a', 'b-dirty', 'a'):
    monkeypatch.setattr(runs, 'commit', lambda commit=commit: commit)
    assert not runs.begin(*arguments, made_from)
  runs.write_json(tmp_path / 'w' / 'metrics.json', {})
  monkeypatch.setattr(runs, 'commit', lambda: 'c')
  assert runs.begin(*arguments, made_from)
  assert runs.commits(runs.read_config(tmp_path / 'w')) == ['a', 'b-dirty']
  with pytest.raises(ValueError, match='different in teacher'):
    runs.begin(*arguments, {**made_from, 'teacher': sources['hard']})


def identity(folder, stage='train_ann', sources=None, **sections):
  runs.begin(folder, stage, sections, '5a', sources)
  return runs.read_config(folder)['identity']


def test_an_identity_is_of_what_a_stage_reads(tmp_path):
  places = (tmp_path / str(i) for i in range(99))
  ann, more = {'ann': {'epochs': 1}}, {'data': {'path': '/here', 'noise': 0.1}}
  one = identity(next(places), **ann, **more)
  more['data']['path'] = '/there'
  assert one == identity(next(places), **more, **ann)
  others = {
      identity(next(places), **more, ann={'epochs': 2}),
      identity(next(places), data={'noise': 0.2}, **ann),
      identity(next(places), 'convert', **ann, **more),
      identity(next(places), 'convert', {'source': tmp_path / '0'}, **ann,
               **more),
      identity(next(places), 'convert', {'source': tmp_path / '2'}, **ann,
               **more),
  }
  assert len(others | {one}) == 6


def test_a_source_made_anew_otherwise_is_noticed(tmp_path):
  """The config of the stage is the same, that of its source is not."""
  for epochs in 1, 2:
    runs.begin(tmp_path / str(epochs) / 'hard', 'train_ann',
               {'ann': {
                   'epochs': epochs
               }}, '5a')
  runs.begin(tmp_path / 'w', 'convert', {}, '5a',
             {'source': tmp_path / '1' / 'hard'})
  runs.finish(tmp_path / 'w', {})
  with pytest.raises(ValueError, match='different in what its sources are'):
    runs.begin(tmp_path / 'w', 'convert', {}, '5a',
               {'source': tmp_path / '2' / 'hard'})


def test_a_model_of_other_data_is_refused(small, hard, tmp_path):
  _, dataset = small
  other = dataset._replace(train=dataset.validation)
  with pytest.raises(ValueError, match='holds a model of other data'):
    stages.evaluate(other, hard, tmp_path / 'w')
  assert not (tmp_path / 'w').exists()


@pytest.mark.slow
def test_a_pipeline_reuses_what_another_one_trained(small, tmp_path,
                                                    monkeypatch):
  experiment, dataset = small
  experiment = config_lib.replace(experiment, conversion={'neuron': 'if'})
  ends = []
  monkeypatch.setattr(pipeline.latency, 'latency', lambda *_: None)
  monkeypatch.setattr(pipeline.report, 'write', ends.append)
  flag(monkeypatch, converted_steps=['2'], tuned_steps=['2'], reuse=[],
       sigma_delta_steps=[], quantised_levels=[])  # yapf: disable
  one, other, own = (tmp_path / name for name in ('one', 'other', 'own'))
  pipeline.run(experiment, dataset, one)
  monkeypatch.setattr(pipeline.stages, 'select', lambda *_: None)
  flag(monkeypatch, reuse=[str(one)])
  spiking = config_lib.replace(experiment, conversion={'encoding': 'spiking'})
  pipeline.run(spiking, dataset, other)
  assert ends == [one, other]
  for name in 'standard', 'hard', 'standard_test', 'hard_test':
    times = [(folder / name / 'metrics.json').stat().st_mtime_ns
             for folder in (one, other)]  # yapf: disable
    assert times[0] == times[1]  # copied
  # What is reused is what a training of its own would have given.
  stages.train_ann(spiking, dataset, own)
  assert metrics(other / 'hard') == metrics(own)
  assert config_of(other / 'hard') == config_of(own)
  for name in 'converted_T2', 'tuned_T2':
    made = [checkpoint.load_model(folder / name / 'model')
            for folder in (one, other)]  # yapf: disable
    assert [model.encoder.neuron is None for model in made] == [True, False]
  candidates = metrics(one / 'select')['candidates']
  assert ['o', 'c'] in [candidate['sites'] for candidate in candidates]
  assert {'sites', 'neuron', 'error', 'agreement', 'energy',
          'on_front'} == set(candidates[0])
  plan = json.loads((one / 'plan.json').read_text())['models']
  assert plan == ['standard', 'hard', 'converted_T2', 'tuned_T2']


@pytest.mark.parametrize('values, message', [
    ({
        'converted_steps': ['2', '0'],
        'tuned_steps': ['2']
    }, 'num_steps is 0'),
    ({
        'tuned_steps': ['3']
    }, 'not all'),
    ({
        'converted_steps': ['one']
    }, '--converted_steps=one: expected integers'),
    ({
        'reuse': ['nowhere']
    }, '--reuse=nowhere: no such folder'),
])
def test_a_pipeline_refuses_all_of_its_flags_before_it_trains(
    values, message, small, tmp_path, monkeypatch):
  flag(monkeypatch, **values)
  with pytest.raises((ValueError, OSError), match=message):
    pipeline.run(*small, tmp_path / 'w')
  assert not (tmp_path / 'w').exists()


BAD_FLAGS = {
    '--colour=red': "Unknown command line flag 'colour'",
    '--work_dir=w': 'Did you mean: workdir',
    '--config.snn.epoch=3': 'did you mean --config.snn.epochs',
    '--config.epochs=3':
        'did you mean --config.ann.epochs or --config.snn.epochs',
    '--config.ann.distillation=1': 'did you mean --config.snn.dist',
    '--config=experiments/configs/gsc.py:2x256_spikng':
        "did you mean '2x256_spiking'",
    '--config=nowhere.py': 'nowhere.py: no such file',
    '--config.snn.epochs=three': '--config.snn.epochs=three',
    '--config.model.hidden=6,six': "hidden is (6, 'six')",
    '--config.conversion.neuron=eif': "neuron is 'eif'",
    '--config.snn.epochs=0': 'config.snn: TrainConfig.epochs is 0',
    '--config.ann.executor=eager': "executor is 'eager'",
    '--config=experiments/configs/npz.py': 'no such file',
    '--config.model.levels=3': "family 'hard' does not read it",
    'stray': 'unexpected arguments: stray',
}  # yapf: disable
# Each in a process of its own, but forked, so that none imports all anew.
TRY_ALL = """
import os, sys
from experiments import main, stages
for index, flag in enumerate(sys.argv[2:]):
  if not os.fork():
    sys.argv = ['train_ann', '--workdir=' + sys.argv[1], flag]
    main.main(stages.train_ann)
  print('rc', os.waitstatus_to_exitcode(os.wait()[1]), file=sys.stderr)
"""


def test_bad_flags_are_named_in_one_line(tmp_path):
  _, printed = binaries.run_python('-c', TRY_ALL, tmp_path / 'w', *BAD_FLAGS)
  lines = [line for line in printed.splitlines() if 'fork' not in line]
  assert len(lines) == 2 * len(BAD_FLAGS), printed
  for index, (argument, message) in enumerate(BAD_FLAGS.items()):
    assert message in lines[2 * index], argument
    assert lines[2 * index + 1] == 'rc 1', argument
  assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize('changes, message', [
    ({
        'conversion': {
            'encoder_steps': 4
        }
    }, "encoder_steps is 4; it needs encoding 'spiking'"),
    ({
        'conversion': {
            'coupling': 'shared'
        },
        'snn': {
            'executor': 'wavefront'
        }
    }, 'config.snn.executor is wavefront'),
    ({
        'model': {
            'family': 'standard',
            'slope': 2.0
        }
    }, 'slope is 2.0'),
    ({
        'model': {
            'family': 'standard',
            'levels': 3
        }
    }, 'levels is 3'),
    ({
        'data': Mnist(order='pixels', short_epochs=1)
    }, 'short_epochs is 1; it needs config.model.family=standard'),
    ({
        'conversion': {
            'calibration': 0
        }
    }, 'config.conversion: calibration is 0'),
])
def test_options_that_cannot_work_together_are_refused(changes, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    config_lib.replace(Experiment(Npz()), **changes)


def test_a_shorter_version_is_of_pixels_alone():
  with pytest.raises(ValueError, match='short_epochs is 1 with order .rows'):
    Mnist(short_epochs=1)


def test_another_family_leaves_what_it_does_not_read():
  experiment = config_lib.replace(Experiment(Npz()), model={'slope': 2.0})
  assert config_lib.with_family(experiment, 'hard') == experiment
  other = config_lib.with_family(experiment, 'standard').model
  assert (other.family, other.slope) == ('standard', 3.0)
  four = config_lib.with_family(experiment, 'quantised', 4)
  assert four.model.levels == 4
  assert config_lib.with_family(four, 'standard', 4).model == other
  assert config_lib.with_family(four, 'quantised', 2).model.levels == 2
  assert [config_lib.source_name(e) for e in (experiment, four)
         ] == ['hard', 'quantised_Q4']
  pixels = configs.every()['mnist.py:pixels']
  assert config_lib.with_family(pixels, 'quantised', 4).data.short_epochs == 0


def test_absent_source_is_named(mine, tmp_path):
  status, printed = call('evaluate', *mine, f'--source={tmp_path / "nowhere"}',
                         f'--workdir={tmp_path / "test"}')
  assert status == 1
  assert 'nowhere' in printed and 'Traceback' not in printed


def test_help_has_every_option_with_its_meaning_and_the_flags():
  _, printed = call('train_snn', '--help')
  for name in ('workdir', 'source', 'teacher'):
    assert f'\n  --{name}: ' in printed
  words = ' '.join(printed.split())
  for name, value, meaning in config_lib.options(configs.every()['har.py']):
    assert meaning, name
    shown = ','.join(map(str, value)) if isinstance(value, tuple) else value
    read = name.split('.')[0] in ('data', 'snn', 'seed')
    assert (f'--config.{name}={shown}: {meaning}' in words) == read, name


def test_configs_are_what_the_command_line_gives():
  every = configs.every()
  assert every['har.py'].model.hidden == (128,)
  assert every['har.py:2x64'].model.hidden == (64, 64)
  assert every['gsc.py:2x256_spiking'].conversion.encoder_steps == 8
  assert every['mnist.py:pixels'].data.short_epochs == 4
  # The two share their LSTM.
  plain, spiking = every['gsc.py'], every['gsc.py:2x256_spiking']
  read = ('data', 'model', 'ann', 'seed')
  assert runs.sections(plain, *read) == runs.sections(spiking, *read)


OWN = '''
import dataclasses
from typing import ClassVar

import numpy as np

from experiments.config import Experiment
from experiments.datasets import base
import slstm


@dataclasses.dataclass(frozen=True)
class Mine:
  name: ClassVar[str] = 'mine'
  length: int = 4

  def load(self):
    x = np.random.default_rng(0).normal(size=(40, self.length, 2))
    data = slstm.Data(x.astype(np.float32), (x[:, 0, 0] > 0).astype(np.int32))
    return base.DataSet(data, data, data, ('no', 'yes'))


def get_config():
  return Experiment(Mine())
'''


def test_a_data_set_of_ones_own_is_a_class_in_ones_own_config(tmp_path):
  (tmp_path / 'own.py').write_text(OWN)
  must('train_ann', f'--config={tmp_path / "own.py"}', '--config.data.length=6',
       '--config.model.hidden=3,3', '--config.ann.batch_size=8',
       '--config.ann.epochs=1', f'--workdir={tmp_path / "w"}')
  found = config_of(tmp_path / 'w')['experiment']
  assert found['data'] == {'name': 'mine', 'length': 6}
  assert found['model']['hidden'] == [3, 3]


def load(path, **changes):
  return base.load(Npz(path=str(path), **changes))


def test_bad_choice_of_data_is_named(npz):
  with pytest.raises(ValueError, match='frames is 3; .* sequence length 4'):
    load(npz, frames=3)
  with pytest.raises(FileNotFoundError, match='nowhere.npz: no such file'):
    load('nowhere.npz')


def test_own_arrays_are_split_once_and_completely(npz):
  dataset = load(npz)
  assert [len(dataset.train.y),
          len(dataset.validation.y),
          len(dataset.test.y)] == [56, 12, 12]
  parts = np.concatenate(
      [dataset.train.x, dataset.validation.x, dataset.test.x])
  order = lambda x: x[np.lexsort(x.reshape(len(x), -1).T)]
  np.testing.assert_array_equal(order(parts), order(arrays()['x']))
  assert base.digest(load(npz)) == base.digest(dataset)


def test_digests_of_published_runs_are_those_of_today():
  published = config_of(binaries.ROOT / 'results/har/seed0/hard')
  experiment = configs.every()['har.py']
  assert base.digest(base.load(experiment.data)) == published['data_digest']


def test_own_split_is_respected_and_frames_are_joined(tmp_path):
  mine = {**arrays(6), 'y': np.arange(6) % 2}
  path = tmp_path / 'mine.npz'
  np.savez(path, **mine, split=[0, 2, 1, 0, 1, 2])
  dataset = load(path, frames=2)
  np.testing.assert_array_equal(dataset.validation.y, mine['y'][[2, 4]])
  assert dataset.test.x.shape == (2, 2, 6)
  np.testing.assert_array_equal(dataset.test.x[0, 1], mine['x'][1, 2:].ravel())


@pytest.mark.parametrize('name, value, message', [
    ('x', np.zeros((80, 4), np.float32), r'x has shape \(80, 4\)'),
    ('x', np.zeros((0, 4, 3), np.float32), 'x has shape'),
    ('x', np.full((80, 4, 3), 'a'), 'x has dtype'),
    ('y', np.zeros(79, int), r'y has shape \(79,\)'),
    ('y', np.zeros(80), 'y has .* dtype float64'),
    ('y', np.zeros((80, 1), int), r'y has shape \(80, 1\)'),
    ('y', np.where(np.arange(80) == 7, -1, 0), 'y is -1 in row 7'),
    ('split', np.full(80, 3), 'split'),
    ('split', np.zeros(79, int), 'split'),
    ('z', np.zeros(1), "unknown arrays .'z'"),
])
def test_bad_arrays_are_named(name, value, message, tmp_path):
  path = tmp_path / 'bad.npz'
  np.savez(path, **{**arrays(), name: value})
  with pytest.raises(ValueError, match=message):
    load(path)


def test_nan_is_named_by_row(tmp_path):
  mine = arrays()
  mine['x'][5, 2, 1] = np.nan
  mine['x'][9, 0, 0] = np.inf
  path = tmp_path / 'bad.npz'
  np.savez(path, **mine)
  with pytest.raises(ValueError, match=r'row 5 \(2 such rows\)'):
    load(path)


def test_damaged_npz_is_named(npz, tmp_path):
  path = tmp_path / 'damaged.npz'
  np.save(tmp_path / 'one.npy', np.zeros(3))
  (tmp_path / 'one.npy').rename(path)
  with pytest.raises(ValueError, match='damaged.npz cannot be read.*one array'):
    load(path)
  whole = npz.read_bytes()
  for place in range(0, len(whole), 97):
    flipped = bytes([whole[place] ^ 0xff])
    path.write_bytes(whole[:place] + flipped + whole[place + 1:])
    try:
      load(path)
    except ValueError as error:
      assert 'damaged.npz' in str(error)


def test_truncated_npz_is_named_and_left(npz, tmp_path):
  path = tmp_path / 'cut.npz'
  path.write_bytes(npz.read_bytes()[:500])
  with pytest.raises(ValueError, match='cut.npz cannot be read'):
    load(path)
  assert path.stat().st_size == 500


def test_corrupt_json_is_named(tmp_path):
  (tmp_path / 'config.json').write_text('{"stage": ')
  with pytest.raises(ValueError, match='config.json is truncated'):
    runs.begin(tmp_path, 'train_ann', {}, '')
  with pytest.raises(FileNotFoundError, match='run the stage'):
    runs.read_json(tmp_path / 'metrics.json')


def test_a_missing_extra_is_named():
  code = ('import os, sys; os.environ.pop("SLSTM_DATA", None)\n'
          'sys.modules["{0}"] = None\n'
          'try: {1}\n'
          'except ImportError as error: print(error)')
  hidden = 'import importlib.util as u; f = u.find_spec; ' \
           'u.find_spec = lambda n: None if n == "rich" else f(n); '
  _, printed = binaries.run_python(
      '-c', hidden + '\ntry: import experiments\n'
      'except ImportError as error: print(error)')
  assert printed == ('experiments needs rich; install the extra: pip install '
                     "'slstm[experiments]'.\n")
  _, printed = binaries.run_python(
      '-c',
      code.format(
          'tensorflow_datasets',
          'from experiments.datasets.mnist import Mnist; '
          'Mnist().load()'))
  assert "pip install 'slstm[tfds]'" in printed


def test_frozen_configs_are_hashed_by_their_options():
  assert hash(Experiment(Npz(frames=2))) == hash(Experiment(Npz(frames=2)))
  with pytest.raises(dataclasses.FrozenInstanceError):
    Experiment(Npz()).seed = 1
