"""Input encoding: direct (analog) or spiking.

Both standardise first, (x - mean) / std, which at inference folds into W and b
of the first layer. Direct encoding presents the analog value at every time
step, so W x is computed once an element. Spiking encoding runs one ternary
neuron a feature, which makes the first product accumulate-only at T times as
many, sparse, operations (goes beyond Datta et al. 2022).
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
    config: num_steps, coupling and the surrogate.

  Returns:
    [N, 1, B, D], or [N, T, B, D] of amplitude times spikes.

  Raises:
    ValueError: if x is not [N, B, D] with the encoder's D.
  """
  if encoder.mean.ndim != 1 or encoder.std.shape != encoder.mean.shape:
    raise ValueError(
        f'encode: encoder.mean has shape {encoder.mean.shape}, encoder.std '
        f'has shape {encoder.std.shape}; expected [D] for both.')
  if x.ndim != 3 or x.shape[-1:] != encoder.mean.shape:
    raise ValueError(f'encode: x has shape {x.shape}; expected [N, B, D] with '
                     f'D = {encoder.mean.shape[0]} features (time-major).')
  mean, std = jax.lax.stop_gradient((encoder.mean, encoder.std))
  d = ((x - neurons.align(mean, x)) / neurons.align(std, x))[:, None]
  neuron = encoder.neuron
  if neuron is None:
    return d
  if config.coupling == 'rate':
    return neurons.staircase(neuron, d, config.num_steps, True,
                             config.surrogate, config.width)

  spikes = neurons.spike_train(
      neuron, jnp.broadcast_to(d[:, 0], (config.num_steps, *x.shape)), True,
      config.surrogate, config.width)
  return jnp.moveaxis(neurons.align(neuron.amplitude, spikes) * spikes, 0, 1)
