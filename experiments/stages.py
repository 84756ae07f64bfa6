"""What the binaries do: each stage reads one work directory and writes one.

A stage that is finished is not run again; one that was killed goes on from its
last epoch.
"""

import dataclasses
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np

from experiments import augment as augment_lib
from experiments import data as data_lib
from experiments import progress
from experiments import workdir
from experiments.config import Experiment
from experiments.reporting import traces
import slstm
from slstm import checkpoint
from slstm import encoders
from slstm import energy
from slstm import rules
from slstm import train

Path = pathlib.Path

# Fields that a model has from the stage that made it.
_OF_LSTM = ('dataset', 'order', 'frames', 'hidden', 'family', 'pooling')
_OF_FAMILY = {'hard': ('slope',), 'quantised': ('slope', 'levels')}
_OF_SNN = ('sites', 'neuron', 'shift', 'granularity', 'encoding',
           'encoder_steps', 'coupling', 'num_steps', 'surrogate', 'width')


def train_ann(experiment: Experiment, dataset: data_lib.DataSet,
              work_dir: Path) -> None:
  """Trains the source LSTM and writes the epoch that validation chose."""
  digest = data_lib.digest(dataset)
  if workdir.begin(work_dir, 'train_ann', None, experiment, digest):
    return
  params = _start(experiment, dataset, work_dir)
  _train(params, experiment.model(), experiment.training(spiking=False),
         experiment, dataset, work_dir)


def _start(experiment: Experiment, dataset: data_lib.DataSet,
           work_dir: Path) -> slstm.Params:
  """Random parameters, or those of a training on shorter sequences."""
  config = experiment.model()
  encoder = encoders.standardising(jnp.asarray(dataset.train.x),
                                   dataset.shared_scale)
  if not experiment.short_epochs:
    return slstm.init(jax.random.key(experiment.seed),
                      dataset.train.x.shape[-1], experiment.hidden,
                      len(dataset.classes), config, encoder, experiment.memory)
  if not dataset.shorter:
    raise ValueError(f'--short_epochs={experiment.short_epochs}: the data set '
                     'has no shorter version.')
  factor = dataset.train.x.shape[1] / dataset.shorter[0].x.shape[1]
  brief = dataclasses.replace(experiment,
                              epochs=experiment.short_epochs,
                              short_epochs=0)
  short = work_dir / 'short'
  train_ann(
      brief,
      dataset._replace(train=dataset.shorter[0],
                       validation=dataset.shorter[1],
                       shorter=None), short)
  params, _ = checkpoint.load_model(short / 'model')
  return slstm.stretch(params, factor, config)._replace(encoder=encoder)


def convert(experiment: Experiment, dataset: data_lib.DataSet, source: Path,
            work_dir: Path) -> None:
  """Converts a source LSTM; writes the SNN and the report of the fits."""
  digest = data_lib.digest(dataset)
  params, config = _load(source, experiment, digest)
  if workdir.begin(work_dir, 'convert', source, experiment, digest):
    return
  calibration = slstm.calibrate(params, calibration_inputs(experiment, dataset),
                                config)
  conversion = slstm.convert(params, calibration, experiment.conversion())
  _write_model(work_dir, conversion.params, conversion.config)
  np.savez_compressed(work_dir / 'staircases.npz',
                      allow_pickle=False,
                      **traces.staircases(calibration, conversion))
  accuracy, _ = train.evaluate(conversion.params, dataset.validation,
                               conversion.config)
  workdir.write_json(
      work_dir / 'metrics.json', {
          'validation_accuracy':
              accuracy,
          'report':
              slstm.report_dict(conversion.report),
          'encoder_report':
              rules.site_dict(conversion.encoder_report)
              if conversion.encoder_report else None,
      })


def train_snn(experiment: Experiment,
              dataset: data_lib.DataSet,
              source: Path,
              work_dir: Path,
              teacher: Path | None = None) -> None:
  """Trains weights, thresholds and leaks of a converted SNN jointly.

  Args:
    experiment: how.
    dataset: what to train on.
    source: work directory of the converted SNN.
    work_dir: to write.
    teacher: work directory of the LSTM to distil from, if the experiment does.
  """
  digest = data_lib.digest(dataset)
  params, config = _load(source, experiment, digest)
  taught_by = _teacher(teacher, experiment, digest)
  if workdir.begin(work_dir, 'train_snn', source, experiment, digest, teacher):
    return
  _train(params, config, experiment.training(spiking=True), experiment, dataset,
         work_dir, taught_by)


