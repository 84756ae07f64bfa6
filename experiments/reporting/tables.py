"""Every number of a report: means over seeds, and the tables that show them.

Differences and ratios are taken within a seed, so what seeds have in common
drops out of their deviation. A function returns None if it has nothing to show.
"""

import math
import numbers
import statistics
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np
import pandas as pd

from experiments.reporting import intervals
from experiments.reporting import load
from slstm import energy

NONE = '-'  # there is no such figure, or its stage has not run
# The form of figures by their first word; others are of the metric, with a
# deviation.
_FORMS = {'rate': '.3f', 'rows': '.3f', 'even': '.3f', 'mac': ',.0f',
          'ac': ',.0f', 'energy': ',.1f', 'less': '.2f', 'matched': '.2f',
         'cap': '.2f'
         }  # yapf: disable
# By how much the second rule is below the first, in an error.
_GAINS = (('the shift', 'mse_held_out', 'if_floor',
           'if_uniform'), ('if_data', 'mse_held_out', 'if_uniform', 'if_data'),
          ('chosen', 'mse_held_out', 'if_uniform', 'chosen'),
          ('chosen in mean |error|', 'mae_held_out', 'if_uniform', 'chosen'))


class Figures(NamedTuple):
  """The models of some rows by (row, label), in the order of a table.

  For each, `over_seeds` has its figures by (name, 'mean', 'std' or 'count').
  """
  models: dict[tuple[str, str], load.Model]
  over_seeds: dict[tuple[str, str], dict[tuple[str, str], float]]
  metric: load.Metric

  def cell(self, key: tuple[str, str], name: str) -> str:
    """Such as '92.26 ± 0.31', or '92.26 (n = 1)' if the test has another n."""
    found, form = self.over_seeds[key], _FORMS.get(name.split()[0])
    count, tests = found.get((name, 'count')), found['test', 'count']
    if name == 'n':
      return f'{tests:.0f}'
    if name in ('rates', 'all rows'):
      one, layers = name.split()[-1][:4], _layers(self.models[key]) or [{}]
      return ' / '.join(
          self.cell(key, f'{one} {i}') for i in range(len(layers)))
    if not count:
      return NONE
    mean, std = found[name, 'mean'], found[name, 'std']
    text = self.metric.text(mean, '+' if name.startswith('vs') else '')
    text += f' ± {self.metric.text(std)}' if count > 1 else ''
    text = f'{mean:{form}}' if form else text
    return text if count == tests else f'{text} (n = {count:.0f})'

  def table(self, columns: dict[str, str]) -> pd.DataFrame | None:
    """Of figures by header; says row and n unless it is of one run."""
    frame = _frame([{'row': key[0], 'model': key[1],
                     **{head: self.cell(key, name)
                        for head, name in columns.items()}
                    } for key in self.models])  # yapf: disable
    if frame is None or frame['row'].any():
      return frame
    return frame.drop(columns=['row', 'n'], errors='ignore')


def _layers(m: load.Model) -> list[dict[str, Any]]:
  return m.test.get('counts', 'layers') if m.test else []


def collect(rows: Sequence[load.Row]) -> Figures:
  """The models of rows of one metric; a ValueError if a seed has one twice."""
  models: dict[tuple[str, str], load.Model] = {}
  frames = []
  for row in rows:
    of_row: dict[tuple[str, str], load.Model] = {}
    for run in row.runs.values():
      frames.append(of_run(run).assign(row=row.name))
      twice = frames[-1][frames[-1]['label'].duplicated(keep=False)]
      if len(twice):
        raise ValueError(f'{run.folder}: {"/ and ".join(twice.index)}/ are both'
                         f' "{twice["label"].iloc[0]}". Remove one of them.')
      of_row = {(row.name, m.label): m for m in run.models} | of_row
    models |= sorted(of_row.items(), key=lambda item: item[1].order)
  grouped = pd.concat(frames).groupby(['row', 'label'], sort=False)
  stats = grouped.agg(['mean', 'std', 'count']).to_dict('index')
  return Figures(models, stats, next(iter(rows[0].runs.values())).metric)


