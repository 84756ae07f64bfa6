"""Times the inference of one sequence: every model of a run, side by side.

  python -m experiments.latency --config=experiments/configs/har.py \
      --source=runs/har --workdir=runs/har/latency

All models and executors take turns in one process, so that whatever else the
machine does affects all of them alike. What is timed is `slstm.predict`,
compiled, until its outputs are there.
"""

import functools
import pathlib
from typing import Any, Callable, Mapping

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from experiments import main
from experiments import runs
from experiments import stages
from experiments.bench import measure as bench
from experiments.config import Experiment
from experiments.datasets import base
import slstm
from slstm import model as model_lib

_SECONDS = flags.DEFINE_float('latency_seconds', 8.0,
                              'Of rounds, after which no other begins.', 0.0)


def latency(experiment: Experiment, dataset: base.DataSet,
            models: Mapping[str, pathlib.Path], workdir: pathlib.Path) -> None:
  """Times models on the first test sequence; writes what `measure` returns.

  A finished measurement is kept, unless it lacks one of the models: all models
  are then timed again, for only times of one run can be compared.

  Args:
    experiment, dataset: that the models are of.
    models: for each name the work directory that holds the model.
  """
  if runs.begin(workdir, 'latency', runs.as_dict(experiment),
                base.digest(dataset)):
    if set(models) <= set(runs.read_json(workdir / 'metrics.json')['models']):
      return
  loaded = {k: stages.read_model(path).model for k, path in models.items()}
  runs.finish(workdir, measure(loaded, dataset.test.x[:1]))


def measure(models: Mapping[str, slstm.Model], x: np.ndarray) -> dict[str, Any]:
  """Times every model with every executor that can run it.

  Args:
    models: by name.
    x: one sequence, [1, N, D].

  Returns:
    What metrics.json holds. For each model and executor: quartiles of the time
    in ms, how many times faster it is than the standard LSTM at its best
    (`speedup`, None without one), and its dependent steps.
  """
  one = jnp.asarray(x, jnp.float32)
  timed: dict[tuple[str, str], Callable] = {}
  for name, model in models.items():
    for executor, function in model_lib.executors_for(model).items():
      if executor in model_lib.FORWARD:
        timed[name, executor] = functools.partial(_run, model, one, function)
  times = bench.in_turns(timed, seconds=_SECONDS.value)
  medians = {key: float(np.median(taken)) for key, taken in times.items()}
  lstms = [name for name, model in models.items() if not model.is_spiking]
  standard = [k for k in lstms if models[k].config.family == 'standard']
  candidates = [key for key in times if key[0] in standard[:1]]
  baseline = min(candidates, key=medians.__getitem__, default=None)
  found: dict[str, Any] = {}
  for (name, executor), taken in times.items():
    model = models[name]
    row: dict[str, Any] = {**bench.quartiles(taken)}
    row['speedup'] = baseline and medians[baseline] / medians[name, executor]
    row['dependent_steps'] = dependent_steps(executor, model, x.shape[1])
    empty = {'num_steps': model.config.num_steps, 'executors': {}}
    found.setdefault(name, empty)['executors'][executor] = row
  return {
      'machine': bench.machine(),
      'rounds': len(next(iter(times.values()))),
      'batch_size': 1,
      'baseline': baseline and dict(zip(('model', 'executor'), baseline)),
      'models': found,
  }


def _run(model: slstm.Model, x: jax.Array, executor: Callable) -> None:
  slstm.predict(model, x, executor=executor).block_until_ready()


def dependent_steps(executor: str, model: slstm.Model,
                    num_elements: int) -> int:
  """How many updates must wait for one another, see `slstm.scan`.

  sequential and stacked run one layer after the other: L N T and L N. The
  wavefront takes N + T + L - 2. T is 1 for an ANN. A spiking encoder comes
  before all of them.
  """
  steps, layers = model.config.num_steps, len(model.layers)
  if executor == 'wavefront':
    return num_elements + steps + layers - 2
  return layers * num_elements * (steps if executor == 'sequential' else 1)


def find_models(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """The finished models in the subfolders of a pipeline's work directory.

  Raises:
    FileNotFoundError: if there are none.
  """
  files = sorted(folder.glob('*/model/model.json'))
  found = {file.parents[1].name: file.parents[1] for file in files}
  if not found:
    raise FileNotFoundError(f'--source={folder}: no models in its subfolders; '
                            'expected the work directory of a pipeline.')
  return found


if __name__ == '__main__':
  run = lambda experiment, dataset, workdir: latency(
      experiment, dataset, find_models(main.source()), workdir)
  main.main(run, reads_source=True, reads=('data',))
