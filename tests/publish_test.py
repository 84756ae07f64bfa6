"""Publishing copies the figures of a finished run, once, and nothing else."""

import shutil

import pytest

from experiments import publish
from tests import binaries
from tests import trees

STAGES = [*trees.ACCURACY, *(f'{name}_test' for name in trees.ACCURACY),
          'latency']  # yapf: disable


@pytest.fixture(name='run')
def _run(tmp_path):
  run = tmp_path / 'run'
  trees.add_run(run)
  (run / 'report.md').write_text('report')
  (run / 'hard' / 'model').mkdir()
  (run / 'hard' / 'model' / 'model.json').write_text('{}')
  (run / 'hard' / 'history.json').write_text('[]')
  (run / 'tuned_T2_test' / 'raster.npz').write_bytes(b'spikes')
  return run


@pytest.fixture(name='folder')
def _folder(tmp_path):
  return tmp_path / 'results' / 'row' / 'seed0'


def contents(folder):
  return {
      str(path.relative_to(folder)): path.read_bytes()
      for path in folder.rglob('*')
      if path.is_file()
  }


def test_only_plan_configs_and_metrics_are_copied(run, folder):
  before = contents(run)
  publish.publish(run, folder)
  expected = {'plan.json'} | {
      f'{stage}/{name}' for stage in STAGES
      for name in ('config.json', 'metrics.json')
  }
  assert contents(folder) == {name: before[name] for name in expected}
  assert contents(run) == before


def test_publishing_again_adds_what_is_new(run, folder):
  publish.publish(run, folder)
  first = contents(folder)
  publish.publish(run, folder)
  assert contents(folder) == first
  trees.add_model(run,
                  'tuned_T2_h',
                  'converted_T2',
                  trees.evaluation(0.5, (1, 1, 1, 1), 0.5),
                  model={'hidden': (6,)},
                  snn={'epochs': 9})
  publish.publish(run, folder)
  assert set(contents(folder)) - set(first) == {
      f'tuned_T2_h{end}/{name}' for end in ('', '_test')
      for name in ('config.json', 'metrics.json')
  }


@pytest.mark.parametrize('name, old, new', [
    ('tuned_T2_test/metrics.json', '0.9', '0.8'),
    ('hard/config.json', 'c0ffee', 'decade'),
    ('plan.json', '"hard"', '"hard", "converted_T2"'),
])
def test_other_figures_are_not_overwritten(run, folder, name, old, new):
  publish.publish(run, folder)
  published = contents(folder)
  trees.edit(run / name, old, new)
  shutil.rmtree(folder / 'latency')
  with pytest.raises(ValueError, match=f'seed0/{name} is there with other'):
    publish.publish(run, folder)
  assert contents(folder) == {
      name: content
      for name, content in published.items()
      if not name.startswith('latency')
  }


@pytest.mark.parametrize('gone, told', [
    ('tuned_T2/metrics.json', 'tuned_T2/ is missing or not finished'),
    ('tuned_T2', 'tuned_T2/ is missing'),
    ('hard_test', 'hard_test/ is missing or not'),
    ('hard_test/metrics.json', 'hard_test/ is missing or not'),
    ('standard', 'standard/ is missing'),
    ('latency', 'latency/ is missing, not finished or'),
    ('latency/metrics.json', 'latency/ is missing, not finished or'),
])
def test_unfinished_run_is_refused(run, folder, gone, told):
  if '/' in gone:
    (run / gone).unlink()
  else:
    shutil.rmtree(run / gone)
  with pytest.raises(ValueError, match=f'run is not finished. .*{told}'):
    publish.publish(run, folder)
  assert not folder.exists()


def test_run_without_tuned_models_can_be_finished(run, folder):
  for name in ('tuned_T2', 'tuned_T2_test'):
    shutil.rmtree(run / name)
  trees.edit(run / 'plan.json', ', "tuned_T2"', '')
  publish.publish(run, folder)
  assert (folder / 'converted_T2' / 'metrics.json').exists()


def test_empty_folder_is_refused(tmp_path, folder):
  with pytest.raises(FileNotFoundError, match='holds no stages'):
    publish.publish(tmp_path, folder)
  assert not folder.exists()


@pytest.mark.parametrize('commit', ['c0ffee-dirty', 'unknown'])
def test_figures_of_no_commit_are_refused(run, folder, commit):
  trees.edit(run / 'tuned_T2' / 'config.json', 'c0ffee', commit)
  with pytest.raises(ValueError, match=f'tuned_T2 was made at commit {commit}'):
    publish.publish(run, folder)
  assert not folder.exists()
  publish.publish(run, folder, allow_dirty=True)
  assert commit in (folder / 'tuned_T2' / 'config.json').read_text()


def test_figures_that_went_on_at_no_commit_are_refused(run, folder):
  trees.edit(run / 'tuned_T2' / 'config.json', '"c0ffee"',
             '"c0ffee", "resumed_at": ["decade-dirty"]')
  with pytest.raises(ValueError, match='tuned_T2 was made at commit decade-d'):
    publish.publish(run, folder)


def test_a_stage_of_another_seed_is_refused(run, folder):
  trees.edit(run / 'tuned_T2' / 'config.json', '"seed": 0', '"seed": 1')
  with pytest.raises(ValueError, match='tuned_T2 is of seed 1'):
    publish.publish(run, folder)


@pytest.mark.parametrize('name', ['tuned_T2_test', 'latency'])
def test_a_stage_that_is_there_twice_is_refused(run, folder, name):
  shutil.copytree(run / name, run / f'{name}_again')
  with pytest.raises(ValueError, match=f'{name}/ and {name}_again/'):
    publish.publish(run, folder)


def test_folder_is_named_after_the_seed(run, folder):
  with pytest.raises(ValueError, match='expected <row>/seed0'):
    publish.publish(run, folder.parent / 'seed1')
  with pytest.raises(ValueError, match='expected <row>/seed0'):
    publish.publish(run, folder.parent)
  assert not folder.parent.exists()


def test_binary(run, folder):
  trees.edit(run / 'hard' / 'config.json', 'c0ffee', 'c0ffee-dirty')
  status, printed = binaries.run_python('-m', 'experiments.publish',
                                        f'--workdir={run}',
                                        f'--results={folder}', '--allow_dirty')
  assert status == 0, printed
  assert (folder / 'plan.json').exists()
