"""LSTMs and spiking LSTMs of other libraries, for the benchmarks.

Each is a stack of layers of the benchmark's shape with a linear read-out on the
last output; a training step is forward, backward and Adam. The spiking ones
spend one SNN step on an element: compare them with T = 1, or with what a T
costs. snntorch's SLSTM zeroes its state at every step where D and H differ
(1.0.0), so only its time means something.

The PyTorch libraries are optional (`pip install slstm[bench]`) and imported
only when asked for. They run on the GPU if JAX does. Each library gets the
batch in its default layout: time-major in PyTorch.
"""

import functools
from typing import Any, Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from experiments.bench import models
from experiments.bench.measure import Key
from experiments.bench.measure import Shape
from experiments.bench.measure import Subject


def subjects(names: Sequence[str], shape: Shape,
             training: bool) -> tuple[dict[Key, Subject], dict[str, str]]:
  """The peers of those names, and why some of them are skipped."""
  found, skipped = {}, {}
  for name in names:
    try:
      found[Key(name)] = PEERS[name](shape, training)
    except ImportError as error:
      skipped[name] = str(error)
  return found, skipped


def _linen(shape: Shape, training: bool) -> Subject:
  from flax import linen

  cells = [linen.OptimizedLSTMCell(shape.hidden) for _ in shape.fan_in]
  stack = map(linen.RNN, cells)
  last, readout = lambda h: h[:, -1], linen.Dense(models.CLASSES)
  network = linen.Sequential([*stack, last, readout])
  params = jax.jit(network.init)(jax.random.key(0), models.batch(shape)[0])
  return _of_jax(network.apply, params, shape, training)


def _of_jax(apply: Callable, params: Any, shape: Shape,
            training: bool) -> Subject:
  """The inference or training step of outputs = apply(params, x)."""
  place, (x, y) = models.placed(shape)
  params = place.everywhere(params)
  if not training:
    return models.compiled(jax.jit(apply), (params, x))
  adam = optax.adam(models.LEARNING_RATE)

  def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(
        optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y))

  def step(moving: tuple, x: jax.Array, y: jax.Array) -> tuple:
    params, state = moving
    value, gradient = jax.value_and_grad(loss)(params, x, y)
    updates, state = adam.update(gradient, state, params)
    return (optax.apply_updates(params, updates), state), value

  moving = params, place.everywhere(adam.init(params))
  return models.compiled(jax.jit(step, donate_argnums=0), (moving, x, y),
                         donated=True)


def _torch(shape: Shape, training: bool) -> Subject:
  import torch

  lstm = torch.nn.LSTM(shape.features, shape.hidden, shape.layers)
  return _of_torch([lstm], lambda x: lstm(x)[0][-1], shape, training)


def _spikingjelly(shape: Shape, training: bool) -> Subject:
  from spikingjelly.activation_based import rnn

  lstm = rnn.SpikingLSTM(shape.features, shape.hidden, shape.layers)
  return _of_torch([lstm], lambda x: lstm(x)[0][-1], shape, training)


def _snntorch(shape: Shape, training: bool) -> Subject:
  import snntorch

  layers = [snntorch.SLSTM(size, shape.hidden) for size in shape.fan_in]

  def last(x: Any) -> Any:
    states = [layer.reset_mem() for layer in layers]
    for spikes in x:
      for index, layer in enumerate(layers):
        spikes, *states[index] = layer(spikes, *states[index])
    return spikes

  return _of_torch(layers, last, shape, training)


def _norse(shape: Shape, training: bool) -> Subject:
  import norse.torch

  cell = norse.torch.LSNNRecurrent
  layers = [cell(size, shape.hidden) for size in shape.fan_in]
  last = lambda x: functools.reduce(lambda x, layer: layer(x)[0], layers, x)[-1]
  return _of_torch(layers, last, shape, training)


def _of_torch(layers: list[Any], last: Callable, shape: Shape,
              training: bool) -> Subject:
  """As `_of_jax`; `last` maps x [N, B, D] to the last output [B, H]."""
  import torch

  cuda = jax.default_backend() == 'gpu' and torch.cuda.is_available()
  device = 'cuda' if cuda else 'cpu'
  readout = torch.nn.Linear(shape.hidden, models.CLASSES)
  network = torch.nn.ModuleList([*layers, readout]).to(device).train(training)
  x, y = map(torch.from_numpy, models.batch(shape))
  x, y = x.swapaxes(0, 1).contiguous().to(device), y.long().to(device)
  adam = torch.optim.Adam(network.parameters(), lr=models.LEARNING_RATE)

  def run() -> None:
    if training:
      adam.zero_grad()
      torch.nn.functional.cross_entropy(readout(last(x)), y).backward()
      adam.step()
    else:
      with torch.inference_mode():
        readout(last(x))
    if cuda:
      torch.cuda.synchronize()

  return Subject(run)


PEERS: dict[str, Callable[[Shape, bool], Subject]] = {
    'flax.linen': _linen,
    'torch': _torch,
    'snntorch': _snntorch,
    'spikingjelly': _spikingjelly,
    'norse': _norse,
}
