"""Tests of third_party.speech_commands: front end, loaders, TFDS builder."""

from collections.abc import Iterator
import csv
import hashlib
import io
import os
from pathlib import Path
import sys
import tarfile

import numpy as np
from PIL import Image
import pytest
import soundfile
import tensorflow_datasets as tfds

from tests import binaries
from tests import large_data
from tests import web
from third_party.speech_commands import archive
from third_party.speech_commands import audio8
from third_party.speech_commands import builder as builder_lib
from third_party.speech_commands import compare
from third_party.speech_commands import data
from third_party.speech_commands import frontend
from third_party.speech_commands import packed
from third_party.speech_commands import silence

_REAL = large_data.FOLDER / 'speech_commands'
needs_packed = large_data.needs(f'speech_commands/{packed.FILE}')
needs_audio8 = large_data.needs('speech_commands/audio8_val.flac')
needs_sample = large_data.needs('speech_commands/layout_sample')
needs_lists = large_data.needs('speech_commands/testing_list.txt')

_CUTS = {'train': 5, 'validation': 3, 'test': 2}
_SPEAKERS = {'train': '0000000a', 'validation': '0000000b', 'test': '0000000c'}
_UNKNOWN = ['zero/0000000a_nohash_0', 'bed/0000000c_nohash_1']


def _tone(frequency: float, samples: int = 16000) -> np.ndarray:
  """Returns a sine wave and a little noise, float32 at 16 kHz."""
  time = np.arange(samples) / 16000
  noise = np.random.default_rng(int(frequency)).normal(size=samples)
  wave = 0.4 * np.sin(2 * np.pi * frequency * time) + 0.01 * noise
  return wave.astype(np.float32)


def _assert_equal(
    actual: dict[str, data.Split],
    expected: dict[str, data.Split],
) -> None:
  """Compares bits, and types but for the width of strings."""
  assert list(actual) == list(expected) == list(data.SPLITS)
  for split in data.SPLITS:
    for got, want in zip(actual[split], expected[split], strict=True):
      assert got.dtype.kind == want.dtype.kind
      assert got.dtype.kind == 'U' or got.dtype == want.dtype
      np.testing.assert_array_equal(got, want)


# The front end.


def _oracle(audio: np.ndarray) -> np.ndarray:
  """The documented values, float64 [frames, 40]."""
  return np.clip(_oracle_unclipped(audio), 0, 255)


def _oracle_unclipped(audio: np.ndarray) -> np.ndarray:
  """The documented equation, frame by frame and triangle by triangle."""
  mel = lambda f: 2595 * np.log10(1 + f / 700)
  edges = 700 * (10**(np.linspace(0, mel(4000), 42) / 2595) - 1)
  window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(480) / 480)
  rows = []
  for begin in range(0, len(audio) - 479, 160):
    padded = np.zeros(512)
    padded[:480] = audio[begin:begin + 480] * window
    power = np.abs(np.fft.rfft(padded))**2
    row = []
    for low, centre, high in zip(edges[:-2], edges[1:-1], edges[2:]):
      energy = 0.0
      for k in range(257):
        f = k * 16000 / 512
        weight = min((f - low) / (centre - low), (high - f) / (high - centre))
        energy += max(weight, 0) * power[k]
      row.append(10 * np.log(energy + 5e-7) + 146.4)
    rows.append(row)
  return np.array(rows)


@pytest.mark.parametrize('samples, frames', [
    (480, 1),
    (639, 1),
    (640, 2),
    (3001, 16),
])
def test_log_mel_is_the_documented_equation(samples, frames):
  audio = _tone(700, samples)
  values = frontend.log_mel(audio)
  assert values.shape == (frames, 40) and values.dtype == np.float32
  np.testing.assert_allclose(values, _oracle(audio), atol=1e-3)


def test_log_mel_of_loud_and_silent_audio_stays_in_range():
  loud = np.sign(_tone(500)) * 2  # a square wave, as loud as is accepted
  assert _oracle_unclipped(loud[:480]).max() > 255
  assert frontend.log_mel(loud).max() == 255
  np.testing.assert_allclose(frontend.log_mel(np.zeros(480, np.float32)),
                             10 * np.log(5e-7) + 146.4,
                             rtol=1e-5)


def test_log_mel_of_a_tone_peaks_at_its_channel():
  centres = 700 * (10**(np.linspace(0, 2146.06, 42)[1:-1] / 2595) - 1)
  for channel in (8, 20, 35):
    values = frontend.log_mel(_tone(centres[channel]))
    assert (values.argmax(axis=1) == channel).all()


