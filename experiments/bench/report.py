"""Tables and plots of a benchmark, from the rows that `measure` made."""

import itertools
from typing import Any, Sequence

import matplotlib
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from experiments.bench import measure
from experiments.bench.measure import Key
from experiments.bench.measure import Row
from experiments.bench.measure import Shape
from experiments.reporting import tables


def plot_name(shape: Shape) -> str:
  """File name of the plot of a shape."""
  sizes = (f'{name}{size}' for name, size in zip('NDBHL', shape))
  return '_'.join(sizes) + '.png'


def report(metrics: dict[str, Any]) -> str:
  """All tables and plots of a benchmark in Markdown."""
  on = metrics['environment']
  variables = [f'{name}={value}' for name, value in on['variables'].items()]
  command = ' \\\n  '.join([*variables, on['command']])
  parts = [
      f'# Benchmark: {metrics["benchmark"]}',
      f'Medians, in turns, compiled before, on {on["device_kind"]} '
      f'({on["usable_cpus"]} CPUs, {on["platform"]}, JAX {on["jax_version"]}, '
      f'{on["torch_threads"]} PyTorch threads), commit {on["commit"]}.',
      f'```sh\n{command}\n```'
  ]
  parts += [f'{k}: skipped ({v})' for k, v in metrics['skipped'].items()]
  shape_of = lambda row: Shape(*(row[name] for name in Shape._fields))
  for shape, group in itertools.groupby(metrics['rows'], shape_of):
    parts += [of_shape(shape, list(group)), f'![{shape}]({plot_name(shape)})']
  return '\n\n'.join(parts) + '\n'


def of_shape(shape: Shape, rows: Sequence[Row]) -> str:
  """Both tables of a shape: time against T, and against the baselines."""
  frame = _frame(rows)
  curves = _curves(frame)
  spiking = frame[frame.name.isin(measure.SPIKING.values())]
  by_steps = spiking.groupby(['name', 'steps'], sort=False)
  best = by_steps.median_ms.min().unstack().rename('{} at its best'.format)
  curves = pd.concat([curves, best])
  against = curves.map(_ms).add_prefix('T = ').add_suffix(', ms')
  for t in curves.columns[1:] if 1 in curves.columns else ():
    ratio = curves[t] / curves[1]
    against[f'T = {t} / T = 1'] = ratio.map(_number('{:.2f}'))
  against.insert(0, '', against.index)
  over = pd.DataFrame({
      '': frame.key,
      'T': frame.steps.replace(0, '-').astype(str),
      'median, ms': frame.median_ms.map(_ms)
  })
  over['quartiles, ms'] = [
      f'{_ms(row["lower_quartile_ms"])}-{_ms(row["upper_quartile_ms"])}'
      for row in rows
  ]
  ratios = pd.DataFrame(list(frame.ratio)).map(_number('{:.2f}'))
  for name in frame.name.unique():
    if name in ratios:
      over[f'/ {name}'] = ratios[name]
  over['memory, MB'] = (1e-6 * frame.peak_bytes).map(_number('{:.1f}'))
  shares = ', '.join(f'{rate:.3f} in {name} at T = {t}'
                     for (name, t), rate in by_steps.spike_rate.first().items())
  note = (f'{frame.rounds[0]} rounds. LSTM (at its fastest, as a baseline) and '
          'SNNs are those of this library, floor is the matrix products alone '
          '(of T = 1 for a shared state). Share of h that is not zero: '
          f'{shares}. Memory: arguments, results and temporaries, on each '
          'device.')
  return '\n\n'.join([
      f'### {shape}: time against T',
      tables.markdown(against), f'### {shape}: time over that of the baselines',
      note,
      tables.markdown(over, names=2)
  ])


def figure(shape: Shape, rows: Sequence[Row]) -> Figure:
  """Time against T, and a level for everything that has no T."""
  frame = _frame(rows)
  curves = _curves(frame)
  others = frame[frame.steps == 0].groupby('name', sort=False).median_ms.min()
  made = Figure(figsize=(9.0, 4.6), layout='constrained')
  axes = made.subplots()
  axes.set_prop_cycle(color=matplotlib.color_sequences['petroff10'])
  axes.plot(curves.columns, curves.T, 'o-', label=list(curves.index))
  levels = np.outer(np.ones(len(curves.columns)), others)
  axes.plot(curves.columns, levels, ':', label=list(others.index))
  axes.set(title=shape, xlabel='time steps per element, T', ylabel='time (ms)')
  axes.set(xscale='log', yscale='log')
  axes.minorticks_off()
  axes.set_xticks(curves.columns, curves.columns.astype(str))
  made.legend(loc='outside right center')
  return made


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
  """The rows, with the text of their key; T is 0 where there is none."""
  frame = pd.DataFrame(rows)
  frame['key'] = [str(Key(row['name'], row['executor'])) for row in rows]
  frame['steps'] = frame.steps.fillna(0).astype(int)
  frame['peak_bytes'] = frame.peak_bytes.astype(float)
  return frame


def _curves(frame: pd.DataFrame) -> pd.DataFrame:
  """Medians of everything that depends on T, one column per T."""
  frame = frame[frame.steps > 0]
  curves = frame.pivot(index='key', columns='steps', values='median_ms')
  return curves.reindex(frame.key.unique())


def _ms(milliseconds: float) -> str:
  """Three digits or more."""
  return _number('{:.3g}' if milliseconds < 100 else '{:.0f}')(milliseconds)


def _number(form: str) -> Any:
  return lambda value: '-' if pd.isna(value) else form.format(value)
