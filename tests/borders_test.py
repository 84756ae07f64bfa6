"""What the borders refuse, by leaf, parameter or example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import borders
from slstm import neurons
from tests import checkpoint_test


def _with_leaf(model, leaf):
  """A model with layers[1].u.f replaced."""
  first, second = model.layers
  second = second._replace(u=second.u._replace(f=leaf))
  return model.replace(layers=(first, second))


def test_names_are_paths():
  names = borders.named_leaves(checkpoint_test.ann((3, 2)))
  assert len(names) == 2 + 2 * 12 + 2
  assert names['layers[1].u.f'].shape == (2, 2)
  assert list(borders.named_leaves({'a': [1.0, None]})) == ["['a'][0]"]


def test_accepts_equal_structures_whatever_the_values_and_widths():
  model = checkpoint_test.ann()
  abstract = jax.eval_shape(lambda: model)
  borders.check_leaves(model, abstract, 'p')
  wide = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), model)
  borders.check_leaves(wide, model, 'p')
  narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model)
  borders.check_leaves(narrow, model, 'p')


@pytest.mark.parametrize('leaf, message', [
    (None, 'is missing'),
    (np.zeros((2, 3)), r'has shape \(2, 3\) .*; expected \(2, 2\)'),
    (np.zeros((1, 2)), r'has shape \(1, 2\)'),
    (np.zeros((4,)), r'has shape \(4,\)'),
    (np.zeros(
        (2, 2), int), r'has shape \(2, 2\) and integer dtype; .* floating'),
    (np.zeros((2, 2), bool), '.* and bool dtype'),
    (np.zeros((2, 2), complex), '.* and complexfloating dtype'),
    (np.array([[0, 1], [np.nan, 2]]), r'are not finite, .* index \(1, 0\)'),
])
def test_names_the_leaf_that_does_not_fit(leaf, message):
  model = checkpoint_test.ann((3, 2))
  with pytest.raises(ValueError, match=r'^p: .*layers\[1\]\.u\.f ' + message):
    borders.check_leaves(_with_leaf(model, leaf), model, 'p')


def test_names_a_leaf_that_the_template_lacks():
  with pytest.raises(ValueError, match=r'p: leaf layers\[1\]\.w\.i is not exp'):
    borders.check_leaves(checkpoint_test.ann(), checkpoint_test.ann((4,)), 'p')
  with pytest.raises(ValueError, match=r'layers\[0\]\.neurons\.o\.v_th is not'):
    borders.check_leaves(checkpoint_test.snn(), checkpoint_test.ann(), 'p')
  with pytest.raises(ValueError, match=r'layers\[0\]\.neurons\.o\.v_th is mis'):
    borders.check_leaves(checkpoint_test.ann(), checkpoint_test.snn(), 'p')


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('dtype', [np.float32, jnp.bfloat16, np.complex64])
def test_not_finite(bad, dtype):
  with pytest.raises(ValueError, match=r"w: 1 of 2 values of \['a'\] are not"):
    borders.check_finite({'a': jnp.asarray([0.0, bad], dtype)}, 'w')
  fine = {'a': jnp.asarray([0.0, 1e30], dtype), 'b': None}
  borders.check_finite(fine, 'w')


def test_a_bare_array_is_a_leaf():
  borders.check_leaves(np.zeros(2), np.ones(2), 'w')
  with pytest.raises(ValueError, match='w: 1 of 2 values of the leaf are not'):
    borders.check_finite(np.array([0, np.inf]), 'w')


@pytest.mark.parametrize('leak, v_th, message', [
    (0.5, 0.0, r'n.v_th is 0 at index \(1,\); expected numbers > 0'),
    (0.5, np.float32(3e38), None),
    (1.5, 1.0, r'n.leak is 1.5 at index \(1,\); expected numbers in 0..1'),
    (1.0, 1.0, None),
], ids=['no threshold', 'a high one', 'growth', 'a leak that was rounded']
                        )  # yapf: disable
def test_parameters_of_neurons_have_a_range(leak, v_th, message):
  pair = lambda value: jnp.asarray([0.5, value], jnp.float32)
  neuron = neurons.LIF(pair(v_th), pair(-7.0), pair(-7.0), pair(leak))
  if message is None:
    borders.check_neurons(neuron, 'n')
  else:
    with pytest.raises(ValueError, match=message):
      borders.check_neurons(neuron, 'n')


def test_integers_and_truth_values_are_inputs():
  for x in (np.arange(4), np.arange(4) > 1, jnp.arange(4, dtype=jnp.uint8)):
    borders.check_inputs(x.reshape(2, 2), 'x')