@pytest.mark.parametrize('audio, message', [
    (np.zeros(479, np.float32), '479 samples; one frame needs 480'),
    (np.zeros(16000, np.int16), r'int16 \(16000,\).*divide int16'),
    (np.zeros((2, 16000), np.float32), r'\(2, 16000\); expected float'),
    (np.full(16000, 3000.0), 'largest sample is 3000.*divide int16'),
    (np.full(16000, np.nan), 'largest sample is nan.*finite'),
])
@pytest.mark.parametrize('function', [frontend.log_mel, frontend.one_second])
def test_front_end_rejects(function, audio, message):
  with pytest.raises(ValueError, match=message):
    function(audio)


def test_one_second_centres_the_frames_of_a_shorter_clip():
  short = _tone(500, 480 + 92 * 160)  # 93 frames, 5 to fill
  values = frontend.one_second(short)
  assert values.shape == (98, 40)
  assert not values[:2].any() and not values[95:].any()
  np.testing.assert_array_equal(values[2:95], frontend.log_mel(short))


def test_one_second_takes_the_middle_of_a_longer_clip():
  long = np.random.default_rng(0).normal(0, 0.1, 17001)
  np.testing.assert_array_equal(frontend.one_second(long),
                                frontend.log_mel(long[500:16500]))


def test_to_uint8_rounds_to_nearest():
  values = np.float32([0, 0.4, 0.6, 254.7, 255])
  rounded = frontend.to_uint8(values)
  assert rounded.dtype == np.uint8 and rounded.tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize('name', ['a.wav', 'a.flac'])
def test_read_audio_reads_mono_at_16_khz_exactly(tmp_path, name):
  tone = np.round(_tone(440) * 32767).astype(np.int16)
  soundfile.write(tmp_path / name, tone, 16000)
  audio = frontend.read_audio(tmp_path / name)
  assert audio[1:] == (16000, 1) and audio.samples.dtype == np.float32
  np.testing.assert_array_equal(audio.samples, tone / 32768)


def test_read_audio_averages_channels(tmp_path):
  left, right = _tone(440), _tone(880)
  soundfile.write(tmp_path / 'a.wav',
                  np.stack([left, right], axis=1),
                  16000,
                  subtype='FLOAT')
  audio = frontend.read_audio(tmp_path / 'a.wav')
  assert audio[1:] == (16000, 2)
  np.testing.assert_allclose(audio.samples, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize('rate', [8000, 44100])
def test_read_audio_resamples(tmp_path, rate):
  time = np.arange(rate) / rate
  tone = 0.5 * np.sin(2 * np.pi * 440 * time)
  soundfile.write(tmp_path / 'a.wav', tone, rate, subtype='FLOAT')
  audio = frontend.read_audio(tmp_path / 'a.wav')
  assert audio[1:] == (rate, 1) and audio.samples.shape == (16000,)
  expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
  np.testing.assert_allclose(audio.samples[1000:-1000],
                             expected[1000:-1000],
                             atol=2e-3)


def test_read_audio_names_a_missing_file(tmp_path):
  with pytest.raises(FileNotFoundError, match='a.wav: no such file; pass'):
    frontend.read_audio(tmp_path / 'a.wav')


@pytest.mark.parametrize('name', ['a.wav', 'a.flac'])
@pytest.mark.parametrize('keep', [0.0, 0.001, 0.5, 0.999])
def test_read_audio_rejects_a_truncated_file(tmp_path, name, keep):
  path = tmp_path / name
  soundfile.write(path, _tone(440), 16000)
  content = path.read_bytes()
  path.write_bytes(content[:int(keep * len(content))])
  with pytest.raises(ValueError, match=f'{name}: .*replace it by a whole'):
    frontend.read_audio(path)


@pytest.mark.parametrize('content', [b'hello' * 1000, b'RIFF' * 1000])
def test_read_audio_rejects_what_is_no_audio(tmp_path, content):
  (tmp_path / 'a.wav').write_bytes(content)
  with pytest.raises(ValueError, match='a.wav: not a whole audio.*replace'):
    frontend.read_audio(tmp_path / 'a.wav')


@pytest.mark.parametrize('samples, message', [
    (np.zeros(0), 'holds no samples'),
    (np.array([0, np.nan, 0]), 'holds NaN or infinity'),
    (np.array([0, np.inf, 0]), 'holds NaN or infinity'),
])
def test_read_audio_rejects_samples(tmp_path, samples, message):
  soundfile.write(tmp_path / 'a.wav', samples, 16000, subtype='FLOAT')
  with pytest.raises(ValueError, match=f'a.wav: {message}; replace'):
    frontend.read_audio(tmp_path / 'a.wav')


def test_read_audio_rejects_a_format_that_hides_truncation(tmp_path):
  soundfile.write(tmp_path / 'a.aiff', _tone(440), 16000)
  with pytest.raises(ValueError, match='a.aiff: AIFF is not read here'):
    frontend.read_audio(tmp_path / 'a.aiff')


@pytest.mark.parametrize('name', ['librosa', 'soundfile'])
def test_a_missing_library_says_how_to_install_it(monkeypatch, name):
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ImportError, match=rf"{name}.*'slstm\[audio\]'"):
    frontend.audio_module(name)


