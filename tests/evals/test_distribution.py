"""Distances of distributions against closed forms."""

import numpy as np
import pytest

from sora_jax.evals import distribution
from sora_jax.evals.distribution import frechet_distance


def with_moments(rng, count, mean, covariance):
    """Samples whose mean and covariance are exactly these."""
    x = rng.normal(size=(count, len(mean)))
    x -= x.mean(0)
    whiten = np.linalg.inv(np.linalg.cholesky(np.cov(x.T)))
    return x @ whiten.T @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_gaussians_of_known_moments():
    """In general against the matrix root, for commuting covariances by their eigenvalues."""
    rng = np.random.default_rng(0)
    a = with_moments(rng, 50, np.array([1.0, 2.0, 3.0]), np.diag([4.0, 1.0, 9.0]))
    b = with_moments(rng, 70, np.array([1.0, 0.0, 3.0]), np.diag([1.0, 1.0, 25.0]))
    # |m|^2 = 4; (2 - 1)^2 + 0 + (3 - 5)^2 = 5
    assert frechet_distance(a, b) == pytest.approx(9, rel=1e-9)
    c = rng.normal(size=(3, 3))
    c = c @ c.T + np.eye(3)
    other = with_moments(rng, 40, np.zeros(3), c)
    first = np.diag([4.0, 1.0, 9.0])
    roots = np.sqrt(np.linalg.eigvals(first @ c).real).sum()
    wanted = 14 + np.trace(first) + np.trace(c) - 2 * roots
    assert frechet_distance(a, other) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(other, a) == pytest.approx(wanted, rel=1e-9)


def test_equal_sets_have_no_distance_with_fewer_samples_than_features():
    x = np.random.default_rng(0).normal(size=(8, 50))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 2) == pytest.approx(50 * 4, rel=1e-9)


def test_distances_are_taken_between_halves_of_clips():
    rng = np.random.default_rng(0)
    real = [rng.normal(size=(3, 4)) for _ in range(40)]
    distance, floor = distribution.halved_distances(real, real)
    assert (
        distance.mean == pytest.approx(floor.mean) and 0 < floor.low < floor.mean < floor.high < 1
    )
    assert floor.clips == 40
    moved, floor_again = distribution.halved_distances(real, [f + 3 for f in real])
    assert 30 < moved.low < moved.high < 42 and floor_again == floor
    assert distribution.halved_distances(real[:1], real[:1]) is None


def video(seed, frames=9, height=32, width=32):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def test_a_copy_of_a_training_clip_is_found_whatever_its_size():
    train = [distribution.thumbnail(video(seed)) for seed in range(5)]
    larger = video(3).repeat(2, 1).repeat(2, 2)
    copy, other = distribution.nearest_distances([larger, video(9)], train)
    assert copy < 0.6 < 5 < other
    brighter = np.full((3, 20, 20, 3), 110, np.uint8)
    grey = [distribution.thumbnail(np.full((1, 16, 16, 3), 100, np.uint8))]
    assert distribution.nearest_distances([brighter], grey) == [pytest.approx(10)]


def test_variety_is_the_mean_distance_of_pairs():
    points = [np.array([0.0, 0.0]), np.array([3.0, 4.0]), np.array([0.0, 0.0])]
    assert distribution.variety(points) == pytest.approx(10 / 3)


def test_features_of_frames_and_of_their_differences(monkeypatch):
    """With the mean colour as features: no change is grey."""
    monkeypatch.setattr(
        distribution.efficientnet_lite0, "pooled_features", lambda _, images: images.mean((1, 2))
    )
    extract = distribution.make_extractor({})
    film = np.stack([np.full((20, 30, 3), 10 * i, np.uint8) for i in range(12)])
    frames, differences = extract(film)
    np.testing.assert_allclose(frames[:, 0], [0, 20, 30, 50, 60, 80, 90, 110])
    np.testing.assert_allclose(differences, 132)
    image, nothing = extract(film[:1])
    assert image.shape == (1, 3) and nothing.shape == (0, 3)
