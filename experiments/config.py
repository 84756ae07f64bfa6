"""The config of an experiment: nested frozen dataclasses.

Each option is defined once, here or in the dataclass of its data set, with its
default and its meaning. On the command line it is --config.SECTION.OPTION.
"""

import dataclasses
import re
from typing import Any, Iterator

import slstm
from slstm import fitting
from slstm import model
from slstm import types
from slstm.wavefront import obstacle

SIGMA_DELTA = 'sigma_delta'


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The source LSTM.

  Attributes:
    hidden: units of each layer.
    family: activations: standard, hard or quantised.
    slope: a of the hard sigmoid; hard and quantised only.
    levels: Q; quantised only.
    pooling: what the read-out sees, any of last, mean, max.
  """
  hidden: tuple[int, ...] = (64,)
  family: str = 'hard'
  slope: float = 3.0
  levels: int = 2
  pooling: tuple[str, ...] = ('mean',)

  def __post_init__(self):
    self.config()
    if not self.hidden or not all(
        isinstance(units, int) and units > 0 for units in self.hidden):
      raise ValueError(f'hidden is {self.hidden}; expected the units of each '
                       'layer, >= 1, such as 64,64.')
    unread = {'standard': ('slope', 'levels'), 'hard': ('levels',)}
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.name in unread.get(self.family, ()) and value != field.default:
        raise ValueError(f'{field.name} is {value}, but family {self.family!r} '
                         'does not read it; leave it out.')

  def config(self) -> slstm.Config:
    """What the library calls it."""
    fields = dataclasses.asdict(self)
    del fields['hidden']
    return slstm.Config(**fields)


@dataclasses.dataclass(frozen=True)
class Training:
  """How a network is trained.

  Attributes:
    epochs: passes over the training data.
    batch_size: B.
    learning_rate: its peak.
    weight_decay: of weight matrices.
    label_smoothing: of the targets, in [0, 1).
    dropout: of the pooled features, in [0, 1).
    executor: sequential, stacked, lean (slower, of a third of the memory at T =
      8 with coupling step) or wavefront.
  """
  epochs: int = 12
  batch_size: int = 64
  learning_rate: float = 3e-3
  weight_decay: float = 1e-3
  label_smoothing: float = 0.1
  dropout: float = 0.3
  executor: str = 'stacked'

  def __post_init__(self):
    types.check_choice('executor', self.executor, tuple(model.EXECUTORS))
    self.config(seed=0)

  def config(self, seed: int) -> slstm.TrainConfig:
    """What the library calls it."""
    fields = dataclasses.asdict(self)
    executor = model.EXECUTORS[fields.pop('executor')]
    for name in ('rate_target', 'input_target'):
      fields.pop(name, None)
    return slstm.TrainConfig(**fields, executor=executor, seed=seed)


@dataclasses.dataclass(frozen=True)
class Tuning(Training):
  """How the converted SNN is trained.

  Attributes:
    neuron_rate: factor on the learning rate for the parameters of neurons; 0
      trains the weights only.
    rate_penalty: weight of the spike rate in the loss.
    rate_target: spikes per unit of h and element above which the loss rises; 0
      for none.
    input_target: the same of a spiking input, per feature.
    distillation: how much of the targets are predictions of the source LSTM, in
      [0, 1].
  """
  epochs: int = 4
  learning_rate: float = 1e-3
  neuron_rate: float = 1.0
  rate_penalty: float = 0.0
  rate_target: float = 0.0
  input_target: float = 0.0
  distillation: float = 0.0

  def config(self, seed: int) -> slstm.TrainConfig:
    """What the library calls it."""
    return dataclasses.replace(super().config(seed),
                               rate_target=self.rate_target or None,
                               input_target=self.input_target or None)


@dataclasses.dataclass(frozen=True)
class Conversion:
  """How the source LSTM becomes spiking.

  Attributes:
    sites: activations that neurons replace, any of i, f, g, o, c, h.
    num_steps: T.
    neuron: lif, or if with its shift: if (uniform rule), if_data, if_floor; or
      sigma_delta, at h.
    rate: spikes per unit of h and element that sigma-delta neurons may send
      before training; the least error within it is chosen.
    input_rate: the same of a spiking input, per feature.
    granularity: one neuron per layer or per unit.
    encoding: of the input, direct or spiking.
    encoder_steps: of a spiking encoder per element, whose sum all T steps
      share; 0 for T, one for each with coupling step.
    coupling: step or shared, see `slstm.Config`.
    surrogate: gradient of a spike.
    width: its width in units of the threshold.
    calibration: training examples to fit neurons to.
  """
  sites: tuple[str, ...] = ('o', 'c')
  num_steps: int = 2
  neuron: str = 'lif'
  rate: float = 0.08
  input_rate: float = 0.6
  granularity: str = 'unit'
  encoding: str = 'direct'
  encoder_steps: int = 0
  coupling: str = 'step'
  surrogate: str = 'triangle'
  width: float = 1.0
  calibration: int = 512

  def __post_init__(self):
    types.check_choice('neuron', self.neuron, (*fitting.FITS, SIGMA_DELTA))
    for name in ('rate', 'input_rate'):
      types.check_positive(name, getattr(self, name))
    if self.is_sigma_delta and (self.sites != ('h',) or
                                self.coupling == 'step' and self.num_steps > 1):
      raise ValueError(f'neuron is {SIGMA_DELTA} and sites are '
                       f'{",".join(self.sites)}, num_steps {self.num_steps}, '
                       f'coupling {self.coupling}; expected sites h, and '
                       'coupling shared if there are several steps.')
    if self.is_sigma_delta and self.granularity != 'unit':
      raise ValueError(f'granularity is {self.granularity}; expected unit, as '
                       f'{SIGMA_DELTA} makes a neuron for each.')
    types.check_choice('encoding', self.encoding, ('direct', 'spiking'))
    if self.encoder_steps and self.encoding == 'direct':
      raise ValueError(f'encoder_steps is {self.encoder_steps}; it needs '
                       "encoding 'spiking'.")
    if self.calibration < 1:
      raise ValueError(f'calibration is {self.calibration}; expected >= 1.')
    self.config()

  @property
  def is_sigma_delta(self) -> bool:
    """Whether neurons are chosen by `slstm.trade_off`, not by `convert`."""
    return self.neuron == SIGMA_DELTA

  def config(self) -> slstm.ConversionConfig:
    """What the library calls it, of neurons that `slstm.convert` fits."""
    fields = dataclasses.asdict(self)
    if self.is_sigma_delta:
      fields['neuron'] = 'lif'
    for name in ('calibration', 'rate', 'input_rate'):
      del fields[name]
    fit = fitting.FITS[fields.pop('neuron')]
    encoder_fit = fit if fields.pop('encoding') == 'spiking' else None
    return slstm.ConversionConfig(**fields, fit=fit, encoder_fit=encoder_fit)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that decides the result of an experiment.

  Attributes:
    data: a data set, see `experiments.datasets.base`.
    model: the source LSTM.
    ann: its training.
    conversion: to the SNN.
    snn: its training.
    seed: of the initial weights, the order of examples, augmentation, dropout.
  """
  data: Any
  model: ModelConfig = ModelConfig()
  ann: Training = Training()
  conversion: Conversion = Conversion()
  snn: Tuning = Tuning()
  seed: int = 0

  def __post_init__(self):
    self.ann.config(self.seed)  # refuses a seed that is none
    reason = obstacle((), types.Config(coupling=self.conversion.coupling))
    if self.snn.executor == 'wavefront' and reason:
      raise ValueError(
          'config.snn.executor is wavefront, but config.conversion'
          f'.coupling is {self.conversion.coupling}: {reason} Give '
          'stacked or lean.')
    short = getattr(self.data, 'short_epochs', 0)
    if short and self.model.family != 'standard':
      raise ValueError(f'config.data.short_epochs is {short}; it needs config.'
                       'model.family=standard, whose gates can be stretched.')


