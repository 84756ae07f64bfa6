r"""What each part of the method is worth: one change at a time.

python -m experiments.ablate --config=experiments/configs/har.py \
  --source=runs/har/hard --workdir=runs/har_ablation

Every variant converts the same source LSTM (or trains one of its own, where the
change is to the source) and fine-tunes the SNN. All figures are of validation
data; test data are not read. `ablation.md` in the work directory has them side
by side. Variants that are finished are not run again.
"""

import pathlib
from typing import Any

from absl import flags
import pandas as pd

from experiments import config as config_lib
from experiments import lock
from experiments import main
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base
from experiments.reporting import tables
from slstm import checkpoint

Path = pathlib.Path

# What each changes, for the table, and the options that it changes; family is
# that of the source, see `config.with_family`.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    'base': ('the config: joint training', {}),
    'if': ('IF, optimal (uniform) shift', {'conversion': {'neuron': 'if'}}),
    'if_no_shift': ('IF, no shift of o',
                    {'conversion': {'neuron': 'if_floor'}}),
    'weights_only': ('weights alone are trained',
                     {'snn': {'neuron_rate': 0.0}}),
    'layer': ('one neuron per layer and site',
              {'conversion': {'granularity': 'layer'}}),
    'step': ('each time step has a state of its own',
             {'conversion': {'coupling': 'step'}}),
    'shared': ('all T steps start from one state',
               {'conversion': {'coupling': 'shared'}}),
    'h': ('one neuron on o phi(c)', {'conversion': {'sites': ('h',)}}),
    'all_sites': ('all five sites',
                  {'conversion': {'sites': ('i', 'f', 'g', 'o', 'c')}}),
    'fast_sigmoid': ('surrogate fast sigmoid',
                     {'conversion': {'surrogate': 'fast_sigmoid'}}),
    'arctan': ('surrogate arctan', {'conversion': {'surrogate': 'arctan'}}),
    'boxcar': ('surrogate boxcar', {'conversion': {'surrogate': 'boxcar'}}),
    'narrow': ('surrogate half as wide', {'conversion': {'width': 0.5}}),
    'wide': ('surrogate twice as wide', {'conversion': {'width': 2.0}}),
    'distilled': ('half of the targets from the source',
                  {'snn': {'distillation': 0.5}}),
    'undistilled': ('targets from the labels alone',
                    {'snn': {'distillation': 0.0}}),
    'penalty': ('rate penalty 0.3', {'snn': {'rate_penalty': 0.3}}),
    'quantised': ('quantised source, Q = T', {'family': 'quantised'}),
    'hard': ('hard source', {'family': 'hard'}),
    'standard': ('standard source (sigmoid, tanh)', {'family': 'standard'}),
}  # yapf: disable

_CHOSEN = flags.DEFINE_list('variants', list(VARIANTS), 'Which to run.')


def run(experiment: Experiment, dataset: base.DataSet, workdir: Path) -> None:
  """Runs the variants and writes their table."""
  unknown = set(_CHOSEN.value) - set(VARIANTS)
  if unknown:
    raise ValueError(f'--variants: no {", ".join(sorted(unknown))}; there are '
                     f'{", ".join(VARIANTS)}.')
  chosen = []  # all of them before the first is run, which may take long
  for name in _CHOSEN.value:
    text, changes = VARIANTS[name]
    if 'family' in changes:
      variant = config_lib.with_family(experiment, changes['family'],
                                       experiment.conversion.num_steps)
    else:
      variant = config_lib.replace(experiment, **changes)
    if variant == experiment and name != 'base':
      continue  # The config has that already.
    chosen.append((name, text, variant))
  lock.hold(workdir)
  rows = [{
      'variant': text,
      **_row(variant, experiment, dataset, workdir, name)
  } for name, text, variant in chosen]
  shown = tables.markdown(pd.DataFrame(rows))
  text = (f'# Ablation at T = {experiment.conversion.num_steps}\n\n{shown}\n\n'
          'One seed. Each variant differs from the config in what it says. All '
          'figures are of validation data, spike rate and energy of the '
          'fine-tuned SNN.\n')
  print(text)
  runs.replace(workdir / 'ablation.md', text.encode())
  lock.release(workdir)


def _row(variant: Experiment, experiment: Experiment, dataset: base.DataSet,
         workdir: Path, name: str) -> dict[str, str]:
  """Runs one variant; returns its cells."""
  source = main.source()
  if variant.model != experiment.model:
    source = workdir / f'{name}_source'
    stages.train_ann(variant, dataset, source)
  converted, tuned = workdir / f'{name}_converted', workdir / f'{name}_tuned'
  stages.convert(variant, dataset, source, converted)
  stages.train_snn(variant, dataset, converted, tuned, source)
  metric = f'validation_{dataset.task.metric_name}'
  before, after = (runs.read_json(folder / 'metrics.json')[metric]
                   for folder in (converted, tuned))
  measured = stages.measure(checkpoint.load_model(tuned / 'model'),
                            dataset.validation)
  rates = (layer['spike_rate']['h'] for layer in measured['counts']['layers'])
  energy = measured['energy']['int32']['1']['total']
  return {
      f'converted, {metric}': f'{before:.4f}',
      f'fine-tuned, {metric}': f'{after:.4f}',
      'spike rate of h': ' / '.join(
          '-' if rate is None else f'{rate:.3f}' for rate in rates),
      'ledger 1 int32, nJ': f'{energy / 1000:,.1f}',
  }  # yapf: disable


if __name__ == '__main__':
  main.main(run, reads_source=True)
