"""The leaky integrate-and-fire neuron, binary or ternary, with soft reset.

  u_t = leak v_{t-1} + d_t
  s_t = fire(u_t)               binary:  1[u >= v_th]
                                ternary: 1[u >= v_th/2] - 1[u <= -v_th/2]
  v_t = u_t - v_th s_t
  output_t = amplitude s_t

The membrane starts at v_0 for every element of the sequence, so that elements
can be pipelined. IF is leak = 1 (`Neuron.leak` None). Under a drive d that is
constant over t an IF fires clip(floor((T d + v_0) / v_th), 0, T) times; v_0 =
v_th / 2 (binary) and the fire level v_th / 2 (ternary) make that floor a round,
the optimal shift for uniform drives (Deng & Gu, ICLR 2021).
"""

import jax
import jax.numpy as jnp

from slstm import surrogate as surrogate_lib
from slstm import types
from slstm.types import Array, Neuron

_UNROLL = 4  # steps of a spike train that are compiled as one


def integrate_and_fire(signed: bool, v_th: float = 1.0) -> Neuron:
  """An IF neuron of amplitude v_th with the optimal shift for uniform drives.

  Args:
    signed: True for a ternary neuron (its fire level carries the shift).
    v_th: threshold, > 0, in units of the normalised drive.

  Returns:
    A neuron with scalar leaves, one for a whole layer.
  """
  types.check_positive('v_th', v_th)
  return Neuron(v_th=jnp.asarray(v_th, jnp.float32),
                v_0=jnp.asarray(0.0 if signed else v_th / 2, jnp.float32),
                amplitude=jnp.asarray(v_th, jnp.float32))


def initial_membrane(neuron: Neuron, shape: tuple[int, ...]) -> Array:
  """The membrane v_0 before the first step of an element."""
  like = jax.ShapeDtypeStruct(shape, neuron.v_0.dtype)
  return jnp.broadcast_to(align(neuron.v_0, like), shape)


def step(neuron: Neuron,
         v_tm1: Array,
         d: Array,
         signed: bool,
         surrogate: str = 'triangle',
         width: float = 1.0) -> tuple[Array, Array]:
  """Advances a neuron by one time step.

  Args:
    neuron: parameters of shape [] or [H].
    v_tm1: membrane after the step before, [..., H].
    d: normalised drive of this step, [..., H].
    signed: ternary spikes if True, binary if False.
    surrogate: gradient of a spike, a key of `surrogate.SURROGATES`.
    width: its width in units of v_th.

  Returns:
    (v, s): the new membrane and the spikes, each [..., H].
  """
  v_th = align(neuron.v_th, d)
  u = v_tm1 + d if neuron.leak is None else align(neuron.leak, d) * v_tm1 + d
  fire = lambda x: surrogate_lib.spike(x, surrogate, width, v_th)
  if signed:
    s = fire(u - v_th / 2) - fire(-u - v_th / 2)
  else:
    s = fire(u - v_th)
  return u - v_th * s, s


def spike_train(neuron: Neuron,
                d: Array,
                signed: bool,
                surrogate: str = 'triangle',
                width: float = 1.0) -> Array:
  """All T steps of an element, from the membrane v_0 on.

  Args:
    neuron: parameters of shape [] or [H].
    d: normalised drive of each step, [T, ..., H].
    signed, surrogate, width: as for `step`.

  Returns:
    The spikes, [T, ..., H].
  """

  def time_step(v, d_t):
    return step(neuron, v, d_t, signed, surrogate, width)

  # A scan keeps the dtype of what it carries, so neuron and drive share one.
  d = d.astype(jnp.result_type(d, *jax.tree.leaves(neuron)))
  start = initial_membrane(neuron, d.shape[1:]).astype(d.dtype)
  return jax.lax.scan(time_step, start, d, unroll=min(len(d), _UNROLL))[1]


