"""The network in integers: what a microcontroller computes, in NumPy.

`slstm.quantise` makes an `IntegerModel` of a Model; `run` is the reference that
exported code has to match bit by bit. A real number r is an integer q with a
number of fraction bits, r = q 2^-bits:

  drives d, outputs of sites, h   14 bits, so that 1 is 16384
  cell state c                    of each layer its own, 16-bit integers
  membranes of LIF neurons        12 bits, 16-bit integers
  weights                         8-bit integers, fraction bits by gate
  sums of products                32-bit integers, see `integer_check.bounds`
  analog input, h that is no      8-bit integers, of 7 fraction bits for h
  spikes

What a site divides or shifts its drive by (1 / 2a, 1 / 2) is folded into W, U
and b, and so is the amplitude of spikes into the rows of the weights that they
select. A product with spikes therefore adds and subtracts rows, and nothing
else:

  sums += W_j for each spike s_j = 1,  sums -= W_j for each s_j = -1

Of a sigma-delta neuron the sums run on from element to element. Every shift to
the right rounds to nearest, ties upwards, and what leaves its range saturates:

  d = (b + sums_x << a + sums_h << b) >> shift    a or b is 0
  c = saturate((f c + i g) >> 14)                 in common fraction bits
  h = (o phi(c)) >> 14

Sigmoid and tanh are linear between 257 points, a power of two apart, which
reach to |z| >= 8.
"""

import functools
import math
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from slstm import padding
from slstm import types
from slstm.types import Sites

FRACTION = 14  # bits of drives and outputs
MEMBRANE = 12  # of membranes of LIF neurons
FEATURE = 10  # of counts of spikes that the read-out sees
ONE = 1 << FRACTION
MOST_STEPS = 1 << 16  # N T, so that pooled sums stay within 32 bits
_INT16 = 2**15 - 1
Ints = np.ndarray
# Adds rows that spikes select to sums in place; `add_rows` says how.
AddRows = Callable[[Ints, Ints, Ints], None]


class IntegerLIF(NamedTuple):
  """An LIF neuron, int32 [H]; see `slstm.neurons`.

  Attributes:
    v_th, v_0: of 12 bits. level: at which it fires; v_th, or half if ternary.
    leak: of 15 bits; None for an IF.
    amplitude: of 14 bits, for sites whose output does not select rows.
  """
  v_th: Ints
  v_0: Ints
  level: Ints
  amplitude: Ints
  leak: Ints | None = None


class IntegerSigmaDelta(NamedTuple):
  """A sigma-delta neuron, int32 [H], in the bits of its drive."""
  theta: Ints
  level: Ints  # at which it fires


ANALOG, SPIKES, RUNNING = 'ANALOG', 'SPIKES', 'RUNNING'


def sent_by(neuron: Any) -> str:
  """What a neuron sends, or an analog value where there is none."""
  if neuron is None:
    return ANALOG
  return RUNNING if isinstance(neuron, IntegerSigmaDelta) else SPIKES


class IntegerEncoder(NamedTuple):
  """How features become integers, saturate(round((x - mean) / std 2^bits)).

  Attributes:
    mean, std: float32 [D].
    bits: fraction bits. limit: the largest integer, 127 or 32767.
    neuron: None for direct encoding.
  """
  mean: Ints
  std: Ints
  bits: int
  limit: int
  neuron: Any = None

  @property
  def dtype(self) -> np.dtype:
    """Of features in exported C."""
    return np.dtype(np.int8 if self.neuron is None else np.int16)


