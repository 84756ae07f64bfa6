"""Tables of text, to print and to write as Markdown; and how numbers look."""

from typing import NamedTuple, Sequence

import rich.table

MISSING = 'missing'  # the stage that knows has not run
NONE = '-'  # there is no such figure


class Table(NamedTuple):
  """A table; every cell is text.

  Attributes:
    title: of the table.
    header: of each column.
    rows: one cell for each column; the first ones name the row.
    note: what to know when reading it, a paragraph.
    numeric: whether all columns but those names hold numbers.
    names: how many columns name the row.
  """
  title: str
  header: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  note: str = ''
  numeric: bool = True
  names: int = 1


def markdown(table: Table) -> str:
  """The table in GitHub's Markdown, with its title as a heading."""
  rows = [[_escape(cell) for cell in row] for row in (table.header, *table.rows)
         ]
  widths = [max(3, *map(len, column)) for column in zip(*rows)]
  right = [
      index >= table.names and table.numeric for index in range(len(widths))
  ]
  rule = [
      '-' * (width - 1) + ':' if r else ':' + '-' * (width - 1)
      for width, r in zip(widths, right)
  ]
  rows.insert(1, rule)
  lines = []
  for row in rows:
    cells = [
        c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right)
    ]
    lines.append(f'| {" | ".join(cells)} |')
  note = [table.note, ''] if table.note else []
  return '\n'.join([f'### {table.title}', '', *note, *lines])


def _escape(cell: str) -> str:
  return cell.replace('|', '\\|').replace('\n', ' ')


def rich_table(table: Table) -> rich.table.Table:
  """The table for a terminal."""
  made = rich.table.Table(title=table.title, title_justify='left')
  for index, name in enumerate(table.header):
    made.add_column(
        name,
        justify='right' if index >= table.names and table.numeric else 'left',
        no_wrap=index < table.names)
  for row in table.rows:
    made.add_row(*row)
  return made


def _shown(form: str, value: float | None, scale: float = 1.0) -> str:
  return MISSING if value is None else form.format(scale * value)


def percent(fraction: float | None) -> str:
  """0.9325 -> 93.25."""
  return _shown('{:.2f}', fraction, 100.0)


def points(difference: float | None) -> str:
  """A difference of fractions in points, -0.0012 -> -0.12."""
  return _shown('{:+.2f}', difference, 100.0)


def count(operations: float | None) -> str:
  """1234567.8 -> 1,234,568."""
  return _shown('{:,.0f}', operations)


def nanojoule(picojoule: float | None) -> str:
  """1234567.8 pJ -> 1,234.6 nJ."""
  return _shown('{:,.1f}', picojoule, 1e-3)


def ratio(value: float | None) -> str:
  """3.14159 -> 3.14."""
  return _shown('{:.2f}', value)


def rate(value: float | None) -> str:
  """0.24159 -> 0.242."""
  return _shown('{:.3f}', value)


def rates(values: Sequence[float | None] | None) -> str:
  """By layer, [0.24159, None] -> 0.242 / -."""
  if values is None:
    return MISSING
  return ' / '.join(NONE if v is None else rate(v) for v in values)


def small(value: float | None) -> str:
  """0.00012345 -> 1.23e-04."""
  return _shown('{:.2e}', value)
