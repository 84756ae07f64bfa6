r"""Counts the instructions of exported models on an emulated Cortex-M4.

  python -m experiments.bench_mcu --config=experiments/configs/har.py \
    --source=runs/har --names=standard,tuned_T1,tuned_sd_T1 \
    --workdir=runs/har/mcu

Models of a pipeline are quantised, exported, compiled at -O3 and run on the
same test sequences, in the DSP path of their C. Counts are exact and the same
on every machine. The first model is what the others are compared with. A run
whose outputs are not those of `slstm.integer.run` ends with an error.
"""

import pathlib
import tempfile
from typing import Any

from absl import flags
import numpy as np
import pandas as pd

from experiments import latency
from experiments import main
from experiments import runs
from experiments import stages
from experiments.bench import emulator
from experiments.config import Experiment
from experiments.datasets import base
from experiments.reporting import tables
import slstm
from slstm import integer


def count(model: slstm.Model, calibration: np.ndarray,
          x: np.ndarray) -> dict[str, Any]:
  """What sequences [B, N, D] take, per element; means over all of them."""
  ints = slstm.quantise(model, calibration)
  q = integer.features(ints, x)
  with tempfile.TemporaryDirectory() as folder:
    elf = emulator.build(ints, pathlib.Path(folder))
    machine, reading = (emulator.Machine(elf, ints) for _ in range(2))
  each, found = [], []
  for one in q:
    machine.forget()
    found.append(machine.run(one))
    each.append(machine.instructions)
  expected = integer.run(ints, q, add=integer.add_product)
  if not np.array_equal(found, expected.outputs):
    raise ValueError('the emulated outputs are not those of integer.run.')
  reading.watch_reads()
  reading.run(q[0])
  elements = q.shape[1]
  weights = sum(size for name, size in reading.read.items()
                if name.endswith(('_w', '_u')))  # yapf: disable
  total = [sum(counts.values()) / elements for counts in each]
  parts = {name: float(np.mean([c[name] for c in each]) / elements)
           for name in sorted(set().union(*each))}  # yapf: disable
  return {
      'instructions': float(np.mean(total)),
      'most': max(total),
      'parts': parts,
      'spikes': list(expected.spikes),
      'weight_bytes': weights / elements,
      'bytes': sum(reading.read.values()) / elements,
      **slstm.memory_of_c(ints),
      'stack': machine.stack,
  }


def define_flags() -> None:
  """Defines the flags that `chosen` reads."""
  flags.DEFINE_string('source', None, 'Work directory of a pipeline.')
  flags.DEFINE_list('names', ['standard', 'tuned_T1', 'tuned_sd_T1'],
                    'Folders of its models; the first is the baseline.')
  flags.DEFINE_integer('sequences', 8, 'Test sequences to run.', 1)
  flags.mark_flags_as_required(['source'])


def chosen(
    experiment: Experiment, dataset: base.DataSet
) -> tuple[dict[str, slstm.Model], np.ndarray, np.ndarray]:
  """Models by name, inputs for calibration, test sequences [B, N, D]."""
  given = flags.FLAGS
  known = latency.find_models(pathlib.Path(given.source))
  for name in given.names:
    if name not in known:
      raise ValueError(f'--names: no model {name!r} in {given.source}; there '
                       f'are {", ".join(known)}.')
  models = {k: slstm.load_model(known[k] / 'model') for k in given.names}
  x = dataset.test.x
  x = x[np.linspace(0, len(x) - 1, given.sequences).astype(int)]
  return models, stages.calibration_inputs(experiment, dataset), x


def run(experiment: Experiment, dataset: base.DataSet,
        workdir: pathlib.Path) -> None:
  """Writes metrics.json and report.md into the work directory."""
  models, calibration, x = chosen(experiment, dataset)
  found = {name: count(model, calibration, x)
           for name, model in models.items()}  # yapf: disable
  made = {'commit': runs.commit(), 'sequences': len(x),
          'experiment': runs.as_dict(experiment), 'models': found
         }  # yapf: disable
  workdir.mkdir(parents=True, exist_ok=True)
  runs.write_json(workdir / 'metrics.json', made)
  text = report(made)
  runs.replace(workdir / 'report.md', text.encode())
  print(text)


def report(made: dict[str, Any]) -> str:
  """The counts as a table, in Markdown."""
  base_of, rows = next(iter(made['models'].values())), []
  for name, one in made['models'].items():
    rows.append({
        'model': name, 'instructions': round(one['instructions']),
        'times less': base_of['instructions'] / one['instructions'],
        'most': round(one['most']), 'weights read': round(one['weight_bytes']),
        'weights, times less': base_of['weight_bytes'] / one['weight_bytes'],
        'bytes read': round(one['bytes']),
        'spikes of h': ' / '.join(f'{s:.3f}' for s in one['spikes']),
        'flash': one['flash'], 'RAM': one['ram'], 'stack': one['stack']
    })  # yapf: disable
  return (
      f'# Instructions on a Cortex-M4\n\nPer element, means over '
      f'{made["sequences"]} test sequences; `most` is the sequence that '
      'takes most, bytes are those of the first. Times less: than the first '
      f'model. Made at commit {made["commit"]}.\n\n'
      f'{tables.markdown(pd.DataFrame(rows))}\n')


if __name__ == '__main__':
  define_flags()
  main.main(run)
