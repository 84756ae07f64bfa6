"""Runs Python as a user does, for the tests of binaries."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_python(*arguments, timeout=300):
  """Runs `python ARGUMENTS` at the root; returns (status, what it printed)."""
  done = subprocess.run([sys.executable, *map(str, arguments)],
                        cwd=ROOT,
                        env={
                            **os.environ, 'COLUMNS': '200'
                        },
                        capture_output=True,
                        text=True,
                        check=False,
                        timeout=timeout)
  return done.returncode, done.stdout + done.stderr


def run(binary, *flags):
  """Runs `python -m experiments.BINARY FLAGS`, as `run_python`."""
  return run_python('-m', f'experiments.{binary}', *flags)


def must(binary, *flags):
  """The same; returns what it printed, if its status is 0."""
  status, printed = run(binary, *flags)
  assert status == 0, printed
  return printed
