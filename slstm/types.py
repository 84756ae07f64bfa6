"""The model and its parts, its static config, and the legend of axes.

Axes, everywhere in this library:
  N  elements of the input sequence, index n
  T  SNN time steps spent on each element, index t
  B  batch
  D  input features
  H  hidden units of a layer
  K  outputs, such as classes
Public functions take batch-major arrays, an input is x [B, N, D]. Only the
scans are time-major: what they see, and what an observer sees, leads with N.

A *site* is a place in the LSTM equations where a squashing function stands and
a spiking neuron can stand instead:

  i, f, o  the gates, values in [0, 1], neurons fire 0 or 1 (binary)
  g        the candidate, values in [-1, 1], neurons fire -1, 0, 1 (ternary)
  c        the squashing of the cell state, ternary
  h        the product o * phi(c), ternary; the identity in an LSTM

A source network (ANN) and a spiking network (SNN) are the same pytree: a site
whose neuron is None is analog. The converted subset is therefore the structure
of the tree, and an ANN is the empty subset.
"""

import dataclasses
from typing import Any, NamedTuple, Sequence

import flax.struct
import jax

Array = jax.Array

SITES = ('i', 'f', 'g', 'o', 'c', 'h')
SIGNED_SITES = ('g', 'c', 'h')
EACH = 'each'  # the pooling that is none


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


class Layer(NamedTuple):
  """Parameters of one LSTM layer.

  Attributes:
    w, u, b: input weights, each [D, H], recurrent ones [H, H], biases [H].
    neurons: parameters of the neuron at each spiking site, of any type that
      `slstm.neurons` knows; `Sites()` for a source LSTM.
  """
  w: Gates
  u: Gates
  b: Gates
  neurons: Sites = Sites()

  @property
  def num_units(self) -> int:
    """H."""
    return self.u.i.shape[0]


class Encoder(NamedTuple):
  """Standardises the input, and turns it into spikes if it has a neuron.

  Attributes:
    mean, std: of each feature over the training data, [D], std > 0.
    neuron: None for direct encoding, else a ternary neuron of shape [] or [D].
  """
  mean: Array
  std: Array
  neuron: Any = None


class Readout(NamedTuple):
  """Linear read-out: w [P H, K] for P pooled features, b [K]."""
  w: Array
  b: Array


@dataclasses.dataclass(frozen=True)
class Config:
  """What is static about a network: everything but its parameters.

  Attributes:
    family: 'standard' (sigmoid, tanh), 'hard' (clips) or 'quantised'.
    slope: a in hard sigmoid(z) = clip(z / 2a + 1/2, 0, 1), > 0.
    levels: Q, the quantisation levels of the 'quantised' family, >= 1.
    num_steps: T, SNN time steps per element; 1 for an ANN.
    coupling: with 'step', each of the T steps has a state h, c of its own; with
      'shared', all T steps of an element start from one state, the mean of
      where the steps of the element before ended.
    encoder_steps: S, steps per element of a spiking encoder, whose mean output
      all T steps share, >= 0; 0 stands for T steps, one per step of the layers
      if they have states of their own.
    surrogate: gradient of a spike, a key of `neurons.SURROGATES`.
    width: width of that gradient in units of the threshold, > 0.
    pooling: what the read-out sees, any of 'last', 'mean', 'max' over n; or
      ('each',), every element by itself, for outputs [B, N, K].
  """
  family: str = 'hard'
  slope: float = 3.0
  levels: int = 2
  num_steps: int = 1
  coupling: str = 'step'
  encoder_steps: int = 0
  surrogate: str = 'triangle'
  width: float = 1.0
  pooling: tuple[str, ...] = ('mean',)

  def __post_init__(self):
    check_choice('Config.family', self.family,
                 ('standard', 'hard', 'quantised'))
    check_choice('Config.coupling', self.coupling, ('step', 'shared'))
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
    if self.pooling != (EACH,):
      for name in self.pooling:
        check_choice('Config.pooling', name, ('last', 'mean', 'max'))

  @property
  def is_labelling(self) -> bool:
    """Whether there is one output per element, not one per sequence."""
    return self.pooling == (EACH,)

  @property
  def slots(self) -> int:
    """States that a layer carries: T with coupling 'step', else 1."""
    return self.num_steps if self.coupling == 'step' else 1

  @property
  def input_steps(self) -> int:
    """Steps per element of a spiking encoder: S, or T where that is 0."""
    return self.encoder_steps or self.num_steps


