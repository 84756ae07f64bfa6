"""The front end: an audio file to the log-mel values of the packed features.

  E = M |FFT_512(w a)|²,   value = 10 ln(E + 5e-7) + 146.4, clipped to 0..255

for the 480 samples a (30 ms) of each frame, a new frame every 160 (10 ms); w is
the periodic Hann window and M [40, 257] holds triangles, equally wide on the
HTK mel scale from 0 to 4000 Hz and of height 1.

librosa and soundfile are imported only when audio is read or transformed.
"""

import functools
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from third_party.speech_commands import data

PathLike = str | os.PathLike[str]

WINDOW = 480  # samples, 30 ms
STEP = 160  # samples, 10 ms
N_FFT = 512
TOP_FREQUENCY = 4000.0  # Hz
_FLOOR, _OFFSET, _SCALE = 5e-7, 146.4, 10.0
_FORMATS = ('WAV', 'WAVEX', 'FLAC')  # soundfile detects if one is truncated
_STREAMED = (0, 0xFFFFFFFF)  # RIFF sizes of writers that did not know it
_REPLACE = 'replace it by a whole WAV or FLAC file'


class Audio(NamedTuple):
  """A file as the front end hears it, and what it was.

  Attributes:
    samples: float32 [samples], mono at 16 kHz, full scale is 1.
    original_rate: of the file, in Hz; if not 16000, it was resampled.
    channels: of the file; if not 1, they were averaged.
  """
  samples: np.ndarray
  original_rate: int
  channels: int


def read_audio(path: PathLike) -> Audio:
  """Reads a WAV or FLAC file as mono at 16 kHz.

  Args:
    path: the file, of any rate and number of channels.

  Returns:
    The audio, with the rate and the channels it had.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is empty, truncated, of another format, or holds NaN or
      infinity.
    ImportError: soundfile or librosa is not installed.
  """
  path = Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'{path}: no such file; pass a WAV or FLAC file.')
  soundfile = audio_module('soundfile')
  try:
    with soundfile.SoundFile(path) as file:
      kind, rate = file.format, file.samplerate
      samples = file.read(dtype='float32', always_2d=True)
  except soundfile.SoundFileError as error:
    raise ValueError(f'{path}: not a whole audio file ({error}); '
                     f'{_REPLACE}.') from error
  if kind not in _FORMATS:
    raise ValueError(f'{path}: {kind} is not read here; {_REPLACE}.')
  _check_riff_size(path)
  if not len(samples):
    raise ValueError(f'{path}: holds no samples; {_REPLACE}.')
  if not np.isfinite(samples).all():
    raise ValueError(f'{path}: holds NaN or infinity; {_REPLACE}.')
  mono = samples.mean(axis=1)
  if rate != data.SAMPLE_RATE:
    mono = audio_module('librosa').resample(mono,
                                            orig_sr=rate,
                                            target_sr=data.SAMPLE_RATE)
  return Audio(mono, rate, samples.shape[1])


def log_mel(audio: np.ndarray) -> np.ndarray:
  """Transforms audio of any length to log-mel values, not rounded.

  Args:
    audio: float [samples] at 16 kHz, full scale is 1, at least 480 samples.

  Returns:
    float32 [frames, 40] in 0..255 with frames = 1 + (samples - 480) // 160,
    lowest channel first. Digital silence gives 1.3.

  Raises:
    ValueError: it is no such audio; a likely cause is integer samples.
    ImportError: librosa is not installed.
  """
  _check_audio(audio)
  # librosa centres the window in the 512 samples of the transform, so 16 zeros
  # let the first window begin with the audio. Their weight is 0.
  spectrum = audio_module('librosa').stft(np.pad(audio.astype(np.float64),
                                                 (N_FFT - WINDOW) // 2),
                                          n_fft=N_FFT,
                                          win_length=WINDOW,
                                          hop_length=STEP,
                                          window='hann',
                                          center=False)
  energy = _triangles() @ np.abs(spectrum)**2
  values = _SCALE * np.log(energy + _FLOOR) + _OFFSET
  return np.clip(values, 0, 255).T.astype(np.float32)


def one_second(audio: np.ndarray) -> np.ndarray:
  """Transforms a clip to the log-mel values of exactly one second.

  The frames of a shorter clip are centred among frames of zeros, as in the
  packed features; of a longer one, the second in the middle is taken.

  Args:
    audio: as for log_mel.

  Returns:
    float32 [98, 40] in 0..255. Of an odd number of frames of zeros, one more
    is at the end.

  Raises:
    ValueError, ImportError: as log_mel.
  """
  _check_audio(audio)
  begin = max(len(audio) - data.SAMPLE_RATE, 0) // 2
  values = log_mel(audio[begin:begin + data.SAMPLE_RATE])
  empty = data.FRAMES - len(values)
  return np.pad(values, ((empty // 2, empty - empty // 2), (0, 0)))


def to_uint8(values: np.ndarray) -> np.ndarray:
  """Rounds log-mel values to the nearest integer, uint8, 0..255."""
  return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def audio_module(name: str) -> ModuleType:
  """Imports a library of the extra `audio`, or says how to install it."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(f'{name} is needed to read audio ({error}); '
                      "pip install 'slstm[audio]'.") from error


@functools.cache
def _triangles() -> np.ndarray:
  """Returns M, float64 [40, 257]."""
  return audio_module('librosa').filters.mel(sr=data.SAMPLE_RATE,
                                             n_fft=N_FFT,
                                             n_mels=data.CHANNELS,
                                             fmin=0.0,
                                             fmax=TOP_FREQUENCY,
                                             htk=True,
                                             norm=None,
                                             dtype=np.float64)


def _check_audio(audio: np.ndarray) -> None:
  """Raises unless it is float [samples] of full scale 1, long enough."""
  if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
    raise ValueError(f'audio: {audio.dtype} {audio.shape}; expected float '
                     '[samples], mono; divide int16 by 32768.')
  if len(audio) < WINDOW:
    raise ValueError(f'audio: {len(audio)} samples; one frame needs {WINDOW} '
                     '(30 ms at 16 kHz).')
  largest = np.abs(audio).max()
  if not largest <= 2:  # Resampling may go somewhat beyond 1.
    raise ValueError(f'audio: the largest sample is {largest}; expected finite '
                     'samples of full scale 1; divide int16 by 32768.')


def _check_riff_size(path: Path) -> None:
  """Raises if a WAV file is shorter than its header says.

  soundfile reads what there is of such a file and says nothing.
  """
  with path.open('rb') as file:
    header = file.read(8)
  size = int.from_bytes(header[4:8], 'little')
  if header[:4] != b'RIFF' or size in _STREAMED:
    return
  if path.stat().st_size < size + 8:
    raise ValueError(f'{path}: truncated, {path.stat().st_size} of {size + 8} '
                     f'bytes; {_REPLACE}.')
