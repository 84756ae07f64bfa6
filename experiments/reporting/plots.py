"""The plots of a report; None where there is nothing to draw."""

import io
import itertools
import math
import pathlib
import textwrap
from typing import Any

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from matplotlib.ticker import NullFormatter
import numpy as np
import pandas as pd

from experiments import runs
from experiments import traces
from experiments.reporting import classes
from experiments.reporting import intervals
from experiments.reporting import load
from experiments.reporting import tables
from experiments.reporting import verdict
from slstm import types

_COLOURS = '#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9'.split()
_BLUE, _VERMILION = _COLOURS[:2]
_MARKERS = {'ann': 'D', 'converted': 's', 'tuned': 'o'}
_FRONT = dict(drawstyle='steps-post', zorder=1, color='grey', linewidth=5,
              alpha=0.35,
              label='Pareto front of the SNNs')  # yapf: disable

_LEDGERS = {'1': 'ledger 1: matrix products',
            '2': 'ledger 2: + element-wise work',
            '3': 'ledger 3: + memory'}  # yapf: disable
_BARS = ('Bars and bands: standard deviation over seeds; '
         'of one seed, 95 % interval over test examples')
_CALM = 6  # a panel is so many error bars high, at least


def save(figure: Figure, path: pathlib.Path) -> None:
  """Writes a figure as PNG."""
  figure.savefig(drawn := io.BytesIO(), format='png', dpi=150)
  runs.replace(path, drawn.getvalue())


def _panels(width: float, height: float, *shape: int, **layout: Any) -> Any:
  """A figure in inches that makes room for its labels, and its panels."""
  figure = Figure(figsize=(width, height), layout='constrained')
  panels = figure.subplots(*shape, **layout)
  for axes in np.ravel(panels):
    axes.spines[['top', 'right']].set_visible(False)
  return figure, panels


def _finish(figure: Figure,
            axes: Any,
            ncols: int = 2,
            note: str | None = None) -> Figure:
  """Adds the legend of some panel, and a note as its title."""
  figure.legend(*axes.get_legend_handles_labels(), loc='outside lower center',
                ncols=ncols, fontsize=8, frameon=False, title=note,
                title_fontsize=8)  # yapf: disable
  return figure


def _metric(metric: load.Metric, of: str) -> str:
  return f'{of} {metric.name}' + (' (%)' if metric.unit else '')


def _ylabel(axes: Any, metric: load.Metric, of: str) -> None:
  axes.set_ylabel(_metric(metric, of))
  axes.grid(axis='y', alpha=0.3)


def points(found: tables.Figures, ledger: str = 'int32 1') -> pd.DataFrame:
  """The models that were evaluated, with colour and energy in nJ.

  'low' and 'high' are how far an error bar goes: a standard deviation over
  seeds; of one seed, the 95 % interval of an accuracy over test examples.
  """
  rows = list(dict.fromkeys(row for row, _ in found.models))
  scale, shown = 100 if found.metric.unit else 1, []
  for (row, label), m in found.models.items():
    stats = found.over_seeds[row, label]
    if stats['test', 'count']:
      value = stats['test', 'mean']
      low = high = np.nan_to_num(stats['test', 'std'])
      if found.metric.unit and stats['test', 'count'] == 1 and m.test:
        ends = intervals.wilson(value, m.test.get('counts', 'sequences'))
        low, high = value - ends[0], ends[1] - value
      shown.append({
          'row': row, 'label': label, 'kind': m.kind, 'steps': m.num_steps,
          'colour': _COLOURS[rows.index(row) % len(_COLOURS)],
          'variant': m.variant, 'sigma_delta': m.is_sigma_delta,
          'text': str(m.num_steps or m.usual_name[0].upper()),
          'value': scale * value, 'low': scale * low, 'high': scale * high,
          'energy': stats.get((f'energy {ledger}', 'mean'), math.nan)
      })  # yapf: disable
  return pd.DataFrame(shown, columns=None if shown else ['kind'])


def _named(*parts: str) -> str:
  return ', '.join(filter(None, parts))


def pareto(candidates: pd.DataFrame, higher_is_better: bool) -> pd.DataFrame:
  """The points that none beats for as little energy, by rising energy."""
  sign = 1 if higher_is_better else -1
  ranked = candidates.assign(score=sign * candidates['value']).sort_values(
      ['energy', 'score'], ascending=[True, False])  # yapf: disable
  return ranked[~(ranked['score'] <= ranked['score'].cummax().shift())]


