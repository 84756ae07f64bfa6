"""Input encoding: direct (analog) or spiking.

Both standardise first, d = (x - mean) / std. Direct encoding presents d at
every time step, so W d is computed once an element, and at inference mean and
std fold into W and b of the first layer. Spiking encoding runs one ternary
neuron a feature under the drive d, whose threshold takes std in; the first
product only accumulates (goes beyond Datta et al. 2022):

  encoder_steps = 0      step t of the layers sees amplitude s_t, one spike at
                         most, t = 1..T
  encoder_steps = S > 0  all T steps see amplitude (s_1 + .. + s_S) / S, which
                         is accumulated spike by spike, once an element

With coupling 'shared' or 'rate' all steps see the mean in any case.
"""

import jax
import jax.numpy as jnp

from slstm import neurons
from slstm.types import Array, Config, Encoder


def identity(num_features: int) -> Encoder:
  """A direct encoder that leaves the input as it is."""
  return Encoder(jnp.zeros((num_features,)), jnp.ones((num_features,)))


def standardising(x: Array, shared_scale: bool = False) -> Encoder:
  """A direct encoder with the statistics of training data.

  Args:
    x: training inputs, [..., D]; a feature that never changes keeps std 1.
    shared_scale: divide all features by one std, the root mean square of
      theirs. It is for features of one kind, such as pixels, of which some
      hardly ever change and would be blown up where they do.

  Returns:
    An Encoder with mean and std of shape [D].
  """
  axes = tuple(range(x.ndim - 1))
  mean = jnp.mean(x, axes, dtype=jnp.float32)
  std = jnp.std(x.astype(jnp.float32), axes)
  changes = std > 1e-6 * jnp.abs(mean)  # more than rounding of the mean
  if shared_scale:
    std = jnp.full_like(std, jnp.sqrt(jnp.mean(jnp.square(std))))
    changes = changes.any()
  return Encoder(mean, jnp.where(changes, std, 1.0))


def encode(encoder: Encoder, x: Array, config: Config) -> Array:
  """Turns a batch of sequences into the first layer's input.

  Args:
    encoder: statistics and, for spiking encoding, the neuron. The statistics
      are data: no gradient flows into them.
    x: raw input, [N, B, D].
    config: num_steps, encoder_steps, coupling and the surrogate.

  Returns:
    [N, 1, B, D], or [N, T, B, D] of amplitude times spikes.

  Raises:
    ValueError: if x is not [N, B, D] with the encoder's D.
  """
  if encoder.neuron is None:
    return _standardise(encoder, x)[:, None]
  if config.coupling != 'step' or config.encoder_steps:
    return neurons.staircase(encoder.neuron,
                             _standardise(encoder,
                                          x)[:, None], config.input_steps, True,
                             config.surrogate, config.width)
  return spikes(encoder, x, config)


def spikes(encoder: Encoder, x: Array, config: Config) -> Array:
  """What the first product accumulates, step by step.

  Args:
    encoder, x, config: as for `encode`; the encoder has a neuron.

  Returns:
    Amplitude times spikes, [N, S, B, D]; their mean over S is what `encode`
    hands on if it hands on one value for all steps.

  Raises:
    ValueError: if x is not [N, B, D] with the encoder's D.
  """
  assert encoder.neuron is not None
  d = _standardise(encoder, x)
  train = neurons.spike_train(
      encoder.neuron, jnp.broadcast_to(d, (config.input_steps, *d.shape)), True,
      config.surrogate, config.width)
  return jnp.moveaxis(
      neurons.align(encoder.neuron.amplitude, train) * train, 0, 1)


def _standardise(encoder: Encoder, x: Array) -> Array:
  """The drive d, [N, B, D]; raises ValueError if x does not fit."""
  if encoder.mean.ndim != 1 or encoder.std.shape != encoder.mean.shape:
    raise ValueError(
        f'encode: encoder.mean has shape {encoder.mean.shape}, encoder.std '
        f'has shape {encoder.std.shape}; expected [D] for both.')
  if x.ndim != 3 or x.shape[-1:] != encoder.mean.shape:
    raise ValueError(f'encode: x has shape {x.shape}; expected [N, B, D] with '
                     f'D = {encoder.mean.shape[0]} features (time-major).')
  mean, std = jax.lax.stop_gradient((encoder.mean, encoder.std))
  return (x - neurons.align(mean, x)) / neurons.align(std, x)
