"""Work directories: one writer, nothing lost to kills, errors or full disks."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from experiments import disk
from experiments import lock
from experiments import runs
from slstm import checkpoint
from tests import binaries

KILLS = int(os.environ.get('SLSTM_KILLS', '4'))
HOLD = """
import pathlib, sys
from experiments import lock
try:
  lock.hold(pathlib.Path(sys.argv[1]))
except OSError as error:
  sys.exit(str(error))
print('held', flush=True)
sys.stdin.read()
"""
SMALL = ('--config=experiments/configs/npz.py', '--config.model.hidden=4',
         '--config.ann.epochs=3', '--config.snn.epochs=2',
         '--config.ann.batch_size=8', '--config.snn.batch_size=8')
STEPS = ('--converted_steps=1', '--tuned_steps=1', '--sigma_delta_steps=',
         '--quantised_levels=', '--latency_seconds=0')


@pytest.fixture(name='npz')
def _npz(tmp_path):
  x = np.random.default_rng(0).normal(size=(40, 3, 3)).astype(np.float32)
  path = tmp_path / 'mine.npz'
  np.savez(path, x=x, y=np.where(x[:, :, 0].sum(1) > 0, 'up', 'down'))
  return path


def holder(folder):
  return subprocess.Popen(
      [sys.executable, '-c', HOLD, str(folder)],
      cwd=binaries.ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True)


def test_a_folder_has_one_writer_which_others_are_told_of(tmp_path):
  lock.hold(tmp_path)
  lock.hold(tmp_path)  # its own
  with holder(tmp_path) as other:
    _, printed = other.communicate(timeout=300)
  assert other.returncode == 1
  assert f'written by process {os.getpid()} on ' in printed
  assert ' since 20' in printed and 'Traceback' not in printed
  lock.release(tmp_path)
  assert not any(tmp_path.iterdir())
  with holder(tmp_path) as other:
    assert other.stdout.readline() == 'held\n'
    with pytest.raises(BlockingIOError, match=f'process {other.pid} on'):
      lock.hold(tmp_path)
    other.communicate(timeout=300)
  assert not any(tmp_path.iterdir())


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path):
  with holder(tmp_path) as other:
    assert other.stdout.readline() == 'held\n'
    other.kill()
  assert (tmp_path / '.lock').is_file()
  lock.hold(tmp_path)
  assert str(os.getpid()) in (tmp_path / '.lock').read_text()
  lock.release(tmp_path)


def begin(folder, epochs=1, **options):
  return runs.begin(folder, 'train_ann', {'ann': {'epochs': epochs}}, '5a',
                    **options)  # yapf: disable


def test_a_folder_without_a_finished_epoch_is_taken_for_another_run(tmp_path):
  assert not begin(tmp_path, 1)
  (tmp_path / 'history.json').write_text('[]')
  (tmp_path / 'epochs' / '1.orbax-checkpoint-tmp').mkdir(parents=True)
  with pytest.warns(UserWarning, match='held another run, of which no epoch'):
    assert not begin(tmp_path, 2)
  assert runs.read_config(tmp_path)['experiment'] == {'ann': {'epochs': 2}}
  assert not (tmp_path / 'history.json').exists()
  (tmp_path / 'epochs' / '1').mkdir()
  with pytest.raises(ValueError, match='different in ann.epochs'):
    begin(tmp_path, 1)
  runs.finish(tmp_path, {})
  assert begin(tmp_path, 2)
  assert not (tmp_path / '.lock').exists()


@pytest.mark.parametrize('name', ['model', 'metrics.json', 'short/epochs/1'])
def test_a_folder_with_results_is_kept(name, tmp_path):
  begin(tmp_path, 1)
  (tmp_path / name).mkdir(parents=True)
  with pytest.raises(ValueError, match='holds another run'):
    begin(tmp_path, 2)


def test_a_copy_that_was_killed_is_made_again(tmp_path):
  begin(tmp_path / 'one' / 'hard')
  (tmp_path / 'one' / 'hard' / 'model').mkdir()
  runs.finish(tmp_path / 'one' / 'hard', {'metric': 'accuracy'})
  other = tmp_path / 'other'
  (other / 'model').mkdir(parents=True)
  (other / '.lock').touch()
  assert begin(other, reuse=[tmp_path / 'one'])
  assert runs.read_json(other / 'metrics.json') == {'metric': 'accuracy'}
  assert sorted(path.name for path in other.iterdir()
               ) == ['config.json', 'metrics.json', 'model']  # yapf: disable


def test_folders_that_cannot_be_written_are_named(tmp_path, monkeypatch):
  disk.check_folder(tmp_path / 'a' / 'b', '--workdir')
  disk.check_folder(pathlib.Path('relative'), '--workdir')
  (tmp_path / 'file').touch()
  for path in (tmp_path / 'file', tmp_path / 'file' / 'a'):
    with pytest.raises(OSError, match=f'--workdir={path}: .*file is a file; '):
      disk.check_folder(path, '--workdir')
  monkeypatch.setattr(disk.os, 'access', lambda *_: False)
  with pytest.raises(PermissionError, match='cannot be written; choose'):
    disk.check_folder(tmp_path / 'a', '--workdir')


# What `SERVER` runs, each in a fork, so that none imports all anew.
SERVER = """
import os, pathlib, random, resource, signal, sys, time
import experiments.latency
from experiments import main, pipeline, stages

