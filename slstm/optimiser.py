"""How parameters move: rates, schedule, and unbounded coordinates.

Thresholds and leaks move in the coordinates of `neurons.unconstrain`, so that
they stay in range without clamping. The input statistics do not move.
"""

import dataclasses
import functools
from typing import Any, Callable

import jax
import optax

from slstm import neurons
from slstm import types
from slstm.types import Params


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How to train.

  Attributes:
    epochs: passes over the training data.
    batch_size: B; the examples left over in an epoch are dropped.
    learning_rate: peak rate of AdamW for weights.
    neuron_rate: factor on it for thresholds, leaks, shifts and amplitudes; 0
      trains the weights only.
    warmup: fraction of all steps with a rising rate; a cosine follows.
    weight_decay: decoupled decay of the weight matrices.
    clip_norm: largest global norm of a gradient.
    label_smoothing: in [0, 1).
    dropout: probability of dropping a pooled feature, in [0, 1).
    rate_penalty: weight of the mean spike rate of h in the loss, >= 0.
    distillation: share of the targets that a teacher gives, in [0, 1].
    average: decay of the moving average of the parameters, in [0, 1); what is
      validated and kept is the average. 0 keeps the parameters themselves.
    executor: schedule of the training step.
    seed: of the order of examples and of dropout.
  """
  epochs: int = 20
  batch_size: int = 64
  learning_rate: float = 3e-3
  neuron_rate: float = 1.0
  warmup: float = 0.1
  weight_decay: float = 1e-3
  clip_norm: float = 1.0
  label_smoothing: float = 0.1
  dropout: float = 0.0
  rate_penalty: float = 0.0
  distillation: float = 0.0
  average: float = 0.99
  executor: str = 'stacked'
  seed: int = 0

  def __post_init__(self):
    for name in ('epochs', 'batch_size'):
      if getattr(self, name) < 1:
        raise ValueError(f'TrainConfig.{name} is {getattr(self, name)}; '
                         'expected >= 1.')
    for name in ('learning_rate', 'clip_norm'):
      types.check_positive(f'TrainConfig.{name}', getattr(self, name))
    for name in ('neuron_rate', 'weight_decay', 'rate_penalty'):
      if not 0 <= getattr(self, name) < float('inf'):
        raise ValueError(f'TrainConfig.{name} is {getattr(self, name)}; '
                         'expected a finite number >= 0.')
    if not 0 <= self.distillation <= 1:
      raise ValueError(f'TrainConfig.distillation is {self.distillation}; '
                       'expected a number in [0, 1].')
    for name in ('warmup', 'label_smoothing', 'dropout', 'average'):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(f'TrainConfig.{name} is {getattr(self, name)}; '
                         'expected a number in [0, 1).')


def map_neurons(function: Callable, params: Params) -> Params:
  """Applies `function` to every Neuron of a tree and leaves the rest."""
  is_neuron = lambda node: isinstance(node, types.Neuron)
  return jax.tree.map(lambda node: function(node) if is_neuron(node) else node,
                      params,
                      is_leaf=is_neuron)


def unconstrain(params: Params) -> Params:
  """Parameters in the unbounded coordinates of training."""
  return map_neurons(neurons.unconstrain, params)


def constrain(raw: Params) -> Params:
  """The inverse of `unconstrain`."""
  return map_neurons(neurons.constrain, raw)


def optimiser(config: TrainConfig,
              num_updates: int) -> optax.GradientTransformation:
  """AdamW with warm-up and cosine, clipping, and a rate for the neurons.

  Args:
    config: the rates.
    num_updates: of the whole training.
  """

  def adamw(rate):
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, rate, max(1, int(config.warmup * num_updates)),
        max(2, num_updates))
    return optax.adamw(schedule,
                       weight_decay=config.weight_decay,
                       mask=functools.partial(jax.tree.map,
                                              lambda leaf: leaf.ndim == 2))

  def labels(params: Params) -> Params:
    tags: Any = map_neurons(
        lambda neuron: jax.tree.map(lambda _: 'neuron', neuron),
        jax.tree.map(lambda _: 'weight', params))
    return tags._replace(
        encoder=tags.encoder._replace(mean='fixed', std='fixed'))

  return optax.chain(
      optax.clip_by_global_norm(config.clip_norm),
      optax.partition(
          {
              'weight': adamw(config.learning_rate),
              'neuron': adamw(config.learning_rate * config.neuron_rate),
              'fixed': optax.set_to_zero(),
          }, labels))
