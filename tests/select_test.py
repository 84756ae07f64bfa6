"""Selection measures what it says, and marks the front."""

import functools

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import fitting
from slstm import model as model_lib
from slstm import neurons
from slstm.calibrate import calibrate
from slstm.convert import ConversionConfig
from slstm.select import Candidate
from slstm.select import default_subsets
from slstm.select import rank
from slstm.select import select
from slstm.sigma_delta import sigma_delta
from slstm.types import Config, SIGNED_SITES, Sites
from tests import oracle

SUBSETS = (('c', 'o'), ('h',), ('o', 'c', 'f'))
B, N, D, H, K, T = 8, 3, 3, 4, 3, 2
CONFIG = ConversionConfig(sites=('g',),
                          fit=fitting.integrate_and_fire,
                          num_steps=T)


@functools.cache
def _source():
  """(model, x, calibration) of a small source network."""
  rng = np.random.default_rng(0)
  x = np.swapaxes(rng.normal(1.0, 2.0, (N, B, D)).astype(np.float32), 0, 1)
  model = model_lib.init(jax.random.key(0),
                         num_features=D,
                         hidden_sizes=(H,),
                         num_outputs=K,
                         config=Config(pooling=('last',)),
                         encoder=model_lib.standardising(jnp.asarray(x)))
  model = model.replace(
      layers=jax.tree.map(lambda leaf: 3 * leaf, model.layers))
  return model, x, calibrate(model, x, bins=256)


@functools.cache
def _selected():
  model, x, calibration = _source()
  return select(model, calibration, x, CONFIG, subsets=SUBSETS, thetas=())


def _by_hand(sites):
  """The oracle's run of the source with an IF at each of the sites."""
  model, x, _ = _source()
  made = {s: neurons.integrate_and_fire(s in SIGNED_SITES) for s in sites}
  layer = model.layers[0]._replace(neurons=Sites(**made))
  return oracle.apply(
      model.replace(layers=(layer,), config=CONFIG.apply_to(model.config)), x,
      np.float32)


def test_each_subset_is_a_candidate_and_sorted_by_error():
  candidates = _selected()
  assert sorted(one.sites for one in candidates) == sorted(SUBSETS)
  errors = [one.error for one in candidates]
  assert errors == sorted(errors) and errors[0] > 0
  assert candidates == rank(candidates[::-1])
  assert candidates[0].on_front


@pytest.mark.parametrize('sites', SUBSETS)
def test_error_and_agreement_are_those_of_the_oracle(sites):
  model, x, _ = _source()
  found, = (one for one in _selected() if one.sites == sites)
  source = oracle.apply(model, x, np.float32).outputs
  outputs = _by_hand(sites).outputs
  variance = np.mean((source - source.mean())**2)
  expected = np.mean((outputs - source)**2) / variance
  assert found.error == pytest.approx(expected, rel=1e-3)
  agreement = np.mean(source.argmax(1) == outputs.argmax(1))
  assert found.agreement == pytest.approx(agreement)


@pytest.mark.parametrize('sites', SUBSETS)
def test_energy_is_that_of_the_spikes_of_the_oracle(sites):
  """In int32: MAC 3.2 pJ, multiplication 3.1, AC, addition, comparison 0.1."""
  found, = (one for one in _selected() if one.sites == sites)
  result = _by_hand(sites).result
  h, = result.all_h  # [N, T, B, H]
  assert set(np.unique(h)) == {-1.0, 0.0, 1.0}
  products = (3.2 * N * D * 4 * H + 0.1 * np.sum(h[:-1] != 0) * 4 * H / B +
              0.1 * np.sum(h[-1] != 0) * K / B)
  assert found.energy[1] == pytest.approx(products)
  spikes = sum(np.sum(s != 0) for s in result.spikes[0].values()) / B
  cells, later = N * T * H, (N - 1) * T * H
  work = {  # multiplications, additions, comparisons; a clip compares twice
      # f c, i g, o phi(c); f c + i g, drive of h; clips of i f g o c, neuron
      ('h',): (later + 2 * cells, later + cells, 10 * cells + 2 * cells),
      # f c, i g; f c + i g, drives of o and c; clips of i f g, neurons
      ('c', 'o'): (later + cells, later + 2 * cells, 6 * cells + 3 * cells),
      # i g, as f gates; the drive of f, too; clips of i g, neurons
      ('o', 'c', 'f'): (cells, later + 3 * cells, 4 * cells + 4 * cells),
  }
  multiply, add, compare = work[sites]
  elementwise = 3.1 * multiply + 0.1 * (add + spikes + compare)
  assert found.energy[2] == pytest.approx(products + elementwise)


