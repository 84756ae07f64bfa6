"""The whole network: encoder, stacked LSTM layers, linear read-out.

Encoding standardises first, d = (x - mean) / std. Direct encoding presents d at
every time step, so W d is computed once per element, and at inference mean and
std fold into W and b of the first layer. Spiking encoding runs one ternary
neuron per feature under the drive d, whose threshold takes std in, so that the
first product only accumulates (goes beyond Datta et al. 2022):

  encoder_steps = 0      step t of the layers sees amplitude s_t, one spike at
                         most, t = 1..T
  encoder_steps = S > 0  all T steps see the mean output of S steps, which is
                         accumulated spike by spike, once per element

With coupling 'shared' all steps see the mean in any case. Of an input neuron
whose output is a running sum they see the last of the S outputs.

The read-out is a linear layer on the mean over t of the last layer's output,
pooled over n as `Config.pooling` says, or on each element; it has no spikes.
"""

import dataclasses
import math
from typing import Any, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from slstm import borders
from slstm import cells
from slstm import neurons
from slstm import padding
from slstm import scan
from slstm import types
from slstm import wavefront
from slstm.types import (Array, Config, Encoder, Gates, Layer, Model, Readout,
                         State)

EXECUTORS: dict[str, scan.Executor] = {
    'sequential': scan.sequential,
    'stacked': scan.stacked,
    'lean': scan.lean,
    'wavefront': wavefront.wavefront,
}
# Those that differ without a gradient.
FORWARD = ('sequential', 'stacked', 'wavefront')

_POOLS = {'last': padding.last, 'mean': padding.mean, 'max': padding.largest}
# The squares of inputs between these are in the range of float32.
_SMALL, _LARGE = 1e-15, 1e15


class Encoded(NamedTuple):
  """What the encoder made of an input, time-major.

  Attributes:
    drive: standardised input, [N, B, D].
    values: what the first layer sees, [N, B, D] or, if that differs from step
      to step, [N, T, B, D].
    outputs, spikes: of the input neuron in each step, [N, S, B, D], if any.
  """
  drive: Array
  values: Array
  outputs: Array | None = None
  spikes: Array | None = None


class Forward(NamedTuple):
  """What a forward pass returns.

  Attributes:
    outputs, pooled: [B, K], such as logits; input of the read-out, [B, P H]. Of
      pooling 'each' they are [B, N, K] and [B, N, H].
    state: hand it back to `apply` to continue the sequence. None where there
      are lengths, for it would be that after the padding.
    encoded: what the first layer saw.
    observed: for each layer what the observer made of its records, [N, T, ...].
  """
  outputs: Array
  pooled: Array
  state: State | None
  encoded: Encoded
  observed: tuple[Any, ...]


def standardising(x: Any,
                  *,
                  shared_scale: bool = False,
                  lengths: Any = None) -> Encoder:
  """A direct encoder with the statistics of training data.

  Args:
    x: training inputs, [..., D]; a feature that never changes keeps std 1. Of
      x in float64 the statistics are, too, before they are rounded.
    shared_scale: divide all features by one std, the root mean square of
      theirs. It is for features of one kind, such as pixels, of which some
      hardly ever change and would be blown up where they do.
    lengths: of the sequences of x [B, N, D]; padding has no part in it.
  """
  types.check_array('standardising: x', x)
  if not x.size:
    raise ValueError(f'standardising: x has shape {x.shape}; expected '
                     'examples.')
  if lengths is not None:
    padding.check(lengths, x, 'standardising: lengths')
    x = x[padding.of_examples(x, lengths)]
  # Anything but ordinary float32 is NumPy's, in float64.
  numpy, rounding = _needs_float64(x), 1e-12 if x.dtype == np.float64 else 1e-6
  xp: Any = np if numpy else jnp
  axes, dtype = tuple(range(x.ndim - 1)), xp.float64 if numpy else xp.float32
  values = xp.asarray(x, dtype) if numpy else x
  mean = xp.mean(values, axes, dtype=dtype)
  std = xp.std(values.astype(dtype), axes)
  changes = std > rounding * xp.abs(mean)
  if shared_scale:
    std = xp.full_like(std, xp.sqrt(xp.mean(xp.square(std))))
    changes = changes.any()
  std = xp.where(changes, std, 1.0)
  if numpy:
    _check_resolved(mean, std, changes)
  return Encoder(jnp.asarray(mean), jnp.asarray(std))


