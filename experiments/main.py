"""What every binary does around its stage: flags, data, clear errors."""

import dataclasses
import difflib
import pathlib
import re
import sys
from typing import Any, Callable, Iterable, Sequence
import warnings

from absl import app
from absl import flags
from absl import logging
from ml_collections import config_dict
from ml_collections.config_flags import config_flags

from experiments import binary
from experiments import config as config_lib
from experiments import disk
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base

Path = pathlib.Path
Run = Callable[[Experiment, base.DataSet, Path], None]

_DEFAULT = Path(__file__).parent / 'configs' / 'har.py'
_HELP = """Config file, and a variant of it after a colon.
Its options, here with their values, are flags, too; lists have commas:
"""

flags.disclaim_key_flags()  # what `main` defines is of the binary


def main(run: Run,
         reads_source: bool = False,
         reads: Sequence[str] | None = None) -> None:
  """Runs a binary; bad input ends it with one line on stderr and status 1.

  Args:
    run: called with the experiment, the data set and the work directory.
    reads_source: whether there is a flag --source, see `source`.
    reads: sections of the config that it reads, such as 'ann', or options, such
      as 'conversion.calibration'; by default all. Others are not in --help. One
      that is given all the same has to be what the source was made with.
  """
  logging.set_verbosity(logging.FATAL)  # what orbax tells, our errors do, too
  parser = _ConfigParser('config', reads)
  config_flags.register_flag_parser_for_type(tuple, _TupleParser())
  binary.define_path('workdir',
                     'Folder to write; made if absent.',
                     required=True)
  if reads_source:
    binary.define_path('source', 'Work directory to read.', required=True)

  def parse(argv: list[str]) -> list[str]:
    try:
      holder: Any = config_flags.DEFINE_config_file('config', None, _HELP)
      flags.FLAGS['config'].parser = parser
      flags.set_default(holder, str(_DEFAULT))
      flags.FLAGS.register_key_flag_for_module(argv[0], flags.FLAGS['config'])
    except (flags.Error, ValueError, OSError) as error:
      sys.exit(f'error: {error}')
    return binary.parse(argv)

  def start() -> None:
    workdir = flags.FLAGS.workdir
    disk.check_folder(workdir, '--workdir')
    changes = flags.FLAGS.config.to_dict()
    experiment = config_lib.replace(parser.experiment, **changes)
    made = _made_with(source()) if reads_source else {}
    _check_unread(parser.unread, config_lib.options(experiment), made)
    dataset = base.load(experiment.data)
    for section in ('ann', 'snn'):
      if reads is None or section in reads:
        stages.check_size(dataset, section, getattr(experiment, section))
    run(experiment, dataset, workdir)

  app.run(lambda _: binary.guarded(start), flags_parser=parse)


def source() -> Path:
  """The value of --source, the work directory that a stage reads."""
  return flags.FLAGS.source


def _made_with(folder: Path) -> dict[str, Any]:
  """Options that the stage of a folder has read, by dotted name."""
  if not (folder / 'config.json').is_file():
    return {}  # such as that of a pipeline
  return runs.flat(runs.read_config(folder)['experiment'])


def _check_unread(given: Sequence[str], options: Iterable[tuple[str, Any, str]],
                  made: dict[str, Any]) -> None:
  """Refuses options that are not read here and not what the source has."""
  values = {name: value for name, value, _ in options}
  for name in given:
    value = values[name]
    flag = f'--config.{name}={_TupleParser.show(value)}'
    found = made.get(name)
    if name not in made:
      warnings.warn(
          f'{flag} does nothing here, as this stage does not read it.')
    elif found != (list(value) if isinstance(value, tuple) else value):
      raise ValueError(
          f'{flag} does nothing here: --source={source()} was made with '
          f'{_TupleParser.show(found)}, which is what counts. Leave it out, or '
          'make a source with it.')


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

  def __init__(self, name: str, reads: Sequence[str] | None):
    super().__init__(name)
    self._reads = reads
    self.unread: list[str] = []  # options that are given, but not read

  def _is_read(self, name: str) -> bool:
    reads = self._reads
    return reads is None or name in reads or name.split('.')[0] in reads

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
      if given and not self._is_read(name := given[1].removeprefix('config.')):
        self.unread.append(name)
    flags.FLAGS[self.name].help = _HELP + '\n'.join(
        f'--{name}={_TupleParser.show(value)}: {meaning}'
        for name, (value, meaning) in options.items()
        if self._is_read(name.removeprefix('config.')))
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
    listed = isinstance(value, (tuple, list))
    return ','.join(map(str, value)) if listed else str(value)
