r"""Accuracy against energy over budgets of spikes, of sigma-delta neurons.

python -m experiments.pareto --config=experiments/configs/har.py \
  --source=runs/har_sigma_delta/seed0/standard --rates=0.02,0.04,0.08,0.16 \
  --workdir=runs/har_pareto

For each budget, `slstm.pick` chooses theta and level within it, and training
keeps to it. All figures are of validation data; test data are not read. The
work directory gets pareto.md and pareto.png. Budgets that are finished are not
trained again.
"""

import pathlib
from typing import Any

from absl import flags
import pandas as pd

from experiments import config as config_lib
from experiments import main
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base
from experiments.reporting import plots
from experiments.reporting import tables
from slstm import checkpoint

Path = pathlib.Path

_RATES = flags.DEFINE_list(
    'rates', ['0.02', '0.03', '0.05', '0.08', '0.12', '0.2'],
    'Spikes per unit of h and element that are allowed, > 0, by rising energy.')


def rates(words: list[str]) -> list[float]:
  """Numbers in ascending order; ValueError names the flag."""
  try:
    found = sorted(set(map(float, words)))
  except ValueError as error:
    raise ValueError(f'--rates={",".join(words)}: expected numbers.') from error
  if not found or not 0 < found[0] <= found[-1] < float('inf'):
    raise ValueError(f'--rates={",".join(words)}: expected rates > 0.')
  return found


def run(experiment: Experiment, dataset: base.DataSet, workdir: Path) -> None:
  """Converts and trains for every budget; prints and writes the table."""
  budgets, source = rates(_RATES.value), main.source()
  lstm = stages.load(source, dataset, spiking=False).model
  variants = [
      config_lib.sigma_delta(
          config_lib.replace(experiment, conversion={'rate': rate}), 1)
      for rate in budgets
  ]
  rows = []
  for rate, variant in zip(budgets, variants):
    converted, tuned = (
        workdir / f'{name}_{rate:g}' for name in ('converted', 'tuned'))
    stages.convert(variant, dataset, source, converted)
    stages.train_snn(variant, dataset, converted, tuned, source)
    rows += [{'budget': rate, 'model': name, **_measured(folder, dataset)}
             for name, folder in (('converted', converted), ('tuned', tuned))
            ]  # yapf: disable
  table = pd.DataFrame(rows)
  whole = {'model': 'LSTM', **_measured(source, dataset)}
  del whole['spikes of h']
  table.loc[len(table)] = whole
  table['times less'] = whole['energy, nJ'] / table['energy, nJ']
  _write(table, dataset, lstm, experiment.seed, workdir)


def _measured(folder: Path, dataset: base.DataSet) -> dict[str, Any]:
  metrics = runs.read_json(folder / 'metrics.json')
  model = checkpoint.load_model(folder / 'model')
  found = stages.measure(model, dataset.validation)
  sent = [layer['spikes_per_element'] for layer in found['counts']['layers']]
  return {
      'value': metrics[f'validation_{dataset.task.metric_name}'],
      'spikes of h': ' / '.join(f'{s:.3f}' for s in sent if s is not None),
      'energy, nJ': found['energy']['int8']['3']['total'] / 1000
  }


def _write(table: pd.DataFrame, dataset: base.DataSet, lstm: Any, seed: int,
           workdir: Path) -> None:
  metric = dataset.task.metric_name
  size = ' and '.join(str(layer.num_units) for layer in lstm.layers)
  shown = table.assign(
      budget=table['budget'].map('{:g}'.format).replace('nan', '-'),
      value=table['value'].map('{:.4f}'.format),
      **{'spikes of h': table['spikes of h'].fillna('-'),
         'energy, nJ': table['energy, nJ'].map('{:,.1f}'.format),
         'times less': table['times less'].map('{:.2f}'.format)}
  ).rename(columns={'value': f'validation {metric}'})  # yapf: disable
  text = (f'# Budgets of spikes: {size} units\n\n{tables.markdown(shown)}\n\n'
          f'Seed {seed}; {len(dataset.validation.y):,} validation sequences. '
          'Energy per inference: ledger 3 at int8, with memory. Budget and '
          'spikes: per unit of h and element.\n')
  print(text)
  runs.replace(workdir / 'pareto.md', text.encode())
  plots.save(plots.budgets(table, metric), workdir / 'pareto.png')


if __name__ == '__main__':
  main.main(run, reads_source=True)
