"""How much of what a model computes is left in integers, on the test set."""

from typing import NamedTuple

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
          slstm.outputs(model, x, lengths=lengths))  # yapf: disable
  found, exact = (slstm.judge(outputs, y, dataset.task, lengths=lengths).metric
                  for outputs in both)  # yapf: disable
  same = np.mean(both[0].argmax(-1) == both[1].argmax(-1))
  return Comparison(found, exact, float(same))