def _style(kind: str,
           colour: str,
           line: str = 'none',
           sigma_delta: bool = False) -> dict[str, Any]:
  face = colour if kind == 'tuned' else 'white'
  marker = 'p' if sigma_delta else _MARKERS[kind]
  return {'color': colour, 'marker': marker, 'linestyle': line,
          'markerfacecolor': face}  # yapf: disable


def _calm(axes: Any, shown: pd.DataFrame, metric: load.Metric) -> None:
  """Limits of y that hold every error bar, and dwarf it."""
  low = (shown['value'] - shown['low']).min()
  high = (shown['value'] + shown['high']).max()
  span = max(high - low, _CALM * (shown['low'] + shown['high']).median())
  middle = (high + low) / 2
  if span > 0:
    least, most = (-1, 101) if metric.unit else (-np.inf, np.inf)
    axes.set_ylim(max(middle - 0.55 * span, least),
                  min(middle + 0.55 * span, most))  # yapf: disable


def _grid(shown: pd.DataFrame, width: float, xlabel: str, ylabel: str) -> Any:
  """A figure, and a panel for each row, all with the same axes."""
  rows = list(shown['row'].unique())
  columns = min(2, len(rows))
  lines = -(-len(rows) // columns)
  figure, panels = _panels(max(7.5, width * columns), 2.9 * lines + 1.2, lines,
                           columns, squeeze=False, sharex=True, sharey=True
                          )  # yapf: disable
  for axes in panels.flat[len(rows):]:
    axes.set_visible(False)
  for axes in panels.flat[max(0, len(rows) - columns):len(rows)]:
    axes.tick_params(labelbottom=True)
    axes.set_xlabel(xlabel)
  for axes in panels[:, 0]:
    axes.set_ylabel(ylabel)
  return figure, dict(zip(rows, panels.flat))


def against_energy(found: tables.Figures, ledger: str) -> Figure | None:
  """The metric against energy, a panel for each row over all the others."""
  shown = points(found, ledger)
  shown = shown[shown['energy'].notna()] if len(shown) else shown
  snns = shown[shown['kind'] != 'ann']
  if snns.empty:
    return None
  constants, number = ledger.split()
  label = f'energy per inference (nJ)\n{constants}, {_LEDGERS[number]}'
  drawn = shown[shown['row'].isin(snns['row'])]
  figure, panels = _grid(drawn, 4.6, label, _metric(found.metric, 'test'))
  front = pareto(snns, found.metric.higher_is_better)
  for row, axes in panels.items():
    axes.plot(front['energy'], front['value'], **_FRONT)
    others = shown[shown['row'] != row]
    axes.plot(others['energy'], others['value'], 'o', color='#c8c8c8',
              markersize=3, zorder=1.5, label='other rows')  # yapf: disable
    for at in shown[shown['row'] == row].itertuples():
      axes.errorbar(at.energy, at.value, [[at.low], [at.high]], elinewidth=0.8,
                    markersize=9.5, zorder=2,
                    **_style(at.kind, at.colour, sigma_delta=at.sigma_delta)
                   )  # yapf: disable
      inside = 'white' if at.kind == 'tuned' else at.colour
      axes.annotate(at.text, (at.energy, at.value), color=inside, ha='center',
                    va='center_baseline', fontsize=6, zorder=3
                   )  # yapf: disable
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter('{x:,.0f}')
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis='x', labelsize=6.5)
    axes.margins(0.08, 0.05)
    axes.set_title(row, fontsize=9)
    axes.grid(axis='y', alpha=0.3)
  _calm(axes, shown, found.metric)
  for kind, sigma_delta in snns.groupby(['kind', 'sigma_delta']).groups:
    name = load.NAMES[kind] + ', sigma-delta' * sigma_delta
    axes.plot([], [], label=f'{name}; its T',
              **_style(kind, 'black', sigma_delta=sigma_delta))  # yapf: disable
  axes.plot([], [], label='LSTM: Standard, Hard, Quantised',
            **_style('ann', 'black'))  # yapf: disable
  return _finish(figure, axes, 3, _BARS)


