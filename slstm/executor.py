"""Runs stacked LSTM layers over N elements and T steps, in four schedules.

The update of (n, t) needs the state of (n-1, t), the membranes of (n, t-1) and
the output of the layer below at (n, t), and nothing else:

  sequential  L N T dependent steps, one after the other: the oracle
  stacked     L N dependent steps; the T recurrent products of an element are
              one [T B, H] x [H, 4H] product
  lean        the same, but its gradient computes again what stacked keeps
  wavefront   N + T + L - 2 dependent steps; step k updates every (n, t, layer)
              with n + t + layer = k, all time slots at once by `vmap`

All of them compute the same function. That is coupling 'step'. With 'shared' or
'rate' an element needs all T steps of the one before: there is nothing to
pipeline, and wavefront refuses them. But then all T steps see one z, so stacked
and lean take one product an element, whatever T; sequential takes T of them
with 'shared', and with 'rate' does the same as stacked.
"""

import functools
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp

from slstm import layerwise
from slstm import neurons
from slstm import types
from slstm import wavefront
from slstm.types import Array, CellState, Config, Layer, Record

Observer = Callable[[Record], Any]


class Run(NamedTuple):
  """What an executor returns.

  Attributes:
    h: output of the last layer, [N, slots, B, H], slots being `config.slots`.
    state: final state of each layer, h and c [slots, B, H]; feed it back as
      `state` to continue the sequence.
    observed: for each layer what `observe` made of its records, [N, T, ...].
  """
  h: Array
  state: tuple[CellState, ...]
  observed: tuple[Any, ...]


def run(layers: Sequence[Layer],
        x: Array,
        config: Config,
        executor: str = 'stacked',
        observe: Observer | None = None,
        state: Sequence[CellState] | None = None) -> Run:
  """Runs the layers over a batch of sequences.

  Args:
    layers: parameters of each layer, first to last.
    x: input, [N, 1, B, D], the same at every time step, or [N, slots, B, D]. If
      dtypes differ, all is computed in the widest.
    config: static choices, among them T.
    executor: a key of `EXECUTORS`.
    observe: function of a Record; its outputs are stacked over n and t.
    state: initial state of each layer, h and c [slots, B, H]; zeros by default.

  Returns:
    A `Run`. T is 1 for an ANN, and for coupling 'rate'.

  Raises:
    ValueError: for an unknown executor, shapes that do not fit each other, or
      wavefront with a coupling other than 'step'.
  """
  types.check_choice('executor', executor, tuple(EXECUTORS))
  if not runs(executor, config.coupling):
    raise ValueError(
        f"executor 'wavefront' cannot run coupling '{config.coupling}': the "
        'state of an element needs all of its T steps, so no step of element n '
        "can start before element n-1 has ended. Use executor 'stacked' or "
        "coupling 'step'.")
  slots = config.slots
  _check_shapes(layers, x, slots)
  start = tuple(
      zero_state(layer, slots, x.shape[2], layer.u.i.dtype) for layer in layers)
  if state is not None:
    _check_state(state, start)
    start = tuple(state)
  # A scan keeps the dtype of what it carries, so all share the widest.
  dtype = jnp.result_type(*jax.tree.leaves((layers, x, start)))
  layers, x, start = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype),
                                  (tuple(layers), x, start))
  observe = observe or (lambda record: ())
  return Run(*EXECUTORS[executor](layers, x, start, config, observe))


def runs(executor: str, coupling: str) -> bool:
  """Whether a schedule can run a coupling: wavefront can run 'step' only."""
  return executor != 'wavefront' or coupling == 'step'


def zero_state(layer: Layer, slots: int, batch: int, dtype: Any) -> CellState:
  """The state before the first element: h = c = 0, each [slots, B, H]."""
  zeros = jnp.zeros((slots, batch, layer.u.i.shape[0]), dtype)
  return CellState(zeros, zeros)


def _check_state(state: Sequence[CellState], like: Sequence[CellState]) -> None:
  if len(state) != len(like):
    raise ValueError(f'run: {len(state)} initial states for {len(like)} '
                     'layers; expected one a layer.')
  for index, (given, expected) in enumerate(zip(state, like)):
    for name, leaf in given._asdict().items():
      if leaf.shape != expected.h.shape:
        raise ValueError(
            f'run: state[{index}].{name} has shape {leaf.shape}; expected '
            f'[slots, B, H] = {expected.h.shape}. Is it of another batch, T or '
            'coupling?')


def _check_shapes(layers: Sequence[Layer], x: Array, slots: int) -> None:
  if x.ndim != 4 or x.shape[1] not in (1, slots) or x.shape[0] < 1:
    either = '1' if slots == 1 else f'1 or T = {slots}'
    raise ValueError(f'run: x has shape {x.shape}; expected [N, S, B, D] with '
                     f'N >= 1 and S = {either}.')
  if not layers:
    raise ValueError('run: no layers; expected at least one.')
  features = x.shape[3]
  for index, layer in enumerate(layers):
    hidden = layer.u.i.shape[0]
    for name, gates, expected in (('w', layer.w, (features, hidden)),
                                  ('u', layer.u, (hidden, hidden)),
                                  ('b', layer.b, (hidden,))):
      for gate, leaf in zip(gates._fields, gates):
        if leaf.shape != expected:
          raise ValueError(
              f'run: layers[{index}].{name}.{gate} has shape {leaf.shape}; '
              f'expected {expected} for an input of {features} features. Does '
              'x have the feature count that the model was made for?')
    for site in layer.neurons.present:
      neurons.check_units(getattr(layer.neurons, site), hidden)
    features = hidden


EXECUTORS: dict[str, Callable[..., tuple]] = {
    'sequential':
        functools.partial(layerwise.layer_by_layer, layerwise.sequential),
    'stacked':
        functools.partial(layerwise.layer_by_layer, layerwise.stacked),
    'lean':
        functools.partial(layerwise.layer_by_layer,
                          functools.partial(layerwise.stacked, lean=True)),
    'wavefront':
        wavefront.wavefront,
}
# Those that differ without a gradient.
FORWARD = ('sequential', 'stacked', 'wavefront')