def of_run(run: load.Run) -> pd.DataFrame:
  """Column 'label' and one for each figure, by folder; NaN if there is none."""
  measured = [_measured(m, run.metric) for m in run.models]
  found = pd.DataFrame(measured, [m.name for m in run.models], dtype=float)
  standard = found.reindex([run.standard]).iloc[0]
  origin = found['test'].reindex([m.origin for m in run.models]).to_numpy()
  snn = np.array([m.kind != 'ann' for m in run.models])
  spent = found.filter(regex='^energy ')
  compared = spent.rdiv(standard[spent.columns]).rename(
      columns=lambda name: name.replace('energy', 'less'))
  rows = found.filter(regex='^rows ').mean(axis=1)
  for name in found.filter(regex='^of_h '):
    # Rates of h at which energy would be that of the standard LSTM.
    of_h, total = found[name], found[name.replace('of_h', 'energy')]
    base = standard[name.replace('of_h', 'energy')]
    compared[name.replace('of_h', 'even')] = (rows * (base - total + of_h) /
                                              of_h).where(snn)
  matched = spent.reindex([_matched(m, run.models) for m in run.models])
  matched = matched.set_axis(found.index) / spent
  matched.columns = matched.columns.str.replace('energy', 'matched')
  compared = compared.join(matched)
  compared['vs standard'] = found['test'] - standard['test']
  compared[found.index == run.standard] = math.nan
  found['vs source'] = (found['test'] - origin).where(snn)
  return found.join(compared).assign(label=[m.label for m in run.models])


def _matched(m: load.Model, models: Sequence[load.Model]) -> str | None:
  """The LSTM whose activations have as many levels as T spikes of an SNN."""
  alike = [at.name for at in models if m.kind != 'ann' and
           at.usual_name == f'quantised_Q{m.num_steps}']  # yapf: disable
  return next(iter(alike), None)


def _measured(m: load.Model, metric: load.Metric) -> dict[str, Any]:
  """What the files say of a model by itself; energies in nJ."""
  found: dict[str, Any] = {'test': math.nan}
  if m.made.metrics:
    found['validation'] = m.made.get(f'validation_{metric.name}')
  if not m.test:
    return found
  layers, sizes = _layers(m), m.test.get('sizes')
  products = [layer[p] for layer in layers for p in ('input', 'recurrent')]
  products.append(m.test.get('counts', 'readout', 'product'))
  found['test'] = m.test.get(f'test_{metric.name}')
  of_integers = m.test.get().get('int8', {})  # older ones have none
  found['int8'] = of_integers.get(f'test_{metric.name}')
  found |= {kind: sum(p[kind] for p in products) for kind in ('mac', 'ac')}
  for i, at in enumerate(layers):  # older ones have rates per step, no rows
    rate = at['spike_rate']['h']
    rate = at.get('spikes_per_element', rate and rate * (m.num_steps or 1))
    found |= {f'rate {i}': rate, f'rows {i}': at.get('rows_per_element')}
  found |= {f'energy {constants} {number}': 1e-3 * ledger['total']
            for constants, ledgers in m.test.get('energy').items()
            for number, ledger in ledgers.items()}  # yapf: disable
  found |= {f'of_h {constants} {number}': 1e-3 * ledger['of_h']
            for constants, ledgers in m.test.get('energy').items()
            for number, ledger in ledgers.items() if 'of_h' in ledger
           }  # yapf: disable
  if m.kind != 'ann' and len(layers) == 1 and layers[0]['input']['mac']:
    found['cap'] = energy.direct_encoding_cap(sizes['features'],
                                              sizes['hidden'][0])
  return found