def against_steps(found: tables.Figures,
                  published: pd.DataFrame | None = None) -> Figure | None:
  """The metric against T, a panel for each row; LSTMs are lines."""
  shown = points(found)
  snns = shown[shown['kind'] != 'ann']
  if snns.empty:
    return None
  shown = shown[shown['row'].isin(snns['row'])]
  figure, panels = _grid(shown, 6.6, 'time steps per element, T',
                         _metric(found.metric, 'test'))  # yapf: disable
  stars = _published(found.metric, published)
  ticks = sorted({*snns['steps'].astype(int), *map(int, stars['steps'])})
  for row, axes in panels.items():
    own = shown[shown['row'] == row]
    _lines_of(axes, own)
    for star, mark in zip(stars.itertuples(), itertools.cycle('*phd')):
      axes.plot(star.steps, star.value, mark, color='black', markersize=8,
                label=f'published:\n{star.system}')  # yapf: disable
    axes.set_xscale('log', base=2)
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set_xlim(ticks[0] / 1.4, ticks[-1] * 1.4)
    axes.grid(axis='y', alpha=0.3)
    axes.set_title(row, fontsize=9)
    axes.legend(loc='upper left', bbox_to_anchor=(1.01, 1.03), fontsize=6.5,
                frameon=False)  # yapf: disable
  _calm(axes, shown, found.metric)
  figure.supxlabel(_BARS, fontsize=8)
  return figure


def _lines_of(axes: Any, own: pd.DataFrame) -> None:
  """LSTMs of a row as lines, and its SNNs by kind and variant."""
  lines = itertools.cycle(((0, (1, 1)), '-.', '--', '-'))
  for at in own[own['kind'] == 'ann'].itertuples():
    name = f'{_wrapped(at.label)} ({at.value:.4g})'
    axes.axhline(at.value, color='#606060', linewidth=1, linestyle=next(lines),
                 label=name)  # yapf: disable
    axes.axhspan(at.value - at.low, at.value + at.high, color='black',
                 alpha=0.06, linewidth=0)  # yapf: disable
  snns = own[own['kind'] != 'ann']
  groups = snns.groupby(['kind', 'sigma_delta', 'variant'], sort=False)
  colours = itertools.cycle(_COLOURS)
  for k, ((kind, sigma_delta, variant), group) in enumerate(groups):
    line = '-' if kind == 'tuned' else '--'
    style = _style(kind, next(colours), line, sigma_delta)
    # Beside one another, so that no bar hides another.
    beside = 2.0**(0.07 * (k - (len(groups) - 1) / 2))
    name = load.NAMES[kind] + ', sigma-delta' * sigma_delta
    axes.errorbar(group['steps'] * beside, group['value'],
                  group[['low', 'high']].to_numpy().T, markersize=5,
                  linewidth=1, **style, label=_wrapped(_named(name, variant))
                 )  # yapf: disable


def _wrapped(text: str) -> str:
  return textwrap.fill(text, 34, subsequent_indent='  ')


def _published(metric: load.Metric,
               published: pd.DataFrame | None) -> pd.DataFrame:
  """(system, steps, value) of the published SNNs whose T is known."""
  if published is None:
    return pd.DataFrame(columns=['system', 'steps', 'value'])
  unit = f'{metric.unit} test {metric.name}'.strip()
  return published[published['unit'] == unit].assign(
      steps=published['system'].str.extract(r'\bT = (\d+)')[0].astype(float),
      value=pd.to_numeric(published['value'], errors='coerce')).dropna()


def spent(run: load.Run) -> Figure | None:
  """Energy of every model: a row of panels for each table, one per ledger."""
  energies = tables.of_run(run).set_index('label').filter(regex='^energy ')
  energies = energies.dropna(how='all')
  if energies.empty:
    return None
  names = [name.split()[1:] for name in energies]
  tables_, ledgers = (list(dict.fromkeys(k)) for k in zip(*names))
  figure, panels = _panels(11.5, 0.9 + len(tables_) * (0.9 + 0.22 *
                                                       len(energies)),
                           len(tables_), len(ledgers), squeeze=False,
                           sharey=True)  # yapf: disable
  for (constants, number), name in zip(names, energies):
    axes = panels[tables_.index(constants), ledgers.index(number)]
    values, first = energies[name], energies[name].get(_first(run), math.nan)
    bars = axes.barh(energies.index, values, color=_BLUE, height=0.7)
    texts = [f' {v:,.0f}' + f' ({first / v:.1f} x less)' *
             bool(first / v >= 1.05) for v in values]  # yapf: disable
    axes.bar_label(bars, texts, fontsize=7)
    axes.set_xlim(0, 1.55 * (values.max() or 1))
    axes.set_title(f'{constants}, {_LEDGERS[number]}', fontsize=8.5)
    axes.locator_params(axis='x', nbins=3)
    axes.xaxis.set_major_formatter('{x:,.0f}')
    axes.tick_params(labelsize=8)
  panels[0, 0].invert_yaxis()
  figure.supxlabel('energy per inference (nJ); in brackets: less than the '
                   'standard LSTM', fontsize=9)  # yapf: disable
  return figure


