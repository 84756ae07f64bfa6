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

from experiments import binary
from experiments import in_integers
from experiments import latency
from experiments import main
from experiments import runs
from experiments import stages
from experiments.bench import emulator
from experiments.bench import measure
from experiments.config import Experiment
from experiments.datasets import base
from experiments.reporting import instructions
from experiments.reporting import plots
import slstm
from slstm import integer


def count(ints: slstm.integer.IntegerModel, q: np.ndarray) -> dict[str, Any]:
  """What sequences [B, N, D] of `features` take, per element, as means."""
  with tempfile.TemporaryDirectory() as folder:
    elf = emulator.build(ints, pathlib.Path(folder))
    machine = emulator.Machine(elf, ints)
  each, found, before = [], [], 0
  for one in q:
    found.append(machine.run(one))
    after = sum(machine.instructions.values())
    each.append((after - before) / len(one))
    before = after
  expected = integer.run(ints, q, add=integer.add_product)
  if not np.array_equal(found, expected.outputs):
    raise ValueError('the emulated outputs are not those of integer.run.')
  elements = q.shape[0] * q.shape[1]
  parts = {name: n / elements for name, n in machine.instructions.items()}
  read = machine.read
  memory = slstm.memory_of_c(ints)
  weights = sum(n for name, n in read.items() if name.endswith(('_w', '_u')))
  return {
      'instructions': sum(parts.values()), 'each': each,
      'parts': dict(sorted(parts.items())), 'spikes': list(expected.spikes),
      'sent': float(expected.counts.sum(-1).mean()),
      'weight_bytes': weights / elements,
      'read': sum(read.values()) / elements,
      'written': machine.written / elements, 'weights': memory['weights'],
      'flash': memory['flash'] + machine.code, 'ram': memory['ram'],
      'buffers': memory['buffers'], 'stack': machine.stack
  }  # yapf: disable


flags.disclaim_key_flags()  # what `define_flags` defines is of the binary


def define_flags() -> None:
  """Defines the flags that `chosen` reads."""
  binary.define_path('source', 'Work directory of a pipeline.', required=True)
  flags.DEFINE_list('names', ['standard', 'tuned_T1', 'tuned_sd_T1'],
                    'Folders of its models; the first is the baseline.')
  flags.DEFINE_integer('sequences', 8, 'Test sequences to run.', 1)


def chosen(
    experiment: Experiment, dataset: base.DataSet
) -> tuple[dict[str, slstm.Model], np.ndarray, np.ndarray]:
  """Models by name, inputs for calibration, test sequences [B, N, D]."""
  given = flags.FLAGS
  known = latency.find_models(given.source)
  for name in given.names:
    if name not in known:
      raise ValueError(f'--names: no model {name!r} in {given.source}; there '
                       f'are {", ".join(known)}.')
  models = {k: stages.read_model(known[k]).model for k in given.names}
  x = dataset.test.x
  x = x[np.linspace(0, len(x) - 1, given.sequences).astype(int)]
  return models, stages.calibration_data(experiment, dataset).x, x


def run(experiment: Experiment, dataset: base.DataSet,
        workdir: pathlib.Path) -> None:
  """Writes metrics.json and report.md into the work directory."""
  models, calibration, x = chosen(experiment, dataset)
  found = {}
  for name, model in models.items():
    ints = slstm.quantise(model, calibration)
    compared = in_integers.compare(ints, model, dataset)
    sends = [layer.sends == integer.RUNNING for layer in ints.layers]
    found[name] = {**count(ints, integer.features(ints, x)),
                   **compared._asdict(), 'sigma_delta': all(sends)
                  }  # yapf: disable
  first = models[flags.FLAGS.names[0]]
  on = measure.environment()
  made = {'commit': on['commit'], 'command': on['command'],
          'sequences': len(x), 'data': experiment.data.name,
          'units': [layer.num_units for layer in first.layers],
          'experiment': runs.as_dict(experiment), 'models': found
         }  # yapf: disable
  workdir.mkdir(parents=True, exist_ok=True)
  runs.write_json(workdir / 'metrics.json', made)
  parts = instructions.by_part(made)
  plots.save(plots.instructions(parts), workdir / 'instructions.png')
  text = instructions.report(made)
  runs.replace(workdir / 'report.md', text.encode())
  print(text)


if __name__ == '__main__':
  define_flags()
  main.main(run, reads=('data', 'conversion.calibration'))
