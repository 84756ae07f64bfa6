"""How much of what a model computes is left in integers, on the test set."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.datasets import base
import slstm
from slstm import integer


class Comparison(NamedTuple):
  """Of integers and floats.

  Attributes:
    metric: test metric of the integers.
    of_floats: of the model that they were.
    same: fraction of the outputs that are largest in the same place.
  """
  metric: float
  of_floats: float
  same: float


def compare(ints: slstm.integer.IntegerModel, model: slstm.Model,
            dataset: base.DataSet) -> Comparison:
  """Runs both on all test sequences."""
  x, y, lengths = dataset.test
  both = (integer.outputs(ints, x, lengths=lengths),
          np.asarray(slstm.predict(model, x, lengths)))  # yapf: disable
  found, exact = (float(
      np.mean(dataset.task.metric(jnp.asarray(outputs), jnp.asarray(y))))
                  for outputs in both)
  same = np.mean(both[0].argmax(-1) == both[1].argmax(-1))
  return Comparison(found, exact, float(same))
