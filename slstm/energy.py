"""Energy ledgers: operation counts times the energy of an operation.

  ledger 1   products only: MAC and AC of the matrix products
  ledger 2   ledger 1 plus the element-wise work
  ledger 3   ledger 2 plus what is moved between registers and memory: weights,
             activations, states and running sums

All are in pJ per inference (one sequence); report them together. Weights lie in
the smallest SRAM that holds all of them, or in DRAM; everything else in the
smallest SRAM that holds the states and sums.

Source of the constants: Horowitz, "Computing's energy problem (and what we can
do about it)", ISSCC 2014, 45 nm, 0.9 V, in pJ. Additions: 0.03 (8-bit integer),
0.1 (32-bit integer), 0.9 (32-bit floating point); multiplications 0.2, 3.1 and
3.7; an access of 64 bits to SRAM of 8 KB 10, of 32 KB 20, of 1 MB 100, to DRAM
1300 to 2600. Ours: MAC is their sum, AC an addition, a comparison costs an
addition. In INT8 products of 8 bits are added in 32 bits, and the element-wise
work is done in 16 bits, at 0.8 for a multiplication (between 8 and 32 bits it
grows with the square) and 0.05 for an addition. DRAM is taken at 1300, which
favours whoever fetches more.
"""

import dataclasses
import json
import math
import pathlib
from typing import Any, NamedTuple

from slstm import types
from slstm.operations import Counts
from slstm.operations import Moved
from slstm.types import Elementwise


@dataclasses.dataclass(frozen=True)
class Constants:
  """Energy of one operation in pJ, and sizes of values in bytes.

  Attributes:
    mac, ac, multiply, add, compare: pJ of one, >= 0.
    weight, activation, state, accumulator: bytes of a value, > 0.
    sram: (bytes, pJ per 8 bytes) of each memory, from the smallest.
    dram: pJ per 8 bytes.
  """
  mac: float
  ac: float
  multiply: float
  add: float
  compare: float
  weight: float = 4
  activation: float = 4
  state: float = 4
  accumulator: float = 4
  sram: tuple[tuple[float, float], ...] = ((8192, 10), (32768, 20), (2**20, 100)
                                          )  # yapf: disable
  dram: float = 1300

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value, name = getattr(self, field.name), f'Constants.{field.name}'
      if field.name == 'sram':
        self._check_sram(value)
      elif (not _is_number(value) or value < 0 or
            value == 0 and field.name in _SIZES):
        raise ValueError(f'{name} is {value!r}; expected a finite number '
                         f'{"> 0" if field.name in _SIZES else ">= 0"}.')

  @staticmethod
  def _check_sram(sram: Any) -> None:
    good = isinstance(sram, tuple) and all(
        isinstance(row, tuple) and len(row) == 2 and all(
            _is_number(v) and v > 0 for v in row) for row in sram)
    if not good or list(sram) != sorted(sram):
      raise ValueError(f'Constants.sram is {sram!r}; expected (bytes, pJ per 8 '
                       'bytes) of each memory, positive and from the smallest.')

  def per_byte(self, size: float) -> float:
    """pJ to move a byte to or from the smallest memory of `size` bytes."""
    fits = [energy for bytes_, energy in self.sram if bytes_ >= size]
    return (fits[0] if fits else self.dram) / 8


_SIZES = ('weight', 'activation', 'state', 'accumulator')


def _is_number(value: Any) -> bool:
  return (isinstance(value, (int, float)) and not isinstance(value, bool) and
          math.isfinite(value))


INT8 = Constants(mac=0.3, ac=0.1, multiply=0.8, add=0.05, compare=0.05,
                 weight=1, activation=1, state=2, accumulator=4
                )  # yapf: disable
INT32 = Constants(mac=3.2, ac=0.1, multiply=3.1, add=0.1, compare=0.1)
FP32 = Constants(mac=4.6, ac=0.9, multiply=3.7, add=0.9, compare=0.9)
CONSTANTS = {'int8': INT8, 'int32': INT32, 'fp32': FP32}


def load_constants(path: str | pathlib.Path) -> Constants:
  """Reads a table of one's own: a JSON object of the fields of `Constants`.

  Raises:
    ValueError: naming the file and the field that is missing, not known or out
      of range.

  Example:
    {"mac": 0.3, "ac": 0.1, "multiply": 0.8, "add": 0.05, "compare": 0.05,
     "weight": 1, "sram": [[65536, 12]], "dram": 640}
  """
  try:
    fields = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))
    if not isinstance(fields, dict):
      raise ValueError('expected a JSON object')
    if 'sram' in fields:
      fields['sram'] = tuple(map(tuple, fields['sram']))
    return Constants(**fields)
  except (ValueError, TypeError) as error:
    raise ValueError(f'{path} is no table of constants: {error}') from error


class Energy(NamedTuple):
  """Energy of an inference and its parts, in pJ."""
  total: float
  input: tuple[float, ...]  # product with W of each layer
  recurrent: tuple[float, ...]  # product with U of each layer
  readout: float  # product of the read-out
  elementwise: tuple[float, ...]  # encoder, each layer, read-out; or zeros
  memory: tuple[float, ...]  # the same
  of_h: float  # what grows with the rows of h: products, and in 3 their weights


