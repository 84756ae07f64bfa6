"""Neurons whose state lives for the whole sequence, at sites and at the input.

The neuron here never resets its membrane between elements, and its output is a
fading sum of its spikes, so that what the next product sees depends on the
state, too:

  u = v + d,  s = fire(u),  v <- u - v_th s,  y <- y / 2 + s,  output gain y
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import model as model_lib
from slstm import neurons
from slstm import types
from tests import networks
from tests import oracle

H = networks.HIDDEN
SEED = 2
N, B = 4, 2
# Sites of the first layer, and whether there is one at the input.
PLACES = [('o', False), ('c', False), ('h', False), ('', True), ('och', True)]
EVERYWHERE = PLACES[-1]


class Fading(NamedTuple):
  """Parameters: a threshold and a gain, each [] or [H]."""
  v_th: Any
  gain: Any


def _initial(neuron, shape):
  zeros = jnp.zeros(shape, neuron.v_th.dtype)
  return {'v': zeros, 'y': zeros}


def _step(neuron, state, d, *, signed, fire):
  v_th = neurons.align(neuron.v_th, d)
  u = state['v'] + d
  s = fire(u - v_th, v_th)
  if signed:
    s = s - fire(-u - v_th, v_th)
  return {'v': u - v_th * s, 'y': state['y'] / 2 + s}, s


def _output(neuron, state, spikes):
  outputs, y = [], state['y']
  for s in spikes:
    y = y / 2 + s
    outputs.append(y)
  return neurons.align(neuron.gain, spikes) * jnp.stack(outputs)


def _oracle_step(neuron, state, d, ternary):
  v, y = state
  u = v + d
  s = np.where(u >= neuron.v_th, 1, 0)
  if ternary:
    s = s - np.where(-u >= neuron.v_th, 1, 0)
  s = s.astype(u.dtype)
  y = y / 2 + s
  return (u - neuron.v_th * s, y), s, neuron.gain * y


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
  monkeypatch.setattr(neurons, 'KINDS', dict(neurons.KINDS))
  monkeypatch.setattr(oracle, 'KINDS', dict(oracle.KINDS))
  neurons.register(
      Fading,
      neurons.Kind(initial=_initial,
                   step=_step,
                   output=_output,
                   constrain=lambda raw: raw,
                   unconstrain=lambda neuron: neuron,
                   work=lambda neuron, signed, num_steps:
                   (types.Elementwise(), types.Elementwise()),
                   carried=True))
  oracle.KINDS['Fading'] = oracle.Kind(
      initial=lambda neuron, like: (np.zeros_like(like), np.zeros_like(like)),
      step=_oracle_step,
      carried=True)


def network(sites, at_input, num_steps=1, coupling='step'):
  """Two dyadic layers with carried neurons and LIF at {o, c}."""
  rng = np.random.default_rng(SEED)
  first, second = networks.dyadic_layers(rng, ['oc', 'oc'])
  added = {
      site:
          Fading(networks.choose(rng, (H,), (0.5, 0.75, 1.0)),
                 networks.choose(rng, (H,), (0.5, 1.0))) for site in sites
  }
  first = first._replace(neurons=first.neurons._replace(**added))
  neuron = Fading(jnp.asarray(0.5), jnp.asarray(0.5)) if at_input else None
  return networks.dyadic_model(rng, (first, second),
                               neuron,
                               num_steps=num_steps,
                               coupling=coupling)


def dyadic_x():
  return networks.dyadic_input(np.random.default_rng(1), B, N)


def keep(record):
  return record.output, record.spikes, record.state.c


@functools.partial(jax.jit, static_argnames='executor')
def apply(model, x, executor, state=None):
  return model_lib.apply(model, x, executor=executor, observe=keep, state=state)


def check_against_oracle(model, names):
  """Every output and spike of every layer is the oracle's, bit for bit."""
  x = dyadic_x()
  expected = oracle.apply(model, x, np.float32)
  exact = oracle.apply(model, x, np.float64)
  np.testing.assert_array_equal(expected.outputs, exact.outputs)  # no rounding
  for name in names:
    found = apply(model, x, model_lib.EXECUTORS[name])
    np.testing.assert_array_equal(found.outputs, expected.outputs)
    for index, (output, spikes, c) in enumerate(found.observed):
      np.testing.assert_array_equal(c, expected.result.all_c[index])
      for part, sites in ((expected.result.output, output),
                          (expected.result.spikes, spikes)):
        for site, values in part[index].items():
          np.testing.assert_array_equal(getattr(sites, site), values)
  return expected


