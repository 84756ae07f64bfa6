"""Exported C against the NumPy reference, bit by bit."""

import shutil
import subprocess

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from experiments import export
import slstm
from slstm import integer
from slstm.types import Config, Sites
from tests import networks

COMPILER = shutil.which('gcc') or shutil.which('clang')
needs_compiler = pytest.mark.skipif(not COMPILER, reason='needs gcc or clang')
FLAGS = ('-std=c99', '-Wall', '-Wextra', '-Wpedantic', '-Werror', '-O1',
         '-fsanitize=address,undefined', '-fno-sanitize-recover=all')


def check_c(ints, q, folder, flags=FLAGS):
  """Whether exported C computes every spike count and output."""
  slstm.export_c(ints, folder)
  export.write_check(ints, q, folder)
  subprocess.run([COMPILER, *flags, 'main.c', 'model.c', '-o', 'check'],
                 cwd=folder, check=True)  # yapf: disable
  done = subprocess.run(folder / 'check', capture_output=True, text=True,
                        check=False)  # yapf: disable
  assert done.returncode == 0, done.stdout + done.stderr
  assert done.stdout == (f'{len(q)} sequences of {len(q[0])} elements: all as '
                         'expected.\n')


@needs_compiler
@pytest.mark.parametrize('sites, options, at_input', networks.CASES)
def test_c_is_the_reference(sites, options, at_input, tmp_path):
  model, x = networks.dyadic(sites, options, at_input, ('last', 'mean', 'max'))
  x = x + np.random.default_rng(0).normal(0, 0.3, x.shape)  # off the grid
  ints = slstm.quantise(model, x)
  check_c(ints, integer.features(ints, x), tmp_path)


@needs_compiler
@pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
def test_an_lstm_in_c_is_the_reference(family, tmp_path):
  x = np.random.default_rng(0).normal(2, 3, (20, 9, networks.FEATURES))
  model = networks.gaussian(family, x.astype(np.float32))
  ints = slstm.quantise(model, x)
  check_c(ints, integer.features(ints, x), tmp_path)


def test_nothing_is_overwritten(tmp_path):
  model, x = networks.dyadic(('d',), {}, None)
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
  model, x = networks.dyadic(('d', 'oc'), {}, None)
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


@needs_compiler
@pytest.mark.parametrize('name', ['counts', 'outputs'])
def test_a_wrong_number_is_found(name, tmp_path):
  model, x = networks.dyadic(('d', 'oc'), {}, None)
  ints = slstm.quantise(model, x)
  check_c(ints, integer.features(ints, x), tmp_path)
  vector = tmp_path / 'vector.h'
  lines = vector.read_text().split('\n')
  at = next(k for k, line in enumerate(lines) if f' {name}[' in line) + 1
  first = lines[at].lstrip('{').split(',')[0].rstrip('}')
  lines[at] = lines[at].replace(first, f'{int(first) + 1}', 1)
  vector.write_text('\n'.join(lines))
  subprocess.run([COMPILER, 'main.c', 'model.c', '-o', 'check'], cwd=tmp_path,
                 check=True)  # yapf: disable
  done = subprocess.run(tmp_path / 'check', capture_output=True, text=True,
                        check=False)  # yapf: disable
  assert done.returncode == 1
  assert f', expected {int(first) + 1}' in done.stdout


@st.composite
def networks_in_integers(draw):
  """A small network of any widths and numbers, and its input."""
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  ints = lambda low, high, shape: rng.integers(low, high, shape, np.int32)
  features, outputs = draw(st.integers(1, 9)), draw(st.integers(2, 5))
  width = st.integers(1, 19) | st.sampled_from([32, 45])
  widths = draw(st.lists(width, min_size=1, max_size=3))
  runs = draw(st.lists(st.booleans(), min_size=4, max_size=4))

  def neuron(units):
    theta = ints(1, 1500, units)
    return integer.IntegerSigmaDelta(theta, (theta + 1) // 2 + theta // 4)

  # So that drives are about 1: of rows of spikes, of products with 7 bits.
  shifts = lambda spikes: tuple(int(k) - 5 * spikes for k in ints(-3, 2, 4))
  layers, below, from_spikes = [], features, runs[3]
  for units, spikes in zip(widths, runs):
    wide = lambda rows: ints(-127, 128, (rows, 4 * units)).astype(np.int8)
    w_shift = u_shift = shifts(from_spikes)
    if not (spikes and from_spikes):
      u_shift = shifts(spikes)
    common = np.repeat(np.maximum(w_shift, u_shift), units)
    b = (ints(-2**14, 2**15, 4 * units) * 2.0**common).astype(np.int32)
    layers.append(
        integer.IntegerLayer(wide(below), wide(units), b, w_shift, u_shift,
                             int(ints(4, 13, ())),
                             Sites(h=neuron(units) if spikes else None)))
    below, from_spikes = units, spikes
  pooling = tuple(draw(st.sets(st.sampled_from(['last', 'mean', 'max']),
                               min_size=1)))  # yapf: disable
  encoder = integer.IntegerEncoder(np.zeros(features, np.float32),
                                   np.ones(features, np.float32), 4,
                                   10000 if runs[3] else 127,
                                   neuron(features) if runs[3] else None)
  config = Config(family=draw(st.sampled_from(['standard', 'hard'])),
                  num_steps=draw(st.integers(1, 3)), coupling='shared',
                  pooling=pooling)  # yapf: disable
  made = integer.IntegerModel(
      encoder, tuple(layers),
      ints(-127, 128, (len(pooling) * below, outputs)).astype(np.int8),
      ints(-2**20, 2**20, outputs), 20, config)
  most = encoder.limit
  return made, ints(-most - 1, most + 1, (2, draw(st.integers(4, 8)), features))


@needs_compiler
@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(networks_in_integers())
def test_c_of_any_network_is_the_reference(tmp_path_factory, drawn):
  ints, q = drawn
  fast = ('-std=c99', '-O0', '-fwrapv')
  check_c(ints, q, tmp_path_factory.mktemp('c'), fast)


@needs_compiler
@pytest.mark.parametrize('sign', [-1, 1])
def test_more_rows_than_are_added_at_once(sign, tmp_path):
  """All of 300 units spike in the first element, with one sign."""
  rng, units = np.random.default_rng(0), 300
  bias = np.repeat([2, 0, 2 * sign, 2], units) * integer.ONE
  theta = np.full(units, 500, np.int32)
  layer = integer.IntegerLayer(
      rng.integers(-9, 10, (1, 4 * units)).astype(np.int8),
      rng.integers(-127, 128, (units, 4 * units)).astype(np.int8),
      bias.astype(np.int32), (0,) * 4, (-4,) * 4, 10,
      Sites(h=integer.IntegerSigmaDelta(theta, theta)))  # yapf: disable
  ones, rows = np.ones(1, np.float32), rng.integers(-127, 128, (units, 3))
  ints = integer.IntegerModel(
      integer.IntegerEncoder(0 * ones, ones, 4, 127), (layer,),
      rows.astype(np.int8), np.zeros(3, np.int32), 20,
      Config(family='hard', pooling=('last',)))  # yapf: disable
  q = rng.integers(-127, 128, (2, 5, 1))
  assert (integer.run(ints, q).counts[:, 0, 0] == units).all()
  check_c(ints, q, tmp_path)
