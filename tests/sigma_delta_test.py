"""Tests of slstm.sigma_delta: the neuron, and networks of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import checkpoint
from slstm import model as model_lib
from slstm import neurons
from slstm.neurons import integrate_and_fire
from slstm.sigma_delta import sigma_delta
from slstm.sigma_delta import SigmaDelta
from slstm.types import Config, Encoder, Model, Readout, Sites
from tests import networks
from tests import oracle

D, H, K = networks.FEATURES, networks.HIDDEN, 2
N, B = 6, 3


def run(neuron, d, num_steps=1):
  """Outputs and spikes [N, T, ...] of a neuron for drives [N, ...]."""
  kind, fire = neurons.kind_of(neuron), neurons.firing(Config())

  def element(state, d_n):
    drives = jnp.broadcast_to(d_n, (num_steps, *d_n.shape))
    after, s = neurons.run(neuron, state, drives, signed=True, fire=fire)
    return after, (kind.output(neuron, state, s), s)

  d = jnp.asarray(d, jnp.float32)
  return jax.lax.scan(element, kind.initial(neuron, d.shape[1:]), d)[1]


def smooth_drive(step, length=60, seed=0):
  """A random walk [length, 5] that moves by less than `step` per element."""
  rng = np.random.default_rng(seed)
  return np.cumsum(rng.uniform(-step, step, (length, 5)), 0)


# --- The neuron ---------------------------------------------------------------


def test_by_hand():
  d = np.array([0.2, 0.5, 0.5, 0.9, -0.3, -0.3])[:, None]
  x, s = run(sigma_delta(0.5), d)
  # v: 0.2, 0.5, 0, 0.4, -1.3 (one spike is too few), -0.8
  np.testing.assert_array_equal(s.ravel(), [0, 1, 0, 1, -1, -1])
  np.testing.assert_array_equal(x.ravel(), [0, 0.5, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize('level', [None, 0.75])
@pytest.mark.parametrize('num_steps', [1, 3])
def test_agrees_with_the_oracle(level, num_steps):
  neuron = SigmaDelta(jnp.asarray(0.25), level and jnp.asarray(level))
  drives = np.round(smooth_drive(0.5) * 64) / 64
  x, s = run(neuron, drives, num_steps)
  kind, plain = oracle.KINDS['SigmaDelta'], oracle.cast(neuron, np.float32)
  state = kind.initial(plain, drives[0].astype(np.float32))
  for n, d in enumerate(drives.astype(np.float32)):
    for t in range(num_steps):
      state, spikes, output = kind.step(plain, state, d, True)
      np.testing.assert_array_equal(s[n, t], spikes)
      np.testing.assert_array_equal(x[n, t], output)
    # Charge balance: what was not sent is in the membrane.
    np.testing.assert_array_equal(d - x[n, -1], state[0])


@pytest.mark.parametrize('level', [0.5, 0.6, 0.9])
@pytest.mark.parametrize('num_steps', [1, 4])
def test_the_membrane_stays_below_the_fire_level(level, num_steps):
  theta = 0.1
  d = smooth_drive(theta * num_steps)
  x, _ = run(sigma_delta(theta, level), d, num_steps)
  assert np.all(np.abs(d - x[:, -1]) < level * theta + 1e-5)


def test_a_drive_that_is_too_fast_is_overload():
  d = np.ones((5, 1))
  x, s = run(sigma_delta(0.25), d)
  np.testing.assert_array_equal(s.ravel(), [1, 1, 1, 1, 0])
  np.testing.assert_array_equal(1 - x.ravel(), [0.75, 0.5, 0.25, 0, 0])
  x, s = run(sigma_delta(0.25), d, num_steps=4)  # not for four steps
  np.testing.assert_array_equal(x[:, -1].ravel(), np.ones(5))
  np.testing.assert_array_equal(s.sum((1, 2)), [4, 0, 0, 0, 0])


def test_nothing_is_sent_for_what_does_not_change():
  d = np.concatenate([[[0.3]], np.full((50, 1), 0.35)])
  assert np.sum(np.abs(run(sigma_delta(0.25), d)[1])) == 1


@pytest.mark.parametrize('level', [0.5, 0.8])
def test_gradients_follow_the_recursion(level):
  """In NumPy: dx <- dx + s dtheta + theta ds, one parameter at a time."""
  theta, rng = 0.3, np.random.default_rng(1)
  d, weight = rng.uniform(-1, 1, 9), rng.standard_normal(9)
  surrogate = lambda y: np.maximum(0.0, 1.0 - np.abs(y))  # of width 1

  def derivative(d_theta, d_level, d_d):
    """Of sum(weight x) in that direction."""
    x = dx = total = 0.0
    for n, d_n in enumerate(d):
      v, dv = d_n - x, d_d[n] - dx
      y = v / theta
      dy = (dv - y * d_theta) / theta
      s = float(y >= level) - float(y <= -level)
      ds = surrogate(y - level) * (dy - d_level) - surrogate(-y - level) * (
          -dy - d_level)
      x, dx = x + theta * s, dx + s * d_theta + theta * ds
      total += weight[n] * dx
    return total

  def loss(neuron, drives):
    return jnp.sum(weight * run(neuron, drives[:, None])[0][:, 0, 0])

  neuron = SigmaDelta(jnp.asarray(theta),
                      None if level == 0.5 else jnp.asarray(level))
  found, d_drive = jax.grad(loss, (0, 1))(neuron, jnp.asarray(d, jnp.float32))
  zeros = np.zeros(9)
  close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5)
  close(found.theta, derivative(1, 0, zeros))
  if level != 0.5:
    close(found.level, derivative(0, 1, zeros))
  close(d_drive, [derivative(0, 0, row) for row in np.eye(9)])


def test_inside_the_fire_levels_a_drive_passes_straight_through():
  gradient = jax.jacobian(
      lambda d: run(sigma_delta(0.5), d[:, None])[0].ravel())
  found = gradient(jnp.asarray([0.1, 0.2, 0.6]))  # v: 0.1, 0.2, 0.6
  np.testing.assert_allclose(np.diag(found)[:2], 1.0, rtol=1e-6)
  assert np.all(np.triu(found, 1) == 0)


@pytest.mark.parametrize('level', [None, 0.51, 0.75, 0.99])
def test_coordinates_of_the_optimiser(level):
  neuron = sigma_delta([0.1, 2.0], level)
  back = neurons.constrain(neurons.unconstrain(neuron))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), back,
               neuron)
  extreme = neurons.constrain(
      jax.tree.map(lambda leaf: leaf + 5 * jnp.asarray([-1, 1]),
                   neurons.unconstrain(neuron)))
  assert np.all(extreme.theta > 0)
  assert level is None or np.all((extreme.level > 0.5) & (extreme.level <= 1))


@pytest.mark.parametrize('theta, level, words', [
    (0.0, None, 'theta is .*expected numbers > 0'),
    ([0.5, np.inf], None, 'theta is'),
    (0.5, 0.4, 'level is .*expected numbers in'),
    (0.5, 1.0, 'level is'),
    ([0.5, 0.5], [0.5, 0.7], 'level is'),
])
def test_parameters_out_of_range_are_refused(theta, level, words):
  with pytest.raises(ValueError, match=words):
    sigma_delta(theta, level)


# --- Networks -----------------------------------------------------------------


def network(num_steps=1, at_input=True):
  """Two dyadic layers, every product with running sums."""
  rng = np.random.default_rng(4)
  first, second = networks.dyadic_layers(rng, ['', ''])
  theta = networks.choose(rng, (H,), (0.25, 0.5, 1.0))
  first = first._replace(neurons=Sites(h=SigmaDelta(theta, theta * 0 + 0.75)))
  second = second._replace(neurons=Sites(h=sigma_delta(0.5)))
  neuron = sigma_delta(0.5) if at_input else None
  return networks.dyadic_model(rng, (first, second),
                               neuron,
                               num_steps=num_steps,
                               coupling='shared' if num_steps > 1 else 'step')


def dyadic_x():
  return networks.dyadic_input(np.random.default_rng(1), B, N)


def keep(record):
  return record.output.h, record.spikes.h


@functools.partial(jax.jit, static_argnames='executor')
def apply(model, x, executor, state=None):
  return model_lib.apply(model, x, executor=executor, observe=keep, state=state)


@pytest.mark.parametrize('num_steps', [1, 2, 3])
def test_networks_agree_with_the_oracle_in_all_schedules(num_steps):
  model, x = network(num_steps), dyadic_x()
  expected = oracle.apply(model, x, np.float32)
  executors = dict(model_lib.executors_for(model))
  assert ('wavefront' in executors) == (num_steps == 1)
  del executors['lean']  # differs in its gradient only
  for executor in executors.values():
    found = apply(model, x, executor)
    np.testing.assert_array_equal(found.outputs, expected.outputs)
    for index, (h, spikes) in enumerate(found.observed):
      np.testing.assert_array_equal(h, expected.result.output[index]['h'])
      np.testing.assert_array_equal(spikes, expected.result.spikes[index]['h'])
      assert np.any(spikes != 0) and np.any(spikes == 0)


@pytest.mark.parametrize('num_steps', [1, 2])
def test_a_stream_in_pieces_has_the_same_spikes(num_steps):
  model, x = network(num_steps), dyadic_x()
  whole = apply(model, x, model_lib.EXECUTORS['stacked'])
  head = apply(model, x[:, :2], model_lib.EXECUTORS['stacked'])
  tail = apply(model, x[:, 2:], model_lib.EXECUTORS['stacked'], head.state)
  np.testing.assert_array_equal(tail.outputs, whole.outputs)
  pieces = np.concatenate([head.encoded.spikes, tail.encoded.spikes])
  np.testing.assert_array_equal(pieces, whole.encoded.spikes)
  for index, (_, spikes) in enumerate(whole.observed):
    pieces = [part.observed[index][1] for part in (head, tail)]
    np.testing.assert_array_equal(np.concatenate(pieces), spikes)


def test_small_theta_is_the_analog_network():
  rng = np.random.default_rng(3)
  layers = networks.gaussian_layers(rng, ['', ''])
  readout = Readout(jnp.asarray(rng.standard_normal((H, K))), jnp.zeros((K,)))
  analog = Model(Encoder(jnp.zeros(D), jnp.ones(D)), layers, readout,
                 Config(family='standard'))
  x = jnp.asarray(rng.standard_normal((B, 20, D)))
  expected = model_lib.apply(analog, x).outputs
  errors = []
  for theta in (2**-2, 2**-4, 2**-6):
    with_neurons = [
        layer._replace(neurons=Sites(h=sigma_delta(theta))) for layer in layers
    ]
    config = Config(family='standard',
                    num_steps=round(2 / theta),
                    coupling='shared')
    snn = Model(analog.encoder._replace(neuron=sigma_delta(4 * theta)),
                tuple(with_neurons), readout, config)
    errors.append(np.max(np.abs(model_lib.apply(snn, x).outputs - expected)))
  assert errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2


def test_gradients_of_all_schedules_agree():
  model, x = network(), dyadic_x()

  def gradient(executor):

    def loss(model):
      found = model_lib.apply(model, x, executor=executor)
      return jnp.sum(jnp.square(found.outputs))

    options = {'xla_backend_optimization_level': 0}
    return jax.jit(jax.grad(loss), compiler_options=options)(model)

  expected, *others = map(gradient, model_lib.executors_for(model).values())
  assert len(others) == 3
  for neuron in (expected.layers[0].neurons.h, expected.encoder.neuron):
    assert np.any(neuron.theta != 0)
  assert np.any(expected.layers[0].u.f != 0)
  for other in others:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=1e-5 * max(1, np.max(np.abs(a)))), expected,
        other)


def test_a_model_is_saved_and_loaded(tmp_path):
  model = network()
  checkpoint.save_model(tmp_path / 'model', model)
  loaded = checkpoint.load_model(tmp_path / 'model')
  assert jax.tree.structure(loaded) == jax.tree.structure(model)
  jax.tree.map(np.testing.assert_array_equal, loaded, model)


@pytest.mark.parametrize('sites, config, words', [
    (Sites(o=sigma_delta(0.5)), {}, 'a SigmaDelta at o. Its output is a '
     'running sum'),
    (Sites(c=integrate_and_fire(True), h=sigma_delta(0.5)), {},
     'neurons at c, h, of them a SigmaDelta at h'),
    (Sites(h=sigma_delta(0.5)), {
        'num_steps': 2
    }, "T = 2 steps from one state.*coupling 'shared'"),
])
def test_neurons_that_cannot_stand_there_are_refused(sites, config, words):
  model = network(at_input=False)
  first = model.layers[0]._replace(neurons=sites)
  model = model.replace(layers=(first,), config=Config(**config))
  with pytest.raises(ValueError, match=rf'layers\[0\].*{words}'):
    model_lib.apply(model, dyadic_x())


def test_binary_spikes_are_refused():
  with pytest.raises(ValueError, match='a SigmaDelta fires -1, 0 and 1'):
    neurons.staircase(sigma_delta(0.5),
                      jnp.zeros((2,)),
                      num_steps=1,
                      signed=False)
