"""Small arrays by name that stages store for the plots of a report."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slstm import activations
from slstm import model as model_lib
from slstm import neurons
from slstm import types
from slstm.calibrate import Calibration
from slstm.convert import Conversion
from slstm.types import Array, Model

# Which of a layer's neurons to show, as quantiles of their onset.
QUANTILES = (0.1, 0.5, 0.9)


def staircases(calibration: Calibration,
               conversion: Conversion) -> dict[str, np.ndarray]:
  """What each converted neuron does, over the distribution of its drive.

  Returns:
    Under 'layers[l].site.': 'centres', the drives d [bins]; 'density' of d over
    all units; 'source', activation of the LSTM; 'uniform', staircase of the IF
    of the uniform rule; 'chosen' [rows, bins], that of the shared neuron, or of
    the units at the QUANTILES of onset; 'units' [rows], which, -1 if shared.
  """
  traces: dict[str, np.ndarray] = {}
  config = conversion.model.config
  centres = jnp.asarray(calibration.centres)

  def drawn(neuron: Any, units: int, signed: bool) -> np.ndarray:
    d = jnp.broadcast_to(centres[:, None], (len(centres), units))
    steps = config.num_steps
    curves = neurons.staircase(neuron, d, num_steps=steps, signed=signed)
    return np.asarray(curves.T, np.float32)

  for index, layer in enumerate(conversion.model.layers):
    for site in layer.neurons.present:
      neuron, signed = getattr(layer.neurons, site), site in types.SIGNED_SITES
      counts = getattr(calibration.layers[index], site).fit.sum(0)
      area = counts.sum() * float(centres[1] - centres[0])
      units = max(leaf.size for leaf in jax.tree.leaves(neuron))
      chosen = drawn(neuron, units, signed)
      picked = _pick(chosen)
      uniform = drawn(neurons.integrate_and_fire(signed), 1, signed)[0]
      source = activations.squash(site, centres, config)
      found = {'centres': centres, 'density': counts / area, 'source': source,
               'uniform': uniform, 'chosen': chosen[picked]}  # yapf: disable
      name = f'layers[{index}].{site}'
      traces |= {f'{name}.{k}': np.asarray(v, np.float32)
                 for k, v in found.items()}  # yapf: disable
      shown = picked if units > 1 else [-1]
      traces[f'{name}.units'] = np.asarray(shown, np.int32)
  return traces


def _pick(curves: np.ndarray) -> list[int]:
  """Units at the QUANTILES of onset, the lowest drive with an output > 0."""
  if len(curves) == 1:
    return [0]
  fires = curves > 0
  onset = np.where(fires.any(1), np.argmax(fires, 1), curves.shape[1])
  order = np.argsort(onset, kind='stable')
  return [int(order[round(q * (len(order) - 1))]) for q in QUANTILES]


def raster(model: Model, x: Any) -> dict[str, np.ndarray]:
  """Runs one sequence through an SNN and keeps its spikes.

  Args:
    model: an SNN.
    x: raw input, [1, N, D].

  Returns:
    'input', standardised x, float32 [N, D]; 'outputs' [K]; 'layers[l].site',
    spikes, int8 [N, T, H], of each converted site, and of h where o and c are
    converted; 'layers[l].state', c, mean over t, float32 [N, H].
  """
  if np.ndim(x) != 3 or np.shape(x)[0] != 1:
    raise ValueError(f'raster: x has shape {np.shape(x)}; expected [1, N, D], '
                     'one sequence.')
  if not model.is_spiking:
    raise ValueError('raster: the model has no neurons; expected an SNN.')
  ran = _watch(model, jnp.asarray(x, jnp.float32))
  traces = {'input': np.asarray(ran.encoded.drive)[:, 0],
            'outputs': np.asarray(ran.outputs)[0]}  # yapf: disable
  for index, (spikes, c) in enumerate(ran.observed):
    for site in spikes.present:
      traces[f'layers[{index}].{site}'] = np.asarray(
          getattr(spikes, site)[:, :, 0], np.int8)
    traces[f'layers[{index}].state'] = np.asarray(jnp.mean(c[:, :, 0], 1))
  return traces


@jax.jit
def _watch(model: Model, x: Array) -> model_lib.Forward:
  seen = lambda r: (r.spikes._replace(h=r.spikes_of_h), r.state.c)
  return model_lib.apply(model, x, observe=seen)


def sizes(model: Model, num_elements: int) -> dict[str, Any]:
  """The sizes of a network: N, D, the H of each layer, K, and parameters."""
  leaves = jax.tree.leaves((model.layers, model.readout))
  return {'elements': num_elements, 'features': model.num_features,
          'hidden': [layer.num_units for layer in model.layers],
          'classes': model.num_outputs,
          'parameters': sum(leaf.size for leaf in leaves)}  # yapf: disable