def test_import_needs_no_audio_library():
  code = ('import sys; from third_party.speech_commands import archive, audio8,'
          ' builder, packed; assert not {"librosa", "soundfile", "tensorflow"}'
          ' & set(sys.modules)')
  assert binaries.run_python('-c', code) == (0, '')


# Which clips count.


@pytest.mark.parametrize('seed', range(3))
def test_balanced_is_the_documented_rule(seed):
  rng = np.random.default_rng(seed)
  y = rng.choice(12, 400, p=[0.1, 0.4] + [0.05] * 10)
  names = np.array([f'word/{i:08x}_nohash_0' for i in rng.permutation(400)])
  digests = {}
  keywords = 0
  for row in range(400):
    if y[row] == 1:
      digests[hashlib.sha1(names[row].encode()).hexdigest()] = row
    keywords += y[row] >= 2
  chosen = [row for row in range(400) if y[row] != 1]
  for digest in sorted(digests)[:round(keywords / 10)]:
    chosen.append(digests[digest])
  assert data.balanced(y, names).tolist() == sorted(chosen)


@pytest.mark.parametrize('files', [1, 2, 6])
def test_silence_is_cut_from_disjoint_parts(files):
  for index, length in zip(range(files), (960000, 1522930, 170000) * 2):
    ends = 0
    for split in data.SPLITS:
      starts = np.array(silence.starts(length, split, index, files))
      assert starts[0] >= ends and (np.diff(starts) > 0).all()
      ends = starts[-1] + 16000
    assert ends == length
  for split, count in silence.CUTS.items():
    assert count == sum(
        len(silence.starts(960000, split, index, files))
        for index in range(files))


def test_silence_rejects_a_short_file():
  with pytest.raises(ValueError, match='160000 samples has no room for 110'):
    silence.starts(160000, 'test', 0, 1)
  with pytest.raises(ValueError, match='159000 samples has no room for 1 '):
    silence.starts(159000, 'test', 0, 110)


# The packed file.


def _jpeg(shade: int, size: tuple[int, int] = (40, 98)) -> bytes:
  file = io.BytesIO()
  Image.new('L', size, shade).save(file, 'JPEG')
  return file.getvalue()


def _write_packed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  """Writes a packed file of 12 clips a split and 3 more unknown ones."""
  words = [*data.KEYWORDS, '_background_noise_', 'bed']
  clips = [('_background_noise_', 0)] + [('bed', 1)] * 4
  clips += [(word, row) for row, word in enumerate(data.KEYWORDS, 2)]
  images = [_jpeg(5 * i) for i in range(3 * len(clips))]
  np.savez(folder / packed.FILE,
           jpeg=np.frombuffer(b''.join(images), np.uint8),
           offset=np.cumsum([0] + [len(image) for image in images]),
           label12=np.array([label for _, label in clips] * 3, np.uint8),
           word=np.array([words.index(word) for word, _ in clips] * 3,
                         np.uint8),
           word_names=np.bytes_(words),
           split=np.repeat(np.arange(3, dtype=np.uint8), len(clips)),
           name=np.bytes_([f'{i:08x}_nohash_0' for i in range(len(images))]))
  digest = hashlib.sha256((folder / packed.FILE).read_bytes()).hexdigest()
  monkeypatch.setattr(packed, 'SHA256', digest)