def _needs_float64(x: Array) -> bool:
  """Whether statistics in float32 would not be those of x; checks x."""
  if not borders.known(x):
    return False
  borders.check_inputs(x, 'standardising: x')
  if x.dtype in (np.float64, np.int64, np.uint64):
    return True
  size = np.abs(np.asarray(x, np.float32)).max(tuple(range(x.ndim - 1)))
  return bool(np.any((size > _LARGE) | (0 < size) & (size < _SMALL)))


def _check_resolved(mean: np.ndarray, std: np.ndarray, changes: Any) -> None:
  """Raises ValueError where float32, if networks compute in it, is too coarse.

  It is where rounding moves a feature that changes by more than 1/64 of its
  standard deviation, or that is not a normal number.
  """
  limits = jnp.finfo(jnp.result_type(float))
  moved = np.abs(mean) * float(limits.eps) / 2
  bad = changes & ((moved > std / 64) | (std < limits.tiny))
  for feature in np.flatnonzero(bad):
    raise ValueError(
        f'standardising: feature {feature} of x has mean {mean[feature]:g} and '
        f'std {std[feature]:g}; expected what {limits.dtype} resolves, in '
        'which networks compute. Subtract a constant, such as the mean, or '
        'multiply by one, before x is made narrower than float64; do the same '
        'wherever the model is used.')


def init(key: Array,
         *,
         num_features: int,
         hidden_sizes: Sequence[int],
         num_outputs: int,
         config: Config = Config(),
         encoder: Encoder | None = None) -> Model:
  """Draws the parameters of a source network.

  W and the read-out are Glorot-uniform, U is orthogonal, b is 0 except for the
  forget gate, where it is 1 (Jozefowicz et al. 2015).

  Args:
    key: PRNG key.
    num_features, num_outputs: D and K.
    hidden_sizes: H of each layer, first to last.
    config: static choices; pooling decides the width of the read-out.
    encoder: input statistics; by default the input is taken as it is.

  Example:
    model = slstm.init(jax.random.key(0), num_features=9, hidden_sizes=(128,),
                       num_outputs=6, encoder=slstm.standardising(x_train))
  """
  if not isinstance(hidden_sizes, Sequence):
    raise ValueError(f'init: hidden_sizes is {hidden_sizes!r}; expected the '
                     'units of each layer, such as (128,).')
  sizes = (num_features, *hidden_sizes, num_outputs)
  if not hidden_sizes or min(sizes) < 1:
    raise ValueError(f'init: sizes D, H.., K are {sizes}; expected at least '
                     'one layer and every size >= 1.')
  if encoder is None:
    encoder = Encoder(jnp.zeros((num_features,)), jnp.ones((num_features,)))
  hint = 'Make the encoder of the same training data.'
  types.check_shape('init: encoder.mean', encoder.mean, 'D', hint, D=sizes[0])
  if borders.known(encoder):
    borders.check_encoder(encoder, 'init')
  readout_key, *layer_keys = jax.random.split(key, len(hidden_sizes) + 1)
  layers = tuple(map(_init_layer, layer_keys, sizes, hidden_sizes))
  pooled = len(config.pooling) * hidden_sizes[-1]
  w = jax.nn.initializers.glorot_uniform()(readout_key, (pooled, num_outputs))
  return Model(encoder, layers, Readout(w, jnp.zeros((num_outputs,))), config)


def _init_layer(key: Array, fan_in: int, hidden: int) -> Layer:
  w_key, u_key = jax.random.split(key)
  glorot = jax.nn.initializers.glorot_uniform()
  orthogonal = jax.nn.initializers.orthogonal()
  zeros = jnp.zeros((hidden,))
  w = (glorot(k, (fan_in, hidden)) for k in jax.random.split(w_key, 4))
  u = (orthogonal(k, (hidden, hidden)) for k in jax.random.split(u_key, 4))
  return Layer(Gates(*w), Gates(*u), Gates(zeros, zeros + 1, zeros, zeros))


