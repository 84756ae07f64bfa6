"""Keyword spotting in audio files, with a small untrained model."""

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


def test_windows_are_seconds_of_the_features():
  audio = tone(2.5)
  starts, values = spot.windows(audio, 0.4)
  np.testing.assert_allclose(starts, [0, 0.4, 0.8, 1.2, 1.5], atol=1e-9)
  for start, window in zip(starts, values):
    first = round(start * RATE)
    alone = frontend.log_mel(audio[first:first + RATE])
    np.testing.assert_allclose(window, alone, atol=1e-3)


def test_short_audio_is_one_window():
  starts, values = spot.windows(tone(0.4), 0.1)
  assert starts.tolist() == [0] and values.shape == (1, 98, 40)
  with pytest.raises(ValueError, match='--hop=0.001'):
    spot.windows(tone(0.4), 0.001)


def test_what_is_heard_is_what_the_library_computes(model):
  snn = slstm.load_model(model / 'model')
  audio = tone(1.3)
  heard = list(spot.listen(spot.load(model), audio, 0.2))
  assert [h.start for h in heard] == pytest.approx([0, 0.2, 0.3])
  for h in heard:
    first = round(h.start * RATE)
    x = frontend.log_mel(audio[first:first + RATE]).reshape(1, 14, 280)
    forward = slstm.apply(snn, x, observe=lambda record: record.state.h)
    logits = np.asarray(forward.outputs[0], np.float64)
    assert h.score == pytest.approx(np.exp(logits.max()) / np.exp(logits).sum(),
                                    rel=1e-3)
    assert h.spikes == pytest.approx(np.count_nonzero(forward.observed[0]))
    assert h.energy > 0


def test_files_as_a_user_gives_them(model, tmp_path):
  short, long = tmp_path / 'short.wav', tmp_path / 'long.flac'
  soundfile.write(short, tone(1.0), RATE)
  soundfile.write(long, np.stack([tone(2.0, 44100)] * 2, 1), 44100)
  status, printed = call(f'--model={model}', f'--audio={short},{long}')
  assert status == 0, printed
  assert 'short.wav: 1 window' in printed and 'long.flac: 5 window' in printed
  assert '44100 Hz, 2 channel(s)' in printed


@pytest.mark.parametrize('name, content, message', [
    ('absent.wav', None, 'absent.wav: no such file'),
    ('text.wav', b'not audio', 'text.wav: not a whole audio file'),
])
def test_bad_audio_is_named(model, tmp_path, name, content, message):
  path = tmp_path / name
  if content is not None:
    path.write_bytes(content)
  status, printed = call(f'--model={model}', f'--audio={path}')
  assert status == 1 and message in printed.replace('\n', '')


def test_model_of_another_task_is_refused(model, tmp_path):
  runs.begin(tmp_path, 'train_ann', {'data': {'name': 'har'}}, '5a')
  with pytest.raises(ValueError, match='was trained on har'):
    spot.load(tmp_path)
  with pytest.raises(FileNotFoundError, match='config.json'):
    spot.load(model / 'nothing')
