"""Small faults, each of which must make a test fail.

Each fault is a replacement of text in one module of slstm, under which the
named test is run. A fault whose text is no longer there exactly once fails too:
look for what became of it.

A fresh process for each fault would spend most of its time on imports and on
the compilation of simple operations. So one process runs them all: for each it
forgets the package and its tests, imports the package again with the faulty
source in place of the file, and calls pytest. What JAX compiled is kept on
disk (conftest.py), since most programs are the same with a fault elsewhere.
"""

import contextlib
import faulthandler
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
_SECONDS = 1800  # until a run is taken to be stuck

_GRADIENT = ('scan_test.py::test_gradients_of_all_executors_agree'
             "[(2, 4, 5, ['h'], 'float32')]")


class Fault(NamedTuple):
  """What is wrong, where, its text, what replaces it, the test that notices."""
  what: str
  module: str
  old: str
  new: str
  test: str


FAULTS = [
    # --- activations, neurons
    Fault('a hard sigmoid of half the slope', 'activations',
          'z / (2 * slope) + 0.5', 'z / slope + 0.5',
          'activations_test.py::test_agrees_with_the_oracle[3.0-hard-f]'),
    Fault(
        'a quantised clip learns beyond its range', 'activations',
        '(d > low) & (d < 1.0)', 'd > low', 'activations_test.py'
        '::test_gradient_of_a_quantised_activation_passes_straight_through[c]'),
    Fault(
        'does not fire at equality', 'neurons', '(x >= 0)', '(x > 0)',
        'neurons_test.py::test_fires_at_equality_and_resets_in_the_same_step'),
    Fault(
        'surrogate grows with its width', 'neurons',
        '](y / width) / (v_th * width)', '](y / width) / v_th',
        'neurons_test.py::test_gradient_is_that_of_the_antiderivative'
        '[0.5-arctan]'),
    Fault(
        'the gradient of a threshold has the wrong sign', 'neurons',
        '(-d_x * y)', '(d_x * y)', 'neurons_test.py::'
        'test_gradient_of_the_threshold_is_that_of_the_antiderivative'
        '[0.5-arctan]'),
    Fault('NaN is silenced', 'neurons', 'jnp.where(x < 0, 0, x)', '0',
          'neurons_test.py::test_nan_is_not_silenced'),
    Fault('no reset', 'neurons', 'u - v_th * s, s', 'u, s',
          'neurons_test.py::test_a_large_drive_fires_once_and_leaves_the_rest'),
    Fault('no leak', 'neurons', 'align(neuron.leak, d) * v_tm1', 'v_tm1',
          'neurons_test.py::test_the_leak_forgets'),
    Fault('no bias shift', 'neurons', '0.0 if signed else v_th / 2', '0.0',
          'neurons_test.py::test_integrate_and_fire_carries_the_optimal_shift'),
    Fault('a membrane starts at rest', 'neurons',
          'jnp.broadcast_to(align(neuron.v_0, like), shape)',
          'jnp.zeros(shape, like.dtype)',
          'neurons_test.py::test_staircase_of_a_binary_if[0.25-3]'),
    Fault('a threshold may become negative', 'neurons',
          'raw._replace(v_th=jnp.exp(raw.v_th)', 'raw._replace(v_th=raw.v_th',
          'neurons_test.py::test_constrain_maps_any_leaves_into_range'),
    Fault('a sigma-delta neuron forgets what it said', 'sigma_delta',
          'return x + theta * s, s', 'return theta * s, s',
          'sigma_delta_test.py::test_by_hand'),
    Fault('a level is 1/2 in any case', 'sigma_delta',
          'neurons.align(neuron.level, d) * theta', 'theta / 2',
          'sigma_delta_test.py::test_agrees_with_the_oracle[1-0.75]'),
    Fault('a level may be below 1/2', 'sigma_delta', '0.5 + 0.5 *', '1.0 *',
          'sigma_delta_test.py::test_coordinates_of_the_optimiser[0.75]'),
    # --- types, cells, scan, wavefront
    Fault(
        'h is said to spike where o alone does', 'types', 'return o * c',
        'return o', 'train_test.py::'
        'test_the_penalty_is_on_spikes_whatever_their_amplitude[sites0]'),
    Fault('i and f swapped', 'cells', 'f * c_nm1 + i * g', 'i * c_nm1 + f * g',
          'cells_test.py::test_the_equations_for_given_gates'),
    Fault('the product with the input lacks the bias', 'cells',
          'x @ fuse(layer.w) + b', 'x @ fuse(layer.w) + 0 * b',
          'cells_test.py::test_the_input_product_adds_the_bias'),
    Fault(
        'a shared state is that of the last step', 'cells',
        'functools.reduce(jnp.add, list(leaf))[None] / count', 'leaf[-1:]',
        'cells_test.py::'
        'test_an_element_is_its_updates_one_after_the_other[oc-shared]'),
    Fault(
        'a running sum counts by its mean', 'cells',
        'h[-1:] if is_cumulative(layer) else', 'h[-1:] if False else',
        'sigma_delta_test.py::'
        'test_networks_agree_with_the_oracle_in_all_schedules[3]'),
    Fault('an output is that of the state after the step', 'cells',
          'kind.output(neuron, before, s[None])[0]',
          'kind.output(neuron, after[site], s[None])[0]',
          'carried_test.py::test_two_steps_agree_with_the_oracle'
          '[c]'),
    Fault('a gradient is of the wrong h', 'scan', 'outputs[0][:-1]]',
          'outputs[0][1:]]', _GRADIENT),
    Fault('a lean gradient forgets U h', 'scan', 'x_n @ packed.w, nm1_n.h)',
          'x_n @ packed.w, 0 * nm1_n.h)', _GRADIENT),
    Fault('neurons learn from the first element alone', 'scan',
          'd_rest = jax.tree.map(jnp.add, d_rest, d_rest_n)',
          'd_rest = d_rest_n', _GRADIENT),
    Fault('states of neurons stay in their slot', 'wavefront',
          '[start, v[:-1]]', '[start, v[1:]]',
          'scan_test.py::test_eager_runs_agree_with_the_oracle[wavefront]'),
    Fault('states change after the last element', 'wavefront',
          '(n >= 0) & (n < num_elements)', 'n >= 0',
          'scan_test.py::test_eager_runs_agree_with_the_oracle[wavefront]'),
    Fault('the wavefront runs carried neurons of two steps', 'wavefront',
          'config.num_steps > 1', 'config.num_steps > 2',
          'carried_test.py::test_wavefront_refuses_several_steps_and_says_why'),
    # --- model
    Fault('pooled features are sorted by name', 'model', 'for name in names]',
          'for name in sorted(names)]',
          'model_test.py::test_apply_agrees_with_the_oracle'
          '[oc_h]'),
    Fault('an input neuron starts anew at every element', 'model',
          'if kind.carried:', 'if False:',
          'carried_test.py::test_two_steps_agree_with_the_oracle'
          '[input]'),
    Fault(
        'an input that is a running sum counts by its mean', 'model',
        'if kind.cumulative:', 'if False:', 'sigma_delta_test.py::'
        'test_networks_agree_with_the_oracle_in_all_schedules[2]'),
    Fault('an observer is forgotten', 'model', 'observe or\n', 'None or\n',
          'model_test.py::test_executor_observer_and_state_are_handed_on'),
    Fault('the matrices U of all gates are the same', 'model',
          'orthogonal(k, (hidden, hidden))',
          'orthogonal(u_key, (hidden, hidden))',
          'model_test.py::test_init_uses_every_key_once'),
    Fault(
        'a stretched network takes in more', 'model', 'i=layer.b.i - shift',
        'i=layer.b.i + shift', 'model_test.py::'
        'test_odds_of_forgetting_and_of_input_move_by_the_factor[4.0]'),
    # --- calibrate, fitting, convert
    Fault('drives are rounded down', 'calibrate', 'jnp.round(d *',
          'jnp.floor(d *',
          'calibrate_test.py::test_counts_are_those_of_numpy[64-hard]'),
    Fault('what fills a batch up is counted', 'calibrate',
          'np.where(real, index % 2, 2)', 'np.where(real, index % 2, 1)',
          'calibrate_test.py::test_batches_do_not_matter[3]'),
    Fault(
        'a rule is not checked on what was held out', 'fitting',
        '(each[0] < best[0]) & (each[2] <= best[2])', 'each[0] < best[0]',
        'fitting_test.py::test_a_rule_is_compared_with_the_one_taken_before'
        '[mse_fit3-mse_held_out3-if_uniform]'),
    Fault('the shift of most error is taken', 'fitting',
          'best = np.argmin(error, 1)', 'best = np.argmax(error, 1)',
          'fitting_test.py::test_shift_helps_where_the_target_is_a_curve'),
    Fault('the best amplitude is not the least squares one', 'fitting',
          '2 * amplitude * product', 'amplitude * product',
          'fitting_test.py::test_evaluate_finds_the_best_amplitude'),
    Fault(
        'a leak takes half of the shift', 'fitting', '2 * v_0, amplitude',
        'v_0, amplitude', 'fitting_test.py::'
        'test_nearly_if_has_the_staircase_of_the_if[256-False-1]'),
    Fault(
        'neurons follow the drive', 'convert',
        'activations.squash(site, centres, model.config)', 'centres',
        'convert_test.py::'
        'test_the_target_is_the_activation_of_the_source[i]'),
    Fault(
        'all sites are ternary', 'convert',
        'signed = site in types.SIGNED_SITES', 'signed = True',
        'convert_test.py::'
        'test_uniform_if_is_the_integrate_and_fire_neuron'),
    Fault('the couplings are one', 'convert',
          "names = ('num_steps', 'coupling',", "names = ('num_steps',",
          'convert_test.py::test_config_of_the_result'),
    # --- activity, operations, energy, select
    Fault('the last h is multiplied by U', 'operations',
          'recurrent, values = h.at(slice(-1)), len',
          'recurrent, values = h, len',
          'operations_test.py::test_one_spiking_layer_by_hand'),
    Fault('a row is fetched if all steps need it', 'activity',
          'jnp.any(values != 0, 1)', 'jnp.all(values != 0, 1)',
          'operations_test.py::test_one_spiking_layer_by_hand'),
    Fault('the first value is no change', 'activity',
          'prepend=jnp.zeros_like(x[:1])', 'prepend=x[:1]',
          'operations_test.py::test_the_change_of_a_lif_neuron_by_hand'),
    Fault('running sums stay in registers', 'operations', '(1 + running)', '1',
          'operations_test.py::test_sigma_delta_by_hand'),
    Fault('weights lie in the greatest memory', 'energy', 'fits[0] if fits',
          'fits[-1] if fits', 'energy_test.py::test_memory_by_hand'),
    Fault('break-even knows no products', 'energy',
          'stays = energy.total - energy.of_h', 'stays = energy.total',
          'energy_test.py::test_break_even_by_hand'),
    Fault('the point of most error is picked', 'front', 'return min(within',
          'return max(within', 'front_test.py::test_pick'),
    Fault('spikes of the last step only are a rate', 'front',
          'jnp.sum(seen, 1)', 'seen[:, -1]',
          'front_test.py::test_points_are_those_of_the_oracle[2]'),
    Fault('f c is multiplied at the first element', 'operations',
          "times = length - (a == 'f')", 'times = length',
          'operations_test.py::test_one_spiking_layer_by_hand'),
    Fault('an accumulation is free', 'energy', 'p.mac * e.mac + p.ac * e.ac',
          'p.mac * e.mac', 'energy_test.py::test_ledgers_by_hand'),
    Fault('a clip is one comparison', 'energy', '2 * work.clip', 'work.clip',
          'energy_test.py::test_ledgers_by_hand'),
    Fault('a sigmoid adds nothing', 'energy', 'work.add + work.smooth',
          'work.add', 'energy_test.py::test_ledgers_by_hand'),
    Fault('what costs more energy beats', 'front', 'and a[1] <= b[1]', '',
          'select_test.py::test_front_has_what_nothing_beats'),
    Fault('candidates are ranked without memory', 'select', 'one.energy[3]',
          'one.energy[2]', 'select_test.py::test_front_has_what_nothing_beats'),
    # --- tasks, train, parallel
    Fault(
        'the least likely class is right', 'tasks', 'jnp.argmax(outputs, -1)',
        'jnp.argmin(outputs, -1)', 'train_test.py::'
        'test_evaluate_counts_right_answers_over_uneven_batches'),
    Fault('labels are not smoothed', 'tasks', 'num_outputs), smoothing)',
          'num_outputs), 0 * smoothing)',
          'train_test.py::test_cross_entropy_is_the_textbook_formula'),
    Fault('the rate falls before it has risen', 'train',
          'done < numbers.warmup', 'done <= 0',
          'train_test.py::test_the_rate_is_that_of_optax[0.1-50]'),
    Fault(
        'the input statistics are trained', 'train',
        "_replace(mean='fixed', std='fixed')", "_replace(mean='fixed')",
        'train_test.py::'
        'test_the_optimiser_never_moves_the_statistics_whatever_their_gradient'
    ),
    Fault('the worst epoch is kept', 'train', 'sign * found.metric > sign',
          'sign * found.metric < sign',
          'train_test.py::test_best_is_the_epoch_that_validation_chose'),
    Fault('a rate below its target is rewarded', 'train',
          'jnp.maximum(0.0, rate / target - 1)', 'rate / target - 1',
          'train_test.py::test_what_targets_add_to_the_loss'),
    Fault('a training has the keys of init', 'train',
          'jax.random.fold_in(jax.random.key(config.seed), _STREAM)',
          'jax.random.key(config.seed)',
          'train_test.py::test_keys_are_used_once'),
    Fault(
        'a mean over devices is a sum', 'parallel', 'jax.lax.pmean',
        'jax.lax.psum', 'parallel_test.py::'
        'test_a_mean_over_the_batch_is_that_of_the_means_of_its_parts'),
    # --- checkpoint, importers
    Fault('a step is overwritten', 'checkpoint', 'newest >= step',
          'newest > step', 'checkpoint_test.py::test_nothing_is_overwritten'),
    Fault('infinite values pass', 'borders',
          '~np.isfinite(np.asarray(leaf, wide))',
          'np.isnan(np.asarray(leaf, wide))',
          'borders_test.py::test_not_finite[float32-inf]'),
    Fault(
        'a threshold of 0 passes', 'borders', 'bad |= value == low',
        'bad |= value < low', 'borders_test.py::'
        'test_parameters_of_neurons_have_a_range[no threshold]'),
    Fault('a loaded neuron is the first registered', 'checkpoint',
          'neurons.by_name(name)', 'next(iter(neurons.KINDS))',
          'checkpoint_test.py::test_neurons_of_any_type_are_saved_by_name'),
    Fault('an imported LSTM is hard', 'importers.stack', 'family=families[0]',
          "family='hard'", 'importers_test.py::test_same_logits_as_linen'),
    # --- integer_check, integer_file
    Fault('sums may pass 32 bits', 'integer_check', 'if most >= 2**bits:',
          'if most >= 2**40:',
          'integer_file_test.py::test_sums_that_can_overflow'),
    Fault('a membrane may grow for ever', 'integer_check', "'leak': (0, 2**15)",
          "'leak': (0, 2**16)", 'integer_file_test.py::test_a_leak_beyond_one'),
    Fault('what a file lacks is not noticed', 'integer_file',
          'zlib.crc32(body)) != checksum', 'zlib.crc32(body)) is None',
          'integer_file_test.py::test_truncated_and_longer_files'),
    Fault('a newer version is read', 'integer_file', 'version != VERSION',
          'version < VERSION', 'integer_file_test.py::test_newer_versions'),
    # --- weights_h, export_c
    Fault(
        'sums of 17 bits are kept in 16', 'weights_h', 'max(most) < 2**15',
        'max(most) < 2**16', 'weights_h_test.py'
        '::test_sums_have_16_bits_if_all_of_them_fit[259-32]'),
    Fault('arrays of the state overlap', 'weights_h',
          '-(-count // 4) * 4 * times', 'count // 4 * 4 * times',
          'weights_h_test.py::test_memory_by_hand'),
    Fault('what layers share is their own', 'weights_h', 'room.sizes[k] - size',
          'room.sizes[k]', 'weights_h_test.py::test_memory_by_hand'),
    Fault('shifts round downwards', 'weights_h', '1 << max(bits, 0) >> 1',
          '0 * max(bits, 0)',
          'weights_h_test.py::test_rows_hold_the_gates_of_each_unit'),
    Fault('the gates of all units follow each other', 'weights_h',
          '4, -1).swapaxes(-1, -2).reshape', '4, -1).reshape',
          'weights_h_test.py::test_rows_hold_the_gates_of_each_unit'),
    Fault(
        'dense weights are in the order of rows', 'weights_h',
        'blocks.transpose(0, 2, 1, 3)', 'blocks', 'weights_h_test.py'
        '::test_dense_weights_are_four_inputs_by_four_gates'),
    Fault('sigmoid and tanh are steps', 'weights_h', '+ np.diff(values)', '',
          'weights_h_test.py::test_points_know_the_next_one[gate-o]'),
    Fault('other files are overwritten', 'export_c', '!= text:', 'is None:',
          'export_c_test.py::test_nothing_is_overwritten'),
    Fault('the state does not count its elements', 'export_c', '(total + 4)',
          '(total)', 'weights_h_test.py::test_memory_by_hand'),
    Fault('the read-out has no weights', 'export_c',
          'weights + model.readout_w.size', 'weights',
          'weights_h_test.py::test_memory_by_hand'),
]

