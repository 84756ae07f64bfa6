"""Spiking neurons: what every neuron has to provide, and the LIF neuron.

A neuron is a NamedTuple of parameters, each of shape [] (one neuron for the
whole layer) or [H]. What it does is a `Kind`: pure functions, found by the type
of its parameters. Its state is a pytree that only these functions look into.
`register` adds a neuron, also from outside of this package.

The leaky integrate-and-fire neuron, binary or ternary, with soft reset:

  u_t = leak v_{t-1} + d_t
  s_t = fire(u_t)               binary:  1[u >= v_th]
                                ternary: 1[u >= v_th/2] - 1[u <= -v_th/2]
  v_t = u_t - v_th s_t
  output_t = amplitude s_t

Its membrane starts at v_0 for every element of the sequence, so that elements
can be pipelined. IF is leak = 1 (`LIF.leak` None). Under a drive d that is
constant over t, an IF fires clip(floor((T d + v_0) / v_th), 0, T) times. With
v_0 = v_th / 2 (binary) or the fire level v_th / 2 (ternary) that floor rounds:
the optimal shift for uniform drives (Deng & Gu, ICLR 2021).

A spike is a step function with a surrogate gradient:

  forward   s = 1[x >= 0]           (fires at equality)
  backward  ds/dy := psi(y / width) / width     y = x / v_th

Each psi is even, has unit area and its maximum at 0, so that `width` alone sets
how far from threshold a neuron still learns. Sources: Bellec et al. 2018
(triangle); Zenke & Ganguli 2018 (fast sigmoid); Fang et al. 2021 (arctan); Wu
et al. 2018 (boxcar). All are scaled to unit area.
"""

import functools
from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp

from slstm import types
from slstm.types import Array, Elementwise

_UNROLL = 4  # steps of a spike train that are compiled as one

SURROGATES: dict[str, Callable[[Array], Array]] = {
    'triangle': lambda x: jnp.maximum(0.0, 1.0 - jnp.abs(x)),
    'fast_sigmoid': lambda x: 0.5 / jnp.square(1.0 + jnp.abs(x)),
    'arctan': lambda x: 1.0 / (1.0 + jnp.square(jnp.pi * x)),
    'boxcar': lambda x: jnp.where(jnp.abs(x) <= 0.5, 1.0, 0.0),
}

# Maps (x, v_th) to a spike: 1 where x >= 0, else 0, with a surrogate gradient.
Fire = Callable[..., Array]


class Kind(NamedTuple):
  """What a neuron does, as pure functions of its parameters.

  Shapes: the drive of a step is [..., H], and so is every leaf of a state.

  Attributes:
    initial: maps (neuron, shape) to the state before the first step.
    step: maps (neuron, state, drive, signed, fire) to (state, spikes) after one
      step. Spikes are -1, 0, 1 if signed, else 0, 1, and made by `fire`.
    output: maps (neuron, state before the first step, spikes [T, ..., H]) to
      what the next product sees in each step, [T, ..., H].
    constrain: maps unbounded parameters, as an optimiser moves them, to a
      neuron in its range, each rising; what becomes of -inf and inf are the
      limits beyond which `borders.check_neurons` refuses it.
    unconstrain: the inverse.
    work: maps (neuron, signed, num_steps) to the operations of T steps, as
      (`Elementwise` per unit, further `Elementwise` per spike).
    carried: whether the state lives for the whole sequence. Otherwise it starts
      from `initial` at every element.
    cumulative: whether the output is a running sum of spikes. What counts after
      T steps is then the last output, of others the mean. Such a neuron stands
      at site h, the only one of its layer, or at the input.
  """
  initial: Callable[..., Any]
  step: Callable[..., tuple[Any, Array]]
  output: Callable[..., Array]
  constrain: Callable[[Any], Any]
  unconstrain: Callable[[Any], Any]
  work: Callable[..., tuple[Elementwise, Elementwise]]
  carried: bool = False
  cumulative: bool = False


class LIF(NamedTuple):
  """A leaky integrate-and-fire neuron, one for a layer or one per unit.

  Attributes:
    v_th: threshold and reset amount, > 0, shape [] or [H].
    v_0: membrane at the start of every element (the bias shift), same shape.
    amplitude: output of one spike, same shape.
    leak: membrane decay in (0, 1), same shape, or None for exactly 1 (IF).
  """
  v_th: Array
  v_0: Array
  amplitude: Array
  leak: Array | None = None


def integrate_and_fire(signed: bool, v_th: float = 1.0) -> LIF:
  """An IF neuron of amplitude v_th with the optimal shift for uniform drives.

  Args:
    signed: True for a ternary neuron (its fire level carries the shift).
    v_th: threshold, > 0, in units of the normalised drive.
  """
  types.check_positive('integrate_and_fire: v_th', v_th)
  return LIF(v_th=jnp.asarray(v_th, jnp.float32),
             v_0=jnp.asarray(0.0 if signed else v_th / 2, jnp.float32),
             amplitude=jnp.asarray(v_th, jnp.float32))


