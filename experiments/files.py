"""Files that are written whole or not at all, and files that may be corrupt."""

import pathlib
import tokenize
import zipfile
import zlib

import numpy as np


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


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads all arrays of an .npz.

  Raises:
    ValueError: if it is none, or corrupt; names it.
  """
  try:
    with path.open('rb') as file:
      stored = np.load(file, allow_pickle=False)
      if not isinstance(stored, np.lib.npyio.NpzFile):
        raise ValueError('it holds one array, not several with names')
      with stored as arrays:
        return {name: arrays[name] for name in arrays.files}
  # NumPy parses the header of an array as Python, which a damaged one is not.
  except (ValueError, OSError, EOFError, KeyError, SyntaxError,
          tokenize.TokenError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f'{path} cannot be read as .npz: {error}. It was left as '
                     'it is; make it anew.') from error
