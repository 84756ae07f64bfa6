"""The fits of a neuron: bounds, optima, limits, and the choice among rules."""

import json
from typing import NamedTuple

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import fitting
from slstm import neurons
from slstm.types import Array, Elementwise, Sites
from tests import histograms
from tests import oracle

CENTRES = histograms.CENTRES


class Constant(NamedTuple):
  """A neuron of the tests, whose output is below where d < 0, else above."""
  below: Array
  above: Array


@pytest.fixture(autouse=True)
def _constant(monkeypatch):
  """Makes `Constant` known for a test."""
  monkeypatch.setattr(neurons, 'KINDS', dict(neurons.KINDS))

  def step(neuron, state, d, *, signed, fire):
    del neuron, signed, fire
    return state, d

  def output(neuron, state, d):
    del state
    return jnp.where(d < 0, neuron.below, neuron.above)

  neurons.register(
      Constant,
      neurons.Kind(initial=lambda neuron, shape: (),
                   step=step,
                   output=output,
                   constrain=lambda raw: raw,
                   unconstrain=lambda neuron: neuron,
                   work=lambda *_: (Elementwise(), Elementwise())))


def _errors(problem, p, neuron):
  return fitting.errors(problem, p, neuron)[0]


def _one(neuron, unit):
  return jax.tree.map(lambda leaf: np.asarray(leaf[unit]), neuron)


def _samples(count, draws=100):
  """Skewed histograms, [count, bins]."""
  rng = np.random.default_rng(0)
  return np.stack([histograms.skewed(rng, draws) for _ in range(count)])


# --- IF -----------------------------------------------------------------------


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
    neuron = fitting.uniform(problem, flat)
    rate = neurons.staircase(neuron,
                             CENTRES.reshape(-1, 1),
                             num_steps=num_steps,
                             signed=problem.signed)
    assert np.abs(rate[:, 0] - problem.target).max() <= 1 / (2 * num_steps)
    mean.append(fitting.errors(problem, flat, neuron)[1][0])
    assert 0 < mean[-1] <= 1 / num_steps
  assert all(b <= 0.55 * a for a, b in zip(mean, mean[1:]))


@hypothesis.given(**histograms.CASES)
def test_shift_is_the_brute_force_optimum(seed, site, family, num_steps):
  problem = histograms.problem(site, family, num_steps)
  p = histograms.skewed(np.random.default_rng(seed), 200)
  neuron = fitting.shifted(problem, p.reshape(1, -1))
  assert neuron.leak is None
  assert neuron.v_th == 1 and neuron.amplitude == 1
  uniform = 0.0 if problem.signed else 0.5
  spacing = 1 / 32  # the error changes at multiples of it only
  tried = uniform + np.arange(-1, 1, spacing) + spacing / 2
  best = min(_if_error(problem, p, v_0) for v_0 in (uniform, *tried))
  found = _if_error(problem, p, float(neuron.v_0[0]))
  assert found <= best + 1e-9
  assert found == pytest.approx(fitting.errors(problem, p.reshape(1, -1),
                                               neuron)[0][0],
                                abs=1e-7)


@pytest.mark.parametrize('site', ['f', 'g'])
def test_nothing_beats_rounding_where_the_target_is_the_clip(site):
  """The uniform rule is the nearest level for each d, so for each p(d) too."""
  problem = histograms.problem(site, 'hard', 2)
  p = _samples(8, 50)
  expected = fitting.uniform(problem, p)
  jax.tree.map(np.testing.assert_array_equal, fitting.shifted(problem, p),
               expected)


def test_shift_helps_where_the_target_is_a_curve():
  problem = histograms.problem('f', 'standard', 2)
  p = histograms.at(0.70, 0.74)  # floor(2 d + 1/2) = 1, but sigmoid = 0.79
  uniform = _errors(problem, p, fitting.uniform(problem, p))
  neuron = fitting.shifted(problem, p)
  assert neuron.v_0 > 0.5
  assert _errors(problem, p, neuron) < 0.6 * uniform


def test_errors_are_those_of_the_oracle():
  neuron = neurons.LIF(
      *np.asarray([[0.5, 1.0, 0.75], [0.25, 0.0, -0.5], [0.5, 1.0, 2.0],
                   [0.5, 0.25, 0.5]], np.float32))
  p = _samples(3)
  for site in 'fg':
    problem = histograms.problem(site, 'standard', 3)
    mse, mae = fitting.errors(problem, p, neuron)
    for unit in range(3):
      e = oracle.staircase(oracle.cast(_one(neuron, unit), np.float64), CENTRES,
                           3, problem.signed) - problem.target
      np.testing.assert_allclose(mse[unit], np.sum(p[unit] * e**2), rtol=1e-6)
      np.testing.assert_allclose(mae[unit], np.sum(p[unit] * abs(e)), rtol=1e-6)


