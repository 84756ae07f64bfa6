"""The sigma-delta neuron: it sends what has changed, and nothing else.

Its output x is the running sum of its spikes and follows the drive d. Up to T
spikes per element say by how much, and what is not said yet stays in v:

  v = d_n - x                   the membrane
  s = 1[v >= level theta] - 1[v <= -level theta]
  x <- x + theta s              T times per element; x = 0 before the first

A product with x is a running sum of products with spikes,

  W x_n = W x_{n-1} + theta (W s_n)

so it needs only additions, and only for units that fire in this element. While
the drive moves by less than T theta per element, |v_n| < level theta. Where it
moves faster, x lags behind (slope overload). theta -> 0 with T -> infinity is
the analog network.

Training computes W x_n as one product, which is the same function. With the
surrogate s' of the spike, in units of theta,

  dx_n = (1 - s'(v)) dx_{n-1} + s'(v) dd_n

Sources: O'Connor & Welling, "Sigma delta quantized networks", ICLR 2017; Neil
et al., "Delta networks for optimized recurrent network computation", ICML 2017.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from slstm import neurons
from slstm import types
from slstm.neurons import Fire
from slstm.types import Array, Elementwise


class SigmaDelta(NamedTuple):
  """A ternary neuron whose output is the running sum of its spikes.

  Attributes:
    theta: what one spike adds to the output, > 0, shape [] or [H].
    level: where it fires, in units of theta, in (1/2, 1), same shape; None for
      exactly 1/2, which rounds. A higher level sends less and errs more.
  """
  theta: Array
  level: Array | None = None


def sigma_delta(theta: Any, level: Any = None) -> SigmaDelta:
  """A neuron of given parameters.

  Args:
    theta: > 0, a number or [H], in the units of the drive.
    level: in (1/2, 1), a number or [H]; 1/2 or None for rounding.

  Raises:
    ValueError: for values out of range.

  Example:
    layer = layer._replace(neurons=slstm.Sites(h=slstm.sigma_delta(0.5)))
  """
  theta = jnp.asarray(theta, jnp.float32)
  if not jnp.all((theta > 0) & jnp.isfinite(theta)):
    raise ValueError(f'sigma_delta: theta is {theta}; expected numbers > 0.')
  if level is None or jnp.all(jnp.asarray(level) == 0.5):
    return SigmaDelta(theta)
  level = jnp.broadcast_to(jnp.asarray(level, jnp.float32), theta.shape)
  if not jnp.all((level > 0.5) & (level < 1)):
    raise ValueError(f'sigma_delta: level is {level}; expected numbers in '
                     '(1/2, 1), or None for 1/2.')
  return SigmaDelta(theta, level)


def _initial(neuron: SigmaDelta, shape: tuple[int, ...]) -> Array:
  return jnp.zeros(shape, neuron.theta.dtype)


def _step(neuron: SigmaDelta, x: Array, d: Array, *, signed: bool,
          fire: Fire) -> tuple[Array, Array]:
  if not signed:
    raise ValueError('a SigmaDelta fires -1, 0 and 1; expected a site of '
                     f'{", ".join(types.SIGNED_SITES)}, or the input.')
  theta, v = neurons.align(neuron.theta, d), d - x
  level = theta / 2
  if neuron.level is not None:
    level = neurons.align(neuron.level, d) * theta
  s = fire(v - level, theta) - fire(-v - level, theta)
  return x + theta * s, s


def _output(neuron: SigmaDelta, x: Array, spikes: Array) -> Array:
  theta = neurons.align(neuron.theta, x)
  add = lambda x, s: (x + theta * s,) * 2
  return jax.lax.scan(add, x, spikes, unroll=min(len(spikes), 4))[1]


def _unconstrain(neuron: SigmaDelta) -> SigmaDelta:
  """theta -> log theta; level -> logit of its place in (1/2, 1)."""
  level = neuron.level
  if level is not None:
    level = jnp.log(2 * level - 1) - jnp.log(2 - 2 * level)
  return SigmaDelta(jnp.log(neuron.theta), level)


def _constrain(raw: SigmaDelta) -> SigmaDelta:
  level = raw.level
  if level is not None:
    level = 0.5 + 0.5 * jax.nn.sigmoid(level)
  return SigmaDelta(jnp.exp(raw.theta), level)


def _work(neuron: SigmaDelta, signed: bool,
          num_steps: int) -> tuple[Elementwise, Elementwise]:
  """d - x and two comparisons a step; a spike moves x, and v if T > 1."""
  del neuron, signed
  per_unit = Elementwise(add=1, compare=2 * num_steps)
  return per_unit, Elementwise(add=1 if num_steps == 1 else 2)


neurons.register(
    SigmaDelta,
    neurons.Kind(_initial,
                 _step,
                 _output,
                 _constrain,
                 _unconstrain,
                 _work,
                 carried=True,
                 cumulative=True))
