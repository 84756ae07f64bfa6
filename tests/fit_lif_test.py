"""The fit of a LIF: what generated the target, and the IF as a special case."""

import jax
import numpy as np
import pytest

from slstm import fit_if
from slstm import fit_lif
from slstm.types import Neuron
from tests import histograms
from tests import oracle

CENTRES = histograms.CENTRES


@pytest.mark.parametrize('num_steps, signed, leaves', [
    (1, False, (1.0, 0.3, 0.8, 0.5)),
    (1, True, (0.6, 0.1, 0.7, 0.5)),
    (2, False, (0.6, 0.2, 0.9, 0.7)),
    (2, True, (0.8, 0.0, 1.1, 0.4)),
    (2, True, (0.5, 0.1, 0.6, 0.9)),
    (4, False, (0.45, 0.3, 0.7, 0.8)),
])
def test_recovers_the_neuron_that_generated_the_target(num_steps, signed,
                                                       leaves):
  target = oracle.staircase(oracle.cast(Neuron(*leaves), np.float64),
                            CENTRES.astype(np.float64), num_steps, signed)
  problem = fit_if.Problem(CENTRES, target, num_steps, signed)
  p = histograms.at(-1.5 if signed else -0.5, 1.5)
  neuron = fit_lif.leaky(problem, p)
  uniform, _ = fit_if.errors(problem, p, fit_if.uniform(1, signed))
  found, _ = fit_if.errors(problem, p, neuron)
  assert uniform > 0.01
  assert found < 1e-9


def test_fits_each_histogram_on_its_own():
  problem = histograms.problem('g', 'standard', 2)
  rng = np.random.default_rng(0)
  p = np.stack([histograms.skewed(rng, 100) for _ in range(3)])
  together = fit_lif.leaky(problem, p)
  for unit in range(3):
    alone = fit_lif.leaky(problem, p[unit:unit + 1])
    for one, other in zip(together, alone):
      np.testing.assert_array_equal(one[unit:unit + 1], other)
    assert 0 < together.leak[unit] < 1
  assert len(set(together.v_th.tolist())) == 3


@pytest.mark.parametrize('site', ['f', 'g'])
def test_one_step_leaves_nothing_to_the_leak(site):
  problem = histograms.problem(site, 'standard', 1)
  rng = np.random.default_rng(0)
  p = np.stack([histograms.skewed(rng, 100) for _ in range(3)])
  neuron = fit_lif.leaky(problem, p)
  np.testing.assert_array_equal(neuron.leak, 0.5)
  np.testing.assert_array_equal(
      fit_lif.nearly_if(problem, fit_if.shifted(problem, p)).leak, 0.5)
  if not problem.signed:
    np.testing.assert_array_equal(neuron.v_th, 1)
  # The best level of fire and amplitude, by brute force.
  levels = np.arange(-2, 2, 1 / 32) + 1 / 64
  for row, unit in zip(p, range(3)):
    best = np.inf
    for high in levels:
      for low in levels[levels < high] if problem.signed else (-9.0,):
        rate = 1.0 * (CENTRES > high) - (CENTRES < low)
        power, product = row @ rate**2, row @ (rate * problem.target)
        gain = product / power if product > 0 else 1.0
        best = min(best, row @ (gain * rate - problem.target)**2)
    one = jax.tree.map(lambda leaf, unit=unit: leaf[unit:unit + 1], neuron)
    found, _ = fit_if.errors(problem, row.reshape(1, -1), one)
    assert found <= best + 0.005 * row @ problem.target**2


@pytest.mark.parametrize('num_steps', [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('bins', [256, 1024])
def test_nearly_if_has_the_staircase_of_the_if(num_steps, signed, bins):
  centres = ((np.arange(bins) - bins // 2) * (8 / bins)).astype(np.float32)
  problem = fit_if.Problem(centres, np.zeros(bins), num_steps, signed)
  neuron = fit_if.uniform(9, signed)
  spacing = problem.spacing
  offset = np.asarray([0, 0.5, -0.5, 5.5, 15.5, -15.5, 31.5, -31.5, -20.5])
  neuron = neuron._replace(v_0=np.float32(neuron.v_0 + offset * spacing))
  almost = fit_lif.nearly_if(problem, neuron)
  assert (0 < almost.leak).all() and (almost.leak < 1).all()
  for unit in range(9):
    one, other = (oracle.staircase(
        oracle.cast(jax.tree.map(lambda leaf, unit=unit: leaf[unit], n),
                    np.float32), centres, num_steps, signed)
                  for n in (neuron, almost))
    np.testing.assert_array_equal(one, other)
