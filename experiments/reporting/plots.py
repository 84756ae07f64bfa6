"""Plots of a report: accuracy against T, energy by ledger, training curves.

Each function draws what the stages have written and returns the figure, or
None where there is nothing to draw. Colours are those of Okabe and Ito, which
colour-blind readers can tell apart.
"""

import io
import pathlib
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments import files
from experiments.reporting import results as results_lib
from experiments.reporting import summary
from experiments.reporting.results import Entry
from experiments.reporting.results import Results

BLACK, ORANGE, SKY, GREEN = '#000000', '#e69f00', '#56b4e9', '#009e73'
BLUE, VERMILION, PURPLE, GREY = '#0072b2', '#d55e00', '#cc79a7', '#777777'

_COLOURS = {'converted': ORANGE, 'tuned': BLUE}
_MARKERS = {'converted': 's', 'tuned': 'o'}
_PARTS = (
    ('input', 'input product W x', ORANGE),
    ('recurrent', 'recurrent product U h', BLUE),
    ('readout', 'read-out', GREEN),
    ('elementwise', 'element-wise', PURPLE),
)


def new_figure(width: float, height: float) -> Figure:
  """A figure of that size in inches, which makes room for its labels."""
  return Figure(figsize=(width, height), layout='constrained')


def tidy(axes: Any) -> None:
  """Removes the frame that shows nothing."""
  axes.spines[['top', 'right']].set_visible(False)


def save(figure: Figure, path: pathlib.Path) -> None:
  """Writes a figure as PNG."""
  drawn = io.BytesIO()
  figure.savefig(drawn, format='png', dpi=150)
  files.replace(path, drawn.getvalue())


def accuracy(results: Results) -> Figure | None:
  """Test accuracy against T, with lines for the LSTMs."""
  tested = [(e, summary.of_test(e, 'test_accuracy')) for e in results.entries]
  tested = [(e, 100 * value) for e, value in tested if value is not None]
  if not any(e.num_steps for e, _ in tested):
    return None
  figure = new_figure(6.4, 4.6)
  axes = figure.subplots()
  lstms = [(e, value) for e, value in tested if e.kind == 'ann']
  for (entry, value), style in zip(lstms, ('--', '-', ':', '-.')):
    axes.axhline(value,
                 color=BLACK if entry.family == 'standard' else GREY,
                 linestyle=style,
                 linewidth=1.5,
                 label=f'{entry.label} ({value:.2f} %)')
  names = {'converted': 'converted, not trained', 'tuned': 'fine-tuned'}
  for kind, name in names.items():
    points = [(e.num_steps, value) for e, value in tested if e.kind == kind]
    if points:
      axes.plot(*zip(*points),
                color=_COLOURS[kind],
                marker=_MARKERS[kind],
                label=name)
  steps = sorted({e.num_steps for e, _ in tested if e.num_steps})
  axes.set_xscale('log', base=2)
  axes.set_xticks(steps, [str(t) for t in steps])
  axes.minorticks_off()
  axes.set_xlabel('time steps an element, T')
  axes.set_ylabel('test accuracy (%)')
  axes.grid(axis='y', alpha=0.3)
  figure.legend(loc='outside lower center', ncols=2, frameon=False)
  tidy(axes)
  return figure


def energy(results: Results) -> Figure | None:
  """Energy per inference by part, for each ledger and set of constants."""
  tested = [e for e in results.entries if summary.of_test(e, 'energy')]
  if not tested:
    return None
  figure = new_figure(11.0, 2.1 + 0.3 * len(tested))
  panels = figure.subplots(1, len(summary.LEDGERS), sharey=True)
  for axes, (constants, number) in zip(panels, summary.LEDGERS):
    _energy_panel(axes, tested, results.standard, constants, number)
  panels[0].set_yticks(range(len(tested)), [e.label for e in tested])
  panels[0].invert_yaxis()
  figure.suptitle(
      'Number at a bar: energy of the standard LSTM over that of '
      'the model',
      fontsize=9)
  handles, labels = panels[0].get_legend_handles_labels()
  figure.legend(handles,
                labels,
                loc='outside lower center',
                ncols=len(_PARTS),
                frameon=False)
  return figure


def _energy_panel(axes: Any, tested: list[Entry], standard: Entry | None,
                  constants: str, number: str) -> None:
  rows = np.arange(len(tested))
  left = np.zeros(len(tested))
  for part, name, colour in _PARTS:
    spent = np.asarray([
        1e-3 * np.sum(summary.of_test(e, 'energy', constants, number, part))
        for e in tested
    ])
    axes.barh(rows, spent, left=left, color=colour, label=name, height=0.7)
    left += spent
  base = summary.of_test(standard, 'energy', constants, number, 'total')
  for row, (entry, end) in enumerate(zip(tested, left)):
    if base and entry is not standard and end:
      axes.annotate(f'{1e-3 * base / end:.1f}×', (end, row), (3, 0),
                    textcoords='offset points',
                    va='center',
                    fontsize=7.5)
  axes.set_xlim(0, 1.2 * left.max())
  axes.set_title(f'ledger {number}, {constants}', fontsize=10)
  axes.set_xlabel('energy per inference (nJ)')
  axes.xaxis.set_major_locator(MaxNLocator(4))
  axes.tick_params(axis='x', labelsize=8)
  tidy(axes)


def training(results: Results) -> Figure | None:
  """Loss and validation accuracy by epoch of every training."""
  curves = [
      (e, results_lib.history(e.model)) for e in results.entries if e.model
  ]
  curves = [(entry, epochs) for entry, epochs in curves if epochs]
  if not curves:
    return None
  figure = new_figure(9.0, 3.8)
  panels = figure.subplots(1, 2, gridspec_kw={'wspace': 0.06})
  tuned = iter((ORANGE, BLUE, GREEN, VERMILION, PURPLE, SKY))
  lstms = iter((BLACK, GREY))
  for entry, epochs in curves:
    colour = next(lstms if entry.kind == 'ann' else tuned, SKY)
    x = [epoch['epoch'] for epoch in epochs]
    for axes, name, scale in zip(panels, ('loss', 'validation_accuracy'),
                                 (1, 100)):
      axes.plot(x, [scale * epoch[name] for epoch in epochs],
                color=colour,
                marker='o',
                markersize=3,
                label=entry.label)
  for axes, name in zip(panels, ('training loss', 'validation accuracy (%)')):
    axes.set_xlabel('epoch')
    axes.set_ylabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis='y', alpha=0.3)
    tidy(axes)
  panels[0].legend(frameon=False)
  return figure