def test_packed_gives_images_labels_and_names(tmp_path, monkeypatch):
  _write_packed(tmp_path, monkeypatch)
  splits = packed.load(tmp_path, tmp_path)
  assert list(splits) == list(data.SPLITS)
  for index, split in enumerate(splits.values()):
    assert split.x.dtype == np.uint8 and split.y.dtype == np.int32
    assert split.y.tolist() == list(range(12))  # one of four unknown clips
    clips = [int(name.partition('/')[2][:8], 16) for name in split.name]
    assert clips[0] == 15 * index and split.name[2].startswith('yes/')
    digests = [
        hashlib.sha1(f'bed/{15 * index + i:08x}_nohash_0'.encode()).digest()
        for i in range(1, 5)
    ]
    assert clips[1] == 15 * index + 1 + digests.index(min(digests))
    np.testing.assert_array_equal(
        split.x, (5 * np.uint8(clips))[:, None, None] * np.ones(
            (98, 40), np.uint8))


def test_packed_cache_is_written_once_and_reused(tmp_path, monkeypatch):
  _write_packed(tmp_path, monkeypatch)
  first = packed.load(tmp_path, tmp_path / 'cache')
  assert len(os.listdir(tmp_path / 'cache')) == 1  # nothing partial
  monkeypatch.setattr(packed, 'decode', None)
  _assert_equal(packed.load(tmp_path, tmp_path / 'cache'), first)


