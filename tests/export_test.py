"""The binary that writes a trained model as C."""

import subprocess

import numpy as np

import slstm
from tests import binaries
from tests import export_c_test

SOURCE = binaries.ROOT / 'results' / 'models' / 'har_lif'


@export_c_test.needs_compiler
def test_export(tmp_path):
  flags = f'--source={SOURCE}', f'--workdir={tmp_path / "c"}'
  printed = binaries.must('export', *flags, '--sequences=2', '--bits=6')
  subprocess.run([export_c_test.COMPILER, 'main.c', 'model.c', '-o', 'check'],
                 cwd=tmp_path / 'c', check=True)  # yapf: disable
  told = subprocess.check_output(tmp_path / 'c' / 'check', text=True)
  assert told == '2 sequences of 64 elements: all as expected.\n'
  ints = slstm.load_integers(tmp_path / 'c' / 'model.slstm')
  assert max(np.abs(layer.w).max() for layer in ints.layers) == 31
  memory = slstm.memory_of_c(ints)
  assert f'{memory["flash"]:,} bytes of constants' in printed
  assert 'Test accuracy 0.9' in printed and ', of floats 0.92' in printed
  status, refused = binaries.run('export', *flags)
  assert status == 1 and 'model.slstm' in refused.splitlines()[-1]