def start(binary, *flags, bytes=None):
  child = os.fork()
  if child:
    return child
  if bytes:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))
  sys.argv = [binary, *flags]
  if binary == 'pipeline':
    main.main(pipeline.run)
  main.main(stages.train_ann, reads=('data', 'model', 'ann', 'seed'))

def wait(child):
  status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  print('status', status, flush=True)
  return status
"""
FULL = SERVER + """
import jax
jax.config.update('jax_enable_compilation_cache', False)
for bytes in (300, 2000, None):
  wait(start('train_ann', *sys.argv[1:], bytes=bytes))
"""


def test_a_full_disk_is_told_and_nothing_is_lost(npz, tmp_path):
  """By a limit on the size of files; what it stops is a system call."""
  flags = (*SMALL[:3], '--config.ann.batch_size=8', f'--config.data.path={npz}')
  full, free = tmp_path / 'full', tmp_path / 'free'
  _, printed = binaries.run_python('-c', FULL, *flags, f'--workdir={full}')
  assert 'Traceback' not in printed, printed
  assert printed.count('status 1\n') == 2 and 'status 0' in printed, printed
  assert f'error: {full}/config.json cannot be written: File too la' in printed
  assert f'cannot be written into {full}/epochs: File too large' in printed
  binaries.must('train_ann', *flags, f'--workdir={free}')
  assert made(full) == made(free)


# Kills the child at once after its delay, in a checkpoint or after a stage.
KILL = SERVER + """
folder, kills, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
draw = random.Random(int(seed))
seen = lambda pattern: len(list(folder.glob(pattern)))
done, rounds, how = {'delay': 0, 'checkpoint': 0, 'stage': 0}, 0, ''
while how != 'none':  # which ends the last round
  folder = pathlib.Path(f'{sys.argv[1]}{rounds}')
  child = start('pipeline', *sys.argv[4:], f'--workdir={folder}')
  how = 'none' if sum(done.values()) >= kills else draw.choice(list(done))
  until = time.monotonic() + draw.uniform(0.0, 8.0)
  stages_before, skip = seen('*/metrics.json'), draw.randrange(3)
  while True:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
      break
    if (how == 'delay' and time.monotonic() > until or
        how == 'checkpoint' and seen('*/*/*tmp*') or
        how == 'stage' and seen('*/metrics.json') > stages_before + skip):
      os.kill(child, signal.SIGKILL)
      _, status = os.waitpid(child, 0)
      break
    time.sleep(0.001)
  status = os.waitstatus_to_exitcode(status)
  if status == -signal.SIGKILL:
    done[how] += 1
  elif status:
    sys.exit(f'the pipeline ended with {status}')
  else:
    rounds += 1
print('rounds', rounds, 'kills', done, flush=True)
"""


def made(folder):
  """What a run has made, but for times; parameters in their digests."""
  files = [path for path in folder.rglob('*.json')
           if 'latency' not in path.parts and path.parent.name != 'model' and
           'epochs' not in path.parts]  # yapf: disable
  found = {str(path.relative_to(folder)): json.loads(path.read_text())
           for path in files}  # yapf: disable
  assert found
  for value in found.values():
    if isinstance(value, dict):  # config.json; somebody may edit meanwhile
      for key in ('commit', 'resumed_at'):
        value.pop(key, None)
  for name, value in found.items():
    if 'model_digest' in value:
      model = checkpoint.load_model((folder / name).with_name('model'))
      assert checkpoint.digest(model) == value['model_digest']
  return found


@pytest.mark.slow
def test_a_pipeline_killed_again_and_again_ends_as_if_undisturbed(
    npz, tmp_path):
  """SLSTM_KILLS says how often; some in a checkpoint, some after a stage."""
  flags = (*SMALL, *STEPS, f'--config.data.path={npz}')
  binaries.must('pipeline', *flags, f'--workdir={tmp_path / "free"}')
  status, printed = binaries.run_python('-c',
                                        KILL,
                                        tmp_path / 'killed',
                                        KILLS,
                                        1,
                                        *flags,
                                        timeout=3000)
  assert status == 0, printed
  assert 'Traceback' not in printed, printed
  told, = (line for line in printed.splitlines() if line.startswith('rounds'))
  print(told)
  assert sum(map(int, re.findall(r': (\d+)', told))) == KILLS
  rounds = sorted(tmp_path.glob('killed*'))
  assert rounds
  for folder in rounds:
    assert made(folder) == made(tmp_path / 'free')
    assert (folder / 'report.md').is_file()
