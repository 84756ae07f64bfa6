"""Tables and plots of a benchmark, from the rows that `bench.measure` made."""

import itertools
from typing import Any, Sequence

from matplotlib.figure import Figure

from experiments.benchmarks import bench
from experiments.benchmarks.bench import Key
from experiments.benchmarks.bench import Row
from experiments.benchmarks.bench import Shape
from experiments.reporting import plots
from experiments.reporting import tables

_BEST = 'at its best'  # executor for that T
_EXECUTORS = (plots.ORANGE, plots.BLUE, plots.GREEN, plots.SKY, plots.GREY)
_PEERS = (plots.VERMILION, plots.PURPLE, plots.SKY, plots.GREEN, plots.GREY,
          plots.ORANGE)


def plot_name(shape: Shape) -> str:
  """File name of the plot of a shape."""
  sizes = (f'{name}{size}' for name, size in zip('NDBHL', shape))
  return '_'.join(sizes) + '.png'


def report(metrics: dict[str, Any]) -> str:
  """All tables and plots of a benchmark in Markdown."""
  on = metrics['environment']
  head = (f'Medians, in turns, compiled before, on {on["device_kind"]} '
          f'({on["usable_cpus"]} CPUs, {on["platform"]}, JAX '
          f'{on["jax_version"]}, {on["torch_threads"]} PyTorch threads), '
          f'commit {on["commit"]}.')
  variables = [f'{name}={value}' for name, value in on['variables'].items()]
  command = ' \\\n  '.join([*variables, on['command']])
  parts = [
      f'# Benchmark: {metrics["benchmark"]}', head, f'```sh\n{command}\n```'
  ]
  parts += [f'{k}: skipped ({v})' for k, v in metrics['skipped'].items()]
  shape_of = lambda row: Shape(*(row[name] for name in Shape._fields))
  for shape, group in itertools.groupby(metrics['rows'], shape_of):
    parts += map(tables.markdown, of_shape(shape, list(group)))
    parts.append(f'![{shape}]({plot_name(shape)})')
  return '\n\n'.join(parts) + '\n'


def of_shape(shape: Shape, rows: Sequence[Row]) -> list[tables.Table]:
  """The tables of a shape."""
  return [_by_steps(shape, rows), _by_baseline(shape, rows)]


def _by_steps(shape: Shape, rows: Sequence[Row]) -> tables.Table:
  """Time against T, and how much of it an executor hides."""
  curves: dict[Key, dict[int, float]] = {}
  best: dict[Key, dict[int, float]] = {}
  for row in rows:
    if row['steps'] is None:
      continue
    t, median = row['steps'], row['median_ms']
    curves.setdefault(Key(row['name'], row['executor']), {})[t] = median
    if row['name'] in bench.SPIKING.values():
      at = best.setdefault(Key(row['name'], _BEST), {})
      at[t] = min(median, at.get(t, median))
  curves |= best
  steps = sorted({t for at in curves.values() for t in at})
  later = [t for t in steps if t > 1 and 1 in steps]
  return tables.Table(
      f'{shape}: time against T', ('', *(f'T = {t}, ms' for t in steps),
                                   *(f'T = {t} / T = 1' for t in later)),
      tuple((str(key), *(_ms(at[t])
                         for t in steps), *(tables.ratio(at[t] / at[1])
                                            for t in later))
            for key, at in curves.items()))


