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
from experiments.reporting import plots
from experiments.reporting import tables
import slstm
from slstm import integer

_PJ = 261  # of an instruction, see `report`


def count(ints: slstm.integer.IntegerModel, q: np.ndarray) -> dict[str, Any]:
  """What sequences [B, N, D] of `features` take, per element, as means."""
  with tempfile.TemporaryDirectory() as folder:
    elf = emulator.build(ints, pathlib.Path(folder))
    machine = emulator.Machine(elf, ints)
  each, found = [], []
  for one in q:
    before = machine.instructions
    found.append(machine.run(one))
    each.append(machine.instructions - before)
  expected = integer.run(ints, q, add=integer.add_product)
  if not np.array_equal(found, expected.outputs):
    raise ValueError('the emulated outputs are not those of integer.run.')
  elements = q.shape[0] * q.shape[1]
  parts = {name: n / elements for name, n in machine.instructions.items()}
  weights = [name for name in machine.read if name.endswith(('_w', '_u'))]
  memory = slstm.memory_of_c(ints)
  return {
      'instructions': sum(parts.values()),
      'each': [sum(one.values()) / q.shape[1] for one in each],
      'parts': dict(sorted(parts.items())),
      'spikes': list(expected.spikes),
      'sent': float(expected.counts.sum(-1).mean()),
      'weight_bytes': sum(machine.read[k] for k in weights) / elements,
      'read': sum(machine.read.values()) / elements,
      'written': machine.written / elements,
      'weights': memory['weights'],
      'flash': memory['flash'] + machine.code,
      'ram': memory['ram'],
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
    found[name] = count(ints, integer.features(ints, x))
  made = {'commit': runs.commit(), 'sequences': len(x),
          'experiment': runs.as_dict(experiment), 'models': found
         }  # yapf: disable
  workdir.mkdir(parents=True, exist_ok=True)
  runs.write_json(workdir / 'metrics.json', made)
  plots.save(plots.instructions(by_part(made)), workdir / 'instructions.png')
  text = report(made)
  runs.replace(workdir / 'report.md', text.encode())
  print(text)


def report(made: dict[str, Any]) -> str:
  """The counts as tables, in Markdown."""
  models = made['models']
  dense, rows = next(iter(models.values())), []
  for name, one in models.items():
    rows.append({
        'model': name,
        'instructions': round(one['instructions']),
        'times less': dense['instructions'] / one['instructions'],
        'most': round(max(one['each'])),
        'weights read': round(one['weight_bytes']),
        'weights, times less': dense['weight_bytes'] / one['weight_bytes'],
        'bytes read': round(one['read']),
        'written': round(one['written']),
        'spikes of h': ' / '.join(f'{s:.3f}' for s in one['spikes']),
        'break-even': break_even(one, dense),
        'flash': one['flash'],
        'of it weights': one['weights'],
        'RAM': one['ram'],
        'stack': one['stack'],
        'uJ': 1e-6 * _PJ * one['instructions'],
    })
  parts = by_part(made)
  return (f'''# Instructions on a Cortex-M4

Per element, means over {made["sequences"]} test sequences; `most` is the
sequence that takes most. Times less: than the first model. Break-even: spikes
of h per unit and element at which it would take as many instructions as that,
if each cost what it costs here. Flash is code and constants, in bytes. uJ is
derived: {_PJ} pJ for an instruction, the whole chip at 3.3 V and 79 uA per MHz
(STM32L412, data sheet DS12469), one instruction per cycle.

Made at commit {made["commit"]}.

{tables.markdown(pd.DataFrame(rows))}

Instructions by part: products by the weights that they read, the rest by
function. `model_step` is encoder, gates, cells, neurons and pooling;
`model_classify` is the read-out, once per sequence.

{tables.markdown(parts.reset_index())}

![Instructions by part](instructions.png)
''')


def by_part(made: dict[str, Any]) -> pd.DataFrame:
  """Instructions per element, by model and part; the largest part first."""
  found = pd.DataFrame({name: one['parts']
                        for name, one in made['models'].items()
                       }).fillna(0).round().astype(int).T  # yapf: disable
  found.index.name = 'model'
  return found[found.max().sort_values(ascending=False).index]


def break_even(one: dict[str, Any], dense: dict[str, Any]) -> float | None:
  """Spikes per unit and element at which a model is no better than `dense`.

  The instructions that add rows of h are taken as proportional to spikes. None
  if there are no spikes, or if rows of the input are added together with them.
  """
  products = sum(n for name, n in one['parts'].items()
                 if name.startswith('layer') and name != 'layer0_w'
                )  # yapf: disable
  if not one['sent'] or any('layer0_w and' in name or 'and layer0_w' in name
                            for name in one['parts']):  # yapf: disable
    return None
  rest = one['instructions'] - products
  return (float(np.mean(one['spikes'])) * (dense['instructions'] - rest) /
          products)


if __name__ == '__main__':
  define_flags()
  main.main(run)