@pytest.mark.parametrize('damage', ['empty', 'header', 'half', 'shape'])
def test_packed_cache_that_is_damaged_is_made_anew(tmp_path, monkeypatch,
                                                   damage):
  _write_packed(tmp_path, monkeypatch)
  first = packed.load(tmp_path, tmp_path / 'cache')
  cache, = (tmp_path / 'cache').iterdir()
  content = cache.read_bytes()
  if damage == 'shape':
    np.save(cache, np.zeros((1, 98, 40), np.uint8))
  else:
    size = {'empty': 0, 'header': 50, 'half': len(content) // 2}[damage]
    cache.write_bytes(content[:size])
  _assert_equal(packed.load(tmp_path, tmp_path / 'cache'), first)
  assert cache.read_bytes() == content


def test_packed_cache_has_a_place_by_default(tmp_path, monkeypatch):
  _write_packed(tmp_path, monkeypatch)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
  packed.load(tmp_path)
  assert len(os.listdir(tmp_path / 'home' / 'slstm')) == 1


def test_packed_names_a_missing_file(tmp_path):
  with pytest.raises(FileNotFoundError, match='jpeg.npz: no such file; pass'):
    packed.load(tmp_path)


@pytest.mark.parametrize('damage', ['truncate', 'flip', 'empty'])
def test_packed_file_that_is_damaged_raises_and_is_left_alone(
    tmp_path, monkeypatch, damage):
  _write_packed(tmp_path, monkeypatch)
  path = tmp_path / packed.FILE
  content = bytearray(path.read_bytes())
  if damage == 'flip':
    content[len(content) // 2] ^= 1
  else:
    del content[len(content) // 2 if damage == 'truncate' else 0:]
  path.write_bytes(content)
  with pytest.raises(ValueError, match='npz: SHA-256 is .*fetch it again'):
    packed.load(tmp_path, tmp_path)
  assert path.read_bytes() == bytes(content)
  assert os.listdir(tmp_path) == [packed.FILE]


@pytest.mark.parametrize('jpeg, message', [
    (b'', 'not a whole JPEG'),
    (b'hello', 'not a whole JPEG'),
    (_jpeg(7)[:-200], 'not a whole JPEG'),
    (_jpeg(7, (98, 40)), r'shape \(40, 98\); expected \(98, 40\)'),
])
def test_decode_rejects(jpeg, message):
  with pytest.raises(ValueError, match=f'decode: .*{message}'):
    packed.decode(jpeg)


@pytest.fixture(scope='module', name='cache')
def _cache(tmp_path_factory) -> Path:
  return tmp_path_factory.mktemp('cache')


@pytest.fixture(scope='module', name='real')
def _real(cache) -> dict[str, data.Split]:
  return packed.load(_REAL, cache)


@needs_packed
def test_packed_counts(real):
  counts = np.array([np.bincount(split.y) for split in real.values()])
  keywords = np.array([archive.CLIPS[word] for word in data.KEYWORDS])
  np.testing.assert_array_equal(counts[:, 2:].T, keywords)
  assert counts[:, 0].tolist() == list(silence.CUTS.values())
  assert counts[:, 1].tolist() == [3077, 370, 407]


@needs_packed
@needs_lists
def test_packed_names_are_those_of_an_archive(real):
  names = np.concatenate([split.name[split.y > 0] for split in real.values()])
  y = np.concatenate([split.y[split.y > 0] for split in real.values()])
  assert archive.unknown_names() == sorted(names[y == 1].tolist())
  held_out = {
      split: [line[:-4] for line in (_REAL / file).read_text().split()]
      for split, file in archive.LISTS.items()
  }
  shuffled = np.random.default_rng(0).permutation(names).tolist()
  assigned = archive.assign(shuffled, held_out)
  for split, members in assigned.items():
    assert members == real[split].name[real[split].y > 0].tolist()


# The original archive.


def _write_archive(folder: Path) -> None:
  """Writes ten keywords x three splits, two unknown clips, two noise files."""
  names = [
      f'{w}/{s}_nohash_0' for w in data.KEYWORDS for s in _SPEAKERS.values()
  ]
  names += _UNKNOWN + ['zero/0000000a_nohash_1']  # the last one is not listed
  for row, name in enumerate(names):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f'{name}.wav', _tone(200 + 50 * row), 16000)
  for split, file in archive.LISTS.items():
    lines = [f'{name}.wav\n' for name in names if _SPEAKERS[split] in name]
    (folder / file).write_text(''.join(lines))
  (folder / archive.NOISE).mkdir()
  (folder / archive.NOISE / 'README.md').write_text('no audio')
  for row, name in enumerate(['hum', 'pink']):
    noise = np.random.default_rng(row).normal(0, 0.1, 176000 + row)
    soundfile.write(folder / archive.NOISE / f'{name}.wav', noise, 16000)


@pytest.fixture(name='folder')
def _folder(tmp_path, monkeypatch) -> Path:
  """An archive that is complete by the numbers put in place of the real."""
  _write_archive(tmp_path / 'archive')
  monkeypatch.setattr(archive, 'unknown_names', lambda: _UNKNOWN)
  monkeypatch.setattr(archive, 'CLIPS', dict.fromkeys(archive.CLIPS, (1, 1, 1)))
  monkeypatch.setattr(silence, 'CUTS', _CUTS)
  return tmp_path / 'archive'


def test_archive_has_the_right_clips_in_order(folder):
  splits = archive.load(folder)
  noise = {'train': [0] * 5, 'validation': [0] * 3, 'test': [0] * 2}
  unknown = {'train': [1], 'validation': [], 'test': [1]}
  for name, split in splits.items():
    assert split.y.dtype == np.int32
    assert split.y.tolist() == noise[name] + unknown[name] + list(range(2, 12))
    words = [clip.partition('/')[0] for clip in split.name]
    assert words[-10:] == list(data.KEYWORDS)
    assert all(
        _SPEAKERS[name] in clip for clip, y in zip(split.name, split.y) if y)
  assert splits['test'].name[2] == 'bed/0000000c_nohash_1'


def test_archive_features_are_those_of_the_front_end(folder):
  split = archive.load(folder)['train']
  assert split.x.shape == (16, 98, 40) and split.x.dtype == np.uint8
  for name, x in zip(split.name[5:], split.x[5:]):
    samples, _ = soundfile.read(folder / f'{name}.wav')
    expected = _oracle(samples[:480 + 2 * 160])
    np.testing.assert_allclose(x[:3], expected, atol=0.501)
  assert split.name[:5].tolist() == [
      f'{archive.NOISE}/{name}' for name in ('hum_0000000', 'hum_0062400',
                                             'hum_0124800', 'pink_0000000',
                                             'pink_0124800')
  ]
  samples, _ = soundfile.read(folder / archive.NOISE / 'hum.wav')
  np.testing.assert_array_equal(
      split.x[1], frontend.to_uint8(frontend.log_mel(samples[62400:78400])))


def test_archive_reads_each_file_once(folder, monkeypatch):
  read, paths = frontend.read_audio, []
  monkeypatch.setattr(frontend, 'read_audio',
                      lambda path: paths.append(path) or read(path))
  archive.load(folder)
  assert len(paths) == len(set(paths)) == 30 + len(_UNKNOWN) + 2


def test_archive_ignores_hidden_files(folder):
  (folder / 'yes' / '._0000000a_nohash_0.wav').write_bytes(b'resource fork')
  assert len(archive.load(folder)['train'].y) == 16


def _remove_word(folder: Path) -> None:
  for path in (folder / 'stop').iterdir():
    path.unlink()
  (folder / 'stop').rmdir()


def _remove_noise(folder: Path) -> None:
  for path in (folder / archive.NOISE).glob('*.wav'):
    path.unlink()


@pytest.mark.parametrize('damage, message', [
    (_remove_word, '0 of 1 train clips of "stop"; 0 of 1 validation .*3 fault'),
    (lambda folder: (folder / f'{_UNKNOWN[0]}.wav').unlink(),
     f'1 unknown clips missing, first {_UNKNOWN[0]}'),
    (_remove_noise, 'no WAV file in _background_noise_'),
])
def test_archive_that_is_incomplete_raises_unless_allowed(
    folder, damage, message):
  damage(folder)
  with pytest.raises(ValueError, match=f'{message}.*complete=False'):
    archive.load(folder)
  assert set(archive.load(folder, complete=False)['train'].y) <= set(range(12))


def test_archive_with_a_truncated_list_raises(folder):
  (folder / 'testing_list.txt').write_text(f'yes/{_SPEAKERS["test"]}_nohash_0')
  for complete in (True, False):
    with pytest.raises(ValueError, match='speaker .*a list is truncated'):
      archive.load(folder, complete)


def test_archive_takes_lists_from_elsewhere(folder, tmp_path):
  expected = archive.load(folder)
  for file in archive.LISTS.values():
    (folder / file).rename(tmp_path / file)
  with pytest.raises(FileNotFoundError, match='_list.txt: no such .*`lists`'):
    archive.load(folder)
  _assert_equal(archive.load(folder, lists=tmp_path), expected)


def test_archive_names_a_missing_folder(tmp_path):
  with pytest.raises(FileNotFoundError, match='gone: no such folder; unpack'):
    archive.load(tmp_path / 'gone')


def test_archive_without_a_split_raises(folder):
  for word in (*data.KEYWORDS, 'bed'):
    for path in (folder / word).glob('0000000c*'):
      path.unlink()
  with pytest.raises(ValueError, match='archive: not one test clip; unpack'):
    archive.load(folder, complete=False)


_CLIP = 'yes/0000000a_nohash_0.wav'


@pytest.mark.parametrize('name, samples, rate, message', [
    (_CLIP, 16000, 8000, '8000 Hz, 1 channels; the archive has 16000'),
    (_CLIP, (16000, 2), 16000, '16000 Hz, 2 channels; the archive has'),
    (_CLIP, 479, 16000, 'audio: 479 samples'),
    ('yes/me.wav', 16000, 16000, 'not named <speaker>_nohash_<n>.wav'),
    (f'{archive.NOISE}/hum.wav', 159999, 16000, 'starts: a noise file'),
])
def test_archive_rejects_a_file(folder, name, samples, rate, message):
  soundfile.write(folder / name, np.zeros(samples), rate)
  with pytest.raises(ValueError, match=f'{name}: {message}.*unpack'):
    archive.load(folder)


def test_archive_names_a_truncated_clip(folder):
  path = folder / _CLIP
  path.write_bytes(path.read_bytes()[:9999])
  with pytest.raises(ValueError, match=f'{_CLIP}: truncated, 9999 of 32044'):
    archive.load(folder)


@needs_sample
@needs_lists
@needs_packed
def test_archive_sample_is_part_of_the_packed_set(real):
  with pytest.raises(ValueError, match='not the complete archive'):
    archive.load(_REAL / 'layout_sample', lists=_REAL)
  splits = archive.load(_REAL / 'layout_sample', complete=False, lists=_REAL)
  counts = {'train': 24, 'validation': 8, 'test': 16}
  matches = []
  for name, split in splits.items():
    assert len(split.y) == counts[name]
    rows = [real[name].name.tolist().index(clip) for clip in split.name]
    np.testing.assert_array_equal(real[name].y[rows], split.y)
    matches.extend(compare.correlations(real[name].x[rows], split.x))
    on_off = np.isin(split.y, [8, 9])  # those of v0.02 itself
    assert (np.array(matches)[-len(split.y):][on_off] > 0.99).all()
  assert np.median(matches) > 0.99


# Raw audio of eight words, and the comparison.


def _write_audio8(folder: Path, word: str = 'yes') -> np.ndarray:
  """Writes a validation split of two clips; the second has 8000 samples."""
  samples = np.zeros(32000, np.int16)
  samples[:24000] = 32767 * _tone(300, 24000)
  soundfile.write(folder / 'audio8_val.flac', samples, 16000)
  (folder / 'audio8_val.csv').write_text(
      'index,word,file,num_samples\n'
      f'0,{word},0000000f_nohash_0.wav,16000\n1,no,00000011_nohash_0.wav,8000\n'
  )
  return samples.reshape(2, 16000)


def test_audio8_reads_what_was_written(tmp_path):
  samples = _write_audio8(tmp_path)
  clips = audio8.load(tmp_path, 'validation')
  assert clips.samples.dtype == np.int16
  np.testing.assert_array_equal(clips.samples, samples)
  assert clips.word.tolist() == ['yes', 'no']
  assert clips.name[1] == 'no/00000011_nohash_0'
  assert clips.length.tolist() == [16000, 8000]


@pytest.mark.parametrize('name', ['audio8_val.csv', 'audio8_val.flac'])
def test_audio8_names_a_missing_file(tmp_path, name):
  _write_audio8(tmp_path)
  (tmp_path / name).unlink()
  with pytest.raises(FileNotFoundError, match=f'{name}: no such file; pass'):
    audio8.load(tmp_path, 'validation')


@pytest.mark.parametrize('old, new, message', [
    ('num_samples', 'length', "not a table .*'num_samples'"),
    (',8000', ',many', 'not a table .*many'),
    (',8000', '', 'not a table'),
    (',8000', ',16001', 'num_samples is 16000 to 16001, expected 1 to 16000'),
    ('1,no', '2,no', '2 rows that do not count from 0'),
    ('1,no,00000011_nohash_0.wav,8000\n', '', r'val.flac: samples \(32000,\)'),
])
def test_audio8_rejects(tmp_path, old, new, message):
  _write_audio8(tmp_path)
  table = tmp_path / 'audio8_val.csv'
  table.write_text(table.read_text().replace(old, new))
  with pytest.raises(ValueError, match=f'{message}.*fetch both'):
    audio8.load(tmp_path, 'validation')


def test_audio8_rejects_a_truncated_file_and_a_wrong_split(tmp_path):
  _write_audio8(tmp_path)
  path = tmp_path / 'audio8_val.flac'
  path.write_bytes(path.read_bytes()[:20000])
  with pytest.raises(ValueError, match='val.flac: not a whole FLAC file'):
    audio8.load(tmp_path, 'validation')
  with pytest.raises(ValueError, match="split 'val'; expected one of"):
    audio8.load(tmp_path, 'val')


@needs_audio8
@pytest.mark.parametrize('split, clips', [('validation', 727), ('test', 765)])
def test_audio8_zeros_follow_the_length(split, clips):
  loaded = audio8.load(_REAL, split)
  assert loaded.samples.shape == (clips, 16000)
  assert len(set(loaded.name.tolist())) == clips
  for samples, length in zip(loaded.samples, loaded.length):
    assert not samples[length:].any()


def test_correlations_are_those_of_numpy():
  a, b = np.random.default_rng(0).normal(size=(2, 5, 98, 40))
  b += a
  expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b)]
  np.testing.assert_allclose(compare.correlations(a, b), expected)
  assert compare.correlations(a, np.ones_like(b)).tolist() == [0] * 5


