"""Times the inference of one sequence: every model of a run, side by side.

  python -m experiments.latency --preset=har --source=runs/har \
      --work_dir=runs/har/latency

All models and executors take turns in one process, so that whatever else the
machine does meets all of them alike. What is timed is `slstm.train.predict`,
compiled, until its logits are there.
"""

import pathlib
from typing import Any, Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments import data as data_lib
from experiments import main
from experiments import workdir
from experiments.benchmarks import bench
from experiments.config import Experiment
from slstm import checkpoint
from slstm import executor as executor_lib
from slstm import train
from slstm.types import Config, Params

_ROUNDS = (5, 100)  # at least, and at most
_SECONDS = 8.0  # of rounds after which no other one begins

Model = tuple[Params, Config]
Key = tuple[str, str]


def latency(experiment: Experiment, dataset: data_lib.DataSet,
            models: Mapping[str, pathlib.Path], work_dir: pathlib.Path) -> None:
  """Measures the models and writes their times.

  A finished measurement is kept, unless there is now a model that it lacks: all
  models are then timed anew, for only times of one run can be compared.

  Args:
    experiment: resolved config.
    dataset: its first test sequence is the input.
    models: for each name, the work directory that holds its model.
    work_dir: where to write.
  """
  digest = data_lib.digest(dataset)
  path = work_dir / 'metrics.json'
  if workdir.begin(work_dir, 'latency', None, experiment, digest):
    if set(models) <= set(workdir.read_json(path)['models']):
      return
  loaded = {
      name: checkpoint.load_model(source / 'model')
      for name, source in models.items()
  }
  workdir.write_json(path, measure(loaded, dataset.test.x[:1]))


def measure(models: Mapping[str, Model], x: np.ndarray) -> dict[str, Any]:
  """Times every model under every executor that can run it.

  Args:
    models: (params, config) of each.
    x: one sequence, [1, N, D].

  Returns:
    What metrics.json holds. For each model and executor: quartiles of the time
    in ms, how many times faster it is than the standard LSTM at its best
    (`speedup`, None without one), and its dependent steps.
  """
  time_major = jax.device_put(jnp.asarray(np.swapaxes(x, 0, 1), jnp.float32))
  times = _times(models, time_major)
  medians = {key: float(np.median(taken)) for key, taken in times.items()}
  baseline = _baseline(models, medians)
  return {
      'machine': bench.machine(),
      'rounds': len(next(iter(times.values()))),
      'batch_size': 1,
      'baseline': baseline and {
          'model': baseline[0],
          'executor': baseline[1],
      },
      'models': {
          name: {
              'num_steps': config.num_steps,
              'executors': {
                  executor: {
                      **bench.quartiles(times[name, executor]),
                      'speedup':
                          baseline
                          and medians[baseline] / medians[name, executor],
                      'dependent_steps':
                          dependent_steps(executor, time_major.shape[0],
                                          len(params.layers), config),
                  } for executor in _executors(config)
              },
          } for name, (params, config) in models.items()
      },
  }


def dependent_steps(executor: str, num_elements: int, num_layers: int,
                    config: Config) -> int:
  """How many updates must wait for one another, see `slstm.executor`.

  sequential and stacked run one layer after the other: L N T and L N. The
  wavefront takes N + T + L - 2. T counts as 1 for an ANN and coupling 'rate'. A
  spiking encoder comes before all of them.
  """
  slots = 1 if config.coupling == 'rate' else config.num_steps
  if executor == 'wavefront':
    return num_elements + slots + num_layers - 2
  return num_layers * num_elements * (slots if executor == 'sequential' else 1)


def _executors(config: Config) -> list[str]:
  return [
      name for name in executor_lib.FORWARD
      if executor_lib.runs(name, config.coupling)
  ]


def _times(models: Mapping[str, Model], x: jax.Array) -> dict[Key, np.ndarray]:
  """Seconds of each model and executor in each round."""

  def runner(params: Params, config: Config, executor: str) -> Callable:
    return lambda: train.predict(params, x, config, executor).block_until_ready(
    )

  runners = {
      (name, executor): runner(params, config, executor)
      for name, (params, config) in models.items()
      for executor in _executors(config)
  }
  return bench.in_turns(runners, bench.Limits(*_ROUNDS, _SECONDS))


def _baseline(models: Mapping[str, Model],
              medians: Mapping[Key, float]) -> Key | None:
  """The standard LSTM and its fastest executor."""
  for name, (params, config) in models.items():
    spiking = any(layer.neurons.present for layer in params.layers)
    if config.family == 'standard' and not spiking:
      return min((key for key in medians if key[0] == name),
                 key=lambda key: medians[key])
  return None


def find_models(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """The finished models in the subfolders of a pipeline's work directory.

  Raises:
    FileNotFoundError: if there are none.
  """
  found = {
      path.parent.parent.name: path.parent.parent
      for path in sorted(folder.glob('*/model/model.json'))
  }
  if not found:
    raise FileNotFoundError(f'--source={folder}: no models in its subfolders; '
                            'expected the work directory of a pipeline.')
  return found


def _run(experiment: Experiment, dataset: data_lib.DataSet,
         work_dir: pathlib.Path) -> None:
  latency(experiment, dataset, find_models(main.source()), work_dir)


if __name__ == '__main__':
  main.source_flag()
  main.main(_run)
