"""Exported C against the NumPy reference, bit by bit."""

import shutil
import subprocess

import numpy as np
import pytest

import slstm
from slstm import integer
from tests import integer_test
from tests import networks

COMPILER = shutil.which('gcc') or shutil.which('clang')
needs_compiler = pytest.mark.skipif(not COMPILER, reason='needs gcc or clang')
FLAGS = ('-std=c99', '-Wall', '-Wextra', '-Wpedantic', '-Werror', '-O1',
         '-fsanitize=address,undefined', '-fno-sanitize-recover=all')
HARNESS = '''
#include <stdio.h>
#include "model.h"

/* Reads the number of elements and then sequences; writes their outputs. */
int main(void) {
  static model_state state;
  model_feature x[NUM_FEATURES];
  int32_t outputs[NUM_OUTPUTS], length;
  if (fread(&length, sizeof length, 1, stdin) != 1) return 1;
  for (;;) {
    model_reset(&state);
    for (int32_t n = 0; n < length; ++n) {
      if (fread(x, sizeof x, 1, stdin) != 1) return n != 0;
      model_step(&state, x);
    }
    model_classify(&state, outputs);
    fwrite(outputs, sizeof outputs, 1, stdout);
  }
}
'''


def run_c(ints, q, folder):
  """Outputs [B, K] of the exported model."""
  slstm.export_c(ints, folder)
  (folder / 'main.c').write_text(HARNESS)
  subprocess.run([COMPILER, *FLAGS, 'main.c', 'model.c', '-o', 'run'],
                 cwd=folder, check=True)  # yapf: disable
  dtype = np.int8 if ints.encoder.neuron is None else np.int16
  fed = np.int32(q.shape[1]).tobytes() + q.astype(dtype).tobytes()
  done = subprocess.run(folder / 'run', input=fed, capture_output=True,
                        check=True)  # yapf: disable
  return np.frombuffer(done.stdout, np.int32).reshape(len(q), -1)


@needs_compiler
@pytest.mark.parametrize('sites, options, at_input', integer_test.RAN)
def test_c_is_the_reference(sites, options, at_input, tmp_path):
  model, x = integer_test.dyadic(sites, options, at_input,
                                 ('last', 'mean', 'max'))
  x = x + np.random.default_rng(0).normal(0, 0.3, x.shape)  # off the grid
  ints = slstm.quantise(model, x)
  q = integer.features(ints, x)
  found = run_c(ints, q, tmp_path)
  np.testing.assert_array_equal(found, integer.run(ints, q).outputs)
  assert len(np.unique(found)) > 3


@needs_compiler
@pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
def test_an_lstm_in_c_is_the_reference(family, tmp_path):
  x = np.random.default_rng(0).normal(2, 3, (20, 9, networks.FEATURES))
  model = integer_test.gaussian(family, x.astype(np.float32))
  ints = slstm.quantise(model, x)
  q = integer.features(ints, x)
  np.testing.assert_array_equal(run_c(ints, q, tmp_path),
                                integer.run(ints, q).outputs)


def test_nothing_is_overwritten(tmp_path):
  model, x = integer_test.dyadic(('d',), {}, None)
  ints = slstm.quantise(model, x)
  slstm.export_c(ints, tmp_path / 'c')
  slstm.export_c(ints, tmp_path / 'c')  # the same again
  other = slstm.quantise(model, x, bits=4)
  before = (tmp_path / 'c' / 'weights.h').read_text()
  with pytest.raises(ValueError, match='is there with other content'):
    slstm.export_c(other, tmp_path / 'c')
  assert (tmp_path / 'c' / 'weights.h').read_text() == before


@needs_compiler
def test_memory_is_what_the_readme_says(tmp_path):
  model, x = integer_test.dyadic(('d', 'oc'), {}, None)
  ints = slstm.quantise(model, x)
  slstm.export_c(ints, tmp_path)
  (tmp_path / 'size.c').write_text(
      '#include "model.h"\n#include <stdio.h>\n'
      'int main(void) { printf("%zu", sizeof(model_state)); return 0; }')
  subprocess.run([COMPILER, 'size.c', '-o', 'size'], cwd=tmp_path, check=True)
  size = int(subprocess.check_output(tmp_path / 'size'))
  text = (tmp_path / 'README.md').read_text()
  assert f'| `model_state` | {size:,} |' in text
  weights = sum(k.w.size + k.u.size for k in ints.layers) + ints.readout_w.size
  assert f'int8 weights | {weights:,} |' in text
