"""The released integers hear real words, and so does an emulated processor."""

import re

import numpy as np
import pytest

from experiments import spot
from experiments import spot_mcu
import slstm
from slstm import integer
from tests import binaries
from third_party.speech_commands import data as speech_commands
from third_party.speech_commands import frontend


def heard_by_the_reference(path):
  ints = slstm.load_integers(spot_mcu.RELEASED)
  (_, values), *_ = spot.windows(frontend.stream_audio(path).blocks, 0.25)
  x = values.reshape(1, -1, len(ints.encoder.mean))
  outputs = integer.outputs(ints, x)
  return [speech_commands.CLASSES[k] for k in outputs.argmax(-1)]


def test_all_clips_are_understood():
  clips = sorted(spot_mcu.CLIPS.glob('*.flac'))
  assert len(clips) == 8
  for clip in clips:
    assert heard_by_the_reference(clip) == [clip.stem]


def test_the_binary_hears_what_the_reference_hears():
  for needed in ('ziglang', 'unicorn', 'elftools'):
    pytest.importorskip(needed, reason="pip install 'slstm[mcu]'")
  clip = spot_mcu.CLIPS / 'yes.flac'
  printed = binaries.must('spot_mcu', f'--audio={clip}')
  line, = [k for k in printed.splitlines() if 'yes.flac' in k]
  cells = [cell.strip() for cell in line.split('│')][1:-1]
  assert cells[2] == 'yes'
  millions, ms = map(float, cells[4:])
  # A second has 49 elements of 512 units; it is over in time to hear the next.
  assert 49 * 512 * 100 < 1e6 * millions < 49 * 1024 * 848 / 2
  assert np.isclose(1e3 * millions / 80, ms, atol=0.1)
  assert ' times as many.' in printed
  flash, weights = (int(k.replace(',', '')) for k in re.search(
      r'Flash ([\d,]+) bytes, of which ([\d,]+) weights', printed).groups())
  assert weights < flash < 1.1 * weights + 8192