_TESTS = sorted({fault.test for fault in FAULTS})
# All of them pass in the suite itself; that they also do in this process, one
# for each module shows.
_SAMPLE = sorted({fault.module: fault.test for fault in FAULTS}.values())


def source_of(fault):
  """Path and faulty source of a module."""
  path = ROOT / 'slstm' / f'{fault.module.replace(".", "/")}.py'
  text = path.read_text(encoding='utf-8')
  count = text.count(fault.old)
  assert count == 1, f'{path.name}: {fault.old!r} is there {count} times'
  return path, text.replace(fault.old, fault.new)


# --- The process that runs them -----------------------------------------------


class _Loader(importlib.machinery.SourceFileLoader):
  """Loads a module from a text in place of its file."""

  def __init__(self, name, path, source):
    super().__init__(name, str(path))
    self._source = source

  def get_code(self, fullname):
    return compile(self._source, self.path, 'exec', dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
  """Finds the module of a fault, with that fault."""

  def __init__(self, fault):
    self._name = f'slstm.{fault.module}'
    self._loader = _Loader(self._name, *source_of(fault))

  def find_spec(self, fullname, path, target=None):
    if fullname != self._name:
      return None
    return importlib.util.spec_from_loader(fullname, self._loader)


def _forget():
  """Makes the next import of the package and of its tests a new one."""
  kept = sys.modules.get('tests')  # and its settings, that JAX takes once only
  for name in list(sys.modules):
    package, _, rest = name.partition('.')
    if package == 'slstm' or package == 'tests' and rest not in ('',
                                                                 'conftest'):
      del sys.modules[name]
      if package == 'tests':  # or `from tests import x` would find the old one
        vars(kept).pop(rest, None)


def _run(tests, *options, fault=None):
  """Exit status of pytest (0 if all pass, 1 if some fail) and its output."""
  _forget()
  finders = [] if fault is None else [_Finder(fault)]
  sys.meta_path[:0] = finders
  output = io.StringIO()
  faulthandler.dump_traceback_later(_SECONDS, exit=True, file=sys.__stderr__)
  try:
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
      status = pytest.main([
          '-q', '-x', '--tb=short', '-p', 'no:cacheprovider', '-p', 'no:xdist',
          *options, *(f'{ROOT}/tests/{test}' for test in tests)
      ])
  finally:
    faulthandler.cancel_dump_traceback_later()
    for finder in finders:
      sys.meta_path.remove(finder)
  return int(status), output.getvalue()


def _serve():
  """Reads an index of FAULTS per line, or -1 for none; writes the outcome."""
  replies = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what tests print is no reply
  # So that the unchanged package is imported for a second time, too.
  _run(_TESTS, '--collect-only')
  for line in sys.stdin:
    index = int(line)
    if index < 0:
      outcome = _run(_SAMPLE)
    else:
      outcome = _run([FAULTS[index].test], fault=FAULTS[index])
    replies.write(json.dumps(outcome) + '\n')
    replies.flush()


# --- Tests --------------------------------------------------------------------


@pytest.fixture(scope='module', name='outcome')
def _outcome():
  """A function from an index to (status, output), of one process for all."""
  with tempfile.TemporaryFile() as errors, subprocess.Popen(
      [sys.executable, '-m', 'tests.mutations_test'],
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=errors,
      text=True) as process:

    def outcome(index):
      with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f'{index}\n')
        process.stdin.flush()
      line = process.stdout.readline()
      if not line:
        errors.seek(0)
        pytest.fail(f'the process ended:\n{errors.read().decode()[-5000:]}')
      return json.loads(line)

    yield outcome
    process.stdin.close()


def test_the_unchanged_package_passes(outcome):
  status, output = outcome(-1)
  assert status == 0, output


@pytest.mark.parametrize('index',
                         range(len(FAULTS)),
                         ids=[fault.what for fault in FAULTS])
def test_a_fault_breaks_a_test(index, outcome):
  source_of(FAULTS[index])
  status, output = outcome(index)
  assert status == 1, output


if __name__ == '__main__':
  _serve()
