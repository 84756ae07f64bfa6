"""Conversion of a source LSTM into a spiking one: a pytree transform.

Weights stay as they are. Every chosen site receives neurons, fitted to the
distribution of its drive (`slstm.fitting`).

Source: after Datta et al., "Towards Energy-Efficient, Low-Latency and Accurate
Spiking LSTMs", arXiv 2210.12613 (2022).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slstm import activations
from slstm import borders
from slstm import fitting
from slstm import model as model_lib
from slstm import neurons
from slstm import types
from slstm.calibrate import Calibration
from slstm.types import Config, Model, Sites


@dataclasses.dataclass(frozen=True)
class ConversionConfig:
  """What to convert, and how.

  Attributes:
    sites: which of types.SITES become spiking. Only with 'h', or with 'o' and
      'c', are all operands of the recurrent product spikes.
    fit: makes the neurons of a site, such as those of `fitting.FITS`.
    encoder_fit: makes those of the input; None leaves the encoder as it is.
    granularity: one neuron per 'unit', or one per 'layer' (scalar leaves).
    num_steps, encoder_steps, coupling, surrogate, width: see `types.Config`.
  """
  sites: tuple[str, ...] = ('o', 'c')
  num_steps: int = 2
  fit: fitting.Fit = fitting.lif
  encoder_fit: fitting.Fit | None = None
  encoder_steps: int = 0
  coupling: str = 'step'
  granularity: str = 'unit'
  surrogate: str = 'triangle'
  width: float = 1.0

  def __post_init__(self):
    if (not isinstance(self.sites, tuple) or not self.sites or
        len(set(self.sites)) != len(self.sites)):
      raise ValueError(f'ConversionConfig.sites is {self.sites!r}; expected a '
                       'tuple of at least one site, none twice.')
    for site in self.sites:
      types.check_choice('ConversionConfig.sites', site, types.SITES)
    types.check_choice('ConversionConfig.granularity', self.granularity,
                       ('layer', 'unit'))
    types.check_choice('ConversionConfig.surrogate', self.surrogate,
                       tuple(neurons.SURROGATES))
    for fit in (self.fit, self.encoder_fit or self.fit):
      if not callable(fit):
        raise ValueError(f'ConversionConfig: a fit is {fit!r}; expected a '
                         'function, such as one of `fitting.FITS`.')
    self.apply_to(Config())

  def apply_to(self, config: Config) -> Config:
    """The config of the SNN made from a source network's."""
    names = ('num_steps', 'coupling', 'encoder_steps', 'surrogate', 'width')
    return dataclasses.replace(config, **{k: getattr(self, k) for k in names})


class Conversion(NamedTuple):
  """A spiking network, and what was fitted."""
  model: Model
  report: tuple[Sites, ...]  # for each layer the SiteReport of converted sites
  encoder_report: fitting.SiteReport | None  # if it was given neurons here


def convert(
    model: Model,
    calibration: Calibration,
    config: ConversionConfig = ConversionConfig()
) -> Conversion:
  """Puts spiking neurons into a source network, and changes nothing else.

  Args:
    model: the ANN that the calibration was made with; its encoder may spike.
    calibration: distribution of its drives, from `calibrate`.
    config: which sites to convert, and how.

  Raises:
    ValueError: if the model does not fit the calibration or is not finite; for
      encoder_steps of an analog input; if a fit makes no neuron of this layer.

  Example:
    snn = slstm.convert(model, slstm.calibrate(model, x_train[:512])).model
  """
  source, steps, encoder = model, config.encoder_steps, model.encoder
  if model.config != calibration.source.config:
    raise ValueError(f'convert: model has {model.config}, the calibration '
                     f'{calibration.source.config}; expected the same.')
  if config.encoder_fit is None:  # an encoder that spikes already may stay
    if steps and encoder.neuron is None:
      raise ValueError(f'convert: encoder_steps is {steps}, but the input '
                       'stays analog; expected an encoder_fit, or 0 steps.')
    source = dataclasses.replace(model, encoder=encoder._replace(neuron=None))
  borders.check_leaves(source, calibration.source,
                       'convert: model against the calibration')
  borders.check_model(source, 'convert: model')
  snn_config = config.apply_to(model.config)
  centres = jnp.asarray(calibration.centres)
  by_layer = config.granularity == 'layer'

  def fitted(fit, histogram, target, num_steps, signed):
    """(neuron of leaves [] or [H], its report)."""
    problem = fitting.Problem(calibration.centres,
                              np.asarray(target, np.float64), num_steps, signed)
    counts = [c.sum(0, keepdims=True) if by_layer else c for c in histogram]
    halves = [c / c.sum(1, keepdims=True) for c in counts]
    neuron, report = fit(problem, *halves)
    neurons.kind_of(neuron)  # refuses what is no neuron
    leaf = jnp.squeeze if by_layer else jnp.asarray
    return jax.tree.map(leaf, neuron), report

  layers, reports = [], []
  for layer, histograms in zip(model.layers, calibration.layers):
    made, report = {}, {}
    for site in config.sites:
      target = jnp.clip(activations.squash(site, centres, model.config), -1, 1)
      signed = site in types.SIGNED_SITES
      made[site], report[site] = fitted(config.fit, getattr(histograms, site),
                                        target, config.num_steps, signed)
    layers.append(layer._replace(neurons=Sites(**made)))
    reports.append(Sites(**report))
  encoder_report = None
  if config.encoder_fit is not None:
    neuron, encoder_report = fitted(config.encoder_fit, calibration.input,
                                    centres, snn_config.input_steps, True)
    encoder = encoder._replace(neuron=neuron)
  snn = Model(encoder, tuple(layers), model.readout, snn_config)
  model_lib.check_model(snn)
  borders.check_model(snn, 'convert: what the fits made')
  return Conversion(snn, tuple(reports), encoder_report)
