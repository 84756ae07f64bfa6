"""Selects the sites to convert: what each subset costs, in error and energy.

The choice of the subset decides more about accuracy than T does. So each subset
is converted and run on calibration inputs, beside the source network. A subset
is on the front if no other one is as good in both error and energy, and better
in one.
"""

import dataclasses
import functools
import itertools
from typing import Any, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from slstm import counts
from slstm import energy as energy_lib
from slstm import model
from slstm.calibrate import Calibration
from slstm.convert import ConversionConfig
from slstm.convert import convert
from slstm.types import Array, Config, Params


class Candidate(NamedTuple):
  """One subset of sites, and what its conversion does before any training.

  Attributes:
    sites: the subset.
    error: mean squared difference of the logits from the source's, in units of
      the variance of those; >= 0.
    agreement: fraction of inputs given the label that the source gives them.
    energy: pJ per inference (int32) of each ledger, see `slstm.energy`.
    on_front: no other candidate is at least as good in both error and energy
      (ledger 2) and better in one.
  """
  sites: tuple[str, ...]
  error: float
  agreement: float
  energy: dict[int, float]
  on_front: bool


def default_subsets() -> tuple[tuple[str, ...], ...]:
  """{h}, and {o, c} with each subset of {i, f, g}; in all, h is spikes."""
  more = itertools.chain.from_iterable(
      itertools.combinations('ifg', size) for size in range(4))
  return (('h',), *(('o', 'c', *sites) for sites in more))


def select(
    params: Params,
    calibration: Calibration,
    x: Any,
    config: ConversionConfig,
    subsets: Sequence[Sequence[str]] | None = None) -> tuple[Candidate, ...]:
  """Converts with each subset of sites, and compares.

  Args:
    params: the ANN that the calibration was made with.
    calibration: distribution of its drives, from `calibrate`.
    x: calibration inputs, never test data, [N, B, D]; some hundred examples.
    config: how to convert; its own sites are not read.
    subsets: the subsets of types.SITES to try; `default_subsets()` if None.

  Returns:
    A Candidate for each subset, least error first.

  Raises:
    ValueError: for what `convert` refuses, no subset or one given twice, or a
      source network whose logits are all the same.
  """
  subsets = default_subsets() if subsets is None else subsets
  if not subsets or len({frozenset(sites) for sites in subsets}) < len(subsets):
    raise ValueError(f'select: subsets is {subsets!r}; expected at least one, '
                     'none twice.')
  source = _logits(params, jnp.asarray(x), calibration.config)
  if not np.var(source) > 0:
    raise ValueError('select: all logits of the source network on x are the '
                     'same; expected a trained one, and several inputs.')
  return rank([
      _candidate(params, calibration, x, source,
                 dataclasses.replace(config, sites=tuple(sites)))
      for sites in subsets
  ])


def _candidate(params: Params, calibration: Calibration, x: Any,
               source: np.ndarray, config: ConversionConfig) -> Candidate:
  """Converts and measures; whether it is on the front is still to be seen."""
  snn = convert(params, calibration, config)
  logits = _logits(snn.params, jnp.asarray(x), snn.config)
  ledger = energy_lib.ledger(counts.count_operations(snn.params, x, snn.config),
                             energy_lib.INT32)
  same = logits.argmax(-1) == source.argmax(-1)
  return Candidate(sites=config.sites,
                   error=float(np.mean((logits - source)**2) / np.var(source)),
                   agreement=float(np.mean(same)),
                   energy={
                       k: float(e.total) for k, e in ledger.items()
                   },
                   on_front=False)


def _logits(params: Params, x: Array, config: Config) -> np.ndarray:
  """Logits [B, K] in float64."""
  return np.asarray(_apply(params, x, config), np.float64)


@functools.partial(jax.jit, static_argnames='config')
def _apply(params: Params, x: Array, config: Config) -> Array:
  return model.apply(params, x, config).logits


def rank(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
  """Sorts candidates by error, and marks those on the front.

  Args:
    candidates: their on_front is not read.

  Returns:
    The same, least error first; where it is equal, least energy first.
  """

  def dominates(other: Candidate, one: Candidate) -> bool:
    a = other.error, other.energy[2]
    b = one.error, one.energy[2]
    return a != b and a[0] <= b[0] and a[1] <= b[1]

  ranked = sorted(candidates, key=lambda one: (one.error, one.energy[2]))
  return tuple(
      one._replace(on_front=not any(dominates(other, one)
                                    for other in ranked))
      for one in ranked)
