"""What every binary does around its stage: flags, data, clear errors."""

import pathlib
import sys
from typing import Callable

from absl import app
from absl import flags
from absl import logging

from experiments import config as config_lib
from experiments import data as data_lib
from experiments.presets import PRESETS

Run = Callable[[config_lib.Experiment, data_lib.DataSet, pathlib.Path], None]


def main(run: Run) -> None:
  """Runs a binary; bad input ends it with one line on stderr and status 1.

  Args:
    run: called with the experiment, the data set and the work directory.
  """
  logging.set_verbosity(logging.WARNING)  # orbax tells much below that
  config_lib.define_flags(PRESETS)
  flags.mark_flag_as_required('work_dir')

  def start(argv: list[str]) -> None:
    if len(argv) > 1:
      raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
    try:
      experiment = config_lib.from_flags(PRESETS)
      experiment.check()
      run(experiment, data_lib.load(experiment),
          pathlib.Path(flags.FLAGS.work_dir))
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
      sys.exit(f'error: {error}')

  app.run(start)


def source_flag() -> None:
  """Defines --source, the work directory that a stage reads."""
  flags.DEFINE_string('source', None, 'Work directory to read.')
  flags.mark_flag_as_required('source')


def source() -> pathlib.Path:
  """The value of --source."""
  return pathlib.Path(flags.FLAGS.source)
