"""One writer at a time: a process holds a folder until it lets go or ends.

The system frees the lock of a process that ends in any way, so that one that
was killed never stands in the way of the next. The file `.lock` in the folder
says who holds it; left by a process that was killed it means nothing.
"""

import atexit
import datetime
import fcntl
import os
import pathlib
import socket
from typing import TextIO

from experiments import disk

Path = pathlib.Path

_NAME = '.lock'
_held: dict[Path, TextIO] = {}


def hold(folder: Path) -> None:
  """Makes this process the only writer of a folder, made if absent.

  Raises:
    BlockingIOError: if another process holds it; says which, and since when.
  """
  path = folder.resolve() / _NAME
  if path in _held:
    return
  with disk.writing(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _open(path)
    while not _is(path, file):  # its last holder has just removed it
      file.close()
      file = _open(path)
    _held[path] = file
    file.truncate(0)
    now = datetime.datetime.now().isoformat(' ', 'seconds')
    file.write(f'process {os.getpid()} on {socket.gethostname()} since {now}')
    file.flush()


def release(folder: Path) -> None:
  """Lets others write a folder."""
  path = folder.resolve() / _NAME
  if path in _held:
    path.unlink(missing_ok=True)
    _held.pop(path).close()


def _open(path: Path) -> TextIO:
  file = path.open('a+', encoding='utf-8')
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    file.seek(0)
    with file:
      raise BlockingIOError(
          f'{path.parent} is being written by {file.read()}. Wait until that '
          'has ended, or choose another folder. Nothing was changed.'
      ) from error
  return file


def _is(path: Path, file: TextIO) -> bool:
  """Whether a file still is the one of that name."""
  return path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino


@atexit.register
def _release_all() -> None:
  for path in [*_held]:
    release(path.parent)
