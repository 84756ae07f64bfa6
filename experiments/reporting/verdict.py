"""What a run comes to, in one sentence: an SNN beside the standard LSTM."""

from typing import NamedTuple

import numpy as np

from experiments.reporting import intervals
from experiments.reporting import load
from experiments.reporting import tables
from slstm import energy

# What a ledger counts; the first of these that was measured is told.
LEDGERS = {'1': 'matrix products', '2': 'all arithmetic',
           '3': 'arithmetic and memory'}  # yapf: disable
_ORDER = [f'{constants} {number}' for constants in ('int8', 'int32', 'fp32')
          for number in ('3', '2', '1')]  # yapf: disable


class Pair(NamedTuple):
  """The SNN that stands for a run, and the LSTM that it is compared with."""
  snn: load.Model
  lstm: load.Model


def pair(run: load.Run) -> Pair | None:
  """The standard LSTM, and the SNN that validation prefers; both evaluated.

  Fine-tuned SNNs go before those that are only converted, and test data decide
  nothing. None if there are no such two.
  """
  sign = 1 if run.metric.higher_is_better else -1

  def rank(m: load.Model) -> tuple[bool, float]:
    score = (m.made.metrics or {}).get(f'validation_{run.metric.name}')
    return m.kind == 'tuned', -np.inf if score is None else sign * score

  tested = [m for m in run.models if m.test]
  snns = [m for m in tested if m.kind != 'ann']
  lstms = [m for m in tested if m.name == run.standard]
  return Pair(max(snns, key=rank), lstms[0]) if snns and lstms else None


def difference(ours: load.Model,
               theirs: load.Model) -> tuple[float, float, int] | None:
  """(mean, half width of its interval, examples) of a paired difference.

  None where the predictions of one of them were not recorded.
  """
  found = [load.predictions(m) for m in (ours, theirs)]
  a, b = (k.scores if k else None for k in found)
  if a is None or b is None:
    return None
  return (*intervals.of_difference(a, b), len(a))


def sentence(run: load.Run) -> str:
  """Accuracy and energy of the pair; what is missing, if there is none."""
  both = pair(run)
  if both is None:
    return ('No verdict: it needs the standard LSTM and an SNN, both evaluated '
            'on the test set.')
  found = difference(*both)
  return (f'{_metric(run, both, found)}{_energy(run, both)}.'
          f'{_meaning(found)}{_chosen(run, both)}')


def _metric(run: load.Run, both: Pair,
            found: tuple[float, float, int] | None) -> str:
  """'At T = 1 the SNN (..) loses 0.20 ± 0.40 points of test accuracy'."""
  metric, name = run.metric, f'test_{run.metric.name}'
  scores = [m.test.get(name) for m in both if m.test]
  change = scores[0] - scores[1]
  margin = f' ± {metric.text(found[1])}' if found else ''
  unit = ' points' if metric.unit else ''
  verb = 'has more' if change > 0 else 'has less'
  if metric.higher_is_better:
    verb = 'gains' if change > 0 else 'loses'
  return (f'At T = {both.snn.num_steps} the SNN ({both.snn.label}) {verb} '
          f'{metric.text(abs(change))}{margin}{unit} of test {metric.name}')


def _energy(run: load.Run, both: Pair) -> str:
  """' and needs 5.1 times less energy (..) than the int8 LSTM'."""
  found = tables.of_run(run).loc[both.snn.name]
  measured = [k for k in _ORDER
              if np.isfinite(found.get(f'less {k}', np.nan))]  # yapf: disable
  if not measured:
    return f' against the {both.lstm.label}; no energy was measured'
  constants, number = measured[0].split()
  times = found[f'less {measured[0]}']
  amount = (f'{times:.1f} times less' if times >= 1 else
            f'{1 / times:.1f} times more')  # yapf: disable
  what = LEDGERS[number]
  if number == '3':
    what += _weights(both, constants)
  return (f' and needs {amount} energy ({what}) than the {constants} '
          f'{both.lstm.label}')


def _weights(both: Pair, constants: str) -> str:
  """', weights from SRAM', where those of both models lie there."""
  table, places = energy.CONSTANTS[constants], []
  for m in both:
    assert m.test
    size = m.test.get('counts', 'stored', 'weights') * table.weight
    places.append('SRAM' if size <= table.sram[-1][0] else 'DRAM')
  return f', weights from {places[0]}' if len(
      set(places)) == 1 else (f', weights from {places[0]} and {places[1]}')


def _meaning(found: tuple[float, float, int] | None) -> str:
  if found is None:
    return (' How sure that is cannot be told: predictions of single examples '
            'were not recorded; evaluate the models anew.')
  mean, half, count = found
  shown = 'a' if abs(mean) > half else 'no'
  return (f' ± is a 95 % interval over the {count:,} test examples, paired; it '
          f'shows {shown} difference. Another seed may differ by more.')


def _chosen(run: load.Run, both: Pair) -> str:
  count = sum(m.kind != 'ann' and m.test is not None for m in run.models)
  among = ' among the fine-tuned' * (both.snn.kind == 'tuned')
  chosen = f' Of {count} SNNs it is the one that validation prefers{among}.'
  return chosen * (count > 1)
