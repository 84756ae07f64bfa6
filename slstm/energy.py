"""Energy ledgers: operation counts times the energy of an operation.

  ledger 1   products only: MAC and AC of the matrix products
  ledger 2   ledger 1 plus the element-wise work

All are in pJ per inference (one sequence), under a set of constants; report
every ledger together with the others. A `Ledger` maps the ledger's number to
its `Energy`, so that memory traffic can become number 3 beside these; ratios of
networks (`ratio`) have the same keys.

Source of the constants: Horowitz, "Computing's energy problem (and what we can
do about it)", ISSCC 2014, 45 nm, 0.9 V: 32-bit integer addition 0.1 pJ and
multiplication 3.1 pJ; 32-bit floating-point addition 0.9 pJ and multiplication
3.7 pJ. MAC is their sum, AC an addition. Ours: a comparison costs an addition.
"""

from typing import Any, NamedTuple

from slstm.counts import Counts
from slstm.counts import Elementwise
from slstm.counts import Product


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
  """Energy of an inference, in pJ.

  Attributes:
    total: the sum of all that follows.
    input: product with W of each layer.
    recurrent: product with U of each layer.
    readout: product of the read-out.
    elementwise: the encoder, each layer, the read-out; zeros in ledger 1.
  """
  total: float
  input: tuple[float, ...]
  recurrent: tuple[float, ...]
  readout: float
  elementwise: tuple[float, ...]


Ledger = dict[int, Energy]


def ledger(counts: Counts, constants: Constants = INT32) -> Ledger:
  """The ledgers of a network.

    E_1 = sum over products of (MAC e_mac + AC e_ac)
    E_2 = E_1 + multiplications e_mul + additions e_add + comparisons e_cmp

  In E_2 a clip is two comparisons. A sigmoid or tanh is one multiplication and
  one addition: a piecewise-linear table whose look-up is free, which is the
  least it can cost and favours the standard LSTM.

  Args:
    counts: what `counts.count_operations` returned.
    constants: `INT32`, `FP32` or others.

  Returns:
    {1: Energy, 2: Energy} in pJ per inference.

  Raises:
    ValueError: for a constant that is not a number >= 0.
  """
  for name, value in zip(constants._fields, constants):
    if not 0 <= value < float('inf'):
      raise ValueError(
          f'ledger: constants.{name} is {value!r}; expected pJ per '
          'operation, a finite number >= 0.')
  work = tuple(
      _elementwise(work, constants)
      for work in (counts.encoder.elementwise,
                   *(layer.elementwise for layer in counts.layers),
                   counts.readout.elementwise))
  products = Energy(
      total=0.0,
      input=tuple(_product(layer.input, constants) for layer in counts.layers),
      recurrent=tuple(
          _product(layer.recurrent, constants) for layer in counts.layers),
      readout=_product(counts.readout.product, constants),
      elementwise=(0.0,) * len(work))
  return {1: _sum_up(products), 2: _sum_up(products._replace(elementwise=work))}


def ratio(baseline: Ledger, network: Ledger) -> dict[int, float]:
  """Energy of a baseline over that of a network, for each ledger.

  Args:
    baseline: ledger of, for instance, the standard LSTM.
    network: ledger of the network to judge, under the same constants.

  Returns:
    How many times less energy the network takes, by ledger number.

  Raises:
    ValueError: for ledgers of other numbers, or a network that takes nothing.
  """
  if baseline.keys() != network.keys():
    raise ValueError(f'ratio: baseline has ledgers {sorted(baseline)}, network '
                     f'{sorted(network)}; expected the same.')
  for number, energy in network.items():
    if energy.total == 0:
      raise ValueError(f'ratio: network takes no energy in ledger {number}; '
                       'is it silent?')
  return {k: baseline[k].total / network[k].total for k in baseline}


def direct_encoding_cap(num_features: int,
                        hidden: int,
                        num_elements: int | None = None) -> float:
  """The ratio that one layer with direct encoding cannot exceed in ledger 1.

  An LSTM of one layer takes N D 4H MAC for W x and (N - 1) H 4H for U h (h
  before the first element is zero). An SNN of the same size takes the former
  all the same, and at best nothing for the latter. Without the read-out:

    E_LSTM / E_SNN <= (N D + (N - 1) H) / (N D) = 1 + (1 - 1/N) H / D
                   <  (D + H) / D

  which is the limit for long sequences, whatever the constants, T and the
  spike rate. A read-out of P pooled features a unit and K classes that costs
  the SNN nothing adds at most P K / (4 N D) to the former; the latter holds all
  the same while P K <= 4 H.

  Args:
    num_features: D, >= 1.
    hidden: H, >= 1.
    num_elements: N, >= 1, for the exact bound; None for the limit (D + H) / D.

  Returns:
    The cap, >= 1.

  Raises:
    ValueError: for a size below 1.
  """
  for name, size in (('num_features', num_features), ('hidden', hidden),
                     ('num_elements', num_elements)):
    if size is not None and size < 1:
      raise ValueError(f'direct_encoding_cap: {name} is {size!r}; expected an '
                       'int >= 1.')
  if num_elements is None:
    return (num_features + hidden) / num_features
  inputs = num_elements * num_features
  return (inputs + (num_elements - 1) * hidden) / inputs


def to_dict(tree: Any) -> Any:
  """Turns Counts, a Ledger or any named tuples into what JSON can hold.

  Named tuples and mappings become dicts with string keys, other tuples lists;
  numbers and None stay.
  """
  if hasattr(tree, '_asdict'):
    tree = tree._asdict()
  if isinstance(tree, dict):
    return {str(key): to_dict(value) for key, value in tree.items()}
  if isinstance(tree, (tuple, list)):
    return [to_dict(value) for value in tree]
  return tree


def _product(product: Product, constants: Constants) -> float:
  return product.mac * constants.mac + product.ac * constants.ac


def _elementwise(work: Elementwise, constants: Constants) -> float:
  multiply = work.multiply + work.smooth
  add = work.add + work.smooth
  compare = work.compare + 2 * work.clip
  return (multiply * constants.multiply + add * constants.add +
          compare * constants.compare)


def _sum_up(energy: Energy) -> Energy:
  return energy._replace(total=sum(energy.input) + sum(energy.recurrent) +
                         energy.readout + sum(energy.elementwise))
