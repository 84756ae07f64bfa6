"""Augmentation, against plain loops over examples."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import augment
from experiments.config import Experiment

KEY = jax.random.key(0)


def make(**strengths):
  return augment.make(dataclasses.replace(Experiment(), **strengths))


def ramp(length=20, batch=200, features=10):
  """x[n, b, d] = 100 n + d."""
  n, _, d = np.meshgrid(*map(np.arange, (length, batch, features)),
                        indexing='ij')
  return (100 * n + d).astype(np.float32)


def test_rotation_keeps_norms_and_angles_between_sensors():
  x = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)
  turned = np.asarray(augment.rotate(jax.random.key(0), x, 0.5))
  dots = lambda a: np.einsum('nbki,nbli->nbkl', *[a.reshape(5, 4, 2, 3)] * 2)
  np.testing.assert_allclose(dots(turned), dots(x), atol=1e-5)
  assert np.abs(turned - x).max() > 0.1
  # One rotation an example: the matrix found from one element fits all others.
  for b in range(4):
    a, c = x[:, b].reshape(-1, 3), turned[:, b].reshape(-1, 3)
    matrix = np.linalg.lstsq(a, c, rcond=None)[0]
    np.testing.assert_allclose(a @ matrix, c, atol=1e-5)
    assert np.linalg.det(matrix) == pytest.approx(1.0, abs=1e-4)


def test_noise_has_its_strength():
  x = np.ones((100, 20, 3), np.float32)
  noisy = np.asarray(make(noise=0.25)(KEY, x))
  assert np.std(noisy - x) == pytest.approx(0.25, rel=0.05)
  assert np.mean(noisy - x) == pytest.approx(0.0, abs=0.02)


def test_time_shift_moves_whole_examples_and_repeats_the_edge():
  x = ramp()
  moved = np.asarray(augment.shift_time(KEY, x, 3))
  found = set()
  for b in range(x.shape[1]):
    shift = int(moved[10, b, 0] - x[10, b, 0]) // 100
    found.add(shift)
    rows = [min(max(n + shift, 0), len(x) - 1) for n in range(len(x))]
    np.testing.assert_array_equal(moved[:, b], x[rows, b])
  assert found == {-3, -2, -1, 0, 1, 2, 3}


@pytest.mark.parametrize('axis', [0, 2])
def test_masks_are_two_bands_of_the_mean(axis):
  x, widest = ramp(), 4
  masked = np.asarray(augment.mask(KEY, x, widest, axis))
  widths, places = set(), set()
  for b in range(x.shape[1]):
    changed = masked[:, b] != x[:, b]
    np.testing.assert_allclose(masked[:, b][changed], x[:, b].mean(), rtol=1e-6)
    band = changed.any(1 - axis // 2)
    np.testing.assert_array_equal(  # all of a place, or nothing
        changed,
        np.broadcast_to(np.expand_dims(band, 1 - axis // 2), changed.shape))
    starts = np.sum(np.diff(np.concatenate([[0], band.astype(int)])) == 1)
    assert starts <= augment.MASKS
    widths.add(int(band.sum()))
    places |= set(np.flatnonzero(band).tolist())
  assert widths >= {0, 1, 2, 3, 4, 5} and max(widths) <= 2 * widest
  assert places == set(range(x.shape[axis]))


def test_background_adds_energies():
  x = np.full((4, 300, 2), 50.0, np.float32)
  background = np.full((5, 4, 2), 60, np.uint8)
  mixed = np.asarray(augment.mix(KEY, x, 0.5, background))
  gains = []
  for b in range(x.shape[1]):
    assert len(np.unique(mixed[:, b])) == 1
    if mixed[0, b, 0] != 50.0:
      added = np.exp(mixed[0, b, 0] / 10) - np.exp(50.0 / 10)
      gains.append(10 * np.log(added) - 60)
  assert 0.4 < len(gains) / x.shape[1] < 0.6
  assert -46.5 < min(gains) < -40 and -6 < max(gains) < 0.1


def test_samples_are_augmented_not_elements():
  """Masks of one sample, where an element joins two."""
  x = np.arange(2 * 3 * 4).reshape(2, 1, 12).astype(np.uint8)
  samples = x.reshape(6, 4)
  augmented = make(frames=3, time_mask=1)
  seen = set()
  for seed in range(40):
    out = np.asarray(augmented(jax.random.key(seed), x))
    assert out.dtype == np.float32
    changed = (out.reshape(6, 4) != samples).any(1)
    seen.add(tuple(np.flatnonzero(changed).tolist()))
  assert {(n,) for n in range(6)} <= seen
  assert all(len(rows) <= 2 for rows in seen)


def test_nothing_asked_for_is_nothing():
  assert make() is None


@pytest.mark.parametrize('strengths', [{
    'rotation': -1.0
}, {
    'noise': float('nan')
}, {
    'time_shift': -1
}, {
    'background': 1.5
}])
def test_bad_strengths_are_named(strengths):
  with pytest.raises(ValueError, match=f'--{list(strengths)[0]}'):
    make(**strengths)


def test_augmentations_for_other_data_are_refused():
  with pytest.raises(ValueError, match='triples'):
    augment.rotate(None, np.zeros((1, 1, 4)), 1.0)
  with pytest.raises(ValueError, match='no clips of noise'):
    augment.make(Experiment(background=0.5))
