"""Exported C on an emulated Cortex-M4, whose instructions are counted.

The cross-compiler is that of the package ziglang, the processor that of the
package unicorn: extra `mcu`. Unicorn executes instructions and knows no cycles.
An instruction whose condition does not hold counts as executed.
"""

import bisect
import collections
import importlib
import pathlib
import subprocess
import sys
from typing import Any, Iterable, Iterator

import numpy as np

from experiments.datasets import base
import slstm
from slstm import integer

_STATE, _X, _OUTPUTS = 0x20000000, 0x20100000, 0x20110000
_STACK, _END = 0x20200000, 0x08000000
_STACK_SIZE = 0x10000
_PRODUCTS = 'multiply', 'add_rows'  # of model.c
_IT_BITS = 0x0600fc00  # of the processor's state, while an IT instruction holds
_Block = tuple[int, int, int]
_FLAGS = ('-target', 'thumb-freestanding-eabihf', '-mcpu=cortex_m4', '-std=c99',
          '-nostdlib', '-ffreestanding', '-fno-sanitize=all',
          '-Wl,-e,model_step',
          '-Wl,--no-gc-sections')  # yapf: disable


def _package(name: str) -> Any:
  with base.extra('mcu'):
    found = importlib.import_module(name)
  return found


def build(model: integer.IntegerModel,
          folder: pathlib.Path,
          optimise: str = '-O3') -> pathlib.Path:
  """Exports a model and compiles it; returns the ELF file."""
  slstm.export_c(model, folder)
  return compile_c(folder, optimise)


def compile_c(folder: pathlib.Path, optimise: str = '-O3') -> pathlib.Path:
  """Compiles model.c in a folder; returns the ELF file."""
  _package('ziglang')
  command = [sys.executable, '-m', 'ziglang', 'cc', *_FLAGS, optimise]
  done = subprocess.run([*command, '-o', 'model.elf', 'model.c'], cwd=folder,
                        capture_output=True, text=True, check=False
                       )  # yapf: disable
  if done.returncode:
    raise ValueError(f'{folder}/model.c does not compile:\n{done.stderr}')
  return folder / 'model.elf'


