"""Tests of slstm.neurons: spikes, one LIF step, its invariants, staircases."""

import functools
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slstm import neurons
from slstm import types
from slstm.types import Elementwise
from tests import networks
from tests import oracle

kinds = pytest.mark.parametrize('signed', [False, True],
                                ids=['binary', 'ternary'])
names = pytest.mark.parametrize('name', sorted(neurons.SURROGATES))
seeds = st.integers(0, 1000)

# The antiderivative of each surrogate, from 0 to 1: the smooth step whose
# derivative stands in for that of the Heaviside step.
ANTIDERIVATIVES = {
    'triangle':
        lambda x: 0.5 + jnp.clip(x, -1, 1) *
        (1 - jnp.abs(jnp.clip(x, -1, 1)) / 2),
    'fast_sigmoid':
        lambda x: 0.5 + 0.5 * x / (1 + jnp.abs(x)),
    'arctan':
        lambda x: 0.5 + jnp.arctan(jnp.pi * x) / jnp.pi,
    'boxcar':
        lambda x: jnp.clip(x + 0.5, 0, 1),
}

FIRE = neurons.firing(types.Config())


def step(neuron, state, d, signed):
  return neurons.kind_of(neuron).step(neuron,
                                      state,
                                      d,
                                      signed=signed,
                                      fire=FIRE)


def run(neuron, drives, signed):
  """Final membrane and spikes [T, ..] under drives [T, ..], step by step."""
  v = neurons.initial_state(neuron, drives.shape[1:])
  spikes = []
  for d in drives:
    v, s = step(neuron, v, d, signed)
    spikes.append(s)
  return v, jnp.stack(spikes)


@functools.partial(jax.jit, static_argnums=3)
def scanned(neuron, state, drives, signed):
  return neurons.run(neuron, state, drives, signed=signed, fire=FIRE)


def staircase(neuron, d, num_steps, signed):
  return neurons.staircase(neuron, d, num_steps=num_steps, signed=signed)


def scalar(v_th=1.0, v_0=0.0, amplitude=1.0, leak=None):
  """A neuron with one value for a whole layer."""
  leaf = lambda x: None if x is None else jnp.asarray(x)
  return neurons.LIF(*map(leaf, (v_th, v_0, amplitude, leak)))


# --- Spikes ---


def test_every_surrogate_is_tested():
  assert set(ANTIDERIVATIVES) == set(neurons.SURROGATES)


@names
def test_forward_is_a_step_that_fires_at_equality(name):
  tiny = np.finfo(np.float32).tiny
  x = jnp.asarray([-np.inf, -1.0, -tiny, -0.0, 0.0, tiny, 1.0, np.inf])
  expected = [0, 0, 0, 1, 1, 1, 1, 1]
  spike = functools.partial(neurons.spike, surrogate=name)
  for f in (spike, jax.jit(spike)):
    np.testing.assert_array_equal(f(x), expected)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'float32'])
def test_spike_and_gradient_keep_the_dtype(dtype):
  x = jnp.asarray([-0.25, 0.0, 0.25], dtype)
  s, vjp = jax.vjp(neurons.spike, x)
  assert s.dtype == x.dtype
  assert vjp(s)[0].dtype == x.dtype


@names
@pytest.mark.parametrize('width', [0.5, 1.0, 3.0])
def test_gradient_is_that_of_the_antiderivative(name, width):
  with jax.enable_x64():
    # The grid misses the corners of triangle and boxcar, at -1, -1/2, 0, ..
    x = np.linspace(-4, 4, 81) * width + 0.013
    cotangent = np.linspace(1, 2, x.size)
    _, vjp = jax.vjp(lambda x: neurons.spike(x, surrogate=name, width=width),
                     jnp.asarray(x))
    smooth = ANTIDERIVATIVES[name]
    eps = 1e-6
    numerical = (smooth((x + eps) / width) - smooth(
        (x - eps) / width)) / (2 * eps)
    np.testing.assert_allclose(vjp(jnp.asarray(cotangent))[0],
                               cotangent * numerical,
                               rtol=0,
                               atol=1e-8)


