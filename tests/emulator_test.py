"""Exported C on an emulated Cortex-M4, against the NumPy reference."""

import collections
import itertools
import math

import numpy as np
import pytest

from experiments import bench_mcu
from experiments.bench import emulator
from experiments.reporting import instructions
import slstm
from slstm import integer
from tests import networks

REASON = "runs a Cortex-M4: pip install 'slstm[mcu]'"
for needed in ('ziglang', 'unicorn', 'elftools'):
  pytest.importorskip(needed, reason=REASON)


@pytest.mark.parametrize('sites, options, at_input', networks.CASES)
def test_the_dsp_path_is_the_reference(sites, options, at_input, tmp_path):
  model, x = networks.dyadic(sites, options, at_input, ('last', 'mean'))
  x = x + np.random.default_rng(0).normal(0, 0.3, x.shape)
  check(slstm.quantise(model, x), x, tmp_path)


@pytest.mark.parametrize('family', ['standard', 'hard', 'quantised'])
def test_an_lstm_is_the_reference(family, tmp_path):
  x = np.random.default_rng(0).normal(2, 3, (20, 9, networks.FEATURES))
  model = networks.gaussian(family, x.astype(np.float32))
  check(slstm.quantise(model, x), x, tmp_path)


def check(ints, x, folder):
  q = integer.features(ints, x)
  machine = emulator.Machine(emulator.build(ints, folder, '-O1'), ints)
  found = [machine.run(one) for one in q[:3]]
  np.testing.assert_array_equal(found, integer.run(ints, q).outputs[:3])


def test_work_grows_with_spikes(tmp_path):
  """A silent input costs no row; each spike costs the same again."""
  model, x = networks.dyadic(('d',), {}, 'delta')
  ints = slstm.quantise(model, x)
  machine = emulator.Machine(emulator.build(ints, tmp_path), ints)
  read = []
  for level in 0, 1:
    machine.forget()
    q = np.zeros((1, networks.FEATURES), int)
    q[:, :level] = ints.encoder.neuron.theta[0]
    machine.run(q)
    read.append(machine.read['layer0_w'])
    assert sum(machine.instructions.values()) > 100
  assert read == [0, 4 * networks.HIDDEN]  # one row of bytes


def test_products_with_spikes_do_not_multiply(tmp_path):
  model, x = networks.dyadic(('d', ''), {}, 'delta')
  ints = slstm.quantise(model, x)
  machine = emulator.Machine(emulator.build(ints, tmp_path), ints)
  for name in 'choose_rows', 'add_rows', 'add_chosen':
    assert machine.multiplications(name) == 0
  assert machine.multiplications('multiply') > 16  # of the layer above


def test_counts_of_a_benchmark():
  model, x = networks.dyadic(('d',), {}, None)
  x = x + np.random.default_rng(0).normal(0, 0.3, x.shape)
  ints = slstm.quantise(model, x)
  found = bench_mcu.count(ints, integer.features(ints, x[:2]))
  assert found['instructions'] == pytest.approx(sum(found['parts'].values()))
  assert max(found['each']) >= found['instructions'] > 100
  assert {'layer0_w', 'layer0_u', 'model_step'} < set(found['parts'])
  dense = -(-networks.FEATURES // 4) * 4 * 4 * networks.HIDDEN  # W, filled up
  assert dense <= found['weight_bytes'] < 2 * dense
  found |= {'metric': 0.5, 'of_floats': 0.75, 'same': 0.6}
  made = {'sequences': 2, 'commit': 'c0ffee', 'command': 'python',
          'models': {'a': found}}  # yapf: disable
  assert f' {round(found["instructions"]):,} |' in instructions.report(made)


def test_counts_are_those_of_single_instructions(tmp_path):
  """The same by a hook for each; Unicorn has none for what IT skips."""
  model, x = networks.dyadic(('d', 'oc'), {}, 'delta')
  x = x + np.random.default_rng(0).normal(0, 0.3, x.shape)
  ints = slstm.quantise(model, x)
  elf, q = emulator.build(ints, tmp_path), integer.features(ints, x[0])
  blocks = emulator.Machine(elf, ints)
  blocks.run(q)
  single = emulator.Machine(elf, ints, count='nothing')
  cpu, uc, arm = single._cpu, single._uc, single._arm
  counts, stack, under_it = collections.Counter(), [], set()

  def on_code(_, at, size, __):
    stack.append(cpu.reg_read(arm.UC_ARM_REG_SP))
    if at not in under_it:
      counts['instructions'] += 1
    code = np.frombuffer(cpu.mem_read(at, 18), '<u2')
    if code[0] >> 8 == 0xbf and code[0] & 15:  # IT
      mask = int(code[0]) & 15
      under = 4 - int(math.log2(mask & -mask))
      counts['instructions'] += under
      at += 2
      for first in itertools.islice(emulator._instructions(code[1:]), under):
        under_it.add(at)
        at += 4 if first >= 0xe800 else 2

  def on_memory(_, access, __, size, *___):
    counts['read' if access == uc.UC_MEM_READ else 'written'] += size
    state = cpu.reg_read(arm.UC_ARM_REG_CPSR)
    cpu.reg_write(arm.UC_ARM_REG_CPSR, state & ~emulator._IT_BITS)

  cpu.hook_add(uc.UC_HOOK_CODE, on_code)
  cpu.hook_add(uc.UC_HOOK_MEM_READ | uc.UC_HOOK_MEM_WRITE, on_memory)
  np.testing.assert_array_equal(single.run(q), blocks.run(q))
  assert under_it
  assert {name: 2 * n for name, n in counts.items()} == {
      'instructions': sum(blocks.instructions.values()),
      'read': sum(blocks.read.values()),
      'written': blocks.written
  }  # yapf: disable
  assert blocks.stack == max(stack) - min(stack) > 0


CONDITIONAL = r'''
__attribute__((naked, noinline)) int model_step(int *at) {
  __asm__("cmp r0, #0\n it ne\n ldrne r1, [r0]\n cmp r0, r0\n b 1f\n"
          "1: movw r0, #7\n bx lr");
}
'''


@pytest.mark.parametrize('count', ['nothing', 'instructions', 'bytes'])
def test_what_follows_a_conditional_load_is_executed(count, tmp_path):
  (tmp_path / 'model.c').write_text(CONDITIONAL)
  machine = emulator.Machine(emulator.compile_c(tmp_path), None, count=count)
  assert machine.call('model_step', 0x20000000) == 7
  if count == 'bytes':
    assert sum(machine.read.values()) == 4