def test_shared_clips_have_the_same_name(tmp_path, monkeypatch):
  _write_packed(tmp_path, monkeypatch)  # validation: noise is clip 15, yes 20
  samples = _write_audio8(tmp_path)
  table = tmp_path / 'audio8_val.csv'
  table.write_text(table.read_text().replace('00000011', '00000015'))
  shared = compare.shared_clips(tmp_path, 'validation', tmp_path)
  assert shared.names.tolist() == ['no/00000015_nohash_0']
  assert shared.y.tolist() == [3] and (shared.packed == 5 * 21).all()
  half = frontend.one_second(samples[1, :8000] / 32768)
  np.testing.assert_allclose(shared.audio[0], half, atol=1e-3)


@needs_packed
@needs_audio8
def test_front_end_agrees_with_the_packed_features(real, cache):
  shared = compare.shared_clips(_REAL, 'validation', cache)
  assert len(shared.names) == 727 and shared.audio.dtype == np.float32
  r = compare.correlations(shared.packed, shared.audio)
  # About a third of the clips are other recordings of the same name.
  assert np.median(r) > 0.991 and np.mean(r > 0.95) > 0.65
  matched = r > 0.95
  error = shared.audio[matched] - shared.packed[matched]
  assert abs(error.mean()) < 0.2 and np.sqrt(np.mean(error**2)) < 4.8
  short = (shared.audio[:, 0] == 0).all(axis=1) & matched
  assert short.sum() > 20 and np.median(r[short]) > 0.99


