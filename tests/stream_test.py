"""Streaming: after every element, what `apply` gives on all so far."""

import dataclasses

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm
from tests import networks

B, N = 2, 4
POOLS = ('last', 'mean', 'max')


def network(kind, count, *, at_input, pooling=POOLS, seed=0, **config):
  """Layers of one kind: names of spiking sites, or 'sigma-delta'."""
  rng = np.random.default_rng(seed)
  neuron: object = networks.dyadic_neuron(rng, True, ())
  sites = '' if kind == 'sigma-delta' else kind
  layers = networks.dyadic_layers(rng, [sites] * count)
  if kind == 'sigma-delta':
    neuron = slstm.sigma_delta(0.5)
    layers = [layer._replace(neurons=slstm.Sites(h=neuron)) for layer in layers]
  model = networks.dyadic_model(rng, layers, neuron if at_input else None,
                                **config)
  w = networks.grid(rng, (len(pooling) * networks.HIDDEN, 2), 2, 0.5)
  return model.replace(readout=model.readout._replace(w=w),
                       config=dataclasses.replace(model.config,
                                                  pooling=tuple(pooling)))


def inputs(seed=0, length=N):
  return networks.dyadic_input(np.random.default_rng(seed), B, length)


def streamed(model, x):
  """(last state, outputs after every element [N, B, K])."""
  step, state = slstm.stream(model, batch_size=len(x))
  return jax.lax.scan(step, state, jnp.swapaxes(x, 0, 1))


# Examples are not made smaller, which would compile one program for each.
@hypothesis.settings(max_examples=6,
                     phases=(hypothesis.Phase.explicit,
                             hypothesis.Phase.generate))
@hypothesis.given(kind=st.sampled_from(['', 'oc', 'ifgoc', 'h', 'sigma-delta']),
                  count=st.integers(1, 3),
                  at_input=st.booleans(),
                  pooling=st.permutations(POOLS),
                  pools=st.integers(1, 3),
                  num_steps=st.integers(1, 2),
                  coupling=st.sampled_from(['step', 'shared']),
                  seed=st.integers(0, 99))
@hypothesis.example('oc', 2, True, POOLS, 3, 2, 'step', 0)
@hypothesis.example('sigma-delta', 2, True, POOLS, 3, 2, 'shared', 0)
def test_it_is_the_batch_result(kind, count, at_input, pooling, pools,
                                num_steps, coupling, seed):
  hypothesis.assume(kind != 'sigma-delta' or coupling == 'shared')
  model = network(kind, count, at_input=at_input, pooling=pooling[:pools],
                  seed=seed, num_steps=num_steps,
                  coupling=coupling)  # yapf: disable
  x = inputs(seed)
  state, outputs = streamed(model, x)
  expected = slstm.apply(model, x)
  # All sums are exact; the mean divides in another order.
  jax.tree.map(np.testing.assert_array_equal, state.network, expected.state)
  np.testing.assert_allclose(outputs[-1], expected.outputs, rtol=0, atol=1e-5)


@pytest.mark.parametrize('kind, at_input', [('', False), ('oc', True),
                                            ('sigma-delta', True)])
def test_after_every_element(kind, at_input):
  model, x = network(kind, 2, at_input=at_input), inputs()
  _, outputs = streamed(model, x)
  for n in range(N):
    expected = slstm.apply(model, x[:, :n + 1]).outputs
    np.testing.assert_allclose(outputs[n], expected, rtol=0, atol=1e-5)
  assert len({tuple(np.ravel(row)) for row in outputs}) == N  # none is a repeat


def test_a_long_stream_keeps_its_mean():
  """A sum in float32 would stand still at 2^24 times the mean."""
  model = network('', 1, at_input=False, pooling=('mean',))
  step, state = slstm.stream(model, batch_size=B)
  x = inputs(length=1)[:, 0]
  state, first = step(state, x)
  state = state._replace(elements=jnp.int32(2**26),
                         pooled=(jnp.full_like(state.pooled[0], 0.3),))
  (end, _) = jax.lax.scan(lambda state, _: (step(state, x)[0], None),
                          state,
                          length=100)
  assert int(end.elements) == 2**26 + 100
  np.testing.assert_allclose(end.pooled[0], 0.3, rtol=1e-5)
  assert np.isfinite(first).all()


def test_parameters_are_arguments_of_the_compiled_step():
  step, _ = slstm.stream(network('oc', 1, at_input=False))
  assert len(jax.tree.leaves(step)) == len(
      jax.tree.leaves(network('oc', 1, at_input=False)))


@pytest.mark.parametrize('x, message', [
    (np.zeros((B, 9)), r'x_n has shape \(2, 9\); expected \[B, D\] .* D = 3'),
    (np.zeros((B + 1, 3)), r'x_n has shape \(3, 3\); .* B = 2'),
    (np.zeros((B, 1, 3)), r'x_n has shape \(2, 1, 3\); .*one element'),
])
def test_an_element_of_another_shape(x, message):
  step, state = slstm.stream(network('', 1, at_input=False), batch_size=B)
  with pytest.raises(ValueError, match='stream: ' + message):
    step(state, x)


def test_no_sequences():
  with pytest.raises(ValueError, match='stream: batch_size is 0'):
    slstm.stream(network('', 1, at_input=False), batch_size=0)


@pytest.mark.parametrize('kind', ['', 'sigma-delta'])
def test_labels_come_with_their_element(kind):
  model = network(kind, 2, at_input=False, pooling=('each',))
  x = networks.dyadic_input(np.random.default_rng(1), 2, 5)
  expected = slstm.apply(model, x).outputs
  step, state = slstm.stream(model, batch_size=2)
  for n in range(5):
    state, outputs = step(state, x[:, n])
    np.testing.assert_allclose(outputs, expected[:, n], atol=1e-5)
