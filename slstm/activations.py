"""Activations of the source LSTM: standard, hard and quantised.

Every site has a *normalised drive* d, in which its hard activation is a clip:

  gates i, f, o:      d = z / 2a + 1/2,  sigma(z) = clip(d, 0, 1)
  candidate g, and c: d = z,             phi(z)   = clip(d, -1, 1)

which is what the rate of an integrate-and-fire neuron of threshold 1 can
express. The quantised family rounds the clip to Q levels,

  clip(floor(Q d + 1/2) / Q, 0 or -1, 1),

with the gradient of the clip (straight through).

Source: Bu et al., "Optimal ANN-SNN conversion for high-accuracy and
ultra-low-latency spiking neural networks", ICLR 2022, eq. 15
(clip-floor-shift, there for ReLU; here for both squashing functions).
"""

import functools

import jax
import jax.numpy as jnp

from slstm import types
from slstm.types import Array


def normalise(site: str, z: Array, slope: float) -> Array:
  """The normalised drive d of a site's pre-activation z."""
  if site in types.SIGNED_SITES:
    return z
  return z / (2 * slope) + 0.5


def squash(site: str, d: Array, config: types.Config) -> Array:
  """Applies the analog activation of a site.

  Args:
    site: one of types.SITES; 'h' is already squashed and returned as it is.
    d: normalised drive of the site, any shape.
    config: family, slope and levels.

  Returns:
    The activation, in [0, 1] for i, f and o, in [-1, 1] for g and c.

  Raises:
    ValueError: for another site.
  """
  types.check_choice('site', site, types.SITES)
  if site == 'h':
    return d
  signed = site in types.SIGNED_SITES
  if config.family == 'standard':
    return jnp.tanh(d) if signed else jax.nn.sigmoid(2 * config.slope *
                                                     (d - 0.5))
  low = -1.0 if signed else 0.0
  if config.family == 'hard':
    return jnp.clip(d, low, 1.0)
  return quantise(d, config.levels, low)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def quantise(d: Array, levels: int, low: float) -> Array:
  """clip(floor(Q d + 1/2) / Q, low, 1), with the gradient of the clip."""
  return jnp.clip(jnp.floor(levels * d + 0.5) / levels, low, 1.0)


@quantise.defjvp
def _quantise_jvp(levels, low, primals, tangents):
  (d,), (d_dot,) = primals, tangents
  inside = (d > low) & (d < 1.0)
  return quantise(d, levels, low), jnp.where(inside, d_dot, 0.0)
