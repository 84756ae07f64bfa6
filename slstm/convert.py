"""Conversion of a source LSTM into a spiking one: a pytree transform.

  convert(ANN params, calibration, config) -> SNN params

Weights stay as they are; every chosen site receives neurons, fitted to the
distribution of its drive (`slstm.rules`). Which leaves the result has depends
on the config and on the shapes, not on the data.

Source: after Datta et al., "Towards Energy-Efficient, Low-Latency and Accurate
Spiking LSTMs", arXiv 2210.12613 (2022).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slstm import activations
from slstm import coverage
from slstm import fit_if
from slstm import rules
from slstm import surrogate as surrogate_lib
from slstm import types
from slstm.calibrate import Calibration
from slstm.calibrate import Histogram
from slstm.types import Config, Gates, Layer, Neuron, Params, Readout, Sites


@dataclasses.dataclass(frozen=True)
class ConversionConfig:
  """What to convert, and how.

  Attributes:
    sites: which of types.SITES become spiking. Only with 'h', or with 'o' and
      'c', are all operands of the recurrent product spikes.
    num_steps: T.
    neuron: 'lif', or 'if' (no leak, v_th = amplitude = 1).
    shift: v_0 of the 'if': 'none', the 'uniform' rule, or fitted to 'data'. The
      'lif' always fits its own. 'none' shows what the shift of i, f and o is
      worth; the shift of a ternary neuron is its fire level, which stays.
    coupling: 'step', 'shared' or 'rate', see `types.Config`.
    granularity: one neuron for a 'layer' (scalar leaves), or one a 'unit'.
    encoding: of the input, 'direct' or 'spiking' (see `slstm.encoders`); the
      neurons of the latter are fitted to the identity.
    encoder_steps: of a spiking encoder, see `types.Config`.
    surrogate: gradient of a spike, a key of `surrogate.SURROGATES`.
    width: width of that gradient in units of the threshold, > 0.
  """
  sites: tuple[str, ...] = ('o', 'c')
  num_steps: int = 2
  neuron: str = 'lif'
  shift: str = 'uniform'
  coupling: str = 'step'
  granularity: str = 'layer'
  encoding: str = 'direct'
  encoder_steps: int = 0
  surrogate: str = 'triangle'
  width: float = 1.0

  def __post_init__(self):
    if (not isinstance(self.sites, tuple) or not self.sites or
        len(set(self.sites)) != len(self.sites)):
      raise ValueError(f'ConversionConfig.sites is {self.sites!r}; expected a '
                       'tuple of at least one site, none twice.')
    for name, value, choices in (
        *(('sites', site, types.SITES) for site in self.sites),
        ('neuron', self.neuron, ('lif', 'if')),
        ('shift', self.shift, ('none', 'uniform', 'data')),
        ('granularity', self.granularity, ('layer', 'unit')),
        ('encoding', self.encoding, ('direct', 'spiking')),
        ('surrogate', self.surrogate, tuple(surrogate_lib.SURROGATES)),
    ):
      types.check_choice(f'ConversionConfig.{name}', value, choices)
    self.apply_to(Config())

  def apply_to(self, config: Config) -> Config:
    """The config of the SNN made from a source network's."""
    return dataclasses.replace(config,
                               num_steps=self.num_steps,
                               coupling=self.coupling,
                               encoder_steps=self.encoder_steps,
                               surrogate=self.surrogate,
                               width=self.width)


class Conversion(NamedTuple):
  """A spiking network, and what was fitted.

  Attributes:
    params: the SNN.
    config: its config.
    report: for each layer the SiteReport of each converted site.
    encoder_report: that of the encoder, if this conversion gave it neurons.
  """
  params: Params
  config: Config
  report: tuple[Sites, ...]
  encoder_report: rules.SiteReport | None = None