@names
@pytest.mark.parametrize('width', [0.5, 2.0])
def test_gradient_of_the_threshold_is_that_of_the_antiderivative(name, width):
  with jax.enable_x64():
    x = jnp.linspace(-4, 4, 81) * width + 0.013
    v_th, eps = np.linspace(0.5, 1.5, x.size) * 1.0003, 1e-7
    _, vjp = jax.vjp(lambda v: neurons.spike(x, v, surrogate=name, width=width),
                     jnp.asarray(v_th))
    smooth = lambda v: ANTIDERIVATIVES[name](x / v / width)
    numerical = (smooth(v_th + eps) - smooth(v_th - eps)) / (2 * eps)
    np.testing.assert_allclose(vjp(jnp.ones_like(x))[0],
                               numerical,
                               rtol=0,
                               atol=1e-6)


def test_gradient_of_a_threshold_for_all_is_the_sum():
  x, v_th = jnp.linspace(-1, 1, 12).reshape(3, 4), jnp.full((3, 4), 0.7)
  gradient = jax.grad(lambda v: neurons.spike(x, v).sum())
  for shape, axes in (((), None), ((4,), 0)):
    np.testing.assert_allclose(gradient(jnp.full(shape, 0.7)),
                               gradient(v_th).sum(axes),
                               rtol=1e-6)


@names
def test_surrogate_is_even_has_unit_area_and_its_maximum_at_0(name):
  psi = neurons.SURROGATES[name]
  with jax.enable_x64():
    x = jnp.linspace(0, 200, 200001)
    right = np.asarray(psi(x))
    np.testing.assert_array_equal(right, psi(-x))
    assert np.all(np.diff(right) <= 0)
    tail = 1 - ANTIDERIVATIVES[name](200.0)
    area = np.trapezoid(right, np.asarray(x)) + tail
    assert abs(area - 0.5) < 1e-3


def test_nan_is_not_silenced():
  spikes = neurons.spike(jnp.asarray([jnp.nan, -1.0, 1.0]))
  np.testing.assert_array_equal(spikes, [np.nan, 0, 1])
  d = jnp.asarray([[0.0, jnp.nan]] * 2)
  for signed in (False, True):
    (_, found), expected = scanned(scalar(), jnp.zeros(2), d, signed), [0, 1]
    np.testing.assert_array_equal(np.isnan(found), [expected] * 2)


def test_spike_refuses_bad_names_and_widths():
  for differentiate in (lambda f: f, jax.grad):
    with pytest.raises(ValueError, match="surrogate is 'square'"):
      differentiate(lambda x: neurons.spike(x, surrogate='square'))(1.0)
    with pytest.raises(ValueError, match='width is 0.0'):
      differentiate(lambda x: neurons.spike(x, width=0.0))(1.0)


# --- One step -----------------------------------------------------------------


@pytest.mark.parametrize('v_th', [0.75, 1.0])
def test_fires_at_equality_and_resets_in_the_same_step(v_th):
  neuron = scalar(v_th)
  for signed, level in ((False, v_th), (True, v_th / 2)):
    level = np.float32(level)
    below = np.nextafter(level, np.float32(0))
    d = jnp.asarray([level, below, -level, -below])
    expected = np.asarray([1, 0, -1 if signed else 0, 0], np.float32)
    v, s = step(neuron, jnp.zeros(4), d, signed)
    np.testing.assert_array_equal(s, expected)
    np.testing.assert_array_equal(v, d - np.float32(v_th) * expected)


@kinds
def test_a_large_drive_fires_once_and_leaves_the_rest(signed):
  v, s = step(scalar(), jnp.zeros(2), jnp.asarray([3.5, -3.5]), signed)
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
  start = neurons.initial_state(neuron, drives.shape[1:])
  end, train = scanned(neuron, start, drives, signed)
  np.testing.assert_array_equal(train, spikes)
  np.testing.assert_array_equal(end, v)
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
  v, _ = step(scalar(leak=0.5), jnp.asarray([0.25]), jnp.zeros(1), signed)
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
  for f in (staircase, jax.jit(staircase, static_argnums=(2, 3))):
    np.testing.assert_allclose(f(neuron, d, num_steps, signed),
                               expected,
                               rtol=1e-6)