@pytest.mark.parametrize('place',
                         PLACES,
                         ids=['o', 'c', 'h', 'input', 'everywhere'])
def test_two_steps_agree_with_the_oracle(place, monkeypatch):
  model = network(*place, num_steps=2)
  expected = check_against_oracle(model, ('sequential', 'stacked'))
  # The case shows that a state lives on: starting anew gives other outputs.
  monkeypatch.setattr(oracle.KINDS['Fading'], 'carried', False)
  anew = oracle.apply(model, dyadic_x(), np.float32)
  assert np.any(anew.outputs != expected.outputs)


def test_one_step_agrees_with_the_oracle_in_all_schedules():
  check_against_oracle(network(*EVERYWHERE), model_lib.FORWARD)


def test_a_state_shared_by_the_steps_agrees_with_the_oracle():
  model = network(*EVERYWHERE, num_steps=2, coupling='shared')
  check_against_oracle(model, ('sequential', 'stacked'))


@pytest.mark.parametrize('name, num_steps', [('sequential', 2), ('stacked', 2),
                                             ('wavefront', 1)])
def test_a_sequence_in_pieces_is_the_whole_sequence(name, num_steps):
  model, x = network(*EVERYWHERE, num_steps=num_steps), dyadic_x()
  executor = model_lib.EXECUTORS[name]
  head = apply(model, x[:, :2], executor)
  assert set(head.state.encoder) == {'v', 'y'}
  assert head.state.layers[0].neurons.present == ('o', 'c', 'h')
  assert head.state.layers[1].neurons.present == ()  # LIF starts anew
  tail = apply(model, x[:, 2:], executor, head.state)
  expected = oracle.apply(model, x, np.float32)
  np.testing.assert_array_equal(tail.outputs, expected.outputs)
  for index, c in enumerate(expected.result.all_c):
    pieces = [part.observed[index][2] for part in (head, tail)]
    np.testing.assert_array_equal(np.concatenate(pieces), c)
  forgotten = head.state._replace(encoder=None)
  with pytest.raises(ValueError, match='apply: state.encoder.*another model'):
    model_lib.apply(model, x, executor=executor, state=forgotten)


@pytest.mark.parametrize('num_steps', [1, 2])
def test_gradients_of_all_schedules_agree(num_steps):
  model, x = network(*EVERYWHERE, num_steps=num_steps), dyadic_x()
  model = model.replace(layers=model.layers[:1])  # for a quick compilation

  def gradient(executor):

    def loss(model):
      found = model_lib.apply(model, x, executor=executor)
      return jnp.sum(jnp.square(found.outputs)) + jnp.sum(
          found.state.layers[0].neurons.c['v'])

    options = {'xla_backend_optimization_level': 0}
    return jax.jit(jax.grad(loss), compiler_options=options)(model)

  expected, *others = map(gradient, model_lib.executors_for(model).values())
  assert len(others) == (3 if num_steps == 1 else 2)
  for neuron in (*expected.layers[0].neurons, expected.encoder.neuron):
    for leaf in neuron or ():
      assert np.all(np.isfinite(leaf)) and np.any(leaf != 0)
  for other in others:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=1e-5 * max(1, np.max(np.abs(a)))), expected,
        other)


def test_wavefront_refuses_several_steps_and_says_why():
  model = network('c', False, num_steps=2)
  assert set(
      model_lib.executors_for(model)) == {'sequential', 'stacked', 'lean'}
  with pytest.raises(ValueError,
                     match='wavefront: the state of a neuron goes from the '
                     'last step .*`stacked`'):
    model_lib.apply(model,
                    dyadic_x(),
                    executor=model_lib.EXECUTORS['wavefront'])
  # At the input it does not matter: that neuron runs before the layers.
  assert 'wavefront' in model_lib.executors_for(network('', True, num_steps=2))
