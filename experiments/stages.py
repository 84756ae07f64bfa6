"""What the binaries do: each stage reads work directories and writes one.

A stage that is finished is not run again; one that was killed goes on from its
last epoch. What a stage needs to know of a model it takes from the model.
`reuse` is that of `runs.begin`.
"""

import dataclasses
import functools
import pathlib
import shutil
from typing import Any, NamedTuple, Sequence
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from experiments import config as config_lib
from experiments import progress
from experiments import runs
from experiments import traces
from experiments.config import Experiment
from experiments.datasets import base
from experiments.datasets import summary
import slstm
from slstm import checkpoint
from slstm import energy
from slstm import fitting
from slstm import integer

Path = pathlib.Path
Paths = Sequence[Path]
_CALIBRATION = 512  # examples that decide the ranges of integers
# Of fewer steps of training a warning tells, and of a batch too large an error
# that names one of which there are some in an epoch.
_STEPS, _BATCHES = 100, 8


def train_ann(experiment: Experiment,
              dataset: base.DataSet,
              workdir: Path,
              reuse: Paths = ()) -> None:
  """Trains the source LSTM and writes the epoch that validation chose."""
  if runs.begin(workdir, *_as_ann(experiment, dataset), reuse=reuse):
    return
  model = _start(experiment, dataset, workdir)
  _train(model, experiment.ann.config(experiment.seed), dataset, workdir, None)


def check_ann(experiment: Experiment, dataset: base.DataSet,
              workdir: Path) -> None:
  """Raises ValueError if `train_ann` could not go on in this folder."""
  runs.check(workdir, *_as_ann(experiment, dataset))


def _as_ann(experiment: Experiment,
            dataset: base.DataSet) -> tuple[str, dict[str, Any], str]:
  """Stage, what it reads of the config, and digest of the data."""
  read = runs.sections(experiment, 'data', 'model', 'ann', 'seed')
  return 'train_ann', read, base.digest(dataset)


def _start(experiment: Experiment, dataset: base.DataSet,
           workdir: Path) -> slstm.Model:
  """Random parameters, or those of a training on shorter sequences."""
  encoder = slstm.standardising(jnp.asarray(dataset.train.x),
                                shared_scale=dataset.shared_scale,
                                lengths=dataset.train.lengths)
  shorter = dataset.shorter
  if shorter is None:
    return slstm.init(jax.random.key(experiment.seed),
                      num_features=dataset.train.x.shape[-1],
                      hidden_sizes=experiment.model.hidden,
                      num_outputs=len(dataset.classes),
                      config=experiment.model.config(),
                      encoder=encoder)
  brief = config_lib.replace(experiment, ann={'epochs': shorter.epochs})
  train, validation, _ = shorter
  small = dataset._replace(train=train, validation=validation, shorter=None)
  train_ann(brief, small, workdir / 'short')
  model = checkpoint.load_model(workdir / 'short' / 'model')
  factor = dataset.train.x.shape[1] / shorter.train.x.shape[1]
  return dataclasses.replace(slstm.stretch(model, factor), encoder=encoder)


def convert(experiment: Experiment,
            dataset: base.DataSet,
            source: Path,
            workdir: Path,
            reuse: Paths = ()) -> None:
  """Converts a source LSTM; writes the SNN and the report of the fits."""
  given = load(source, dataset, spiking=False)
  model = given.model
  read = given.read | runs.sections(experiment, 'conversion')
  if _begin(workdir, 'convert', read, {'source': given}, reuse):
    return
  some = calibration_data(experiment, dataset)
  if experiment.conversion.is_sigma_delta:
    snn, report = _sigma_delta(model, some, experiment.conversion)
  else:
    snn, report = _fitted(model, some, experiment.conversion, workdir)
  _write_model(workdir, snn)
  metrics = _scores('validation', snn, dataset)
  runs.finish(workdir, metrics | report)


def _fitted(model: slstm.Model, some: slstm.Data,
            conversion: config_lib.Conversion,
            workdir: Path) -> tuple[slstm.Model, dict[str, Any]]:
  """Neurons that follow the activations; writes their staircases."""
  calibration = slstm.calibrate(model, some.x, lengths=some.lengths)
  made = slstm.convert(model, calibration, conversion.config())
  arrays = traces.staircases(calibration, made)
  runs.write_npz(workdir / 'staircases.npz', arrays)
  encoder = made.encoder_report
  return made.model, {
      'report': slstm.report_dict(made.report),
      'encoder_report': encoder and fitting.site_dict(encoder)
  }


