"""Watches what a network does on real data: spikes, zeros and magnitudes.

Sums run over sequences only, so that whoever counts operations can still tell
elements, steps and units apart. They are exact integers: a float32 sum over a
whole batch would lose some.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slstm import encoders
from slstm import model
from slstm import neurons
from slstm import types
from slstm.types import Array, Config, Layer, Params, Sites


class Activity(NamedTuple):
  """Activity of a layer at each (n, t, unit), over all sequences.

  S is T, or 1 where all T steps of an element are the same: with coupling
  'rate', and in analog layers with 'shared' or upon such an input. The input
  encoder is shown like a layer with the site h alone, S being its own steps.

  Attributes:
    nonzero: in how many sequences the output of each site was not 0, int32
      [N, S, H].
    spikes: spikes of each converted site likewise, [N, S, H]; with coupling
      'rate' the sum over the T steps of the element.
    low: smallest magnitude of a non-zero h, [N, S, H]; inf where h stayed 0.
    high: largest magnitude of h, [N, S, H].
  """
  nonzero: Sites
  spikes: Sites
  low: Any
  high: Any


def watch(params: Params,
          x: Any,
          config: Config,
          executor: str = 'stacked',
          batch_size: int = 128) -> tuple[Activity, tuple[Activity, ...]]:
  """Runs a network and sums up its activity.

  Args:
    params: an ANN or SNN.
    x: raw input, NumPy or JAX, [N, B, D]; B may exceed what fits in memory.
    config: static choices; num_steps is T.
    executor: a key of `executor.EXECUTORS`; the activity is the same.
    batch_size: sequences run at a time.

  Returns:
    (encoder, layers): activity of the encoder and of each layer.

  Raises:
    ValueError: if x is not [N, B, D] with N, B >= 1 and the network's D, if x
      or the activity is not finite, or for a batch size below 1.
  """
  x = np.asarray(x)
  if x.ndim != 3 or 0 in x.shape:
    raise ValueError(f'watch: x has shape {x.shape}; expected [N, B, D] with '
                     'N, B, D >= 1 (time-major).')
  if not np.isfinite(x).all():
    raise ValueError('watch: x has NaN or infinite values.')
  if batch_size < 1:
    raise ValueError(f'watch: batch_size is {batch_size!r}; expected an '
                     'int >= 1.')
  batches = (jax.device_get(
      _watch(params, x[:, start:start + batch_size], config, executor))
             for start in range(0, x.shape[1], batch_size))
  encoder, layers = functools.reduce(_merge, batches)
  for name, seen in (('encoder', encoder), *enumerate(layers)):
    if not np.isfinite(seen.high).all():
      raise ValueError(f'watch: the output of encoder or layer {name} is not '
                       'finite; is a leaf of params NaN?')
  return encoder, layers


def is_spikes(seen: Activity, amplitude: Any) -> bool:
  """Whether every value of h was found to be amplitude * {-1, 0, 1}.

  Args:
    seen: activity of a layer.
    amplitude: that of a spike, [] or [H]; None where there is none.
  """
  if amplitude is None:
    return False
  size = np.abs(np.asarray(amplitude))
  one_size = (seen.low == size) & (seen.high == size)
  return bool(np.all(one_size | (seen.high == 0)))


@functools.partial(jax.jit, static_argnames=('config', 'executor'))
def _watch(params: Params, x: Array, config: Config,
           executor: str) -> tuple[Activity, tuple[Activity, ...]]:
  """The activity in one batch."""
  rate = config.coupling == 'rate'
  observed = model.apply(
      params, x, config, executor, lambda record:
      (_see(record.output, record.spikes), record.drive
       if rate else None)).observed
  # Spikes, also where the encoder hands on their mean.
  encode = encoders.spikes if params.encoder.neuron else encoders.encode
  encoded = encode(params.encoder, x, config)
  layers = []
  steady = params.encoder.neuron is None or config.encoder_steps > 0
  for layer, (seen, drive) in zip(params.layers, observed):
    # What a layer sees is the same at all t, and what it does, too.
    steady = ((steady or config.coupling != 'step') and
              (rate or not layer.neurons.present))
    if steady:
      seen = jax.tree.map(lambda leaf: leaf[:, :1], seen)
    if rate:
      seen = seen._replace(spikes=_staircase_spikes(layer, drive, config))
    layers.append(seen)
  return _see(Sites(h=encoded), Sites()), tuple(layers)


def _see(output: Sites, spikes: Sites) -> Activity:
  """Sums the activity of an update over its batch, the last but one axis."""
  size = jnp.abs(output.h)
  return Activity(nonzero=jax.tree.map(_nonzero, output),
                  spikes=jax.tree.map(_nonzero, spikes),
                  low=jnp.min(jnp.where(size == 0, jnp.inf, size), axis=-2),
                  high=jnp.max(size, axis=-2))


def _nonzero(values: Array) -> Array:
  return jnp.sum(values != 0, axis=-2, dtype=jnp.int32)


def _staircase_spikes(layer: Layer, drive: Sites, config: Config) -> Sites:
  """Spikes of each neuron in T steps of a drive that is constant over t."""

  def spikes(site: str) -> Array:
    d = getattr(drive, site)
    train = neurons.spike_train(
        getattr(layer.neurons, site),
        jnp.broadcast_to(d, (config.num_steps, *d.shape)), site
        in types.SIGNED_SITES)
    return jnp.sum(train != 0, axis=(0, -2), dtype=jnp.int32)

  return Sites(**{site: spikes(site) for site in layer.neurons.present})


def _merge(a: Any, b: Any) -> Any:
  """Joins the activity in two sets of sequences."""

  def merge(a: Activity, b: Activity) -> Activity:
    nonzero, spikes = jax.tree.map(np.add, a[:2], b[:2])
    return Activity(nonzero, spikes, np.minimum(a.low, b.low),
                    np.maximum(a.high, b.high))

  return merge(a[0], b[0]), tuple(map(merge, a[1], b[1]))