def apply(model: Model,
          x: Array,
          *,
          lengths: Array | None = None,
          executor: scan.Executor = scan.stacked,
          observe: scan.Observer | None = None,
          state: State | None = None) -> Forward:
  """Runs a batch of sequences.

  Args:
    model: an ANN or SNN.
    x: raw input, [B, N, D]. If dtypes differ, all is computed in the widest.
      The outputs of an example that is not finite are NaN.
    lengths: how many elements of each sequence are real, in 1..N, [B]; what
      stands behind them changes no output. By default all are.
    executor: one of `EXECUTORS`; the result is the same. For `jax.jvp`, see
      `slstm.scan`.
    observe: function of a `Record`, whose outputs are stacked over n and t. It
      sees padding, too.
    state: of an earlier call, to continue its sequences; by default the state
      before the first element, h = c = 0.

  Raises:
    ValueError: for shapes that do not fit the parameters, neurons out of range
      (where they are not traced), or an executor that cannot run this model.

  Example:
    logits = slstm.apply(model, x, executor=slstm.wavefront).outputs
  """
  check_model(model)
  borders.check_once(model, 'apply: model')
  features, config = model.num_features, model.config
  types.check_shape('apply: x', x, 'B N D', 'It is batch-major.', D=features)
  # A scan keeps the dtype of what it carries, so all share the widest.
  dtype = jnp.result_type(*jax.tree.leaves((model, state)), x)
  model, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (model, x))
  padding.check(lengths, x, 'apply: lengths')
  start = zero_state(model, x.shape[0], dtype)
  if state is not None:
    _check_state(state, start)
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), state)
  x = jnp.swapaxes(x, 0, 1)
  # Padding that is not finite would make gradients so.
  x = padding.fill(x, lengths, neurons.align(model.encoder.mean, x))
  encoded, encoder_state = _encode(model, x, start.encoder)
  run = executor(model.layers, encoded.values, start.layers, config, observe or
                 (lambda record: ()))
  pooled = _pool(jnp.mean(run.h, axis=1), config.pooling, lengths)
  end = State(encoder_state, run.state) if lengths is None else None
  return Forward(read_out(model.readout, pooled), pooled, end, encoded,
                 run.observed)


def _pool(h: Array, names: Sequence[str], lengths: Array | None) -> Array:
  """What the read-out sees of h [N, B, H]."""
  if names == (types.EACH,):
    return jnp.swapaxes(h, 0, 1)
  return jnp.concatenate([_POOLS[name](h, lengths) for name in names], -1)


def executors_for(model: Model) -> dict[str, scan.Executor]:
  """The executors that can run a model, by name."""
  found = dict(EXECUTORS)
  if wavefront.obstacle(model.layers, model.config):
    del found['wavefront']
  return found


def zero_state(model: Model, batch: int, dtype: Any) -> State:
  """The state before the first element."""
  encoder, neuron = None, model.encoder.neuron
  if neuron is not None and neurons.kind_of(neuron).carried:
    encoder = neurons.initial_state(neuron, (batch, model.num_features))
  slots = model.config.slots
  return State(
      encoder,
      tuple(cells.zero_state(k, slots, batch, dtype) for k in model.layers))


def _check_state(state: State, expected: State) -> None:
  given, wanted = (dict(jax.tree_util.tree_leaves_with_path(tree))
                   for tree in (state, expected))
  for path in {**given, **wanted}:
    found, asked = (tree[path].shape if path in tree else 'none'
                    for tree in (given, wanted))
    if found != asked:
      raise ValueError(
          f'apply: state{jax.tree_util.keystr(path)} has shape {found}; '
          f'expected {asked}. Is it of another model, batch, T or coupling?')


def _encode(model: Model, x: Array, state: Any) -> tuple[Encoded, Any]:
  """Encodes x [N, B, D]; returns it with the state of the input neuron."""
  encoder, config = model.encoder, model.config
  # The statistics are data: no gradient flows into them.
  mean, std = jax.lax.stop_gradient((encoder.mean, encoder.std))
  drive = (x - neurons.align(mean, x)) / neurons.align(std, x)
  # A clip would hide infinity; NaN stays.
  drive = jnp.where(jnp.isfinite(drive), drive, jnp.nan)
  neuron = encoder.neuron
  if neuron is None:
    return Encoded(drive, drive), None
  kind, fire = neurons.kind_of(neuron), neurons.firing(config)

  def element(start: Any, d: Array) -> tuple[Any, tuple[Array, Array]]:
    """All S steps of drives [..., D]."""
    d = jnp.broadcast_to(d, (config.input_steps, *d.shape))
    state, spikes = neurons.run(neuron, start, d, signed=True, fire=fire)
    return state, (kind.output(neuron, start, spikes), spikes)

  if kind.carried:
    state, made = jax.lax.scan(element, state, drive)
  else:  # every element starts anew, so all of them are run at once
    _, made = element(neurons.initial_state(neuron, drive.shape), drive)
    made = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), made)
  outputs, spikes = made
  values = outputs
  if kind.cumulative:
    values = outputs[:, -1]
  elif config.coupling == 'shared' or config.encoder_steps:
    values = jnp.mean(outputs, axis=1)
  return Encoded(drive, values, outputs, spikes), state


