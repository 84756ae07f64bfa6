"""What training minimises, over one batch."""

import jax
import jax.numpy as jnp
import optax

from slstm import model
from slstm import types
from slstm.optimiser import constrain
from slstm.optimiser import TrainConfig
from slstm.types import Array, Config, Params


def smoothed(labels: Array, num_classes: int, smoothing: float) -> Array:
  """Target probabilities [B, K] of labels [B]."""
  return optax.smooth_labels(jax.nn.one_hot(labels, num_classes), smoothing)


def cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
  """Cross-entropy of each example with smoothed labels, [B]."""
  return optax.softmax_cross_entropy(
      logits, smoothed(labels, logits.shape[-1], smoothing))


def spike_rate(record: types.Record) -> Array:
  """Mean |s| of the spikes of h; mean |h| where h is analog."""
  spikes = record.spikes_of_h
  return jnp.mean(jnp.abs(record.state.h if spikes is None else spikes))


def dropout_mask(key: Array, raw: Params, batch_size: int,
                 dropout: float) -> Array | None:
  """What multiplies the pooled output, [B, P H]: 0 or 1 / (1 - dropout)."""
  if not dropout:
    return None
  keep = 1.0 - dropout
  shape = batch_size, raw.readout.w.shape[0]
  return jax.random.bernoulli(key, keep, shape) / keep


def loss(raw: Params, x: Array, targets: Array, mask: Array | None,
         config: Config, train_config: TrainConfig) -> Array:
  """Mean cross-entropy of a batch plus rate_penalty times the `spike_rate`.

  Args:
    raw: unbounded parameters.
    x: inputs, [N, B, D].
    targets: probability of each class, [B, K].
    mask: from `dropout_mask`; None for no dropout.
    config: the network.
    train_config: penalty, executor.
  """
  penalised = train_config.rate_penalty > 0
  params = constrain(raw)
  output = model.apply(params, x, config, train_config.executor,
                       spike_rate if penalised else None)
  logits = output.logits
  if mask is not None:
    logits = model.read_out(params.readout, output.pooled * mask)
  value = jnp.mean(optax.softmax_cross_entropy(logits, targets))
  if penalised:
    rates = jnp.stack([jnp.mean(rate) for rate in output.observed])
    value += train_config.rate_penalty * jnp.mean(rates)
  return value
