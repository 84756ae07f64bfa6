"""Tests of slstm.neurons: one LIF step, its invariants and its staircase."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import neurons
from slstm.types import Neuron
from tests import networks
from tests import oracle
from tests import surrogate_test

kinds = pytest.mark.parametrize('signed', [False, True],
                                ids=['binary', 'ternary'])
seeds = st.integers(0, 1000)


def run(neuron, drives, signed):
  """Final membrane and spikes [T, ..] under drives [T, ..]."""
  v = neurons.initial_membrane(neuron, drives.shape[1:])
  spikes = []
  for d in drives:
    v, s = neurons.step(neuron, v, d, signed)
    spikes.append(s)
  return v, jnp.stack(spikes)


def scalar(v_th=1.0, v_0=0.0, amplitude=1.0, leak=None):
  """A neuron with one value for a whole layer."""
  leaf = lambda x: None if x is None else jnp.asarray(x)
  return Neuron(*map(leaf, (v_th, v_0, amplitude, leak)))


# --- One step -----------------------------------------------------------------


@pytest.mark.parametrize('v_th', [0.75, 1.0])
def test_fires_at_equality_and_resets_in_the_same_step(v_th):
  neuron = scalar(v_th)
  for signed, level in ((False, v_th), (True, v_th / 2)):
    level = np.float32(level)
    below = np.nextafter(level, np.float32(0))
    d = jnp.asarray([level, below, -level, -below])
    expected = np.asarray([1, 0, -1 if signed else 0, 0], np.float32)
    v, s = neurons.step(neuron, jnp.zeros(4), d, signed)
    np.testing.assert_array_equal(s, expected)
    np.testing.assert_array_equal(v, d - np.float32(v_th) * expected)


@kinds
def test_a_large_drive_fires_once_and_leaves_the_rest(signed):
  v, s = neurons.step(scalar(), jnp.zeros(2), jnp.asarray([3.5, -3.5]), signed)
  np.testing.assert_array_equal(s, [1, -1 if signed else 0])
  np.testing.assert_array_equal(v, [2.5, -2.5 if signed else -3.5])


@kinds
@pytest.mark.parametrize('shape', [(), (networks.HIDDEN,)],
                         ids=['a layer', 'a unit'])
@given(seed=seeds)
def test_steps_agree_with_the_oracle(signed, shape, seed):
  rng = np.random.default_rng(seed)
  neuron = networks.dyadic_neuron(rng, signed, shape)
  drives = networks.grid(rng, (9, 2, networks.HIDDEN), 12, 0.125)
  v, spikes = run(neuron, drives, signed)
  reference = oracle.cast(neuron, np.float32)
  expected = np.zeros((2, networks.HIDDEN), np.float32) + reference.v_0
  for d, s in zip(np.asarray(drives), spikes):
    expected, expected_s = oracle.lif_step(reference, expected, d, signed)
    np.testing.assert_array_equal(s, expected_s)
  np.testing.assert_array_equal(v, expected)
  np.testing.assert_array_equal(neurons.spike_train(neuron, drives, signed),
                                spikes)
  assert set(np.unique(spikes)) <= ({-1.0, 0.0, 1.0} if signed else {0.0, 1.0})


@kinds
@given(seed=seeds)
def test_charge_balance(signed, seed):
  """v_T - leak^T v_0 = sum over t of leak^(T-t) (d_t - v_th s_t)."""
  rng = np.random.default_rng(seed)
  num_steps = 5
  drives = networks.grid(rng, (num_steps, networks.HIDDEN), 12, 0.125)
  lif = networks.dyadic_neuron(rng, signed, (networks.HIDDEN,))
  for neuron in (lif, lif._replace(leak=None)):
    v, spikes = run(neuron, drives, signed)
    leak = 1.0 if neuron.leak is None else np.asarray(neuron.leak)
    weights = np.stack([
        leak**(num_steps - 1 - t) * np.ones(networks.HIDDEN)
        for t in range(num_steps)
    ])
    charge = weights * (drives - np.asarray(neuron.v_th) * np.asarray(spikes))
    np.testing.assert_array_equal(v - leak**num_steps * neuron.v_0,
                                  charge.sum(axis=0))


@kinds
def test_no_leak_is_a_leak_of_one(signed):
  rng = np.random.default_rng(0)
  drives = networks.grid(rng, (6, networks.HIDDEN), 12, 0.125)
  none = run(scalar(0.75, 0.25), drives, signed)
  one = run(scalar(0.75, 0.25, leak=1.0), drives, signed)
  jax.tree.map(np.testing.assert_array_equal, none, one)
  near = run(scalar(0.75, 0.25, leak=1 - 1e-6), drives + 1e-4, signed)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), none,
               near)


@kinds
def test_the_leak_forgets(signed):
  v, _ = neurons.step(scalar(leak=0.5), jnp.asarray([0.25]), jnp.zeros(1),
                      signed)
  np.testing.assert_array_equal(v, [0.125])


# --- The staircase ------------------------------------------------------------


@kinds
@pytest.mark.parametrize('num_steps', [1, 2, 7])
def test_staircase_agrees_with_the_oracle(signed, num_steps):
  rng = np.random.default_rng(0)
  d = networks.grid(rng, (50, networks.HIDDEN), 64, 1 / 32)
  neuron = networks.dyadic_neuron(rng, signed, (networks.HIDDEN,))
  expected = oracle.staircase(oracle.cast(neuron, np.float32), np.asarray(d),
                              num_steps, signed)
  for f in (neurons.staircase, jax.jit(neurons.staircase,
                                       static_argnums=(2, 3))):
    np.testing.assert_allclose(f(neuron, d, num_steps, signed),
                               expected,
                               rtol=1e-6)


@pytest.mark.parametrize('num_steps', [1, 3, 8])
@pytest.mark.parametrize('v_0', [0.0, 0.25, 0.5])
def test_staircase_of_a_binary_if(v_0, num_steps):
  """The count is clip(floor((T d + v_0) / v_th), 0, T)."""
  d = jnp.arange(-64, 129) / 64
  count = num_steps * neurons.staircase(scalar(0.75, v_0), d, num_steps, False)
  expected = np.clip(np.floor((num_steps * np.asarray(d) + v_0) / 0.75), 0,
                     num_steps)
  np.testing.assert_allclose(count, expected, rtol=1e-6)


@pytest.mark.parametrize('num_steps', [1, 3, 8])
def test_staircase_of_a_ternary_if(num_steps):
  """The count is T d / v_th, rounded away from 0 at ties, within -T .. T."""
  d = np.arange(-128, 129) / 64
  count = num_steps * neurons.staircase(scalar(0.75), jnp.asarray(
      d, jnp.float32), num_steps, True)
  expected = np.sign(d) * np.floor(num_steps * np.abs(d) / 0.75 + 0.5)
  np.testing.assert_allclose(count,
                             np.clip(expected, -num_steps, num_steps),
                             rtol=1e-6)


@pytest.mark.parametrize('leak', [0.5, 0.9])
@pytest.mark.parametrize('num_steps', [1, 2, 5])
def test_first_spike_of_a_lif(leak, num_steps):
  """It comes within T steps from d = v_th (1 - leak) / (1 - leak^T) on."""
  first = 0.75 * (1 - leak) / (1 - leak**num_steps)
  d = jnp.asarray([first * (1 - 1e-5), first * (1 + 1e-5)])
  rate = neurons.staircase(scalar(0.75, leak=leak), d, num_steps, False)
  np.testing.assert_allclose(rate, [0, 1 / num_steps])


@kinds
@pytest.mark.parametrize('v_th', [0.5, 1.0])
def test_staircase_tends_to_the_clip_at_rate_1_over_t(signed, v_th):
  """At most v_th / 2T off, in range and out of it; half that on average."""
  neuron = neurons.integrate_and_fire(signed, v_th)
  d = jnp.linspace(-2, 2, 1601)
  clip = np.clip(d, -v_th if signed else 0, v_th)
  inside = (clip != 0) & (np.abs(clip) != v_th)
  for num_steps in (1, 2, 4, 8, 16):
    error = np.abs(neurons.staircase(neuron, d, num_steps, signed) - clip)
    assert error.max() <= v_th / (2 * num_steps) + 1e-5
    assert error[inside].mean() <= 0.26 * v_th / num_steps


@kinds
def test_an_unshifted_staircase_errs_by_a_whole_step(signed):
  """Without v_0 = v_th / 2 a binary neuron is up to v_th / T off."""
  d = jnp.linspace(-2, 2, 1601)
  clip = np.clip(d, -1 if signed else 0, 1)
  for num_steps in (1, 4, 16):
    error = np.abs(neurons.staircase(scalar(), d, num_steps, signed) - clip)
    worst = (0.5 if signed else 1.0) / num_steps
    assert 0.9 * worst <= error.max() <= worst + 1e-5


@kinds
def test_output_is_proportional_to_the_amplitude(signed):
  d = jnp.linspace(-2, 2, 33)
  one = neurons.staircase(scalar(0.75, 0.25), d, 3, signed)
  np.testing.assert_allclose(neurons.staircase(scalar(0.75, 0.25, 2.5), d, 3,
                                               signed),
                             2.5 * one,
                             rtol=1e-6)


# --- Gradients ----------------------------------------------------------------


@kinds
@pytest.mark.parametrize('surrogate', ['arctan', 'triangle'])
def test_gradient_is_that_of_the_smoothed_recursion(signed, surrogate):
  """Spikes forward, antiderivatives of the surrogate backward, all leaves."""
  num_steps, width = 3, 0.8
  smooth = surrogate_test.ANTIDERIVATIVES[surrogate]

  def smoothed(neuron, d):
    """The recursion written out, with x in units of v_th."""

    def fire(x):
      soft = smooth(x / width)
      return soft + jax.lax.stop_gradient((x >= 0) - soft)

    v, total = neuron.v_0 * jnp.ones_like(d), 0.0
    for _ in range(num_steps):
      u = neuron.leak * v + d
      if signed:
        s = fire(u / neuron.v_th - 0.5) - fire(-u / neuron.v_th - 0.5)
      else:
        s = fire(u / neuron.v_th - 1)
      v = u - neuron.v_th * s
      total = total + s
    return neuron.amplitude * total / num_steps

  def library(neuron, d):
    return neurons.staircase(neuron, d, num_steps, signed, surrogate, width)

  with jax.enable_x64():
    rng = np.random.default_rng(0)
    leaf = lambda low, high: jnp.asarray(rng.uniform(low, high, 9))
    neuron = Neuron(v_th=leaf(0.6, 1.2),
                    v_0=leaf(0, 0.3),
                    amplitude=leaf(0.5, 1.5),
                    leak=leaf(0.6, 0.9))
    d, cotangent = leaf(-1.5, 1.5), leaf(-1, 1)
    gradients = [
        jax.jit(
            jax.grad(lambda *args, f=f: jnp.sum(cotangent * f(*args)),
                     argnums=(0, 1)))(neuron, d) for f in (library, smoothed)
    ]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
        *gradients)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradients[0]))


# --- Parameters ---------------------------------------------------------------


def test_integrate_and_fire_carries_the_optimal_shift():
  np.testing.assert_array_equal(
      neurons.integrate_and_fire(False, 0.5)[:3], [0.5, 0.25, 0.5])
  np.testing.assert_array_equal(
      neurons.integrate_and_fire(True, 0.5)[:3], [0.5, 0.0, 0.5])
  assert neurons.integrate_and_fire(True).leak is None
  for v_th in (0.0, -1.0, np.inf, np.nan):
    with pytest.raises(ValueError, match='v_th is '):
      neurons.integrate_and_fire(True, v_th)


@given(v_th=st.floats(1e-3, 1e3), leak=st.floats(1e-3, 1 - 1e-3))
def test_constrain_is_the_inverse_of_unconstrain(v_th, leak):
  neuron = scalar(v_th, -0.25, 3.0, leak)
  raw = neurons.unconstrain(neuron)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4),
               neurons.constrain(raw), neuron)
  np.testing.assert_allclose(raw.v_th, np.log(v_th), rtol=1e-4, atol=1e-6)
  assert (raw.v_0, raw.amplitude) == (neuron.v_0, neuron.amplitude)


def test_constrain_maps_any_leaves_into_range():
  raw = Neuron(*[jnp.linspace(-10, 10, 21)] * 4)
  neuron = neurons.constrain(raw)
  assert jnp.all(neuron.v_th > 0)
  assert jnp.all((neuron.leak > 0) & (neuron.leak < 1))
  assert neurons.constrain(raw._replace(leak=None)).leak is None
  assert neurons.unconstrain(raw._replace(leak=None)).leak is None


def test_align_adds_leading_axes():
  like = jnp.zeros((5, 2, 3))
  assert neurons.align(jnp.ones(()), like).shape == ()
  assert neurons.align(jnp.ones((3,)), like).shape == (1, 1, 3)
  assert neurons.align(jnp.ones((2, 3)), like).shape == (1, 2, 3)


@pytest.mark.parametrize('leaf', ['v_th', 'v_0', 'amplitude', 'leak'])
@pytest.mark.parametrize('shape', [(2,), (1,), (2, 3), (1, 3), (4, 3),
                                   (1, 2, 3)])
def test_a_parameter_of_another_size_is_refused(leaf, shape):
  neuron = scalar(leak=0.5)._replace(**{leaf: jnp.ones(shape)})
  with pytest.raises(ValueError, match=f'neuron parameter .*{shape[0]}'):
    neurons.staircase(neuron, jnp.zeros((2, 3)), 1, False)


def test_a_spread_neuron_is_the_same_neuron():
  neuron = neurons.Neuron(v_th=jnp.array([0.5, 1.0, 2.0]),
                          v_0=jnp.asarray(0.25),
                          amplitude=jnp.asarray(1.0),
                          leak=jnp.array([0.5, 0.75, 1.0]))
  d = jnp.linspace(-2.0, 2.0, 12).reshape(4, 3)

  def fired(neuron, staircase=neurons.staircase):
    return jnp.sum(d * staircase(neuron, d, 4, True))

  def fired_by_example(neuron):
    return fired(neuron, jax.vmap(neurons.staircase, (0, 0, None, None)))

  by_step = neurons.spread(neuron, (4, *d.shape))
  assert by_step.amplitude.shape == (4, *d.shape)
  assert by_step.v_th.shape == d.shape
  spread = neurons.spread(neuron, d.shape)
  assert {leaf.shape for leaf in spread} == {d.shape}
  assert fired_by_example(spread) == fired(neuron)
  by_entry = jax.grad(fired_by_example)(spread)
  for whole, part in zip(jax.grad(fired)(neuron), by_entry):
    axes = tuple(range(2 - whole.ndim))
    np.testing.assert_allclose(whole, part.sum(axes), rtol=1e-6)


def test_a_staircase_of_no_steps_is_refused():
  with pytest.raises(ValueError, match='num_steps'):
    neurons.staircase(scalar(), jnp.zeros(3), 0, False)


def test_an_unknown_surrogate_is_refused():
  with pytest.raises(ValueError, match="surrogate is 'square'"):
    neurons.step(scalar(), jnp.zeros(3), jnp.zeros(3), False, 'square')


@pytest.mark.parametrize('dtype', [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_staircase_promotes_the_drive_to_the_neuron(dtype):
  d = jnp.asarray([-1.0, 0.25, 0.75, 2.0], dtype)
  found = neurons.staircase(neurons.integrate_and_fire(False), d, 2, False)
  np.testing.assert_array_equal(found, np.asarray([0.0, 0.5, 1.0, 1.0]))
