"""What the coverage check accepts, and which leaf it names when it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import coverage
from slstm import model
from slstm import types
from slstm.neurons import integrate_and_fire


def _params(hidden=(3, 2)):
  return model.init(jax.random.key(0), 4, hidden, 2, types.Config())


def _with_leaf(params, leaf):
  """params with layers[1].u.f replaced."""
  layer = params.layers[1]
  return params._replace(layers=(params.layers[0],
                                 layer._replace(u=layer.u._replace(f=leaf))))


def test_names_are_paths():
  names = coverage.named_leaves(_params())
  assert len(names) == 2 + 2 * 12 + 2
  assert names['layers[1].u.f'].shape == (2, 2)
  assert list(coverage.named_leaves({'a': [1.0, None]})) == ["['a'][0]"]


def test_accepts_equal_structures_whatever_the_values_and_widths():
  params = _params()
  abstract = jax.eval_shape(lambda: params)
  coverage.check_leaves(params, abstract, 'p')
  wide = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), params)
  coverage.check_leaves(wide, params, 'p')
  narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
  coverage.check_leaves(narrow, params, 'p')


@pytest.mark.parametrize('leaf, message', [
    (None, 'is missing'),
    (np.zeros((2, 3)), r'has shape \(2, 3\); expected \(2, 2\)'),
    (np.zeros((1, 2)), r'has shape \(1, 2\)'),
    (np.zeros((4,)), r'has shape \(4,\)'),
    (np.zeros((2, 2), int), 'is of integer dtype; expected floating'),
    (np.zeros((2, 2), bool), 'is of bool dtype'),
    (np.zeros((2, 2), complex), 'is of complex dtype'),
    (np.array([[0, 1], [np.nan, 2]]), r'are not finite, .* index \(1, 0\)'),
])
def test_names_the_leaf_that_does_not_fit(leaf, message):
  params = _params()
  with pytest.raises(ValueError, match=r'^p: .*layers\[1\]\.u\.f ' + message):
    coverage.check_leaves(_with_leaf(params, leaf), params, 'p')


def test_names_a_leaf_that_the_template_lacks():
  params = _params()
  with pytest.raises(ValueError, match=r'p: leaf layers\[1\]\.w\.i is not exp'):
    coverage.check_leaves(params, _params((3,)), 'p')
  neurons = types.Sites(o=integrate_and_fire(False))
  spiking = params._replace(layers=(params.layers[0]._replace(neurons=neurons),
                                    params.layers[1]))
  with pytest.raises(ValueError, match=r'layers\[0\]\.neurons\.o\.v_th is not'):
    coverage.check_leaves(spiking, params, 'p')
  with pytest.raises(ValueError, match=r'layers\[0\]\.neurons\.o\.v_th is mis'):
    coverage.check_leaves(params, spiking, 'p')


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('dtype', [np.float32, jnp.bfloat16, np.complex64])
def test_not_finite(bad, dtype):
  with pytest.raises(ValueError, match=r"w: 1 of 2 values of \['a'\] are not"):
    coverage.check_finite({'a': jnp.asarray([0.0, bad], dtype)}, 'w')
  coverage.check_finite({'a': jnp.asarray([0.0, 1e30], dtype), 'b': None}, 'w')


def test_a_bare_array_is_a_leaf():
  coverage.check_leaves(np.zeros(2), np.ones(2), 'w')
  with pytest.raises(ValueError, match='w: 1 of 2 values of the leaf are not'):
    coverage.check_finite(np.array([0, np.inf]), 'w')