def _first(run: load.Run) -> str | None:
  return next((m.label for m in run.models if m.name == run.standard), None)


def training(run: load.Run) -> Figure | None:
  """Loss and validation metric by epoch of every training."""
  curves = {m.label: pd.DataFrame(runs.read_json(path)) for m in run.models
            if (path := m.made.folder / 'history.json').is_file()
           }  # yapf: disable
  if not curves:
    return None
  figure, panels = _panels(9.0, 3.8, 1, 2)
  colours = itertools.cycle(('black', 'grey', *_COLOURS))
  lines = itertools.cycle(['-'] * 8 + ['--'] * 8)
  for (label, epochs), colour in zip(curves.items(), colours):
    values = epochs[f'validation_{run.metric.name}']
    values, line = 100 * values if run.metric.unit else values, next(lines)
    for axes, y in zip(panels, (epochs['loss'], values)):
      axes.plot(epochs['epoch'], y, color=colour, marker='.', label=label,
                linestyle=line)  # yapf: disable
      axes.set(xlabel='epoch', ylabel='training loss')
      axes.locator_params(axis='x', integer=True)
  _ylabel(panels[1], run.metric, 'validation')
  return _finish(figure, panels[0])


def _stored(run: load.Run, name: str) -> list[tuple[load.Model, Any]]:
  """The arrays that finished stages stored under that name."""
  return [(m, runs.read_npz(stage.folder / name))
          for m in run.models for stage in (m.made, m.test)
          if stage and stage.metrics and (stage.folder / name).is_file()
         ]  # yapf: disable