def staircase(neuron: Neuron,
              d: Array,
              num_steps: int,
              signed: bool,
              surrogate: str = 'triangle',
              width: float = 1.0) -> Array:
  """amplitude * (spikes / T) of a neuron whose drive is constant over t.

  Args:
    neuron: parameters of shape [] or [H].
    d: normalised drive, [..., H].
    num_steps: T.
    signed, surrogate, width: as for `step`.

  Returns:
    The mean output over the T steps, [..., H].

  Raises:
    ValueError: for T < 1, or a neuron made for a layer of another size.
  """
  if num_steps < 1:
    raise ValueError(f'staircase: num_steps is {num_steps}; expected >= 1.')
  check_units(neuron, d.shape[-1])

  # As in `spike_train`, but its memory does not grow with T: fits run this for
  # thousands of candidates at a time.
  d = d.astype(jnp.result_type(d, *jax.tree.leaves(neuron)))

  def time_step(carry, _):
    v, count = carry
    v, s = step(neuron, v, d, signed, surrogate, width)
    return (v, count + s), None

  start = (initial_membrane(neuron, d.shape).astype(d.dtype), jnp.zeros_like(d))
  (_, count), _ = jax.lax.scan(time_step, start, length=num_steps)
  return align(neuron.amplitude, d) * count / num_steps


def spread(neuron: Neuron, shape: tuple[int, ...]) -> Neuron:
  """Gives every parameter one value for each entry of a drive [B, H].

  The gradients of a neuron that a scan over n uses then add up entry by entry,
  and are summed over the batch once, after the scan, instead of in each of its
  steps. The amplitude multiplies the spikes of all t at once, so that its
  gradient can wait with the sum over t, too.

  Args:
    neuron: parameters of shape [] or [H].
    shape: [B, H], or [T, B, H] for an amplitude of each step.

  Raises:
    ValueError: if a parameter is of another shape.
  """

  check_units(neuron, shape[-1])
  each = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape[-2:]), neuron)
  return each._replace(amplitude=jnp.broadcast_to(neuron.amplitude, shape))


def check_units(neuron: Neuron, num_units: int) -> None:
  """Raises ValueError unless every parameter is of shape [] or [H]."""
  for leaf in jax.tree.leaves(neuron):
    align(leaf, jax.ShapeDtypeStruct((num_units,), leaf.dtype))


def align(parameter: Array, like: Array | jax.ShapeDtypeStruct) -> Array:
  """Adds leading axes to a parameter, to broadcast with [..., H].

  Args:
    parameter: [] or [H], or from `spread` for the last axes of `like`.
    like: what it is to broadcast with.

  Raises:
    ValueError: if the parameter is neither a scalar nor of those axes.
  """
  if parameter.ndim == 0:
    return parameter
  if parameter.shape != like.shape[-parameter.ndim:]:
    raise ValueError(
        f'neuron parameter of shape {parameter.shape} for a drive of shape '
        f'{like.shape}; expected () or {like.shape[-1:]}. Was the neuron made '
        'for a layer of another size?')
  return parameter.reshape((1,) * (like.ndim - parameter.ndim) +
                           parameter.shape)


def unconstrain(neuron: Neuron) -> Neuron:
  """Maps a neuron to unbounded leaves, for gradient descent.

  v_th -> log v_th, leak -> logit leak; v_0 and amplitude are free already.
  `constrain` is the inverse. An IF stays an IF.
  """
  leak = neuron.leak
  return neuron._replace(v_th=jnp.log(neuron.v_th),
                         leak=None if leak is None else jnp.log(leak) -
                         jnp.log1p(-leak))


def constrain(raw: Neuron) -> Neuron:
  """Maps unbounded leaves to v_th > 0 and leak in (0, 1)."""
  leak = raw.leak
  return raw._replace(v_th=jnp.exp(raw.v_th),
                      leak=None if leak is None else jax.nn.sigmoid(leak))
