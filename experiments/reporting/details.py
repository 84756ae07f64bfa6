"""The longer tables of a report: activity, operations and the conversion."""

import statistics
from typing import Any

from experiments.reporting import tables
from experiments.reporting.results import Results
from experiments.reporting.summary import of_test
from experiments.reporting.tables import MISSING
from experiments.reporting.tables import NONE
from experiments.reporting.tables import Table
from slstm import rules
from slstm import types


def operations(results: Results) -> Table:
  """Where the operations are spent."""
  kinds = ('multiply', 'add', 'compare', 'smooth', 'clip')
  rows = []
  for entry in results.entries:
    counts = of_test(entry, 'counts')
    if counts is None:
      rows.append((entry.label,) + (MISSING,) * (3 + len(kinds)))
      continue
    parts = [
        _pair([layer[p]
               for layer in counts['layers']])
        for p in ('input', 'recurrent')
    ]
    work = [
        p['elementwise']
        for p in (counts['encoder'], *counts['layers'], counts['readout'])
    ]
    rows.append((entry.label, *parts, _pair([counts['readout']['product']]),
                 *(tables.count(sum(w[kind] for w in work)) for kind in kinds)))
  return Table(
      'Operations per inference',
      ('model', 'W x, MAC + AC', 'U h, MAC + AC', 'read-out, MAC + AC', *kinds),
      tuple(rows),
      'Element-wise: multiplications, additions, comparisons, sigmoid or '
      'tanh (smooth), clips.')


def _pair(products: list[dict]) -> str:
  mac, ac = (sum(p[kind] for p in products) for kind in ('mac', 'ac'))
  return f'{tables.count(mac)} + {tables.count(ac)}'


def activities(results: Results) -> list[Table]:
  """Sparsity and spike rate of every layer and site."""
  return [
      _activity(
          results, 'sparsity', 'Activation sparsity',
          'Fraction of zeros in what each site puts out, over elements, steps, '
          'units and test examples.'),
      _activity(
          results, 'spike_rate', 'Spike rate',
          'Mean |s| of each spiking site; h also where o and c make it spike.'),
  ]


def _activity(results: Results, name: str, title: str, note: str) -> Table:
  rows = []
  for entry in results.entries:
    for index, layer in enumerate(of_test(entry, 'counts', 'layers') or ()):
      values = [layer[name][site] for site in types.SITES]
      if any(v is not None for v in values):
        rows.append((f'{entry.label}, layer {index}',
                     *(NONE if v is None else tables.rate(v) for v in values)))
  return Table(title, ('model', *types.SITES), tuple(rows), note)


def neurons(results: Results) -> Table:
  """The neuron that conversion chose for every layer and site."""
  rows = []
  for label, site in _sites(results):
    chosen = ', '.join(f'{rule} {n}' for rule, n in site['rules'].items() if n)
    rows.append((label, site['neuron'], chosen,
                 *(_spread(site[leaf])
                   for leaf in ('v_th', 'leak', 'v_0', 'amplitude'))))
  return Table(
      'Converted neurons', ('site', 'neuron', 'rules, units', 'v_th', 'leak',
                            'shift v_0', 'amplitude'), tuple(rows),
      'Before training. Median [least, greatest] over units with own '
      'neurons; the leak of an IF is 1. The rules are those of `slstm.rules`.')


def errors(results: Results) -> Table:
  """The held-out error of every alternative."""
  rows = []
  for label, site in _sites(results):
    found = {rule: site['errors'][rule] for rule in (*rules.RULES, 'chosen')}
    held_out = {rule: e['mse_held_out'] for rule, e in found.items()}
    uniform = held_out['if_uniform']
    rows.append((label, *map(tables.small, held_out.values()),
                 _gain(held_out['if_floor'],
                       uniform), _gain(uniform, held_out['if_data']),
                 _gain(uniform, held_out['chosen']),
                 _gain(found['if_uniform']['mae_held_out'],
                       found['chosen']['mae_held_out'])))
  return Table(
      'Error of the conversion',
      ('site', *rules.RULES, 'chosen', 'gain of the shift, %',
       'gain of if_data, %', 'gain of chosen, %', 'gain in mean |error|, %'),
      tuple(rows),
      'Mean squared difference of the staircase from the activation of the '
      'source, over drives of calibration examples that the fit did not see; '
      'mean over units. Gain: by how much it is below that of the uniform '
      'rule; of the shift: by how much the uniform rule is below no shift.')


def _sites(results: Results) -> list[tuple[str, dict[str, Any]]]:
  """(label, report) of each converted layer and site."""
  found = []
  for entry in results.entries:
    if entry.kind != 'converted' or entry.model is None:
      continue
    encoder = (entry.model.metrics or {}).get('encoder_report')
    if encoder:  # older conversions have no such entry
      steps = entry.encoder_steps or entry.num_steps
      found.append((f'T={entry.num_steps}, input in {steps} steps', encoder))
    for index, layer in enumerate(entry.model.get('report') or ()):
      found += [(f'T={entry.num_steps}, layer {index}, {name}', site)
                for name, site in layer.items()]
  return found


def _spread(values: list[float]) -> str:
  middle = f'{statistics.median(values):.3g}'
  if min(values) == max(values):
    return middle
  return f'{middle} [{min(values):.3g}, {max(values):.3g}]'


def _gain(base: float, other: float) -> str:
  return NONE if base == 0 else f'{100 * (1 - other / base):.1f}'
