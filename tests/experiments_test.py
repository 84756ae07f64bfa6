"""The binaries as a user runs them, on a small data set of the user's own."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments import data as data_lib
from experiments import stages
from experiments import workdir
from experiments.config import Experiment
from experiments.presets import PRESETS
from slstm import checkpoint
from slstm import train
from tests import binaries

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = ('--preset=npz', '--hidden=6', '--epochs=2', '--snn_epochs=1',
         '--batch_size=8', '--calibration=32')


def arrays(examples=80):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(examples, 4, 3)).astype(np.float32)
  return {'x': x, 'y': (x[:, :, 0].sum(1) > 0).astype(np.int64)}


@pytest.fixture(scope='module', name='npz')
def _npz(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'mine.npz'
  np.savez(path, **arrays())
  return path


def command(binary, *flags):
  return [sys.executable, '-m', f'experiments.{binary}', *map(str, flags)]


def call(binary, *flags):
  """Runs a binary; returns (status, what it printed)."""
  return binaries.run_python('-m', f'experiments.{binary}', *flags)


def must(binary, *flags):
  status, printed = call(binary, *flags)
  assert status == 0, printed
  return printed


def metrics(folder):
  return json.loads((folder / 'metrics.json').read_text())


def test_every_binary_in_turn(npz, tmp_path):
  mine = (*SMALL, f'--data={npz}')
  must('train_ann', *mine, f'--work_dir={tmp_path / "hard"}')
  must('convert', *mine, '--num_steps=2', f'--source={tmp_path / "hard"}',
       f'--work_dir={tmp_path / "converted_T2"}')
  must('train_snn', *mine, '--num_steps=2',
       f'--source={tmp_path / "converted_T2"}',
       f'--work_dir={tmp_path / "tuned_T2"}')
  must('evaluate', *mine, '--num_steps=2', f'--source={tmp_path / "tuned_T2"}',
       f'--work_dir={tmp_path / "tuned_T2_test"}')
  printed = must('report', f'--work_dir={tmp_path}')
  assert 'standard' in printed  # reported as missing
  params, config = checkpoint.load_model(tmp_path / 'tuned_T2' / 'model')
  assert config.num_steps == 2
  assert params.layers[0].neurons.present == ('o', 'c')
  result = metrics(tmp_path / 'tuned_T2_test')
  assert 0 <= result['test_accuracy'] <= 1
  # Flags that a model was not made with are not written beside its figures.
  for flags in (('--num_steps=4',), ('--num_steps=2', '--hidden=7')):
    status, printed = call('evaluate', *mine, *flags,
                           f'--source={tmp_path / "tuned_T2"}',
                           f'--work_dir={tmp_path / "other"}')
    assert status == 1 and 'a model of another experiment' in printed
    assert flags[-1].split('=')[0] + ' is ' in printed
  config = json.loads((tmp_path / 'tuned_T2' / 'config.json').read_text())
  assert config['experiment']['num_steps'] == 2
  assert config['source'] == 'converted_T2'
  assert len(config['data_digest']) == 64

  # A finished stage is left alone, and another one is not written over it.
  before = (tmp_path / 'hard' / 'metrics.json').stat().st_mtime_ns
  must('train_ann', *mine, f'--work_dir={tmp_path / "hard"}')
  assert (tmp_path / 'hard' / 'metrics.json').stat().st_mtime_ns == before
  status, printed = call('train_ann', *mine, '--seed=1',
                         f'--work_dir={tmp_path / "hard"}')
  assert status == 1
  assert 'different in seed' in printed
  assert 'Traceback' not in printed


def test_ablation_runs_each_variant_from_one_source(npz, tmp_path):
  mine = (*SMALL, f'--data={npz}', '--num_steps=2')
  must('train_ann', *mine, f'--work_dir={tmp_path / "hard"}')
  ablate = ('ablate', *mine, f'--source={tmp_path / "hard"}',
            f'--work_dir={tmp_path / "ablation"}')
  must(*ablate, '--variants=if_no_shift,distilled,quantised')
  table = (tmp_path / 'ablation' / 'ablation.md').read_text().splitlines()
  assert [line.split('|')[1].strip() for line in table[-3:]] == [
      'IF, no shift of o', 'half of the targets from the source',
      'quantised source, Q = T'
  ]
  shown = table[-3].split('|')[5].strip()
  folder = tmp_path / 'ablation' / 'if_no_shift_tuned_test'
  assert shown == f'{100 * metrics(folder)["test_accuracy"]:.2f}'
  params, config = checkpoint.load_model(tmp_path / 'ablation' /
                                         'quantised_tuned' / 'model')
  assert config.family == 'quantised' and config.levels == 2
  params, _ = checkpoint.load_model(tmp_path / 'ablation' /
                                    'if_no_shift_converted' / 'model')
  assert params.layers[0].neurons.o.leak is None
  np.testing.assert_array_equal(params.layers[0].neurons.o.v_0, 0.0)
  status, printed = call(*ablate, '--variants=nonsense')
  assert status == 1 and 'no nonsense' in printed


def test_distillation_needs_a_teacher(npz, tmp_path):
  mine = (*SMALL, f'--data={npz}', '--num_steps=2', '--distillation=0.5')
  must('train_ann', *mine, f'--work_dir={tmp_path / "hard"}')
  must('convert', *mine, f'--source={tmp_path / "hard"}',
       f'--work_dir={tmp_path / "converted"}')
  status, printed = call('train_snn', *mine,
                         f'--source={tmp_path / "converted"}',
                         f'--work_dir={tmp_path / "tuned"}')
  assert status == 1 and 'needs --teacher' in printed


def test_killed_training_ends_in_the_same_parameters(npz, tmp_path):
  """Kill -9 after a saved epoch and in the middle of the next one."""
  mine = (*SMALL, f'--data={npz}', '--epochs=60', '--dropout=0.3')
  undisturbed, killed = tmp_path / 'undisturbed', tmp_path / 'killed'
  must('train_ann', *mine, f'--work_dir={undisturbed}')
  with subprocess.Popen(command('train_ann', *mine, f'--work_dir={killed}'),
                        cwd=ROOT,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL) as process:
    limit = time.monotonic() + 120
    while not (killed / 'epochs' / '3').exists():
      assert process.poll() is None and time.monotonic() < limit
      time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
  assert not (killed / 'metrics.json').exists(), 'it ended before the kill'
  must('train_ann', *mine, f'--work_dir={killed}')
  assert metrics(killed) == metrics(undisturbed)
  expected = checkpoint.read(undisturbed / 'epochs')
  found = checkpoint.read(killed / 'epochs')
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)


def with_shorter():
  """(experiment, data set) of a training that begins on half the elements."""
  mine = arrays()
  whole = train.Data(mine['x'], mine['y'].astype(np.int32))
  short = train.Data(whole.x[:, :2], whole.y)
  dataset = data_lib.DataSet(*[whole] * 3, ('0', '1'), shorter=(short, short))
  return dataclasses.replace(PRESETS['npz'],
                             family='standard',
                             hidden=(6,),
                             short_epochs=2,
                             epochs=1,
                             batch_size=8), dataset


def test_a_training_starts_from_the_stretched_one_on_shorter_ones(tmp_path):
  experiment, dataset = with_shorter()
  experiment = dataclasses.replace(experiment, learning_rate=1e-9)
  stages.train_ann(experiment, dataset, tmp_path)
  history = metrics(tmp_path / 'short')['history']
  assert [epoch['epoch'] for epoch in history] == [1, 2]
  before, after = (checkpoint.load_model(tmp_path / name)[0]
                   for name in ('short/model', 'model'))
  b, u = (lambda params: params.layers[0].b), (lambda p: p.layers[0].u)
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
      *(checkpoint.load_model(tmp_path / name / 'model')[0]
        for name in ('whole', 'killed')))


def test_frames_are_joined_in_shorter_sequences_too(monkeypatch):
  experiment, dataset = with_shorter()
  monkeypatch.setitem(data_lib._LOADERS, 'npz', lambda _: dataset)
  loaded = data_lib.load(dataclasses.replace(experiment, frames=2))
  assert [part.x.shape for part in loaded.shorter] == [(80, 1, 6)] * 2


def test_a_stage_remembers_who_made_it(tmp_path, monkeypatch):
  arguments = (tmp_path, 'train_snn', tmp_path / 'converted', Experiment())
  teacher = tmp_path / 'standard'
  for commit in ('a', 'b-dirty', 'a'):
    monkeypatch.setattr(workdir, 'commit', lambda commit=commit: commit)
    assert not workdir.begin(*arguments, '5a', teacher)
  workdir.write_json(tmp_path / 'metrics.json', {})
  monkeypatch.setattr(workdir, 'commit', lambda: 'c')
  assert workdir.begin(*arguments, '5a', teacher)
  assert workdir.commits(workdir.read_config(tmp_path)) == ['a', 'b-dirty']
  with pytest.raises(ValueError, match='different in teacher'):
    workdir.begin(*arguments, '5a', tmp_path / 'hard')


def test_a_pipeline_refuses_all_of_its_flags_before_it_trains(npz, tmp_path):
  status, printed = call('pipeline', *SMALL, f'--data={npz}',
                         '--converted_steps=2,0', '--tuned_steps=2',
                         f'--work_dir={tmp_path / "w"}')
  assert status == 1 and 'num_steps is 0' in printed
  assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize('flags, message', [
    (('--colour=red',), "Unknown command line flag 'colour'"),
    (('--hidden=6,six',), 'expected a list of int'),
    (('--neuron=eif',), "neuron is 'eif'"),
    (('--snn_epochs=0',), 'epochs is 0'),
    (('--executor=eager',), "--executor is 'eager'"),
    (('--encoder_steps=4',), '--encoder_steps=4 needs --encoding=spiking'),
    (('--preset=npz',), 'no such file'),
    (('--preset=npz', '--family=hard', '--short_epochs=1'),
     '--short_epochs=1 needs --family=standard'),
    (('--preset=mnist_pixels', '--memory=784'), 'give one of them'),
    (('--preset=npz', '--coupling=shared', '--executor=wavefront'),
     '--executor=wavefront cannot run --coupling=shared'),
    (('stray',), 'unexpected arguments: stray'),
])
def test_bad_flags_are_named(flags, message, tmp_path):
  status, printed = call('train_ann', f'--work_dir={tmp_path / "w"}', *flags)
  assert status == 1
  assert message in printed
  assert 'Traceback' not in printed


def test_absent_source_is_named(npz, tmp_path):
  status, printed = call('evaluate', *SMALL, f'--data={npz}',
                         f'--source={tmp_path / "nowhere"}',
                         f'--work_dir={tmp_path / "test"}')
  assert status == 1
  assert 'nowhere' in printed and 'Traceback' not in printed


def load(path, **changes):
  fields = {'data': str(path), **changes}
  return data_lib.load(dataclasses.replace(PRESETS['npz'], **fields))


@pytest.mark.parametrize('change, message', [
    ({
        'dataset': 'iris'
    }, '--dataset'),
    ({
        'frames': 3
    }, 'does not divide the sequence length 4'),
    ({
        'data': 'nowhere.npz'
    }, 'nowhere.npz: no such file'),
    ({
        'short_epochs': 1
    }, '--short_epochs=1: only --dataset=mnist --order=pixels'),
])
def test_bad_choice_of_data_is_named(npz, change, message):
  with pytest.raises((ValueError, OSError), match=message):
    load(npz, **change)


def test_own_arrays_are_split_once_and_completely(npz):
  dataset = load(npz)
  assert [len(dataset.train.y),
          len(dataset.validation.y),
          len(dataset.test.y)] == [56, 12, 12]
  parts = np.concatenate(
      [dataset.train.x, dataset.validation.x, dataset.test.x])
  order = lambda x: x[np.lexsort(x.reshape(len(x), -1).T)]
  np.testing.assert_array_equal(order(parts), order(arrays()['x']))
  assert data_lib.digest(load(npz)) == data_lib.digest(dataset)


def test_own_split_is_respected_and_frames_are_joined(tmp_path):
  mine = arrays(6)
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
    ('y', np.zeros(80), 'y has dtype'),
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
    workdir.begin(tmp_path, 'train_ann', None, PRESETS['npz'], '')
  with pytest.raises(FileNotFoundError, match='run the stage'):
    workdir.read_json(tmp_path / 'metrics.json')


def test_every_field_is_documented_as_a_flag():
  _, printed = call('train_ann', '--helpfull')
  for field in dataclasses.fields(Experiment):
    assert f'--{field.name}' in printed
