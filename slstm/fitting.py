"""Fits the neurons of a site to the distribution of its drive.

Under a drive d that is constant over the T steps, a neuron outputs its
staircase(d). It shall follow the activation that it replaces, with least

  E = E_p[(staircase(d) - activation(d))^2]

where p(d) are histograms of units or of a whole layer, float64 [U, bins]; each
row sums to 1. A *rule* makes neurons with leaves [U], one entry for each row:

  uniform  IF of v_th = amplitude = 1 that rounds: optimal for uniform d (Deng &
           Gu, ICLR 2021), and for every p(d) where the activation is a clip
  shifted  the same with the v_0 of least E (Datta & Beerel, DATE 2022)
  floored  the same without a shift, to show what the shift of i, f and o is
           worth; that of a ternary neuron is its fire level, which stays
  leaky    LIF of least E: a leak makes the steps uneven, so that few of them
           can follow a curve or a skewed p(d)

A *fit* chooses for each neuron among rules, see `best_of`. Those of `FITS` make
a LIF; your own may make neurons of any registered type.
"""

import functools
from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slstm import neurons
from slstm.neurons import LIF
from slstm.types import Sites

_CHUNK = 1024  # candidates at a time: bounds memory
_ROUNDS = 6  # of local refinement, each at half the spacing
_LEAST_LOSS = 2.0**-22  # 1 - this is a float32 well below 1; binds for T > 60


class Problem(NamedTuple):
  """What a neuron shall follow."""
  centres: np.ndarray  # the drives d, rising with equal spacing, float32 [bins]
  target: np.ndarray  # activation(d), float64 [bins]
  num_steps: int  # T
  signed: bool  # ternary if True, binary if False


class Errors(NamedTuple):
  """Mean squared and absolute error, on what was fitted to and held out."""
  mse_fit: Any
  mae_fit: Any
  mse_held_out: Any
  mae_held_out: Any


class SiteReport(NamedTuple):
  """What became of one site of one layer."""
  neuron: str  # name of its type, such as 'LIF'
  rules: dict[str, int]  # how many neurons follow each; one in all for a layer
  parameters: dict[str, list[float]]  # one value per neuron
  errors: dict[str, Errors]  # means for each rule, 'chosen' and 'if_uniform'


Rule = Callable[[Problem, np.ndarray], Any]
Fit = Callable[[Problem, np.ndarray, np.ndarray], tuple[Any, SiteReport]]


def best_of(**rules: Rule) -> Fit:
  """A fit that chooses among rules of one type of neuron, simplest first.

  A later rule is taken only where it is better than the one taken before it on
  the examples that it was fitted to, and no worse on those held out. So the
  squared error is never above that of the first rule on either.

  Example:
    def half(problem, p):
      return MyNeuron(theta=np.full(len(p), 0.5, np.float32))
    config = slstm.ConversionConfig(fit=fitting.best_of(half=half))
  """

  def fit(problem, p_fit, p_held_out):
    halves = p_fit, p_held_out
    both = lambda n: np.concatenate([errors(problem, p, n) for p in halves])
    made = {name: rule(problem, p_fit) for name, rule in rules.items()}
    found = {name: both(neuron) for name, neuron in made.items()}
    choice, best = np.zeros(len(p_fit), int), next(iter(found.values()))
    for index, each in enumerate(found.values()):
      better = (each[0] < best[0]) & (each[2] <= best[2])
      choice = np.where(better, index, choice)
      best = np.where(better, each, best)
    choose = lambda *leaves: np.choose(choice, leaves)
    chosen = jax.tree.map(choose, *made.values())
    found['chosen'] = both(chosen)
    found.setdefault('if_uniform', both(uniform(problem, p_fit)))
    taken = {name: int(sum(choice == k)) for k, name in enumerate(made)}
    values = chosen._asdict().items()
    values = {name: v.tolist() for name, v in values if v is not None}
    means = {name: Errors(*e.mean(1).tolist()) for name, e in found.items()}
    return chosen, SiteReport(type(chosen).__name__, taken, values, means)

  return fit