@flax.struct.dataclass
class Model:
  """A network, ANN or SNN: a pytree of parameters, with its static config."""
  encoder: Encoder
  layers: tuple[Layer, ...]
  readout: Readout
  config: Config = flax.struct.field(pytree_node=False)

  @property
  def num_features(self) -> int:
    """D."""
    return self.encoder.mean.shape[0]

  @property
  def num_outputs(self) -> int:
    """K."""
    return self.readout.b.shape[0]

  @property
  def is_spiking(self) -> bool:
    """Whether any site of any layer has a neuron."""
    return any(layer.neurons.present for layer in self.layers)


class CellState(NamedTuple):
  """What a layer carries from element to element.

  Attributes:
    h, c: output and cell state, [slots, B, H], see `Config.slots`.
    neurons: states that live for the whole sequence, by site, leaves [B, H].
  """
  h: Array
  c: Array
  neurons: Sites = Sites()


class State(NamedTuple):
  """What a network carries from element to element, to hand back to `apply`.

  Attributes:
    encoder: of an input neuron that lives for the whole sequence, or None.
    layers: of each layer.
  """
  encoder: Any
  layers: tuple[CellState, ...]


class Record(NamedTuple):
  """All that one update of a cell computed, for observers.

  Attributes:
    drive: input of each site before squashing, in normalised units.
    output, spikes: of each site; spikes of those that have a neuron.
    state: the new state.
  """
  drive: Sites
  output: Sites
  spikes: Sites
  state: CellState

  @property
  def spikes_of_h(self) -> Any:
    """Spikes of h, or products of those of o and c; None without either."""
    h, o, c = self.spikes.h, self.spikes.o, self.spikes.c
    if h is None and o is not None and c is not None:
      return o * c
    return h


class Elementwise(NamedTuple):
  """Operations that are no part of a matrix product, see `operations`."""
  multiply: float = 0.0
  add: float = 0.0
  compare: float = 0.0
  smooth: float = 0.0
  clip: float = 0.0


def check_choice(what: str, value: Any, choices: Sequence[str]) -> None:
  """Raises ValueError unless `value` is one of `choices`."""
  if value not in choices:
    raise ValueError(f'{what} is {value!r}; expected one of '
                     f'{", ".join(map(repr, choices))}.')


def check_positive(what: str, value: float) -> None:
  """Raises ValueError unless 0 < value < inf."""
  if not 0 < value < float('inf'):
    raise ValueError(f'{what} is {value!r}; expected a finite number > 0.')


def check_array(what: str, array: Any) -> None:
  """Raises ValueError unless it has a shape."""
  if not hasattr(array, 'shape'):
    raise ValueError(f'{what} is of type {type(array).__name__}; expected an '
                     'array. Of lists make one with numpy.asarray, if all have '
                     'the same length.')


def check_shape(what: str,
                array: Any,
                axes: str,
                cause: str = '',
                **sizes: int) -> None:
  """Raises ValueError unless an array has the axes that it should have.

  Args:
    what: function and argument, such as 'apply: x'.
    array: anything with a shape.
    axes: one name per axis, such as 'B N D'; every size must be >= 1.
    cause: the likely reason of a mismatch, a sentence.
    **sizes: the sizes that are known, such as D=9.
  """
  check_array(what, array)
  names, shape = axes.split(), tuple(array.shape)
  if len(shape) != len(names) or any(size < 1 or size != sizes.get(name, size)
                                     for name, size in zip(names, shape)):
    known = [f'{k} = {v}' for k, v in sizes.items() if k in names]
    rest = ' with ' + ', '.join(known) if known else ', all >= 1'
    raise ValueError(f'{what} has shape {shape}; expected [{", ".join(names)}]'
                     f'{rest}. {cause}'.rstrip())
