"""Chooses the rule that makes a site's neurons, and reports what each would do.

Three rules are chosen from: 'if_uniform', 'if_data' and 'lif' (`slstm.fit_if`,
`slstm.fit_lif`). A later one is taken only where it is better than the one
before it on the examples it was fitted to, and no worse on those held out. So
the squared error of a converted neuron is never above that of the uniform rule
on either. The fourth, 'if_floor', is the IF without a shift: it is taken only
where it was asked for, to show what the shift is worth.

With neuron 'lif' the leaves do not depend on the data: where an IF rule is
taken, the neuron still has a leak that can be trained, but so near to 1 that
the staircase is the same on every bin centre.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from slstm import fit_if
from slstm import fit_lif
from slstm.types import Neuron, Sites

RULES = ('if_floor', 'if_uniform', 'if_data', 'lif')

# What is chosen from, by the neuron and the shift that were asked for.
_CANDIDATES = {
    ('if', 'none'): ('if_floor',),
    ('if', 'uniform'): ('if_uniform',),
    ('if', 'data'): ('if_uniform', 'if_data'),
}


class Errors(NamedTuple):
  """Error of a staircase against the activation, mean over the neurons.

  Attributes:
    mse_fit, mse_held_out: mean squared error under either histogram.
    mae_fit, mae_held_out: mean absolute error.
  """
  mse_fit: float
  mae_fit: float
  mse_held_out: float
  mae_held_out: float


class SiteReport(NamedTuple):
  """What became of one site of one layer.

  Attributes:
    neuron: kind of the neuron, 'lif' or 'if'.
    rules: how many neurons follow each of RULES; one in all for a layer.
    v_th, leak, v_0, amplitude: one value a neuron; the leak of an IF is 1.
    errors: of each of RULES, also those that were not to be chosen from, and of
      what was 'chosen'.
  """
  neuron: str
  rules: dict[str, int]
  v_th: list[float]
  leak: list[float]
  v_0: list[float]
  amplitude: list[float]
  errors: dict[str, Errors]


def fit_site(problem: fit_if.Problem, p_fit: np.ndarray, p_held_out: np.ndarray,
             neuron: str, shift: str) -> tuple[Neuron, SiteReport]:
  """Fits all rules to a site and chooses one for each of its neurons.

  Args:
    problem: what the neurons shall follow.
    p_fit: weights to fit to, each row sums to 1, float64 [U, bins].
    p_held_out: weights to check with, likewise.
    neuron: 'lif' to choose from all rules, 'if' for an IF.
    shift: 'none', 'uniform' or 'data', which decides the rules for an 'if'.

  Returns:
    (neuron, report): leaves are [U].
  """
  uniform = fit_if.uniform(len(p_fit), problem.signed)
  fitted = {
      'if_floor': uniform._replace(v_0=0 * uniform.v_0),
      'if_uniform': uniform,
      'if_data': fit_if.shifted(problem, p_fit),
      'lif': fit_lif.leaky(problem, p_fit),
  }
  errors = {
      rule: _errors(problem, p_fit, p_held_out, candidate)
      for rule, candidate in fitted.items()
  }
  candidates = _CANDIDATES.get((neuron, shift), RULES[1:])
  choice = choose([errors[rule] for rule in candidates])
  if neuron == 'lif':
    for rule in ('if_uniform', 'if_data'):
      fitted[rule] = fit_lif.nearly_if(problem, fitted[rule])
  chosen = jax.tree.map(lambda *leaves: np.choose(choice, leaves),
                        *(fitted[rule] for rule in candidates))
  leak = chosen.leak
  errors['chosen'] = _errors(problem, p_fit, p_held_out, chosen)
  return chosen, SiteReport(
      neuron=neuron,
      rules={r: int(np.sum(np.take(candidates, choice) == r)) for r in RULES},
      v_th=chosen.v_th.tolist(),
      leak=[1.0] * len(choice) if leak is None else leak.tolist(),
      v_0=chosen.v_0.tolist(),
      amplitude=chosen.amplitude.tolist(),
      errors={
          k: Errors(*v.mean(1).tolist()) for k, v in errors.items()
      })


def report_dict(report: tuple[Sites, ...]) -> list[dict[str, Any]]:
  """A conversion's report as lists, dicts and numbers, ready for JSON.

  Args:
    report: for each layer the SiteReport of each converted site.

  Returns:
    For each layer {site: {field: value}}.
  """
  return [{
      site: site_dict(getattr(layer, site)) for site in layer.present
  } for layer in report]


def site_dict(report: SiteReport) -> dict[str, Any]:
  """The report of one site, ready for JSON: {field: value}."""
  errors = {rule: e._asdict() for rule, e in report.errors.items()}
  return {**report._asdict(), 'errors': errors}


def _errors(problem: fit_if.Problem, p_fit: np.ndarray, p_held_out: np.ndarray,
            neuron: Neuron) -> np.ndarray:
  """The fields of Errors for each neuron, float64 [4, U]."""
  return np.stack([
      *fit_if.errors(problem, p_fit, neuron),
      *fit_if.errors(problem, p_held_out, neuron)
  ])


def choose(errors: list[np.ndarray]) -> np.ndarray:
  """For each neuron the last rule that beats those taken before it.

  Args:
    errors: the fields of Errors for each rule, simplest first, each [4, U].

  Returns:
    The index of a rule, [U].
  """
  best = errors[0]
  choice = np.zeros(best.shape[1], int)
  for rule, found in enumerate(errors[1:], 1):
    better = (found[0] < best[0]) & (found[2] <= best[2])
    choice = np.where(better, rule, choice)
    best = np.where(better.reshape(1, -1), found, best)
  return choice
