"""Settings shared by all tests; pytest reads them before any test module."""

import atexit
import gc
import os
import shutil
import tempfile

import hypothesis
import jax

os.environ.setdefault('MPLBACKEND', 'Agg')
# Workers that share a GPU must not each reserve most of its memory. Read when
# the first array is made.
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

# Most of the time of the tests would be that of compiling programs which run
# once. XLA's older code generator takes half as long for them, and again half
# where it does not optimise; a program in one part is a fifth less work than in
# 32 for as many cores, and less without the lines of Python that made it. What
# one process has compiled the others read: workers, and binaries that tests
# start.
_QUICK = ('--xla_cpu_use_fusion_emitters=false'
          ' --xla_backend_optimization_level=0'
          ' --xla_cpu_parallel_codegen_split_count=1')
if _QUICK not in os.environ.get('XLA_FLAGS', ''):
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_QUICK}'
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _cache = tempfile.mkdtemp(prefix='slstm-tests-')
  atexit.register(shutil.rmtree, _cache, ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _cache
for _name, _value in (
    ('jax_compilation_cache_dir', os.environ['JAX_COMPILATION_CACHE_DIR']),
    ('jax_persistent_cache_min_compile_time_secs', 0),
    ('jax_persistent_cache_min_entry_size_bytes', -1),
    ('jax_traceback_in_locations_limit', 0)):  # yapf: disable
  os.environ[_name.upper()] = str(_value)
  jax.config.update(_name, _value)

# Tracing makes many small objects, few of them in cycles.
gc.freeze()
gc.set_threshold(200_000, 20, 100)

# An implicit [H] -> [B, H] is a bug more often than an intention.
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_enable_x64', False)
# A CPU is two devices, so that what shares a batch among devices is run.
jax.config.update('jax_num_cpu_devices', 2)
# float32 products in float32 on any device, so that one tolerance fits all.
jax.config.update('jax_default_matmul_precision', 'highest')

hypothesis.settings.register_profile('slstm',
                                     deadline=None,
                                     derandomize=True,
                                     max_examples=20)
hypothesis.settings.load_profile('slstm')

# Whole files go to workers in this order, so the longest come first.
_LONG = ('experiments_test', 'mutations_test', 'bench_test', 'operations_test',
         'scan_test', 'extension_data_test', 'train_test', 'readme_test',
         'released_test', 'convert_test')


def pytest_collection_modifyitems(items):
  place = {name: index for index, name in enumerate(_LONG)}
  items.sort(key=lambda item: place.get(item.path.stem, len(_LONG)))
