"""Crops: a function of seed, step and place; worlds alike; on the grid of latents."""

import dataclasses
import functools

import numpy as np
import pytest

from data_pipelines.clip_index import ClipIndex
from data_pipelines.clips import ClipRecord
from data_pipelines.crops import Crops
from sora_jax.models.vae_config import VAEConfig
from sora_jax.training.experiments import CropConfig, VAEExperiment
from tests.data_pipelines.folders import clip_meta

MODEL = VAEConfig(4, 4, (8, 8), ((2, 1),))
CROPS = (CropConfig(6, 3, 8, 8), CropConfig(6, 1, 8, 8))
EXPERIMENT = VAEExperiment(data="records", model=MODEL, crops=CROPS)


class Records(list):
    """90 clips of one world and 10 of another.

    A pixel holds its row and 32 times its frame, its column, and its clip.
    """

    def __init__(self, frames=5, height=20, width=24):
        times, rows, columns = np.indices((frames, height, width), np.uint8)
        for clip in range(100):
            video = np.stack([rows + 32 * times, columns, np.full_like(rows, clip)], -1)
            self.append(
                ClipRecord(
                    video, clip_meta(size=video.shape[:3], source="common" if clip < 90 else "rare")
                )
            )

    @functools.cached_property
    def index(self):
        return ClipIndex.of([record.meta for record in self])

    def frames(self, clip, start, stop):
        assert stop <= len(self[clip].video)
        return self[clip].video[start:stop]


def pixels(batch):
    """Bytes of a batch in [-1, 1]."""
    return np.rint((batch + 1) * 127.5).astype(int)


def test_worlds_are_equally_likely_however_many_clips_they_have():
    crops = Crops(EXPERIMENT, Records(), 200)
    clips = np.concatenate([pixels(crops[i])[:, 0, 0, 0, 2] for i in range(200)])
    # 1200 draws: a share of one half has a deviation of 0.014.
    assert abs(np.mean(clips >= 90) - 0.5) < 0.06
    assert len(set(clips)) == 100


def test_crops_have_the_shape_of_their_step_and_lie_on_the_grid():
    crops = Crops(EXPERIMENT, Records(), 40)
    corners, firsts = set(), set()
    for step in range(40):
        batch = pixels(crops[step])
        assert batch.shape == (6, (3, 1)[step % 2], 8, 8, 3)
        np.testing.assert_array_equal(np.diff(batch[..., 0], axis=1), 32)  # no frame is skipped,
        np.testing.assert_array_equal(np.diff(batch[..., 0], axis=2), 1)  # nor row,
        np.testing.assert_array_equal(np.diff(batch[..., 1], axis=3), 1)  # nor column
        corners |= {(y % 32, x) for y, x in batch[:, 0, 0, 0, :2].tolist()}
        firsts |= {(step % 2, y // 32) for y in batch[:, 0, 0, 0, 0].tolist()}
    assert corners == {(y, x) for y in range(0, 13, 4) for x in range(0, 17, 4)}
    assert firsts == {(0, t) for t in range(3)} | {(1, t) for t in range(5)}


def test_a_crop_does_not_depend_on_who_asks():
    crops = Crops(EXPERIMENT, Records(), 4)
    np.testing.assert_array_equal(crops[2][3:5], crops.part(2, range(3, 5)))
    assert (crops[0] != crops[2]).any()


def test_clips_that_are_too_short_are_named():
    with pytest.raises(ValueError, match="asks for 3 frames, the longest clip of records has 2"):
        Crops(EXPERIMENT, Records(frames=2), 4)


def test_what_is_shorter_than_a_crop_repeats_its_last_part():
    """Of clips of 3 frames of 18x18, on a grid of 4 pixels: crops of 3 frames of 24x20."""
    crops = (CropConfig(2, 3, 24, 20),)
    experiment = dataclasses.replace(EXPERIMENT, crops=crops)
    batch = pixels(Crops(experiment, Records(3, 18, 18), 1)[0])
    rows, columns = (np.minimum(np.arange(n), 17) for n in (24, 20))
    assert (batch[..., 0] % 32 == rows[:, None]).all() and (batch[..., 1] == columns).all()
    assert (batch[:, :, 0, 0, 0] == [0, 32, 64]).all()
