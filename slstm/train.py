"""Training of ANN and SNN: one step, evaluation, and `fit`.

SNN training moves weights, thresholds, leaks, shifts and amplitudes jointly by
the surrogate gradient, in the unbounded coordinates of `slstm.optimiser`.

`fit` is deterministic: the order of the examples and the dropout masks of an
epoch depend on the seed and the epoch alone. Saving its `FitState` at the end
of an epoch and continuing from it gives the parameters of an undisturbed run,
bit by bit on one machine with the same number of devices, which share every
batch (`slstm.parallel`).
"""

import functools
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from slstm import model
from slstm import objective
from slstm import parallel
from slstm.optimiser import constrain
from slstm.optimiser import optimiser
from slstm.optimiser import TrainConfig
from slstm.optimiser import unconstrain
from slstm.parallel import Placement
from slstm.types import Array, Config, Params

Augment = Callable[[Array, Array], Array]


class Data(NamedTuple):
  """A labelled set: x [examples, N, D] float32 and y [examples] int32."""
  x: np.ndarray
  y: np.ndarray


class Teacher(NamedTuple):
  """A network whose probabilities are part of the targets (distillation).

  Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network",
  2015, at temperature 1.
  """
  params: Params
  config: Config


class FitState(NamedTuple):
  """All that `fit` needs to continue after an epoch.

  Attributes:
    raw: parameters in unbounded coordinates.
    average: their moving average.
    opt_state: state of the optimiser.
    best: constrained parameters of the epoch with the best validation score.
    best_accuracy: that score, in [0, 1]; -1 before the first epoch.
    epoch: number of finished epochs.
  """
  raw: Params
  average: Params
  opt_state: Any
  best: Params
  best_accuracy: Array
  epoch: Array


@functools.partial(jax.jit,
                   static_argnames=('config', 'train_config', 'num_updates',
                                    'place', 'augment', 'teacher_config'),
                   donate_argnums=0)
def train_step(moving: tuple[Params, Params, Any],
               batch: tuple[Array, Array],
               key: Array,
               step: Array,
               config: Config,
               train_config: TrainConfig,
               num_updates: int,
               place: Placement = Placement(None),
               augment: Augment | None = None,
               teacher_params: Params | None = None,
               teacher_config: Config | None = None) -> tuple[Any, Array]:
  """One step of the optimiser and of the moving average.

  Args:
    moving: (raw, average, opt_state); donated.
    batch: x [N, B, D] and y [B].
    key: PRNG key of augmentation and dropout.
    step: number of this step, from 1.
    config: the network.
    train_config: how to train.
    num_updates: of the whole training.
    place: where the batch lies; with none, XLA partitions the gradient.
    augment: maps (key, x) to the x that is trained on.
    teacher_params, teacher_config: of a Teacher, if there is one.

  Returns:
    (moving, loss).

  Raises:
    ValueError: if there is distillation without a teacher.
  """
  (raw, average, opt_state), (x, y) = moving, batch
  augment_key, dropout_key = jax.random.split(key)
  if augment:
    x = augment(augment_key, x)
  targets = objective.smoothed(y, raw.readout.b.shape[0],
                               train_config.label_smoothing)
  share = train_config.distillation
  if share:
    if teacher_params is None or teacher_config is None:
      raise ValueError(f'train_step: distillation is {share} without a '
                       'teacher; give both or none.')
    taught = predict(teacher_params, x, teacher_config, train_config.executor)
    targets = (1 - share) * targets + share * jax.nn.softmax(taught)
  mask = objective.dropout_mask(dropout_key, raw, len(y), train_config.dropout)
  loss = functools.partial(objective.loss,
                           config=config,
                           train_config=train_config)
  # Of raw, x [N, B, D], targets [B, K], mask [B, P H].
  descend = place.mean(jax.value_and_grad(loss), (None, 1, 0, 0))
  value, gradient = descend(raw, x, targets, mask)
  updates, opt_state = optimiser(train_config,
                                 num_updates).update(gradient, opt_state, raw)
  raw = optax.apply_updates(raw, updates)
  # A short memory first, or the average would remember the random start.
  decay = jnp.minimum(train_config.average, step / (step + 9.0))
  average = optax.incremental_update(raw, average, 1.0 - decay)
  return (raw, average, opt_state), value


@functools.partial(jax.jit, static_argnums=(2, 3))
def predict(params: Params,
            x: Array,
            config: Config,
            executor: str = 'stacked') -> Array:
  """Logits [B, K] of a batch [N, B, D]."""
  return model.apply(params, x, config, executor).logits


def evaluate(
    params: Params,
    data: Data,
    config: Config,
    batch_size: int = 256,
    executor: str = 'stacked',
    devices: Sequence[jax.Device] | None = None) -> tuple[float, float]:
  """Accuracy in [0, 1] and mean cross-entropy over a set.

  Args:
    params, config: the network.
    data: the set.
    batch_size: examples that run at a time.
    executor: a key of `executor.EXECUTORS`.
    devices: share every batch, as many as divide it; by default all.

  Raises:
    ValueError: if the set is empty or does not fit the model.
  """
  _check_set(data, params, 'evaluate: data')
  logits = []
  for x in batches(data.x, batch_size):
    place = parallel.placement(len(x), devices)
    logits.append(
        np.asarray(
            predict(place.everywhere(params),
                    place.split(np.swapaxes(x, 0, 1), 1), config, executor)))
  outputs = np.concatenate(logits)
  accuracy = float(np.mean(np.argmax(outputs, -1) == data.y))
  losses = objective.cross_entropy(jnp.asarray(outputs), jnp.asarray(data.y),
                                   0.0)
  return accuracy, float(jnp.mean(losses))