def errors(problem: Problem, p: np.ndarray,
           neuron: Any) -> tuple[np.ndarray, np.ndarray]:
  """(E_p[e^2], E_p[|e|]) of e = staircase(d) - activation(d), each [U]."""
  amplitude = np.ones(1)
  if isinstance(neuron, LIF):  # its amplitude in float64, as in `evaluate`
    amplitude = np.asarray(neuron.amplitude, np.float64)
    neuron = neuron._replace(amplitude=jnp.ones_like(neuron.amplitude))
  e = amplitude.reshape(-1, 1) * _staircases(problem, neuron) - problem.target
  return np.sum(p * e**2, 1), np.sum(p * np.abs(e), 1)


def report_dict(report: tuple[Sites, ...]) -> list[dict[str, Any]]:
  """The report of a conversion, ready for JSON: {site: ..} for each layer."""
  ready = lambda sites: {s: site_dict(getattr(sites, s)) for s in sites.present}
  return [ready(sites) for sites in report]


def site_dict(report: SiteReport) -> dict[str, Any]:
  """The report of one site, ready for JSON: {field: value}."""
  found = {rule: e._asdict() for rule, e in report.errors.items()}
  return {**report._asdict(), 'errors': found}


def uniform(problem: Problem, p: np.ndarray) -> LIF:
  """A rule: the IF that rounds, whatever p."""
  like = neurons.integrate_and_fire(problem.signed)
  return jax.tree.map(lambda leaf: np.full(len(p), leaf, np.float32), like)


def floored(problem: Problem, p: np.ndarray) -> LIF:
  """A rule: the IF without a shift, whatever p."""
  return uniform(problem, p)._replace(v_0=jnp.zeros(len(p)))


