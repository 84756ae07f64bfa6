"""What the benchmarks time of this library: LSTMs, spiking LSTMs, the floor.

Inputs are normal random numbers. A spiking network is converted from a random
LSTM on inputs of the same kind, so that it does spike. A training step has a
learning rate of next to nothing: it does the work of any step, and the network
stays the same however often it is timed.
"""

import dataclasses
import functools
import time
from typing import Any, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import measure
from experiments.bench.measure import Key
from experiments.bench.measure import Shape
from experiments.bench.measure import Subject
import slstm
from slstm import model as model_lib
from slstm import parallel
from slstm import train

CLASSES = 10
LEARNING_RATE = 1e-9
_CALIBRATION = 16  # sequences
_STEPS = 1000  # optimiser steps of the training that the step belongs to


def batch(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
  """Inputs x [B, N, D] and labels y [B]."""
  size = (shape.batch, shape.elements, shape.features)
  x = np.random.default_rng(0).normal(size=size).astype(np.float32)
  return x, np.arange(shape.batch, dtype=np.int32) % CLASSES


def placed(
    shape: Shape) -> tuple[parallel.Placement, tuple[jax.Array, jax.Array]]:
  """The placement in which all devices share the batch, and the batch."""
  place = parallel.placement(shape.batch)
  return place, place.split(jax.tree.map(jnp.asarray, batch(shape)))


def ours(shape: Shape, steps: Sequence[int], executors: Sequence[str],
         sites: tuple[str, ...], couplings: Sequence[str],
         training: bool) -> dict[Key, Subject]:
  """The LSTM, and the spiking LSTMs of every T, with every executor."""
  subject = training_step if training else _inference
  lstm = _source(shape, slstm.Config(family='standard'))
  found = {Key(measure.LSTM, e): subject(lstm, shape, e) for e in executors}
  converted = spiking(shape, steps, sites)
  for coupling in couplings:
    if coupling == 'sigma_delta':
      snns = [sigma_delta(lstm, shape, t) for t in steps]
    else:
      configs = [dataclasses.replace(s.config, coupling=coupling)
                 for s in converted]  # yapf: disable
      snns = [dataclasses.replace(s, config=c)
              for s, c in zip(converted, configs)]  # yapf: disable
    for snn in snns:
      rate = spike_rate(snn, shape)
      for name in executors:
        if name in model_lib.executors_for(snn):
          key = Key(measure.SPIKING[coupling], name, snn.config.num_steps)
          found[key] = subject(snn, shape, name)._replace(spike_rate=rate)
  return found


def _source(shape: Shape, config: slstm.Config) -> slstm.Model:
  return slstm.init(jax.random.key(0),
                    num_features=shape.features,
                    hidden_sizes=(shape.hidden,) * shape.layers,
                    num_outputs=CLASSES,
                    config=config)


def spiking(shape: Shape, steps: Sequence[int],
            sites: tuple[str, ...]) -> list[slstm.Model]:
  """For every T a spiking LSTM, converted from a hard one of that shape."""
  source = _source(shape, slstm.Config())
  x, _ = batch(shape._replace(batch=_CALIBRATION))
  calibration = slstm.calibrate(source, x)
  configs = [slstm.ConversionConfig(sites=sites, num_steps=t) for t in steps]
  return [slstm.convert(source, calibration, c).model for c in configs]


def sigma_delta(lstm: slstm.Model, shape: Shape, num_steps: int) -> slstm.Model:
  """A spiking LSTM that sends changes of h, of an LSTM of that shape."""
  x, _ = batch(shape._replace(batch=_CALIBRATION))
  point, = slstm.trade_off(lstm, x, num_steps=num_steps, thetas=(0.1,),
                           levels=(0.5,))  # yapf: disable
  return point.model


def spike_rate(model: slstm.Model, shape: Shape) -> float:
  """Share of spikes of h that are not zero, over all layers."""
  observe = lambda record: jnp.mean(record.spikes_of_h != 0)
  x, _ = batch(shape._replace(batch=_CALIBRATION))
  run = jax.jit(lambda x: slstm.apply(model, x, observe=observe).observed)
  return float(np.mean(run(x)))


def _inference(model: slstm.Model, shape: Shape, executor: str) -> Subject:
  place, (x, _) = placed(shape)
  return compiled(train.compiled_predict, (place.everywhere(model), x),
                  executor=model_lib.EXECUTORS[executor])


def training_step(model: slstm.Model, shape: Shape, executor: str) -> Subject:
  """`train.train_step` with the default recipe."""
  config = slstm.TrainConfig(batch_size=shape.batch,
                             learning_rate=LEARNING_RATE)
  state = slstm.initial_state(model, config, shape.batch)
  place, xy = placed(shape)
  numbers = jax.tree.map(jnp.asarray, config.numbers(_STEPS))
  moving, *rest = place.everywhere(((state.raw, state.average, state.opt_state),
                                    jax.random.key(1), jnp.asarray(1), numbers))
  return compiled(train.train_step, (moving, slstm.Data(*xy), *rest),
                  donated=True,
                  executor=model_lib.EXECUTORS[executor],
                  place=place)


def compiled(jitted: Any,
             arguments: tuple,
             donated: bool = False,
             **static: Any) -> Subject:
  """Compiles a jitted function ahead of time.

  If the first argument is donated, the first output replaces it at the next
  call.
  """
  begin = time.perf_counter()
  function = jitted.lower(*arguments, **static).compile()
  seconds = time.perf_counter() - begin
  # The caller keeps its arrays: what is donated is a copy.
  first = jax.tree.map(jnp.copy, arguments[0]) if donated else arguments[0]
  kept = [first, *arguments[1:]]

  def run() -> None:
    output = jax.block_until_ready(function(*kept))
    if donated:
      kept[0] = output[0]

  stats = function.memory_analysis()  # of arguments, results and temporaries
  peak_bytes = stats and (stats.argument_size_in_bytes +
                          stats.output_size_in_bytes +
                          stats.temp_size_in_bytes - stats.alias_size_in_bytes)
  return Subject(run, seconds, peak_bytes)


def floor(shape: Shape, steps: Sequence[int],
          training: bool) -> dict[Key, Subject]:
  """The matrix products of the stacked schedule, for every T, and only those.

  U is orthogonal, so that h keeps its norm.
  """
  w_key, u_key, h_key = jax.random.split(jax.random.key(0), 3)
  orthogonal = jax.nn.initializers.orthogonal()
  hidden = shape.hidden
  gates = [orthogonal(k, (hidden, hidden)) for k in jax.random.split(u_key, 4)]
  weights = [(orthogonal(w_key, (size, 4 * hidden)), jnp.concatenate(gates, 1))
             for size in shape.fan_in]
  place, (x, _) = placed(shape)
  function = jax.jit(_gradient_products if training else _products)
  found, weights = {}, place.everywhere(weights)
  for t in steps:
    h_0 = place.split(jax.random.normal(h_key, (t * shape.batch, hidden)))
    key = Key(measure.FLOOR, None, t)
    found[key] = compiled(function, (weights, x, h_0))
  return found


def _products(weights: list, x: jax.Array, h_0: jax.Array) -> Any:
  """For each layer W x of all n at once, and U h from one n to the next.

  Returns:
    For each layer (x [N, B or T B, fan in], W x, h [N, T B, H]).
  """
  layers, x = [], jnp.swapaxes(x, 0, 1)
  for w, u in weights:
    _, h = jax.lax.scan(functools.partial(_forward, u), h_0, length=len(x))
    layers.append((x, x @ w, h))
    x = h
  return layers


def _gradient_products(weights: list, x: jax.Array, h_0: jax.Array) -> Any:
  """Those of the forward pass, and twice as many for the gradients.

  dz stands for the gradient of the packed gates, which has four times as many
  columns as h: dh = dz U' goes from n to n - 1, and after that come the
  gradients of U, of W, and of the input of every layer but the first.
  """
  forward, gradients = _products(weights, x, h_0), []
  for index, ((w, u), (x_n, _, h)) in enumerate(zip(weights, forward)):
    _, dz = jax.lax.scan(functools.partial(_backward, u), h_0, length=len(h))
    # All t of a sequence share the first input, and their dz add up.
    dz_w = dz.reshape(*x_n.shape[:2], -1, dz.shape[2]).sum(2)
    d_w = jnp.einsum('nbd,nbk->dk', x_n, dz_w)
    d_u = jnp.einsum('nbh,nbk->hk', h, dz)
    gradients.append((d_w, d_u, dz @ w.T if index else None))
  return [layer[1] for layer in forward], gradients


# The barriers stop XLA from leaving out columns that are not used.


def _forward(u: jax.Array, h: jax.Array,
             _: None) -> tuple[jax.Array, jax.Array]:
  h = jax.lax.optimization_barrier(h @ u)[:, :h.shape[1]]
  return h, h


def _backward(u: jax.Array, dh: jax.Array,
              _: None) -> tuple[jax.Array, jax.Array]:
  dz = jnp.tile(0.5 * dh, (1, 4))  # of the same norm at every n
  return jax.lax.optimization_barrier(dz @ u.T), dz
