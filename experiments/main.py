"""What every binary does around its stage: flags, data, clear errors."""

import dataclasses
import difflib
import pathlib
import re
import sys
from typing import Any, Callable
import warnings

from absl import app
from absl import flags
from absl import logging
from ml_collections import config_dict
from ml_collections.config_flags import config_flags

from experiments import config as config_lib
from experiments.config import Experiment
from experiments.datasets import base

Path = pathlib.Path
Run = Callable[[Experiment, base.DataSet, Path], None]

_DEFAULT = Path(__file__).parent / 'configs' / 'har.py'
_HELP = """Config file, and a variant of it after a colon.
Its options, here with their values, are flags, too; lists have commas:
"""


def main(run: Run, reads_source: bool = False) -> None:
  """Runs a binary; bad input ends it with one line on stderr and status 1.

  Args:
    run: called with the experiment, the data set and the work directory.
    reads_source: whether there is a flag --source, see `source`.
  """
  logging.set_verbosity(logging.WARNING)  # orbax tells much below that
  warnings.formatwarning = lambda message, *_, **__: f'warning: {message}\n'
  parser = _ConfigParser('config')
  config_flags.register_flag_parser_for_type(tuple, _TupleParser())
  flags.DEFINE_string('workdir', None, 'Folder to write; made if absent.')
  flags.mark_flag_as_required('workdir')
  if reads_source:
    flags.DEFINE_string('source', None, 'Work directory to read.')
    flags.mark_flag_as_required('source')

  def parse(argv: list[str]) -> list[str]:
    try:
      holder: Any = config_flags.DEFINE_config_file('config', None, _HELP)
      flags.FLAGS['config'].parser = parser
      flags.set_default(holder, str(_DEFAULT))
      for name in {'config', 'source', 'workdir'} & set(flags.FLAGS):
        # They are defined here, but --help is to list them for the binary.
        flags.FLAGS.register_key_flag_for_module(argv[0], flags.FLAGS[name])
      rest = flags.FLAGS(argv)
    except (flags.Error, ValueError, OSError) as error:
      sys.exit(f'error: {error}')
    if rest[1:]:
      sys.exit(f'error: unexpected arguments: {" ".join(rest[1:])}')
    return rest

  def start(_: list[str]) -> None:
    try:
      changes = flags.FLAGS.config.to_dict()
      experiment = config_lib.replace(parser.experiment, **changes)
      run(experiment, base.load(experiment.data), Path(flags.FLAGS.workdir))
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
      sys.exit(f'error: {error}')

  app.run(start, flags_parser=parse)


def source() -> Path:
  """The value of --source, the work directory that a stage reads."""
  return Path(flags.FLAGS.source)


def numbers(flag: str) -> tuple[int, ...]:
  """The entries of a list flag as integers; ValueError names the flag."""
  value: list[str] = flags.FLAGS[flag].value or []
  try:
    return tuple(map(int, value))
  except ValueError as error:
    given = f'--{flag}={",".join(value)}'
    raise ValueError(f'{given}: expected integers.') from error


class _ConfigParser(config_flags.ConfigFileFlagParser):
  """Loads an Experiment, and gives ml_collections a ConfigDict to change."""

  experiment: Experiment

  def parse(self, path: str) -> config_dict.ConfigDict:
    file, _, variant = path.partition(':')
    if not Path(file).is_file():
      raise flags.Error(f'--config={path}: no such file.')
    try:
      self.experiment = super().parse(path)
    except (TypeError, ValueError) as error:  # both with a trace as message
      raise flags.Error(f'--config={path}: {error.__context__}') from error
    if not isinstance(self.experiment, Experiment):
      raise flags.Error(f'--config={path}: get_config gave '
                        f'{type(self.experiment).__name__}; expected an '
                        'Experiment.')
    options = {
        f'config.{name}': (value, meaning)
        for name, value, meaning in config_lib.options(self.experiment)
    }
    for argument in sys.argv[1:]:
      given = re.match(r'--?(?:no)?(config\.[^=]+)', argument)
      if given and given[1] not in options:
        raise flags.Error(_unknown(given[1], list(options)))
    flags.FLAGS[self.name].help = _HELP + '\n'.join(
        f'--{name}={_TupleParser.show(value)}: {meaning}'
        for name, (value, meaning) in options.items())
    return config_dict.ConfigDict(dataclasses.asdict(self.experiment))


def _unknown(name: str, known: list[str]) -> str:
  """What to say of an unknown option."""
  last = '.' + name.rpartition('.')[2]
  near = [other for other in known if other.endswith(last)]
  near = near or difflib.get_close_matches(name, known, 2)
  hint = f'did you mean --{" or --".join(near)}' if near else 'see --help'
  return f'--{name}: there is no such option; {hint}?'


class _TupleParser(flags.ArgumentParser):
  """Tuples of integers or words, with commas between."""

  def parse(self, argument: Any) -> tuple:
    if isinstance(argument, tuple):
      return argument
    entries = (word.strip(' \'"') for word in argument.strip('()').split(','))
    return tuple(int(word) if word.isdigit() else word
                 for word in entries if word)  # yapf: disable

  @staticmethod
  def show(value: Any) -> str:
    """The inverse."""
    return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
