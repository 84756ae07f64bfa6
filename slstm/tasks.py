"""Tasks: what a network is trained for and how its outputs are judged.

`fit` and `evaluate` know a task by these functions alone. Classification is
one; a user's own is a `Task` of the user's own functions.
"""

from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from slstm.types import Array


class Task(NamedTuple):
  """What to learn, as pure functions; y is the truth, [B, ...].

  Attributes:
    targets: maps (y, num_outputs, smoothing) to what the outputs should be,
      [B, K]; smoothing is `TrainConfig.label_smoothing`, if it has a meaning.
    link: maps outputs [B, K] to predictions in the space of the targets, which
      those of a teacher are mixed into.
    loss: maps (outputs, targets) to the loss of each example, [B].
    metric: maps (outputs, y) to the score of each example, [B].
    check: takes (y, num_outputs); ValueError if the task cannot learn this y.
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