class IntegerLayer(NamedTuple):
  """A layer; the columns of i, f, g, o follow each other in [.., 4H].

  Attributes:
    w, u: int8, [D, 4H] and [H, 4H].
    b: int32 [4H], of 14 bits and what `shifts` are of its gate.
    w_shift, u_shift: int [4], from sums to 14 bits, to the left if negative.
    c_bits: fraction bits of the cell state.
    neurons: of each spiking site.
  """
  w: Ints
  u: Ints
  b: Ints
  w_shift: tuple[int, ...]
  u_shift: tuple[int, ...]
  c_bits: int
  neurons: Sites

  @property
  def num_units(self) -> int:
    """H."""
    return len(self.u)

  @property
  def shifts(self) -> tuple[int, ...]:
    """From the sum of both sums and b to 14 bits, by gate."""
    return tuple(map(max, self.w_shift, self.u_shift))

  @property
  def sends(self) -> str:
    """What h is: ANALOG, SPIKES, or a RUNNING sum of them."""
    if self.neurons.h is None and {'o', 'c'} <= set(self.neurons.present):
      return SPIKES
    return sent_by(self.neurons.h)


class IntegerModel(NamedTuple):
  """A network in integers; `readout_w` int8 [P H, K], `readout_b` int32 [K].

  An output is its integer times 2^-output_bits.
  """
  encoder: IntegerEncoder
  layers: tuple[IntegerLayer, ...]
  readout_w: Ints
  readout_b: Ints
  output_bits: int
  config: types.Config


class Result(NamedTuple):
  """What `run` computed.

  Attributes:
    outputs: int32 [B, K].
    counts: spikes of h in every element and layer, int32 [B, N, layers]; 0
      where it is no spikes.
    spikes: their mean by layer, per unit and element; nan where there are none.
  """
  outputs: Ints
  counts: Ints
  spikes: tuple[float, ...]


class Operand(NamedTuple):
  """What enters a product in an element, int32 [slots or 1, B, F].

  Attributes:
    analog: 8-bit integers, or None.
    spikes: for each step of a slot -1, 0 or 1, or None.
    runs_on: whether the sums of the element before stay.
  """
  analog: Ints | None
  spikes: Sequence[Ints] | None = None
  runs_on: bool = False


def saturate(q: Ints, limit: int = _INT16) -> Ints:
  """Integers in [-limit - 1, limit]."""
  return np.clip(q, -limit - 1, limit)


def shift(q: Ints, bits: int) -> Ints:
  """q 2^-bits, to nearest with ties upwards; exact where bits <= 0."""
  if bits <= 0:
    return q << -bits
  return (q + (1 << (bits - 1))) >> bits


def divide(q: Ints, count: int) -> Ints:
  """q / count, to nearest with ties upwards."""
  return (2 * q + count) // (2 * count)


def add_rows(sums: Ints, spikes: Ints, rows: Ints) -> None:
  """Adds rows of weights to sums [.., M] where spikes [.., F] are 1.

  Those of spikes that are -1 are subtracted.
  """
  for unit, row in enumerate(rows):
    sums[spikes[..., unit] == 1] += row
    sums[spikes[..., unit] == -1] -= row


def add_product(sums: Ints, spikes: Ints, rows: Ints) -> None:
  """The same by a matrix product: as exact, and faster on many sequences."""
  sums += _exact_product(spikes, rows)


def _exact_product(values: Ints, rows: Ints) -> Ints:
  """int32 [.., M]; floats hold all integers below 2^24, doubles below 2^53."""
  dtype = np.float32 if len(rows) <= 2**24 // 2**14 else np.float64
  return (values.astype(dtype) @ rows.astype(dtype)).astype(np.int32)


def _product(operand: Operand, rows: Ints, sums: Ints, add: AddRows) -> Ints:
  """Sums [slots or 1, B, M], given those of the element before."""
  if operand.analog is not None:
    return _exact_product(operand.analog, rows)
  steps = operand.spikes or ()
  if operand.runs_on:
    sums = sums.copy()
  else:
    sums = np.zeros((len(steps[0]) if steps else 1, *sums.shape[1:]), np.int32)
  for step in steps:
    add(sums, step, rows)
  return sums


# --- Activations --------------------------------------------------------------


class Table(NamedTuple):
  """257 points of a function, 2^-spacing apart, the middle one at 0."""
  values: Ints  # of 14 bits
  spacing: int


