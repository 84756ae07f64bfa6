"""What a binary without a config does around its work: clear errors."""

import sys
from typing import Callable

from absl import app


def run(action: Callable[[], object]) -> None:
  """Parses the flags and calls `action`; bad input ends it with status 1."""

  def main(argv: list[str]) -> None:
    if len(argv) > 1:
      raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
    try:
      action()
    except (ValueError, OSError, ImportError) as error:
      sys.exit(f'error: {error}')

  app.run(main)