def _check_set(data: Data, params: Params, what: str) -> None:
  """Raises ValueError, naming the array, if a set does not fit a network."""
  shapes = np.shape(data.x), np.shape(data.y)
  if len(shapes[0]) != 3 or shapes[1] != shapes[0][:1]:
    raise ValueError(f'{what} has x {shapes[0]} and y {shapes[1]}; expected '
                     '[examples, N, D] and [examples].')
  labels, num_classes = np.asarray(data.y), params.readout.b.shape[0]
  if labels.size and not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(f'{what}: y has dtype {labels.dtype}; expected integers.')
  if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
    raise ValueError(
        f'{what}: y is in {labels.min()}..{labels.max()}; expected '
        f'labels in 0..{num_classes - 1}.')


def batches(x: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
  """Consecutive slices of at most batch_size examples."""
  if not len(x):
    raise ValueError('batches: x holds no examples.')
  for start in range(0, len(x), batch_size):
    yield x[start:start + batch_size]


def initial_state(params: Params, train_config: TrainConfig,
                  num_examples: int) -> FitState:
  """The state before the first epoch.

  Raises:
    ValueError: if there are fewer examples than one batch holds.
  """
  steps = num_examples // train_config.batch_size * train_config.epochs
  if not steps:
    raise ValueError(f'fit: {num_examples} training examples do not fill one '
                     f'batch of {train_config.batch_size}; lower batch_size.')
  raw = unconstrain(params)
  return FitState(raw, raw,
                  optimiser(train_config, steps).init(raw), params,
                  jnp.asarray(-1.0), jnp.asarray(0))


def fit(
    state: FitState,
    train: Data,
    validation: Data,
    config: Config,
    train_config: TrainConfig,
    augment: Augment | None = None,
    teacher: Teacher | None = None,
    on_step: Callable[[int, float], None] = lambda step, value: None,
    devices: Sequence[jax.Device] | None = None
) -> Iterator[tuple[FitState, dict[str, float]]]:
  """Trains from `state` on; yields (state, metrics) after every epoch.

  Args:
    state: from `initial_state`, or one that an earlier run yielded.
    train: training set.
    validation: chooses the best epoch; never the test set.
    config: the network.
    train_config: how to train.
    augment: maps (key, x [N, B, D]) to the x that is trained on.
    teacher: whose probabilities have a share of `distillation` in the targets.
    on_step: called with the number of finished steps and the loss.
    devices: share every batch, as many as divide it; by default all.

  Yields:
    The state to save, and the epoch's training loss, validation accuracy and
    validation loss.

  Raises:
    ValueError: if a set does not fit the network, or if there is distillation
      without a teacher, or the reverse.
    FloatingPointError: if the loss stops being finite; names the step.
  """
  if bool(train_config.distillation) != bool(teacher):
    raise ValueError(
        f'fit: distillation is {train_config.distillation} '
        f'{"with" if teacher else "without"} a teacher; expected both or none.')
  for data, what in (train, 'train'), (validation, 'validation'):
    _check_set(data, state.best, f'fit: {what}')
  size = train_config.batch_size
  place = parallel.placement(size, devices)
  taught_by = (place.everywhere(teacher.params),
               teacher.config) if teacher else ()
  per_epoch = len(train.y) // size
  total = per_epoch * train_config.epochs
  for epoch in range(int(state.epoch), train_config.epochs):
    moving = place.everywhere(
        jax.tree.map(jnp.copy, (state.raw, state.average, state.opt_state)))
    epoch_key = jax.random.fold_in(jax.random.key(train_config.seed), epoch)
    order_key, noise_key = jax.random.split(epoch_key)
    order = np.asarray(jax.random.permutation(order_key, len(train.y)))
    losses = []
    for index in range(per_epoch):
      rows = order[index * size:(index + 1) * size]
      step = epoch * per_epoch + index + 1
      moving, value = train_step(moving, (place.split(
          np.swapaxes(train.x[rows], 0, 1), 1), place.split(train.y[rows], 0)),
                                 jax.random.fold_in(noise_key, index),
                                 jnp.asarray(step), config, train_config, total,
                                 place, augment, *taught_by)
      losses.append(float(value))
      if not np.isfinite(losses[-1]):
        raise FloatingPointError(
            f'fit: the loss of step {step} is {losses[-1]}; lower the learning '
            'rate or check the inputs.')
      on_step(step, losses[-1])
    raw, average, opt_state = jax.tree.map(jnp.asarray, jax.device_get(moving))
    params = constrain(average)
    accuracy, validation_loss = evaluate(params,
                                         validation,
                                         config,
                                         devices=devices)
    if accuracy > state.best_accuracy:
      state = state._replace(best=params, best_accuracy=jnp.asarray(accuracy))
    state = state._replace(raw=raw,
                           average=average,
                           opt_state=opt_state,
                           epoch=jnp.asarray(epoch + 1))
    yield state, {
        'epoch': epoch + 1,
        'loss': float(np.mean(losses)),
        'validation_accuracy': accuracy,
        'validation_loss': validation_loss,
    }