@functools.cache
def table(site: str, slope: float) -> Table:
  """tanh d, or of a gate sigma(2a e) of e = d - 1/2."""
  signed = site in types.SIGNED_SITES
  spacing = 4 if signed else math.floor(math.log2(32 * slope))
  at = np.arange(-128, 129) * 2.0**-spacing
  exact = np.tanh(at) if signed else 0.5 + 0.5 * np.tanh(slope * at)
  return Table(np.round(ONE * exact).astype(np.int32), spacing)


def interpolate(points: Table, d: Ints) -> Ints:
  """A function of which points are given, at d of 14 bits."""
  values, bits = points.values, FRACTION - points.spacing
  at = np.clip(d + (128 << bits), 0, (256 << bits) - 1)
  index = at >> bits
  rest = at - (index << bits)
  step = values[index + 1] - values[index]
  return values[index] + shift(step * rest, bits)


def squash(site: str, d: Ints, config: types.Config) -> Ints:
  """The analog activation of a site, both of 14 bits."""
  if site == 'h':
    return d
  signed = site in types.SIGNED_SITES
  if config.family == 'standard':
    middle = 0 if signed else ONE >> 1
    return interpolate(table(site, config.slope), d - middle)
  low = -ONE if signed else 0
  d = np.clip(d, low, ONE)
  if config.family == 'hard':
    return d
  levels = config.levels
  return level_table(levels)[levels + shift(levels * d, FRACTION)]


@functools.cache
def level_table(levels: int) -> Ints:
  """Outputs k / Q of the quantised family for k = -Q..Q."""
  k = np.arange(-levels, levels + 1)
  return np.round(ONE * k / levels).astype(np.int32)


# --- Neurons ------------------------------------------------------------------


def _fire(v: Ints, level: Ints, signed: bool) -> Ints:
  spikes = (v >= level).astype(np.int32)
  return spikes - (v <= -level) if signed else spikes


def lif(neuron: IntegerLIF, d: Ints, signed: bool) -> Ints:
  """Spikes [T, B, H] of drives [T, B, H], of 12 bits."""
  d, v, spikes = saturate(d), np.broadcast_to(neuron.v_0, d.shape[1:]), []
  for d_t in d:
    decayed = v if neuron.leak is None else shift(neuron.leak * v, 15)
    v = saturate(decayed + d_t)
    s = _fire(v, neuron.level, signed)
    v = v - np.where(s > 0, neuron.v_th, 0) + np.where(s < 0, neuron.v_th, 0)
    spikes.append(s)
  return np.stack(spikes)


def sigma_delta(neuron: IntegerSigmaDelta, x: Ints, d: Ints,
                num_steps: int) -> tuple[Ints, list[Ints]]:
  """The output after T steps of a drive [B, H], and the spikes of each."""
  spikes = []
  for _ in range(num_steps):
    s = _fire(d - x, neuron.level, True)
    x = x + np.where(s > 0, neuron.theta, 0) - np.where(s < 0, neuron.theta, 0)
    spikes.append(s)
  return x, spikes


# --- Networks -----------------------------------------------------------------


class _LayerState(NamedTuple):
  h: Operand
  c: Ints  # [slots, B, H]
  x: Ints  # output of a sigma-delta neuron, [B, H]
  w_sums: Ints  # of the element before, [slots or 1, B, 4H]
  u_sums: Ints


def features(model: IntegerModel, x: np.ndarray) -> Ints:
  """Integers of raw features [B, N, D], as an exported network takes them."""
  e = model.encoder
  scaled = (np.asarray(x, np.float64) - e.mean) / e.std * 2.0**e.bits
  return saturate(np.floor(scaled + 0.5), e.limit).astype(np.int32)