Ledger = dict[int, Energy]


def ledger(counts: Counts, constants: Constants = INT32) -> Ledger:
  """The ledgers of a network, {1: Energy, 2: .., 3: ..} in pJ per inference.

    E_1 = sum over products of (MAC e_mac + AC e_ac)
    E_2 = E_1 + multiplications e_mul + additions e_add + comparisons e_cmp
    E_3 = E_2 + sum over what is moved of (values bytes pJ per byte)

  In E_2 a clip is two comparisons. A sigmoid or tanh is one multiplication and
  one addition: a piecewise-linear table whose look-up is free, which is the
  least it can cost and favours the standard LSTM.
  """
  e, layers = constants, counts.layers
  product = lambda p: p.mac * e.mac + p.ac * e.ac
  stored = counts.stored
  of_weight = e.weight * e.per_byte(stored.weights * e.weight)
  of_rest = e.per_byte(stored.states * e.state +
                       stored.accumulators * e.accumulator)

  def elementwise(work: Elementwise) -> float:
    return ((work.multiply + work.smooth) * e.multiply +
            (work.add + work.smooth) * e.add +
            (work.compare + 2 * work.clip) * e.compare)

  def memory(moved: Moved) -> float:
    rest = (moved.activations * e.activation + moved.states * e.state +
            moved.accumulators * e.accumulator)
    weights = moved.input_weights + moved.recurrent_weights
    return weights * of_weight + rest * of_rest

  parts: list[Any] = [counts.encoder, *layers, counts.readout]
  work = tuple(elementwise(part.elementwise) for part in parts)
  moved = tuple(memory(part.moved) for part in parts)
  w = tuple(product(layer.input) for layer in layers)
  u = tuple(product(layer.recurrent) for layer in layers)
  readout = product(counts.readout.product)
  zeros = (0.0,) * len(parts)
  first = sum(w) + sum(u) + readout
  second = first + sum(work)
  products = sum(w[1:]) + sum(u)
  rows = sum(layer.moved.recurrent_weights for layer in layers)
  rows += sum(layer.moved.input_weights for layer in layers[1:])
  return {
      1: Energy(first, w, u, readout, zeros, zeros, products),
      2: Energy(second, w, u, readout, work, zeros, products),
      3: Energy(second + sum(moved), w, u, readout, work, moved,
                products + rows * of_weight)
  }  # yapf: disable


def break_even(counts: Counts,
               baseline: float,
               number: int,
               constants: Constants = INT32) -> float:
  """Rows of h per unit and element at which a ledger equals a baseline.

  The products with h, and the weights that these fetch, are taken to grow with
  the rows that are fetched; everything else stays.

    r = measured r * (baseline - what stays) / what grows

  Args:
    counts: of a network whose h is spikes.
    baseline: energy of another network in that ledger, pJ.
    number: 1, 2 or 3.

  Returns:
    The rate, below which the network takes less; < 0 if there is none.

  Raises:
    ValueError: if no row of h is fetched.
  """
  energy = ledger(counts, constants)[number]
  if not energy.of_h > 0:
    raise ValueError('break_even: no row of h is fetched; expected a network '
                     'whose h is not silent.')
  rates = [layer.rows_per_element for layer in counts.layers]
  stays = energy.total - energy.of_h
  return sum(rates) / len(rates) * (baseline - stays) / energy.of_h


def direct_encoding_cap(num_features: int,
                        hidden: int,
                        num_elements: int | None = None) -> float:
  """The ratio that one layer with direct encoding cannot exceed in ledger 1.

  LSTM and SNN take N D 4H MAC for W x, D being the features that are not 0; an
  LSTM takes (N - 1) H 4H more for U h, an SNN at best nothing. Whatever the
  constants, T and the spike rate,

    E_LSTM / E_SNN <= 1 + (1 - 1/N) H / D < (D + H) / D,

  but for a read-out: P pooled features per unit and K outputs can add P K /
  (4 N D), which stays below the right-hand side while P K <= 4 H.

  Args:
    num_features: D, >= 1.
    hidden: H, >= 1.
    num_elements: N, >= 1, for the exact bound; None for the limit (D + H) / D.
  """
  sizes = dict(num_features=num_features, hidden=hidden)
  if num_elements is not None:
    sizes['num_elements'] = num_elements
  for name, size in sizes.items():
    types.check_positive(f'direct_encoding_cap: {name}', size)
  share = 1 if num_elements is None else 1 - 1 / num_elements
  return 1 + share * hidden / num_features


def to_dict(tree: Any) -> Any:
  """Turns Counts, a Ledger or any named tuples into what JSON can hold."""
  tree = tree._asdict() if hasattr(tree, '_asdict') else tree
  if isinstance(tree, dict):
    return {str(key): to_dict(value) for key, value in tree.items()}
  if isinstance(tree, (tuple, list)):
    return [to_dict(value) for value in tree]
  return tree
