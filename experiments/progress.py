"""A progress bar of training: loss, validation metric, time left."""

import contextlib
from typing import Callable, Iterator

import rich.progress

import slstm


@contextlib.contextmanager
def training(
    name: str, config: slstm.TrainConfig, num_examples: int, metric: str
) -> Iterator[tuple[Callable[[int, float], None], Callable[[dict], None]]]:
  """Shows a bar while training runs; on no terminal, a line per epoch.

  Args:
    name: what is trained.
    config: epochs and batch size.
    num_examples: of the training set.
    metric: key of the metrics of an epoch that is shown.

  Yields:
    (on_step, on_epoch): to be called with (step, loss) and with the metrics.
  """
  total = num_examples // config.batch_size * config.epochs
  bar = rich.progress.Progress(
      '{task.description}', rich.progress.BarColumn(),
      rich.progress.MofNCompleteColumn(),
      f'loss {{task.fields[loss]:.3f}}  {metric} {{task.fields[score]:.4f}}',
      rich.progress.TimeRemainingColumn())
  with bar:
    task = bar.add_task(name, total=total, loss=float('nan'), score=0.0)

    def on_step(step: int, loss: float) -> None:
      bar.update(task, completed=step, loss=loss)

    def on_epoch(metrics: dict) -> None:
      bar.update(task, score=metrics[metric])
      if not bar.console.is_terminal:
        print(
            f'{name}: epoch {metrics["epoch"]}/{config.epochs}  '
            f'loss {metrics["loss"]:.3f}  {metric} {metrics[metric]:.4f}',
            flush=True)

    yield on_step, on_epoch
