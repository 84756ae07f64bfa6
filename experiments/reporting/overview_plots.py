"""Plots of a task over all its rows: accuracy against energy, and against T.

Colours tell rows apart, markers how a model came to be. Each function returns
the figure, or None where there is nothing to draw.
"""

import itertools
from typing import Any, NamedTuple, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from experiments import reference
from experiments.reporting import plots
from experiments.reporting import summary
from experiments.reporting.rows import Model

_LEDGER = ('int32', '1')
_COLOURS = (plots.BLUE, plots.VERMILION, plots.GREEN, plots.PURPLE,
            plots.ORANGE, plots.SKY)
_NAMES = {'ann': 'LSTM', 'converted': 'converted', 'tuned': 'fine-tuned'}
_MARKERS = {'ann': 'D', 'converted': 's', 'tuned': 'o'}
_LINES = {'converted': '--', 'tuned': '-'}
_VARIANTS = ('^', 'v', 'P', 'X', '<', '>')  # markers against T
_PUBLISHED = ('*', 'p', 'h', 'd')
_FRONT: dict[str, Any] = {'color': plots.GREY, 'linewidth': 5, 'alpha': 0.35}
# Where a label may stand, in points from its point; the first is tried first.
_PLACES = tuple(
    (dx, dy) for dy in (0, 7, -7, 14, -14, 21, -21, 28, -28) for dx in (7, -7))

Colours = dict[str, str]


class Point(NamedTuple):
  """A model in a plot.

  Attributes:
    model: of a row.
    accuracy: on test data, percent, mean over seeds.
    deviation: of it; 0 for one seed.
    energy: nJ per inference, mean over seeds.
  """
  model: Model
  accuracy: float
  deviation: float
  energy: float

  @property
  def kind(self) -> str:
    """'ann', 'converted' or 'tuned'."""
    return self.model.entry.kind


def points(models: Sequence[Model]) -> list[Point]:
  """The models that were evaluated."""
  found = []
  for model in models:
    test = model.over_seeds(
        lambda _, entry: summary.of_test(entry, 'test_accuracy'))
    spent = model.over_seeds(lambda _, entry: summary.spent(entry, *_LEDGER))
    if test and spent:
      found.append(
          Point(model, 100 * test.mean, 100 * (test.std or 0.0),
                1e-3 * spent.mean))
  return found


def pareto(candidates: Sequence[Point]) -> list[Point]:
  """The points than which no other is more accurate for as little energy.

  Returns:
    By rising energy, and so by rising accuracy.
  """
  front: list[Point] = []
  for point in sorted(candidates, key=lambda p: (p.energy, -p.accuracy)):
    if not front or point.accuracy > front[-1].accuracy:
      front.append(point)
  return front


def energy(models: Sequence[Model]) -> Figure | None:
  """Accuracy against energy, and the Pareto front of the SNNs."""
  found = points(models)
  front = pareto([p for p in found if p.kind != 'ann'])
  if not front:
    return None
  figure = plots.new_figure(8.0, 5.6)
  axes = figure.subplots()
  axes.set_xscale('log')
  axes.plot([p.energy for p in front], [p.accuracy for p in front],
            drawstyle='steps-post',
            marker='o',
            markersize=16,
            zorder=1,
            **_FRONT)
  colours = _colours(models)
  for point in found:
    axes.errorbar(point.energy,
                  point.accuracy,
                  point.deviation or None,
                  elinewidth=0.8,
                  **_style(point, colours[point.model.row]))
  first = {p.kind: p for p in reversed(found)}
  _finish(figure, axes, [
      *(_handle(row, color=colour, linewidth=4)
        for row, colour in colours.items()),
      *(_handle(
          _NAMES[kind], linestyle='none', **_style(first[kind], plots.BLACK))
        for kind in _NAMES
        if kind in first),
      _handle('Pareto front of the SNNs', **_FRONT),
  ])
  constants, number = _LEDGER
  axes.set_xlabel(f'energy per inference (nJ), ledger {number}, {constants}')
  axes.margins(0.3, 0.08)
  _label(figure, axes, found, colours)
  return figure


