"""Augmentation, against plain loops over examples."""

import functools

import jax
import numpy as np
import pytest

from experiments import augment
from experiments.datasets.har import Har
from experiments.datasets.speech_commands import SpeechCommands

KEY = jax.random.key(0)


def ramp(batch=200, length=20, features=10):
  """x[b, n, d] = 100 n + d."""
  _, n, d = np.meshgrid(*map(np.arange, (batch, length, features)),
                        indexing='ij')
  return (100 * n + d).astype(np.float32)


def test_rotation_keeps_norms_and_angles_between_sensors():
  x = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
  turned = np.asarray(augment.rotate(jax.random.key(0), x, 0.5))
  dots = lambda a: np.einsum('bnki,bnli->bnkl', *[a.reshape(4, 5, 2, 3)] * 2)
  np.testing.assert_allclose(dots(turned), dots(x), atol=1e-5)
  assert np.abs(turned - x).max() > 0.1
  # One rotation per example: the matrix found from it fits all its elements.
  for before, after in zip(x, turned):
    a, c = before.reshape(-1, 3), after.reshape(-1, 3)
    matrix = np.linalg.lstsq(a, c, rcond=None)[0]
    np.testing.assert_allclose(a @ matrix, c, atol=1e-5)
    assert np.linalg.det(matrix) == pytest.approx(1.0, abs=1e-4)


def test_noise_has_its_strength():
  x = np.ones((20, 100, 3), np.float32)
  noisy = np.asarray(augment.chain((augment.add_noise, 0.25))(KEY, x))
  assert np.std(noisy - x) == pytest.approx(0.25, rel=0.05)
  assert np.mean(noisy - x) == pytest.approx(0.0, abs=0.02)


def test_time_shift_moves_whole_examples_and_repeats_the_edge():
  x = ramp()
  found = set()
  for before, after in zip(x, np.asarray(augment.shift_time(KEY, x, 3))):
    shift = int(after[10, 0] - before[10, 0]) // 100
    found.add(shift)
    rows = [min(max(n + shift, 0), len(before) - 1) for n in range(len(before))]
    np.testing.assert_array_equal(after, before[rows])
  assert found == {-3, -2, -1, 0, 1, 2, 3}


@pytest.mark.parametrize('function, axis', [(augment.mask_time, 0),
                                            (augment.mask_features, 1)])
def test_masks_are_two_bands_of_the_mean(function, axis):
  x, widest = ramp(), 4
  widths, places = set(), set()
  for before, after in zip(x, np.asarray(function(KEY, x, widest))):
    changed = after != before
    np.testing.assert_allclose(after[changed], before.mean(), rtol=1e-6)
    band = changed.any(1 - axis)
    np.testing.assert_array_equal(  # all of a place, or nothing
        changed, np.broadcast_to(np.expand_dims(band, 1 - axis), changed.shape))
    starts = np.sum(np.diff(np.concatenate([[0], band.astype(int)])) == 1)
    assert starts <= augment.MASKS
    widths.add(int(band.sum()))
    places |= set(np.flatnonzero(band).tolist())
  assert widths >= {0, 1, 2, 3, 4, 5} and max(widths) <= 2 * widest
  assert places == set(range(x.shape[1 + axis]))


def test_background_adds_energies():
  x = np.full((300, 4, 2), 50.0, np.float32)
  background = np.full((5, 4, 2), 60, np.uint8)
  mixed = np.asarray(augment.mix(KEY, x, 0.5, background=background))
  gains = []
  for example in mixed:
    assert len(np.unique(example)) == 1
    if example[0, 0] != 50.0:
      added = np.exp(example[0, 0] / 10) - np.exp(50.0 / 10)
      gains.append(10 * np.log(added) - 60)
  assert 0.4 < len(gains) / len(x) < 0.6
  assert -46.5 < min(gains) < -40 and -6 < max(gains) < 0.1


def test_samples_are_augmented_not_elements():
  """Masks of one sample, where an element joins three."""
  x = np.arange(2 * 3 * 4).reshape(1, 2, 12).astype(np.uint8)
  samples = x.reshape(6, 4)
  augmented = augment.chain((augment.mask_time, 1), frames=3)
  seen = set()
  for seed in range(40):
    out = np.asarray(augmented(jax.random.key(seed), x))
    assert out.dtype == np.float32
    changed = (out.reshape(6, 4) != samples).any(1)
    seen.add(tuple(np.flatnonzero(changed).tolist()))
  assert {(n,) for n in range(6)} <= seen
  assert all(len(rows) <= 2 for rows in seen)


def test_each_step_of_a_chain_has_a_key_of_its_own():
  keys = []
  note = lambda key, x, _: keys.append(jax.random.key_data(key).tolist()) or x
  augment.chain((note, 1.0), (note, 0.0), (note, 2.0))(KEY, np.ones((1, 1, 1)))
  assert len(keys) == 2 and keys[0] != keys[1]


def test_nothing_asked_for_is_nothing():
  assert augment.chain((augment.add_noise, 0.0), (augment.rotate, 0)) is None


@pytest.mark.parametrize('kind, strengths', [
    (Har, {
        'rotation': -1.0
    }),
    (Har, {
        'noise': float('nan')
    }),
    (SpeechCommands, {
        'time_shift': -1
    }),
    (SpeechCommands, {
        'background': 1.5
    }),
])
def test_bad_strengths_are_named(kind, strengths):
  with pytest.raises(ValueError, match=f'{list(strengths)[0]} is'):
    kind(**strengths)


def test_rotation_of_other_data_is_refused():
  with pytest.raises(ValueError, match='triples'):
    augment.rotate(None, np.zeros((1, 1, 4)), 1.0)


def test_a_chain_is_jitted():
  mix = functools.partial(augment.mix, background=np.ones((2, 6, 4), np.uint8))
  chain = jax.jit(
      augment.chain((mix, 0.5), (augment.shift_time, 2), (augment.mask_time, 2),
                    (augment.mask_features, 1),
                    frames=2))
  assert chain(KEY, np.ones((5, 3, 8), np.uint8)).shape == (5, 3, 8)
