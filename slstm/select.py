"""Selects the sites to convert: what each subset costs, in error and energy.

The choice of the subset decides more about accuracy than T does. So each subset
is converted and run on calibration inputs, beside the source network.
"""

import dataclasses
import itertools
from typing import Any, NamedTuple, Sequence

import jax.numpy as jnp
import numpy as np

from slstm import borders
from slstm import energy
from slstm import front
from slstm import operations
from slstm import padding
from slstm import train
from slstm.calibrate import Calibration
from slstm.convert import ConversionConfig
from slstm.convert import convert
from slstm.types import Model, Sites


class Candidate(NamedTuple):
  """One choice of neurons, and what they do before any training."""
  sites: tuple[str, ...]
  neuron: str  # such as 'LIF' or 'SigmaDelta, theta 0.5'
  error: float  # mean squared difference from the source's outputs / variance
  agreement: float  # fraction of inputs with the source's largest output
  energy: dict[int, float]  # pJ per inference (int32) of each ledger
  on_front: bool  # none is as good in error and ledger 3, and better in one


def default_subsets() -> tuple[tuple[str, ...], ...]:
  """{h}, and {o, c} with each subset of {i, f, g}; in all, h is spikes."""
  more = [s for k in range(4) for s in itertools.combinations('ifg', k)]
  return (('h',), *(('o', 'c', *sites) for sites in more))


def select(
    model: Model,
    calibration: Calibration,
    x: Any,
    config: ConversionConfig = ConversionConfig(),
    *,
    lengths: Any = None,
    subsets: Sequence[Sequence[str]] | None = None,
    thetas: Sequence[float] = (0.25, 0.5)
) -> tuple[Candidate, ...]:
  """Converts with each subset of sites, and compares.

  Args:
    model: the ANN that the calibration was made with.
    calibration: distribution of its drives, from `calibrate`.
    x: calibration inputs, never test data, [B, N, D]; some hundred examples.
    config: how to convert; its own sites are not read.
    lengths: how many elements of each sequence are real, [B]; None for all.
    subsets: those of types.SITES to try; `default_subsets()` if None.
    thetas: of sigma-delta neurons at h to try beside them, with T = 1.

  Returns:
    A Candidate for each subset and theta, least error first.

  Raises:
    ValueError: for what `convert` refuses, no subset or one given twice, or a
      source network whose outputs are all the same.
  """
  subsets = default_subsets() if subsets is None else subsets
  if not subsets or len({frozenset(sites) for sites in subsets}) < len(subsets):
    raise ValueError(f'select: subsets is {subsets!r}; expected at least one, '
                     'none twice.')
  borders.check_inputs(x, 'select: x')
  padding.check(lengths, x, 'select: lengths')
  source = _outputs(model, x, lengths)
  if not np.var(source) > 0:
    raise ValueError('select: all outputs of the source network on x are the '
                     'same; expected a trained one, and several inputs.')
  configs = [dataclasses.replace(config, sites=tuple(s)) for s in subsets]
  # A site's neurons do not depend on the other sites: each is fitted once.
  union = dataclasses.replace(config,
                              sites=tuple(sorted(set().union(*subsets))))
  snn = convert(model, calibration, union).model
  found = [_candidate(_only(snn, one.sites), x, lengths, source)._replace(
      sites=one.sites) for one in configs]  # yapf: disable
  if thetas:
    points = front.trade_off(model,
                             x,
                             lengths=lengths,
                             thetas=thetas,
                             levels=(0.5,))
    found += [
        Candidate(('h',), f'SigmaDelta, theta {point.theta:g}', point.error,
                  point.agreement, _spent(point.model, x, lengths), False)
        for point in points
    ]
  return rank(found)


def _only(snn: Model, sites: tuple[str, ...]) -> Model:
  """With neurons at these sites, in that order, and no others."""
  chosen = lambda of: Sites(**{site: getattr(of, site) for site in sites})
  layers = [a._replace(neurons=chosen(a.neurons)) for a in snn.layers]
  return dataclasses.replace(snn, layers=tuple(layers))


def _candidate(snn: Model, x: Any, lengths: Any,
               source: np.ndarray) -> Candidate:
  """Measures; whether it is on the front is still to be seen."""
  sites = snn.layers[0].neurons.present
  neuron = type(getattr(snn.layers[0].neurons, sites[0])).__name__
  error, agreement = front.deviation(_outputs(snn, x, lengths), source)
  return Candidate(sites, neuron, error, agreement, _spent(snn, x, lengths),
                   False)


def _spent(snn: Model, x: Any, lengths: Any) -> dict[int, float]:
  """pJ of each ledger."""
  ledger = energy.ledger(operations.count_operations(snn, x, lengths=lengths))
  return {number: float(entry.total) for number, entry in ledger.items()}


def _outputs(model: Model, x: Any, lengths: Any) -> np.ndarray:
  lengths = None if lengths is None else jnp.asarray(lengths)
  found = train.predict(model, jnp.asarray(x), lengths)
  return padding.kept(np.asarray(found, np.float64), model.config, lengths)


def rank(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
  """Sorts by error, then energy, and marks the front (whatever is marked)."""
  return front.rank(candidates, lambda one: (one.error, one.energy[3]))
