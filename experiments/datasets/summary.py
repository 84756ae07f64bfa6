"""What a report says of a data set: its sizes, classes and balance."""

from typing import Any

import numpy as np

from experiments.datasets import base
import slstm


def of(dataset: base.DataSet) -> dict[str, Any]:
  """What there is in a data set, for JSON.

  Returns:
    'classes', names of the outputs; 'examples', how many train, validation and
    test have; for a classification 'balance', how many examples of each class
    they have.
  """
  parts = {'train': dataset.train, 'validation': dataset.validation,
           'test': dataset.test}  # yapf: disable
  found: dict[str, Any] = {
      'classes': list(dataset.classes),
      'examples': {
          name: len(part.y) for name, part in parts.items()
      }
  }
  if dataset.task is slstm.classification:
    found['balance'] = {
        name: np.bincount(part.y, minlength=len(dataset.classes)).tolist()
        for name, part in parts.items()
    }
  return found
