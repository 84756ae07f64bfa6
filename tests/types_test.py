"""Tests of slstm.types: the tree's structure and the checks of a Config."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from slstm import types
from slstm.types import Config, Gates, Layer, Neuron, Sites


def test_present_lists_the_converted_sites_in_order():
  one = jnp.ones(())
  neuron = Neuron(one, one, one)
  assert Sites().present == ()
  assert Sites(h=neuron, f=neuron).present == ('f', 'h')
  assert Sites(*[neuron] * 6).present == types.SITES


def test_an_analog_site_and_an_if_leak_are_structure_not_leaves():
  one = jnp.ones(())
  gates = Gates(one, one, one, one)
  ann = Layer(gates, gates, gates)
  snn = ann._replace(neurons=Sites(c=Neuron(one, one, one)))
  lif = ann._replace(neurons=Sites(c=Neuron(one, one, one, one)))
  counts = [len(jax.tree.leaves(layer)) for layer in (ann, snn, lif)]
  assert counts == [12, 15, 16]


@pytest.mark.parametrize(
    'field, value',
    [
        ('family', 'soft'),
        ('coupling', 'rates'),
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
