"""Energy ledgers: operation counts times the energy of an operation.

  ledger 1   products only: MAC and AC of the matrix products
  ledger 2   ledger 1 plus the element-wise work

Both are in pJ per inference (one sequence); report them together.

Source of the constants: Horowitz, "Computing's energy problem (and what we can
do about it)", ISSCC 2014, 45 nm, 0.9 V: an addition takes 0.1 pJ (32-bit
integers) or 0.9 pJ (32-bit floating point), a multiplication 3.1 or 3.7 pJ. MAC
is their sum, AC an addition. Ours: a comparison costs an addition.
"""

from typing import Any, NamedTuple

from slstm import types
from slstm.operations import Counts
from slstm.types import Elementwise


class Constants(NamedTuple):
  """Energy of one operation in pJ, >= 0."""
  mac: float
  ac: float
  multiply: float
  add: float
  compare: float


INT32 = Constants(mac=3.2, ac=0.1, multiply=3.1, add=0.1, compare=0.1)
FP32 = Constants(mac=4.6, ac=0.9, multiply=3.7, add=0.9, compare=0.9)
CONSTANTS = {'int32': INT32, 'fp32': FP32}


class Energy(NamedTuple):
  """Energy of an inference and its parts, in pJ."""
  total: float
  input: tuple[float, ...]  # product with W of each layer
  recurrent: tuple[float, ...]  # product with U of each layer
  readout: float  # product of the read-out
  elementwise: tuple[float, ...]  # encoder, each layer, read-out; or zeros


Ledger = dict[int, Energy]


def ledger(counts: Counts, constants: Constants = INT32) -> Ledger:
  """The ledgers of a network, {1: Energy, 2: Energy} in pJ per inference.

    E_1 = sum over products of (MAC e_mac + AC e_ac)
    E_2 = E_1 + multiplications e_mul + additions e_add + comparisons e_cmp

  In E_2 a clip is two comparisons. A sigmoid or tanh is one multiplication and
  one addition: a piecewise-linear table whose look-up is free, which is the
  least it can cost and favours the standard LSTM.
  """
  for name, value in constants._asdict().items():
    if not 0 <= value < float('inf'):
      raise ValueError(f'ledger: constants.{name} is {value!r}; expected pJ '
                       'per operation, a finite number >= 0.')
  e, layers = constants, counts.layers
  product = lambda p: p.mac * e.mac + p.ac * e.ac

  def elementwise(work: Elementwise) -> float:
    return ((work.multiply + work.smooth) * e.multiply +
            (work.add + work.smooth) * e.add +
            (work.compare + 2 * work.clip) * e.compare)

  work: list[Any] = [counts.encoder, *layers, counts.readout]
  rest = tuple(elementwise(part.elementwise) for part in work)
  w = tuple(product(layer.input) for layer in layers)
  u = tuple(product(layer.recurrent) for layer in layers)
  readout = product(counts.readout.product)
  total, zeros = sum(w) + sum(u) + readout, (0.0,) * len(rest)
  first = Energy(total, w, u, readout, zeros)
  return {1: first, 2: Energy(total + sum(rest), w, u, readout, rest)}


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
