r"""Prints the memory that the compiler plans for a training step of the SNN.

  python -m experiments.bench.memory --elements=784 --hidden=512 --steps=8

The step is compiled and not run, so you can ask for shapes that do not fit this
machine. With --run a step is taken, too, and the most is printed that this
process has held until then. Memory is in GB, and in floats per entry of all h,
N T B H L, over all devices.
"""

import sys
from typing import Iterator, Sequence

from absl import flags

from experiments.bench import main
from experiments.bench import models
from experiments.bench.measure import Shape
from experiments.bench.measure import Subject
from slstm import parallel


def planned(
    shape: Shape, steps: Sequence[int], executors: Sequence[str],
    sites: tuple[str, ...]) -> Iterator[tuple[str, int, Subject, float]]:
  """Executor, T, compiled step and its bytes on all devices, for each."""
  mesh = parallel.placement(shape.batch).mesh
  for model in models.spiking(shape, steps, sites):
    for name in executors:
      step = models.training_step(model, shape, name)
      size = (step.peak_bytes or float('nan')) * (mesh.size if mesh else 1)
      yield name, model.config.num_steps, step, size


def _run() -> None:
  flag = flags.FLAGS
  for shape in main.shapes():
    print(f'Training step, {shape}')
    entries = shape.elements * shape.batch * shape.hidden * shape.layers
    for executor, t, step, size in planned(shape, flag.steps, flag.executors,
                                           flag.sites):
      line = (f'{executor}, T = {t}: {size / 1e9:.2f} GB, '
              f'{size / 4 / entries / t:.1f} floats per entry of h, '
              f'compiled in {step.compile_s:.1f} s')
      if flag.run:
        import resource  # Windows has none.

        step.run()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        unit = 1 if sys.platform == 'darwin' else 1024  # bytes
        line += f', {most * unit / 1e9:.2f} GB resident'
      print(line)


if __name__ == '__main__':
  flags.DEFINE_bool('run', False, 'Also take the step.')
  main.start(_run, ('stacked', 'lean'))
