"""Fits the neuron of a site to the distribution of its drive.

Under a drive d that is constant over the T steps, a neuron outputs its
staircase amplitude * rate_T(d). What a fit minimises is

  E = E_p[(amplitude * rate_T(d; v_th, leak, v_0) - activation(d))^2]

over the histogram p(d) of one unit, or of a whole layer. Here are the two rules
for an IF neuron, with v_th = amplitude = 1:

  uniform  floor made round, the optimum for uniform d (Deng & Gu, ICLR 2021)
  shifted  the v_0 that minimises E: real drives are not uniform (Datta &
           Beerel, DATE 2022)

and `slstm.fit_lif` has the one for a LIF. E is linear in p, so the staircases
of all candidates are computed once and the errors of all units follow by two
matrix products; the best amplitude of a candidate has the closed form
E_p[rate activation] / E_p[rate^2].

All leaves of the neurons here are [U], U the number of histograms.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slstm import neurons
from slstm.types import Array, Neuron

_CHUNK = 1024  # candidates at a time: bounds memory


class Problem(NamedTuple):
  """What a neuron shall follow.

  Attributes:
    centres: the drives d, rising with equal spacing, float32 [bins].
    target: activation(d), float64 [bins].
    num_steps: T.
    signed: ternary if True, binary if False.
  """
  centres: np.ndarray
  target: np.ndarray
  num_steps: int
  signed: bool

  @property
  def spacing(self) -> float:
    """Distance between neighbouring centres."""
    return float(self.centres[1] - self.centres[0])


def uniform(units: int, signed: bool) -> Neuron:
  """The integrate-and-fire neuron for uniform drives, leaves [U]."""
  like = neurons.integrate_and_fire(signed)
  return jax.tree.map(lambda leaf: np.full((units,), leaf, np.float32), like)


def shifted(problem: Problem, p: np.ndarray) -> Neuron:
  """The IF neuron (v_th = amplitude = 1) with the v_0 of least E.

  E is piecewise constant in v_0, with steps at multiples of the bin spacing. So
  one candidate within each piece makes the search exact (up to T = 31; beyond
  it is coarser). Of equal ones the nearest to the uniform rule is taken.

  Args:
    problem: target and T.
    p: weights of the bins, each row sums to 1, float64 [U, bins].

  Returns:
    A Neuron.
  """
  reach = max(1.0, problem.num_steps / 2)
  spacing = problem.spacing * max(1, problem.num_steps // 16)
  offset = np.arange(0.5 * problem.spacing, reach, spacing)
  offset = np.concatenate([[0.0], np.stack([-offset, offset], 1).ravel()])
  one = uniform(len(offset), problem.signed)
  candidates = one._replace(v_0=(one.v_0 + offset).astype(np.float32))
  _, error = evaluate(problem, p, candidates, free_amplitude=False)
  best = np.argmin(error, 1)
  return jax.tree.map(lambda leaf: leaf[best], candidates)


def errors(problem: Problem, p: np.ndarray,
           neuron: Neuron) -> tuple[np.ndarray, np.ndarray]:
  """(E_p[e^2], E_p[|e|]) of e = staircase(d) - activation(d), each [U].

  Args:
    problem: target and T.
    p: weights of the bins, each row sums to 1, float64 [U, bins].
    neuron: leaves [U], one for each histogram.
  """
  rate = _rates(neuron, problem.centres, problem.num_steps, problem.signed)
  amplitude = np.asarray(neuron.amplitude, np.float64).reshape(-1, 1)
  e = amplitude * rate - problem.target.reshape(1, -1)
  return np.sum(p * e**2, 1), np.sum(p * np.abs(e), 1)


def evaluate(problem: Problem,
             p: np.ndarray,
             candidates: Neuron,
             free_amplitude: bool = True) -> tuple[np.ndarray, np.ndarray]:
  """Errors of C candidates for U histograms.

  Args:
    problem: target and T.
    p: weights of the bins, each row sums to 1, float64 [U, bins].
    candidates: leaves [C]; their amplitude is not read.
    free_amplitude: True for the best amplitude of each, False for 1.

  Returns:
    (amplitude, E), each float64 [U, C]; E is rounded to 1e-12, so that ties are
    ties.
  """
  target = problem.target.reshape(1, -1)
  base = np.sum(p * target**2, 1, keepdims=True)
  amplitudes, found = [], []
  for start in range(0, len(candidates.v_th), _CHUNK):
    part = jax.tree.map(lambda leaf: leaf[start:start + _CHUNK], candidates)
    rate = _rates(part, problem.centres, problem.num_steps, problem.signed)
    power, product = p @ (rate**2).T, p @ (rate * target).T
    amplitude = np.ones_like(power)
    if free_amplitude:  # 1 where it never fires, or fires against the target
      np.divide(product, power, out=amplitude, where=product > 1e-12)
    amplitudes.append(amplitude)
    found.append(amplitude**2 * power - 2 * amplitude * product + base)
  return np.concatenate(amplitudes, 1), np.round(np.concatenate(found, 1), 12)


def _rates(candidates: Neuron, centres: np.ndarray, num_steps: int,
           signed: bool) -> np.ndarray:
  """rate_T(d) of each candidate at each drive, float64 [C, bins]."""
  rates = _staircases(candidates, jnp.asarray(centres), num_steps, signed)
  return np.asarray(rates, np.float64)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _staircases(candidates: Neuron, centres: Array, num_steps: int,
                signed: bool) -> Array:
  """rate_T(d) of each candidate at each drive, [C, bins]."""
  ones = candidates._replace(amplitude=jnp.ones_like(candidates.amplitude))
  return jax.vmap(lambda neuron: neurons.staircase(neuron, centres, num_steps,
                                                   signed))(ones)
