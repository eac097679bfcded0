"""Figures of sets of videos: which variants they compare, and that copies are found.

The features are made up, so that no weights are needed; `tests/evals/test_distribution.py` holds
the distances against closed forms.
"""

import math

import numpy as np
import pytest

from data_pipelines.clips import open_split
from data_pipelines.worlds import dataset
from sora_jax.commands import cases, distributions, evaluation


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "data"
    dataset.build(folder, {"phyworld": 40}, processes=0)
    return folder


@pytest.fixture
def features(monkeypatch):
    """Features of a frame are the means of 4 x 4 blocks; of a difference, its own."""

    def extract(video):
        t, h, w, _ = video.shape
        blocks = video.reshape(t, 4, h // 4, 4, w // 4, 3).mean((2, 4, 5)).reshape(t, 16)
        return blocks, np.diff(blocks, axis=0)

    monkeypatch.setattr(distributions.efficientnet_lite0, "is_installed", lambda: True)
    monkeypatch.setattr(distributions.efficientnet_lite0, "load_weights", lambda: None)
    monkeypatch.setattr(distributions.distribution, "make_extractor", lambda weights: extract)


def read(data, count=4):
    found = cases.read_cases(data, "test", (), count)
    return [case for case in found if case.size[1] % 4 == case.size[2] % 4 == 0]


def test_frozen_videos_differ_in_their_differences_alone(data, features):
    chosen, found = read(data), evaluation.EvalResults()
    assert len(chosen) >= 3
    model = [case.real for case in chosen]
    distributions.compare(found, chosen, {"model": model})
    figures = found.distribution["phyworld"]
    assert set(found.distribution) == {"all", "phyworld"} and found.left_out == []
    for kind in ("FED frames", "FED differences"):
        assert {f"{kind}, {name}" for name in ("model", *distributions.CONTROLS)} <= set(figures)
        floor = figures[f"{kind}, real (floor)"]
        assert figures[f"{kind}, model"].mean == pytest.approx(floor.mean)
    grey, floor = figures["FED frames, grey_disc"], figures["FED frames, real (floor)"]
    assert grey.mean > 10 * floor.mean
    # The same frames in another order have the same features, if all of them are looked at.
    assert figures["FED frames, shuffled"].mean == pytest.approx(floor.mean)
    assert figures["FED differences, frozen"].mean != pytest.approx(
        figures["FED differences, real (floor)"].mean
    )


def test_copies_of_training_clips_are_found(data):
    chosen, found = read(data), evaluation.EvalResults()
    train = [record.video for record in open_split(data, "train") if len(record.video) > 1]
    copies = [train[i] for i in range(len(chosen))]
    distributions.compare(found, chosen, {"model": copies}, data=data)
    name = f"nearest of {len(train)} training clips"
    figures = found.distribution["phyworld"]
    assert figures[f"{name}, model"].mean == 0
    assert figures[f"{name}, real"].mean > 0
    assert figures[f"{name}, real"].clips == len(chosen)
    if not distributions.efficientnet_lite0.is_installed():
        assert len(found.left_out) == 1 and "pip install" in found.left_out[0]


def test_variety_is_that_of_the_seeds_of_one_prompt(data, features):
    chosen, asked = read(data), []

    def generate(requests, first):
        asked.extend(requests)
        assert all(len(frames) == 1 for frames in first)
        # The videos of a prompt differ from seed to seed by one level in all blocks.
        return [np.full((2, 8, 8, 3), request.seed, np.uint8) for request in requests]

    found = evaluation.EvalResults()
    distributions.measure_variety(found, chosen, generate, given=1)
    prompts = min(len(chosen), distributions.VARIETY_PROMPTS)
    seeds = range(distributions.VARIETY_SEEDS)
    assert [r.seed for r in asked] == [*seeds] * prompts
    assert [r.prompt for r in asked[:4]] == [chosen[0].caption] * 4
    figure = found.distribution["phyworld"]["variety of one prompt, model"]
    # Distances of 0, 1, 2, 3 levels in 16 blocks: the mean over pairs is 10 / 6 of sqrt(16).
    wanted = 10 / 6 * math.sqrt(16)
    assert figure.mean == pytest.approx(wanted) and figure.clips == prompts
