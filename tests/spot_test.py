"""Keyword spotting in audio files, with a small untrained model."""

import itertools
import tracemalloc

import jax
import numpy as np
import pytest
import soundfile

from experiments import runs
from experiments import spot
import slstm
from tests import binaries
from third_party.speech_commands import frontend

RATE = 16000


def tone(seconds, rate=RATE):
  time = np.arange(int(seconds * rate)) / rate
  return (0.3 * np.sin(2 * np.pi * (300 + 500 * time) * time)).astype(
      np.float32)


@pytest.fixture(scope='module', name='model')
def _model(tmp_path_factory):
  """A work directory with an SNN that has never been trained."""
  folder = tmp_path_factory.mktemp('model')
  rng = np.random.default_rng(0)
  x = rng.uniform(0, 200, (8, 14, 280)).astype(np.float32)
  lstm = slstm.init(jax.random.key(0),
                    num_features=280,
                    hidden_sizes=(6,),
                    num_outputs=12,
                    config=slstm.Config(pooling=('mean',)),
                    encoder=slstm.standardising(x))
  snn = slstm.convert(lstm, slstm.calibrate(lstm, x)).model
  slstm.save_model(folder / 'model', snn)
  runs.begin(folder, 'convert', {'data': {'name': 'speech_commands'}}, '5a')
  return folder


def call(*arguments):
  return binaries.run_python('-m', 'experiments.spot', *arguments, timeout=120)


def in_blocks(audio, *sizes):
  """The audio in parts of those many samples, and what is left."""
  return np.split(audio, np.cumsum(sizes))


@pytest.mark.parametrize('sizes', [(), (100, 479, 1, 7000), (16000,), (39999,)])
def test_windows_are_seconds_of_the_features(sizes):
  audio = tone(2.5)
  starts, values = zip(*spot.windows(in_blocks(audio, *sizes), 0.4))
  np.testing.assert_allclose(starts, [0, 0.4, 0.8, 1.2, 1.5], atol=1e-9)
  for start, window in zip(starts, values):
    first = round(start * RATE)
    alone = frontend.log_mel(audio[first:first + RATE])
    np.testing.assert_allclose(window, alone, atol=1e-3)


def test_a_hop_beyond_a_window_leaves_audio_out():
  starts, _ = zip(*spot.windows(in_blocks(tone(7), *[8000] * 13), 2.5))
  np.testing.assert_allclose(starts, [0, 2.5, 5, 6], atol=1e-9)
  starts, _ = zip(*spot.windows([tone(6)], 2.5))
  np.testing.assert_allclose(starts, [0, 2.5, 5], atol=1e-9)


def test_long_audio_is_not_kept():
  hour = (np.ones(RATE, np.float32) * k for k in itertools.repeat(0.1))
  heard = itertools.islice(spot.windows(hour, 0.01), 2000)
  tracemalloc.start()
  assert len(list(start for start, _ in heard)) == 2000
  assert tracemalloc.get_traced_memory()[1] < 5e6  # these values are 31 MB
  tracemalloc.stop()


def test_short_audio_is_one_window():
  (start, values), = spot.windows(in_blocks(tone(0.4), 10), 0.1)
  assert start == 0 and values.shape == (98, 40)


@pytest.mark.parametrize('hop', [0.001, 0.0, -1.0, np.nan, np.inf])
def test_a_hop_that_is_none_is_refused(hop):
  with pytest.raises(ValueError, match=f'--hop={hop}: expected at least'):
    next(spot.windows([tone(0.4)], hop))


def test_what_is_heard_is_what_the_library_computes(model):
  snn = slstm.load_model(model / 'model')
  audio = tone(1.3)
  heard = list(spot.listen(spot.load(model), in_blocks(audio, 500), 0.2))
  assert [h.start for h in heard] == pytest.approx([0, 0.2, 0.3])
  for h in heard:
    first = round(h.start * RATE)
    x = frontend.log_mel(audio[first:first + RATE]).reshape(1, 14, 280)
    forward = slstm.apply(snn, x, observe=lambda record: record.state.h)
    logits = np.asarray(forward.outputs[0], np.float64)
    assert h.score == pytest.approx(np.exp(logits.max()) / np.exp(logits).sum(),
                                    rel=1e-3)
    assert h.spikes == pytest.approx(np.count_nonzero(forward.observed[0]))


def test_batches_do_not_change_what_is_heard(model, monkeypatch):
  loaded, audio = spot.load(model), [tone(1.5)]
  together = list(spot.listen(loaded, audio, 0.1))
  monkeypatch.setattr(spot, '_BATCH', 4)
  for one, same in zip(together, spot.listen(loaded, audio, 0.1), strict=True):
    assert one.label == same.label
    assert one.score == pytest.approx(same.score, rel=1e-4)
    assert one.spikes == pytest.approx(same.spikes)


def test_neighbours_of_one_word_are_one_event():
  told = [('yes', 0.9), ('yes', 0.7), ('no', 0.8), ('no', 0.4), ('no', 0.6),
          ('_unknown_', 0.9), ('yes', 0.5), ('yes', 0.8)]  # yapf: disable
  read = []

  def heard():
    for k, (label, score) in enumerate(told):
      read.append(k)
      yield spot.Heard(0.25 * k, label, score, None)

  found = spot.events(heard(), 0.5)
  assert next(found) == spot.Event(0.0, 1.25, 'yes', 0.9)
  assert read == [0, 1, 2]  # it is told as soon as it has ended
  assert list(found) == [spot.Event(0.5, 1.5, 'no', 0.8),
                         spot.Event(1.0, 2.0, 'no', 0.6),
                         spot.Event(1.5, 2.75, 'yes', 0.8)]  # yapf: disable


def test_files_as_a_user_gives_them(model, tmp_path):
  short, long = tmp_path / 'short.wav', tmp_path / 'long.flac'
  soundfile.write(short, tone(1.0), RATE)
  soundfile.write(long, np.stack([tone(2.0, 44100)] * 2, 1), 44100)
  status, printed = call(f'--model={model}', f'--audio={short},{long}',
                         '--threshold=0')
  assert status == 0, printed
  assert 'short.wav: 16000 Hz, 1 channel(s)\n' in printed
  assert 'long.flac: 44100 Hz, 2 channel(s), made 16 kHz mono' in printed
  assert ' in 1 window(s), ' in printed and ' in 5 window(s), ' in printed
  assert ' s of audio in ' in printed and 'as fast as real time' in printed


def test_a_bad_file_is_named_and_skipped(model, tmp_path):
  good, bad = tmp_path / 'good.wav', tmp_path / 'bad.wav'
  soundfile.write(good, tone(1.0), RATE)
  bad.write_bytes(b'not audio')
  status, printed = call(f'--model={model}',
                         f'--audio={tmp_path / "absent.wav"},{bad},{good}')
  assert status == 1
  assert 'absent.wav: no such file' in printed
  assert 'bad.wav: not a whole audio file' in printed
  assert ' in 1 window(s), ' in printed
  assert 'error: 2 of 3 file(s) could not be heard' in printed


def test_model_of_another_task_is_refused(model, tmp_path):
  runs.begin(tmp_path, 'train_ann', {'data': {'name': 'har'}}, '5a')
  with pytest.raises(ValueError, match='was trained on har'):
    spot.load(tmp_path)
  with pytest.raises(FileNotFoundError, match='config.json'):
    spot.load(model / 'nothing')
