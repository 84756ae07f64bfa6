"""Fits a leaky neuron to the distribution of a site's drive.

The leak makes the steps of the staircase uneven, so that few of them can follow
a curved activation or a skewed distribution of the drive. IF is the special
case leak = v_th = amplitude = 1. All leaves are [U], one for each histogram.
"""

from typing import Any

import numpy as np

from slstm import fit_if
from slstm.fit_if import Problem
from slstm.types import Neuron

_ROUNDS = 6  # of local refinement, each at half the spacing
_LEAST_LOSS = 2.0**-22  # 1 - this is a float32 well below 1; binds for T > 60


def leaky(problem: Problem, p: np.ndarray) -> Neuron:
  """The LIF neuron of least E: a grid over (leak, v_th, v_0), then refined.

  For T = 1 the leak only scales v_0 (u_1 = leak v_0 + d), so it is 1/2, from
  where training can move it. Likewise one step of a binary neuron shows nothing
  but the level v_th - leak v_0 at which it fires, so v_th is 1.

  Args:
    problem: target and T.
    p: weights of the bins, each row sums to 1, float64 [U, bins].

  Returns:
    A Neuron with leak in (0, 1).
  """
  axes = _axes(problem)
  grid = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing='ij')], 1)
  nearest_if = np.argsort(_distance(grid, problem.signed), kind='stable')
  grid = grid[nearest_if]
  amplitude, error = fit_if.evaluate(problem, p, _neuron(grid))
  best = np.argmin(error, 1)
  spacing = np.asarray([a[1] - a[0] if len(a) > 1 else 0.0 for a in axes])
  found = [
      _refine(problem, row, grid[b], (e[b], a[b]), spacing)
      for row, b, e, a in zip(p[:, None], best, error, amplitude)
  ]
  points, amplitudes = (np.asarray(part) for part in zip(*found))
  v_th, v_0, _, leak = _neuron(points)
  return _as_neuron(v_th, v_0, amplitudes, leak)


def nearly_if(problem: Problem, neuron: Neuron) -> Neuron:
  """A LIF neuron with the staircase of a given IF neuron on all centres.

  The leak is so near to 1 that what it takes away over T steps is less than
  half of the bin spacing (for T up to 60); the threshold is lowered by as much,
  so that a membrane that was just at the fire level still fires. For T = 1 the
  leak is 1/2, as in `leaky`, and v_0 is doubled.

  Args:
    problem: the centres and T.
    neuron: an IF of `uniform` or `shifted`.

  Returns:
    A Neuron with a leak.
  """
  v_th, v_0, amplitude, _ = neuron
  steps = problem.num_steps
  if steps == 1:
    return _as_neuron(v_th, 2 * v_0, amplitude, np.full_like(v_th, 0.5))
  loss = max(problem.spacing / (8 * steps * (steps + 1)), _LEAST_LOSS)
  return _as_neuron(v_th - 2 * loss * steps, v_0, amplitude,
                    np.full_like(v_th, 1 - loss))


def _axes(problem: Problem) -> list[np.ndarray]:
  """Grid of logit leak, log v_th and v_0 / v_th; IF-like points included."""
  one_step = problem.num_steps == 1
  logit_leak = np.zeros(1) if one_step else np.linspace(-3.0, 7.0, 11)
  log_v_th = np.linspace(-1.5, 1.0, 21)
  if one_step and not problem.signed:
    log_v_th = np.zeros(1)
  shift = (np.linspace(-1.0, 1.0, 17) if problem.signed else np.linspace(
      -1.0, 2.0, 25))
  return [logit_leak, log_v_th, shift]


def _distance(grid: np.ndarray, signed: bool) -> np.ndarray:
  """How far candidates are from the uniform rule; orders equal ones."""
  logit_leak, log_v_th, shift = grid.T
  return (np.exp(-logit_leak) / (1 + np.exp(-logit_leak)) + np.abs(log_v_th) +
          np.abs(shift - (0.0 if signed else 0.5)))


def _neuron(points: np.ndarray) -> Neuron:
  """Candidates of amplitude 1 from (logit leak, log v_th, v_0 / v_th)."""
  logit_leak, log_v_th, shift = points.T
  v_th = np.exp(log_v_th)
  return _as_neuron(v_th, shift * v_th, np.ones_like(v_th),
                    1 / (1 + np.exp(-logit_leak)))


def _as_neuron(*leaves: Any) -> Neuron:
  """A neuron of NumPy leaves, which are quicker than JAX's to slice."""
  arrays: Any = [np.asarray(leaf, np.float32) for leaf in leaves]
  return Neuron(*arrays)


def _refine(problem: Problem, p: np.ndarray, point: np.ndarray,
            best: tuple[float, float],
            spacing: np.ndarray) -> tuple[np.ndarray, float]:
  """Searches ever finer around a point; only a lower error moves it.

  Args:
    problem: target and T.
    p: one histogram, [1, bins].
    point: logit leak, log v_th and v_0 / v_th, [3].
    best: error and amplitude there.
    spacing: distance to the next grid point in each direction, [3].

  Returns:
    The best point, and its amplitude.
  """
  error, amplitude = best
  steps = np.linspace(-1.0, 1.0, 5)
  cube = np.stack([a.ravel() for a in np.meshgrid(steps, steps, steps)], 1)
  for _ in range(_ROUNDS):
    points = point + spacing * cube
    amplitudes, found = fit_if.evaluate(problem, p, _neuron(points))
    k = np.argmin(found[0])
    if found[0, k] < error:
      point, error, amplitude = points[k], found[0, k], amplitudes[0, k]
    spacing = spacing / 2
  return point, amplitude
