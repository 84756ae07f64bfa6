"""The plots of a report; None where there is nothing to draw."""

import io
import itertools
import math
import pathlib
from typing import Any

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from experiments import runs
from experiments import traces
from experiments.reporting import load
from experiments.reporting import tables
from slstm import types

_COLOURS = '#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9'.split()
_BLUE, _VERMILION = _COLOURS[:2]
_MARKERS = {'ann': 'D', 'converted': 's', 'tuned': 'o'}
_FRONT = dict(drawstyle='steps-post', zorder=1, marker='o', markersize=16,
              color='grey', linewidth=5, alpha=0.35,
              label='Pareto front of the SNNs')  # yapf: disable


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


def _finish(figure: Figure, axes: Any, ncols: int = 2) -> Figure:
  """Adds the legend of some panel."""
  figure.legend(*axes.get_legend_handles_labels(), loc='outside lower center',
                ncols=ncols, fontsize=8, frameon=False)  # yapf: disable
  return figure


def _ylabel(axes: Any, metric: load.Metric, of: str = 'test') -> None:
  axes.set_ylabel(f'{of} {metric.name}' + (' (%)' if metric.unit else ''))
  axes.grid(axis='y', alpha=0.3)


def points(found: tables.Figures, ledger: str = 'int32 1') -> pd.DataFrame:
  """The models that were evaluated, with colour and energy in nJ."""
  rows = list(dict.fromkeys(row for row, _ in found.models))
  scale, shown = 100 if found.metric.unit else 1, []
  for (row, label), m in found.models.items():
    stats = found.over_seeds[row, label]
    short = m.usual_name if m.kind == 'ann' else f'T={m.num_steps}'
    short += ' ΣΔ' if m.is_sigma_delta else ''
    if stats['test', 'count']:
      shown.append({
          'row': row, 'label': label, 'kind': m.kind, 'steps': m.num_steps,
          'colour': _COLOURS[rows.index(row) % len(_COLOURS)],
          'variant': m.variant, 'text': short,
          'value': scale * stats['test', 'mean'],
          'std': scale * np.nan_to_num(stats['test', 'std']),
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


def _style(kind: str, colour: str, line: str = 'none') -> dict[str, Any]:
  face = colour if kind == 'tuned' else 'white'
  return {'color': colour, 'marker': _MARKERS[kind], 'linestyle': line,
          'markerfacecolor': face}  # yapf: disable


def against_energy(found: tables.Figures, ledger: str) -> Figure | None:
  """The metric against energy, and the Pareto front of the SNNs."""
  shown = points(found, ledger)
  shown = shown[shown['energy'].notna()] if len(shown) else shown
  snns = shown[shown['kind'] != 'ann']
  if snns.empty:
    return None
  figure, axes = _panels(8.0, 5.6)
  front = pareto(snns, found.metric.higher_is_better)
  axes.plot(front['energy'], front['value'], **_FRONT)
  for at in shown.itertuples():
    axes.errorbar(at.energy, at.value, at.std or None, elinewidth=0.8,
                  **_style(at.kind, at.colour))  # yapf: disable
    # Right of its point; fine-tuned SNNs, which crowd at the top, left of it.
    x, side = (-7, 'right') if at.kind == 'tuned' else (7, 'left')
    axes.annotate(at.text, (at.energy, at.value), xytext=(x, 0), ha=side,
                  textcoords='offset points', color=at.colour, va='center',
                  fontsize=7, in_layout=False)  # yapf: disable
  for kind in shown['kind'].unique():
    axes.plot([], [], label=load.NAMES[kind], **_style(kind, 'black'))
  for row, colour in dict(zip(shown['row'], shown['colour'])).items():
    axes.plot([], [], color=colour, linewidth=4, label=row)
  axes.set(xscale='log', xlabel=f'energy per inference (nJ), ledger {ledger}')
  axes.margins(0.3, 0.08)
  _ylabel(axes, found.metric)
  return _finish(figure, axes)


def against_steps(found: tables.Figures,
                  published: pd.DataFrame | None = None) -> Figure | None:
  """The metric against T; LSTMs as lines, published SNNs as points."""
  shown = points(found)
  snns = shown[shown['kind'] != 'ann']
  if snns.empty:
    return None
  figure, axes = _panels(8.0, 6.2)
  lines, marks = map(itertools.cycle, ((':', '-.', '--', '-'), '^vPX'))
  for at in shown[shown['kind'] == 'ann'].itertuples():
    name = f'{_named(at.row, at.label)} ({at.value:.4g})'
    axes.axhline(at.value, color=at.colour, linestyle=next(lines), label=name)
  markers = {v: next(marks) for v in snns['variant'].unique() if v}
  for (row, kind, variant, colour), group in snns.groupby(
      ['row', 'kind', 'variant', 'colour'], sort=False):  # yapf: disable
    style = _style(kind, colour, '-' if kind == 'tuned' else '--')
    style['marker'] = markers.get(variant, style['marker'])
    axes.errorbar(group['steps'], group['value'], group['std'], **style,
                  label=_named(row, load.NAMES[kind], variant))  # yapf: disable
  ticks = set(snns['steps'].astype(int))
  if published is not None:
    unit = f'{found.metric.unit} test {found.metric.name}'.strip()
    stars = published[published['unit'] == unit].assign(
        steps=published['system'].str.extract(r'\bT = (\d+)')[0].astype(float),
        value=pd.to_numeric(published['value'], errors='coerce'))
    for star, mark in zip(stars.dropna().itertuples(), itertools.cycle('*phd')):
      axes.plot(star.steps, star.value, mark, color='black', markersize=9,
                label=f'published: {star.system}')  # yapf: disable
      ticks.add(int(star.steps))
  axes.set_xscale('log', base=2)
  axes.set_xticks(sorted(ticks), map(str, sorted(ticks)))
  axes.minorticks_off()
  axes.set_xlabel('time steps per element, T')
  _ylabel(axes, found.metric)
  return _finish(figure, axes)


def spent(run: load.Run) -> Figure | None:
  """Energy per inference of every model, for each ledger."""
  energies = tables.of_run(run).set_index('label').filter(regex='^energy ')
  energies = energies.dropna(how='all')
  if energies.empty:
    return None
  figure, panels = _panels(11.0, 1.5 + 0.3 * len(energies), 1,
                           energies.shape[1], sharey=True)  # yapf: disable
  for axes, ledger in zip(panels, energies):
    axes.barh(energies.index, energies[ledger], color=_BLUE, height=0.7)
    axes.set(title=ledger, xlabel='energy per inference (nJ)')
    axes.locator_params(axis='x', nbins=4)
  panels[0].invert_yaxis()
  return figure


def training(run: load.Run) -> Figure | None:
  """Loss and validation metric by epoch of every training."""
  curves = {m.label: pd.DataFrame(runs.read_json(path)) for m in run.models
            if (path := m.made.folder / 'history.json').is_file()
           }  # yapf: disable
  if not curves:
    return None
  figure, panels = _panels(9.0, 3.8, 1, 2)
  colours = itertools.cycle(('black', 'grey', *_COLOURS))
  for (label, epochs), colour in zip(curves.items(), colours):
    values = epochs[f'validation_{run.metric.name}']
    values = 100 * values if run.metric.unit else values
    for axes, y in zip(panels, (epochs['loss'], values)):
      axes.plot(epochs['epoch'], y, color=colour, marker='.', label=label)
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
  figure, panels = _panels(3.0 * len(pairs), 4.4, 1, len(pairs), squeeze=False)
  for axes, (label, site, found) in zip(panels[0], pairs):
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
    axes.set_title(label, fontsize=9)
  return _finish(figure, panels[0][0], 1)


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
    axes.imshow(values.T, cmap=colours, vmin=-limit, vmax=limit, extent=extent,
                aspect='auto', interpolation='nearest')  # yapf: disable
    axes.set_ylabel(key)
  for name, colour in (('spike +1', _BLUE), ('spike -1', _VERMILION)):
    axes.plot([], [], 's', color=colour, label=name)
  axes.locator_params(axis='x', integer=True)
  axes.set_xlabel(f'sequence element n (each of T = {m.num_steps} steps)')
  panels[0].set_title(f'{m.label}, one window of the test set', fontsize=10)
  return _finish(figure, axes)


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
