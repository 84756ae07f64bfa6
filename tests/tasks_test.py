"""Tasks: that fit and evaluate know one by its functions alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm

FAST = slstm.TrainConfig(epochs=12, batch_size=16, learning_rate=2e-2)


def _no_labels(y, num_outputs):
  if np.shape(y)[1:] != (num_outputs,):
    raise ValueError(f'y has shape {np.shape(y)}; expected [examples, '
                     f'{num_outputs}].')


REGRESSION = slstm.Task(
    targets=lambda y, num_outputs, smoothing: y,
    link=lambda outputs: outputs,
    loss=lambda outputs, targets: jnp.sum((outputs - targets)**2, -1),
    metric=lambda outputs, y: jnp.max(jnp.abs(outputs - y), -1),
    check=_no_labels,
    metric_name='largest_error',
    higher_is_better=False)


def sums(examples=128, seed=0):
  """The target is the mean of each feature over the elements."""
  x = np.random.default_rng(seed).normal(size=(examples, 5, 2))
  return slstm.Data(x.astype(np.float32), x.mean(1).astype(np.float32))


def source(key=0):
  return slstm.init(jax.random.key(key),
                    num_features=2,
                    hidden_sizes=(8,),
                    num_outputs=2,
                    config=slstm.Config(pooling=('mean',)))


def epochs(config=FAST, **kwargs):
  return list(
      slstm.fit(source(),
                sums(),
                sums(48, 1),
                config=config,
                task=REGRESSION,
                **kwargs))


def test_a_regression_learns_and_is_named_in_the_metrics():
  found = epochs()
  assert set(found[0][1]) == {
      'epoch', 'loss', 'validation_largest_error', 'validation_loss'
  }
  assert found[-1][1]['loss'] < 0.2 * found[0][1]['loss']


def test_the_metric_and_the_loss_are_means_over_the_set():
  model, data = source(), sums(37)
  outputs = np.asarray(slstm.apply(model, data.x).outputs)
  metric, loss = slstm.evaluate(model, data, task=REGRESSION, batch_size=16)
  error = outputs - data.y
  assert metric == pytest.approx(np.abs(error).max(1).mean(), rel=1e-5)
  assert loss == pytest.approx((error**2).sum(1).mean(), rel=1e-5)


def test_best_is_the_lowest_where_lower_is_better():
  # The first epoch has too high a rate for each later one to be better.
  found = epochs(slstm.TrainConfig(epochs=6, batch_size=16, learning_rate=0.5))
  scores = [metrics['validation_largest_error'] for _, metrics in found]
  lowest = int(np.argmin(scores))
  assert 0 < min(scores) and lowest != int(np.argmax(scores))
  assert float(found[-1][0].best_metric) == pytest.approx(scores[lowest])
  for state, _ in found[lowest:]:
    jax.tree.map(np.testing.assert_array_equal, state.best,
                 found[lowest][0].best)


def test_a_teacher_is_linked_to_the_targets():
  """With all of the targets from a teacher, the truth is not learnt from."""
  config = slstm.TrainConfig(epochs=1, batch_size=128, distillation=1.0)
  teacher, data = source(1), sums()
  (_, metrics), = epochs(config, teacher=teacher)
  student, taught = (np.asarray(slstm.apply(model, data.x).outputs)
                     for model in (source(), teacher))
  expected = ((student - taught)**2).sum(1).mean()
  assert metrics['loss'] == pytest.approx(expected, rel=1e-5)


def test_what_a_task_refuses_is_named():
  bad = sums()._replace(y=np.zeros(128, np.int32))
  with pytest.raises(ValueError, match=r'fit: train: y has shape \(128,\)'):
    next(slstm.fit(source(), bad, sums(), task=REGRESSION))
  with pytest.raises(ValueError, match='evaluate: data: y has dtype float32'):
    slstm.evaluate(source(), sums())