def markdown(frame: pd.DataFrame, names: int = 1) -> str:
  """The table in GitHub's Markdown; all but the first columns hold numbers."""
  columns = []
  for index, header in enumerate(frame.columns):
    texts = [_text(cell) for cell in (header, *frame.iloc[:, index])]
    width = max(3, *map(len, texts))
    rule = f':{"-" * (width - 1)}' if index < names else f'{"-" * (width - 1)}:'
    justify = str.ljust if index < names else str.rjust
    first, *rest = [justify(text, width) for text in texts]
    columns.append([first, rule, *rest])
  return '\n'.join(f'| {" | ".join(line)} |' for line in zip(*columns))


def _text(cell: Any) -> str:
  """Text as it is; numbers by four digits, whole ones by all of theirs."""
  if pd.isna(cell):
    return NONE
  if isinstance(cell, numbers.Real):
    cell = f'{cell:,.0f}' if cell % 1 == 0 else f'{cell:,.4g}'
  return str(cell).replace('|', '\\|').replace('\n', ' ')


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame | None:
  return pd.DataFrame(rows) if rows else None


def accuracy(found: Figures) -> pd.DataFrame | None:
  """The metric, spike rates and the operations of the products."""
  unit = found.metric.unit or found.metric.name
  return found.table({
      f'test {unit}': 'test', 'n': 'n', f'int8 {unit}': 'int8',
      f'validation {unit}': 'validation',
      'vs source': 'vs source', 'vs standard': 'vs standard',
      'spikes of h': 'rates', 'rows of h': 'all rows', 'MAC': 'mac',
      'AC': 'ac'})  # yapf: disable


def certainty(run: load.Run) -> pd.DataFrame | None:
  """What the size of the test set makes uncertain, of models that say it."""
  standard = [m for m in run.models if m.name == run.standard]
  rows, text = [], run.metric.text
  unit = run.metric.unit or run.metric.name
  for m in run.models:
    found = load.predictions(m)
    if found:
      low, high = intervals.of_mean(found.scores)
      row: dict[str, Any] = {
             'model': m.label, f'test {unit}': text(found.scores.mean()),
             '95 % interval': f'{text(low)} to {text(high)}'}  # yapf: disable
      theirs = load.predictions(standard[0]) if standard else None
      if theirs and m not in standard:
        mean, half = intervals.of_difference(found.scores, theirs.scores)
        row['vs standard'] = f'{text(mean, "+")} ± {text(half)}'
        row['better on'] = int(np.sum(found.scores > theirs.scores))
        row['worse on'] = int(np.sum(found.scores < theirs.scores))
      rows.append(row)
  return _frame(rows)


def networks(run: load.Run) -> pd.DataFrame | None:
  """Sizes of the models that were evaluated."""
  rows = []
  for m in run.models:
    if m.test:
      at, stored = m.test.get('sizes'), m.test.get('counts').get('stored')
      row = {'model': m.label, 'N': at['elements'], 'D': at['features'],
             'H': ', '.join(map(str, at['hidden'])), 'K': at['classes'],
             'T': m.num_steps, 'parameters': at['parameters'],
             'bytes, float32': 4 * at['parameters'],
             'bytes, int8': stored and stored['weights']}  # yapf: disable
      rows.append(row)
  return _frame(rows)


def energies(found: Figures, constants: str) -> pd.DataFrame | None:
  """Every ledger, and how many times less than the standard LSTM."""
  columns: dict[str, str] = {}
  names = dict.fromkeys(f for f, _ in next(iter(found.over_seeds.values())))
  for name in names:
    if name.startswith(f'energy {constants} '):
      short, less, even, matched = (
          name.replace('energy', word).strip()
          for word in ('', 'less', 'even', 'matched'))  # yapf: disable
      columns |= {f'{short}, nJ': name, f'{short}, times less': less}
      if any(of.get((matched, 'count')) for of in found.over_seeds.values()):
        columns[f'{short}, times less than quantised'] = matched
      columns |= {f'{short}, break-even rows': even} if even in names else {}
  return found.table({**columns, 'cap': 'cap'}) if columns else None


