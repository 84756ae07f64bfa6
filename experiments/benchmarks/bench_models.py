"""What the benchmarks time of this library: LSTMs, spiking LSTMs, the floor.

Inputs are normal random numbers. A spiking network is converted from a random
LSTM on inputs of the same kind, so that it does spike. A training step moves
the parameters by next to nothing: the work is that of any step, and the network
stays the one that was made, however often it is timed.
"""

import dataclasses
import time
from typing import Any, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import bench
from experiments.benchmarks.bench import Key
from experiments.benchmarks.bench import Shape
from experiments.benchmarks.bench import Subject
import slstm
from slstm import executor as executor_lib
from slstm import optimiser
from slstm import parallel
from slstm import train
from slstm.types import Config, Params

CLASSES = 10
LEARNING_RATE = 1e-9
_CALIBRATION = 16  # sequences
_STEPS = 1000  # optimiser steps of the training that the step belongs to


def inputs(shape: Shape) -> np.ndarray:
  """A batch x [N, B, D]."""
  size = (shape.elements, shape.batch, shape.features)
  return np.random.default_rng(0).normal(size=size).astype(np.float32)


def labels(shape: Shape) -> np.ndarray:
  """Its labels y [B]."""
  return np.arange(shape.batch, dtype=np.int32) % CLASSES


def placed(
    shape: Shape) -> tuple[parallel.Placement, tuple[jax.Array, jax.Array]]:
  """Where a network goes if all devices share its batch, and that, (x, y)."""
  place = parallel.placement(shape.batch)
  x = place.split(jnp.asarray(inputs(shape)), 1)
  y = place.split(jnp.asarray(labels(shape)), 0)
  return place, (x, y)


def ours(shape: Shape, steps: Sequence[int], executors: Sequence[str],
         sites: tuple[str, ...], couplings: Sequence[str],
         training: bool) -> dict[Key, Subject]:
  """The LSTM, and the spiking LSTMs for every T, under every executor."""
  subject = training_step if training else _inference
  lstm = Config(family='standard')
  params = _source(shape, lstm)
  found = {
      Key(bench.LSTM, executor): subject(params, lstm, shape, executor)
      for executor in executors
  }
  converted = spiking(shape, steps, sites)
  for coupling in couplings:
    for params, config in converted:
      config = dataclasses.replace(config, coupling=coupling)
      rate = spike_rate(params, config, shape)
      for executor in executors:
        if not executor_lib.runs(executor, coupling):
          continue
        made = subject(params, config, shape, executor)
        key = Key(bench.SPIKING[coupling], executor, config.num_steps)
        found[key] = made._replace(spike_rate=rate)
  return found


def _source(shape: Shape, config: Config) -> Params:
  return slstm.init(jax.random.key(0), shape.features,
                    (shape.hidden,) * shape.layers, CLASSES, config)


def spiking(shape: Shape, steps: Sequence[int],
            sites: tuple[str, ...]) -> list[tuple[Params, Config]]:
  """For every T a spiking LSTM, converted from a hard one of that shape."""
  config = Config()
  params = _source(shape, config)
  calibration = slstm.calibrate(params,
                                inputs(shape._replace(batch=_CALIBRATION)),
                                config)
  return [
      slstm.convert(params, calibration,
                    slstm.ConversionConfig(sites=sites, num_steps=t))[:2]
      for t in steps
  ]


def spike_rate(params: Params, config: Config, shape: Shape) -> float:
  """Share of h that is not zero, over all layers."""
  observe = lambda record: jnp.mean(record.state.h != 0)
  run = jax.jit(lambda x: slstm.apply(params, x, config, observe=observe))
  observed = run(inputs(shape._replace(batch=_CALIBRATION))).observed
  return float(np.mean([np.mean(layer) for layer in observed]))


def _inference(params: Params, config: Config, shape: Shape,
               executor: str) -> Subject:
  place, (x, _) = placed(shape)
  return compiled(train.predict, (place.everywhere(params), x),
                  (config, executor))


def training_step(params: Params, config: Config, shape: Shape,
                  executor: str) -> Subject:
  """`train.train_step` with the default recipe."""
  chosen = slstm.TrainConfig(batch_size=shape.batch,
                             learning_rate=LEARNING_RATE,
                             executor=executor)
  raw = optimiser.unconstrain(params)
  moving = (raw, raw, optimiser.optimiser(chosen, _STEPS).init(raw))
  place, batch = placed(shape)
  rest = (batch, *place.everywhere((jax.random.key(1), jnp.asarray(1))))
  return compiled(train.train_step, (place.everywhere(moving), *rest),
                  (config, chosen, _STEPS, place),
                  donated=True)