def replace(node: Any, **changes: Any) -> Any:
  """`dataclasses.replace` that goes into nested dataclasses.

  Example:
    replace(experiment, snn={'epochs': 3}, seed=1)
  """
  for name, value in changes.items():
    inner = getattr(node, name)
    if dataclasses.is_dataclass(inner) and isinstance(value, dict):
      try:
        changes[name] = replace(inner, **value)
      except ValueError as error:
        raise ValueError(f'config.{name}: {error}') from error
  return dataclasses.replace(node, **changes)


def source_name(experiment: Experiment) -> str:
  """What a pipeline calls its source LSTM: standard, hard or quantised_Q2."""
  model_ = experiment.model
  levels = f'_Q{model_.levels}' if model_.family == 'quantised' else ''
  return model_.family + levels


def with_family(experiment: Experiment,
                family: str,
                levels: int = ModelConfig.levels) -> Experiment:
  """An experiment with a source LSTM of other activations."""
  if family != 'quantised':
    levels = ModelConfig.levels  # The others do not read it.
  if (family, levels) == (experiment.model.family, experiment.model.levels):
    return experiment
  slope = ModelConfig.slope
  model_changes = {'family': family, 'slope': slope, 'levels': levels}
  changes: dict[str, Any] = {'model': model_changes}
  if getattr(experiment.data, 'short_epochs', 0) and family != 'standard':
    changes['data'] = {'short_epochs': 0}  # it needs gates to stretch
  return replace(experiment, **changes)


def sigma_delta(experiment: Experiment, num_steps: int) -> Experiment:
  """The same with sigma-delta neurons, trained to keep to their rates."""
  conversion = {'neuron': SIGMA_DELTA, 'sites': ('h',), 'num_steps': num_steps,
                'coupling': 'step' if num_steps == 1 else 'shared',
                'granularity': 'unit'
               }  # yapf: disable
  spiking = experiment.conversion.encoding == 'spiking'
  targets = {'rate_target': experiment.conversion.rate,
             'input_target': experiment.conversion.input_rate * spiking
            }  # yapf: disable
  return replace(experiment, conversion=conversion, snn=targets)


def options(node: Any, prefix: str = '') -> Iterator[tuple[str, Any, str]]:
  """Yields (path, value, meaning in the docstring) of every option."""
  docs = '\n'.join(cls.__doc__ or '' for cls in type(node).__mro__)
  for field in dataclasses.fields(node):
    value, path = getattr(node, field.name), prefix + field.name
    if dataclasses.is_dataclass(value):
      yield from options(value, f'{path}.')
    else:
      found = re.search(rf'\n    {field.name}: (.*?)(?=\n {{,4}}\S|\s*$)', docs,
                        re.DOTALL)
      yield path, value, ' '.join(found[1].split()) if found else ''