def test_compare_binary_prints_a_table(tmp_path):
  _, printed = binaries.run_python('-m', 'third_party.speech_commands.compare',
                                   f'--data={tmp_path}')
  assert printed.split()[:5] == ['split', 'clips', 'median', '>0.95', '>0.99']
  assert 'audio8_train.csv: no such file' in printed


# The TFDS builder.


def _prepare(folder: Path, config: str, manual: Path) -> dict[str, data.Split]:
  builder = builder_lib.SpeechCommands12(data_dir=folder, config=config)
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(
      manual_dir=manual))
  return builder_lib.read_prepared(builder)


def test_builder_gives_the_packed_file_back(tmp_path, monkeypatch):
  (tmp_path / 'manual').mkdir()
  _write_packed(tmp_path / 'manual', monkeypatch)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  _assert_equal(_prepare(tmp_path, 'packed', tmp_path / 'manual'),
                packed.load(tmp_path / 'manual'))
  builder = tfds.builder('speech_commands12', data_dir=tmp_path)
  assert isinstance(builder, builder_lib.SpeechCommands12)
  reread = tfds.builder_from_directory(builder.data_dir)
  assert reread.info.features['label'].names == list(data.CLASSES)
  assert reread.info.splits['test'].num_examples == 12
  assert reread.info.file_format is tfds.core.FileFormat.ARRAY_RECORD


