"""Joins the figures of stages into a report, with tables and plots.

  python -m experiments.report --work_dir=runs/har   # one run: report.md
  python -m experiments.report --results=results     # all rows: README.md

Nothing is measured here. A stage that has not run is shown as missing. The
report of all rows is made by `experiments.reporting.overview`.
"""

import pathlib
import sys

from absl import app
from absl import flags
from matplotlib.figure import Figure
import rich.console

from experiments import files
from experiments import provenance
from experiments.reporting import details
from experiments.reporting import overview
from experiments.reporting import plots
from experiments.reporting import results as results_lib
from experiments.reporting import summary
from experiments.reporting import tables
from experiments.reporting import trace_plots
from experiments.reporting.results import Results

Path = pathlib.Path

_RESULTS = 'results'
_WIDTH = 110  # columns of the tables, where the output is no terminal


def write(work_dir: Path) -> None:
  """Writes report.md and its plots into a work directory; prints the tables.

  Args:
    work_dir: of a pipeline, or any folder whose subfolders are stages.

  Raises:
    FileNotFoundError: if there is no stage.
    ValueError: if a file is corrupt, naming it; nothing is written then.
  """
  results = results_lib.read(work_dir)
  main = [
      summary.accuracy(results),
      summary.energies(results),
      summary.latencies(results)
  ]
  figures = _figures(results)
  text = _text(results, main, figures)
  for name, (_, figure) in figures.items():
    plots.save(figure, work_dir / name)
  files.replace(work_dir / 'report.md', text.encode())
  _print(results, main)


def _figures(results: Results) -> dict[str, tuple[str, Figure]]:
  """Caption and figure by file name, of those that there are data for."""
  drawn = {
      'accuracy.png': ('Accuracy against T', plots.accuracy(results)),
      'energy.png': ('Energy by ledger', plots.energy(results)),
      'training.png': ('Training curves', plots.training(results)),
      'staircases.png': ('Staircases over the histogram of the drive',
                         trace_plots.staircases(results)),
      'raster.png': ('Spikes of one window', trace_plots.raster(results)),
  }
  return {
      name: (caption, figure)
      for name, (caption, figure) in drawn.items()
      if figure
  }


def _text(results: Results, main: list[tables.Table],
          figures: dict[str, tuple[str, Figure]]) -> str:
  """The whole report as Markdown."""
  sections = {
      'Missing': ['\n'.join(f'- {m}' for m in summary.missing(results))],
      'Results': [
          *map(_table, main),
          _image('accuracy.png', figures),
          _image('energy.png', figures)
      ],
      'Activity': [
          *map(_table, details.activities(results)),
          _table(details.operations(results)),
          _table(summary.schedules(results)),
          _image('raster.png', figures)
      ],
      'Conversion': [
          _table(details.neurons(results)),
          _table(details.errors(results)),
          _image('staircases.png', figures)
      ],
      'Training': [_image('training.png', figures)],
      'Comparison': [_table(provenance.published(results))],
      'Origin': [
          provenance.origin(results), 'To make it again:',
          '\n'.join(f'    {line}' for line in provenance.commands(results)),
          _table(provenance.config(results))
      ],
  }
  parts = [f'# Report of {results.folder.name}']
  for title, blocks in sections.items():
    if any(blocks):
      parts += [f'## {title}', *filter(None, blocks)]
  return '\n\n'.join(parts) + '\n'


def _table(table: tables.Table) -> str:
  return tables.markdown(table) if table.rows else ''


def _image(name: str, figures: dict[str, tuple[str, Figure]]) -> str:
  return f'![{figures[name][0]}]({name})' if name in figures else ''


def _print(results: Results, shown: list[tables.Table]) -> None:
  console = rich.console.Console()
  if not console.is_terminal:
    console = rich.console.Console(width=_WIDTH)
  for table in shown:
    console.print(tables.rich_table(table))
  console.print(summary.cap(results))
  for line in summary.missing(results):
    console.print(f'Missing: {line}', markup=False)
  console.print(f'Report: {results.folder / "report.md"}',
                markup=False,
                soft_wrap=True)


def run(argv: list[str]) -> None:
  """Writes the report that the flags ask for."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
  work_dir, results = flags.FLAGS.work_dir, flags.FLAGS.results
  if work_dir is not None and results is not None:
    raise app.UsageError('--work_dir and --results are two reports; give one.')
  try:
    if work_dir is not None:
      write(Path(work_dir))
    else:
      print(overview.write(Path(results or _RESULTS)))
  except (ValueError, OSError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.DEFINE_string('work_dir', None, 'Folder whose subfolders are stages.')
  flags.DEFINE_string(
      'results', None, 'Folder with <row>/seed<k>/; by default '
      f'{_RESULTS}, where --work_dir is not given.')
  app.run(run)