def outputs(model: IntegerModel,
            x: np.ndarray,
            *,
            lengths: np.ndarray | None = None,
            batch_size: int = 1024) -> np.ndarray:
  """Outputs [B, K] of raw features [B, N, D], as real numbers.

  Sequences of one of the `lengths` [B] are run together, without padding.
  """
  if lengths is not None:
    padding.check(lengths, x, 'outputs: lengths')
    found = np.zeros((len(x), len(model.readout_b)))
    for length in np.unique(lengths):
      rows = lengths == length
      found[rows] = outputs(model, x[rows, :length], batch_size=batch_size)
    return found
  parts = [run(model, features(model, x[k:k + batch_size]), add=add_product)
           for k in range(0, len(x), batch_size)]  # yapf: disable
  scale = 2.0**-model.output_bits
  return np.concatenate([part.outputs for part in parts]) * scale


def run(model: IntegerModel, x: Ints, *, add: AddRows = add_rows) -> Result:
  """Runs a batch of sequences.

  Args:
    model: of `slstm.quantise`.
    x: `features`, [B, N, D].
    add: how rows are added; every way gives the same result.

  Raises:
    ValueError: if x has another shape, or is no integers within their limit.

  Example:
    ints = slstm.quantise(model, data.train.x[:512])
    classes = integer.outputs(ints, data.test.x).argmax(-1)
  """
  e = model.encoder
  types.check_shape('run: x', x, 'B N D', 'It is batch-major.', D=len(e.mean))
  limit = e.limit
  if x.dtype.kind not in 'iu' or x.min() < -limit - 1 or x.max() > limit:
    raise ValueError(f'run: x is {x.dtype} in [{x.min()}, {x.max()}]; expected '
                     f'integers in [{-limit - 1}, {limit}] from `features`.')
  config, batch = model.config, len(x)
  if x.shape[1] * config.num_steps > MOST_STEPS:
    raise ValueError(f'run: x has {x.shape[1]} elements; expected at most '
                     f'{MOST_STEPS // config.num_steps}, for 32-bit sums.')
  slots = config.slots
  states = []
  for layer in model.layers:
    of_units = np.zeros((slots, batch, layer.num_units), np.int32)
    sums = np.zeros((1, batch, len(layer.b)), np.int32)
    at_rest = Operand(None, (), runs_on=layer.sends == RUNNING)
    states.append(_LayerState(at_rest, of_units, of_units[0], sums, sums))
  encoder_x = np.zeros((batch, x.shape[-1]), np.int32)
  pool = _Pool(model, x.shape[1])
  counts = np.zeros((batch, x.shape[1], len(states)), np.int32)
  for n, x_n in enumerate(np.swapaxes(x, 0, 1).astype(np.int32)):
    encoder_x, operand = _encode(model, encoder_x, x_n)
    for index, layer in enumerate(model.layers):
      states[index], value = _element(layer, operand, states[index], config,
                                      add)
      operand = states[index].h
      for spikes in operand.spikes or ():
        counts[:, n, index] += np.abs(spikes).sum(axis=(0, -1))
    pool.add(value)
  rates = [np.nan if layer.sends == ANALOG else
           float(counts[..., index].mean()) / layer.num_units
           for index, layer in enumerate(model.layers)]  # yapf: disable
  return Result(pool.outputs(), counts, tuple(rates))


def _encode(model: IntegerModel, state: Ints, d: Ints) -> tuple[Ints, Operand]:
  """What the first layer sees of features [B, D]."""
  neuron, config = model.encoder.neuron, model.config
  if neuron is None:
    return state, Operand(d[None])
  steps = config.input_steps
  if isinstance(neuron, IntegerSigmaDelta):
    state, sent = sigma_delta(neuron, state, d, steps)
    return state, Operand(None, [s[None] for s in sent], runs_on=True)
  # Both have 12 bits.
  spikes = lif(neuron, np.broadcast_to(d, (steps, *d.shape)), True)
  if config.coupling == 'step' and not config.encoder_steps:
    return state, Operand(None, [spikes])
  return state, Operand(None, [s[None] for s in spikes])


