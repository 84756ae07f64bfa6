"""A network as StableHLO, by `jax.export`, to run without slstm.

What is exported is the function from raw input [B, N, D] to outputs [B, K],
with all parameters inside. Whoever loads it needs JAX alone:

  run = jax.export.deserialize(pathlib.Path('model.bin').read_bytes())
  outputs = run.call(x)

JAX keeps what it wrote readable for six months, see its documentation of
`jax.export`. For longer, keep the Model (`slstm.save_model`).
"""

from typing import Sequence

import jax
import jax.export
import jax.numpy as jnp

from slstm import borders
from slstm import model as model_lib
from slstm.types import Model


def export(model: Model,
           *,
           batch_size: int | None = None,
           length: int | None = None,
           platforms: Sequence[str] | None = None) -> jax.export.Exported:
  """Compiles a network to StableHLO.

  Args:
    model: an ANN or SNN. It is computed in the widest dtype of its leaves,
      which its input has to have.
    batch_size, length: B and N of the input; by default any.
    platforms: such as ('cpu', 'cuda'); by default the one that JAX uses here.

  Returns:
    What `serialize()` makes bytes of; `call(x)` gives outputs [B, K].

  Raises:
    ValueError: for a model of values out of range.

  Example:
    pathlib.Path('model.bin').write_bytes(slstm.export(model).serialize())
  """
  model_lib.check_model(model)
  borders.check_model(model, 'export: model')
  for name, size in (('batch_size', batch_size), ('length', length)):
    if size is not None and size < 1:
      raise ValueError(f'export: {name} is {size}; expected >= 1, or None.')
  b, n = (name if size is None else str(size)
          for name, size in (('b', batch_size), ('n', length)))
  shape = jax.export.symbolic_shape(f'{b}, {n}, {model.num_features}')
  x = jax.ShapeDtypeStruct(shape, jnp.result_type(*jax.tree.leaves(model)))
  run = jax.jit(lambda x: model_lib.apply(model, x).outputs)
  return jax.export.export(run, platforms=platforms)(x)
