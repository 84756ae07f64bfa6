"""Small arrays that stages store for the plots, so that a report only draws.

Every function returns a dict from a name such as 'layers[0].o.centres' to a
NumPy array, to be written by `np.savez_compressed` and read by `plots`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slstm import activations
from slstm import encoders
from slstm import model
from slstm import neurons
from slstm import types
from slstm.calibrate import Calibration
from slstm.convert import Conversion
from slstm.types import Array, Config, Neuron, Params, Record, Sites

# Which of a layer's neurons to show, as quantiles of their onset.
QUANTILES = (0.1, 0.5, 0.9)


def staircases(calibration: Calibration,
               conversion: Conversion) -> dict[str, np.ndarray]:
  """What each converted neuron does, over the distribution of its drive.

  Args:
    calibration: that the conversion was made with.
    conversion: its neurons are shown.

  Returns:
    For each layer and converted site, under 'layers[l].site.':
      centres: drives d, [bins].
      density: of d, pooled over units, on the examples fitted to; the integral
        over d is 1, [bins].
      source: activation of the source LSTM at d, [bins].
      uniform: staircase of the IF neuron of the uniform rule, [bins].
      chosen: staircases of converted neurons, [rows, bins]. One row where the
        layer shares a neuron; else those of three units, at the QUANTILES of
        the least drive at which a unit fires.
      units: the units of these rows, int32; -1 for a shared neuron.
  """
  traces: dict[str, np.ndarray] = {}
  for index, layer in enumerate(conversion.params.layers):
    for site in layer.neurons.present:
      histogram = getattr(calibration.layers[index], site).fit
      found = _site(site, getattr(layer.neurons, site), histogram, calibration,
                    conversion.config)
      traces |= {
          f'layers[{index}].{site}.{name}': array
          for name, array in found.items()
      }
  return traces


def _site(site: str, neuron: Neuron, histogram: np.ndarray,
          calibration: Calibration, config: Config) -> dict[str, np.ndarray]:
  centres = jnp.asarray(calibration.centres)
  signed = site in types.SIGNED_SITES
  counts = histogram.sum(0)
  spacing = float(centres[1] - centres[0])
  uniform = neurons.staircase(neurons.integrate_and_fire(signed), centres,
                              config.num_steps, signed)
  of_units = _staircases(neuron, centres, config.num_steps, signed)
  units = _pick(np.asarray(of_units))
  return {
      'centres':
          np.asarray(centres, np.float32),
      'density': (counts / (counts.sum() * spacing)).astype(np.float32),
      'source':
          np.asarray(activations.squash(site, centres, calibration.config),
                     np.float32),
      'uniform':
          np.asarray(uniform, np.float32),
      'chosen':
          np.asarray(of_units, np.float32)[units],
      'units':
          np.asarray(units if np.ndim(neuron.v_th) else [-1], np.int32),
  }


@functools.partial(jax.jit, static_argnums=(2, 3))
def _staircases(neuron: Neuron, centres: Array, num_steps: int,
                signed: bool) -> Array:
  """Staircase of each unit, [units, bins]; one row for a shared neuron."""
  each = jax.tree.map(lambda leaf: leaf.reshape(-1), neuron)
  return jax.vmap(
      lambda one: neurons.staircase(one, centres, num_steps, signed))(each)


def _pick(curves: np.ndarray) -> list[int]:
  """Units at the QUANTILES of onset, the lowest drive with an output > 0."""
  if len(curves) == 1:
    return [0]
  fires = curves > 0
  onset = np.where(fires.any(1), np.argmax(fires, 1), curves.shape[1])
  order = np.argsort(onset, kind='stable')
  return [int(order[round(q * (len(order) - 1))]) for q in QUANTILES]


def raster(params: Params, config: Config, x: Any) -> dict[str, np.ndarray]:
  """Runs one sequence through an SNN and keeps its spikes.

  Args:
    params: an SNN.
    config: its config. With coupling 'rate' there are no spikes in time to
      show, and those entries are absent.
    x: raw input, [N, 1, D].

  Returns:
    input: standardised x (x - mean) / std, float32 [N, D].
    logits: [K].
    layers[l].site: spikes of each converted site, int8 [N, T, H].
    layers[l].h: also where o and c are converted: the product of their spikes.
    layers[l].state: the cell state c, mean over t, float32 [N, H].

  Raises:
    ValueError: if x holds more than one sequence, or params have no neurons.
  """
  if np.ndim(x) != 3 or np.shape(x)[1] != 1:
    raise ValueError(f'raster: x has shape {np.shape(x)}; expected [N, 1, D], '
                     'one sequence.')
  if not any(layer.neurons.present for layer in params.layers):
    raise ValueError('raster: params have no neurons; expected an SNN.')
  output = _watch(params, jnp.asarray(x, jnp.float32), config)
  direct = params.encoder._replace(neuron=None)
  traces = {
      'input':
          np.asarray(encoders.encode(direct, jnp.asarray(x), config))[:, 0, 0],
      'logits':
          np.asarray(output.logits)[0],
  }
  for index, (spikes, c) in enumerate(output.observed):
    for site in spikes.present:
      traces[f'layers[{index}].{site}'] = np.asarray(
          getattr(spikes, site)[:, :, 0], np.int8)
    traces[f'layers[{index}].state'] = np.asarray(jnp.mean(c[:, :, 0], 1))
  return traces


@functools.partial(jax.jit, static_argnums=2)
def _watch(params: Params, x: Array, config: Config) -> model.Output:
  return model.apply(params, x, config, observe=_observe)


def _observe(record: Record) -> tuple[Sites, Array]:
  return record.spikes._replace(h=record.spikes_of_h), record.state.c


def sizes(params: Params, num_elements: int) -> dict[str, Any]:
  """The sizes of a network: N, D, the H of each layer, K, and parameters."""
  return {
      'elements':
          num_elements,
      'features':
          int(params.encoder.mean.shape[0]),
      'hidden': [int(layer.u.i.shape[0]) for layer in params.layers],
      'classes':
          int(params.readout.b.shape[0]),
      'parameters':
          sum(leaf.size
              for leaf in jax.tree.leaves((params.layers, params.readout))),
  }
