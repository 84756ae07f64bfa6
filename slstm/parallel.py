"""Data parallelism: the devices share a batch.

A jitted function is compiled for where its arguments lie: with the parameters
on every device and a batch split along B, each device does its part of the
batch. What is to be averaged over the batch, such as a gradient, each device
averages over its part first, see `Placement.mean`. With JAX_NUM_CPU_DEVICES=2
in the environment a CPU is two devices, which keeps two cores busy where XLA
runs an operation on one.
"""

from typing import Any, Callable, NamedTuple, Sequence

import jax
from jax import sharding
import numpy as np

_BATCH = 'batch'


class Placement(NamedTuple):
  """Where arrays go; None leaves them where they are."""
  mesh: sharding.Mesh | None

  def everywhere(self, tree: Any) -> Any:
    """Puts a copy of every leaf on each device."""
    return self._put(tree, _spec(None))

  def split(self, array: Any, axis: int) -> Any:
    """Gives each device its part of an array along an axis."""
    return self._put(array, _spec(axis))

  def mean(self, function: Callable, axes: Sequence[int | None]) -> Callable:
    """Makes a mean over a batch the mean of those over each device's part.

    XLA left alone would gather arrays of all devices where it cannot reshape
    a part of the batch by itself, and have each device do all of the work.

    Args:
      function: its results, a tree, are means over the batch.
      axes: along which each argument is split; None for one all devices have.

    Returns:
      A function of the same arguments.
    """
    if self.mesh is None:
      return function
    specs = tuple(map(_spec, axes))

    # No check of what varies over devices: it would have `jax.grad` add up the
    # gradient of arguments that all devices have, before `pmean` does.
    def part(*arguments: Any) -> Any:
      return jax.lax.pmean(function(*arguments), _BATCH)

    return jax.shard_map(part,
                         mesh=self.mesh,
                         in_specs=specs,
                         out_specs=sharding.PartitionSpec(),
                         check_vma=False)

  def _put(self, tree: Any, spec: sharding.PartitionSpec) -> Any:
    if self.mesh is None:
      return tree
    return jax.device_put(tree, sharding.NamedSharding(self.mesh, spec))


def _spec(axis: int | None) -> sharding.PartitionSpec:
  if axis is None:
    return sharding.PartitionSpec()
  return sharding.PartitionSpec(*[None] * axis, _BATCH)


def placement(batch_size: int,
              devices: Sequence[jax.Device] | None = None) -> Placement:
  """Shares batches among as many devices as divide them evenly.

  Args:
    batch_size: B, >= 1.
    devices: to choose from, the first ones first; by default all of this
      process.

  Raises:
    ValueError: if `devices` is empty.
  """
  chosen = jax.local_devices() if devices is None else devices
  if not chosen:
    raise ValueError('placement: devices is empty; expected one at least.')
  count = max(k for k in range(1, len(chosen) + 1) if batch_size % k == 0)
  if devices is None and count == 1:
    return Placement(None)
  return Placement(sharding.Mesh(np.asarray(chosen[:count]), (_BATCH,)))
