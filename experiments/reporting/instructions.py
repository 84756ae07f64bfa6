"""Instructions and bytes of exported models, as tables.

`report` is of one run of `experiments.bench_mcu`, `overview` of several.
"""

from typing import Any, Mapping, NamedTuple

import numpy as np
import pandas as pd

from experiments.reporting import tables

_PJ = 261  # of an instruction, see `_ENERGY`
_ENERGY = f'''{_PJ} pJ for an instruction, the whole chip at 3.3 V and 79 uA per
MHz (STM32L412, data sheet DS12469), one instruction per cycle'''


class Target(NamedTuple):
  """What sigma-delta neurons are to save of a dense int8 LSTM, in times."""
  instructions: float
  weight_bytes: float


# By data set and units of each layer.
TARGETS = {
    ('har', (128,)): Target(4, 6),
    ('speech_commands', (256, 256)): Target(4, 5),
}
_POINTS = 0.5  # that the metric may be below the dense LSTM's
_FLASH, _MORE_FLASH = 1.1, 8192  # times the weights, and bytes more
_RAM = 16  # bytes per unit and layer, without buffers


def report(made: dict[str, Any]) -> str:
  """The counts of one metrics.json, in Markdown."""
  rows = [{
      'model': row['model'], 'instructions': row['instructions'],
      'times less': row['times less'], 'most': row['most'],
      'weights read': row['weights read'],
      'weights, times less': row['weights, times less'],
      'bytes read': round(one['read']), 'written': round(one['written']),
      'spikes of h': row['spikes of h'], 'break-even': row['break-even'],
      'flash': row['flash'], 'of it weights': one['weights'],
      'RAM': row['RAM'], 'stack': row['stack'], 'uJ': row['uJ'],
  } for row, one in zip(_rows(made), made['models'].values())]  # yapf: disable
  compared = [{'model': row['model'], 'int8 %': row['int8 %'],
               'floats %': row['floats %'], 'same class %': row['same class %']}
              for row in _rows(made)]  # yapf: disable
  return (f'''# Instructions on a Cortex-M4

Per element, means over {made["sequences"]} test sequences; `most` is the
sequence that takes most. Times less: than the first model. Break-even: spikes
of h per unit and element at which it would take as many instructions as that,
if each cost what it costs here. Flash is code and constants, in bytes. uJ is
derived: {_ENERGY}.

Made at commit {made["commit"]}{_command(made)}

{tables.markdown(pd.DataFrame(rows))}

The whole test set, in integers and in floats:

{tables.markdown(pd.DataFrame(compared))}

Instructions by part: products by the weights that they read, the rest by
function. `model_step` is encoder, gates, cells, neurons and pooling;
`model_classify` is the read-out, once per sequence.

{tables.markdown(by_part(made).reset_index())}

![Instructions by part](instructions.png)
''')


def _command(made: dict[str, Any]) -> str:
  return f' by\n\n```sh\n{made["command"]}\n```'


def by_part(made: dict[str, Any]) -> pd.DataFrame:
  """Instructions per element, by model and part; the largest part first."""
  found = pd.DataFrame({name: one['parts']
                        for name, one in made['models'].items()
                       }).fillna(0).round().astype(int).T  # yapf: disable
  found.index.name = 'model'
  return found[found.max().sort_values(ascending=False).index]


def break_even(one: dict[str, Any], dense: dict[str, Any]) -> float | None:
  """Spikes per unit and element at which a model is no better than `dense`.

  The instructions that add rows of h are taken as proportional to spikes. None
  if there are no spikes, or if rows of the input are added together with them.
  """
  products = sum(n for name, n in one['parts'].items()
                 if name.startswith('layer') and name != 'layer0_w'
                )  # yapf: disable
  if not one['sent'] or any('layer0_w and' in name or 'and layer0_w' in name
                            for name in one['parts']):  # yapf: disable
    return None
  rest = one['instructions'] - products
  return (float(np.mean(one['spikes'])) * (dense['instructions'] - rest) /
          products)


