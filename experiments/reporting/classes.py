"""The data and what a classification makes of each class, as tables."""

import numpy as np
import pandas as pd

from experiments.reporting import load


def data(run: load.Run) -> pd.DataFrame | None:
  """Examples of each part and class; None of runs that did not record them."""
  found = run.data
  if found is None:
    return None
  total = {'class': 'all', **found['examples']}
  balance = pd.DataFrame(found.get('balance', {}))
  balance.insert(0, 'class', named(found['classes'])[:len(balance)])
  return pd.concat([balance, pd.DataFrame([total])], ignore_index=True)


def named(classes: list[str]) -> list[str]:
  """Names of classes; those that are numbers are called such."""
  return [f'class {name}' if name.isdigit() else name for name in classes]


def baseline(run: load.Run) -> str | None:
  """What answering the class that training has most would reach on test."""
  found = run.data
  if found is None or 'balance' not in found:
    return None
  most = int(np.argmax(found['balance']['train']))
  test = found['balance']['test']
  return (f'Always answering {named(found["classes"])[most]}, the class with '
          f'most training examples, would be right in '
          f'{100 * test[most] / sum(test):.2f} % of the test examples.')


def confusion(run: load.Run, m: load.Model) -> np.ndarray | None:
  """Test examples by true class (rows) and predicted one [K, K]."""
  found = load.predictions(m)
  if found is None or run.data is None or 'balance' not in run.data:
    return None
  count = np.zeros((len(run.data['classes']),) * 2, int)
  np.add.at(count, (found.truth, found.outputs.argmax(-1)), 1)
  return count


def confusion_table(run: load.Run, m: load.Model) -> pd.DataFrame | None:
  """The same with names."""
  count = confusion(run, m)
  if count is None or run.data is None:
    return None
  names = named(run.data['classes'])
  frame = pd.DataFrame(count, columns=names)
  frame.insert(0, 'true \\ predicted', names)
  return frame


def per_class(run: load.Run, *models: load.Model) -> pd.DataFrame | None:
  """Test examples of each class, and recall and precision of the models, %."""
  counts = [count for m in models
            if (count := confusion(run, m)) is not None]  # yapf: disable
  if run.data is None or len(counts) < len(models):
    return None
  frame = pd.DataFrame({'class': named(run.data['classes']),
                        'examples': counts[0].sum(1)})  # yapf: disable
  for m, count in zip(models, counts):
    right = np.diag(count)
    for what, axis in (('recall', 1), ('precision', 0)):
      whole = count.sum(axis)
      share = np.divide(100 * right, whole, where=whole > 0,
                        out=np.full(len(whole), np.nan))  # yapf: disable
      frame[f'{m.label}: {what}, %'] = share
  return frame
