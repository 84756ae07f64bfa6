"""Experiment binaries: thin absl mains over the library."""

from importlib import util

_NEEDED = ('jinja2', 'matplotlib', 'ml_collections', 'pandas', 'rich')
_MISSING = [name for name in _NEEDED if util.find_spec(name) is None]

if _MISSING:
  raise ImportError(f'experiments needs {", ".join(_MISSING)}; install the '
                    "extra: pip install 'slstm[experiments]'.")
