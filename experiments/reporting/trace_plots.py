"""Plots of a report from the arrays that stages stored, see `traces`."""

from typing import Any, Iterable, Mapping

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments import files
from experiments.reporting import traces
from experiments.reporting.plots import BLACK
from experiments.reporting.plots import BLUE
from experiments.reporting.plots import GREEN
from experiments.reporting.plots import GREY
from experiments.reporting.plots import new_figure
from experiments.reporting.plots import ORANGE
from experiments.reporting.plots import PURPLE
from experiments.reporting.plots import SKY
from experiments.reporting.plots import tidy
from experiments.reporting.plots import VERMILION
from experiments.reporting.results import Entry
from experiments.reporting.results import Results
from experiments.reporting.results import Stage
from slstm import types

_MOST_LINES = 12  # channels drawn as lines; more become an image
_ARRAYS = ('centres', 'density', 'source', 'uniform', 'chosen', 'units')
_SPIKES = ListedColormap([VERMILION, '#ffffff', BLUE])

Traces = Mapping[str, np.ndarray]


def load(stage: Stage | None, name: str) -> Traces | None:
  """The arrays that a finished stage stored, or None if it stored none.

  Raises:
    ValueError: if the file is corrupt; names it.
  """
  if stage is None or stage.metrics is None:
    return None
  path = stage.folder / name
  if not path.is_file():
    return None
  return files.read_npz(path)


def _stored(stages: Iterable[tuple[Entry, Stage | None]],
            name: str) -> list[tuple[Entry, Traces]]:
  """The arrays of that file name, of those stages that stored some."""
  found = [(entry, load(stage, name)) for entry, stage in stages]
  return [(entry, trace) for entry, trace in found if trace]


def staircases(results: Results) -> Figure | None:
  """Staircases over drive histograms: a row for each site, a column a T."""
  columns = _stored(
      ((e, e.model) for e in results.entries if e.kind == 'converted'),
      'staircases.npz')
  sites = sorted(
      {key.rpartition('.')[0] for _, found in columns for key in found},
      key=lambda site: (site[:-1], types.SITES.index(site[-1])))
  if not sites:
    return None
  figure = new_figure(2.0 + 2.6 * len(columns), 1.0 + 2.3 * len(sites))
  panels = figure.subplots(len(sites), len(columns), squeeze=False)
  for row, site in zip(panels, sites):
    for axes, (entry, found) in zip(row, columns):
      trace = {
          name: found[f'{site}.{name}']
          for name in _ARRAYS
          if f'{site}.{name}' in found
      }
      if trace:
        _staircase(axes, trace, site[-1] in types.SIGNED_SITES)
      else:
        axes.set_axis_off()
    row[0].set_ylabel(f'{_name(site)}\noutput')
  for axes, (entry, _) in zip(panels[0], columns):
    axes.set_title(f'T = {entry.num_steps}', fontsize=10)
  for axes in panels[-1]:
    axes.set_xlabel('drive d (normalised)')
  handles = {
      label: handle for axes in panels.flat
      for handle, label in zip(*axes.get_legend_handles_labels())
  }
  figure.legend(handles.values(),
                handles.keys(),
                loc='outside lower center',
                ncols=3,
                frameon=False,
                fontsize=9)
  return figure


def _name(site: str) -> str:
  return f'site {site[-1]}, layer {site[len("layers["):site.index("]")]}'


