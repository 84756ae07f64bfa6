"""The front of error against spikes of sigma-delta neurons, and picks from it.

A larger theta, or a higher fire level, sends fewer spikes and follows the drive
less closely. `trade_off` puts sigma-delta neurons into a source LSTM, without
any training, for each pair of them, and measures both on calibration inputs.
`pick` takes the point that a budget of spikes or of error allows:

  points = slstm.trade_off(lstm, x_train[:512])
  snn = slstm.pick(points, rate=0.07).model
  *_, (state, _) = slstm.fit(snn, train, validation)

All units of the network start with one theta; training moves each of them.
"""

import dataclasses
import functools
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from slstm import borders
from slstm import model as model_lib
from slstm import padding
from slstm import types
from slstm.sigma_delta import sigma_delta
from slstm.types import Array, Model, Sites

THETAS = (0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0)
LEVELS = (0.5, 0.6, 0.7, 0.8)


class Point(NamedTuple):
  """Sigma-delta neurons of one theta and level, before any training.

  Attributes:
    theta, level: of `sigma_delta.SigmaDelta`.
    error: mean squared difference from the outputs of the source, over their
      variance.
    agreement: fraction of inputs with the source's largest output.
    rate: spikes per unit and element of the place, mean over layers.
    on_front: no other point is as good in error and rate, and better in one.
    model: the network.
  """
  theta: float
  level: float
  error: float
  agreement: float
  rate: float
  on_front: bool
  model: Model


def trade_off(model: Model,
              x: Any,
              *,
              lengths: Any = None,
              place: str = 'h',
              num_steps: int = 1,
              thetas: Sequence[float] = THETAS,
              levels: Sequence[float] = LEVELS,
              batch_size: int = 256) -> tuple[Point, ...]:
  """Measures sigma-delta neurons of each theta and level.

  Args:
    model: its layers have no neurons for place 'h', its input has none for
      'input'; what it puts out is what errors are measured against.
    x: calibration inputs, never test data, [B, N, D]; some hundred examples.
    lengths: how many elements of each sequence are real, [B]; None for all.
    place: 'h', all layers, or 'input'.
    num_steps: spikes per element at most: T of the layers, or S of the input.
    thetas, levels: to try; levels in [1/2, 1).
    batch_size: examples at a time.

  Returns:
    A Point for each pair, least rate first.

  Raises:
    ValueError: for neurons that are there already, values out of range, or a
      model whose outputs are all the same.
  """
  types.check_choice('trade_off: place', place, ('h', 'input'))
  types.check_shape('trade_off: x', x, 'B N D', D=model.num_features)
  borders.check_model(model, 'trade_off: model')
  borders.check_inputs(x, 'trade_off: x')
  padding.check(lengths, x, 'trade_off: lengths')
  spiking = model.is_spiking if place == 'h' else model.encoder.neuron
  if spiking:
    raise ValueError(f'trade_off: the model has neurons at place {place!r} '
                     'already; expected none there.')
  if not thetas or not levels:
    raise ValueError('trade_off: expected at least one theta and one level.')
  x = jnp.asarray(x, jnp.float32)
  lengths = None if lengths is None else jnp.asarray(lengths)
  batches = [*padding.batches(x, lengths, batch_size)]

  def run(snn: Model) -> tuple[np.ndarray, float]:
    found = [_run(snn, *batch, place) for batch in batches]
    rate = np.average([float(r) for _, r in found],
                      weights=[len(batch) for batch, _ in batches])
    outputs = np.concatenate([np.asarray(o, np.float64) for o, _ in found])
    return padding.kept(outputs, model.config, lengths), rate

  expected, _ = run(model)
  if not np.var(expected) > 0:
    raise ValueError('trade_off: all outputs of the model on x are the same; '
                     'expected a trained one, and several inputs.')
  points = []
  for theta in thetas:
    for level in levels:
      snn = _with_neurons(model, place, num_steps, theta, level)
      outputs, rate = run(snn)
      points.append(
          Point(float(theta), float(level), *deviation(outputs, expected),
                float(rate), False, snn))
  return rank(points, lambda point: (point.rate, point.error))


