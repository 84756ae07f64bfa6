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
from typing import Any, Iterator

import numpy as np

from experiments.datasets import base
import slstm
from slstm import integer

_STATE, _X, _OUTPUTS = 0x20000000, 0x20100000, 0x20110000
_STACK, _END = 0x20200000, 0x08000000
_STACK_SIZE = 0x10000
_PRODUCTS = 'multiply', 'add_rows'  # of model.c
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
  _package('ziglang')
  slstm.export_c(model, folder)
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
    read: bytes read so far, by the array that they lie in; '' is the rest, such
      as the state and the stack.
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
    self._pages: set[int] = set()
    self._load(elf)
    for start, size in ((_STATE, 0x200000), (_STACK, _STACK_SIZE), (_END, 1)):
      self._map(start, size)
    self._blocks: collections.Counter = collections.Counter()
    self.read: collections.Counter = collections.Counter()
    self.written = 0
    self.code = sum(size for _, size, _ in self._functions)
    # Where the product now was called from, and the weights that it reads.
    self._caller = 0
    self._weights: dict[int, set[str]] = collections.defaultdict(set)
    self._products = {
        at for at, _, name in self._functions if name in _PRODUCTS
    }
    if count != 'nothing':
      cpu.hook_add(uc.UC_HOOK_BLOCK, self._on_block)
    if count == 'bytes':
      cpu.hook_add(uc.UC_HOOK_MEM_READ, self._on_read)
      cpu.hook_add(uc.UC_HOOK_MEM_WRITE, self._on_write)
    self._deepest = _STACK + _STACK_SIZE

  def _map(self, start: int, size: int) -> None:
    for page in range(start & ~0xfff, start + size, 0x1000):
      if page not in self._pages:
        self._pages.add(page)
        self._cpu.mem_map(page, 0x1000)

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
    self._blocks[at, size, self._caller] += 1
    self._deepest = min(self._deepest, cpu.reg_read(self._arm.UC_ARM_REG_SP))

  def _on_read(self, _: Any, __: Any, at: int, size: int, *___: Any) -> None:
    name = _within(self._arrays, at)
    self.read[name] += size
    if name.startswith('layer') and name.endswith(('_w', '_u')):
      self._weights[self._caller].add(name)

  def _on_write(self, _: Any, __: Any, ___: int, size: int, *____: Any) -> None:
    self.written += size

  @property
  def instructions(self) -> collections.Counter:
    """Executed so far, by function; of products by the weights they read."""
    found: collections.Counter = collections.Counter()
    for (at, size, caller), times in self._blocks.items():
      code = np.frombuffer(bytes(self._cpu.mem_read(at, size)), '<u2')
      name = _within(self._functions, at)
      if name in (*_PRODUCTS, 'add_chosen'):
        name = ' and '.join(sorted(self._weights[caller])) or name
      found[name] += times * sum(1 for _ in _instructions(code))
    return found

  def multiplications(self, name: str) -> int:
    """How many instructions in the code of a function multiply or divide."""
    at, size, _ = next(f for f in self._functions if f[2] == name)
    code = np.frombuffer(bytes(self._cpu.mem_read(at, size)), '<u2')
    return sum(map(_multiplies, _instructions(code)))

  @property
  def stack(self) -> int:
    """Most bytes of stack so far."""
    return _STACK + _STACK_SIZE - self._deepest

  def forget(self) -> None:
    """Sets all counts back to 0."""
    self._blocks.clear()
    self.read.clear()
    self.written = 0

  def _call(self, name: str, *arguments: int) -> None:
    address = next(at for at, _, known in self._functions if known == name)
    registers = (self._arm.UC_ARM_REG_R0, self._arm.UC_ARM_REG_R1)
    for register, value in zip(registers, arguments):
      self._cpu.reg_write(register, value)
    self._cpu.reg_write(self._arm.UC_ARM_REG_SP, _STACK + _STACK_SIZE)
    self._cpu.reg_write(self._arm.UC_ARM_REG_LR, _END | 1)
    self._cpu.emu_start(address | 1, _END)

  def run(self, x: np.ndarray) -> np.ndarray:
    """Outputs of one sequence of `integer.features`, [N, D] -> [K]."""
    self._call('model_reset', _STATE)
    for x_n in x.astype(self._model.encoder.dtype):
      self._cpu.mem_write(_X, x_n.tobytes())
      self._call('model_step', _STATE, _X)
    self._call('model_classify', _STATE, _OUTPUTS)
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


def _multiplies(first: int) -> bool:
  """MULS; MUL, MLA, MLS, SMLAD, SMULL, SDIV and their like."""
  return first >> 6 == 0b0100001101 or first >> 8 == 0xfb