@pytest.mark.parametrize('config', ['archive', 'partial'])
def test_builder_gives_an_archive_back(tmp_path, folder, config):
  if config == 'partial':
    _remove_noise(folder)
  expected = archive.load(folder, complete=config == 'archive')
  _assert_equal(_prepare(tmp_path, config, folder), expected)


@needs_sample
@needs_lists
def test_builder_gives_the_archive_sample_back(tmp_path):
  (tmp_path / 'manual').mkdir()
  for path in [*(_REAL / 'layout_sample').iterdir(), *_REAL.glob('*_list.txt')]:
    (tmp_path / 'manual' / path.name).symlink_to(path)
  expected = archive.load(_REAL / 'layout_sample', complete=False, lists=_REAL)
  _assert_equal(_prepare(tmp_path, 'partial', tmp_path / 'manual'), expected)


def test_read_prepared_names_what_is_not_prepared(tmp_path):
  builder = builder_lib.SpeechCommands12(data_dir=tmp_path)
  with pytest.raises(FileNotFoundError, match='download_and_prepare'):
    builder_lib.read_prepared(builder)


@pytest.fixture(name='served_url')
def _served_url(tmp_path, folder) -> Iterator[str]:
  """Serves the synthetic archive, packed as the original is."""
  (tmp_path / 'web').mkdir()
  with tarfile.open(tmp_path / 'web' / 'words.tar.gz', 'w:gz') as tar:
    tar.add(folder, '.')
  with web.serve(tmp_path / 'web') as url:
    yield f'{url}/words.tar.gz'


def test_builder_downloads_an_archive(tmp_path, folder, served_url,
                                      monkeypatch):
  monkeypatch.setattr(builder_lib, 'ARCHIVE_URL', served_url)
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  builder = builder_lib.SpeechCommands12(data_dir=tmp_path / 'tfds',
                                         config='download')
  builder.download_and_prepare()
  _assert_equal(builder_lib.read_prepared(builder), archive.load(folder))


def test_builder_checks_the_download_of_the_archive():
  # Without this entry TFDS would take whatever the address serves.
  info = builder_lib.SpeechCommands12.url_infos[builder_lib.ARCHIVE_URL]
  assert (info.size, info.checksum[:8]) == (2428923189, 'af14739e')
  published = Path(tfds.__file__).parent / 'datasets/speech_commands'
  with (published / 'checksums.tsv').open(encoding='utf-8') as file:
    rows = {row[0]: row for row in csv.reader(file, delimiter='\t')}
  _, size, checksum, _ = rows[builder_lib.ARCHIVE_URL]
  assert (info.size, info.checksum) == (int(size), checksum)


def test_builder_metadata_has_licence_and_citation(tmp_path):
  info = builder_lib.SpeechCommands12(data_dir=tmp_path).info
  assert 'CC BY 4.0' in info.redistribution_info.license
  assert 'Warden' in info.citation and info.homepage == builder_lib.HOMEPAGE
