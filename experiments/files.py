"""Files that are written whole, or not at all."""

import pathlib


def replace(path: pathlib.Path, content: bytes) -> None:
  """Writes a file in one move, so that a killed run leaves no half file.

  Args:
    path: of the file; its folder is made if absent.
    content: all of it.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix('.partial')
  partial.write_bytes(content)
  partial.replace(path)