def compiled(jitted: Any,
             arguments: tuple,
             static: tuple = (),
             donated: bool = False) -> Subject:
  """Compiles a jitted function ahead of time.

  Args:
    jitted: from `jax.jit`.
    arguments: of every call.
    static: the static ones, which follow them.
    donated: the first argument is donated, and the first output takes its
      place at the next call.
  """
  begin = time.perf_counter()
  function = jitted.lower(*arguments, *static).compile()
  seconds = time.perf_counter() - begin
  # The caller keeps its arrays: what is donated is a copy.
  first = jax.tree.map(jnp.copy, arguments[0]) if donated else arguments[0]
  kept = [first, *arguments[1:]]

  def run() -> None:
    output = jax.block_until_ready(function(*kept))
    if donated:
      kept[0] = output[0]

  return Subject(run, seconds, _peak_bytes(function))


def _peak_bytes(function: Any) -> int | None:
  """Arguments, results and temporaries of a compiled function, on a device."""
  stats = function.memory_analysis()
  if stats is None:
    return None
  return (stats.argument_size_in_bytes + stats.output_size_in_bytes +
          stats.temp_size_in_bytes - stats.alias_size_in_bytes)


def floor(shape: Shape, steps: Sequence[int],
          training: bool) -> dict[Key, Subject]:
  """The matrix products of the stacked schedule for every T, and only those."""
  function = jax.jit(_gradient_products if training else _products)
  keys = jax.random.split(jax.random.key(0), shape.layers)
  orthogonal = jax.nn.initializers.orthogonal()
  weights, fan_in = [], shape.features
  for key in keys:
    gates = [
        orthogonal(k, (shape.hidden,) * 2) for k in jax.random.split(key, 4)
    ]
    weights.append(
        (orthogonal(key, (fan_in, 4 * shape.hidden)), jnp.concatenate(gates,
                                                                      1)))
    fan_in = shape.hidden
  place, (x, _) = placed(shape)
  weights = place.everywhere(weights)
  h_0 = {
      t:
          place.split(
              jax.random.normal(jax.random.key(1),
                                (t * shape.batch, shape.hidden)), 0)
      for t in steps
  }
  return {
      Key(bench.FLOOR, None, t): compiled(function, (weights, x, h_0[t]))
      for t in steps
  }


def _products(weights: list, x: jax.Array, h_0: jax.Array) -> Any:
  """For each layer W x of all n at once, and U h from one n to the next.

  Returns:
    For each layer (x [N, B or T B, fan in], W x, h [N, T B, H]).
  """
  layers = []
  for w, u in weights:
    h = _chain(u, h_0, x.shape[0])
    layers.append((x, x @ w, h))
    x = h
  return layers


def _chain(matrix: jax.Array, start: jax.Array, length: int) -> jax.Array:
  """Products that wait for one another, [length, *start.shape]."""

  def element(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
    # The barrier keeps the columns that are not used from being left out.
    product = jax.lax.optimization_barrier(state @ matrix)
    state = product[:, :state.shape[1]]
    return state, state

  return jax.lax.scan(element, start, length=length)[1]


def _gradient_products(weights: list, x: jax.Array, h_0: jax.Array) -> Any:
  """Those of the forward pass, and twice as many for the gradients.

  dz stands for the gradient of the packed gates, which has four times as many
  columns as h: from n to n - 1 goes dh = dz U', and after that come the
  gradients of U, of W, and of the input of every layer but the first.
  """
  forward = _products(weights, x, h_0)
  gradients = []
  for index in reversed(range(len(weights))):
    w, u = weights[index]
    inputs_n, _, h = forward[index]
    dz = _backward_chain(u, h_0, x.shape[0])
    below = dz @ w.T if index else None
    # All t of a sequence share the first input, and their dz add up.
    dz_w = dz.reshape(len(dz), inputs_n.shape[1], -1, dz.shape[2]).sum(2)
    gradients.append((jnp.einsum('nbd,nbk->dk', inputs_n,
                                 dz_w), jnp.einsum('nbh,nbk->hk', h,
                                                   dz), below))
  return [layer[1] for layer in forward], gradients


def _backward_chain(u: jax.Array, start: jax.Array, length: int) -> jax.Array:
  """The dz of all n, [length, T B, 4 H]."""

  def element(dh: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
    dz = jnp.tile(0.5 * dh, (1, 4))  # of the same norm at every n
    return jax.lax.optimization_barrier(dz @ u.T), dz

  return jax.lax.scan(element, start, length=length)[1]
