r"""A model trained on packed features, evaluated on raw audio.

  python -m experiments.raw_audio --model=runs/gsc_2x256/tuned_T2 \
    --data=FOLDER

For the clips of each split that are there in both forms it prints the accuracy
on the packed features, the accuracy on those that the front end computes from
the audio, how often the two predictions agree, and the median correlation of
the features. Some clips are other recordings under the same name (see README.md
of third_party/speech_commands), so the last columns are of those whose features
correlate above 0.95.
"""

import pathlib
import sys

from absl import app
from absl import flags
from absl import logging
import numpy as np
import rich

from experiments import data as data_lib
from experiments import spot
from experiments import stages
from experiments.reporting import tables
from slstm import train
from third_party.speech_commands import compare
from third_party.speech_commands import data as speech_commands

SAME = 0.95  # correlation above which two clips are taken for one recording


def predictions(spotter: spot.Spotter, values: np.ndarray) -> np.ndarray:
  """The class of each clip [clips, 98, 40]."""
  elements = data_lib.join_frames(values, spotter.frames)
  return np.concatenate([
      np.argmax(
          train.predict(spotter.params, stages.time_major(x), spotter.config),
          -1) for x in train.batches(elements, 256)
  ])


def row(spotter: spot.Spotter, shared: compare.Shared,
        split: str) -> tuple[str, ...]:
  """The cells of one split."""
  correlation = compare.correlations(shared.packed, shared.audio)
  same = correlation > SAME
  packed = predictions(spotter, shared.packed)
  audio = predictions(spotter, shared.audio)
  right = lambda found, rows: float(np.mean((found == shared.y)[rows]))
  whole = np.ones_like(same)
  return (split, str(len(same)), tables.percent(right(packed, whole)),
          tables.percent(right(audio, whole)),
          tables.percent(float(np.mean(packed == audio))),
          f'{np.median(correlation):.4f}', str(same.sum()),
          tables.percent(right(packed,
                               same)), tables.percent(right(audio, same)))


def main(argv: list[str]) -> None:
  """Prints a row for each split."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
  try:
    spotter = spot.load(pathlib.Path(flags.FLAGS.model))
    rows = tuple(
        row(spotter, compare.shared_clips(flags.FLAGS.data, split), split)
        for split in speech_commands.SPLITS)
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f'error: {error}')
  table = tables.Table(
      'The same clips by two front ends',
      ('split', 'clips', 'packed, %', 'audio, %', 'agree, %', 'median r',
       f'clips with r > {SAME}', 'packed, %', 'audio, %'), rows)
  rich.print(tables.rich_table(table))


if __name__ == '__main__':
  flags.DEFINE_string('data', None, 'Folder of speech_commands.')
  flags.DEFINE_string('model', str(spot.RELEASED), 'Work directory of a model.')
  logging.set_verbosity(logging.WARNING)
  flags.mark_flag_as_required('data')
  app.run(main)
