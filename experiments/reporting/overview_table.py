"""The table of a task: every model of every row, over its seeds."""

from typing import Callable

from experiments.reporting import rows as rows_lib
from experiments.reporting import summary
from experiments.reporting import tables
from experiments.reporting.results import Entry
from experiments.reporting.results import Results
from experiments.reporting.rows import Model
from experiments.reporting.rows import Spread
from experiments.reporting.tables import MISSING
from experiments.reporting.tables import NONE
from experiments.reporting.tables import Table
from slstm import energy

Form = Callable[[float | None], str]

_LEDGERS = (('int32', '1'), ('fp32', '1'), ('int32', '2'))
_OPTIONAL = ('int32', '3')  # shown once a row has it
_NOTE = (
    'Mean ± sample standard deviation over n seeds; where another number of '
    'seeds has a figure, it says so. "vs source": test accuracy, in points, '
    'above that of the LSTM that the SNN was converted from; "vs standard": '
    'above the standard LSTM of the row. Both, and "times less" (the energy of '
    'that standard LSTM over that of the model), are taken within a seed. '
    'Spike rate: mean |s| an element, step and unit, by layer. MAC and AC: of '
    'all matrix products. S: steps of a spiking encoder, whose mean output all '
    'T steps share. Energy: an inference, by ledger; 1 is the matrix '
    'products, 2 has all element-wise work. Cap: the most that one layer with '
    'direct encoding can reach in ledger 1, (D + H) / D.')


def table(models: list[Model]) -> Table:
  """Every model of a task, over its seeds."""
  ledgers = [*_LEDGERS]
  if any(model.over_seeds(_spent(*_OPTIONAL)) for model in models):
    ledgers.append(_OPTIONAL)
  header = ('row', 'model', 'test %', 'n', 'validation %', 'vs source',
            'vs standard', 'spike rate of h', 'MAC', 'AC',
            *(name for constants, number in ledgers
              for name in (f'{constants} {number}, nJ', 'times less')), 'cap')
  return Table('Ours',
               header,
               tuple(_cells(model, ledgers) for model in models),
               _NOTE,
               names=2)


def _cells(model: Model, ledgers: list[tuple[str, str]]) -> tuple[str, ...]:
  """A row of the table."""
  test = model.over_seeds(_test)
  count = test.num_seeds if test else 0
  ann, standard = model.entry.kind == 'ann', _is_standard(model)

  def cell(figure: rows_lib.Measure,
           form: Form,
           std: Form | None = None) -> str:
    return shown(model.over_seeds(figure), count, form, std)

  def energies(constants: str, number: str) -> tuple[str, str]:
    less = cell(_times_less(constants, number), tables.ratio)
    return (cell(_spent(constants, number),
                 tables.nanojoule), NONE if standard else less)

  return (
      model.row,
      model.label,
      cell(_test, tables.percent, tables.percent),
      str(count),
      cell(_validation, tables.percent, tables.percent),
      NONE if ann else cell(_vs_source, tables.points, tables.percent),
      NONE if standard else cell(_vs_standard, tables.points, tables.percent),
      tables.rates(_spike_rates(model)),
      cell(_products('mac'), tables.count),
      cell(_products('ac'), tables.count),
      *(text for ledger in ledgers for text in energies(*ledger)),
      NONE if ann else _cap(model),
  )


def shown(found: Spread | None,
          count: int,
          form: Form,
          std: Form | None = None) -> str:
  """A cell.

  Args:
    found: the figure; None if it is missing.
    count: seeds that the reader takes it to be over.
    form: how the mean looks.
    std: how the deviation looks; None to leave it out.

  Returns:
    Text, such as '92.26 ± 0.31', or '92.26 (n = 1)' if the count is another.
  """
  if found is None:
    return MISSING
  text = form(found.mean)
  if std and found.std is not None:
    text += f' ± {std(found.std)}'
  return text if found.num_seeds == count else f'{text} (n = {found.num_seeds})'


def _is_standard(model: Model) -> bool:
  """Whether the row's models are compared with this one."""
  return all(
      results.standard == entry if entry.model else entry.family == 'standard'
      for results, entry in model.runs)


def _test(results: Results, entry: Entry) -> float | None:
  del results
  return summary.of_test(entry, 'test_accuracy')


def _validation(results: Results, entry: Entry) -> float | None:
  del results
  return summary.validation_accuracy(entry)


def _vs_source(results: Results, entry: Entry) -> float | None:
  return summary.apart(entry, results.origin(entry))


def _vs_standard(results: Results, entry: Entry) -> float | None:
  return summary.apart(entry, results.standard)


def _products(kind: str) -> rows_lib.Measure:
  return lambda results, entry: summary.products(entry, kind)


def _spent(constants: str, number: str) -> rows_lib.Measure:
  return lambda results, entry: summary.spent(entry, constants, number)


def _times_less(constants: str, number: str) -> rows_lib.Measure:
  return lambda results, entry: summary.times_less(results, entry, constants,
                                                   number)


def _spike_rates(model: Model) -> list[float | None] | None:
  """Spike rate of h by layer, mean over seeds."""
  found = [summary.spike_rates(entry) for _, entry in model.runs]
  layers = zip(*(rates for rates in found if rates is not None))
  means = [rows_lib.spread(layer) for layer in layers]
  return [mean and mean.mean for mean in means] or None


def _cap(model: Model) -> str:
  """(D + H) / D, of one layer with direct encoding."""
  found = [(summary.of_test(entry, 'sizes'), summary.of_test(entry, 'counts'))
           for _, entry in model.runs]
  sizes, counts = next((pair for pair in found if all(pair)), (None, None))
  if sizes is None or counts is None:
    return MISSING
  if len(sizes['hidden']) > 1 or not counts['layers'][0]['input']['mac']:
    return NONE
  return tables.ratio(
      energy.direct_encoding_cap(sizes['features'], sizes['hidden'][0]))