def staircases(run: load.Run) -> Figure | None:
  """Staircases over drive histograms, of each converted model and site."""
  pairs = [(m.label, site, found)
           for m, found in _stored(run, 'staircases.npz')
           for site in sorted({k.rpartition('.')[0] for k in found})
          ]  # yapf: disable
  if not pairs:
    return None
  columns = min(4, len(pairs))
  lines = -(-len(pairs) // columns)
  figure, panels = _panels(3.2 * columns, 2.6 * lines + 1.8, lines, columns,
                           squeeze=False)  # yapf: disable
  for axes in panels.flat[len(pairs):]:
    axes.set_visible(False)
  for axes, (label, site, found) in zip(panels.flat, pairs):
    d, density, source, uniform, chosen, units = (found[f'{site}.{name}'] for
        name in ('centres', 'density', 'source', 'uniform', 'chosen', 'units')
    )  # yapf: disable
    axes.fill_between(d, density / (density.max() or 1), color='#d0d0d0',
                      label='density of the drive')  # yapf: disable
    axes.plot(d, source, 'k', label='source activation')
    axes.plot(d, uniform, 'k:', label='IF, uniform rule')
    for curve, unit, q, colour in zip(chosen, units, traces.QUANTILES,
                                      _COLOURS):
      which = 'neuron' if unit < 0 else f'unit at {100 * q:.0f} % of onsets'
      axes.plot(d, curve, color=colour, label=f'converted {which}')
    signed = site[-1] in types.SIGNED_SITES
    axes.set(xlim=(-2.0 if signed else -0.75, 2.0), ylabel=f'{site} output',
             xlabel='drive d (normalised)')  # yapf: disable
    axes.set_title(_wrapped(label), fontsize=8)
  return _finish(figure, panels[0][0], 2)


def raster(run: load.Run) -> Figure | None:
  """Input channels and spikes of one window; of the last model that has any."""
  found = _stored(run, 'raster.npz')
  if not found:
    return None
  m, trace = found[-1]
  keys = ['input', *(key for key in trace if key[-2:-1] == '.')]
  figure, panels = _panels(10.0, 1.9 + 1.5 * len(keys), len(keys), sharex=True)
  spikes = ListedColormap([_VERMILION, '#ffffff', _BLUE])
  for axes, key in zip(panels, keys):
    values = trace[key].reshape(-1, trace[key].shape[-1])  # [N T, H]
    limit, colours = (3, 'cividis') if key == 'input' else (1, spikes)
    extent = (0, len(trace['input']), values.shape[1] - 0.5, -0.5)
    image = axes.imshow(values.T, cmap=colours, vmin=-limit, vmax=limit,
                        extent=extent, aspect='auto', interpolation='nearest'
                       )  # yapf: disable
    axes.set_ylabel('input feature' if key == 'input' else f'{key}, unit')
    if key == 'input':
      figure.colorbar(image, ax=axes, pad=0.01, extend='both',
                      label='standard deviations')  # yapf: disable
    else:
      figure.colorbar(image,
                      ax=axes,
                      pad=0.01,
                      ticks=(-0.67, 0, 0.67),
                      label='spike').ax.set_yticklabels(('-1', '0', '+1'))
  axes.locator_params(axis='x', integer=True)
  axes.set_xlabel(f'sequence element n (each of T = {m.num_steps} steps)')
  panels[0].set_title(f'{m.label}, one window of the test set' +
                      _answer(run, trace), fontsize=10)  # yapf: disable
  return figure


def _answer(run: load.Run, trace: dict[str, np.ndarray]) -> str:
  """': walking, taken for sitting'; nothing where classes are not known."""
  if run.data is None or 'balance' not in run.data or 'truth' not in trace:
    return ''
  names = classes.named(run.data['classes'])
  true, said = names[int(trace['truth'])], names[int(trace['outputs'].argmax())]
  return f'\n{true}, {"recognised" if true == said else f"taken for {said}"}'


def confusion(run: load.Run) -> Figure | None:
  """Shares of the test examples of each class, as the SNN classifies them."""
  both = verdict.pair(run)
  count = classes.confusion(run, both.snn) if both else None
  if both is None or count is None or run.data is None:
    return None
  names, whole = classes.named(run.data['classes']), count.sum(1, keepdims=True)
  share = np.divide(100 * count, whole, where=whole > 0,
                    out=np.full(count.shape, np.nan))  # yapf: disable
  size = 2.6 + 0.5 * len(names)
  figure, axes = _panels(size + 1.2, size)
  image = axes.imshow(share, cmap='Blues', vmin=0, vmax=100)
  if len(names) <= 20:
    for (true, said), value in np.ndenumerate(count):
      axes.annotate(f'{value}' if value else '', (said, true), ha='center',
                    va='center', fontsize=7,
                    color='white' if share[true, said] > 60 else 'black'
                   )  # yapf: disable
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
  axes.tick_params(labelsize=8)
  axes.set(xlabel='predicted class', ylabel='true class')
  axes.set_title(f'{both.snn.label}: test examples', fontsize=9)
  figure.colorbar(image, ax=axes, shrink=0.8, label='% of the true class')
  return figure


def instructions(parts: pd.DataFrame) -> Figure:
  """Bars of instructions per element, by model (rows) and part (columns)."""
  figure, axes = _panels(7, 1.2 + 0.35 * len(parts))
  left = np.zeros(len(parts))
  for colour, (name, values) in zip(itertools.cycle(_COLOURS), parts.items()):
    axes.barh(parts.index, values, left=left, color=colour, label=name)
    left += values.to_numpy()
  axes.invert_yaxis()
  axes.set_xlabel('instructions per element')
  return _finish(figure, axes, ncols=3)


def budgets(table: pd.DataFrame, metric: str) -> Figure:
  """The metric of budgets of spikes against energy, beside the LSTM's."""
  figure, axes = _panels(7, 4.6)
  for (model, group), kind in zip(table.groupby('model', sort=False),
                                  ('converted', 'tuned', 'ann')):
    style = _style(kind, _COLOURS[('converted', 'tuned', 'ann').index(kind)],
                   'none' if kind == 'ann' else '-')  # yapf: disable
    axes.plot(group['energy, nJ'], group['value'], label=model, **style)
    if kind == 'tuned':
      for at in group.itertuples():
        axes.annotate(f'{at.budget:g}', (at[5], at.value), xytext=(0, 7),
                      textcoords='offset points', ha='center',
                      fontsize=8)  # yapf: disable
  axes.set(xscale='log', xlabel='energy per inference (nJ), int8, with memory',
           ylabel=f'validation {metric}')  # yapf: disable
  axes.margins(0.1, 0.12)
  axes.grid(axis='y', alpha=0.3)
  return _finish(figure, axes, ncols=3)