@pytest.mark.parametrize('num_steps', [1, 3, 8])
@pytest.mark.parametrize('v_0', [0.0, 0.25, 0.5])
def test_staircase_of_a_binary_if(v_0, num_steps):
  """The count is clip(floor((T d + v_0) / v_th), 0, T)."""
  d = jnp.arange(-64, 129) / 64
  count = num_steps * staircase(scalar(0.75, v_0), d, num_steps, False)
  expected = np.clip(np.floor((num_steps * np.asarray(d) + v_0) / 0.75), 0,
                     num_steps)
  np.testing.assert_allclose(count, expected, rtol=1e-6)


@pytest.mark.parametrize('num_steps', [1, 3, 8])
def test_staircase_of_a_ternary_if(num_steps):
  """The count is T d / v_th, rounded away from 0 at ties, within -T .. T."""
  d = np.arange(-128, 129) / 64
  count = num_steps * staircase(scalar(0.75), jnp.asarray(d, jnp.float32),
                                num_steps, True)
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
  rate = staircase(scalar(0.75, leak=leak), d, num_steps, False)
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
    error = np.abs(staircase(neuron, d, num_steps, signed) - clip)
    assert error.max() <= v_th / (2 * num_steps) + 1e-5
    assert error[inside].mean() <= 0.26 * v_th / num_steps


@kinds
def test_an_unshifted_staircase_errs_by_a_whole_step(signed):
  """Without v_0 = v_th / 2 a binary neuron is up to v_th / T off."""
  d = jnp.linspace(-2, 2, 1601)
  clip = np.clip(d, -1 if signed else 0, 1)
  for num_steps in (1, 4, 16):
    error = np.abs(staircase(scalar(), d, num_steps, signed) - clip)
    worst = (0.5 if signed else 1.0) / num_steps
    assert 0.9 * worst <= error.max() <= worst + 1e-5


@kinds
def test_output_is_proportional_to_the_amplitude(signed):
  d = jnp.linspace(-2, 2, 33)
  one = staircase(scalar(0.75, 0.25), d, 3, signed)
  np.testing.assert_allclose(staircase(scalar(0.75, 0.25, 2.5), d, 3, signed),
                             2.5 * one,
                             rtol=1e-6)


# --- Gradients ----------------------------------------------------------------


