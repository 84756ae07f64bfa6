"""LSTMs and spiking LSTMs of other libraries, for the benchmarks.

Each is a stack of layers of the benchmark's shape with a linear read-out on the
last output; a training step is forward, backward and Adam. The spiking ones
spend one SNN step on an element: compare them with T = 1, or with what a T
costs. snntorch's SLSTM zeroes its state at every step where N and H differ
(1.0.0), so only its time means something.

The libraries of PyTorch are optional (`pip install slstm[bench]`), imported
here and only when asked for. They run on the GPU if that is where JAX runs, and
else on the threads that `set_threads` gives them; XLA has a pool of its own.
"""

import importlib
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks import bench_models
from experiments.benchmarks.bench import Key
from experiments.benchmarks.bench import Shape
from experiments.benchmarks.bench import Subject


class Peer(NamedTuple):
  """Another library's network.

  Attributes:
    module: that must be there to import.
    build: makes the inference, or the training step if asked to.
  """
  module: str
  build: Callable[[Shape, bool], Subject]


def present(names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
  """Which peers can be imported, and of the others the reason why not."""
  found, skipped = [], {}
  for name in names:
    try:
      importlib.import_module(PEERS[name].module)
      found.append(name)
    except ImportError as error:
      skipped[name] = str(error)
  return tuple(found), skipped


def subjects(names: Sequence[str], shape: Shape,
             training: bool) -> dict[Key, Subject]:
  """The peers of those names."""
  return {Key(name): PEERS[name].build(shape, training) for name in names}


def set_threads(threads: int) -> None:
  """Sets how many threads PyTorch has, if it is there."""
  try:
    importlib.import_module('torch').set_num_threads(threads)
  except ImportError:
    pass


def _linen(shape: Shape, training: bool) -> Subject:
  from flax import linen

  stack = [
      linen.RNN(linen.OptimizedLSTMCell(shape.hidden), time_major=True)
      for _ in range(shape.layers)
  ]
  last = lambda h: h[-1]
  network = linen.Sequential([*stack, last, linen.Dense(bench_models.CLASSES)])
  params = jax.jit(network.init)(jax.random.key(0), bench_models.inputs(shape))
  return _of_jax(network.apply, params, shape, training)


def _nnx(shape: Shape, training: bool) -> Subject:
  from flax import nnx

  rngs = nnx.Rngs(0)
  sizes = (shape.features,) + (shape.hidden,) * shape.layers
  stack = [
      nnx.RNN(nnx.OptimizedLSTMCell(fan_in, hidden, rngs=rngs), time_major=True)
      for fan_in, hidden in zip(sizes, sizes[1:])
  ]
  last = lambda h: h[-1]
  network = nnx.Sequential(
      *stack, last, nnx.Linear(shape.hidden, bench_models.CLASSES, rngs=rngs))
  graph, params, *rest = nnx.split(network, nnx.Param, ...)
  apply = lambda params, x: nnx.merge(graph, params, *rest, copy=True)(x)
  return _of_jax(apply, params, shape, training)


def _of_jax(apply: Callable, params: Any, shape: Shape,
            training: bool) -> Subject:
  """The inference or training step of logits = apply(params, x)."""
  place, (x, y) = bench_models.placed(shape)
  params = place.everywhere(params)
  if not training:
    return bench_models.compiled(jax.jit(apply), (params, x))
  adam = optax.adam(bench_models.LEARNING_RATE)

  def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(
        optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y))

  def step(moving: tuple, x: jax.Array, y: jax.Array) -> tuple:
    params, state = moving
    value, gradient = jax.value_and_grad(loss)(params, x, y)
    updates, state = adam.update(gradient, state, params)
    return (optax.apply_updates(params, updates), state), value

  return bench_models.compiled(
      jax.jit(step, donate_argnums=0),
      ((params, place.everywhere(adam.init(params))), x, y),
      donated=True)


def _of_torch(
    stack: Callable[[Shape], tuple[list[Any], Callable]]
) -> Callable[[Shape, bool], Subject]:
  """Makes a builder.

  Args:
    stack: maps a shape to (modules, function of x [N, B, D] that gives the
      output of the last layer at the last element, [B, H]).
  """

  def build(shape: Shape, training: bool) -> Subject:
    import torch

    device = 'cpu'
    if jax.default_backend() == 'gpu' and torch.cuda.is_available():
      device = 'cuda'
    torch.manual_seed(0)
    layers, last = stack(shape)
    readout = torch.nn.Linear(shape.hidden, bench_models.CLASSES)
    network = torch.nn.ModuleList([*layers, readout]).to(device)
    x = torch.from_numpy(bench_models.inputs(shape)).to(device)
    y = torch.from_numpy(bench_models.labels(shape).astype(np.int64)).to(device)
    adam = torch.optim.Adam(network.parameters(), lr=bench_models.LEARNING_RATE)

    def done() -> None:
      if device == 'cuda':
        torch.cuda.synchronize()

    def infer() -> None:
      with torch.inference_mode():
        readout(last(x))
      done()

    def step() -> None:
      adam.zero_grad()
      torch.nn.functional.cross_entropy(readout(last(x)), y).backward()
      adam.step()
      done()

    network.train(training)
    return Subject(step if training else infer)

  return build


def _torch(shape: Shape) -> tuple[list[Any], Callable]:
  import torch

  lstm = torch.nn.LSTM(shape.features, shape.hidden, shape.layers)
  return [lstm], lambda x: lstm(x)[0][-1]


def _snntorch(shape: Shape) -> tuple[list[Any], Callable]:
  import snntorch

  sizes = (shape.features,) + (shape.hidden,) * shape.layers
  layers = [snntorch.SLSTM(*pair) for pair in zip(sizes, sizes[1:])]

  def last(x: Any) -> Any:
    states = [layer.reset_mem() for layer in layers]
    for spikes in x:
      for index, layer in enumerate(layers):
        spikes, *states[index] = layer(spikes, *states[index])
    return spikes

  return layers, last


def _spikingjelly(shape: Shape) -> tuple[list[Any], Callable]:
  from spikingjelly.activation_based import rnn

  lstm = rnn.SpikingLSTM(shape.features, shape.hidden, shape.layers)
  return [lstm], lambda x: lstm(x)[0][-1]


def _norse(shape: Shape) -> tuple[list[Any], Callable]:
  import norse.torch

  sizes = (shape.features,) + (shape.hidden,) * shape.layers
  layers = [norse.torch.LSNNRecurrent(*pair) for pair in zip(sizes, sizes[1:])]

  def last(x: Any) -> Any:
    for layer in layers:
      x, _ = layer(x)
    return x[-1]

  return layers, last


PEERS = {
    'flax.linen': Peer('flax.linen', _linen),
    'flax.nnx': Peer('flax.nnx', _nnx),
    'torch': Peer('torch', _of_torch(_torch)),
    'snntorch': Peer('snntorch', _of_torch(_snntorch)),
    'spikingjelly': Peer('spikingjelly', _of_torch(_spikingjelly)),
    'norse': Peer('norse', _of_torch(_norse)),
}
