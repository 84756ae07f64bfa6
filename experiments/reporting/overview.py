"""Joins all published rows into README.md: a table for each task, and plots.

Every figure is read from the metrics.json of a row, or from `reference`; what
is done to them is to average over seeds, to subtract and to divide.
"""

import pathlib

from matplotlib.figure import Figure

from experiments import files
from experiments import provenance
from experiments import reference
from experiments.reporting import overview_plots
from experiments.reporting import overview_table
from experiments.reporting import plots
from experiments.reporting import rows as rows_lib
from experiments.reporting import summary
from experiments.reporting import tables
from experiments.reporting.rows import Row

Path = pathlib.Path
_SEED = '@seed@'  # stands for the seed until a command is printed


def write(folder: Path) -> Path:
  """Writes README.md and its plots beside the rows.

  Args:
    folder: with <row>/seed<k>/ as `experiments.publish` writes them.

  Returns:
    The path of README.md.

  Raises:
    FileNotFoundError: if there is no row.
    ValueError: if a file is corrupt, or seeds do not belong together; nothing
      is written then.
  """
  tasks: dict[tuple[str, str], list[Row]] = {}
  for row in rows_lib.read(folder):
    tasks.setdefault(row.task, []).append(row)
  parts = [
      '# Results',
      'Written by `python -m experiments.report` from the JSON files beside '
      'it, and from the published figures in `experiments/reference.py`. How a '
      'row came to be stands below its task: the commits that made its '
      'figures, and its commands in the flags of this commit.'
  ]
  drawn = {}
  for task in sorted(tasks):
    text, figures = _task(task, tasks[task])
    parts += text
    drawn.update(figures)
  for name, figure in drawn.items():
    plots.save(figure, folder / name)
  path = folder / 'README.md'
  files.replace(path, ('\n\n'.join(parts) + '\n').encode())
  return path


def _task(key: tuple[str, str],
          rows: list[Row]) -> tuple[list[str], dict[str, Figure]]:
  """What README.md has of a task, in Markdown, and figures by file name."""
  title, published = reference.tasks(*key)[0], reference.of_task(*key)
  models = [model for row in rows for model in rows_lib.models(row)]
  stem = '_'.join(filter(None, key))
  drawn = {
      f'{stem}_energy.png': ('accuracy against energy',
                             overview_plots.energy(models)),
      f'{stem}_accuracy.png': ('accuracy against T',
                               overview_plots.accuracy(models, published)),
  }
  figures = {name: figure for name, (_, figure) in drawn.items() if figure}
  return [
      f'## {title}',
      tables.markdown(overview_table.table(models)),
      tables.markdown(provenance.figures(published))
      if published else 'No published figure of this task is at hand.',
      *(f'![{title}: {drawn[name][0]}]({name})' for name in figures),
      *(_origin(row) for row in rows),
  ], figures


def _origin(row: Row) -> str:
  """Seeds, commits, data and commands of a row, and what it lacks."""
  commits: dict[str, list[int]] = {}
  commands: dict[tuple[str, ...], list[int]] = {}
  lacking: dict[str, list[int]] = {}
  for seed, results in row.seeds.items():
    made = provenance.commands(results, f'runs/{row.name}/seed{_SEED}', _SEED)
    commands.setdefault(tuple(made), []).append(seed)
    for line in provenance.commits(results):
      commits.setdefault(line, []).append(seed)
    for line in summary.missing_models(results):
      lacking.setdefault(line, []).append(seed)
  first = next(iter(row.seeds.values()))
  lines = [
      f'### Row {row.name}', '', f'- Seeds: {_listed(list(row.seeds))}',
      *(f'- Commit of seed {_listed(k)}: {line}'
        for line, k in commits.items()),
      provenance.data(first), *(f'- Missing for seed {_listed(k)}: {line}'
                                for line, k in lacking.items()), '', '```sh',
      *(_script(row.name, made, k) for made, k in commands.items()), '```'
  ]
  return '\n'.join(lines)


def _script(row: str, commands: tuple[str, ...], seeds: list[int]) -> str:
  """The commands, in a loop if they are those of several seeds."""
  lines = [
      *commands, 'python -m experiments.publish '
      f'--work_dir=runs/{row}/seed{_SEED} --results=results/{row}/seed{_SEED}'
  ]
  if len(seeds) == 1:
    return '\n'.join(line.replace(_SEED, str(seeds[0])) for line in lines)
  body = [f'  {line.replace(_SEED, "$seed")}' for line in lines]
  loop = f'for seed in {" ".join(map(str, seeds))}; do'
  return '\n'.join((loop, *body, 'done'))


def _listed(seeds: list[int]) -> str:
  return ', '.join(map(str, seeds))
