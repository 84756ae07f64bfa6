"""A web server on this machine, for the tests of downloads."""

import contextlib
import functools
import http.server
import pathlib
import threading
from typing import Iterator


@contextlib.contextmanager
def serve(folder: pathlib.Path) -> Iterator[str]:
  """Serves the files of a folder; gives its address."""
  handler = functools.partial(http.server.SimpleHTTPRequestHandler,
                              directory=folder)
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
      yield f'http://127.0.0.1:{server.server_port}'
    finally:
      server.shutdown()
      thread.join()