def accuracy(
    models: Sequence[Model], published: Sequence[reference.Figure] = ()
) -> Figure | None:
  """Accuracy against T; LSTMs as lines, published SNNs as points."""
  found = points(models)
  lstms = [p for p in found if p.kind == 'ann']
  series: dict[tuple[str, str, str], list[Point]] = {}
  for point in found:
    entry = point.model.entry
    if entry.kind != 'ann':
      key = (point.model.row, entry.kind, entry.variant)
      series.setdefault(key, []).append(point)
  if not series:
    return None
  figure = plots.new_figure(8.0, 6.2)
  axes = figure.subplots()
  colours = _colours(models)
  variants = dict.fromkeys(variant for _, _, variant in series if variant)
  markers = dict(zip(variants, itertools.cycle(_VARIANTS)))
  handles = [_draw_level(axes, p, colours[p.model.row]) for p in lstms]
  handles += [
      _draw_series(axes, line, colours[row], markers.get(variant))
      for (row, _, variant), line in series.items()
  ]
  comparable = [f for f in published if f.accuracy and f.num_steps]
  handles += [
      _draw_published(axes, figure, marker)
      for figure, marker in zip(comparable, itertools.cycle(_PUBLISHED))
  ]
  steps = {p.model.entry.num_steps for line in series.values() for p in line}
  steps |= {figure.num_steps for figure in comparable}
  ticks = sorted(t for t in steps if t)
  axes.set_xscale('log', base=2)
  axes.set_xticks(ticks, [str(t) for t in ticks])
  axes.minorticks_off()
  axes.set_xlabel('time steps an element, T')
  _finish(figure, axes, handles)
  return figure


def _label(figure: Figure, axes: Any, shown: Sequence[Point],
           colours: Colours) -> None:
  """Writes T and the variant beside each point, where there is room for it."""
  figure.draw_without_rendering()  # so that places are known
  marks = [
      Bbox.from_bounds(x - 4, y - 4, 8, 8)
      for x, y in axes.transData.transform([(p.energy, p.accuracy)
                                            for p in shown])
  ]
  for point in shown:
    text = axes.annotate(_short(point.model), (point.energy, point.accuracy),
                         textcoords='offset points',
                         xytext=_PLACES[0],
                         color=colours[point.model.row],
                         verticalalignment='center',
                         fontsize=7)
    text.set_in_layout(False)
    for place in _PLACES:
      text.set_position(place)
      text.set_horizontalalignment('left' if place[0] > 0 else 'right')
      if not any(text.get_window_extent().overlaps(mark) for mark in marks):
        break
    marks.append(text.get_window_extent())


def _draw_level(axes: Any, point: Point, colour: str) -> Line2D:
  """An LSTM, which has no T; returns what the legend shows."""
  standard = point.model.entry.family == 'standard'
  style: dict[str, Any] = {
      'color': colour,
      'linestyle': ':' if standard else '-.',
      'linewidth': 1.2
  }
  axes.axhline(point.accuracy, **style)
  return _handle(f'{point.model.row}, {point.model.label}', **style)


def _draw_series(axes: Any, line: list[Point], colour: str,
                 marker: str | None) -> Line2D:
  """SNNs that differ in T alone; returns what the legend shows."""
  model = line[0].model
  style = _style(line[0], colour)
  style |= {'linestyle': _LINES[line[0].kind]}
  style |= {'marker': marker} if marker else {}
  axes.errorbar([p.model.entry.num_steps for p in line],
                [p.accuracy for p in line], [p.deviation for p in line],
                **style)
  name = (model.row, _NAMES[line[0].kind], model.entry.variant)
  return _handle(', '.join(filter(None, name)), **style)


def _draw_published(axes: Any, shown: reference.Figure, marker: str) -> Line2D:
  """A figure measured by others; returns what the legend shows."""
  style = {'color': plots.BLACK, 'marker': marker, 'linestyle': 'none'}
  axes.plot(shown.num_steps, shown.accuracy, markersize=9, **style)
  return _handle(f'published: {shown.system}', markersize=9, **style)


def _colours(models: Sequence[Model]) -> Colours:
  """A colour for each row."""
  rows = dict.fromkeys(model.row for model in models)
  return dict(zip(rows, itertools.cycle(_COLOURS)))


def _style(point: Point, colour: str) -> dict[str, Any]:
  return {
      'color': colour,
      'marker': _MARKERS[point.kind],
      'markerfacecolor': colour if point.kind == 'tuned' else 'white',
  }


def _short(model: Model) -> str:
  """What a label at a point says: T and what else is special."""
  entry = model.entry
  name = entry.family if entry.kind == 'ann' else f'T={entry.num_steps}'
  return ', '.join(filter(None, (name, entry.variant)))


def _handle(label: str, **style: Any) -> Line2D:
  return Line2D([], [], label=label, **style)


def _finish(figure: Figure, axes: Any, handles: list[Line2D]) -> None:
  axes.set_ylabel('test accuracy (%)')
  axes.grid(axis='y', alpha=0.3)
  plots.tidy(axes)
  figure.legend(handles=handles,
                loc='outside lower center',
                ncols=2,
                fontsize=8,
                frameon=False)
