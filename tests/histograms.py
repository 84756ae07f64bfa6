"""Synthetic distributions of a drive, for the tests of the fits."""

from hypothesis import strategies
import jax.numpy as jnp
import numpy as np

from slstm import activations
from slstm import fitting
from slstm import types

_BINS = 256
_PER_UNIT = _BINS // 8
CENTRES = ((np.arange(_BINS) - _BINS // 2) / _PER_UNIT).astype(np.float32)

CASES = {
    'seed': strategies.integers(0, 2**32 - 1),
    'site': strategies.sampled_from('fg'),
    'family': strategies.sampled_from(['hard', 'standard', 'quantised']),
    'num_steps': strategies.sampled_from([1, 2, 4]),
}


def problem(site: str,
            family: str,
            num_steps: int,
            centres: np.ndarray = CENTRES) -> fitting.Problem:
  """What a neuron at a site of a source network of a family shall follow."""
  target = activations.squash(site, jnp.asarray(centres),
                              types.Config(family=family))
  return fitting.Problem(centres, np.asarray(target, np.float64), num_steps,
                         site in types.SIGNED_SITES)


def from_drives(drives: np.ndarray) -> np.ndarray:
  """The weights [bins] of given drives; each counts for the nearest centre."""
  index = np.rint(np.asarray(drives) * _PER_UNIT).astype(int) + _BINS // 2
  counts = np.bincount(np.clip(index, 0, _BINS - 1), minlength=_BINS)
  return counts / counts.sum()


def skewed(rng: np.random.Generator, draws: int) -> np.ndarray:
  """Weights of draws from a random mixture of two betas, [bins]."""
  return from_drives(
      np.concatenate([
          rng.uniform(-2, 1) + rng.uniform(0.2, 3) * rng.beta(a, b, draws)
          for a, b in np.exp(rng.normal(0, 1, (2, 2)))
      ]))


def at(low: float, high: float) -> np.ndarray:
  """Weights of uniform drives in [low, high], [1, bins]."""
  return from_drives(np.linspace(low, high, 1001)).reshape(1, -1)
