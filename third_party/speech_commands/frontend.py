"""The front end: an audio file to the log-mel values of the packed features.

  E = M |FFT_512(w a)|²,   value = 10 ln(E + 5e-7) + 146.4, clipped to 0..255

for the 480 samples a (30 ms) of each frame, a new frame every 160 (10 ms); w is
the periodic Hann window and M [40, 257] holds triangles, equally wide on the
HTK mel scale from 0 to 4000 Hz and of height 1.

librosa, soundfile and soxr are imported only when audio is read or transformed.
"""

import contextlib
import functools
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Iterator, NamedTuple

import numpy as np

from third_party.speech_commands import data

PathLike = str | os.PathLike[str]

WINDOW = 480  # samples, 30 ms
STEP = 160  # samples, 10 ms
N_FFT = 512
TOP_FREQUENCY = 4000.0  # Hz
_FLOOR, _OFFSET, _SCALE = 5e-7, 146.4, 10.0
_BLOCK = 30  # seconds that are read at a time
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


class Stream(NamedTuple):
  """The same as `Audio`, with float32 blocks [samples] in place of samples."""
  blocks: Iterator[np.ndarray]
  original_rate: int
  channels: int


def stream_audio(path: PathLike) -> Stream:
  """Opens a WAV or FLAC file, to read it as mono at 16 kHz block by block.

  Args:
    path: the file, of any rate, number of channels and length.

  Returns:
    The blocks, with the rate and the channels of the file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is truncated or of another format; the blocks raise it where
      the file turns out to be empty, or to hold NaN or infinity.
    ImportError: soundfile or soxr is not installed.
  """
  path = Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'{path}: no such file; pass a WAV or FLAC file.')
  soundfile = audio_module('soundfile')
  with _readable(path):
    info = soundfile.info(path)
  if info.format not in _FORMATS:
    raise ValueError(f'{path}: {info.format} is not read here; {_REPLACE}.')
  _check_riff_size(path)
  blocks = _mono(path)
  if info.samplerate != data.SAMPLE_RATE:
    blocks = _resample(blocks, info.samplerate)
  return Stream(blocks, info.samplerate, info.channels)


def read_audio(path: PathLike) -> Audio:
  """Reads all of a WAV or FLAC file; raises what `stream_audio` does."""
  blocks, *was = stream_audio(path)
  return Audio(np.concatenate(list(blocks)), *was)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
  """Raises a ValueError that names the file where soundfile cannot read it."""
  try:
    yield
  except audio_module('soundfile').SoundFileError as error:
    raise ValueError(f'{path}: not a whole audio file ({error}); '
                     f'{_REPLACE}.') from error


def _mono(path: Path) -> Iterator[np.ndarray]:
  """Yields the mean over the channels, float32, a block after another."""
  total = 0
  with _readable(path), audio_module('soundfile').SoundFile(path) as file:
    for block in file.blocks(_BLOCK * file.samplerate, dtype='float32',
                             always_2d=True):  # yapf: disable
      if not np.isfinite(block).all():
        raise ValueError(f'{path}: holds NaN or infinity; {_REPLACE}.')
      total += len(block)
      yield block.mean(axis=1)
  if not total:
    raise ValueError(f'{path}: holds no samples; {_REPLACE}.')


def _resample(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
  """Yields the same at 16 kHz: as many samples as fill the time, rounded up."""
  stream = audio_module('soxr').ResampleStream(rate, data.SAMPLE_RATE, 1)
  given = made = 0
  for block in blocks:
    given += len(block)
    made += len(found := stream.resample_chunk(block))
    yield found
  rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
  missing = -(-given * data.SAMPLE_RATE // rate) - made
  yield np.pad(rest[:missing], (0, max(missing - len(rest), 0)))


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
