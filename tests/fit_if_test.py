"""The fit of an IF neuron's shift: its bound, its optimum, its limits."""

import hypothesis
import jax
import numpy as np
import pytest

from slstm import fit_if
from slstm import neurons
from slstm.types import Neuron
from tests import histograms
from tests import oracle

CENTRES = histograms.CENTRES


def _if_error(problem, p, v_0):
  """E_p[(rate - activation)^2] of an IF of threshold 1, step by step."""
  v, count = np.full(len(CENTRES), v_0), np.zeros(len(CENTRES))
  for _ in range(problem.num_steps):
    u = v + CENTRES
    if problem.signed:
      s = np.where(u >= 0.5, 1, np.where(u <= -0.5, -1, 0))
    else:
      s = np.where(u >= 1, 1, 0)
    v, count = u - s, count + s
  return np.sum(p * (count / problem.num_steps - problem.target)**2)


@pytest.mark.parametrize('site', ['f', 'g'])
def test_error_of_the_uniform_rule_is_bounded(site):
  """|rate - clip| <= 1 / 2T: half of the v_th / T of a neuron without shift."""
  flat = np.full((1, len(CENTRES)), 1 / len(CENTRES))
  mean = []
  for num_steps in (1, 2, 4, 8):
    problem = histograms.problem(site, 'hard', num_steps)
    neuron = fit_if.uniform(1, problem.signed)
    rate = neurons.staircase(neuron, CENTRES.reshape(-1, 1), num_steps,
                             problem.signed)
    assert np.abs(rate[:, 0] - problem.target).max() <= 1 / (2 * num_steps)
    mean.append(fit_if.errors(problem, flat, neuron)[1][0])
    assert 0 < mean[-1] <= 1 / num_steps
  assert all(b <= 0.55 * a for a, b in zip(mean, mean[1:]))


@hypothesis.given(**histograms.CASES)
def test_shift_is_the_brute_force_optimum(seed, site, family, num_steps):
  problem = histograms.problem(site, family, num_steps)
  p = histograms.skewed(np.random.default_rng(seed), 200)
  neuron = fit_if.shifted(problem, p.reshape(1, -1))
  assert neuron.leak is None
  assert neuron.v_th == 1 and neuron.amplitude == 1
  uniform = 0.0 if problem.signed else 0.5
  spacing = 1 / 32  # the error changes at multiples of it only
  tried = uniform + np.arange(-1, 1, spacing) + spacing / 2
  best = min(_if_error(problem, p, v_0) for v_0 in (uniform, *tried))
  found = _if_error(problem, p, float(neuron.v_0[0]))
  assert found <= best + 1e-9
  assert found == pytest.approx(fit_if.errors(problem, p.reshape(1, -1),
                                              neuron)[0][0],
                                abs=1e-7)


@pytest.mark.parametrize('site', ['f', 'g'])
def test_nothing_beats_rounding_where_the_target_is_the_clip(site):
  """The uniform rule is the nearest level for each d, so for each p(d) too."""
  problem = histograms.problem(site, 'hard', 2)
  p = np.stack(
      [histograms.skewed(np.random.default_rng(k), 50) for k in range(8)])
  expected = fit_if.uniform(8, problem.signed)
  jax.tree.map(np.testing.assert_array_equal, fit_if.shifted(problem, p),
               expected)


def test_shift_helps_where_the_target_is_a_curve():
  problem = histograms.problem('f', 'standard', 2)
  p = histograms.at(0.70, 0.74)  # floor(2 d + 1/2) = 1, but sigmoid = 0.79
  uniform, _ = fit_if.errors(problem, p, fit_if.uniform(1, False))
  neuron = fit_if.shifted(problem, p)
  assert neuron.v_0 > 0.5
  assert fit_if.errors(problem, p, neuron)[0] < 0.6 * uniform


def test_errors_are_those_of_the_oracle():
  rng = np.random.default_rng(0)
  neuron = Neuron(*np.asarray([[0.5, 1.0, 0.75], [0.25, 0.0, -0.5],
                               [0.5, 1.0, 2.0], [0.5, 0.25, 0.5]], np.float32))
  p = np.stack([histograms.skewed(rng, 100) for _ in range(3)])
  for site in 'fg':
    problem = histograms.problem(site, 'standard', 3)
    mse, mae = fit_if.errors(problem, p, neuron)
    for unit in range(3):
      one = jax.tree.map(lambda leaf, unit=unit: leaf[unit], neuron)
      e = oracle.staircase(oracle.cast(one, np.float64), CENTRES, 3,
                           problem.signed) - problem.target
      np.testing.assert_allclose(mse[unit], np.sum(p[unit] * e**2), rtol=1e-6)
      np.testing.assert_allclose(mae[unit], np.sum(p[unit] * abs(e)), rtol=1e-6)


def test_evaluate_finds_the_best_amplitude():
  rng = np.random.default_rng(0)
  problem = histograms.problem('g', 'standard', 2)
  p = np.stack([histograms.skewed(rng, 100) for _ in range(3)])
  candidates = Neuron(
      *(rng.uniform(0.2, 0.9, 5).astype(np.float32) for _ in range(4)))
  amplitude, error = fit_if.evaluate(problem, p, candidates)
  assert amplitude.shape == error.shape == (3, 5)
  for c in range(5):
    one = jax.tree.map(lambda leaf, c=c: np.repeat(leaf[c], 3), candidates)
    for factor, worse in (1.0, False), (1.01, True), (0.99, True):
      scaled = one._replace(amplitude=factor * amplitude[:, c])
      mse, _ = fit_if.errors(problem, p, scaled)
      if worse:
        assert (mse > error[:, c]).all()
      else:
        np.testing.assert_allclose(mse, error[:, c], rtol=1e-6)
