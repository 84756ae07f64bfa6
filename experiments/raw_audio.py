r"""A model trained on packed features, evaluated on raw audio.

  python -m experiments.raw_audio --model=runs/gsc_2x256/tuned_T2 --data=FOLDER

For the clips of each split that exist in both forms it prints the accuracy on
the packed features, the accuracy on those that the front end computes from the
audio, how often the two predictions agree, and the median correlation of the
features. Some clips are other recordings under the same name (see README.md of
third_party/speech_commands), so the last columns are of those whose features
correlate above 0.95.
"""

from absl import flags
import numpy as np
import rich
import rich.table

from experiments import spot
import slstm
from third_party.speech_commands import compare
from third_party.speech_commands import data as speech_commands

SAME = 0.95  # correlation above which two clips are taken for one recording
_COLUMNS = ('split', 'clips', 'packed, %', 'audio, %', 'agree, %', 'median r',
            f'clips with r > {SAME}', 'packed, %', 'audio, %')


def predictions(model: slstm.Model, values: np.ndarray) -> np.ndarray:
  """The class of each clip [clips, 98, 40]."""
  x = spot.as_input(model, values)
  return np.concatenate([
      np.argmax(slstm.predict(model, x[start:start + 256]), -1)
      for start in range(0, len(x), 256)
  ])


def row(model: slstm.Model, shared: compare.Shared,
        split: str) -> tuple[str, ...]:
  """The cells of one split."""
  correlation = compare.correlations(shared.packed, shared.audio)
  same = correlation > SAME
  packed = predictions(model, shared.packed)
  audio = predictions(model, shared.audio)
  percent = lambda right: f'{100 * np.mean(right):.2f}'
  right = packed == shared.y, audio == shared.y
  return (split, str(len(same)), *map(percent, right),
          percent(packed == audio), f'{np.median(correlation):.4f}',
          str(same.sum()), *(percent(clips[same]) for clips in right))


def _run(model: slstm.Model) -> None:
  """Prints a row for each split."""
  table = rich.table.Table(*_COLUMNS, title='The same clips by two front ends')
  for split in speech_commands.SPLITS:
    table.add_row(
        *row(model, compare.shared_clips(flags.FLAGS.data, split), split))
  rich.print(table)


if __name__ == '__main__':
  flags.DEFINE_string('data', None, 'Folder of speech_commands.')
  flags.mark_flag_as_required('data')
  spot.start(_run)
