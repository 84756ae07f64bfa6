"""The choice among the rules never loses to the uniform one."""

import json

import hypothesis
from hypothesis import strategies
import jax
import numpy as np
import pytest

from slstm import fit_if
from slstm import rules
from slstm.types import Sites
from tests import histograms


def _errors(problem, p, neuron):
  return fit_if.errors(problem, p, neuron)[0]


@hypothesis.given(**histograms.CASES,
                  kind=strategies.sampled_from([('if', 'uniform'),
                                                ('if', 'data'),
                                                ('lif', 'uniform')]))
@hypothesis.settings(max_examples=30)
def test_never_worse_than_uniform(seed, site, family, num_steps, kind):
  """On either half, for each neuron, however little the halves are alike."""
  problem = histograms.problem(site, family, num_steps)
  rng = np.random.default_rng(seed)
  halves = [
      np.stack([histograms.skewed(rng, draws)
                for draws in (3, 300)])
      for _ in range(2)
  ]
  neuron, report = rules.fit_site(problem, *halves, *kind)
  assert (neuron.leak is None) == (kind[0] == 'if')
  uniform = fit_if.uniform(2, problem.signed)
  for p in halves:
    assert (_errors(problem, p, neuron)
            <= _errors(problem, p, uniform) + 1e-9).all()
  assert report.neuron == kind[0]
  assert sum(report.rules.values()) == 2


def test_better_halves_choose_the_lif():
  problem = histograms.problem('g', 'standard', 2)
  p = np.concatenate([histograms.at(-1, 1), histograms.at(-0.3, 0.6)])
  neuron, report = rules.fit_site(problem, p, p, 'lif', 'uniform')
  assert report.rules == {
      'if_floor': 0,
      'if_uniform': 0,
      'if_data': 0,
      'lif': 2
  }
  assert report.errors['chosen'] == report.errors['lif']
  for field in ('v_th', 'leak', 'v_0', 'amplitude'):
    assert getattr(report, field) == getattr(neuron, field).tolist()
  errors = report.errors['lif']
  mse, mae = fit_if.errors(problem, p, neuron)
  assert errors.mse_fit == errors.mse_held_out == pytest.approx(mse.mean())
  assert errors.mae_fit == errors.mae_held_out == pytest.approx(mae.mean())


def test_each_unit_falls_back_on_its_own():
  """What is fitted to drives that do not come again is not taken."""
  problem = histograms.problem('f', 'hard', 2)
  p_fit = np.concatenate([histograms.at(0.3, 0.31)] * 2)
  p_held_out = np.concatenate(
      [histograms.at(0.95, 1), histograms.at(0.3, 0.31)])
  neuron, report = rules.fit_site(problem, p_fit, p_held_out, 'lif', 'uniform')
  assert report.rules['lif'] == 1
  assert report.errors['lif'].mse_held_out > 0.05
  assert report.errors['chosen'].mse_held_out < 0.03
  assert 0.999 < neuron.leak[0] < 1
  errors = fit_if.errors(problem, p_held_out, neuron)[0]
  uniform = fit_if.errors(problem, p_held_out, fit_if.uniform(2, False))[0]
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
  errors = [
      np.array([[fit], [0.0], [held_out], [0.0]])
      for fit, held_out in zip(mse_fit, mse_held_out)
  ]
  choice, = rules.choose(errors)
  assert rules.RULES[1:][choice] == rule


def test_data_shift_is_taken_only_where_it_was_asked_for():
  problem = histograms.problem('f', 'standard', 2)
  p = histograms.at(0.70, 0.74)
  for shift, rule in ('uniform', 'if_uniform'), ('data', 'if_data'):
    neuron, report = rules.fit_site(problem, p, p, 'if', shift)
    assert report.rules[rule] == 1 and sum(report.rules.values()) == 1
    assert report.errors['chosen'] == report.errors[rule]
    assert (neuron.v_0[0] != 0.5) == (shift == 'data')
    assert report.leak == [1.0]
    assert set(report.errors) == {*rules.RULES, 'chosen'}


def test_no_shift_is_taken_where_it_was_asked_for():
  problem = histograms.problem('o', 'hard', 2)
  p = histograms.at(0.0, 1.0)
  neuron, report = rules.fit_site(problem, p, p, 'if', 'none')
  assert neuron.v_0 == 0 and report.rules['if_floor'] == 1
  # A floor in place of a round: on a uniform drive 4 times the squared error,
  # but for the width of the bins.
  errors = report.errors
  assert errors['chosen'] == errors['if_floor']
  assert errors['if_floor'].mse_fit == pytest.approx(
      4 * errors['if_uniform'].mse_fit, rel=0.15)


def test_of_equal_rules_the_simplest_is_taken():
  problem = histograms.problem('f', 'hard', 2)
  for p in histograms.at(-2, -1), histograms.at(0.5, 0.5):
    for kind in ('if', 'data'), ('lif', 'data'):
      neuron, report = rules.fit_site(problem, p, p, *kind)
      assert report.rules['if_uniform'] == 1
      assert neuron.v_0 == 0.5 and neuron.amplitude == 1


def test_report_dict_is_json():
  problem = histograms.problem('c', 'hard', 2)
  p = histograms.at(-1, 1)
  _, report = rules.fit_site(problem, p, p, 'lif', 'uniform')
  layers = json.loads(
      json.dumps(rules.report_dict((Sites(c=report), Sites(c=report,
                                                           h=report)))))
  assert [list(layer) for layer in layers] == [['c'], ['c', 'h']]
  assert layers[1]['h']['v_th'] == report.v_th
  assert layers[0]['c']['errors']['lif']['mse_fit'] == (
      report.errors['lif'].mse_fit)
