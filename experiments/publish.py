r"""Copies the figures of a finished run to where git keeps them.

  python -m experiments.publish --work_dir=runs/gsc_2x256 \
    --results=results/gsc_2x256/seed0

Only plan.json and the config.json and metrics.json of every stage, and of its
training on shorter sequences, are copied: no models, no plots, no arrays.
"""

import pathlib
import sys

from absl import app
from absl import flags

from experiments import files
from experiments import workdir
from experiments.reporting import results as results_lib
from experiments.reporting import summary
from experiments.reporting.results import Results

Path = pathlib.Path


def publish(work_dir: Path, folder: Path, allow_dirty: bool = False) -> None:
  """Copies the figures of a run; what is there already stays as it is.

  Args:
    work_dir: of a finished pipeline.
    folder: results/<row>/seed<k>, to write.
    allow_dirty: also if no commit has the code that made the figures.

  Raises:
    FileNotFoundError: if the work directory holds no stage.
    ValueError: if it is not finished, of another seed or of no commit, or if
      the folder holds other figures; nothing is written then.
  """
  results = results_lib.read(work_dir)
  _check(results, folder, allow_dirty)
  paths = [
      work_dir / 'plan.json',
      *(made / name
        for stage in results.stages
        for made in (stage.folder, stage.folder / 'short')
        for name in ('config.json', 'metrics.json')),
  ]
  contents = {
      folder / path.relative_to(work_dir): path.read_bytes()
      for path in paths
      if path.is_file()
  }
  for path, content in contents.items():
    if path.exists() and path.read_bytes() != content:
      raise ValueError(f'{path} is there with other content; remove '
                       f'{folder} to publish anew. Nothing was changed.')
  for path, content in contents.items():
    files.replace(path, content)


def _check(results: Results, folder: Path, allow_dirty: bool) -> None:
  """Raises ValueError if a run is not fit to be published."""
  lacking = summary.unfinished(results)
  if results.latency is None or results.latency.metrics is None:
    lacking += summary.missing_latencies(results)
  if lacking:
    raise ValueError(f'{results.folder} is not finished. ' + ' '.join(lacking))
  seed = results.base['seed']
  if folder.name != f'seed{seed}':
    raise ValueError(f'--results={folder}: expected <row>/seed{seed}, for '
                     f'{results.folder} is a run of that seed.')
  for stage in results.stages:
    if stage.config['experiment']['seed'] != seed:
      raise ValueError(f'{stage.folder} is of seed '
                       f'{stage.config["experiment"]["seed"]}, the source LSTM '
                       f'of seed {seed}; expected one seed.')
    for commit in workdir.commits(stage.config):
      if not allow_dirty and (commit == 'unknown' or commit.endswith('-dirty')):
        raise ValueError(
            f'{stage.folder} was made at commit {commit}: nobody can check out '
            'that code. Run it anew from a commit, or give --allow_dirty.')


def _main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
  try:
    publish(Path(flags.FLAGS.work_dir), Path(flags.FLAGS.results),
            flags.FLAGS.allow_dirty)
  except (ValueError, OSError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.DEFINE_string('work_dir', None, 'Folder of a finished pipeline.')
  flags.DEFINE_string('results', None, 'Folder to write, <row>/seed<k>.')
  flags.DEFINE_bool('allow_dirty', False, 'Also if no commit has the code.')
  flags.mark_flags_as_required(['work_dir', 'results'])
  app.run(_main)