def evaluate(experiment: Experiment, dataset: data_lib.DataSet, source: Path,
             work_dir: Path) -> None:
  """Measures a model on the test set: accuracy, operations, energy, spikes."""
  digest = data_lib.digest(dataset)
  params, config = _load(source, experiment, digest)
  if workdir.begin(work_dir, 'evaluate', source, experiment, digest):
    return
  accuracy, loss = train.evaluate(params, dataset.test, config)
  counts = slstm.count_operations(params, time_major(dataset.test.x), config)
  if any(layer.neurons.present for layer in params.layers):
    # The first example of class 0 (in UCI HAR somebody walks).
    first = int(np.argmax(dataset.test.y == 0))
    window = time_major(dataset.test.x[first:first + 1])
    np.savez_compressed(work_dir / 'raster.npz',
                        allow_pickle=False,
                        **traces.raster(params, config, window))
  workdir.write_json(
      work_dir / 'metrics.json', {
          'sizes': traces.sizes(params, dataset.test.x.shape[1]),
          'test_accuracy': accuracy,
          'test_loss': loss,
          'test_examples': len(dataset.test.y),
          'counts': energy.to_dict(counts),
          'energy': {
              name: energy.to_dict(energy.ledger(counts, constants))
              for name, constants in energy.CONSTANTS.items()
          },
      })


def calibration_inputs(experiment: Experiment,
                       dataset: data_lib.DataSet) -> np.ndarray:
  """Training inputs for calibration, evenly spread, time-major [N, B, D]."""
  x = dataset.train.x
  rows = np.linspace(0, len(x) - 1, min(experiment.calibration, len(x)))
  return time_major(x[rows.astype(int)])


def time_major(x: np.ndarray) -> np.ndarray:
  """[examples, N, D] -> [N, examples, D]."""
  return np.swapaxes(x, 0, 1)


def _train(params: slstm.Params,
           config: slstm.Config,
           train_config: train.TrainConfig,
           experiment: Experiment,
           dataset: data_lib.DataSet,
           work_dir: Path,
           teacher: train.Teacher | None = None) -> None:
  """Trains, saving after every epoch; resumes from the newest save."""
  saves = work_dir / 'epochs'
  state = train.initial_state(params, train_config, len(dataset.train.y))
  history = []
  if checkpoint.latest_step(saves) is not None:
    state = checkpoint.restore(saves, state)
    history = workdir.read_json(work_dir / 'history.json')[:int(state.epoch)]
  augment = augment_lib.make(experiment, dataset.background)
  with progress.training(work_dir.name, train_config,
                         len(dataset.train.y)) as (on_step, on_epoch):
    for state, metrics in train.fit(state, dataset.train, dataset.validation,
                                    config, train_config, augment, teacher,
                                    on_step):
      history.append(metrics)
      workdir.write_json(work_dir / 'history.json', history)
      checkpoint.save(saves, int(state.epoch), state)
      on_epoch(metrics)
  _write_model(work_dir, state.best, config)
  workdir.write_json(work_dir / 'metrics.json', {
      'validation_accuracy': float(state.best_accuracy),
      'history': history,
  })


def _load(source: Path, experiment: Experiment,
          digest: str) -> tuple[slstm.Params, slstm.Config]:
  """Reads the model that a stage goes on from.

  Raises:
    FileNotFoundError: if there is none.
    ValueError: naming the flags, if it is not the experiment's.
  """
  made = workdir.read_config(source)
  fields = [*_OF_LSTM, *_OF_FAMILY.get(experiment.family, ())]
  if made['stage'] != 'train_ann':
    fields += _OF_SNN
  asked = workdir.fields(experiment)
  different = [
      f'--{name} is {asked[name]} and was {made["experiment"][name]}'
      for name in fields
      if asked[name] != made['experiment'][name]
  ]
  if made['data_digest'] != digest:
    different.append('the data are others (data_digest in config.json)')
  if different:
    raise ValueError(f'{source} holds a model of another experiment: '
                     f'{"; ".join(different)}. Give the flags that it was made '
                     'with, or another --source.')
  return checkpoint.load_model(source / 'model')


def _teacher(folder: Path | None, experiment: Experiment,
             digest: str) -> train.Teacher | None:
  """Reads the LSTM to distil from, if the experiment does.

  Raises:
    FileNotFoundError: if there is none.
    ValueError: if it was not given, or saw other data.
  """
  if not experiment.distillation:
    return None
  if folder is None:
    raise ValueError(f'--distillation={experiment.distillation} needs '
                     '--teacher, the work directory of the source LSTM.')
  if workdir.read_config(folder)['data_digest'] != digest:
    raise ValueError(f'--teacher={folder} was trained on other data '
                     '(data_digest in config.json).')
  return train.Teacher(*checkpoint.load_model(folder / 'model'))


def _write_model(work_dir: Path, params: slstm.Params,
                 config: slstm.Config) -> None:
  """Writes the model of a stage that is about to be finished.

  What is there already was left by a run that was killed just before its
  metrics were written.
  """
  shutil.rmtree(work_dir / 'model', ignore_errors=True)
  slstm.save_model(work_dir / 'model', params, config)
