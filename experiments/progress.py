"""A progress bar of training: loss, validation accuracy, time left."""

import contextlib
from typing import Callable, Iterator

import rich.progress

from slstm.optimiser import TrainConfig


@contextlib.contextmanager
def training(
    name: str, config: TrainConfig, num_examples: int
) -> Iterator[tuple[Callable[[int, float], None], Callable[[dict], None]]]:
  """Shows a bar while training runs; on no terminal, a line an epoch.

  Args:
    name: what is trained.
    config: epochs and batch size.
    num_examples: of the training set.

  Yields:
    (on_step, on_epoch): to be called with (step, loss) and with the metrics.
  """
  total = num_examples // config.batch_size * config.epochs
  bar = rich.progress.Progress(
      '{task.description}', rich.progress.BarColumn(),
      rich.progress.MofNCompleteColumn(),
      'loss {task.fields[loss]:.3f}  validation {task.fields[accuracy]:.1%}',
      rich.progress.TimeRemainingColumn())
  with bar:
    task = bar.add_task(name, total=total, loss=float('nan'), accuracy=0.0)

    def on_step(step: int, loss: float) -> None:
      bar.update(task, completed=step, loss=loss)

    def on_epoch(metrics: dict) -> None:
      bar.update(task, accuracy=metrics['validation_accuracy'])
      if not bar.console.is_terminal:
        print(
            f'{name}: epoch {metrics["epoch"]}/{config.epochs}  '
            f'loss {metrics["loss"]:.3f}  '
            f'validation {metrics["validation_accuracy"]:.1%}',
            flush=True)

    yield on_step, on_epoch
