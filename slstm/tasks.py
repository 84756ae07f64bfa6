"""Tasks: what a network is trained for and how its outputs are judged.

`fit` and `evaluate` know a task by these functions alone. Classification and
regression are two; a user's own is a `Task` of the user's own functions. Each
serves outputs per sequence, [B, K], and, of a model with pooling ('each',), per
element, [B, N, K]: then the truth is [B, N, ...], which is sequence labelling.
"""

from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from slstm.types import Array


class Task(NamedTuple):
  """What to learn, as pure functions; y is the truth, [B, ...].

  Where outputs are per element, every B below is B, N. Values of padding are
  computed and not used.

  Attributes:
    targets: maps (y, num_outputs, smoothing) to what the outputs should be,
      [B, K]; smoothing is `TrainConfig.label_smoothing`, if it has a meaning.
    link: maps outputs [B, K] to predictions in the space of the targets, which
      those of a teacher are mixed into.
    loss: maps (outputs, targets) to the loss of each example, [B].
    metric: maps (outputs, y) to the score of each example, [B].
    check: takes (y, num_outputs), of all real examples or elements, [.., ...];
      ValueError if the task cannot learn this y.
    metric_name: of the mean of `metric` over a set.
    higher_is_better: keeps the epoch of the highest metric, not the lowest.
  """
  targets: Callable[[Array, int, Array | float], Array]
  link: Callable[[Array], Array]
  loss: Callable[[Array, Array], Array]
  metric: Callable[[Array, Array], Array]
  check: Callable[[Any, int], None]
  metric_name: str
  higher_is_better: bool = True


def _targets(y: Array, num_outputs: int, smoothing: Array | float) -> Array:
  return optax.smooth_labels(jax.nn.one_hot(y, num_outputs), smoothing)


def _check(y: Any, num_outputs: int) -> None:
  labels = np.asarray(y)
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(f'y has dtype {labels.dtype} and shape {labels.shape}; '
                     'expected integers, [examples].')
  if labels.size and not 0 <= labels.min() <= labels.max() < num_outputs:
    raise ValueError(f'y is in {labels.min()}..{labels.max()}; expected labels '
                     f'in 0..{num_outputs - 1}.')


CLASSIFICATION = Task(targets=_targets,
                      link=jax.nn.softmax,
                      loss=optax.softmax_cross_entropy,
                      metric=lambda outputs, y: jnp.argmax(outputs, -1) == y,
                      check=_check,
                      metric_name='accuracy')


def regression(y: Any) -> Task:
  """Real numbers as targets, each output scaled by what it is in training.

  The network learns (y - mean) / std, so its outputs times std plus mean are
  predictions. The loss is the squared error of what it learns, the metric the
  absolute error in the units of y, both means over the K outputs.

  Args:
    y: of the training set, [..., K], which decides mean and std.

  Raises:
    ValueError: for an output that never changes, or is not finite.

  Example:
    task = slstm.regression(train.y)
    *_, (state, _) = slstm.fit(lstm, train, validation, task=task)
  """
  values = np.asarray(y, np.float64)
  if values.ndim < 2 or not np.isfinite(values).all():
    raise ValueError(f'regression: y has shape {values.shape}, or values that '
                     'are not finite; expected numbers, [..., K], such as '
                     'y[:, None] of one for each sequence.')
  axes = tuple(range(values.ndim - 1))
  mean, std = values.mean(axes), values.std(axes)
  if not (std > 0).all():
    raise ValueError(f'regression: output {np.argmin(std)} of y is always '
                     f'{mean[np.argmin(std)]:g}; expected one that changes.')
  mean, std = np.float32(mean), np.float32(std)
  scaled = lambda y: (y - _last(mean, y)) / _last(std, y)

  def metric(outputs: Array, y: Array) -> Array:
    found = outputs * _last(std, outputs) + _last(mean, outputs)
    return jnp.mean(jnp.abs(found - y), -1)

  return Task(targets=lambda y, num_outputs, smoothing: scaled(y),
              link=lambda outputs: outputs,
              loss=lambda outputs, y: jnp.mean(jnp.square(outputs - y), -1),
              metric=metric,
              check=_check_numbers,
              metric_name='absolute_error',
              higher_is_better=False)


def _last(of_outputs: Any, like: Array) -> Any:
  """[K] as [1, .., K] of as many axes as `like` has."""
  return of_outputs.reshape((1,) * (like.ndim - 1) + of_outputs.shape)


def _check_numbers(y: Any, num_outputs: int) -> None:
  if np.ndim(y) < 2 or np.shape(y)[-1] != num_outputs:
    raise ValueError(
        f'y has shape {np.shape(y)}; expected [..., {num_outputs}], '
        'a number for each output.')