def convert(params: Params, calibration: Calibration,
            config: ConversionConfig) -> Conversion:
  """Puts spiking neurons into a source network.

  Args:
    params: the ANN that the calibration was made with.
    calibration: distribution of its drives, from `calibrate`.
    config: what to convert, and how.

  Returns:
    A Conversion; all leaves of its params but the neurons are the source's own.

  Raises:
    ValueError: naming the leaf, if params do not fit the calibration, already
      have neurons, or have a value that is not finite; for encoder_steps
      without a spiking encoder.
  """
  source = params
  if config.encoding == 'direct':  # an encoder that spikes already may stay
    source = params._replace(encoder=params.encoder._replace(neuron=None))
    if config.encoder_steps and params.encoder.neuron is None:
      raise ValueError('convert: encoder_steps is '
                       f'{config.encoder_steps}, but the input stays analog; '
                       "expected encoding='spiking', or 0 steps.")
  coverage.check_leaves(source, _template(params, calibration),
                        'convert: params against the calibration')
  layers, reports = [], []
  for layer, histograms in zip(params.layers, calibration.layers):
    made = {
        site:
            _convert_site(site, getattr(histograms, site), calibration, config)
        for site in config.sites
    }
    layers.append(
        layer._replace(neurons=Sites(**{
            k: v[0] for k, v in made.items()
        })))
    reports.append(Sites(**{k: v[1] for k, v in made.items()}))
  encoder, encoder_report = params.encoder, None
  if config.encoding == 'spiking':
    steps = config.apply_to(calibration.config).input_steps
    neuron, encoder_report = _fit(calibration.centres, True, calibration.input,
                                  calibration,
                                  dataclasses.replace(config, num_steps=steps))
    encoder = encoder._replace(neuron=neuron)
  return Conversion(params._replace(encoder=encoder, layers=tuple(layers)),
                    config.apply_to(calibration.config), tuple(reports),
                    encoder_report)


def _template(params: Params, calibration: Calibration) -> Params:
  """The shapes that a source network of this calibration has."""

  def leaf(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.float32)

  def four(*shape: int) -> Gates:
    return Gates(*[leaf(*shape)] * 4)

  features = calibration.input.fit.shape[:1]
  layers, fan_in = [], features[0]
  for histograms in calibration.layers:
    hidden = histograms.c.fit.shape[0]
    layers.append(
        Layer(four(fan_in, hidden), four(hidden, hidden), four(hidden)))
    fan_in = hidden
  classes = np.shape(params.readout.b)
  pooled = len(calibration.config.pooling) * fan_in
  return Params(types.Encoder(leaf(*features), leaf(*features)), tuple(layers),
                Readout(leaf(pooled, *classes), leaf(*classes)))


def _convert_site(site: str, histogram: Histogram, calibration: Calibration,
                  config: ConversionConfig) -> tuple[Neuron, rules.SiteReport]:
  """The neurons of one site, which follow its activation."""
  target = activations.squash(site, jnp.asarray(calibration.centres),
                              calibration.config)
  if site == 'h':
    target = jnp.clip(target, -1.0, 1.0)
  return _fit(target, site in types.SIGNED_SITES, histogram, calibration,
              config)


def _fit(target: Any, signed: bool, histogram: Histogram,
         calibration: Calibration,
         config: ConversionConfig) -> tuple[Neuron, rules.SiteReport]:
  """Fits all rules to one histogram a unit, and chooses."""
  problem = fit_if.Problem(calibration.centres, np.asarray(target, np.float64),
                           config.num_steps, signed)
  p_fit, p_held_out = (
      _weights(counts, config.granularity) for counts in histogram)
  neuron, report = rules.fit_site(problem, p_fit, p_held_out, config.neuron,
                                  config.shift)
  shape = () if config.granularity == 'layer' else (-1,)
  return jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(shape),
                      neuron), report


def _weights(counts: np.ndarray, granularity: str) -> np.ndarray:
  """Counts [H, bins] as weights that sum to 1 in each row, [U, bins]."""
  if granularity == 'layer':
    counts = counts.sum(0, keepdims=True)
  return counts / counts.sum(1, keepdims=True)
