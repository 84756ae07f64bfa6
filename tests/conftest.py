"""Settings shared by all tests; pytest reads them before any test module."""

import os

import hypothesis
import jax

os.environ.setdefault('MPLBACKEND', 'Agg')
# Workers that share a GPU must not each reserve most of its memory. Read when
# the first array is made.
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

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