def _by_baseline(shape: Shape, rows: Sequence[Row]) -> tables.Table:
  """Each time, and over those of the baselines."""
  baselines = sorted({name for row in rows for name in row['ratio']},
                     key=[row['name'] for row in rows].index)
  rates = {
      (row['name'], row['steps']): tables.rate(row['spike_rate'])
      for row in rows
      if row['spike_rate'] is not None
  }
  shares = ', '.join(
      f'{rate} in {name} at T = {t}' for (name, t), rate in rates.items())
  return tables.Table(
      f'{shape}: time over that of the baselines',
      ('', 'T', 'median, ms', 'quartiles, ms',
       *(f'/ {name}' for name in baselines), 'memory, MB'),
      tuple((
          str(Key(row['name'], row['executor'])),
          _or_none('{}', row['steps']),
          _ms(row['median_ms']),
          f'{_ms(row["lower_quartile_ms"])}-{_ms(row["upper_quartile_ms"])}',
          *(_or_none('{:.2f}', row['ratio'].get(name)) for name in baselines),
          _or_none('{:.1f}', row['peak_bytes'], 1e-6),
      ) for row in rows),
      note=f'{rows[0]["rounds"]} rounds. LSTM (at its fastest, as a baseline) '
      'and SNNs are those of this library, floor is the matrix products alone '
      '(of T = 1 for a shared state). '
      f'Share of h that is not zero: {shares}. Memory: arguments, '
      'results and temporaries, on each device.',
      names=2)


def _ms(milliseconds: float) -> str:
  """Three digits or more."""
  return f'{milliseconds:.3g}' if milliseconds < 100 else f'{milliseconds:.0f}'


def _or_none(form: str, value: Any, scale: float = 1) -> str:
  return tables.NONE if value is None else form.format(scale * value)


def figure(shape: Shape, rows: Sequence[Row]) -> Figure:
  """Time against T beside the baselines, and the hiding factor."""
  made = plots.new_figure(9.0, 4.6)
  left, right = made.subplots(1, 2)
  colours = iter(_EXECUTORS)
  for key in dict.fromkeys(
      Key(row['name'], row['executor'])
      for row in rows
      if row['name'] in bench.SPIKING.values()):
    curve = [row for row in rows if (row['name'], row['executor']) == key[:2]]
    colour = next(colours, plots.GREY)
    _time_curve(left, curve, str(key), colour, 'o')
    if all(row['hiding'] for row in curve):
      right.plot([row['steps'] for row in curve],
                 [row['hiding'] for row in curve],
                 color=colour,
                 marker='o')
  floor = [row for row in rows if row['name'] == bench.FLOOR]
  _time_curve(left, floor, bench.FLOOR, plots.BLACK, '')
  lines: dict[str, float] = {}
  for row in rows:
    if row['steps'] is None:
      lines[row['name']] = min(row['median_ms'],
                               lines.get(row['name'], row['median_ms']))
  for (name, median), colour in zip(lines.items(),
                                    itertools.cycle((plots.BLACK, *_PEERS))):
    left.axhline(median, color=colour, linestyle=':', label=name)
  steps = sorted({row['steps'] for row in floor})
  if steps[0] == 1:
    right.plot(steps,
               steps,
               color=plots.GREY,
               linestyle='--',
               label='nothing hidden')
    right.legend(frameon=False)
  for axes, name in ((left, 'time (ms)'), (right, 'time over that of T = 1')):
    axes.set_xscale('log', base=2)
    axes.set_xticks(steps, [str(t) for t in steps])
    axes.minorticks_off()
    axes.set_xlabel('time steps an element, T')
    axes.set_ylabel(name)
    plots.tidy(axes)
  left.set_yscale('log')
  made.suptitle(str(shape))
  made.legend(*left.get_legend_handles_labels(),
              loc='outside lower center',
              ncols=4,
              frameon=False)
  return made


def _time_curve(axes: Any, curve: Sequence[Row], label: str, colour: str,
                marker: str) -> None:
  """Medians against T, with their quartiles as bars."""
  medians = [row['median_ms'] for row in curve]
  below = [row['median_ms'] - row['lower_quartile_ms'] for row in curve]
  above = [row['upper_quartile_ms'] - row['median_ms'] for row in curve]
  axes.errorbar([row['steps'] for row in curve],
                medians,
                yerr=(below, above),
                color=colour,
                marker=marker,
                linestyle='-' if marker else '--',
                label=label)
