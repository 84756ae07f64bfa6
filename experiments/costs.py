r"""Writes the overviews of counted instructions and of measured times.

  python -m experiments.costs

It reads the metrics.json of every folder in results/mcu (`bench_mcu`) and in
results/host (`bench_host`), and writes a README.md into both.
"""

import pathlib
from typing import Any

from absl import flags

from experiments import binary
from experiments import runs
from experiments.reporting import instructions
from experiments.reporting import times

# What is written for each folder of results.
OVERVIEWS = {'mcu': instructions.overview, 'host': times.overview}


def write(results: pathlib.Path) -> None:
  """Writes a README.md into results/mcu and into results/host.

  Raises:
    FileNotFoundError: if one of them has no row.
  """
  for name, overview in OVERVIEWS.items():
    text = overview(rows(results / name))
    runs.replace(results / name / 'README.md', text.encode())


def rows(folder: pathlib.Path) -> dict[str, Any]:
  """The metrics.json of each folder in a folder, by name."""
  found = sorted(folder.glob('*/metrics.json'))
  if not found:
    raise FileNotFoundError(f'{folder} has no */metrics.json; expected the '
                            'folder that bench_mcu and bench_host write to.')
  return {path.parent.name: runs.read_json(path) for path in found}


if __name__ == '__main__':
  flags.DEFINE_string('results', 'results', 'Folder that has mcu and host.')
  binary.run(lambda: write(pathlib.Path(flags.FLAGS.results)))