def _sigma_delta(
    model: slstm.Model, some: slstm.Data,
    conversion: config_lib.Conversion) -> tuple[slstm.Model, dict[str, Any]]:
  """Sigma-delta neurons within the rates that the config allows."""
  trade_off = functools.partial(slstm.trade_off, lengths=some.lengths)
  fronts = {'h': trade_off(model, some.x, num_steps=conversion.num_steps)}
  snn = slstm.pick(fronts['h'], rate=conversion.rate).model
  if conversion.encoding == 'spiking':
    steps = conversion.encoder_steps or conversion.num_steps
    fronts['input'] = trade_off(snn, some.x, place='input', num_steps=steps)
    snn = slstm.pick(fronts['input'], rate=conversion.input_rate).model
  config = dataclasses.replace(snn.config, surrogate=conversion.surrogate,
                               width=conversion.width)  # yapf: disable
  snn = dataclasses.replace(snn, config=config)
  told = {}
  for place, points in fronts.items():
    told[place] = [point._asdict() for point in points]
    for point in told[place]:
      del point['model']
  return snn, {'fronts': told}


def select(experiment: Experiment, dataset: base.DataSet, source: Path,
           workdir: Path) -> None:
  """Ranks subsets of sites by what their conversion costs, untrained."""
  given = load(source, dataset, spiking=False)
  model = given.model
  read = given.read | runs.sections(experiment, 'conversion')
  if _begin(workdir, 'select', read, {'source': given}):
    return
  x, _, lengths = calibration_data(experiment, dataset)
  calibration = slstm.calibrate(model, x, lengths=lengths)
  ranked = slstm.select(model, calibration, x, experiment.conversion.config(),
                        lengths=lengths)  # yapf: disable
  metrics = {'candidates': [candidate._asdict() for candidate in ranked]}
  runs.finish(workdir, metrics)


def train_snn(experiment: Experiment,
              dataset: base.DataSet,
              source: Path,
              workdir: Path,
              teacher: Path | None = None,
              reuse: Paths = ()) -> None:
  """Trains weights and neurons of a converted SNN jointly.

  Distillation needs a teacher, the work directory of the source LSTM.
  """
  given = load(source, dataset, spiking=True)
  read = given.read | runs.sections(experiment, 'data', 'snn', 'seed')
  snn, taught_by = experiment.snn, None
  if snn.input_target and given.model.encoder.neuron is None:
    raise ValueError(f'config.snn.input_target is {snn.input_target}, but the '
                     f'input of {source} is analog and has no spikes; leave it '
                     "out, or convert with config.conversion.encoding=spiking.")
  sources = {'source': given}
  if snn.distillation:
    if teacher is None:
      raise ValueError(f'config.snn.distillation is {snn.distillation}; it '
                       'needs --teacher, the work directory of the source '
                       'LSTM.')
    sources['teacher'] = load(teacher, dataset, spiking=False)
    taught_by = sources['teacher'].model
  if _begin(workdir, 'train_snn', read, sources, reuse):
    return
  _train(given.model, snn.config(experiment.seed), dataset, workdir, taught_by)


def evaluate(dataset: base.DataSet,
             source: Path,
             workdir: Path,
             reuse: Paths = ()) -> None:
  """Measures a model on the test set: metric, operations, energy, spikes."""
  given = load(source, dataset)
  model = given.model
  if _begin(workdir, 'evaluate', given.read, {'source': given}, reuse):
    return
  x, y, lengths = dataset.test
  if model.is_spiking:
    # The first example of class 0 (in UCI HAR somebody walks).
    first = int(np.argmax(y == 0)) if y.ndim == 1 else 0
    real = None if lengths is None else lengths[first]
    arrays = traces.raster(model, x[first:first + 1, :real])
    runs.write_npz(workdir / 'raster.npz', {**arrays, 'truth': y[first]})
  outputs = slstm.outputs(model, x, lengths=lengths)
  scores = dataset.task.metric(jnp.asarray(outputs), jnp.asarray(y))
  runs.write_npz(workdir / 'predictions.npz', {
      'outputs': outputs, 'truth': y, 'scores': np.asarray(scores, np.float32)
  })  # yapf: disable
  found = slstm.judge(outputs, y, dataset.task, lengths=lengths)
  metrics = _named('test', found, dataset)
  metrics |= {'test_examples': len(y),
              'data': base.describe(dataset) | summary.of(dataset),
              'sizes': traces.sizes(model, x.shape[1]),
              'int8': _in_integers(model, dataset)}  # yapf: disable
  runs.finish(workdir, metrics | measure(model, dataset.test))