def test_evaluate_finds_the_best_amplitude():
  rng = np.random.default_rng(0)
  problem = histograms.problem('g', 'standard', 2)
  p = _samples(3)
  candidates = neurons.LIF(
      *(rng.uniform(0.2, 0.9, 5).astype(np.float32) for _ in range(4)))
  candidates = candidates._replace(amplitude=np.ones(5, np.float32))
  amplitude, error = fitting.evaluate(problem, p, candidates)
  assert amplitude.shape == error.shape == (3, 5)
  for c in range(5):
    one = jax.tree.map(lambda leaf, c=c: np.repeat(leaf[c], 3), candidates)
    for factor, worse in (1.0, False), (1.01, True), (0.99, True):
      mse = _errors(problem, p,
                    one._replace(amplitude=factor * amplitude[:, c]))
      if worse:
        assert (mse > error[:, c]).all()
      else:
        np.testing.assert_allclose(mse, error[:, c], rtol=1e-6)


def test_more_candidates_than_are_run_at_a_time(monkeypatch):
  problem = histograms.problem('f', 'standard', 4)
  together = fitting.shifted(problem, _samples(3))
  monkeypatch.setattr(fitting, '_CHUNK', 10)
  jax.tree.map(np.testing.assert_array_equal,
               fitting.shifted(problem, _samples(3)), together)


# --- LIF ----------------------------------------------------------------------


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
  target = oracle.staircase(oracle.cast(neurons.LIF(*leaves), np.float64),
                            CENTRES.astype(np.float64), num_steps, signed)
  problem = fitting.Problem(CENTRES, target, num_steps, signed)
  p = histograms.at(-1.5 if signed else -0.5, 1.5)
  neuron = fitting.leaky(problem, p)
  assert _errors(problem, p, fitting.uniform(problem, p)) > 0.01
  assert _errors(problem, p, neuron) < 1e-9


def test_fits_each_histogram_on_its_own():
  problem = histograms.problem('g', 'standard', 2)
  p = _samples(3)
  together = fitting.leaky(problem, p)
  for unit in range(3):
    alone = fitting.leaky(problem, p[unit:unit + 1])
    for one, other in zip(together, alone):
      np.testing.assert_array_equal(one[unit:unit + 1], other)
    assert 0 < together.leak[unit] < 1
  assert len(set(together.v_th.tolist())) == 3


@pytest.mark.parametrize('site', ['f', 'g'])
def test_one_step_leaves_nothing_to_the_leak(site):
  problem = histograms.problem(site, 'standard', 1)
  p = _samples(3)
  neuron = fitting.leaky(problem, p)
  np.testing.assert_array_equal(neuron.leak, 0.5)
  np.testing.assert_array_equal(
      fitting.nearly_if(problem, fitting.shifted(problem, p)).leak, 0.5)
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
    found = _errors(problem, row.reshape(1, -1), one)
    assert found <= best + 0.005 * row @ problem.target**2


