"""Data parallelism: the devices share a batch.

A jitted function is compiled for where its arguments lie: with the parameters
on every device and a batch split along B, each device does its part of the
batch. With JAX_NUM_CPU_DEVICES=2 in the environment a CPU is two devices, which
keeps two cores busy where XLA runs an operation on one.
"""

from typing import Any, Callable, NamedTuple, Sequence

import jax
from jax import sharding
import numpy as np

_BATCH = 'batch'


class Placement(NamedTuple):
  """Where arrays go; None leaves them where they are."""
  mesh: sharding.Mesh | None = None

  def everywhere(self, tree: Any) -> Any:
    """Puts a copy of every leaf on each device."""
    return self.split(tree, None)

  def split(self, tree: Any, axis: int | None = 0) -> Any:
    """Gives each device its part of every leaf along an axis; None: all."""
    if self.mesh is None:
      return tree
    return jax.device_put(tree, sharding.NamedSharding(self.mesh, _spec(axis)))

  def mean(self, function: Callable, axes: Sequence[int | None]) -> Callable:
    """Makes a mean over a batch the mean of those over each device's part.

    XLA left alone would gather arrays of all devices where it cannot reshape
    a part of the batch by itself, and have each device do all of the work.

    `function` returns a tree of means over the batch; each argument is split
    along its entry of `axes`, None for one that all devices have.
    """
    if self.mesh is None:
      return function
    part = lambda *given: jax.lax.pmean(function(*given), _BATCH)
    # No check of what varies over devices: it would have `jax.grad` add up the
    # gradient of arguments that all devices have, before `pmean` does.
    return jax.shard_map(part,
                         mesh=self.mesh,
                         in_specs=tuple(map(_spec, axes)),
                         out_specs=_spec(None),
                         check_vma=False)


def _spec(axis: int | None) -> sharding.PartitionSpec:
  names = () if axis is None else (*[None] * axis, _BATCH)
  return sharding.PartitionSpec(*names)


def placement(batch_size: int,
              devices: Sequence[jax.Device] | None = None) -> Placement:
  """Shares batches among as many `devices`, by default all, as divide them."""
  chosen = jax.local_devices() if devices is None else devices
  if not chosen:
    raise ValueError('placement: devices is empty; expected at least one.')
  count = max(k for k in range(1, len(chosen) + 1) if batch_size % k == 0)
  if devices is None and count == 1:
    return Placement()
  return Placement(sharding.Mesh(np.asarray(chosen[:count]), (_BATCH,)))