def measure(model: slstm.Model, data: slstm.Data) -> dict[str, Any]:
  """Counts and, by constants and ledger, energy of an inference, for JSON."""
  counts = slstm.count_operations(model, data.x, lengths=data.lengths)
  ledgers = {
      name: energy.to_dict(slstm.ledger(counts, constants))
      for name, constants in energy.CONSTANTS.items()
  }
  return {'counts': energy.to_dict(counts), 'energy': ledgers}


def _in_integers(model: slstm.Model, dataset: base.DataSet) -> dict[str, Any]:
  """Test metric of a model whose weights are int8, or why it has none."""
  x, y, lengths = dataset.test
  some = _spread(dataset, _CALIBRATION)
  try:
    ints = slstm.quantise(model, some.x, lengths=some.lengths)
  except ValueError as error:  # such as of a neuron that is not ours
    return {'reason': str(error)}
  outputs = integer.outputs(ints, x, lengths=lengths)
  found = slstm.judge(outputs, y, dataset.task, lengths=lengths)
  return {f'test_{dataset.task.metric_name}': found.metric}


def calibration_data(experiment: Experiment,
                     dataset: base.DataSet) -> slstm.Data:
  """Training examples for calibration, evenly spaced."""
  return _spread(dataset, experiment.conversion.calibration)


def _spread(dataset: base.DataSet, count: int) -> slstm.Data:
  last = len(dataset.train.y) - 1
  rows = np.linspace(0, last, min(count, last + 1)).astype(int)
  return dataset.train.rows(rows)


