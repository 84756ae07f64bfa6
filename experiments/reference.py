"""Published figures, to stand beside ours in a report.

None was measured here. Each carries what its protocol does differently, because
hardly two of them can be compared as they are.
"""

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


GSC = 'Google Speech Commands'
ROW_MNIST = 'row-wise MNIST'
PIXEL_MNIST = 'pixel-wise MNIST'
UCI_HAR = 'UCI HAR'

# The figures that belong to a data set, by the name that --dataset has.
TASKS = {'uci_har': (UCI_HAR,)}

_DATTA = ('Datta, Deng, Aviles, Beerel 2022, arXiv 2210.12613, abstract')
_PONGHIRAN = 'Ponghiran & Roy 2021'
_PUBLIC_HAR = 'public LSTM repositories'

FIGURES = (
    Figure(UCI_HAR, 'LSTM', '91 to 94', '% test accuracy', _PUBLIC_HAR,
           'official split; several take the best test epoch'),
    Figure(GSC, 'spiking LSTM, T = 2, direct encoding', '94.75',
           '% test accuracy', _DATTA, 'one figure; split and front end not '
           'stated in the abstract'),
    Figure(GSC, 'the same, energy of the LSTM of the same size over its own',
           '4.1', 'times', _DATTA,
           'their count of operations; compare with ledger 1'),
    Figure(GSC + ' v2-12', 'LSTM', '97.5', '% test accuracy',
           'Rybakov et al. 2020', 'raw audio, its own front end'),
    Figure(GSC + ' v2-12', 'TC-LIF, recurrent', '94.84', '% test accuracy',
           'Zhang et al., TC-LIF, AAAI 2024',
           'another neuron, trained from scratch'),
    Figure(GSC + ' v2-12', 'adaptive LIF, recurrent', '95.93',
           '% test accuracy', 'NEAT repository',
           'another neuron, trained from scratch'),
    Figure(GSC + ' v2-35', 'SpikCommander', '96.92', '% test accuracy',
           'log in its repository', '35 classes; best test epoch'),
    Figure(ROW_MNIST, 'LSTM', '98.97', '% test accuracy', _PONGHIRAN,
           'standard LSTM'),
    Figure(ROW_MNIST, 'hybrid spiking LSTM, T = 128', '98.81',
           '% test accuracy', _PONGHIRAN, 'analog and spiking units mixed'),
    Figure(ROW_MNIST, 'hybrid spiking LSTM, T = 16', '92.89', '% test accuracy',
           _PONGHIRAN, 'analog and spiking units mixed'),
    Figure(PIXEL_MNIST, 'LSTM', '97.71', '% test accuracy', _PONGHIRAN,
           'standard LSTM'),
    Figure(PIXEL_MNIST, 'hybrid spiking LSTM, T = 1024', '97.61',
           '% test accuracy', _PONGHIRAN, 'analog and spiking units mixed'),
    Figure(PIXEL_MNIST, 'spiking state-space model', '~99.6', '% test accuracy',
           'SpikingSSM', 'another architecture'),
)


def for_dataset(dataset: str) -> tuple[Figure, ...]:
  """The figures of a data set's own tasks, then those of the method's paper.

  Args:
    dataset: value of --dataset.

  Returns:
    Figures; for a data set of the user's own those of the paper alone.
  """
  tasks = TASKS.get(dataset, ())
  own = [figure for figure in FIGURES if figure.task in tasks]
  paper = [f for f in FIGURES if f.source == _DATTA and f not in own]
  return (*own, *paper)
