r"""Names the classes of new sequences, by a model of a run.

python -m experiments.predict --source=runs/mine/tuned_T2 --input=new.csv \
  --output=predictions.csv

The input is a file such as `config.data.path` of experiments/configs/npz.py
takes, .npz or .csv; its labels are not read. The output has a row per sequence:
its name, its class, and the score of every class, which is a probability.
"""

import pathlib
from typing import Any

from absl import flags
from absl import logging
import jax
import numpy as np
import pandas as pd

from experiments import binary
from experiments import disk
from experiments import runs
from experiments import stages
from experiments.datasets import arrays
import slstm
from slstm import borders
from slstm import types

Path = pathlib.Path


def predict(source: Path, path: Path) -> pd.DataFrame:
  """Classes and scores of the sequences in a file, in its order.

  Args:
    source: work directory of train_ann, convert or train_snn.
    path: .npz or .csv.

  Raises:
    ValueError: if the sequences are not like those that it was trained on.
  """
  made = stages.read_model(source)
  metrics = runs.read_json(source / 'metrics.json')
  if metrics.get('metric', 'accuracy') != 'accuracy':
    raise ValueError(f'--source={source} is judged by {metrics["metric"]}; '
                     'expected a classifier.')
  data = metrics.get('data') or {}  # older runs have none
  frames = made.read.get('data', {}).get('frames', 1)
  read = arrays.read(path, f'--input={path}')
  x = _inputs(read, made.model, data, frames, f'--input={path}: x')
  scores = np.asarray(jax.nn.softmax(slstm.outputs(made.model, x), -1))
  classes = data.get('classes') or [str(k) for k in range(scores.shape[1])]
  named = {f'score_{name}': scores[:, k] for k, name in enumerate(classes)}
  chosen = [classes[k] for k in scores.argmax(-1)]
  return pd.DataFrame({'sequence': read.names, 'class': chosen, **named})


def _inputs(read: arrays.Arrays, model: slstm.Model, data: dict[str, Any],
            frames: int, what: str) -> np.ndarray:
  """x as the model takes it, [B, N, D]."""
  x, names = read.x, data.get('feature_names')
  if names and read.features:
    absent = [name for name in names if name not in read.features]
    others = [name for name in read.features if name not in names]
    if absent or others:
      raise ValueError(
          f'{what}: columns {absent} are missing, {others} are not '
          f'known; expected features {names}.')
    x = x[:, :, [read.features.index(name) for name in names]]
  length = data.get('elements')
  sizes = {'D': model.num_features // frames}
  sizes |= {'N': length * frames} if length else {}
  types.check_shape(what, x, 'sequences N D', 'So was what it was trained on.',
                    **sizes)
  borders.check_inputs(x, what)
  if data.get('subtracted'):
    x = x - np.asarray(data['subtracted'])
  return x.astype(np.float32).reshape(len(x), -1, model.num_features)


def _run() -> None:
  given = flags.FLAGS
  output = given.output
  if output.exists():
    raise FileExistsError(f'--output={output} is there already; choose another '
                          'name, or remove it. Nothing was changed.')
  disk.check_folder(output.absolute().parent, '--output: folder')
  found = predict(given.source, given.input)
  runs.replace(output, found.to_csv(index=False).encode())
  print(f'{output}: {len(found)} sequences')
  print(found['class'].value_counts().to_string())


if __name__ == '__main__':
  binary.define_path('source',
                     'Work directory of the model to use.',
                     required=True)
  binary.define_path('input', 'File of sequences, .npz or .csv.', required=True)
  binary.define_path('output',
                     'File to write, a .csv that is not there yet.',
                     required=True)
  logging.set_verbosity(logging.FATAL)
  binary.run(_run)
