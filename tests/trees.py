"""Work directories with made-up figures, from which tables can be read off."""

import json

from experiments import config as config_lib
from experiments import runs
from experiments.datasets.har import Har
from slstm import types

WORK = {'multiply': 1.0, 'add': 2.0, 'compare': 3.0, 'smooth': 4.0, 'clip': 5.0}
# Test accuracies under seed 0 and 1; energies in pJ: int32 1, 2, fp32 1, 2.
ACCURACY = {
    'standard': (0.90, 0.92),
    'hard': (0.88, 0.92),
    'converted_T2': (0.80, 0.86),
    'tuned_T2': (0.90, 0.91),
}
SPENT = {
    'standard': ((8e3, 1e4, 2e4, 3e4),) * 2,
    'hard': ((8e3, 9e3, 2e4, 3e4),) * 2,
    'converted_T2': ((2e3, 4e3, 8e3, 2e4),) * 2,
    'tuned_T2': ((2e3, 5e3, 8e3, 4e4), (4e3, 5e3, 8e3, 4e4)),
}
READ = {
    'train_ann': ('data', 'model', 'ann', 'seed'),
    'convert': ('data', 'model', 'ann', 'seed', 'conversion'),
    'train_snn': ('data', 'model', 'ann', 'seed', 'conversion', 'snn'),
}


def write(folder, stage, source, metrics, of=None, commit='c0ffee', **changes):
  """A stage's folder; finished unless its metrics are None.

  Args:
    folder: to write.
    stage: of its config.json.
    source: of its config.json.
    metrics: what metrics.json holds.
    of: stage that made what it reads, which decides the sections of its config.
    commit: of its config.json.
    **changes: of the experiment, see `config.replace`.
  """
  experiment = config_lib.Experiment(Har())
  chosen = config_lib.replace(experiment, **changes)
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(
      json.dumps({
          'stage': stage,
          'source': source,
          'experiment': runs.sections(chosen, *READ[of or stage]),
          'data_digest': '5a',
          'commit': commit
      }))
  if metrics is not None:
    (folder / 'metrics.json').write_text(json.dumps(metrics))


def evaluation(accuracy, spent, rate=None, hidden=(6,)):
  """As `evaluate` writes it; D = 2. An SNN has 1,000 MAC and 2,000 AC less."""

  def energy(total):
    return {'total': total, 'input': [total], 'recurrent': [0.0],
            'readout': 0.0, 'elementwise': [0.0]}  # yapf: disable

  layer = {
      'input': {'mac': 1e3 if rate else 4e3, 'ac': 0.0},
      'recurrent': {'mac': 0.0, 'ac': 2e3 if rate else 0.0},
      'elementwise': WORK,
      'spike_rate': {**dict.fromkeys(types.SITES), 'h': rate},
      'sparsity': dict.fromkeys(types.SITES),
  }  # yapf: disable
  return {
      'sizes': {'elements': 8, 'features': 2, 'hidden': list(hidden),
                'classes': 3, 'parameters': 9},
      'test_accuracy': accuracy,
      'counts': {
          'encoder': {'elementwise': WORK, 'spike_rate': None},
          'layers': [layer] * len(hidden),
          'readout': {'product': {'mac': 10.0, 'ac': 1.0}, 'elementwise': WORK},
          'sequences': 4,
      },
      'energy': {
          'int32': {'1': energy(spent[0]), '2': energy(spent[1])},
          'fp32': {'1': energy(spent[2]), '2': energy(spent[3])},
      },
  }  # yapf: disable


def add_model(run, name, source, test, stage='train_snn', **changes):
  """A model and its evaluation; test: what `evaluation` returned."""
  write(run / name, stage, source,
        {'validation_accuracy': test['test_accuracy'] + 0.01}, **changes)
  write(run / f'{name}_test', 'evaluate', name, test, stage, **changes)


def add_run(run, seed=0, hidden=(6,), **changes):
  """A pipeline: standard and hard LSTM, converted and tuned at T = 2."""
  changes = {'seed': seed, **changes}
  changes['model'] = {'hidden': hidden, **changes.get('model', {})}
  for name, stage, source, rate in (
      ('standard', 'train_ann', None, None), ('hard', 'train_ann', None, None),
      ('converted_T2', 'convert', 'hard', 0.25 * (1 + seed)),
      ('tuned_T2', 'train_snn', 'converted_T2', 0.25)):  # yapf: disable
    family = name if stage == 'train_ann' else 'hard'
    test = evaluation(ACCURACY[name][seed], SPENT[name][seed], rate, hidden)
    add_model(run, name, source, test, stage, **{
        **changes, 'model': {
            **changes['model'], 'family': family
        }
    })
  (run / 'plan.json').write_text(json.dumps({'models': list(ACCURACY)}))
  write(run / 'latency', 'latency', None,
        {'models': dict.fromkeys(ACCURACY, {})}, 'train_snn', **changes)


def edit(path, old, new):
  """Replaces text in a file, where it stands once at least."""
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))
