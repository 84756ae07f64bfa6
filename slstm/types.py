"""Named parameters and states, frozen configs, and the legend of axes.

Axes, everywhere in this library:
  N  elements of the input sequence, index n
  T  SNN time steps spent on each element, index t
  B  batch
  D  input features
  H  hidden units of a layer
  K  classes
Arrays are time-major: an input is x [N, B, D].

A *site* is a place of the LSTM equations where a squashing function stands
and a spiking neuron can stand instead:

  i, f, o  the gates, values in [0, 1], neurons fire 0 or 1 (binary)
  g        the candidate, values in [-1, 1], neurons fire -1, 0, 1 (ternary)
  c        the squashing of the cell state, ternary
  h        the product o * phi(c), ternary; the identity in an LSTM

A source network (ANN) and a spiking network (SNN) are the same pytree: a site
whose neuron is None is analog, so the converted subset is the structure of the
tree, and an ANN is the empty subset.
"""

import dataclasses
from typing import Any, NamedTuple

import jax

Array = jax.Array

SITES = ('i', 'f', 'g', 'o', 'c', 'h')
SIGNED_SITES = ('g', 'c', 'h')


class Gates(NamedTuple):
  """One entry for each of the four gates of an LSTM."""
  i: Any
  f: Any
  g: Any
  o: Any


class Sites(NamedTuple):
  """One entry for each site; None where there is nothing."""
  i: Any = None
  f: Any = None
  g: Any = None
  o: Any = None
  c: Any = None
  h: Any = None

  @property
  def present(self) -> tuple[str, ...]:
    """Names of the sites that hold something, in the order of SITES."""
    return tuple(s for s in SITES if getattr(self, s) is not None)


class Neuron(NamedTuple):
  """A leaky integrate-and-fire neuron, one for a layer or one a unit.

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


class Layer(NamedTuple):
  """Parameters of one LSTM layer.

  Attributes:
    w: input weights, each [D, H].
    u: recurrent weights, each [H, H].
    b: biases, each [H].
    neurons: the spiking sites; `Sites()` for a source LSTM.
  """
  w: Gates
  u: Gates
  b: Gates
  neurons: Sites = Sites()


class Encoder(NamedTuple):
  """Standardises the input, and turns it into spikes where a neuron is given.

  Attributes:
    mean: mean of each feature over the training data, [D].
    std: standard deviation likewise, > 0, [D].
    neuron: None for direct encoding, else a ternary neuron of shape [] or [D].
  """
  mean: Array
  std: Array
  neuron: Neuron | None = None


class Readout(NamedTuple):
  """Linear read-out: w [P H, K] for P pooled features, b [K]."""
  w: Array
  b: Array


class Params(NamedTuple):
  """Parameters of a classifier, ANN or SNN."""
  encoder: Encoder
  layers: tuple[Layer, ...]
  readout: Readout


class CellState(NamedTuple):
  """What an LSTM layer carries from element to element: h and c, [..., H]."""
  h: Array
  c: Array


class Record(NamedTuple):
  """All that one update of a cell computed, for observers.

  Attributes:
    drive: input of each site before squashing, in normalised units.
    output: value of each site after squashing.
    spikes: spikes of the converted sites, None elsewhere.
    state: the new state.
  """
  drive: Sites
  output: Sites
  spikes: Sites
  state: CellState

  @property
  def spikes_of_h(self) -> Any:
    """Those of h, or the products of those of o and c; None without either."""
    h, o, c = self.spikes.h, self.spikes.o, self.spikes.c
    if h is None and o is not None and c is not None:
      return o * c
    return h


@dataclasses.dataclass(frozen=True)
class Config:
  """What is static about a network: everything but its parameters.

  Attributes:
    family: 'standard' (sigmoid, tanh), 'hard' (clips) or 'quantised'.
    slope: a in hard sigmoid(z) = clip(z / 2a + 1/2, 0, 1), > 0.
    levels: Q, the quantisation levels of the 'quantised' family, >= 1.
    num_steps: T, SNN time steps an element; 1 for an ANN.
    coupling: whether the T steps of an element have a state h, c of their own
      ('step'), or all start from a 'shared' one, the mean of where those of the
      element before ended; or 'rate', for reference (see `cells.rate_update`).
    encoder_steps: S, steps an element of a spiking encoder, whose mean output
      all T steps share, >= 0; with 0 it takes T, one for each with 'step'.
    surrogate: name of the gradient of a spike, see `slstm.surrogate`.
    width: width of that gradient in units of the threshold, > 0.
    pooling: what the read-out sees, any of 'last', 'mean', 'max' over n.
  """
  family: str = 'hard'
  slope: float = 3.0
  levels: int = 2
  num_steps: int = 1
  coupling: str = 'step'
  encoder_steps: int = 0
  surrogate: str = 'triangle'
  width: float = 1.0
  pooling: tuple[str, ...] = ('last',)

  def __post_init__(self):
    check_choice('Config.family', self.family,
                 ('standard', 'hard', 'quantised'))
    check_choice('Config.coupling', self.coupling, ('step', 'shared', 'rate'))
    check_positive('Config.slope', self.slope)
    check_positive('Config.width', self.width)
    for name, least in (('levels', 1), ('num_steps', 1), ('encoder_steps', 0)):
      value = getattr(self, name)
      if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f'Config.{name} is {value!r}; expected an int >= '
                         f'{least}.')
    if (not isinstance(self.pooling, tuple) or not self.pooling or
        len(set(self.pooling)) != len(self.pooling)):
      raise ValueError(f'Config.pooling is {self.pooling!r}; expected a tuple '
                       'of at least one name, none twice.')
    for name in self.pooling:
      check_choice('Config.pooling', name, ('last', 'mean', 'max'))

  @property
  def slots(self) -> int:
    """States that a layer carries: T with coupling 'step', else 1."""
    return self.num_steps if self.coupling == 'step' else 1

  @property
  def input_steps(self) -> int:
    """Steps of a spiking encoder an element: S, or T where that is 0."""
    return self.encoder_steps or self.num_steps


def check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
  """Raises ValueError unless `value` is one of `choices`."""
  if value not in choices:
    raise ValueError(f'{what} is {value!r}; expected one of '
                     f'{", ".join(map(repr, choices))}.')


def check_positive(what: str, value: float) -> None:
  """Raises ValueError unless 0 < value < inf."""
  if not 0 < value < float('inf'):
    raise ValueError(f'{what} is {value!r}; expected a finite number > 0.')
