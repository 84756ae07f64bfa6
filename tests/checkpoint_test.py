"""Checkpoints: round trips, resuming, and every way a file can be bad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slstm
from slstm import checkpoint
from slstm import train

CONFIG = slstm.Config(num_steps=2, pooling=('last', 'max'), slope=2.0)


def model(hidden=(4, 3), sites=('o', 'c'), leak=True):
  params = slstm.init(jax.random.key(0), 5, hidden, 3, CONFIG)
  neuron = slstm.integrate_and_fire(True)
  if leak:
    neuron = neuron._replace(leak=jnp.asarray(0.75))
  made = slstm.Sites(**{site: neuron for site in sites})
  return params._replace(layers=tuple(
      layer._replace(neurons=made) for layer in params.layers))


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('params', [
    model(),
    model(sites=()),
    model((4,), ('h',), leak=False),
    model((2,) * 12),
])
def test_model_round_trip_needs_no_template(tmp_path, params):
  slstm.save_model(tmp_path, params, CONFIG)
  loaded, config = slstm.load_model(tmp_path)
  assert config == CONFIG
  assert_same(loaded, params)


def test_nothing_is_overwritten(tmp_path):
  slstm.save_model(tmp_path, model(), CONFIG)
  with pytest.raises(FileExistsError, match='already holds step 0'):
    slstm.save_model(tmp_path, model((2,)), CONFIG)
  assert_same(slstm.load_model(tmp_path)[0], model())


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
  slstm.save_model(tmp_path, model(), CONFIG)
  before = _files(tmp_path)
  refused = 0
  for path, content in before.items():
    path.write_bytes(content[:len(content) // 2])
    cut = _files(tmp_path)
    try:
      loaded, config = slstm.load_model(tmp_path)
    except ValueError as error:
      refused += 1
      assert str(tmp_path) in str(error)
      assert cut == _files(tmp_path)
    else:  # a file that orbax writes but does not need
      assert config == CONFIG
      assert_same(loaded, model())
    path.write_bytes(content)
  assert refused >= 3


def test_fit_state_round_trip(tmp_path):
  state = train.initial_state(model(), slstm.TrainConfig(batch_size=2), 8)
  checkpoint.save(tmp_path, 1, state)
  assert checkpoint.latest_step(tmp_path) == 1
  template = jax.tree.map(jnp.zeros_like, state)
  assert_same(checkpoint.restore(tmp_path, template), state)


@pytest.mark.parametrize('other, leaf', [
    (model((4, 4)), r'layers\[1\]'),
    (model((4,)), r'layers\[1\]'),
    (model(sites=('h',)), r'neurons\.[och]'),
    (model(leak=False), 'leak'),
])
def test_checkpoint_of_another_model_is_named(tmp_path, other, leaf):
  train_config = slstm.TrainConfig(batch_size=2)
  checkpoint.save(tmp_path, 1, train.initial_state(model(), train_config, 8))
  with pytest.raises(ValueError, match=leaf):
    checkpoint.restore(tmp_path, train.initial_state(other, train_config, 8))


def test_old_steps_go_and_new_ones_must_be_newer(tmp_path):
  for step in (1, 2, 3):
    checkpoint.save(tmp_path, step, {'a': np.full(2, step)}, keep=2)
  assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ['2', '3']
  np.testing.assert_array_equal(checkpoint.read(tmp_path)["['a']"], [3, 3])
  with pytest.raises(FileExistsError, match='step 3'):
    checkpoint.save(tmp_path, 2, {'a': np.zeros(2)})


@pytest.mark.parametrize('change, message', [
    (lambda a: a.pop('layers[0].u.f'), "missing leaves .'f'"),
    (lambda a: a.update({'layers[0].u.z': 0}), "unknown leaves .'z'"),
    (lambda a: a.update({'layers[7].b.i': 0}), 'layers are'),
    (lambda a: a.pop('readout.b'), "missing leaves .'b'"),
    (lambda a: a.pop('layers[0].neurons.o.v_th'), "missing leaves .'v_th'"),
])
def test_unflatten_names_what_does_not_fit(change, message):
  arrays = checkpoint.coverage.named_leaves(model())
  change(arrays)
  with pytest.raises(ValueError, match=message):
    checkpoint.unflatten(arrays, 'here')


def test_corrupt_config_is_named(tmp_path):
  slstm.save_model(tmp_path, model(), CONFIG)
  path = tmp_path / 'model.json'
  path.write_text(path.read_text().replace('"family"', '"colour"'))
  with pytest.raises(ValueError, match='model.json'):
    slstm.load_model(tmp_path)
