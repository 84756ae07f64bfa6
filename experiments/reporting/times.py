"""Times of exported C on this machine, as tables.

`report` is of one run of `experiments.bench_host`, `overview` of several.
"""

from typing import Any, Mapping

import pandas as pd

from experiments.reporting import tables

# Of the C of sigma-delta neurons, in times, for layers of 256 units.
TARGETS = {'torch': 10, 'ONNX Runtime int8': 3}


def report(made: dict[str, Any]) -> str:
  """The times as a table, in Markdown."""
  on = made['environment']
  versions = ''.join(f', {k} {v}' for k, v in on['versions'].items())
  rows = [{
      'what runs': row['name'], 'model': row['model'],
      'us per element': row['us'],
      'quartiles': ' - '.join(f'{q:.4g}' for q in row['quartiles_us']),
      **{f'times faster than {name}': f'{times:.2f}'
         for name, times in row['times'].items()},
      'difference': f'{row["difference"]:.1g}',
      'spikes of h': ' / '.join(f'{k:.3f}' for k in row['spikes']) or '-',
  } for row in made['rows']]  # yapf: disable
  hidden = ' and '.join(map(str, made['hidden']))
  return '\n'.join([
      '# Exported C on this machine\n',
      'One element at a time on one thread; CPU time, medians over '
      f'{made["rounds"]} rounds in which all have a turn, of '
      f'{made["sequences"]} test sequences; layers of {hidden} units. Whole: '
      'the sequence in one call, which a stream cannot do. Difference: the '
      'largest to an output of the float model, over the standard deviation of '
      'its outputs.\n',
      f'{made["cpu"]}; {made["compiler"]}, {" ".join(made["flags"])}; JAX '
      f'{on["jax_version"]}{versions}; commit {on["commit"]}.\n',
      f'```sh\n{on["command"]}\n```\n',
      *(f'{k}: skipped ({v})\n' for k, v in made['skipped'].items()),
      f'{tables.markdown(pd.DataFrame(rows), names=2)}\n'])  # yapf: disable


def overview(rows: Mapping[str, dict[str, Any]]) -> str:
  """The C of each metrics.json beside what it is compared with, by folder."""
  found = []
  for folder, made in rows.items():
    hidden = ' x '.join(map(str, made['hidden']))
    for row in made['rows']:
      if row['name'] != 'C':
        continue
      found.append({
          'row': f'[{folder}]({folder}/report.md)', 'units': hidden,
          'model': row['model'], 'us per element': row['us'],
          **{f'times faster than {name}': row['times'].get(name)
             for name in TARGETS},
          'spikes of h': ' / '.join(f'{k:.3f}' for k in row['spikes']),
          'commit': made['environment']['commit'][:10],
      })  # yapf: disable
  asked = ', '.join(
      f'{least} times faster than {name}' for name, least in TARGETS.items())
  return (f'''# Times of all rows

Written by `python -m experiments.costs` from the metrics.json of each row; its
report has all contenders, the machine and the command that made it. Exported C,
one element at a time on one thread. Asked of layers of 256 units with
sigma-delta neurons: at least {asked}.

{tables.markdown(pd.DataFrame(found), names=3)}
''')
