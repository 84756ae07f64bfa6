r"""What each part of the method is worth: one change at a time.

  python -m experiments.ablate --preset=har --source=runs/har/hard \
    --work_dir=runs/har_ablation

Every variant converts the same source LSTM (or trains one of its own, where the
change is to the source), fine-tunes the SNN and evaluates it on validation and
test data. `ablation.md` in the work directory has them side by side. Variants
that are finished are not run again.
"""

import dataclasses
import pathlib
from typing import Any, Mapping, NamedTuple

from absl import flags
import rich

from experiments import config as config_lib
from experiments import data as data_lib
from experiments import files
from experiments import main
from experiments import stages
from experiments import workdir
from experiments.config import Experiment
from experiments.reporting import tables

ALL_SITES = ('i', 'f', 'g', 'o', 'c')


class Variant(NamedTuple):
  """One change to the preset.

  Attributes:
    text: what it changes, for the table.
    changes: fields of Experiment.
  """
  text: str
  changes: Mapping[str, Any]


VARIANTS = {
    'base':
        Variant('the preset: LIF on {o, c}, joint training', {}),
    'if':
        Variant('IF, optimal (uniform) shift', {
            'neuron': 'if',
            'shift': 'uniform'
        }),
    'if_no_shift':
        Variant('IF, no shift of o', {
            'neuron': 'if',
            'shift': 'none'
        }),
    'weights_only':
        Variant('weights alone are trained', {'neuron_rate': 0.0}),
    'layer':
        Variant('one neuron a layer and site', {'granularity': 'layer'}),
    'step':
        Variant('each time step has a state of its own', {'coupling': 'step'}),
    'shared':
        Variant('all T steps start from one state', {'coupling': 'shared'}),
    'rate':
        Variant('coupling by rates', {'coupling': 'rate'}),
    'h':
        Variant('one neuron on o phi(c)', {'sites': ('h',)}),
    'all_sites':
        Variant('all five sites', {'sites': ALL_SITES}),
    'fast_sigmoid':
        Variant('surrogate fast sigmoid', {'surrogate': 'fast_sigmoid'}),
    'arctan':
        Variant('surrogate arctan', {'surrogate': 'arctan'}),
    'boxcar':
        Variant('surrogate boxcar', {'surrogate': 'boxcar'}),
    'narrow':
        Variant('surrogate half as wide', {'width': 0.5}),
    'wide':
        Variant('surrogate twice as wide', {'width': 2.0}),
    'distilled':
        Variant('half of the targets from the source', {'distillation': 0.5}),
    'undistilled':
        Variant('targets from the labels alone', {'distillation': 0.0}),
    'penalty':
        Variant('rate penalty 0.3', {'rate_penalty': 0.3}),
    'quantised':
        Variant('quantised source, Q = T', {
            'family': 'quantised',
            'short_epochs': 0
        }),
    'hard':
        Variant('hard source', {
            'family': 'hard',
            'short_epochs': 0
        }),
    'standard':
        Variant('standard source (sigmoid, tanh)', {'family': 'standard'}),
}

flags.DEFINE_list('variants', list(VARIANTS), 'Which to run.')


def run(experiment: Experiment, dataset: data_lib.DataSet,
        work_dir: pathlib.Path) -> None:
  """Runs the variants and writes their table."""
  names = config_lib.entries('variants', str)
  unknown = set(names) - set(VARIANTS)
  if unknown:
    raise ValueError(f'--variants: no {", ".join(sorted(unknown))}; there are '
                     f'{", ".join(VARIANTS)}.')
  rows = []
  for name in names:
    text, changes = VARIANTS[name]
    variant = dataclasses.replace(experiment, **changes)
    if variant == experiment and name != 'base':
      continue  # The preset has that already.
    # Q = T, for a quantised source; the other families do not read it.
    variant = dataclasses.replace(variant, levels=variant.num_steps)
    rows.append((text, *_row(variant, experiment, dataset, work_dir, name)))
  table = tables.Table(
      f'Ablation at T = {experiment.num_steps}',
      ('variant', 'converted, validation %', 'fine-tuned, validation %',
       'converted, test %', 'fine-tuned, test %', 'spike rate of h',
       'ledger 1 int32, nJ'), tuple(rows),
      'One seed. Each variant differs from the preset in what it says. Spike '
      'rate and energy are of the fine-tuned SNN.')
  rich.print(tables.rich_table(table))
  files.replace(work_dir / 'ablation.md',
                (tables.markdown(table) + '\n').encode())


def _row(variant: Experiment, experiment: Experiment, dataset: data_lib.DataSet,
         work_dir: pathlib.Path, name: str) -> tuple[str, ...]:
  """Runs one variant; returns its cells."""
  source = main.source()
  if variant.family != experiment.family:
    source = work_dir / f'{name}_source'
    stages.train_ann(variant, dataset, source)
  stages.convert(variant, dataset, source, work_dir / f'{name}_converted')
  stages.train_snn(variant, dataset, work_dir / f'{name}_converted',
                   work_dir / f'{name}_tuned', source)
  models, results = [], []
  for stage in ('converted', 'tuned'):
    folder = work_dir / f'{name}_{stage}'
    tested = work_dir / f'{name}_{stage}_test'
    stages.evaluate(variant, dataset, folder, tested)
    models.append(_metrics(folder))
    results.append(_metrics(tested))
  tuned = results[-1]
  return (*(tables.percent(model['validation_accuracy']) for model in models),
          *(tables.percent(result['test_accuracy']) for result in results),
          tables.rates([
              layer['spike_rate']['h'] for layer in tuned['counts']['layers']
          ]), tables.nanojoule(tuned['energy']['int32']['1']['total']))


def _metrics(folder: pathlib.Path) -> dict[str, Any]:
  return workdir.read_json(folder / 'metrics.json')


if __name__ == '__main__':
  main.source_flag()
  main.main(run)