def _lif_initial(neuron: LIF, shape: tuple[int, ...]) -> Array:
  like = jax.ShapeDtypeStruct(shape, neuron.v_0.dtype)
  return jnp.broadcast_to(align(neuron.v_0, like), shape)


def _lif_step(neuron: LIF, v_tm1: Array, d: Array, *, signed: bool,
              fire: Fire) -> tuple[Array, Array]:
  v_th = align(neuron.v_th, d)
  u = v_tm1 + d if neuron.leak is None else align(neuron.leak, d) * v_tm1 + d
  if signed:
    s = fire(u - v_th / 2, v_th) - fire(-u - v_th / 2, v_th)
  else:
    s = fire(u - v_th, v_th)
  return u - v_th * s, s


def _lif_output(neuron: LIF, state: Array, spikes: Array) -> Array:
  del state
  # Step by step, so that the gradient of amplitude needs no reduction over t.
  return jnp.stack([align(neuron.amplitude, s) * s for s in spikes])


def _lif_unconstrain(neuron: LIF) -> LIF:
  """v_th -> log v_th, leak -> logit leak; v_0 and amplitude are free."""
  logit = lambda p: jnp.log(p) - jnp.log1p(-p)
  leak = None if neuron.leak is None else logit(neuron.leak)
  return neuron._replace(v_th=jnp.log(neuron.v_th), leak=leak)


def _lif_constrain(raw: LIF) -> LIF:
  leak = None if raw.leak is None else jax.nn.sigmoid(raw.leak)
  return raw._replace(v_th=jnp.exp(raw.v_th), leak=leak)


def _lif_work(neuron: LIF, signed: bool,
              num_steps: int) -> tuple[Elementwise, Elementwise]:
  """d + v and the comparisons; a leak at t >= 2, as leak v_0 is a constant."""
  leaks = 0 if neuron.leak is None else num_steps - 1
  per_unit = Elementwise(leaks, num_steps, num_steps * (2 if signed else 1))
  return per_unit, Elementwise(add=1)  # the reset


KINDS: dict[type, Kind] = {
    LIF: Kind(_lif_initial, _lif_step, _lif_output, _lif_constrain,
              _lif_unconstrain, _lif_work)
}  # yapf: disable


def register(parameters: type, kind: Kind) -> None:
  """Makes a neuron known, under the name of its NamedTuple of parameters.

  Their leaves are arrays of shape [] or [H], or None. Raises ValueError if the
  type is no NamedTuple, or another neuron has its name.
  """
  names = {known.__name__: known for known in KINDS}
  if not hasattr(parameters, '_fields') or names.get(
      parameters.__name__, parameters) is not parameters:
    raise ValueError(f'register: {parameters!r} is no NamedTuple, or another '
                     f'neuron has its name: {", ".join(sorted(names))}.')
  KINDS[parameters] = kind


def by_name(name: str) -> type:
  """The parameters of the neuron of that name; ValueError if there is none."""
  names = {known.__name__: known for known in KINDS}
  if name not in names:
    raise ValueError(f'no neuron is called {name!r}; there are '
                     f'{", ".join(sorted(names))}. Import the module that '
                     'registers it first.')
  return names[name]


def kind_of(neuron: Any) -> Kind:
  """What a neuron does; ValueError if its type was not registered."""
  kind = KINDS.get(type(neuron))
  if kind is None:
    raise ValueError(f'{type(neuron).__name__} is no registered neuron; see '
                     '`slstm.neurons.register`.')
  return kind


def is_neuron(node: Any) -> bool:
  """Whether a node of a pytree is the parameters of a neuron."""
  return type(node) in KINDS


def map_neurons(function: Callable, tree: Any) -> Any:
  """Applies a function to every neuron of a pytree and leaves the rest."""
  apply = lambda node: function(node) if is_neuron(node) else node
  return jax.tree.map(apply, tree, is_leaf=is_neuron)


def unconstrain(tree: Any) -> Any:
  """A Model, say, in unbounded coordinates, for an optimiser to move.

  See `slstm.constrain`, and "An optimiser of your own" in WORKSPACE.md.
  """
  return map_neurons(lambda neuron: kind_of(neuron).unconstrain(neuron), tree)


def constrain(raw: Any) -> Any:
  """The inverse of `unconstrain`; of a Model take `model.constrain`."""
  return map_neurons(lambda neuron: kind_of(neuron).constrain(neuron), raw)


def initial_state(neuron: Any, shape: tuple[int, ...]) -> Any:
  """State before the first step, leaves of that shape."""
  return kind_of(neuron).initial(neuron, shape)


