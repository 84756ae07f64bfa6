"""The tables of a report: every cell is a figure that a stage has written.

All that is done to the figures here is to add up parts, to take differences and
to divide by those of the standard LSTM.
"""

import math
from typing import Any

from experiments.reporting import results as results_lib
from experiments.reporting import tables
from experiments.reporting.results import Entry
from experiments.reporting.results import Results
from experiments.reporting.tables import MISSING
from experiments.reporting.tables import NONE
from experiments.reporting.tables import Table
from slstm import energy
from slstm import executor

LEDGERS = tuple((constants, number)
                for constants in energy.CONSTANTS
                for number in ('1', '2'))


def of_test(entry: Entry | None, *keys: str | int) -> Any:
  """An entry of the metrics that `evaluate` wrote; None if it has not run."""
  return entry.test.get(*keys) if entry and entry.test else None


def validation_accuracy(entry: Entry) -> float | None:
  """Of the epoch that validation chose, or of the converted model."""
  return entry.model.get('validation_accuracy') if entry.model else None


def apart(entry: Entry, other: Entry | None) -> float | None:
  """How much higher its test accuracy is than that of another model."""
  mine, base = (of_test(e, 'test_accuracy') for e in (entry, other))
  return None if mine is None or base is None else mine - base


def products(entry: Entry, kind: str) -> float | None:
  """The 'mac' or 'ac' of all matrix products."""
  counts = of_test(entry, 'counts')
  if counts is None:
    return None
  parts = [
      layer[part]
      for layer in counts['layers']
      for part in ('input', 'recurrent')
  ]
  return sum(p[kind] for p in (*parts, counts['readout']['product']))


def spike_rates(entry: Entry) -> list[float | None] | None:
  """Spike rate of h by layer, None where it does not spike."""
  layers = of_test(entry, 'counts', 'layers')
  return layers and [layer['spike_rate']['h'] for layer in layers]


def spent(entry: Entry | None, constants: str, number: str) -> float | None:
  """Energy of an inference in pJ; None before a further ledger was known."""
  ledgers = of_test(entry, 'energy', constants)
  if (constants, number) not in LEDGERS and number not in (ledgers or ()):
    return None
  return of_test(entry, 'energy', constants, number, 'total')


def times_less(results: Results, entry: Entry, constants: str,
               number: str) -> float | None:
  """Energy of the standard LSTM over that of a model."""
  base = spent(results.standard, constants, number)
  mine = spent(entry, constants, number)
  if mine is None or base is None:
    return None
  return base / mine if mine else math.inf


def accuracy(results: Results) -> Table:
  """Accuracy, spike rate and the operations of the products."""
  rows = []
  for entry in results.entries:
    rows.append((
        entry.label,
        tables.percent(validation_accuracy(entry)),
        tables.percent(of_test(entry, 'test_accuracy')),
        NONE if entry.kind == 'ann' else tables.points(
            apart(entry, results.origin(entry))),
        tables.rates(spike_rates(entry)),
        tables.count(products(entry, 'mac')),
        tables.count(products(entry, 'ac')),
    ))
  return Table(
      'Accuracy, spikes and operations',
      ('model', 'validation %', 'test %', 'vs source, points',
       'spike rate of h', 'MAC', 'AC'), tuple(rows),
      'The difference is to the test accuracy of the LSTM that the SNN was '
      'converted from. Spike rate: mean |s| an element, step and unit, by '
      'layer. MAC and AC: of all matrix products, per inference, mean over the '
      'test set.')


def energies(results: Results) -> Table:
  """Ledgers 1 and 2 under both sets of constants, and their ratios."""
  rows = []
  for entry in results.entries:
    cells = [entry.label]
    for constants, number in LEDGERS:
      cells += [
          tables.nanojoule(spent(entry, constants, number)),
          tables.ratio(times_less(results, entry, constants, number))
      ]
    rows.append(tuple(cells))
  header = ['model']
  for constants, number in LEDGERS:
    header += [f'{constants} {number}, nJ', 'times less']
  return Table(
      'Energy per inference', tuple(header), tuple(rows),
      'Ledger 1: matrix products only. Ledger 2: with all element-wise work. '
      '"times less": energy of the standard LSTM over that of the model. ' +
      cap(results))