@kinds
@pytest.mark.parametrize('surrogate', ['arctan', 'triangle'])
def test_gradient_is_that_of_the_smoothed_recursion(signed, surrogate):
  """Spikes forward, antiderivatives of the surrogate backward, all leaves."""
  num_steps, width = 3, 0.8
  smooth = ANTIDERIVATIVES[surrogate]

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
    fire = neurons.firing(types.Config(surrogate=surrogate, width=width))
    return neurons.staircase(neuron,
                             d,
                             num_steps=num_steps,
                             signed=signed,
                             fire=fire)

  with jax.enable_x64():
    rng = np.random.default_rng(0)
    leaf = lambda low, high: jnp.asarray(rng.uniform(low, high, 9))
    neuron = neurons.LIF(v_th=leaf(0.6, 1.2),
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
  raw = neurons.LIF(*[jnp.linspace(-10, 10, 21)] * 4)
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
    staircase(neuron, jnp.zeros((2, 3)), 1, False)


def test_a_broadcast_neuron_is_the_same_neuron():
  neuron = neurons.LIF(v_th=jnp.array([0.5, 1.0, 2.0]),
                       v_0=jnp.asarray(0.25),
                       amplitude=jnp.asarray(1.0),
                       leak=jnp.array([0.5, 0.75, 1.0]))
  d = jnp.linspace(-2.0, 2.0, 12).reshape(4, 3)

  def fired(neuron, staircase=staircase):
    return jnp.sum(d * staircase(neuron, d, 4, True))

  def fired_by_example(neuron):
    return fired(neuron, jax.vmap(staircase, (0, 0, None, None)))

  broadcast = neurons.broadcast(neuron, d.shape)
  assert {leaf.shape for leaf in broadcast} == {d.shape}
  assert fired_by_example(broadcast) == fired(neuron)
  by_entry = jax.grad(fired_by_example)(broadcast)
  for whole, part in zip(jax.grad(fired)(neuron), by_entry):
    axes = tuple(range(2 - whole.ndim))
    np.testing.assert_allclose(whole, part.sum(axes), rtol=1e-6)
  with pytest.raises(ValueError, match='neuron parameter of shape'):
    neurons.broadcast(broadcast, d.shape)


def test_a_staircase_of_no_steps_is_refused():
  with pytest.raises(ValueError, match='num_steps'):
    staircase(scalar(), jnp.zeros(3), 0, False)


@pytest.mark.parametrize('dtype', [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_staircase_promotes_the_drive_to_the_neuron(dtype):
  d = jnp.asarray([-1.0, 0.25, 0.75, 2.0], dtype)
  found = staircase(neurons.integrate_and_fire(False), d, 2, False)
  np.testing.assert_array_equal(found, np.asarray([0.0, 0.5, 1.0, 1.0]))


@pytest.mark.parametrize('leak, multiply', [(None, 0), (0.5, 2)])
@kinds
def test_work_of_three_steps(signed, leak, multiply):
  """By hand: add d, compare with each level; leak v_0 is a constant."""
  neuron = scalar(leak=leak)
  per_unit, per_spike = neurons.kind_of(neuron).work(neuron, signed, 3)
  assert per_unit == Elementwise(multiply=multiply,
                                 add=3,
                                 compare=6 if signed else 3)
  assert per_spike == Elementwise(add=1)


# --- The table of neurons -----------------------------------------------------


class Other(NamedTuple):
  """Parameters of a neuron that the library does not know."""
  v_th: jax.Array


@pytest.fixture(name='kind')
def _kind(monkeypatch):
  """A kind to register; the table is as before after the test."""
  monkeypatch.setattr(neurons, 'KINDS', dict(neurons.KINDS))
  return neurons.KINDS[neurons.LIF]


def test_a_registered_neuron_is_found_by_type_and_by_name(kind):
  other = Other(jnp.ones(()))
  assert not neurons.is_neuron(other)
  with pytest.raises(ValueError, match='Other is no registered neuron'):
    neurons.kind_of(other)
  with pytest.raises(ValueError, match="no neuron is called 'Other'; .* LIF"):
    neurons.by_name('Other')
  neurons.register(Other, kind)
  assert neurons.is_neuron(other) and neurons.kind_of(other) is kind
  assert neurons.by_name('Other') is Other
  assert neurons.by_name('LIF') is neurons.LIF


def test_register_refuses_no_tuple_and_a_name_twice(kind):
  with pytest.raises(ValueError, match='is no NamedTuple'):
    neurons.register(dict, kind)
  twin = NamedTuple('LIF', [('v_th', jax.Array)])
  with pytest.raises(ValueError, match='another neuron has its name'):
    neurons.register(twin, kind)
  neurons.register(neurons.LIF, kind)  # again, as when a module is reloaded


def test_a_tree_is_constrained_at_its_neurons_and_nowhere_else():
  neuron = scalar(0.5, 0.25, 2.0, 0.75)
  tree = {'layer': types.Sites(c=neuron), 'w': jnp.full((2,), -3.0)}
  raw = neurons.unconstrain(tree)
  np.testing.assert_allclose(raw['layer'].c.v_th, np.log(0.5), rtol=1e-6)
  np.testing.assert_allclose(raw['layer'].c.leak, np.log(3), rtol=1e-6)
  np.testing.assert_array_equal(raw['w'], tree['w'])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
               neurons.constrain(raw), tree)