@pytest.mark.parametrize('num_steps', [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('bins', [256, 1024])
def test_nearly_if_has_the_staircase_of_the_if(num_steps, signed, bins):
  centres = ((np.arange(bins) - bins // 2) * (8 / bins)).astype(np.float32)
  problem = fitting.Problem(centres, np.zeros(bins), num_steps, signed)
  neuron = fitting.uniform(problem, np.zeros(9))
  spacing = 8 / bins
  offset = np.asarray([0, 0.5, -0.5, 5.5, 15.5, -15.5, 31.5, -31.5, -20.5])
  neuron = neuron._replace(v_0=np.float32(neuron.v_0 + offset * spacing))
  almost = fitting.nearly_if(problem, neuron)
  assert (0 < almost.leak).all() and (almost.leak < 1).all()
  for unit in range(9):
    one, other = (oracle.staircase(oracle.cast(_one(n, unit), np.float32),
                                   centres, num_steps, signed)
                  for n in (neuron, almost))
    np.testing.assert_array_equal(one, other)


# --- The choice ---------------------------------------------------------------


@hypothesis.given(**histograms.CASES,
                  name=strategies.sampled_from(['if', 'if_data', 'lif']))
@hypothesis.settings(max_examples=30)
def test_never_worse_than_uniform(seed, site, family, num_steps, name):
  """On either half, for each neuron, however little the halves are alike."""
  problem = histograms.problem(site, family, num_steps)
  rng = np.random.default_rng(seed)
  halves = [
      np.stack([histograms.skewed(rng, draws)
                for draws in (3, 300)])
      for _ in range(2)
  ]
  neuron, report = fitting.FITS[name](problem, *halves)
  assert (neuron.leak is None) == (name != 'lif')
  for p in halves:
    uniform = fitting.uniform(problem, p)
    assert (_errors(problem, p, neuron)
            <= _errors(problem, p, uniform) + 1e-9).all()
  assert report.neuron == 'LIF'
  assert sum(report.rules.values()) == 2


def test_better_halves_choose_the_lif():
  problem = histograms.problem('g', 'standard', 2)
  p = np.concatenate([histograms.at(-1, 1), histograms.at(-0.3, 0.6)])
  neuron, report = fitting.lif(problem, p, p)
  assert report.rules == {'if_uniform': 0, 'if_data': 0, 'lif': 2}
  assert report.errors['chosen'] == report.errors['lif']
  assert set(report.errors) == {'if_uniform', 'if_data', 'lif', 'chosen'}
  assert report.parameters == {
      name: leaf.tolist() for name, leaf in neuron._asdict().items()
  }
  errors = report.errors['lif']
  mse, mae = fitting.errors(problem, p, neuron)
  assert errors.mse_fit == errors.mse_held_out == pytest.approx(mse.mean())
  assert errors.mae_fit == errors.mae_held_out == pytest.approx(mae.mean())


def test_each_unit_falls_back_on_its_own():
  """What is fitted to drives that do not come again is not taken."""
  problem = histograms.problem('f', 'hard', 2)
  p_fit = np.concatenate([histograms.at(0.3, 0.31)] * 2)
  p_held_out = np.concatenate(
      [histograms.at(0.95, 1), histograms.at(0.3, 0.31)])
  neuron, report = fitting.lif(problem, p_fit, p_held_out)
  assert report.rules['lif'] == 1
  assert report.errors['lif'].mse_held_out > 0.05
  assert report.errors['chosen'].mse_held_out < 0.03
  assert 0.999 < neuron.leak[0] < 1
  errors = _errors(problem, p_held_out, neuron)
  uniform = _errors(problem, p_held_out, fitting.uniform(problem, p_fit))
  assert errors[0] == pytest.approx(uniform[0])
  assert errors[1] < 0.1 * uniform[1]
  assert len(jax.tree.leaves(neuron)) == 4


@pytest.mark.parametrize('mse_fit, mse_held_out, rule', [
    ((0.3, 0.2, 0.1), (0.3, 0.2, 0.1), 'lif'),
    ((0.3, 0.2, 0.1), (0.3, 0.2, 0.2), 'lif'),
    ((0.3, 0.2, 0.1), (0.3, 0.2, 0.25), 'if_data'),
    ((0.3, 0.2, 0.1), (0.3, 0.5, 0.4), 'if_uniform'),
    ((0.3, 0.2, 0.1), (0.3, 0.5, 0.2), 'lif'),
    ((0.3, 0.3, 0.3), (0.3, 0.3, 0.2), 'if_uniform'),
    ((0.3, 0.2, 0.2), (0.3, 0.2, 0.1), 'if_data'),
])
def test_a_rule_is_compared_with_the_one_taken_before(mse_fit, mse_held_out,
                                                      rule):
  """With neurons whose errors are given: fitted at d < 0, held out at d > 0."""
  problem = fitting.Problem(CENTRES, np.zeros(len(CENTRES)), 1, True)
  rules = {
      name:
          lambda problem, p, below=below, above=above: Constant(*(np.full(
              len(p), v**0.5, np.float32) for v in (below, above)))
      for name, below, above in zip(('if_uniform', 'if_data',
                                     'lif'), mse_fit, mse_held_out)
  }
  fit = fitting.best_of(**rules)
  neuron, report = fit(problem, histograms.at(-1, -0.1), histograms.at(0.1, 1))
  assert report.rules == {name: int(name == rule) for name in rules}
  assert report.neuron == 'Constant'
  index = list(rules).index(rule)
  assert neuron.below[0] == np.float32(mse_fit[index]**0.5)
  assert report.errors['chosen'] == report.errors[rule]
  assert report.errors['lif'].mse_fit == pytest.approx(mse_fit[2])
  assert report.errors['lif'].mae_held_out == pytest.approx(
      mse_held_out[2]**0.5)


def test_a_fit_of_ones_own_is_compared_with_the_uniform_if():
  problem = histograms.problem('c', 'hard', 1)
  p = np.concatenate([histograms.at(0, 0.5), histograms.at(-0.5, 0)])

  def half(problem, p):
    mean = p @ problem.target
    return Constant(below=np.float32(mean), above=np.float32(mean))

  neuron, report = fitting.best_of(half=half)(problem, p, p[::-1])
  np.testing.assert_allclose(neuron.below, [0.25, -0.25], atol=1e-3)
  assert report.rules == {'half': 2}
  assert report.parameters == {
      'below': neuron.below.tolist(),
      'above': neuron.above.tolist()
  }
  assert set(report.errors) == {'half', 'if_uniform', 'chosen'}
  # d - 1/4 is uniform in [-1/4, 1/4]; held out it is 1/2 more, or less.
  assert report.errors['half'].mse_fit == pytest.approx(1 / 48, rel=0.1)
  assert report.errors['half'].mse_held_out == pytest.approx(1 / 48 + 1 / 4,
                                                             rel=0.02)
  uniform = fitting.errors(problem, p, fitting.uniform(problem, p))
  assert report.errors['if_uniform'].mae_fit == pytest.approx(uniform[1].mean())


@pytest.mark.parametrize('name, rules', [
    ('if', ['uniform']),
    ('if_floor', ['floored']),
    ('if_data', ['uniform', 'shifted']),
    ('lif', ['uniform', 'shifted', 'leaky']),
])
def test_only_rules_to_choose_from_are_fitted(name, rules, monkeypatch):
  """Neither the shift nor the leak is searched for where none is needed."""
  searched = []
  search = fitting.evaluate

  def evaluate(problem, p, candidates, *, free_amplitude=True):
    searched.append('leaky' if free_amplitude else 'shifted')
    return search(problem, p, candidates, free_amplitude=free_amplitude)

  monkeypatch.setattr(fitting, 'evaluate', evaluate)
  problem = histograms.problem('f', 'standard', 2)
  p = histograms.at(0.70, 0.74)
  _, report = fitting.FITS[name](problem, p, p)
  assert set(searched) == {
      rule for rule in rules if rule in ('shifted', 'leaky')
  }
  assert len(report.rules) == len(rules)
  assert set(report.errors) == {*report.rules, 'if_uniform', 'chosen'}


def test_data_shift_is_taken_only_where_it_was_asked_for():
  problem = histograms.problem('f', 'standard', 2)
  p = histograms.at(0.70, 0.74)
  for name, rule in ('if', 'if_uniform'), ('if_data', 'if_data'):
    neuron, report = fitting.FITS[name](problem, p, p)
    assert report.rules[rule] == 1 and sum(report.rules.values()) == 1
    assert report.errors['chosen'] == report.errors[rule]
    assert (neuron.v_0[0] != 0.5) == (name == 'if_data')
    assert set(report.parameters) == {'v_th', 'v_0', 'amplitude'}


def test_no_shift_is_taken_where_it_was_asked_for():
  problem = histograms.problem('o', 'hard', 2)
  p = histograms.at(0.0, 1.0)
  neuron, report = fitting.if_floor(problem, p, p)
  assert neuron.v_0 == 0 and report.rules == {'if_floor': 1}
  # A floor in place of a round: on a uniform drive 4 times the squared error,
  # but for the width of the bins.
  errors = report.errors
  assert errors['chosen'] == errors['if_floor']
  assert errors['if_floor'].mse_fit == pytest.approx(
      4 * errors['if_uniform'].mse_fit, rel=0.15)


def test_of_equal_rules_the_simplest_is_taken():
  problem = histograms.problem('f', 'hard', 2)
  for p in histograms.at(-2, -1), histograms.at(0.5, 0.5):
    for fit in fitting.if_data, fitting.lif:
      neuron, report = fit(problem, p, p)
      assert report.rules['if_uniform'] == 1
      assert neuron.v_0 == 0.5 and neuron.amplitude == 1


def test_report_dict_is_json():
  problem = histograms.problem('c', 'hard', 2)
  p = histograms.at(-1, 1)
  _, report = fitting.lif(problem, p, p)
  layers = json.loads(
      json.dumps(
          fitting.report_dict((Sites(c=report), Sites(c=report, h=report)))))
  assert [list(layer) for layer in layers] == [['c'], ['c', 'h']]
  assert layers[1]['h']['parameters']['v_th'] == report.parameters['v_th']
  assert layers[0]['c']['errors']['lif']['mse_fit'] == (
      report.errors['lif'].mse_fit)
