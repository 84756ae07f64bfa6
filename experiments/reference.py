"""Published figures, to stand beside ours in a report.

None was measured here. Each carries what its protocol does differently, because
hardly two of them can be compared as they are.
"""

import re
from typing import NamedTuple


class Figure(NamedTuple):
  """A published figure.

  Attributes:
    task: data set and input, as in the keys of `TASKS`.
    system: what was measured.
    value: as printed in the source, such as '94.75'.
    unit: of the value.
    source: author, year, place.
    note: how its protocol differs from ours.
  """
  task: str
  system: str
  value: str
  unit: str
  source: str
  note: str

  @property
  def accuracy(self) -> float | None:
    """Test accuracy in percent; None if it is another figure, or no number."""
    try:
      return float(self.value) if self.unit == _ACCURACY else None
    except ValueError:
      return None

  @property
  def num_steps(self) -> int | None:
    """T of the system, where the source tells it."""
    found = re.search(r'\bT = (\d+)', self.system)
    return int(found[1]) if found else None


GSC = 'Google Speech Commands'
ROW_MNIST = 'row-wise MNIST'
PIXEL_MNIST = 'pixel-wise MNIST'
PERMUTED_MNIST = 'permuted MNIST'
UCI_HAR = 'UCI HAR'

_ACCURACY = '% test accuracy'

# The tasks of a data set, by the name that --dataset has, with --order where
# that makes another task of it. The first is ours; others are akin to it.
TASKS: dict[str | tuple[str, str], tuple[str, ...]] = {
    'uci_har': (UCI_HAR,),
    'speech_commands': (GSC, GSC + ' v2-12', GSC + ' v2-35'),
    ('mnist', 'rows'): (ROW_MNIST,),
    ('mnist', 'pixels'): (PIXEL_MNIST,),
    ('mnist', 'permuted'): (PERMUTED_MNIST,),
}

_DATTA = ('Datta, Deng, Aviles, Beerel 2022, arXiv 2210.12613, abstract')
_PONGHIRAN = 'Ponghiran & Roy 2021'
_PUBLIC_HAR = 'public LSTM repositories'

FIGURES = (
    Figure(UCI_HAR, 'LSTM', '91 to 94', _ACCURACY, _PUBLIC_HAR,
           'official split; several take the best test epoch'),
    Figure(GSC, 'spiking LSTM, T = 2, direct encoding', '94.75', _ACCURACY,
           _DATTA, 'one figure; split and front end not '
           'stated in the abstract'),
    Figure(GSC, 'the same, energy of the LSTM of the same size over its own',
           '4.1', 'times', _DATTA,
           'their count of operations; compare with ledger 1'),
    Figure(GSC + ' v2-12', 'LSTM', '97.5', _ACCURACY, 'Rybakov et al. 2020',
           'raw audio, its own front end'),
    Figure(GSC + ' v2-12', 'TC-LIF, recurrent', '94.84', _ACCURACY,
           'Zhang et al., TC-LIF, AAAI 2024',
           'another neuron, trained from scratch'),
    Figure(GSC + ' v2-12', 'adaptive LIF, recurrent', '95.93', _ACCURACY,
           'NEAT repository', 'another neuron, trained from scratch'),
    Figure(GSC + ' v2-35', 'SpikCommander', '96.92', _ACCURACY,
           'log in its repository', '35 classes; best test epoch'),
    Figure(ROW_MNIST, 'LSTM', '98.97', _ACCURACY, _PONGHIRAN, 'standard LSTM'),
    Figure(ROW_MNIST, 'hybrid spiking LSTM, T = 128', '98.81', _ACCURACY,
           _PONGHIRAN, 'analog and spiking units mixed'),
    Figure(ROW_MNIST, 'hybrid spiking LSTM, T = 16', '92.89', _ACCURACY,
           _PONGHIRAN, 'analog and spiking units mixed'),
    Figure(PIXEL_MNIST, 'LSTM', '97.71', _ACCURACY, _PONGHIRAN,
           'standard LSTM'),
    Figure(PIXEL_MNIST, 'hybrid spiking LSTM, T = 1024', '97.61', _ACCURACY,
           _PONGHIRAN, 'analog and spiking units mixed'),
    Figure(PIXEL_MNIST, 'spiking state-space model', '~99.6', _ACCURACY,
           'SpikingSSM', 'another architecture'),
)


def tasks(dataset: str, order: str = '') -> tuple[str, ...]:
  """Names of a data set's tasks, our own first.

  Args:
    dataset: value of --dataset.
    order: value of --order.

  Returns:
    Names; of a data set of the user's own only what --dataset calls it.
  """
  return TASKS.get((dataset, order)) or TASKS.get(dataset) or (dataset,)


def of_task(dataset: str, order: str = '') -> tuple[Figure, ...]:
  """The figures of a data set's own tasks, see `tasks`."""
  named = tasks(dataset, order)
  return tuple(figure for figure in FIGURES if figure.task in named)


def for_dataset(dataset: str, order: str = '') -> tuple[Figure, ...]:
  """The figures of a data set's own tasks, then those of the method's paper.

  Args:
    dataset: value of --dataset.
    order: value of --order.

  Returns:
    Figures; for a data set of the user's own those of the paper alone.
  """
  own = of_task(dataset, order)
  paper = [f for f in FIGURES if f.source == _DATTA and f not in own]
  return (*own, *paper)