def shifted(problem: Problem, p: np.ndarray) -> LIF:
  """A rule: the IF with the v_0 of least E.

  E is piecewise constant in v_0, with steps at multiples of the bin spacing. So
  one candidate within each piece makes the search exact (up to T = 31; beyond
  it is coarser). Of equal ones the nearest to `uniform` is taken.
  """
  spacing = float(problem.centres[1] - problem.centres[0])
  end, every = max(1.0, problem.num_steps / 2), max(1, problem.num_steps // 16)
  offset = np.arange(0.5 * spacing, end, spacing * every)
  offset = np.concatenate([[0.0], np.stack([-offset, offset], 1).ravel()])
  one = uniform(problem, offset)
  candidates = one._replace(v_0=(one.v_0 + offset).astype(np.float32))
  _, error = evaluate(problem, p, candidates, free_amplitude=False)
  best = np.argmin(error, 1)
  return jax.tree.map(lambda leaf: leaf[best], candidates)


def leaky(problem: Problem, p: np.ndarray) -> LIF:
  """A rule: the LIF of least E on a grid, then on ever finer ones.

  The grid is over (logit leak, log v_th, v_0 / v_th). For T = 1 the leak only
  scales v_0 (u_1 = leak v_0 + d), so it is 1/2, from where training can move
  it. If binary, nothing but v_th - leak v_0 matters, so v_th is 1.
  """
  one_step, signed = problem.num_steps == 1, problem.signed
  axes = [
      np.zeros(1) if one_step else np.linspace(-3.0, 7.0, 11),
      np.zeros(1) if one_step and not signed else np.linspace(-1.5, 1.0, 21),
      np.linspace(-1.0, 1.0, 17) if signed else np.linspace(-1.0, 2.0, 25)
  ]
  grid = np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(-1, 3)
  # Of equal ones the nearest to `uniform` is taken.
  odds, off = np.exp(-grid[:, 0]), grid[:, 2] - (0.0 if signed else 0.5)
  distance = odds / (1 + odds) + np.abs(grid[:, 1]) + np.abs(off)
  grid = grid[np.argsort(distance, kind='stable')]
  amplitude, error = evaluate(problem, p, _neuron(grid))
  spacing = np.asarray([a[1] - a[0] if len(a) > 1 else 0.0 for a in axes])
  cube = np.indices((5, 5, 5)).reshape(3, -1).T[:, [1, 0, 2]] / 2 - 1  # [-1, 1]
  taken = []
  for unit, k in enumerate(np.argmin(error, 1)):
    best = error[unit, k], amplitude[unit, k], grid[k]
    for level in range(_ROUNDS):
      around = best[2] + spacing / 2**level * cube
      gains, found = evaluate(problem, p[unit:unit + 1], _neuron(around))
      k = np.argmin(found)
      if found[0, k] < best[0]:
        best = found[0, k], gains[0, k], around[k]
    taken.append(best[1:])
  amplitudes, points = zip(*taken)
  return _neuron(np.stack(points), np.asarray(amplitudes))


def _neuron(points: np.ndarray, amplitude: Any = 1.0) -> LIF:
  """Neurons from rows (logit leak, log v_th, v_0 / v_th)."""
  v_th, leak = np.exp(points[:, 1]), 1 / (1 + np.exp(-points[:, 0]))
  return _lif(v_th, points[:, 2] * v_th, amplitude, leak)


def _lif(*leaves: Any) -> LIF:
  """A neuron of NumPy leaves, which are quicker than JAX's to slice."""
  return LIF(*np.asarray(np.broadcast_arrays(*leaves), np.float32))


def nearly_if(problem: Problem, neuron: LIF) -> LIF:
  """A LIF with the staircase of a given IF of threshold 1 on all centres.

  Over T steps the leak takes away less than half of the bin spacing (for T up
  to 60); the threshold is lowered by as much, so that a membrane just at the
  fire level still fires. For T = 1 the leak is 1/2, and v_0 is doubled.
  """
  steps, (v_th, v_0, amplitude, _) = problem.num_steps, neuron
  spacing = float(problem.centres[1] - problem.centres[0])
  if steps == 1:
    return _lif(v_th, 2 * v_0, amplitude, 0.5)
  loss = max(spacing / (8 * steps * (steps + 1)), _LEAST_LOSS)
  return _lif(v_th - 2 * loss * steps, v_0, amplitude, 1 - loss)


def evaluate(problem: Problem,
             p: np.ndarray,
             candidates: LIF,
             *,
             free_amplitude: bool = True) -> tuple[np.ndarray, np.ndarray]:
  """Amplitude and E of C candidates for U histograms, each float64 [U, C].

  E is linear in p: two matrix products give the errors of all units. With a
  free amplitude each takes its best one, E_p[rate activation] / E_p[rate^2]. E
  is rounded to 1e-12, so that ties are ties. Candidates have amplitude 1.
  """
  target = problem.target
  base = np.sum(p * target**2, 1, keepdims=True)
  amplitudes, found = [], []
  for start in range(0, len(candidates.v_th), _CHUNK):
    part = jax.tree.map(lambda leaf: leaf[start:start + _CHUNK], candidates)
    rate = _staircases(problem, part)
    power, product = p @ (rate**2).T, p @ (rate * target).T
    amplitude = np.ones_like(power)
    if free_amplitude:  # 1 where it never fires, or fires against the target
      np.divide(product, power, out=amplitude, where=product > 1e-12)
    amplitudes.append(amplitude)
    found.append(amplitude**2 * power - 2 * amplitude * product + base)
  return np.concatenate(amplitudes, 1), np.round(np.concatenate(found, 1), 12)


def _staircases(problem: Problem, neuron: Any) -> np.ndarray:
  """Output of each neuron at each centre, float64 [U, bins]."""
  run = _run(problem.num_steps, problem.signed, problem.centres, neuron)
  return np.asarray(run, np.float64)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(num_steps, signed, centres, neuron):
  one = functools.partial(neurons.staircase, num_steps=num_steps, signed=signed)
  return jax.vmap(one, (0, None))(neuron, centres)


integrate_and_fire = best_of(if_uniform=uniform)
if_data = best_of(if_uniform=uniform, if_data=shifted)
if_floor = best_of(if_floor=floored)
lif = best_of(  # has a leak in any case, so that training can move it
    if_uniform=lambda problem, p: nearly_if(problem, uniform(problem, p)),
    if_data=lambda problem, p: nearly_if(problem, shifted(problem, p)),
    lif=leaky)
FITS = {'lif': lif, 'if': integrate_and_fire}
FITS |= {'if_data': if_data, 'if_floor': if_floor}