def _staircase(axes: Any, trace: Traces, signed: bool) -> None:
  d = trace['centres']
  low, high = (-2.0, 2.0) if signed else (-0.75, 1.75)
  shown = (d >= low) & (d <= high)
  behind = axes.twinx()
  behind.fill_between(d[shown],
                      trace['density'][shown],
                      color='#d0d0d0',
                      linewidth=0)
  # A few bins, as of gates at rest, may rise out of the panel.
  density = trace['density'][shown]
  behind.set_ylim(0, 1.15 * (np.quantile(density, 0.99) or density.max() or 1))
  behind.set_axis_off()
  axes.set_zorder(behind.get_zorder() + 1)
  axes.patch.set_visible(False)
  axes.plot(d[shown],
            trace['source'][shown],
            color=BLACK,
            linewidth=1.2,
            label='source activation')
  axes.plot(d[shown],
            trace['uniform'][shown],
            color=GREY,
            linewidth=1.2,
            linestyle=':',
            label='IF, uniform rule')
  if trace['units'][0] < 0:
    names: tuple[str, ...] = ('converted neuron',)
  else:
    names = tuple(f'converted, unit at {100 * q:.0f} % of onsets'
                  for q in traces.QUANTILES)
  styles = ((BLUE, 2.6), (ORANGE, 1.8), (GREEN, 1.0))
  for curve, name, (colour, width) in zip(trace['chosen'], names, styles):
    axes.plot(d[shown], curve[shown], color=colour, linewidth=width, label=name)
  axes.plot([], [], color='#d0d0d0', linewidth=6, label='density of the drive')
  axes.set_xlim(low, high)
  tidy(axes)


def raster(results: Results) -> Figure | None:
  """Input channels and spikes of one window.

  Of the fine-tuned SNN that does best on validation data, or else of the
  converted one; among equals the one with the least T.
  """
  found = _stored(((e, e.test) for e in results.entries), 'raster.npz')
  found = [(entry, trace) for entry, trace in found if _sites(trace)]
  if not found:
    return None
  entry, trace = max(found, key=_rank)
  sites = _sites(trace)
  heights = [2.2] + [1.5] * len(sites)
  figure = new_figure(10.0, 1.2 + sum(heights))
  panels = figure.subplots(len(heights),
                           1,
                           sharex=True,
                           gridspec_kw={'height_ratios': heights})
  _input(panels[0], trace['input'])
  for axes, site in zip(panels[1:], sites):
    spikes = trace[site]
    length, steps, hidden = spikes.shape
    axes.imshow(spikes.reshape(length * steps, hidden).T,
                cmap=_SPIKES,
                vmin=-1,
                vmax=1,
                aspect='auto',
                interpolation='nearest',
                extent=(0, length, hidden - 0.5, -0.5))
    axes.set_ylabel(f'{_name(site)}\nunit')
  panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
  panels[-1].set_xlabel(f'sequence element n (each with T = {entry.num_steps} '
                        'time steps)')
  panels[0].set_title(
      f'{entry.label}, one window of the test set, recognised as class '
      f'{int(np.argmax(trace["logits"]))}',
      fontsize=10)
  figure.legend(handles=[
      Patch(color=BLUE, label='spike +1'),
      Patch(color=VERMILION, label='spike -1')
  ],
                loc='outside lower center',
                ncols=2,
                frameon=False)
  return figure


def _rank(found: tuple[Entry, Traces]) -> tuple:
  entry, _ = found
  score = entry.model.get('validation_accuracy') if entry.model else None
  return entry.kind == 'tuned', score or 0.0, -(entry.num_steps or 0)


def _sites(trace: Traces) -> list[str]:
  return [key for key in trace if key.rpartition('.')[2] in types.SITES]


def _input(axes: Any, x: np.ndarray) -> None:
  """Standardised channels [N, D]: lines one above the other, or an image."""
  length, features = x.shape
  axes.set_ylabel('input channel\n(standardised)')
  if features > _MOST_LINES:
    axes.imshow(x.T,
                cmap='cividis',
                aspect='auto',
                vmin=-3,
                vmax=3,
                interpolation='nearest',
                extent=(0, length, features - 0.5, -0.5))
    return
  spread = 1.1 * max(np.ptp(x, axis=0).max(), 1e-9)
  middle = (x.max(0) + x.min(0)) / 2
  colours = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
  for channel in range(features):
    axes.plot(np.arange(length) + 0.5,
              channel - (x[:, channel] - middle[channel]) / spread,
              color=colours[channel % len(colours)],
              linewidth=1)
  axes.set_yticks(range(features))
  axes.set_ylim(features - 0.4, -0.6)
  tidy(axes)
