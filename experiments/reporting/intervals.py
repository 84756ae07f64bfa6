"""How far a mean over test examples may be from that over all there could be.

All intervals are of 95 %: were the test set drawn anew many times, they would
hold the mean over everything in 95 % of them. They say nothing of another seed.
"""

import math

import numpy as np

Z = 1.96  # of a normal distribution, 95 % lie within so many deviations


def of_mean(scores: np.ndarray) -> tuple[float, float]:
  """(low, high) of the mean of the scores of single examples, [B].

  Of scores that are 0 or 1, Wilson's interval, which is right near 100 %, too;
  of others that of a normal distribution.
  """
  count, mean = len(scores), float(np.mean(scores))
  if _are_right_or_wrong(scores):
    return wilson(mean, count)
  half = Z * float(np.std(scores, ddof=1)) / math.sqrt(count)
  return mean - half, mean + half


def wilson(share: float, count: int) -> tuple[float, float]:
  """(low, high) of a share of `count` examples.

  Source: Wilson, "Probable inference, the law of succession, and statistical
  inference", 1927.
  """
  centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
  half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 /
                                            (4 * count**2))  # yapf: disable
  return centre - half, centre + half


def of_difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
  """(mean, half width) of ours minus theirs, on the same examples [B].

  What both get right, or both wrong, does not widen it. Of scores that are 0
  or 1, half an example is added to each of the four cases, without which few
  examples that differ would look too sure.

  Source: Agresti and Min, "Simple improved confidence intervals for comparing
  matched proportions", 2005.
  """
  difference = np.asarray(ours, np.float64) - theirs
  mean, count = float(np.mean(difference)), len(difference)
  if _are_right_or_wrong(ours) and _are_right_or_wrong(theirs):
    better, worse = (np.sum(difference == k) + 0.5 for k in (1, -1))
    count += 2
    variance = (better + worse) / count - ((better - worse) / count)**2
    return mean, Z * math.sqrt(variance / count)
  return mean, Z * float(np.std(difference, ddof=1)) / math.sqrt(count)


def _are_right_or_wrong(scores: np.ndarray) -> bool:
  return bool(np.isin(scores, (0, 1)).all())
