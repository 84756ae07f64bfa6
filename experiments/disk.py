"""Errors of the disk that name the file and what to do."""

import contextlib
import os
import pathlib
from typing import Iterator

Path = pathlib.Path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
  """Names the file where writing it fails, such as on a full disk.

  Raises:
    OSError: in place of the system's, which often says no name.
  """
  try:
    yield
  except OSError as error:
    if error.errno is None:  # one of our own, which says what it has to
      raise
    raise OSError(f'{path} cannot be written: {error.strerror}. What was '
                  'finished before is kept; give the same command once that '
                  'is mended.') from error


def check_folder(path: Path, flag: str) -> None:
  """Raises OSError unless a folder can be written, or made."""
  there = next(p for p in (path, *path.absolute().parents) if p.exists())
  if not there.is_dir():
    raise NotADirectoryError(f'{flag}={path}: {there} is a file; expected a '
                             'folder, or a name that is not taken.')
  if not os.access(there, os.W_OK | os.X_OK):
    raise PermissionError(f'{flag}={path}: {there} cannot be written; choose a '
                          'folder of your own, or change its permissions.')
