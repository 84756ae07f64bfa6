"""Joins the figures of stages into a report; missing ones are shown as such.

  python -m experiments.report --workdir=runs/har    # one run: report.md
  python -m experiments.report --results=results     # all rows: README.md
"""

import pathlib
import re
from typing import Any

from absl import app
from absl import flags
import jinja2

from experiments import binary
from experiments import provenance
from experiments import runs
from experiments.reporting import classes
from experiments.reporting import load
from experiments.reporting import plots
from experiments.reporting import tables
from experiments.reporting import verdict

_SEED = '@seed@'  # stands for the seed until a command is printed


def write(workdir: pathlib.Path) -> None:
  """Writes report.md and its plots into a work directory, or nothing."""
  row = load.read(workdir)
  run, found = next(iter(row.runs.values())), tables.collect([row])
  missing = run.missing + run.untimed
  drawn: dict[str, Any] = {
      'accuracy.png': plots.against_steps(found),
      'confusion.png': plots.confusion(run), 'energy.png': plots.spent(run),
      'training.png': plots.training(run), 'raster.png': plots.raster(run),
      'staircases.png': plots.staircases(run)
  }  # yapf: disable
  published = provenance.published(provenance.task(run.fields))
  _write(workdir / 'report.md', drawn, run=run, found=found, missing=missing,
         commands=provenance.commands(run, str(workdir)), published=published
        )  # yapf: disable
  print(*(f'Missing: {line}' for line in missing), verdict.sentence(run),
        f'Report: {workdir / "report.md"}', sep='\n')  # yapf: disable


def write_all(folder: pathlib.Path) -> pathlib.Path:
  """Writes README.md and its plots beside <row>/seed<k>/; returns its path."""
  by_task: dict[tuple[str, str], list[load.Row]] = {}
  for row in load.read_rows(folder):
    run = next(iter(row.runs.values()))
    key = (provenance.task(run.fields), run.metric.name)
    by_task.setdefault(key, []).append(row)
  tasks: list[dict[str, Any]] = []
  drawn: dict[str, Any] = {}
  for (data, metric), rows in by_task.items():
    found, published = tables.collect(rows), provenance.published(data)
    title = data if published is None else published['task'].iloc[0]
    drawn |= {f'{data}_memory.png': plots.against_energy(found, 'int8 3'),
              f'{data}_energy.png': plots.against_energy(found, 'int32 1'),
              f'{data}_{metric}.png': plots.against_steps(found, published)
             }  # yapf: disable
    tasks.append({'data': data, 'title': title, 'found': found,
                  'published': published, 'rows': list(map(_origin, rows))
                 })  # yapf: disable
  _write(folder / 'README.md', drawn, tasks=tasks)
  return folder / 'README.md'


def _origin(row: load.Row) -> dict[str, Any]:
  """Seeds, commits and data of a row, what it lacks, and its commands."""
  lines: dict[str, list[str]] = {}
  scripts: dict[str, list[str]] = {}
  where = f'{row.name}/seed{_SEED}'
  for seed, run in row.runs.items():
    made = provenance.commands(run, f'runs/{where}', _SEED)
    if not all(command.startswith('#') for command in made):
      made.append(f'python -m experiments.publish --workdir=runs/{where} '
                  f'--results=results/{where}')
    scripts.setdefault('\n'.join(made), []).append(str(seed))
    missing = [f'Missing: {line}' for line in run.missing]
    for line in provenance.origin(run) + missing:
      lines.setdefault(line, []).append(str(seed))
  shown = []
  for script, seeds in scripts.items():
    if len(seeds) > 1:
      body = script.replace(_SEED, '$seed').replace('\n', '\n  ')
      script = f'for seed in {" ".join(seeds)}; do\n  {body}\ndone'
    shown.append(script.replace(_SEED, seeds[0]))
  return {'name': row.name, 'lines': lines, 'scripts': shown,
          'seeds': ', '.join(map(str, row.runs))}  # yapf: disable


def _write(path: pathlib.Path, drawn: dict[str, Any], **values: Any) -> None:
  """Writes a document, by the template of its name, and its plots."""
  environment = jinja2.Environment(
      loader=jinja2.PackageLoader('experiments.reporting'), trim_blocks=True,
      undefined=jinja2.StrictUndefined, lstrip_blocks=True)  # yapf: disable
  environment.filters['markdown'] = tables.markdown
  text = environment.get_template(f'{path.name}.j2').render(
      drawn=drawn,
      tables=tables,
      provenance=provenance,
      classes=classes,
      verdict=verdict,
      **values)
  text = re.sub(r'^(##+ .*)$', r'\n\1\n', text, flags=re.MULTILINE)
  text = re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'
  for name, figure in drawn.items():
    if figure:
      plots.save(figure, path.parent / name)
  runs.replace(path, text.encode())


def run_flags() -> None:
  """Writes the report that the flags ask for."""
  given = flags.FLAGS
  if given.workdir is None:
    print(write_all(given.results or pathlib.Path('results')))
  elif given.results is None:
    write(given.workdir)
  else:
    raise app.UsageError('--workdir and --results are two reports; give one.')


if __name__ == '__main__':
  binary.define_path('workdir', 'Folder whose subfolders are stages.')
  binary.define_path('results', 'Folder with <row>/seed<k>/ (results).')
  binary.run(run_flags)