def fetched(run: load.Run) -> pd.DataFrame | None:
  """Quantiles over the test set of the weights that a sequence fetches."""
  rows = []
  for m in run.models:
    found = m.test.get('counts').get('fetched') if m.test else None
    if found:
      heads = ('least', '5 %', 'median', '95 %', 'most')
      rows.append({'model': m.label, **dict(zip(heads, found))})
  return _frame(rows)


def fronts(run: load.Run) -> pd.DataFrame | None:
  """The fronts of sigma-delta neurons before training."""
  rows = []
  for m in run.models:
    if m.kind == 'converted' and m.is_sigma_delta and m.made.metrics:
      rows += [{'model': m.label, 'place': place, **point}
               for place, points in m.made.get('fronts').items()
               for point in points if point['on_front']]  # yapf: disable
  return _frame(rows) if not rows else pd.DataFrame(rows).drop(
      columns='on_front')


def latencies(run: load.Run) -> pd.DataFrame | None:
  """Time of one sequence of every model and executor."""
  timed = run.latency.get('models') if run.latency else {}
  return _frame([
      {'model': m.label, 'executor': name, **at} for m in run.models
      for name, at in timed.get(m.name, {}).get('executors', {}).items()
  ])  # yapf: disable


def parts(run: load.Run, *names: str) -> pd.DataFrame | None:
  """Those counts of every layer, encoder and read-out that has them."""
  rows = []
  for m in run.models:
    counts = {f'layer {i}': layer for i, layer in enumerate(_layers(m))}
    if m.test:
      counts |= {k: m.test.get('counts', k) for k in ('encoder', 'readout')}
    rows += [{'part': f'{m.label}, {k}', **v} for k, v in counts.items()]
  wanted = rf'^(part$|({"|".join(names)})\.)'
  found = pd.json_normalize(rows).filter(regex=wanted).dropna(thresh=2)
  return None if found.empty else found


def _sites(run: load.Run) -> Iterator[tuple[str, dict[str, Any]]]:
  """(label, report) of each converted layer and site."""
  for m in run.models:
    if m.kind == 'converted' and m.made.metrics:
      encoder = m.made.metrics.get('encoder_report')  # older ones have none
      yield from [(f'{m.label}, input', encoder)] if encoder else []
      for index, layer in enumerate(m.made.metrics.get('report', ())):
        for site, report in layer.items():
          yield f'{m.label}, layer {index}, {site}', report


def conversion(run: load.Run) -> pd.DataFrame | None:
  """By layer and site: neuron, held-out error of every rule, and some gains."""
  rows = []
  for label, site in _sites(run):
    chosen = ', '.join(f'{rule} {n}' for rule, n in site['rules'].items() if n)
    row = {'site': label, 'neuron': site['neuron'], 'rules, units': chosen}
    # Older reports have the parameters among the rest.
    for name, values in site.get('parameters', site).items():
      if isinstance(values, list):
        low, high = min(values), max(values)
        text = f'{statistics.median(values):.3g}'
        row[name] = text + (f' [{low:.3g}, {high:.3g}]' if low < high else '')
    errors = site['errors']
    row |= {rule: error['mse_held_out'] for rule, error in errors.items()}
    for name, kind, base, rule in _GAINS:
      if {base, rule} <= set(errors):
        gain = 1 - errors[rule][kind] / errors[base][kind]
        row[f'gain of {name}, %'] = 100 * gain
    rows.append(row)
  return _frame(rows)


def candidates(run: load.Run) -> pd.DataFrame | None:
  """The subsets of sites that `select` compared, in its order; energy in pJ."""
  found = run.select.get('candidates') if run.select else []
  rows = [{**one, 'sites': ', '.join(one['sites'])} for one in found]
  return pd.json_normalize(rows) if rows else None
