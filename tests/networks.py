"""Small networks for the tests, with exactly representable or random leaves."""

from typing import Any, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import slstm
from slstm import neurons
from slstm import types
from slstm.sigma_delta import sigma_delta
from slstm.types import (CellState, Config, Encoder, Gates, Layer, Model,
                         Readout, Sites)

FEATURES = 3
HIDDEN = 4


def grid(rng: np.random.Generator, shape: Sequence[int], most: int,
         scale: float) -> jax.Array:
  """Random multiples of `scale` in [-most * scale, most * scale]."""
  return jnp.asarray(rng.integers(-most, most + 1, shape) * scale, jnp.float32)


def choose(rng: np.random.Generator, shape: Sequence[int],
           values: Sequence[float]) -> jax.Array:
  """Random picks of a few values."""
  return jnp.asarray(rng.choice(values, tuple(shape)), jnp.float32)


def dyadic_neuron(rng: np.random.Generator, signed: bool,
                  shape: tuple[int, ...]) -> neurons.LIF:
  """A LIF of dyadic values; where the shape is (), an IF for a whole layer."""
  return neurons.LIF(v_th=choose(rng, shape, (0.5, 0.75, 1.0)),
                     v_0=choose(rng, shape, (-0.25, 0.25) if signed else
                                (0.25, 0.5)),
                     amplitude=choose(rng, shape, (0.5, 1.0)),
                     leak=choose(rng, shape, (0.5,)) if shape else None)


def dyadic_layers(rng: np.random.Generator,
                  sites: Sequence[Sequence[str]]) -> tuple[Layer, ...]:
  """One layer for each entry of `sites`, which names its spiking sites.

  The neurons of layers 0, 2, .. are LIF, one per unit; those of 1, 3, .. IF,
  one per layer. With slope 1/2 and inputs from `dyadic_input`, every sum over
  up to 7 elements and 7 steps is exact in float32, if a layer's output is made
  of spikes or the family is 'quantised' with 2 levels.
  """
  layers = []
  features = FEATURES
  for index, names in enumerate(sites):
    shape = () if index % 2 else (HIDDEN,)
    at_sites = {
        name: dyadic_neuron(rng, name in types.SIGNED_SITES, shape)
        for name in names
    }
    layers.append(
        Layer(
            w=Gates(*(grid(rng, (features, HIDDEN), 2, 0.5) for _ in range(4))),
            u=Gates(*(grid(rng, (HIDDEN, HIDDEN), 1, 1.0) for _ in range(4))),
            b=Gates(*(grid(rng, (HIDDEN,), 2, 0.5) for _ in range(4))),
            neurons=Sites(**at_sites)))
    features = HIDDEN
  return tuple(layers)


def dyadic_model(rng: np.random.Generator, layers: Sequence[Layer], neuron: Any,
                 **config: Any) -> Model:
  """A model of `dyadic_layers` with two outputs and a neuron at the input."""
  half = jnp.full((FEATURES,), 0.5)
  readout = Readout(grid(rng, (HIDDEN, 2), 2, 0.5), jnp.zeros((2,)))
  return Model(
      Encoder(half, half, neuron), tuple(layers), readout,
      Config(family='quantised', slope=0.5, pooling=('last',), **config))


def dyadic_input(rng: np.random.Generator, *axes: int) -> jax.Array:
  """An input [*axes, D], time- or batch-major, for `dyadic_layers`."""
  return grid(rng, (*axes, FEATURES), 2, 0.5)


def dyadic_state(rng: np.random.Generator, layers: Sequence[Layer], slots: int,
                 batch: int) -> tuple[CellState, ...]:
  """A random initial state of each layer."""
  shapes = [(slots, batch, layer.num_units) for layer in layers]
  return tuple(
      CellState(grid(rng, shape, 1, 1.0), grid(rng, shape, 4, 0.5))
      for shape in shapes)


def gaussian_layers(rng: np.random.Generator,
                    sites: Sequence[Sequence[str]]) -> tuple[Layer, ...]:
  """As `dyadic_layers`, with Gaussian weights; float64 in `jax.enable_x64`."""
  gaussian = lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape))
  return tuple(
      jax.tree.map(gaussian, layer._replace(neurons=Sites()))._replace(
          neurons=jax.tree.map(
              lambda leaf: jnp.asarray(leaf, jnp.result_type(float)),
              layer.neurons)) for layer in dyadic_layers(rng, sites))


# --- Whole models, such as integers can hold ----------------------------------

CASES = [  # sites of each layer, config, neuron at the input; of `dyadic`
    (('oc',), dict(), None),
    (('oc', 'oc'), dict(num_steps=2), None),
    (('oc', 'oc'), dict(num_steps=2, coupling='shared'), None),
    (('oc', 'oc'), dict(num_steps=4), 'lif'),
    (('oc',), dict(num_steps=2, encoder_steps=4), 'lif'),
    (('oc', 'oc'), dict(num_steps=2, coupling='shared'), 'lif'),
    (('ifgoc', 'oc'), dict(num_steps=2), None),
    (('ifh', 'goc'), dict(num_steps=2), None),
    (('ifgoch',), dict(num_steps=4, coupling='shared'), None),
    (('d', 'd'), dict(), None),
    (('d', 'd'), dict(num_steps=2, coupling='shared'), 'delta'),
    (('d', 'oc'), dict(), 'delta'),
]


def dyadic(sites: Sequence[str],
           options: dict[str, Any],
           at_input: str | None,
           pooling: tuple[str, ...] = ('last',),
           seed: int = 0) -> tuple[Model, np.ndarray]:
  """A model and an input of which every value is a small dyadic fraction.

  Args:
    sites: of each layer; 'd' is a sigma-delta neuron at h.
    options: of the config.
    at_input: the neuron there: None, 'lif' or 'delta'.
    pooling, seed: of the config; of all random numbers.
  """
  rng = np.random.default_rng(seed)
  delta = sigma_delta([0.5, 0.25, 0.5, 0.5], 0.75)
  layers = [
      layer._replace(neurons=Sites(h=delta)) if names == 'd' else layer
      for layer, names in zip(
          dyadic_layers(rng, [n.replace('d', '') for n in sites]), sites)
  ]
  neuron = {
      None: None,
      'lif': dyadic_neuron(rng, True, (FEATURES,)),
      'delta': sigma_delta([1.0, 0.5, 0.5]),
  }[at_input]
  model = dyadic_model(rng, layers, neuron, **options)
  x = np.asarray(dyadic_input(rng, 5, 5))
  if pooling != ('last',):
    wide = grid(rng, (len(pooling) * HIDDEN, 2), 2, 0.5)
    model = Model(model.encoder, model.layers, Readout(wide, model.readout.b),
                  Config(**{
                      **vars(model.config), 'pooling': pooling
                  }))
  return model, x


def gaussian(family: str, x: np.ndarray) -> Model:
  """A random LSTM of two layers, whose encoder standardises x [B, N, D]."""
  config = Config(family=family, pooling=('last', 'mean'))
  return slstm.init(jax.random.key(3), num_features=FEATURES,
                    hidden_sizes=(9, 7), num_outputs=4, config=config,
                    encoder=slstm.standardising(x))  # yapf: disable