def _drives(layer: IntegerLayer, w_sums: Ints, u_sums: Ints) -> dict[str, Ints]:
  """Of each gate, of 14 bits."""
  w, u = (np.split(sums, 4, axis=-1) for sums in (w_sums, u_sums))
  made = {}
  for k, (gate, b) in enumerate(zip('ifgo', np.split(layer.b, 4))):
    bits = layer.shifts[k]
    w_up, u_up = bits - layer.w_shift[k], bits - layer.u_shift[k]
    made[gate] = shift(b + (w[k] << w_up) + (u[k] << u_up), bits)
  return made


def _element(layer: IntegerLayer, operand: Operand, state: _LayerState,
             config: types.Config, add: AddRows) -> tuple[_LayerState, Ints]:
  """One element of a layer; also the h that is pooled.

  That is [slots, B, H]: numbers of spikes, or 14 bits where h is no spikes or a
  running sum of them.
  """
  w_sums = _product(operand, layer.w, state.w_sums, add)
  u_sums = _product(state.h, layer.u, state.u_sums, add)
  d = _drives(layer, w_sums, u_sums)
  num_steps = config.num_steps
  spikes: dict[str, Ints] = {}

  def site(name, drive):
    neuron = getattr(layer.neurons, name)
    if neuron is None:
      return squash(name, drive, config)
    drive = np.broadcast_to(drive, (num_steps, *drive.shape[1:]))
    signed = name in types.SIGNED_SITES
    spikes[name] = lif(neuron, shift(drive, FRACTION - MEMBRANE), signed)
    return spikes[name] * neuron.amplitude

  i, f, g, o = (site(k, d[k]) for k in 'ifgo')
  new = shift(i * g, FRACTION - layer.c_bits)  # of 14 + c_bits
  c = saturate(shift(f * state.c + new, FRACTION))
  phi = site('c', shift(c, layer.c_bits - FRACTION))
  x, shared = state.x, config.coupling == 'shared'
  h = shift(o * phi, FRACTION)
  if shared:
    c = _mean(c)
  if layer.sends == RUNNING:
    x, sent = sigma_delta(layer.neurons.h, x, h[-1], num_steps)
    h, out = x[None], Operand(None, [k[None] for k in sent], runs_on=True)
  elif layer.sends == SPIKES:
    if layer.neurons.h is not None:
      site('h', h)
    s = spikes['h'] if 'h' in spikes else spikes['o'] * spikes['c']
    out = Operand(None, [k[None] for k in s] if shared else [s])
    h = s.sum(0, keepdims=True) if shared else s
  else:
    h = _mean(h) if shared else h
    out = Operand(saturate(shift(h, FRACTION - 7), 127))
  return _LayerState(out, c, x, w_sums, u_sums), h


def _mean(q: Ints) -> Ints:
  """Over the first axis, which stays; to nearest with ties upwards."""
  return divide(q.sum(0, keepdims=True), len(q))


class _Pool:
  """Pools h over the elements, and reads it out."""

  def __init__(self, model: IntegerModel, length: int):
    self._model, self._length = model, length
    self._pooled: dict[str, Ints] = {}
    self._spikes = model.layers[-1].sends == SPIKES
    self._slots = 1 if self._spikes else model.config.slots

  def add(self, h: Ints) -> None:
    """Takes h [slots, B, H] of an element."""
    total = h.sum(0)
    for name in self._model.config.pooling:
      before = self._pooled.get(name)
      if before is None or name == 'last':
        self._pooled[name] = total
      else:
        merge = np.add if name == 'mean' else np.maximum
        self._pooled[name] = merge(before, total)

  def outputs(self) -> Ints:
    """Integers [B, K]; features have 10 bits if they count spikes, else 14."""
    found = []
    for name, total in self._pooled.items():
      total = total.astype(np.int64) << (FEATURE if self._spikes else 0)
      terms = self._slots * (self._length if name == 'mean' else 1)
      found.append(divide(total, terms))
    sums = np.concatenate(found, -1) @ self._model.readout_w.astype(np.int64)
    return sums.astype(np.int32) + self._model.readout_b
