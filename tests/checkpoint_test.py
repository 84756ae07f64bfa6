"""Checkpoints: round trips, resuming, and every way a file can be bad."""

import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm
from slstm import borders
from slstm import checkpoint
from slstm import neurons

CONFIG = slstm.Config(num_steps=2, pooling=('last', 'max'), slope=2.0)


def ann(hidden=(4, 3), config=CONFIG):
  return slstm.init(jax.random.key(0),
                    num_features=5,
                    hidden_sizes=hidden,
                    num_outputs=3,
                    config=config)


def snn(hidden=(4, 3), sites=('o', 'c'), leak=True, neuron=None):
  neuron = neuron or neurons.integrate_and_fire(True)
  if leak:
    neuron = neuron._replace(leak=jnp.asarray(0.75))
  made = slstm.Sites(**{site: neuron for site in sites})
  model = ann(hidden)
  return model.replace(layers=tuple(
      layer._replace(neurons=made) for layer in model.layers))


def at_input(model):
  neuron = neurons.integrate_and_fire(True)._replace(v_th=jnp.full((5,), 0.5))
  return model.replace(encoder=model.encoder._replace(neuron=neuron))


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('model', [
    snn(),
    ann(),
    snn((4,), ('h',), leak=False),
    at_input(ann()),
    at_input(snn((2,) * 12, 'ifgoch')),
])
def test_model_round_trip_needs_no_template(tmp_path, model):
  slstm.save_model(tmp_path, model)
  assert_same(slstm.load_model(tmp_path), model)


class Savable(NamedTuple):
  """A neuron from outside; its second field is None or not, as it likes."""
  level: Any
  step: Any = 3.0
  decay: Any = None


@pytest.fixture(name='registered')
def _registered(monkeypatch):
  monkeypatch.setattr(neurons, 'KINDS', dict(neurons.KINDS))
  same = lambda neuron: neuron
  lif = neurons.kind_of(neurons.integrate_and_fire(True))
  kind = lif._replace(constrain=same, unconstrain=same)
  slstm.register(Savable, kind)


def test_neurons_of_any_type_are_saved_by_name(tmp_path, registered):
  del registered
  layers = snn().layers
  kept = layers[0].neurons._replace(
      c=Savable(jnp.ones((4,)), None, jnp.asarray(0.5)))
  model = snn().replace(layers=(layers[0]._replace(neurons=kept), layers[1]))
  slstm.save_model(tmp_path, model)
  described = json.loads((tmp_path / 'model.json').read_text())
  assert described['format'] == 2
  assert described['neurons'] == {
      'layers[0].o': 'LIF',
      'layers[0].c': 'Savable',
      'layers[1].o': 'LIF',
      'layers[1].c': 'LIF'
  }
  # None, not the default of the field.
  assert_same(slstm.load_model(tmp_path), model)


def test_what_could_not_be_loaded_is_not_saved(tmp_path, registered):
  del registered
  for neuron, message in ((Savable(None, jnp.ones(
      ())), 'level is missing'), (Savable(jnp.ones(
          (9,))), 'layer of another size')):
    with pytest.raises(ValueError, match='save_model: model: .*' + message):
      slstm.save_model(tmp_path / 'new', snn(neuron=neuron, leak=False))
  assert not (tmp_path / 'new').exists()


def test_a_neuron_that_is_not_registered_is_named(tmp_path, registered):
  slstm.save_model(tmp_path,
                   snn(neuron=Savable(jnp.ones(()), jnp.ones(())), leak=False))
  del registered, neurons.KINDS[Savable]
  with pytest.raises(ValueError, match="no neuron is called 'Savable'"):
    slstm.load_model(tmp_path)


def test_nothing_is_overwritten(tmp_path):
  slstm.save_model(tmp_path, snn())
  with pytest.raises(FileExistsError, match='already holds step 0'):
    slstm.save_model(tmp_path, snn((2,)))
  assert_same(slstm.load_model(tmp_path), snn())


def test_absent_model_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='model.json is missing'):
    slstm.load_model(tmp_path / 'nowhere')
  with pytest.raises(FileNotFoundError, match='no checkpoint in'):
    checkpoint.read(tmp_path / 'nowhere')
  assert not (tmp_path / 'nowhere').exists()


def _files(folder):
  return {
      path: path.read_bytes()
      for path in sorted(folder.rglob('*'))
      if path.is_file()
  }


