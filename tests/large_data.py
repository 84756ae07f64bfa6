"""The large data sets, for the tests that need them."""

import os
import pathlib

import pytest

from tests import binaries

FOLDER = pathlib.Path(
    os.environ.get('SLSTM_DATA', binaries.ROOT.parent / 'shared' / 'data'))


def needs(name: str) -> pytest.MarkDecorator:
  """Skips a test where this file or folder of `FOLDER` is missing."""
  return pytest.mark.skipif(
      not (FOLDER / name).exists(),
      reason=f'needs {name} in SLSTM_DATA or ../shared/data')
