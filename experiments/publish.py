r"""Copies the figures of a finished run to where git keeps them.

  python -m experiments.publish --workdir=runs/gsc_2x256 \
    --results=results/gsc_2x256/seed0

That is plan.json, and config.json and metrics.json of every stage.
"""

import pathlib

from absl import flags

from experiments import binary
from experiments import runs
from experiments.reporting import load


def publish(workdir: pathlib.Path, folder: pathlib.Path,
            allow_dirty: bool = False) -> None:  # yapf: disable
  """Copies the figures of a run to results/<row>/seed<k>, once.

  Raises a ValueError if the run is not finished, of another seed or (unless
  allow_dirty) of no commit, or the folder holds other figures; nothing is
  written then.
  """
  (seed, run), = load.read(workdir).runs.items()
  lacking = run.missing + ([] if run.latency else run.untimed)
  if lacking:
    raise ValueError(f'{workdir} is not finished. {" ".join(lacking)}')
  if folder.name != f'seed{seed}':
    raise ValueError(f'--results={folder}: expected <row>/seed{seed}.')
  paths = [workdir / 'plan.json']
  for stage in run.stages.values():
    if stage.fields.get('seed', seed) != seed:
      raise ValueError(f'{stage.folder} is of seed {stage.fields["seed"]}, the '
                       f'source LSTM of seed {seed}; expected one seed.')
    for commit in runs.commits(stage.config):
      if not allow_dirty and (commit == 'unknown' or commit.endswith('-dirty')):
        raise ValueError(f'{stage.folder} was made at commit {commit}, which '
                         'nobody can check out. Run it anew, or give '
                         '--allow_dirty.')
    paths += [made / name for made in (stage.folder, stage.folder / 'short')
              for name in ('config.json', 'metrics.json')]  # yapf: disable
  contents = {folder / path.relative_to(workdir): path.read_bytes()
              for path in paths if path.is_file()}  # yapf: disable
  for path, content in contents.items():
    if path.exists() and path.read_bytes() != content:
      raise ValueError(f'{path} is there with other content; remove {folder} '
                       'to publish anew. Nothing was changed.')
  for path, content in contents.items():
    runs.replace(path, content)


if __name__ == '__main__':
  binary.define_path('workdir', 'Folder of a finished pipeline.', required=True)
  binary.define_path('results',
                     'Folder to write, <row>/seed<k>.',
                     required=True)
  flags.DEFINE_bool('allow_dirty', False, 'Also if no commit has the code.')
  given = flags.FLAGS
  binary.run(lambda: publish(given.workdir, given.results, given.allow_dirty))