def run(neuron: Any, state: Any, d: Array, *, signed: bool,
        fire: Fire) -> tuple[Any, Array]:
  """Runs a neuron for T steps.

  Args:
    neuron: parameters of shape [] or [H].
    state: before the first step, leaves [..., H].
    d: normalised drive of each step, [T, ..., H].
    signed: ternary spikes if True, binary if False.
    fire: the spike, see `firing`.

  Returns:
    (state after the last step, spikes of each step [T, ..., H]).
  """
  step = kind_of(neuron).step

  def time_step(state, d_t):
    return step(neuron, state, d_t, signed=signed, fire=fire)

  # A scan keeps the dtype of what it carries, so neuron and drive share one.
  d, state = _same_dtype(neuron, d, state)
  return jax.lax.scan(time_step, state, d, unroll=min(len(d), _UNROLL))


def staircase(neuron: Any,
              d: Array,
              *,
              num_steps: int,
              signed: bool,
              fire: Fire | None = None) -> Array:
  """Mean output [..., H] over T steps of a neuron under a constant drive.

  Args:
    neuron: parameters of shape [] or [H]; its state starts anew.
    d: normalised drive, [..., H].
    num_steps: T, >= 1.
    signed: ternary spikes if True, binary if False.
    fire: the spike, see `firing`; by default of a `Config()`.
  """
  if num_steps < 1:
    raise ValueError(f'staircase: num_steps is {num_steps}; expected >= 1.')
  check_units(neuron, d.shape[-1])
  kind, fire = kind_of(neuron), fire or firing(types.Config())
  d, state = _same_dtype(neuron, d, kind.initial(neuron, d.shape))

  # As `run`, but its memory does not grow with T: fits run this for thousands
  # of candidates at a time.
  def time_step(carry, _):
    state, total = carry
    after, s = kind.step(neuron, state, d, signed=signed, fire=fire)
    return (after, total + kind.output(neuron, state, s[None])[0]), None

  start = (state, jnp.zeros_like(d))
  (_, total), _ = jax.lax.scan(time_step, start, length=num_steps)
  return total / num_steps


def _same_dtype(neuron: Any, d: Array, state: Any) -> tuple[Array, Any]:
  dtype = jnp.result_type(d, *jax.tree.leaves(neuron))
  return d.astype(dtype), jax.tree.map(lambda leaf: leaf.astype(dtype), state)


def firing(config: types.Config) -> Fire:
  """The spike of a network, with its surrogate gradient."""
  how: Any = {'surrogate': config.surrogate, 'width': config.width}
  return functools.partial(spike, **how)


def spike(x: Array,
          v_th: Array | float = 1.0,
          *,
          surrogate: str = 'triangle',
          width: float = 1.0) -> Array:
  """Heaviside step with a surrogate gradient.

  Args:
    x: distance of the membrane from the fire level, any shape and float dtype.
    v_th: the threshold, > 0, in the units of x; broadcasts to the shape of x.
    surrogate: key of `SURROGATES`.
    width: scale of the surrogate, in units of v_th, > 0.

  Returns:
    1 where x >= 0, else 0, in the dtype of x; NaN where x is NaN.
  """
  types.check_choice('spike: surrogate', surrogate, tuple(SURROGATES))
  types.check_positive('spike: width', width)
  v_th = jnp.broadcast_to(jnp.asarray(v_th, x.dtype), x.shape)
  return _spike(x, v_th, surrogate, width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spike(x, v_th, surrogate, width):
  del v_th, surrogate, width  # of the gradient
  return jnp.where((x >= 0), 1, jnp.where(x < 0, 0, x))  # NaN stays


def _spike_fwd(x, v_th, surrogate, width):
  return _spike(x, v_th, surrogate, width), (x, v_th)


def _spike_bwd(surrogate, width, residuals, cotangent):
  x, v_th = residuals
  y = x / v_th
  d_x = cotangent * SURROGATES[surrogate](y / width) / (v_th * width)
  return d_x.astype(x.dtype), (-d_x * y).astype(v_th.dtype)


_spike.defvjp(_spike_fwd, _spike_bwd)


def broadcast(neuron: Any, shape: tuple[int, ...]) -> Any:
  """Gives every parameter one value for each entry of a drive [B, H].

  The gradients of a neuron that a scan over n uses then add up entry by entry,
  and are summed over the batch once, after the scan, instead of in each of its
  steps.
  """
  check_units(neuron, shape[-1])
  return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape), neuron)


def check_units(neuron: Any, num_units: int) -> None:
  """Raises ValueError unless every parameter is of shape [] or [H]."""
  for leaf in jax.tree.leaves(neuron):
    align(leaf, jax.ShapeDtypeStruct((num_units,), leaf.dtype))


def align(parameter: Array, like: Array | jax.ShapeDtypeStruct) -> Array:
  """Adds leading axes to a parameter, so that it broadcasts with [..., H].

  Args:
    parameter: [] or [H], or from `broadcast` for the last axes of `like`.
    like: what it is to broadcast with; ValueError if it cannot.
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