def check_size(dataset: base.DataSet, section: str,
               training: config_lib.Training) -> None:
  """Refuses a batch of more examples than there are; warns of few steps."""
  train, validation, test = (len(part.y) for part in dataset[:3])
  batch, epochs = training.batch_size, training.epochs
  of = (f'of {train + validation + test} examples {train} are for training, '
        f'{validation} for validation, {test} for test')
  hint = f' {dataset.split}'.rstrip()
  small = max(1, train // _BATCHES)
  if train < batch:
    raise ValueError(f'config.{section}.batch_size is {batch}, but {of}; '
                     f'give --config.{section}.batch_size={small}.{hint}')
  steps = train // batch * epochs
  if steps < _STEPS:
    warnings.warn(
        f'{steps} steps of training are few: {of}; config.{section}.batch_size '
        f'is {batch} and config.{section}.epochs {epochs}. More epochs, or a '
        f'smaller batch, give more steps.{hint}')


def _train(model: slstm.Model, config: slstm.TrainConfig, dataset: base.DataSet,
           workdir: Path, teacher: slstm.Model | None) -> None:
  """Trains, saving after every epoch; resumes from the newest save."""
  saves, examples = workdir / 'epochs', len(dataset.train.y)
  state = slstm.initial_state(model, config, examples)
  history = []
  if checkpoint.latest_step(saves) is not None:
    state = checkpoint.restore(saves, state)
    history = _history(workdir / 'history.json', int(state.epoch))
    print(f'{workdir}: goes on after epoch {state.epoch} of {config.epochs}',
          flush=True)  # yapf: disable
  name = f'validation_{dataset.task.metric_name}'
  with progress.training(workdir.name, config, examples,
                         name) as (on_step, on_epoch):
    for state, metrics in slstm.fit(model,
                                    dataset.train,
                                    dataset.validation,
                                    config=config,
                                    task=dataset.task,
                                    augment=dataset.augment,
                                    teacher=teacher,
                                    state=state,
                                    on_step=on_step):
      history.append(metrics)
      runs.write_json(workdir / 'history.json', history)
      checkpoint.save(saves, int(state.epoch), state)
      on_epoch(metrics)
  _write_model(workdir, state.best)
  best = {**_judged(dataset), name: float(state.best_metric)}
  runs.finish(workdir, {**best, 'history': history})


def _history(path: Path, epochs: int) -> list[dict[str, Any]]:
  """Metrics of the epochs that are saved; a warning tells if some are lost."""
  found = runs.read_json(path) if path.is_file() else []
  history = [metrics for metrics in found if metrics['epoch'] <= epochs]
  if len(history) < epochs:
    warnings.warn(
        f'{path} has {len(history)} of {epochs} finished epochs. Training goes '
        'on from the last; metrics of those before are missing in metrics.json '
        'and in reports. To have them, stop, remove the folder and run anew.')
  return history


def _scores(part: str, model: slstm.Model,
            dataset: base.DataSet) -> dict[str, Any]:
  """Metric and loss of a model on that part of the data."""
  found = slstm.evaluate(model, getattr(dataset, part), task=dataset.task)
  return _named(part, found, dataset)


def _named(part: str, found: slstm.Evaluation,
           dataset: base.DataSet) -> dict[str, Any]:
  name = dataset.task.metric_name
  return {**_judged(dataset), f'{part}_{name}': found.metric,
          f'{part}_loss': found.loss}  # yapf: disable


def _judged(dataset: base.DataSet) -> dict[str, Any]:
  task = dataset.task
  return {'metric': task.metric_name, 'higher_is_better': task.higher_is_better,
          'data': base.describe(dataset)}  # yapf: disable


class Source(NamedTuple):
  """A stage's model, and what is known of it.

  Attributes:
    folder: the work directory.
    model: is what config.json says, see `read_model`.
    read: what the stage read of the config.
    data_digest: of the data that it was made with.
  """
  folder: Path
  model: slstm.Model
  read: dict[str, Any]
  data_digest: str


def read_model(folder: Path) -> Source:
  """The model of a work directory, checked against its config.json.

  Raises:
    FileNotFoundError: if a file is absent.
    ValueError: if it is not the model that the stage wrote, or another one.
  """
  made = runs.read_config(folder)
  model = checkpoint.load_model(folder / 'model')
  found, told = _traits(model), _told(made['experiment'])
  for name, value in told.items():
    if value != found[name]:
      raise ValueError(
          f'{folder} holds a model with {name} {found[name]}, but its '
          f'config.json says {value}. One of them was swapped or edited; '
          'restore it, or remove the folder to run its stage anew.')
  # Runs of before there were digests of models have none.
  digest = made.get('model_digest')
  if digest not in (None, checkpoint.digest(model)):
    raise ValueError(
        f'{folder}/model is not what its stage wrote: its digest is not that '
        'in config.json (model_digest). It was swapped or edited; restore it, '
        'or remove the folder to run its stage anew.')
  return Source(folder, model, made['experiment'], made['data_digest'])


def _traits(model: slstm.Model) -> dict[str, Any]:
  """What options of a config can be seen in a model, as JSON has them."""
  config = dataclasses.asdict(model.config)
  spiking = model.encoder.neuron is not None
  return {**config, 'pooling': list(model.config.pooling),
          'hidden': [layer.num_units for layer in model.layers],
          'sites': sorted(model.layers[0].neurons.present),
          'encoding': 'spiking' if spiking else 'direct'}  # yapf: disable


def _told(read: dict[str, Any]) -> dict[str, Any]:
  """The same as a stage has read them."""
  section = read.get('model', {})
  lstm = {'num_steps': 1, 'sites': []} if section else {}
  conversion = read.get('conversion', lstm)
  seen = ('num_steps', 'coupling', 'surrogate', 'width', 'encoding')
  told = {k: conversion[k] for k in seen if k in conversion}
  if conversion.get('neuron') == config_lib.SIGMA_DELTA:
    told.pop('coupling', None)  # that of T = 1 means nothing
  if 'sites' in conversion:
    told['sites'] = sorted(conversion['sites'])
  seen = ('hidden', 'family', 'slope', 'levels', 'pooling')
  return told | {k: section[k] for k in seen if k in section}


def load(folder: Path,
         dataset: base.DataSet,
         spiking: bool | None = None) -> Source:
  """`read_model` for a stage that reads an SNN, an LSTM or (None) either."""
  found = read_model(folder)
  if found.data_digest != base.digest(dataset):
    raise ValueError(
        f'{folder} holds a model of other data (data_digest in config.json), '
        f'those of {found.read.get("data")}; give the --config and '
        'config.data that it was made with, or another folder.')
  if spiking is not None and found.model.is_spiking != spiking:
    kinds = {True: 'an SNN, as convert writes it', False: 'an LSTM, as '
             'train_ann writes it'}  # yapf: disable
    raise ValueError(f'{folder} holds {kinds[not spiking]}; expected '
                     f'{kinds[spiking]}. Give the work directory of that.')
  return found


def _begin(workdir: Path,
           stage: str,
           read: dict[str, Any],
           sources: dict[str, Source],
           reuse: Paths = ()) -> bool:
  """`runs.begin` of a stage that reads models of one data set."""
  digests = {k: checkpoint.digest(v.model) for k, v in sources.items()}
  folders = {k: v.folder for k, v in sources.items()}
  data_digest = sources['source'].data_digest
  return runs.begin(workdir, stage, read, data_digest, folders, reuse, digests)


def _write_model(workdir: Path, model: slstm.Model) -> None:
  """Writes a stage's model; a killed run may have left one there already."""
  shutil.rmtree(workdir / 'model', ignore_errors=True)
  slstm.save_model(workdir / 'model', model)
  runs.record(workdir, model_digest=checkpoint.digest(model))
