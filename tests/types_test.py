"""Tests of slstm.types: the structure of a model, checks of a config."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from slstm import neurons
from slstm import types
from slstm.types import Config, Encoder, Gates, Layer, Model, Readout, Sites


def test_present_lists_the_converted_sites_in_order():
  one = jnp.ones(())
  neuron = neurons.LIF(one, one, one)
  assert Sites().present == ()
  assert Sites(h=neuron, f=neuron).present == ('f', 'h')
  assert Sites(*[neuron] * 6).present == types.SITES


def test_an_analog_site_and_an_if_leak_are_structure_not_leaves():
  one = jnp.ones(())
  gates = Gates(one, one, one, one)
  ann = Layer(gates, gates, gates)
  snn = ann._replace(neurons=Sites(c=neurons.LIF(one, one, one)))
  lif = ann._replace(neurons=Sites(c=neurons.LIF(one, one, one, one)))
  counts = [len(jax.tree.leaves(layer)) for layer in (ann, snn, lif)]
  assert counts == [12, 15, 16]


@pytest.mark.parametrize(
    'field, value',
    [
        ('family', 'soft'),
        ('coupling', 'rate'),
        ('slope', 0.0),
        ('slope', math.inf),
        ('slope', math.nan),
        ('width', -1.0),
        ('levels', 0),
        ('levels', 2.0),
        ('num_steps', 0),
        ('num_steps', -1),
        ('num_steps', 1.5),
        ('pooling', ()),
        ('pooling', ('last', 'last')),
        ('pooling', ('first',)),
        ('pooling', 'last'),
    ],
)
def test_config_refuses_a_bad_field_and_names_it(field, value):
  with pytest.raises(ValueError, match=f'Config.{field} is '):
    Config(**{field: value})


def test_config_refuses_an_unknown_field():
  with pytest.raises(TypeError, match='steps'):
    Config(steps=2)


def test_config_is_frozen_and_a_static_argument():
  config = Config(num_steps=4)
  with pytest.raises(dataclasses.FrozenInstanceError):
    config.num_steps = 2
  assert hash(config) == hash(Config(num_steps=4))
  assert config != Config(num_steps=2)
  scale = jax.jit(lambda x, config: x * config.num_steps, static_argnums=1)
  assert scale(2.0, config) == 8.0
  assert dataclasses.replace(config, num_steps=2) == Config(num_steps=2)


def test_choice_and_positive_accept_what_is_right():
  types.check_choice('name', 'a', ('a', 'b'))
  types.check_positive('name', 1e-9)


def test_choice_lists_the_choices():
  with pytest.raises(ValueError, match="name is 'c'; expected one of 'a', 'b'"):
    types.check_choice('name', 'c', ('a', 'b'))


def test_shape_accepts_what_is_right():
  types.check_shape('f: x', jnp.zeros((2, 3, 4)), 'B N D')
  types.check_shape('f: x', jnp.zeros((2, 3)), 'B D', D=3)


@pytest.mark.parametrize('shape', [(2, 3), (2, 3, 4, 1), (2, 0, 3), (2, 3, 4)])
def test_shape_names_what_came_what_was_expected_and_the_cause(shape):
  with pytest.raises(ValueError) as error:
    types.check_shape('f: x', jnp.zeros(shape), 'B N D', 'Transpose it.', D=3)
  assert str(error.value) == (f'f: x has shape {shape}; expected [B, N, D] '
                              'with D = 3. Transpose it.')


# --- Model --------------------------------------------------------------------


def tiny_model(**options):
  one = jnp.ones((1, 1))
  layer = Layer(*([Gates(one, one, one, one)] * 3))
  return Model(Encoder(jnp.zeros((1,)), jnp.ones((1,))), (layer,),
               Readout(jnp.ones((1, 2)), jnp.zeros((2,))), Config(**options))


def test_a_model_knows_its_sizes_and_whether_it_spikes():
  model = tiny_model()
  assert (model.num_features, model.layers[0].num_units,
          model.num_outputs) == (1, 1, 2)
  assert not model.is_spiking
  neuron = neurons.integrate_and_fire(True)
  layer = model.layers[0]._replace(neurons=Sites(c=neuron))
  assert model.replace(layers=(layer,)).is_spiking
  encoder = model.encoder._replace(neuron=neuron)
  assert not model.replace(encoder=encoder).is_spiking


def test_the_config_of_a_model_is_structure_and_its_leaves_are_parameters():
  model = tiny_model(num_steps=2)
  leaves, treedef = jax.tree.flatten(model)
  assert len(leaves) == 2 + 12 + 2
  assert jax.tree.unflatten(treedef, leaves).config == model.config
  assert jax.tree.map(lambda leaf: 2 * leaf, model).config == model.config
  assert jax.jit(lambda m: m)(model).config == model.config
  assert jax.grad(lambda m: m.readout.w.sum())(model).config == model.config
  other = tiny_model(num_steps=3)
  assert jax.tree.structure(other) != treedef
  with pytest.raises(ValueError, match='different pytree metadata'):
    jax.tree.map(lambda a, b: a + b, model, other)
