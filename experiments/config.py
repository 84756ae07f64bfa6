"""One frozen config for an experiment, and its flags.

Every field of `Experiment` is a flag of the same name. `--preset` chooses the
values from which the other flags depart, see `presets`.
"""

import dataclasses
from typing import Any, Mapping

from absl import flags

from slstm import executor as executor_lib
from slstm.convert import ConversionConfig
from slstm.optimiser import TrainConfig
from slstm.types import check_choice, Config


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that decides the result of an experiment.

  Attributes:
    dataset: 'uci_har' (embedded), 'mnist', 'speech_commands' or 'npz' (your own
      arrays).
    data: for npz the path of a file with x [examples, N, D], y [examples] and,
      to choose the split yourself, split [examples]: 0 training, 1 validation,
      2 test. Else the folder of the data set's files. By default uci_har is the
      embedded one, the others are in the folder of their name in $SLSTM_DATA,
      and where that is not set they are downloaded.
    order: of the pixels of mnist: rows, pixels or permuted.
    frames: consecutive samples joined to one element of the sequence.
    hidden: units of each layer.
    family: activations of the source LSTM: standard, hard or quantised.
    slope: a of the hard sigmoid.
    levels: levels of the quantised family.
    memory: longest time constant at the start, elements; 0 for a forget bias of
      1 (see `slstm.init`).
    pooling: what the read-out sees: last, mean, max.
    sites: activations that conversion replaces by neurons.
    neuron: lif or if.
    shift: bias shift of an IF: none, uniform or data.
    granularity: one neuron a layer or one a unit.
    encoding: of the SNN's input, direct or spiking.
    encoder_steps: of a spiking encoder an element, whose sum all T steps share;
      0 for T, one for each with coupling step.
    coupling: step, shared or rate.
    num_steps: T.
    surrogate: gradient of a spike.
    width: its width in units of the threshold.
    short_epochs: of the source LSTM on a shorter version of the sequences,
      before `epochs` (MNIST pixel by pixel: images of half the side), see
      `slstm.stretch`.
    epochs: of the source LSTM.
    snn_epochs: of the SNN after conversion.
    batch_size: B.
    learning_rate: peak rate of the source LSTM.
    snn_learning_rate: peak rate of the SNN.
    neuron_rate: factor on it for thresholds, leaks, shifts and amplitudes.
    weight_decay: of weight matrices.
    label_smoothing: of the cross-entropy.
    dropout: of the pooled features.
    rate_penalty: weight of the spike rate in the SNN's loss.
    distillation: how much of the SNN's targets are the probabilities of its
      source LSTM, 0 to 1.
    rotation: training inputs are turned by that much, radians (inertial data).
    noise: standard deviation of noise added to training inputs, units of x.
    time_shift: training inputs are moved by up to that many samples.
    time_mask: up to that many samples are masked, twice.
    feature_mask: up to that many features are masked, twice.
    background: probability of mixing with a training clip of background noise
      (speech_commands).
    calibration: training examples used to calibrate the conversion.
    executor: sequential, stacked, lean (slower, of a third of the memory at T =
      8 with coupling 'step') or wavefront.
    seed: of the initial weights, the order of examples and dropout.
  """
  dataset: str = 'uci_har'
  data: str = ''
  order: str = 'rows'
  frames: int = 1
  hidden: tuple[int, ...] = (64,)
  family: str = 'hard'
  slope: float = 3.0
  levels: int = 2
  memory: float = 0.0
  pooling: tuple[str, ...] = ('mean',)
  sites: tuple[str, ...] = ('o', 'c')
  neuron: str = 'lif'
  shift: str = 'data'
  granularity: str = 'unit'
  encoding: str = 'direct'
  encoder_steps: int = 0
  coupling: str = 'step'
  num_steps: int = 2
  surrogate: str = 'triangle'
  width: float = 1.0
  short_epochs: int = 0
  epochs: int = 12
  snn_epochs: int = 4
  batch_size: int = 64
  learning_rate: float = 3e-3
  snn_learning_rate: float = 1e-3
  neuron_rate: float = 1.0
  weight_decay: float = 1e-3
  label_smoothing: float = 0.1
  dropout: float = 0.3
  rate_penalty: float = 0.0
  distillation: float = 0.0
  rotation: float = 0.0
  noise: float = 0.0
  time_shift: int = 0
  time_mask: int = 0
  feature_mask: int = 0
  background: float = 0.0
  calibration: int = 512
  executor: str = 'stacked'
  seed: int = 0

  def model(self) -> Config:
    """The Config of the source LSTM."""
    return Config(family=self.family,
                  slope=self.slope,
                  levels=self.levels,
                  pooling=self.pooling,
                  surrogate=self.surrogate,
                  width=self.width)

  def conversion(self) -> ConversionConfig:
    """How the source LSTM becomes spiking."""
    return ConversionConfig(sites=self.sites,
                            num_steps=self.num_steps,
                            neuron=self.neuron,
                            shift=self.shift,
                            coupling=self.coupling,
                            granularity=self.granularity,
                            encoding=self.encoding,
                            encoder_steps=self.encoder_steps,
                            surrogate=self.surrogate,
                            width=self.width)

  def check(self) -> None:
    """Raises ValueError, naming the field, if no stage could run this."""
    self.model()
    self.conversion()
    for spiking in False, True:
      self.training(spiking)
    check_choice('--executor', self.executor, tuple(executor_lib.EXECUTORS))
    if self.encoder_steps and self.encoding == 'direct':
      raise ValueError(f'--encoder_steps={self.encoder_steps} needs '
                       '--encoding=spiking.')
    if not executor_lib.runs(self.executor, self.coupling):
      raise ValueError(f'--executor={self.executor} cannot run '
                       f'--coupling={self.coupling}; give stacked or lean.')
    if self.short_epochs < 0:
      raise ValueError(f'--short_epochs={self.short_epochs}: expected >= 0.')
    if self.short_epochs and self.family != 'standard':
      raise ValueError(f'--short_epochs={self.short_epochs} needs '
                       '--family=standard, whose gates can be stretched.')
    if self.short_epochs and self.memory:
      raise ValueError(f'--short_epochs={self.short_epochs} stretches the time '
                       f'constants, and --memory={self.memory} sets them; '
                       'give one of them.')

  def training(self, spiking: bool) -> TrainConfig:
    """How the source LSTM or the SNN is trained."""
    return TrainConfig(epochs=self.snn_epochs if spiking else self.epochs,
                       batch_size=self.batch_size,
                       learning_rate=(self.snn_learning_rate
                                      if spiking else self.learning_rate),
                       neuron_rate=self.neuron_rate,
                       weight_decay=self.weight_decay,
                       label_smoothing=self.label_smoothing,
                       dropout=self.dropout,
                       rate_penalty=self.rate_penalty if spiking else 0.0,
                       distillation=self.distillation if spiking else 0.0,
                       executor=self.executor,
                       seed=self.seed)


def define_flags(presets: Mapping[str, Experiment]) -> None:
  """Defines --preset, --work_dir and one flag for each field."""
  flags.DEFINE_enum('preset', 'har', sorted(presets), 'Where to start from.')
  flags.DEFINE_string('work_dir', None, 'Folder to write; made if absent.')
  define: dict[type, Any] = {
      int: flags.DEFINE_integer,
      float: flags.DEFINE_float,
      str: flags.DEFINE_string,
  }
  described = Experiment.__doc__ or ''
  for field in dataclasses.fields(Experiment):
    text = described.split(f'    {field.name}: ')[1].split('\n    ')[0]
    text = ' '.join(text.split())
    if isinstance(field.default, tuple):
      flags.DEFINE_list(field.name, None, text)
    else:
      define[type(field.default)](field.name, None, text)


def from_flags(presets: Mapping[str, Experiment]) -> Experiment:
  """The experiment that the command line asks for.

  Raises:
    ValueError: for a list flag with an entry of the wrong kind.
  """
  changes: dict[str, Any] = {}
  for field in dataclasses.fields(Experiment):
    value = flags.FLAGS[field.name].value
    if value is None:
      continue
    if isinstance(field.default, tuple):
      value = entries(field.name, type(field.default[0]))
    changes[field.name] = value
  return dataclasses.replace(presets[flags.FLAGS.preset], **changes)


def entries(flag: str, kind: type) -> tuple:
  """The entries of a list flag.

  Raises:
    ValueError: names the flag, if one is not of that kind.
  """
  value: list[str] = flags.FLAGS[flag].value or []
  try:
    return tuple(kind(entry) for entry in value)
  except ValueError as error:
    raise ValueError(f'--{flag}={",".join(value)}: expected a list of '
                     f'{kind.__name__}.') from error