def cap(results: Results) -> str:
  """The bound on the ratio in ledger 1, in a sentence."""
  sizes = next((s for s in (of_test(e, 'sizes') for e in results.entries) if s),
               None)
  if sizes is None:
    return 'The cap (D + H) / D of ledger 1 is missing: no model was evaluated.'
  features, hidden = sizes['features'], sizes['hidden']
  if len(hidden) > 1:
    return (
        'The cap (D + H) / D of ledger 1 holds for a single layer, and these '
        f'networks have {len(hidden)}.')
  limit = energy.direct_encoding_cap(features, hidden[0])
  exact = energy.direct_encoding_cap(features, hidden[0], sizes['elements'])
  return (
      f'With direct encoding, no SNN of one layer can reach more than (D + H) '
      f'/ D = ({features} + {hidden[0]}) / {features} = {limit:.2f} times '
      f'less in ledger 1 ({exact:.2f} at N = {sizes["elements"]}), for W x '
      'is the same in both.')


def latencies(results: Results) -> Table:
  """Time of one sequence under the best executor of each model."""
  rows = []
  for entry in results.entries:
    executors = _executors(results, entry)
    if executors is None:
      rows.append((entry.label,) + (MISSING,) * 5)
      continue
    best = min(executors, key=lambda name: executors[name]['median_ms'])
    at = executors[best]
    rows.append(
        (entry.label, best, tables.ratio(at['median_ms']),
         f'{at["lower_quartile_ms"]:.2f} .. {at["upper_quartile_ms"]:.2f}',
         NONE if at['speedup'] is None else tables.ratio(at['speedup']),
         str(at['dependent_steps'])))
  return Table('Latency of one sequence (B = 1)',
               ('model', 'best executor', 'median, ms', 'quartiles, ms',
                'speed, x standard', 'dependent steps'), tuple(rows),
               _latency_note(results))


def _executors(results: Results, entry: Entry) -> dict[str, dict] | None:
  models = (results.latency.get('models') if results.latency else None) or {}
  return models[entry.name]['executors'] if entry.name in models else None


def schedules(results: Results) -> Table:
  """Time and dependent steps under every executor."""
  rows = []
  for entry in results.entries:
    executors = _executors(results, entry)
    cells = [entry.label]
    for name in executor.FORWARD:
      if executors is None:
        cells += [MISSING, MISSING]
      elif name in executors:
        at = executors[name]
        cells += [tables.ratio(at['median_ms']), str(at['dependent_steps'])]
      else:
        cells += [NONE, NONE]
    rows.append(tuple(cells))
  header = ['model']
  for name in executor.FORWARD:
    header += [f'{name}, ms', 'dependent steps']
  return Table('Latency by executor', tuple(header), tuple(rows),
               'The wavefront runs coupling "step" only.')


def _latency_note(results: Results) -> str:
  if not results.latency or results.latency.metrics is None:
    return ''
  on = results.latency.get('machine')
  return (
      '"speed, x standard": best median of the standard LSTM over that of '
      'the model; above 1 is faster. Compiled, '
      f'{results.latency.get("rounds")} rounds in turns on {on["device_kind"]}'
      f' ({on["cpu_count"]} CPUs, {on["platform"]}, JAX {on["jax_version"]}).')


def missing(results: Results) -> list[str]:
  """A sentence for each stage that is not there, or not finished."""
  return missing_models(results) + missing_latencies(results)


def missing_models(results: Results) -> list[str]:
  """Those on the models, and on the kinds of which there is none."""
  found = unfinished(results)
  for kind, name in (('converted', 'converted'), ('tuned', 'fine-tuned')):
    if not any(entry.kind == kind for entry in results.entries):
      found.append(f'No {name} SNN: folders {kind}_T*/ are missing; run '
                   f'experiments.{results_lib.BINARIES[kind]}.')
  return found


def unfinished(results: Results) -> list[str]:
  """Those on the models that are there, planned or made something of."""
  found = []
  for entry in results.entries:
    binary = f'experiments.{results_lib.BINARIES[entry.kind]}'
    if entry.model is None:
      found.append(f'{entry.label}: folder {entry.name}/ is missing; run '
                   f'{binary}.')
    elif entry.model.metrics is None:
      found.append(
          f'{entry.label}: {entry.name}/ is not finished; run {binary} '
          'again.')
    if entry.test is None or entry.test.metrics is None:
      found.append(f'{entry.label}: no test figures, folder {entry.name}_test/ '
                   'is missing or not finished; run experiments.evaluate.')
  return found


def missing_latencies(results: Results) -> list[str]:
  """That on the latencies, if any are missing."""
  timed = results.latency.get('models') if results.latency else None
  untimed = [e.name for e in results.entries if e.name not in (timed or ())]
  if timed is None:
    return [
        'Latencies: folder latency/ is missing or not finished; run '
        'experiments.latency.'
    ]
  if untimed:
    return [
        f'Latencies: {", ".join(untimed)} not timed; run '
        'experiments.latency.'
    ]
  return []
