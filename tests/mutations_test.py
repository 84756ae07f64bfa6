"""Small faults, each of which must make a test fail.

Each fault is a replacement of text in a copy of the package, under which the
named test is run in a process of its own. A fault whose text is no longer there
exactly once fails too: look for what became of it.
"""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
IGNORED = shutil.ignore_patterns('__pycache__', 'golden')

# What is wrong, the module, its text, what replaces it, the test that notices.
FAULTS = [
    ('does not fire at equality', 'surrogate.py', '(x >= 0)', '(x > 0)',
     'neurons_test.py::test_fires_at_equality_and_resets_in_the_same_step'),
    ('surrogate grows with its width', 'surrogate.py',
     '](y / width) / (v_th * width)', '](y / width) / v_th',
     'surrogate_test.py::test_gradient_is_that_of_the_antiderivative'),
    ('no reset', 'neurons.py', 'u - v_th * s, s', 'u, s',
     'neurons_test.py::test_a_large_drive_fires_once_and_leaves_the_rest'),
    ('no leak', 'neurons.py', 'align(neuron.leak, d) * v_tm1', 'v_tm1',
     'neurons_test.py::test_the_leak_forgets'),
    ('no bias shift', 'neurons.py', '0.0 if signed else v_th / 2', '0.0',
     'neurons_test.py::test_staircase_tends_to_the_clip_at_rate_1_over_t'),
    ('a spike train starts at rest', 'neurons.py',
     'start = initial_membrane(neuron, d.shape[1:]).astype(d.dtype)',
     'start = jnp.zeros(d.shape[1:], d.dtype)',
     'neurons_test.py::test_steps_agree_with_the_oracle'),
    ('i and f swapped', 'cells.py', 'f * c_nm1 + i * g', 'i * c_nm1 + f * g',
     'cells_test.py::test_the_equations_for_given_gates'),
    ('a shared state is that of the last step', 'cells.py',
     'functools.reduce(jnp.add, list(leaf))[None] / count', 'leaf[-1:]',
     'executor_test.py::test_shared_coupling_agrees_with_the_oracle[4-sites1]'),
    ('a shared state is not counted once', 'counts.py',
     'gate_slots = 1 if shared else slots', 'gate_slots = slots',
     'counts_test.py::test_recount_of_the_oracle'),
    ('membranes stay in their slot', 'wavefront.py', '[v_0, v[:-1]]',
     '[v_0, v[1:]]',
     'executor_test.py::test_eager_runs_agree_with_the_oracle[wavefront]'),
    ('states change after the last element', 'wavefront.py',
     '(n >= 0) & (n < num_elements)', 'n >= 0',
     'executor_test.py::test_eager_runs_agree_with_the_oracle[wavefront]'),
    ('a lean gradient forgets U h', 'layerwise.py', 'x_n @ packed.w, nm1_n.h)',
     'x_n @ packed.w, 0 * nm1_n.h)',
     'executor_test.py::test_gradients_of_all_executors_agree'
     "[(1, 2, 5, ['ifgoch'], 'float32')]"),
]


def copy_project(folder):
  for name in ('slstm', 'tests'):
    shutil.copytree(ROOT / name, folder / name, ignore=IGNORED)
  shutil.copy(ROOT / 'setup.cfg', folder)


def run_tests(folder, tests):
  """Exit status of pytest (0 if all pass, 1 if some fail) and its output."""
  command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
  result = subprocess.run(
      [*command, *(f'tests/{test}' for test in sorted(set(tests)))],
      cwd=folder,
      capture_output=True,
      text=True,
      check=False,
      timeout=300)
  return result.returncode, result.stdout + result.stderr


def test_the_unchanged_copy_passes(tmp_path):
  copy_project(tmp_path)
  status, output = run_tests(tmp_path, [fault[-1] for fault in FAULTS])
  assert status == 0, output


@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: fault[0])
def test_a_fault_breaks_a_test(fault, tmp_path):
  _, module, old, new, test = fault
  copy_project(tmp_path)
  path = tmp_path / 'slstm' / module
  text = path.read_text(encoding='utf-8')
  assert text.count(old) == 1, f'{module}: {old!r} is there {text.count(old)}x'
  path.write_text(text.replace(old, new), encoding='utf-8')
  status, output = run_tests(tmp_path, [test])
  assert status == 1, output
