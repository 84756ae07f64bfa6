"""What may come in: checks of models and inputs by their values.

Shapes are checked where a function is traced. Values are known at the borders
only: where a model is made, loaded, saved, trained, measured or converted.
Within a compiled function NaN stays NaN, through encoder and neurons (`model`,
`neurons.spike`), so that it is seen in the outputs.
"""

from typing import Any
import weakref

import jax
import jax.numpy as jnp
import numpy as np

from slstm import neurons
from slstm.types import Encoder, Model

# Models that `check_once` has seen, as long as they live.
_checked: weakref.WeakValueDictionary[int,
                                      Model] = (weakref.WeakValueDictionary())

_OWN_LOOP = ('Did an optimiser of your own move it? Let it move slstm.'
             'unconstrain(model), see "An optimiser of your own" in '
             'WORKSPACE.md.')


def known(tree: Any) -> bool:
  """Whether a pytree has values, which it has not while it is traced."""
  tracer = lambda leaf: isinstance(leaf, jax.core.Tracer)
  return not any(map(tracer, jax.tree.leaves(tree)))


def named_leaves(tree: Any) -> dict[str, Any]:
  """The leaves of a pytree by name, such as 'layers[0].u.f', in its order."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  name = lambda path: jax.tree_util.keystr(path).removeprefix('.')
  return {name(path): leaf for path, leaf in leaves}


def check_finite(tree: Any, what: str) -> None:
  """Raises ValueError, naming the leaf, where a value is NaN or infinite."""
  for name, leaf in named_leaves(tree).items():
    wide = np.complex128 if jnp.iscomplexobj(leaf) else np.float64
    bad = ~np.isfinite(np.asarray(leaf, wide))
    if bad.any():
      raise ValueError(
          f'{what}: {np.count_nonzero(bad)} of {bad.size} values of '
          f'{name or "the leaf"} are not finite, the first at index '
          f'{_first(bad)}; expected numbers. Did the training that made them '
          'diverge?')


def check_leaves(source: Any, template: Any, what: str) -> None:
  """Checks that a pytree has the leaves that a template has, and is finite.

  `what` says what the source is, such as 'convert: model'. Values of the
  template are not read, so that its leaves may be jax.ShapeDtypeStruct.

  Raises:
    ValueError: naming the leaf, where only one of them has it, their shapes or
      kinds of dtype (bool, integer, ...) differ, or a value is not finite.
  """
  given, expected = named_leaves(source), named_leaves(template)
  for name in (*given, *expected):
    if name not in given or name not in expected:
      wrong = 'missing' if name in expected else 'not expected'
      raise ValueError(f'{what}: leaf {name} is {wrong}. Was it made for '
                       'another structure (number of layers, neurons)?')
    found, wanted = _form(given[name]), _form(expected[name])
    if found != wanted:
      raise ValueError(
          f'{what}: leaf {name} has shape {found} dtype; expected {wanted}.')
  check_finite(source, what)


def _form(leaf: Any) -> str:
  kinds = jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating
  dtype = jnp.result_type(leaf)
  kind = next(k.__name__ for k in kinds if jnp.issubdtype(dtype, k))
  return f'{np.shape(leaf)} and {kind}'


def check_model(model: Model, what: str) -> None:
  """Raises ValueError, naming the leaf, where a value is out of range.

  All are finite, std > 0, and neurons are what `neurons.constrain` can make:
  the limits of a parameter are what that makes of -inf and inf.
  """
  check_finite(model := jax.device_get(model), what)
  check_encoder(model.encoder, what)
  _check_all_neurons(model, what)


def check_once(model: Model, what: str) -> None:
  """Checks the neurons of a model that was not checked before.

  It is for functions that are called often, or traced: then nothing is done.
  """
  neurons_of = [
      model.encoder.neuron, *(layer.neurons for layer in model.layers)
  ]
  if _checked.get(id(model)) is model or not known(neurons_of):
    return
  with jax.ensure_compile_time_eval():
    _check_all_neurons(model, what)
  _checked[id(model)] = model


def _check_all_neurons(model: Model, what: str) -> None:
  check_neurons(model.encoder.neuron, f'{what}: encoder.neuron')
  for index, layer in enumerate(model.layers):
    for site, neuron in layer.neurons._asdict().items():
      check_neurons(neuron, f'{what}: layers[{index}].neurons.{site}')


def check_encoder(encoder: Encoder, what: str) -> None:
  """Raises ValueError unless the mean is finite and the std is and > 0."""
  check_finite(encoder._replace(neuron=None), f'{what}: encoder')
  std = np.asarray(encoder.std)
  if not (std > 0).all():
    raise ValueError(f'{what}: encoder.std is {std[std <= 0][0]:g} at index '
                     f'{_first(std <= 0)}; expected numbers > 0. '
                     'slstm.standardising makes an encoder of training data; '
                     'a feature that never changes has std 1.')


def check_neurons(neuron: Any, what: str) -> None:
  """Raises ValueError, naming the parameter, where one is out of range."""
  if neuron is None:
    return
  ends = (jax.tree.map(lambda _, end=end: jnp.float32(end), neuron)
          for end in (-jnp.inf, jnp.inf))
  lows, highs = map(neurons.constrain, ends)
  for name, leaf in neuron._asdict().items():
    if leaf is None:
      continue
    value, low, high = (np.asarray(getattr(of, name), np.float64)
                        for of in (neuron, lows, highs))
    bad = ~np.isfinite(value) | (value < low) | (value > high)
    # Both ends of an interval are reached by rounding, that of a ray is not.
    if np.isinf(high):
      bad |= value == low
    if bad.any():
      expected = f'> {low:g}' if np.isinf(high) else f'in {low:g}..{high:g}'
      raise ValueError(f'{what}.{name} is {value[bad][0]:g} at index '
                       f'{_first(bad)}; expected numbers {expected}. '
                       f'{_OWN_LOOP}')


def check_inputs(x: Any, what: str) -> None:
  """Raises ValueError, naming the example, unless x is real and finite.

  So it has to be as what JAX makes of it, such as float32 of float64.
  """
  array = np.asarray(x)
  kinds = jnp.floating, jnp.integer, jnp.bool_
  if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
    raise ValueError(f'{what} has dtype {array.dtype}; expected real numbers. '
                     'Of complex ones give real and imaginary part, or '
                     'magnitude and phase, as two features.')
  dtype = jax.dtypes.canonicalize_dtype(array.dtype)
  with np.errstate(over='ignore'):
    found = array.astype(dtype, copy=False)
  floating = jnp.issubdtype(dtype, jnp.floating)
  good = np.isfinite(found) if floating else found == array
  if not good.all():
    rows = np.flatnonzero(~good.reshape(len(array), -1).all(1))
    wrong = 'not finite' if floating else 'out of range'
    raise ValueError(
        f'{what} of {rows.size} examples is {wrong}, the first at index '
        f'{rows[0]} (as {dtype}). Drop or repair those examples.')


def _first(bad: np.ndarray) -> tuple[int, ...]:
  return tuple(map(int, np.argwhere(bad)[0]))