class Machine:
  """A Cortex-M4 with a program in its memory.

  Attributes:
    written: bytes written so far.
    code: bytes of all functions.
  """

  def __init__(self,
               elf: pathlib.Path,
               model: integer.IntegerModel,
               *,
               count: str = 'bytes'):
    """Loads a program of `build`.

    Args:
      elf: what `build` returned.
      model: of that program.
      count: 'bytes' and instructions, 'instructions' only, or 'nothing'; the
        less, the faster.
    """
    self._uc, self._arm = _package('unicorn'), _package('unicorn.arm_const')
    uc, arm = self._uc, self._arm
    self._model = model
    self._cpu = cpu = uc.Uc(uc.UC_ARCH_ARM,
                            uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS)
    cpu.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M4)
    self._mapped: list[tuple[int, int]] = []
    self._load(elf)
    for start, size in ((_STATE, 0x200000), (_STACK, _STACK_SIZE), (_END, 1)):
      self._map(start, size)
    self.written = 0
    self.code = sum(size for _, size, _ in self._functions)
    self._products = {
        at for at, _, name in self._functions if name in _PRODUCTS
    }
    # A block is where its code lies, and where the product was called from
    # that runs now or ran last.
    self._caller = 0
    self._blocks: collections.Counter[_Block] = collections.Counter()
    self._conditional: dict[_Block, bool] = {}
    self._in_conditional = False
    # Bytes by caller and address.
    self._reads: dict[int, collections.Counter[int]] = collections.defaultdict(
        collections.Counter)
    if count != 'nothing':
      cpu.hook_add(uc.UC_HOOK_BLOCK, self._on_block)
    if count == 'bytes':
      cpu.hook_add(uc.UC_HOOK_MEM_READ, self._on_read)
      cpu.hook_add(uc.UC_HOOK_MEM_WRITE, self._on_write)
    self._deepest = _STACK + _STACK_SIZE

  def _map(self, start: int, size: int) -> None:
    """Maps the pages that are not mapped yet, in as few regions as possible."""
    first, end = start & ~0xfff, -(-(start + size) // 0x1000) * 0x1000
    for mapped_first, mapped_end in self._mapped:
      if mapped_first <= first < mapped_end:
        first = mapped_end
    if first < end:
      self._mapped.append((first, end))
      self._cpu.mem_map(first, end - first)

  def _load(self, elf: pathlib.Path) -> None:
    with open(elf, 'rb') as file:
      program = _package('elftools.elf.elffile').ELFFile(file)
      for segment in program.iter_segments():
        if segment['p_type'] == 'PT_LOAD' and segment['p_memsz']:
          self._map(segment['p_vaddr'], segment['p_memsz'])
          self._cpu.mem_write(segment['p_vaddr'], segment.data())
      symbols = [(s['st_value'], s['st_size'], s['st_info']['type'], s.name)
                 for s in program.get_section_by_name('.symtab').iter_symbols()]
    named = lambda kind: sorted((value & ~(kind == 'STT_FUNC'), size, name)
                                for value, size, what, name in symbols
                                if what == kind and size)  # yapf: disable
    self._functions, self._arrays = named('STT_FUNC'), named('STT_OBJECT')

  def _on_block(self, cpu: Any, at: int, size: int, _: Any) -> None:
    if at in self._products:
      self._caller = cpu.reg_read(self._arm.UC_ARM_REG_LR)
    block = at, size, self._caller
    if block not in self._conditional:
      self._conditional[block] = any(map(_is_it, self._code_of(at, size)))
      # Without recursion, the stack of a block is always the same.
      stack = cpu.reg_read(self._arm.UC_ARM_REG_SP)
      self._deepest = min(self._deepest, stack)
    self._in_conditional = self._conditional[block]
    self._blocks[block] += 1

  def _on_read(self, cpu: Any, _: int, at: int, size: int, *__: Any) -> None:
    self._reads[self._caller][at] += size
    if self._in_conditional:
      # Unicorn takes the block that follows for a part of the IT instruction
      # whose load it was, unless its bits are cleared here.
      state = cpu.reg_read(self._arm.UC_ARM_REG_CPSR)
      if state & _IT_BITS:
        cpu.reg_write(self._arm.UC_ARM_REG_CPSR, state & ~_IT_BITS)

  def _on_write(self, _: Any, __: Any, ___: int, size: int, *____: Any) -> None:
    self.written += size

  def _code_of(self, at: int, size: int) -> list[int]:
    """The first halfword of each instruction."""
    code = np.frombuffer(bytes(self._cpu.mem_read(at, size)), '<u2')
    return list(_instructions(code))

  @property
  def read(self) -> collections.Counter[str]:
    """Bytes read so far, by the array that they lie in.

    '' is the rest, such as the state and the stack.
    """
    found: collections.Counter[str] = collections.Counter()
    for reads in self._reads.values():
      for at, size in reads.items():
        found[_within(self._arrays, at)] += size
    return found

  @property
  def instructions(self) -> collections.Counter[str]:
    """Executed so far, by function; of products by the weights they read."""
    weights = {caller: self._weights_in(reads)
               for caller, reads in self._reads.items()}  # yapf: disable
    found: collections.Counter[str] = collections.Counter()
    for (at, size, caller), times in self._blocks.items():
      name = _within(self._functions, at)
      if name in (*_PRODUCTS, 'add_chosen'):
        name = weights.get(caller) or name
      found[name] += times * len(self._code_of(at, size))
    return found

  def _weights_in(self, reads: Iterable[int]) -> str:
    """The arrays of weights that addresses lie in, as one name."""
    names = {_within(self._arrays, at) for at in reads}
    return ' and '.join(sorted(filter(_is_weights, names)))

  def multiplications(self, name: str) -> int:
    """How many instructions in the code of a function multiply or divide."""
    at, size, _ = next(f for f in self._functions if f[2] == name)
    return sum(map(_multiplies, self._code_of(at, size)))

  @property
  def stack(self) -> int:
    """Most bytes of stack so far."""
    return _STACK + _STACK_SIZE - self._deepest

  def forget(self) -> None:
    """Sets all counts back to 0."""
    self._blocks.clear()
    self._reads.clear()
    self.written = 0

  def call(self, name: str, *arguments: int) -> int:
    """Calls a function with up to two words; returns what is in r0 then."""
    arm, cpu = self._arm, self._cpu
    address = next(at for at, _, known in self._functions if known == name)
    for register, value in zip((arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1),
                               arguments):  # yapf: disable
      cpu.reg_write(register, value)
    cpu.reg_write(arm.UC_ARM_REG_SP, _STACK + _STACK_SIZE)
    cpu.reg_write(arm.UC_ARM_REG_LR, _END | 1)
    cpu.emu_start(address | 1, _END)
    return cpu.reg_read(arm.UC_ARM_REG_R0)

  def run(self, x: np.ndarray) -> np.ndarray:
    """Outputs of one sequence of `integer.features`, [N, D] -> [K]."""
    self.call('model_reset', _STATE)
    for x_n in x.astype(self._model.encoder.dtype):
      self._cpu.mem_write(_X, x_n.tobytes())
      self.call('model_step', _STATE, _X)
    self.call('model_classify', _STATE, _OUTPUTS)
    size = 4 * len(self._model.readout_b)
    return np.frombuffer(bytes(self._cpu.mem_read(_OUTPUTS, size)), '<i4')


def _within(ranges: list[tuple[int, int, str]], at: int) -> str:
  """The name of the range that an address lies in, or ''."""
  index = bisect.bisect(ranges, (at, sys.maxsize, '')) - 1
  if index >= 0 and at < ranges[index][0] + ranges[index][1]:
    return ranges[index][2]
  return ''


def _instructions(code: np.ndarray) -> Iterator[int]:
  """The first halfword of each Thumb instruction; it says if there are two."""
  at = 0
  while at < len(code):
    yield int(code[at])
    at += 2 if code[at] >> 11 in (0b11101, 0b11110, 0b11111) else 1


def _is_weights(name: str) -> bool:
  """Whether it is the array of a product in a layer."""
  return name.startswith('layer') and name.endswith(('_w', '_u'))


def _is_it(first: int) -> bool:
  """IT, which makes up to four instructions conditional."""
  return first >> 8 == 0xbf and first & 0xf != 0


def _multiplies(first: int) -> bool:
  """MULS; MUL, MLA, MLS, SMLAD, SMULL, SDIV and their like."""
  return first >> 6 == 0b0100001101 or first >> 8 == 0xfb