def _rows(made: dict[str, Any]) -> list[dict[str, Any]]:
  """A row for each model of a metrics.json, in the units of the tables."""
  dense = next(iter(made['models'].values()))
  return [{
      'model': name,
      'int8 %': 100 * one['metric'],
      'floats %': 100 * one['of_floats'],
      'same class %': 100 * one['same'],
      'against dense': 100 * (one['metric'] - dense['metric']),
      'instructions': round(one['instructions']),
      'times less': dense['instructions'] / one['instructions'],
      'most': round(max(one['each'])),
      'weights read': round(one['weight_bytes']),
      'weights, times less': dense['weight_bytes'] / one['weight_bytes'],
      'spikes of h': ' / '.join(f'{s:.3f}' for s in one['spikes']),
      'break-even': break_even(one, dense),
      'flash': one['flash'],
      'RAM': one['ram'],
      'stack': one['stack'],
      'uJ': 1e-6 * _PJ * one['instructions'],
  } for name, one in made['models'].items()]  # yapf: disable


# --- Several runs -------------------------------------------------------------


def overview(rows: Mapping[str, dict[str, Any]]) -> str:
  """One table over the metrics.json of several folders, by their names.

  Raises:
    ValueError: if one was made before a row knew its units and accuracy.
  """
  found, targets = [], []
  for folder, made in rows.items():
    if 'units' not in made:
      raise ValueError(f'{folder}: its metrics.json, of commit '
                       f'{made["commit"][:10]}, has no units and no accuracy; '
                       'run bench_mcu anew.')
    units = ' x '.join(map(str, made['units']))
    of_data = f'{made["data"]}, {units}'
    for row in _rows(made):
      found.append({'row': f'[{folder}]({folder}/report.md)',
                    'data, units': of_data, **row,
                    'commit': made['commit'][:10]})  # yapf: disable
    targets += _targets(folder, made)
  table = pd.DataFrame(found).drop(columns=['floats %', 'most'])
  return (f'''# Instructions of all rows

Written by `python -m experiments.costs` from the metrics.json of each row; its
report has parts, worst cases and the command that made it. Per element of real
test sequences, on an emulated Cortex-M4. Times less: than the first model of
the row, our own dense int8 LSTM of the same size. int8 %: test accuracy in
integers; against dense: minus that of the dense LSTM, in points; same class: as
the model of floats that it was made of. Break-even: spikes of h per unit and
element at which the dense one would take as many instructions. Flash (code and
constants), RAM and stack in bytes. uJ is derived, not measured: {_ENERGY}.

{tables.markdown(pd.DataFrame(table), names=3)}

## Targets

Of sigma-delta neurons, against the dense int8 LSTM; of all networks flash, at
most {_FLASH} times the weights and {_MORE_FLASH:,} bytes, and RAM without
buffers, at most {_RAM} bytes per unit and layer. Buffers are what all layers
share, and what pooling keeps.

{tables.markdown(pd.DataFrame(targets), names=3)}
''')


def _targets(folder: str, made: dict[str, Any]) -> list[dict[str, Any]]:
  """What is asked of the models of a row, and what they have."""
  dense, found = next(iter(made['models'].values())), []

  def add(model: str, what: str, asked: str, has: float, met: bool) -> None:
    found.append({'row': folder, 'model': model, 'what': what, 'asked': asked,
                  'found': has, 'met': 'yes' if met else 'no'})  # yapf: disable

  wanted = TARGETS.get((made['data'], tuple(made['units'])))
  for name, one in made['models'].items():
    if wanted and one['sigma_delta']:
      for what, least in wanted._asdict().items():
        times = dense[what] / one[what]
        add(name, f'{what.replace("_", " ")}, times less',
            f'>= {least}', times, times >= least)  # yapf: disable
      points = 100 * (one['metric'] - dense['metric'])
      add(name, 'accuracy against dense, points', f'>= -{_POINTS}',
          points, points >= -_POINTS)  # yapf: disable
    most = _FLASH * one['weights'] + _MORE_FLASH
    add(name, 'flash', f'<= {most:,.0f}', one['flash'], one['flash'] <= most)
    each = (one['ram'] - one['buffers']) / sum(made['units'])
    add(name, 'RAM per unit', f'<= {_RAM}', each, each <= _RAM)
  return found