def test_each_site_is_fitted_once_and_as_if_alone():
  model, x, calibration = _source()
  seen = []

  def fit(problem, p_fit, p_held_out):
    seen.append(p_fit.tobytes())
    return fitting.if_data(problem, p_fit, p_held_out)

  config = ConversionConfig(fit=fit, num_steps=T, granularity='layer')
  how = dict(thetas=())
  together = select(model, calibration, x, config, subsets=SUBSETS, **how)
  sums = {
      site: getattr(calibration.layers[0], site).fit.sum(0) for site in 'ocfh'
  }
  expected = [(count / count.sum()).tobytes() for count in sums.values()]
  assert sorted(seen) == sorted(expected)
  for one in together:
    alone, = select(model, calibration, x, config, subsets=(one.sites,), **how)
    assert alone == one._replace(on_front=True)


@hypothesis.given(
    strategies.lists(strategies.tuples(*[strategies.integers(0, 5)] * 2),
                     min_size=1,
                     max_size=8))
def test_front_has_what_nothing_beats(points):
  ranked = rank([
      Candidate(('h',), 'LIF', float(error), 0.0, {
          2: -float(pj),
          3: float(pj)
      }, False) for error, pj in points
  ])
  assert [(one.error, one.energy[3]) for one in ranked] == sorted(points)
  for one in ranked:
    pj = one.energy[3]
    beaten = any(
        error <= one.error and other <= pj and (error < one.error or other < pj)
        for error, other in points)
    assert one.on_front == (not beaten)


def test_default_subsets_all_make_h_spike():
  subsets = default_subsets()
  assert len(subsets) == 9 == len({frozenset(sites) for sites in subsets})
  assert subsets[0] == ('h',)
  for sites in subsets[1:]:
    assert {'o', 'c'} <= set(sites) <= set('ifgoc')


@pytest.mark.parametrize('subsets, message', [
    ((), r'select: subsets is \(\)'),
    ((('h',), ('o', 'c'), ('c', 'o')), 'select: subsets is .* none twice'),
    ((('z',),), "sites is 'z'"),
    ((('h',), ('o', 'o')), "sites is .*'o', 'o'.*none twice"),
    (((), ('h',)), r'sites is \(\)'),
])
def test_bad_subsets(subsets, message):
  model, x, calibration = _source()
  with pytest.raises(ValueError, match=message):
    select(model, calibration, x, CONFIG, subsets=subsets)


def test_a_source_without_a_difference():
  model, x, calibration = _source()
  silent = model.replace(readout=jax.tree.map(jnp.zeros_like, model.readout))
  with pytest.raises(ValueError, match='select: all outputs'):
    select(silent, calibration, x, CONFIG)


def test_sigma_delta_neurons_stand_beside_the_subsets():
  model, x, calibration = _source()
  found = select(model,
                 calibration,
                 x,
                 CONFIG,
                 subsets=SUBSETS[:1],
                 thetas=(0.05, 0.5))
  by_name = {one.neuron: one for one in found}
  assert set(by_name) == {
      'LIF', 'SigmaDelta, theta 0.05', 'SigmaDelta, theta 0.5'
  }
  fine, coarse = (by_name[f'SigmaDelta, theta {t}'] for t in ('0.05', '0.5'))
  assert fine.sites == coarse.sites == ('h',)
  layer = model.layers[0]._replace(neurons=Sites(
      h=sigma_delta(np.full(H, 0.5))))
  source = oracle.apply(model, x, np.float32).outputs
  outputs = oracle.apply(model.replace(layers=(layer,)), x, np.float32).outputs
  expected = np.mean((outputs - source)**2) / np.var(source)
  assert coarse.error == pytest.approx(expected, rel=1e-3)
