"""Selection measures what it says, and marks the front."""

import functools

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import counts
from slstm import encoders
from slstm import energy
from slstm import model
from slstm.calibrate import calibrate
from slstm.convert import ConversionConfig
from slstm.convert import convert
from slstm.select import Candidate
from slstm.select import default_subsets
from slstm.select import rank
from slstm.select import select
from slstm.types import Config
from tests import oracle

SUBSETS = (('c', 'o'), ('h',), ('o', 'c', 'f'))


@functools.cache
def _source():
  """(params, x, calibration) of a small source network."""
  rng = np.random.default_rng(0)
  x = rng.normal(1.0, 2.0, (3, 8, 3)).astype(np.float32)
  config = Config()
  params = model.init(jax.random.key(0), 3, (4,), 3, config,
                      encoders.standardising(jnp.asarray(x)))
  params = params._replace(
      layers=jax.tree.map(lambda leaf: 3 * leaf, params.layers))
  return params, x, calibrate(params, x, config, bins=256)


@functools.cache
def _selected():
  config = ConversionConfig(sites=('g',), neuron='if', num_steps=2)
  return select(*_source()[:1], _source()[2], _source()[1], config, SUBSETS)


def test_each_subset_is_a_candidate_and_sorted_by_error():
  candidates = _selected()
  assert sorted(one.sites for one in candidates) == sorted(SUBSETS)
  errors = [one.error for one in candidates]
  assert errors == sorted(errors) and errors[0] > 0
  assert candidates == rank(candidates[::-1])
  assert candidates[0].on_front


@pytest.mark.parametrize('sites', SUBSETS)
def test_a_candidate_is_what_its_conversion_does(sites):
  params, x, calibration = _source()
  found, = (one for one in _selected() if one.sites == sites)
  conversion = convert(params, calibration,
                       ConversionConfig(sites=sites, neuron='if', num_steps=2))
  source = oracle.apply(params, x, calibration.config, np.float32).logits
  logits = oracle.apply(conversion.params, x, conversion.config,
                        np.float32).logits
  spread = np.mean((source - source.mean())**2)
  expected = np.mean((logits - source)**2) / spread
  assert found.error == pytest.approx(expected, rel=1e-3)
  agreement = np.mean(source.argmax(1) == logits.argmax(1))
  assert found.agreement == pytest.approx(agreement)
  ledger = energy.ledger(
      counts.count_operations(conversion.params, x, conversion.config))
  assert found.energy == {1: ledger[1].total, 2: ledger[2].total}


@hypothesis.given(
    strategies.lists(strategies.tuples(*[strategies.integers(0, 5)] * 2),
                     min_size=1,
                     max_size=8))
def test_front_has_what_nothing_beats(points):
  ranked = rank([
      Candidate(('h',), float(error), 0.0, {
          1: -float(pj),
          2: float(pj)
      }, False) for error, pj in points
  ])
  assert [(one.error, one.energy[2]) for one in ranked] == sorted(points)
  for one in ranked:
    pj = one.energy[2]
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


def test_bad_arguments():
  params, x, calibration = _source()
  config = ConversionConfig(neuron='if')
  for bad in (), (('h',), ('o', 'c'), ('c', 'o')):
    with pytest.raises(ValueError, match='select: subsets is'):
      select(params, calibration, x, config, bad)
  with pytest.raises(ValueError, match="sites is 'z'"):
    select(params, calibration, x, config, (('z',),))
  silent = params._replace(readout=jax.tree.map(jnp.zeros_like, params.readout))
  with pytest.raises(ValueError, match='select: all logits'):
    select(silent, calibration, x, config)