def read_out(readout: Readout, pooled: Array) -> Array:
  """Outputs [..., K] of pooled features [..., P H]."""
  product = pooled @ readout.w
  return product + neurons.align(readout.b, product)


def check_model(model: Model) -> None:
  """Raises ValueError, naming the leaf, if the shapes of a model do not fit."""
  if not model.layers:
    raise ValueError('check_model: no layers; expected at least one.')
  encoder, readout = model.encoder, model.readout
  types.check_shape('encoder.mean', encoder.mean, 'D')
  features = model.num_features
  types.check_shape('encoder.std', encoder.std, 'D', D=features)
  if encoder.neuron is not None:
    neurons.check_units(encoder.neuron, features)
  for index, layer in enumerate(model.layers):
    hidden = layer.num_units
    for name, axes in (('w', 'D H'), ('u', 'H G'), ('b', 'H')):
      for gate, leaf in getattr(layer, name)._asdict().items():
        what = f'layers[{index}].{name}.{gate}'
        types.check_shape(what, leaf, axes, D=features, H=hidden, G=hidden)
    for site in layer.neurons.present:
      neurons.check_units(getattr(layer.neurons, site), hidden)
    cells.check_sites(layer, f'layers[{index}]', model.config)
    features = hidden
  pooled = len(model.config.pooling) * features
  hint = 'Was the model made with another Config.pooling?'
  types.check_shape('readout.w', readout.w, 'PH K', hint, PH=pooled)
  types.check_shape('readout.b', readout.b, 'K', K=readout.w.shape[1])


def constrain(raw: Model, source: Model) -> Model:
  """The model of what an optimiser has moved, the inverse of `unconstrain`.

  Statistics of the encoder are data: they are those of `source`, whatever
  happened to them in `raw`, such as weight decay.

  Args:
    raw: in unbounded coordinates, from `unconstrain`.
    source: the model that was given to `unconstrain`.

  Example:
    raw = slstm.unconstrain(model)
    raw = optax.apply_updates(raw, updates)
    model = slstm.constrain(raw, model)
  """
  model = neurons.constrain(raw)
  encoder = model.encoder._replace(mean=source.encoder.mean,
                                   std=source.encoder.std)
  return dataclasses.replace(model, encoder=encoder)


def stretch(model: Model, factor: float) -> Model:
  r"""Multiplies the time constants of every unit of an LSTM by a factor.

  A unit that forgets the share 1 - f in each element has the time constant
  tau = 1 / (1 - f), and tau - 1 = f / (1 - f), the odds of f. In an LSTM with
  sigmoid gates a bias moves the odds, whatever the input:

    b_f <- b_f + log k      tau - 1 is multiplied by k
    b_i <- b_i - log k      an element adds 1 / k of what it did, if i is small

  so what took an element before takes about k. Training on longer sequences can
  start from it: it is exact for no network, but near enough to learn from short
  sequences what is expensive on long ones.

  Args:
    model: an ANN of sigmoid gates; all but the biases of i and f stays.
    factor: k, > 0, such as the quotient of the lengths of the sequences.

  Source: the argument of Tallec & Ollivier, "Can recurrent neural networks warp
  time?", ICLR 2018, section 1, who choose initial biases by it.
  """
  types.check_positive('stretch: factor', factor)
  if model.config.family != 'standard' or model.is_spiking:
    raise ValueError(
        f'stretch: the model is {"spiking" if model.is_spiking else "analog"} '
        f'and its family is {model.config.family!r}; expected an LSTM of '
        "family 'standard', for a bias moves the odds of sigmoid gates only.")
  shift = jnp.asarray(math.log(factor), jnp.float32)

  def stretched(layer: Layer) -> Layer:
    b = layer.b._replace(f=layer.b.f + shift, i=layer.b.i - shift)
    return layer._replace(b=b)

  return dataclasses.replace(model, layers=tuple(map(stretched, model.layers)))
