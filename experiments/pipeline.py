r"""The whole chain: train, convert, fine-tune, evaluate, report.

python -m experiments.pipeline --config=experiments/configs/har.py \
  --config.snn.epochs=3 --workdir=runs/har

Runs a standard, a convertible and a quantised LSTM of the same size,
conversions without training at several T, and fine-tuned ones, also with
sigma-delta neurons; ranks subsets of sites at the T of the config. A run that
was killed goes on where it was; one that is finished only writes its report
anew.
"""

import pathlib

from absl import flags

from experiments import config as config_lib
from experiments import latency
from experiments import lock
from experiments import main
from experiments import report
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base

Path = pathlib.Path

flags.adopt_module_key_flags(latency)
flags.DEFINE_list('converted_steps', ['1', '2', '4', '8'],
                  'T of the conversions without training.')
flags.DEFINE_list('tuned_steps', ['1', '2', '4'],
                  'T of the fine-tuned SNNs; part of the above.')
flags.DEFINE_list('sigma_delta_steps', ['1'],
                  'T of sigma-delta neurons, converted and fine-tuned.')
flags.DEFINE_list(
    'quantised_levels', ['1'],
    'Q of LSTMs whose activations have no more levels than T = Q spikes. Each '
    'is trained as the standard LSTM is, and compared with SNNs of that T.')
_REUSE = flags.DEFINE_list(
    'reuse', [], 'Work directories of other pipelines. A finished stage of one '
    'that reads the same config, data and seed is copied, not run again.')


def run(experiment: Experiment, dataset: base.DataSet, workdir: Path) -> None:
  """Runs all stages under one work directory, one folder each."""
  converted = main.numbers('converted_steps')
  tuned = main.numbers('tuned_steps')
  if not set(tuned) <= set(converted):
    raise ValueError(f'--tuned_steps={tuned} are not all among '
                     f'--converted_steps={converted}.')
  at: dict[str, Experiment] = {
      f'T{t}': config_lib.replace(experiment, conversion={'num_steps': t})
      for t in converted
  }
  names = {f'sd_T{t}': t for t in main.numbers('sigma_delta_steps')}
  at |= {k: config_lib.sigma_delta(experiment, t) for k, t in names.items()}
  tunings = [*(f'T{t}' for t in tuned), *names]
  reuse = tuple(Path(folder).expanduser() for folder in _REUSE.value)
  for folder in reuse:
    if not folder.is_dir():
      raise FileNotFoundError(f'--reuse={folder}: no such folder.')
  own, family = config_lib.source_name(experiment), config_lib.with_family
  variants = [
      family(experiment, 'standard'), experiment,
      *(family(experiment, 'quantised', levels)
        for levels in main.numbers('quantised_levels'))
  ]
  lstms = {config_lib.source_name(variant): variant for variant in variants}
  models = {
      name: workdir / name for name in (*lstms, *(f'converted_{k}' for k in at),
                                        *(f'tuned_{k}' for k in tunings))
  }
  for name, variant in lstms.items():
    stages.check_ann(variant, dataset, models[name])
  lock.hold(workdir)
  runs.write_json(workdir / 'plan.json', {'models': list(models)})

  def evaluate(name: str) -> None:
    stages.evaluate(dataset, models[name], workdir / f'{name}_test', reuse)

  for name, variant in lstms.items():
    stages.train_ann(variant, dataset, models[name], reuse)
    evaluate(name)
  # Of gates that stay analog, smooth ones follow better.
  source = lambda k: models['standard' if k in names else own]
  for k, changed in at.items():
    name = f'converted_{k}'
    stages.convert(changed, dataset, source(k), models[name], reuse)
    evaluate(name)
  stages.select(experiment, dataset, models[own], workdir / 'select')
  for k in tunings:
    name = f'tuned_{k}'
    stages.train_snn(at[k], dataset, models[f'converted_{k}'], models[name],
                     source(k), reuse)
    evaluate(name)
  latency.latency(experiment, dataset, models, workdir / 'latency')
  report.write(workdir)
  lock.release(workdir)


if __name__ == '__main__':
  main.main(run)
