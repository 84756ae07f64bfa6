"""What every binary does around its work: flags and clear errors."""

import pathlib
import re
import sys
from typing import Any, Callable
import warnings

from absl import app
from absl import flags
import jax

# Flags that functions of this module define are those of the calling module.
flags.disclaim_key_flags()

_ERRORS = (ValueError, OSError, ImportError, FloatingPointError)


class _PathParser(flags.ArgumentParser):
  """A path as a shell user means it; ~ is the home folder."""

  def parse(self, argument: Any) -> pathlib.Path:
    if not str(argument).strip():
      raise ValueError('it is empty; expected a path.')
    try:
      return pathlib.Path(argument).expanduser()
    except RuntimeError as error:  # no such user
      raise ValueError(str(error)) from error

  def flag_type(self) -> str:
    return 'path'


def define_path(name: str,
                meaning: str,
                default: str | None = None,
                required: bool = False) -> flags.FlagHolder:
  """Defines a flag whose value is a pathlib.Path, or None."""
  meaning += ' Required.' * required
  holder = flags.DEFINE(_PathParser(), name, default, meaning)
  if required:
    flags.register_validator(name, lambda value: value is not None,
                             f'--{name} is missing; see --help.')
  return holder


def run(action: Callable[[], object]) -> None:
  """Parses the flags and calls `action`; bad input ends it with status 1."""
  app.run(lambda _: guarded(action), flags_parser=parse)


def parse(argv: list[str]) -> list[str]:
  """Parses the flags; what is wrong with them ends it with one line."""
  warnings.formatwarning = lambda message, *_, **__: f'warning: {message}\n'
  try:
    rest = flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    sys.exit(f'error: {str(error).rstrip()} See --help.'.replace("' S", "'. S"))
  except (flags.Error, ValueError, OSError) as error:
    # What is missing has no value to be named.
    told = re.sub('^flag --[^ ]+=None: ', '', str(error), flags=re.MULTILINE)
    sys.exit(f'error: {" ".join(told.splitlines())}')
  if rest[1:]:
    sys.exit(f'error: unexpected arguments: {" ".join(rest[1:])}')
  return rest


def guarded(action: Callable[[], object]) -> None:
  """Calls `action`; an error that a user can mend ends it with one line."""
  try:
    action()
  except _ERRORS as error:
    sys.exit(f'error: {error}')
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    sys.exit(f'error: out of memory: {str(error).splitlines()[0]} Lower the '
             'batch size, or choose executor lean.')
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    sys.exit(130)