# A read that fails leaves orbax's event loop to the garbage collector.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_truncation_is_reported_by_name_or_harmless(tmp_path):
  """Every file of the checkpoint is cut in half, one at a time."""
  slstm.save_model(tmp_path, snn())
  before = _files(tmp_path)
  refused = 0
  for path, content in before.items():
    path.write_bytes(content[:len(content) // 2])
    cut = _files(tmp_path)
    try:
      loaded = slstm.load_model(tmp_path)
    except ValueError as error:
      refused += 1
      assert str(tmp_path) in str(error)
      assert cut == _files(tmp_path)
    else:  # a file that orbax writes but does not need
      assert_same(loaded, snn())
    path.write_bytes(content)
  assert refused >= 3


def test_fit_state_round_trip(tmp_path):
  state = slstm.initial_state(snn(), slstm.TrainConfig(batch_size=2), 8)
  checkpoint.save(tmp_path, 1, state)
  assert checkpoint.latest_step(tmp_path) == 1
  template = jax.tree.map(jnp.zeros_like, state)
  assert_same(checkpoint.restore(tmp_path, template), state)


@pytest.mark.parametrize('other, leaf', [
    (snn((4, 4)), r'layers\[1\]'),
    (snn((4,)), r'layers\[1\]'),
    (snn(sites=('h',)), r'neurons\.[och]'),
    (snn(leak=False), 'leak'),
])
def test_checkpoint_of_another_model_is_named(tmp_path, other, leaf):
  config = slstm.TrainConfig(batch_size=2)
  checkpoint.save(tmp_path, 1, slstm.initial_state(snn(), config, 8))
  with pytest.raises(ValueError, match=leaf):
    checkpoint.restore(tmp_path, slstm.initial_state(other, config, 8))


def test_old_steps_go_and_new_ones_must_be_newer(tmp_path):
  for step in (1, 2, 3):
    checkpoint.save(tmp_path, step, {'a': np.full(2, step)}, keep=2)
  assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ['2', '3']
  np.testing.assert_array_equal(checkpoint.read(tmp_path)["['a']"], [3, 3])
  with pytest.raises(FileExistsError, match='step 3'):
    checkpoint.save(tmp_path, 2, {'a': np.zeros(2)})


NAMES = {f'layers[{k}].{site}': 'LIF' for k in range(2) for site in 'oc'}


@pytest.mark.parametrize('change, message', [
    (lambda a: a.pop('layers[0].u.f'), r'layers\[0\]\.u\.f is missing'),
    (lambda a: a.update({'layers[0].u.z': 0}), r'\.u\.z is not expected'),
    (lambda a: a.update({'layers[7].b.i': 0}), r'layers\[2\]\.w\.i is missing'),
    (lambda a: a.pop('readout.b'), r'readout\.b is missing'),
    (lambda a: a.pop('layers[0].neurons.o.v_th'), r'o\.v_th is missing'),
    (lambda a: a.update({'encoder.neuron.v_th': 1}), 'v_th is not expected'),
    (lambda a: a.update({'readout.b': np.ones(2)}), r'b has shape \(2,\)'),
])
def test_unflatten_names_what_does_not_fit(change, message):
  arrays = borders.named_leaves(snn())
  assert_same(checkpoint.unflatten(arrays, CONFIG, NAMES, 'here'), snn())
  change(arrays)
  with pytest.raises(ValueError, match='here: .*' + message):
    checkpoint.unflatten(arrays, CONFIG, NAMES, 'here')


@pytest.mark.parametrize('old, new, message', [
    ('"family"', '"colour"', 'colour'),
    ('"hard"', '"soft"', 'soft'),
    ('"max"', '"mean", "max"', 'readout.w .*another Config.pooling'),
    ('"LIF"', '"LIFT"', "'LIFT'"),
    ('].o"', '].i"', r'neurons\.i\.v_th is missing'),
    ('[1].o"', '[2].o"', r'neurons\.o\..* is not expected'),
    ('"config"', '"options"', 'config'),
    ('"format": 2', '"format": 3', 'format is 3; expected 2'),
])
def test_corrupt_description_is_named(tmp_path, old, new, message):
  slstm.save_model(tmp_path, snn())
  path = tmp_path / 'model.json'
  assert old in path.read_text()
  path.write_text(path.read_text().replace(old, new))
  with pytest.raises(ValueError, match=f'{tmp_path}.*{message}'):
    slstm.load_model(tmp_path)


@pytest.mark.parametrize('text, message', [
    ('{"family": "hard", "num_steps": 2}',
     'format is 1; expected 2.*"neurons"'),
    ('[]', "no attribute 'get'"),
    ('{', 'Expecting'),
])
def test_another_format_says_what_it_is(tmp_path, text, message):
  slstm.save_model(tmp_path, snn())
  (tmp_path / 'model.json').write_text(text)
  with pytest.raises(ValueError, match='model.json does not .*' + message):
    slstm.load_model(tmp_path)