def deviation(outputs: np.ndarray, source: np.ndarray) -> tuple[float, float]:
  """Mean squared difference over the variance of the source, and agreement."""
  error = np.mean((outputs - source)**2) / np.var(source)
  agreement = np.mean(outputs.argmax(-1) == source.argmax(-1))
  return float(error), float(agreement)


def rank(found: Sequence[Any], cost: Callable) -> tuple[Any, ...]:
  """Sorts by a pair of costs, and marks the front (whatever is marked)."""
  beats = lambda a, b: a != b and a[0] <= b[0] and a[1] <= b[1]
  ranked, costs = sorted(found, key=cost), [*map(cost, found)]
  best = [not any(beats(a, cost(one)) for a in costs) for one in ranked]
  return tuple(a._replace(on_front=on) for a, on in zip(ranked, best))


def pick(points: Sequence[Point],
         *,
         rate: float | None = None,
         error: float | None = None) -> Point:
  """The point of least error within a rate, or of least rate within an error.

  Args:
    points: from `trade_off`.
    rate: spikes per unit and element at most; or
    error: at most.

  Raises:
    ValueError: for both or no budget, or if no point is within it; says what
      the least is.
  """
  if (rate is None) == (error is None):
    raise ValueError(f'pick: rate is {rate} and error is {error}; expected one '
                     'of them.')
  of, other = ('rate', 'error') if error is None else ('error', 'rate')
  budget = rate if error is None else error
  within = [p for p in points if getattr(p, of) <= budget]
  if not within:
    least = min(getattr(p, of) for p in points)
    raise ValueError(f'pick: no point has {of} <= {budget}; the least is '
                     f'{least:.4g}. Allow more, or try other thetas.')
  return min(within, key=lambda p: (getattr(p, other), getattr(p, of)))


def _with_neurons(model: Model, place: str, num_steps: int, theta: float,
                  level: float) -> Model:
  """One neuron per unit, or per feature."""
  neuron = lambda size: sigma_delta(np.full(size, theta), level)
  if place == 'input':
    encoder = model.encoder._replace(neuron=neuron(model.num_features))
    config = dataclasses.replace(model.config, encoder_steps=num_steps)
    return dataclasses.replace(model, encoder=encoder, config=config)
  layers = [
      layer._replace(neurons=Sites(h=neuron(layer.num_units)))
      for layer in model.layers
  ]
  coupling = 'step' if num_steps == 1 else 'shared'
  config = dataclasses.replace(model.config,
                               num_steps=num_steps,
                               coupling=coupling)
  return dataclasses.replace(model, layers=tuple(layers), config=config)


@functools.partial(jax.jit, static_argnames='place')
def _run(model: Model, x: Array, lengths: Array | None,
         place: str) -> tuple[Array, Array]:
  """Outputs, and spikes per unit and element of the place."""

  def rate(record):
    spikes = record.spikes.h
    return jnp.zeros(()) if spikes is None else jnp.mean(jnp.abs(spikes), -1)

  forward = model_lib.apply(model, x, lengths=lengths, observe=rate)
  if place == 'input':
    spikes = forward.encoded.spikes
    if spikes is None:
      return forward.outputs, jnp.zeros(())
    sent = padding.mean(jnp.sum(jnp.abs(spikes), 1), lengths)
    return forward.outputs, jnp.mean(sent)
  if not model.is_spiking:
    return forward.outputs, jnp.zeros(())
  rates = [jnp.mean(padding.mean(jnp.sum(seen, 1), lengths))
           for seen in forward.observed]  # yapf: disable
  return forward.outputs, jnp.mean(jnp.stack(rates))
