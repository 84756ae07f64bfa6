"""A neuron from outside: a LIF whose threshold adapts, trained on UCI HAR.

All of it is in this file, as a user's code would be, and nothing in slstm or
experiments knows of it. A spike raises the threshold of the steps that follow:

  th_t = v_th + beta a_{t-1}
  u_t = leak v_{t-1} + d_t
  s_t = fire(u_t - th_t); ternary: fire(u_t - th_t/2) - fire(-u_t - th_t/2)
  v_t = u_t - th_t s_t
  a_t = decay a_{t-1} + |s_t|
  output_t = amplitude s_t

Its state is two arrays: the membrane v and the adaptation a, both 0 before the
first step of an element (v_0 is trained).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm
from slstm import fitting
from slstm import neurons
from slstm.types import Elementwise
from third_party.uci_har import data as uci_har

T = 3
DECAY = 0.5


class Adaptive(NamedTuple):
  """Parameters, each [] or [H]: v_th > 0, beta > 0, v_0 and amplitude."""
  v_th: Any
  beta: Any
  v_0: Any
  amplitude: Any


def _initial(neuron, shape):
  v_0 = neurons.align(neuron.v_0, jnp.empty(shape))
  return jnp.broadcast_to(v_0, shape), jnp.zeros(shape, neuron.v_0.dtype)


def _step(neuron, state, d, *, signed, fire):
  v, a = state
  aligned = [neurons.align(leaf, d) for leaf in neuron]
  threshold = aligned[0] + aligned[1] * a
  u = v + d
  if signed:
    s = fire(u - threshold / 2, threshold) - fire(-u - threshold / 2, threshold)
  else:
    s = fire(u - threshold, threshold)
  return (u - threshold * s, DECAY * a + jnp.abs(s)), s


def _output(neuron, state, spikes):
  del state
  return neurons.align(neuron.amplitude, spikes) * spikes


def _work(neuron, signed, num_steps):
  """Per step: th, u, a and what is compared; per spike: v and a."""
  del neuron
  compare = num_steps * (2 if signed else 1)
  return (Elementwise(multiply=2 * num_steps,
                      add=2 * num_steps,
                      compare=compare), Elementwise(add=2))


KIND = slstm.Kind(initial=_initial,
                  step=_step,
                  output=_output,
                  constrain=lambda raw: raw._replace(v_th=jnp.exp(raw.v_th),
                                                     beta=jnp.exp(raw.beta)),
                  unconstrain=lambda neuron: neuron._replace(
                      v_th=jnp.log(neuron.v_th), beta=jnp.log(neuron.beta)),
                  work=_work)
slstm.register(Adaptive, KIND)


def rule(problem, p):
  """A neuron for each row of p, that starts out near the IF that rounds."""
  full = lambda value: np.full(len(p), value, np.float32)
  return Adaptive(v_th=full(1.0),
                  beta=full(0.125),
                  v_0=full(0.0 if problem.signed else 0.5),
                  amplitude=full(1.0))


# --- The equations in NumPy ---------------------------------------------------


def reference(model, x):
  """Outputs [B, K] and h [B, N, T, H] of one layer of hard activations."""
  config, (layer,) = model.config, model.layers
  hidden = layer.num_units
  outputs, all_h = [], []
  for sequence in np.asarray((x - model.encoder.mean) / model.encoder.std):
    h, c = np.zeros((2, T, hidden))
    history = []
    for x_n in sequence:
      state = {
          site: (np.zeros(hidden) + getattr(layer.neurons, site).v_0,
                 np.zeros(hidden)) for site in 'oc'
      }
      for t in range(T):
        z = {
            k:
                x_n @ getattr(layer.w, k) + h[t] @ getattr(layer.u, k) +
                getattr(layer.b, k) for k in 'ifgo'
        }
        i, f = (np.clip(z[k] / (2 * config.slope) + 0.5, 0, 1) for k in 'if')
        c[t] = f * c[t] + i * np.clip(z['g'], -1, 1)
        drives = {'o': z['o'] / (2 * config.slope) + 0.5, 'c': c[t]}
        y = {}
        for site, d in drives.items():
          neuron, (v, a) = getattr(layer.neurons, site), state[site]
          th = neuron.v_th + neuron.beta * a
          u = v + d
          if site == 'c':
            s = np.where(u >= th / 2, 1.0, np.where(u <= -th / 2, -1.0, 0.0))
          else:
            s = np.where(u >= th, 1.0, 0.0)
          state[site] = u - th * s, DECAY * a + np.abs(s)
          y[site] = neuron.amplitude * s
        h[t] = y['o'] * y['c']
      history.append(h.copy())
    pooled = np.mean(history, (0, 1))
    outputs.append(pooled @ model.readout.w + model.readout.b)
    all_h.append(history)
  return np.asarray(outputs), np.asarray(all_h)


# --- Tests --------------------------------------------------------------------


def windows():
  """Training and validation windows, one sample of eight."""
  parts = uci_har.validation_split(uci_har.load_embedded()['train'])
  return [slstm.Data(part.x[::2, ::8], part.y[::2]) for part in parts]


@pytest.fixture(scope='module', name='trained')
def _trained():
  """(source LSTM, its conversion, the SNN after an epoch, its metrics)."""
  train, validation = windows()
  source = slstm.init(jax.random.key(0),
                      num_features=train.x.shape[2],
                      hidden_sizes=(12,),
                      num_outputs=len(uci_har.CLASSES),
                      config=slstm.Config(pooling=('mean',)),
                      encoder=slstm.standardising(train.x))
  conversion = slstm.convert(
      source, slstm.calibrate(source, train.x[:128]),
      slstm.ConversionConfig(num_steps=T,
                             fit=fitting.best_of(adaptive=rule),
                             granularity='unit'))
  config = slstm.TrainConfig(epochs=1, batch_size=32, learning_rate=2e-2)
  (state, metrics), = slstm.fit(conversion.model,
                                train,
                                validation,
                                config=config)
  return source, conversion, state.best, metrics


def test_it_is_put_at_the_sites_and_reported(trained):
  source, conversion, _, _ = trained
  layer, = conversion.model.layers
  assert layer.neurons.present == ('o', 'c')
  assert isinstance(layer.neurons.o, Adaptive)
  np.testing.assert_array_equal(layer.neurons.o.v_0, np.full(12, 0.5))
  jax.tree.map(np.testing.assert_array_equal,
               layer._replace(neurons=slstm.Sites()), source.layers[0])
  report = slstm.report_dict(conversion.report)[0]['o']
  assert report['neuron'] == 'Adaptive' and report['rules'] == {'adaptive': 12}
  assert set(report['parameters']) == set(Adaptive._fields)


def test_an_epoch_on_har_moves_all_of_it_within_its_range(trained):
  _, conversion, model, metrics = trained
  assert metrics['validation_accuracy'] > 0.6  # chance is below 0.2
  before, after = (net.layers[0].neurons for net in (conversion.model, model))
  for site in 'oc':
    for old, new in zip(getattr(before, site), getattr(after, site)):
      assert np.all(new != old)
    neuron = getattr(after, site)
    assert np.all(neuron.v_th > 0) and np.all(neuron.beta > 0)


def test_it_agrees_with_numpy_in_three_schedules(trained):
  *_, model, _ = trained
  x = windows()[1].x[:5]
  with jax.enable_x64():
    wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model)
    x = jnp.asarray(x, jnp.float64)
    expected, h = reference(jax.tree.map(np.asarray, wide), np.asarray(x))
    assert 0.1 < np.mean(h != 0) < 0.9, 'the case shows nothing'
    for executor in (slstm.sequential, slstm.stacked, slstm.wavefront):
      run = jax.jit(
          functools.partial(slstm.apply,
                            executor=executor,
                            observe=lambda record: record.state.h))(wide, x)
      np.testing.assert_allclose(run.outputs, expected, rtol=1e-11, atol=1e-12)
      found = np.moveaxis(run.observed[0], 2, 0)
      np.testing.assert_allclose(found, h, rtol=1e-11, atol=1e-12)


def test_its_operations_are_counted(trained):
  *_, model, _ = trained
  x = windows()[1].x[:40]
  counts = slstm.count_operations(model, x)
  _, h = reference(jax.tree.map(lambda leaf: np.asarray(leaf, float), model), x)
  layer, hidden, (batch, num_elements) = counts.layers[0], 12, x.shape[:2]
  assert layer.recurrent.mac == 0
  spikes = np.count_nonzero(h[:, :-1])
  np.testing.assert_allclose(layer.recurrent.ac,
                             spikes * 4 * hidden / batch,
                             rtol=1e-3)
  # One comparison per step at o, two at c; no other site compares.
  assert layer.elementwise.compare == num_elements * hidden * T * (1 + 2)
  assert 0 < layer.spike_rate.o < 1 and 0 < layer.spike_rate.c < 1


def test_it_is_saved_and_loaded(trained, tmp_path):
  *_, model, _ = trained
  slstm.save_model(tmp_path / 'model', model)
  loaded = slstm.load_model(tmp_path / 'model')
  assert isinstance(loaded.layers[0].neurons.c, Adaptive)
  assert jax.tree.structure(loaded) == jax.tree.structure(model)
  jax.tree.map(np.testing.assert_array_equal, loaded, model)
