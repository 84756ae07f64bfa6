"""Coverage: every leaf of one pytree has its match in another.

A parameter mapping that skips a leaf, broadcasts one, or carries a NaN along
goes wrong far from where it began. These checks compare leaves by name, such
as layers[0].u.f, and name the first one that does not fit.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_KINDS = {
    'bool': jnp.bool_,
    'integer': jnp.integer,
    'floating': jnp.floating,
    'complex': jnp.complexfloating,
}


def named_leaves(tree: Any) -> dict[str, Any]:
  """The leaves of a pytree under their names, in the order of the tree.

  Args:
    tree: any pytree; None is the absence of a leaf.

  Returns:
    A dict from a name such as 'layers[0].u.f' to the leaf.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
      jax.tree_util.keystr(path).removeprefix('.'): leaf
      for path, leaf in leaves
  }


def check_finite(tree: Any, what: str) -> None:
  """Raises ValueError, naming the leaf, where a value is NaN or infinite.

  Args:
    tree: pytree of concrete arrays.
    what: what the tree is, for the message, such as 'convert: params'.
  """
  for name, leaf in named_leaves(tree).items():
    bad = ~np.isfinite(np.asarray(leaf, _wide(leaf)))
    if bad.any():
      raise ValueError(
          f'{what}: {np.count_nonzero(bad)} of {bad.size} values of '
          f'{name or "the leaf"} are not finite, the first at index '
          f'{tuple(map(int, np.argwhere(bad)[0]))}; expected numbers. Did the '
          'training that made them diverge?')


def check_leaves(source: Any, template: Any, what: str) -> None:
  """Checks that a pytree has the leaves that a template has, and is finite.

  Args:
    source: pytree of concrete arrays.
    template: pytree of arrays or jax.ShapeDtypeStruct; its values are not read.
    what: what the source is, for the message, such as 'convert: params'.

  Raises:
    ValueError: naming the leaf, where the template has no such leaf, the source
      lacks one, their shapes or kinds of dtype (bool, integer, floating,
      complex) differ, or a value of the source is not finite.
  """
  given, expected = named_leaves(source), named_leaves(template)
  for name in given:
    if name not in expected:
      raise ValueError(f'{what}: leaf {name} is not expected. Was it made for '
                       'another structure (more layers, other neurons)?')
  for name, like in expected.items():
    if name not in given:
      raise ValueError(f'{what}: leaf {name} is missing. Was it made for '
                       'another structure (fewer layers, other neurons)?')
    leaf = given[name]
    if np.shape(leaf) != np.shape(like):
      raise ValueError(f'{what}: leaf {name} has shape {np.shape(leaf)}; '
                       f'expected {np.shape(like)}.')
    if _kind(leaf) != _kind(like):
      raise ValueError(f'{what}: leaf {name} is of {_kind(leaf)} dtype; '
                       f'expected {_kind(like)}.')
  check_finite(source, what)


def _kind(leaf: Any) -> str:
  """The kind of a leaf's dtype, a key of _KINDS."""
  dtype = jnp.result_type(leaf)
  for name, kind in _KINDS.items():
    if jnp.issubdtype(dtype, kind):
      return name
  return str(dtype)


def _wide(leaf: Any) -> Any:
  """A NumPy dtype that can hold a leaf, also one that NumPy has not."""
  return np.complex128 if _kind(leaf) == 'complex' else np.float64
