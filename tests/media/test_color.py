"""Tags, and high dynamic range against the tables of the standards."""

import av
import numpy as np
import pytest

from experiments import made_films
from sora_jax.media import color


def level(code, transfer, primaries=1):
    """What a gray of this code, 0 to 1, becomes: 0 to 255."""
    pixels = np.full((1, 1, 3), round(code * 65535), np.uint16)
    (value,) = np.unique(color.to_standard(pixels, transfer, primaries))
    return int(value)


def test_reference_levels_of_the_standards():
    """BT.2408: reference white, 203 cd/m^2, is at 58 % of PQ and 75 % of HLG."""
    for code, transfer in ((0.5807, 16), (0.75, 18)):
        assert abs(level(code, transfer) - 255) <= 1
        assert level(code * 1.2, transfer) == 255 and level(0, transfer) == 0
    assert abs(level(0.5081, 16) - 255 * (100 / 203) ** (1 / 2.4)) <= 1  # 100 cd/m^2, BT.2100
    assert abs(level(0.1499, 16) - 255 * (1 / 203) ** (1 / 2.4)) <= 1  # 1 cd/m^2
    scene = 0.5**2 / 3  # HLG's light of half a signal, of a display of 1000 cd/m^2 and gamma 1.2
    assert abs(level(0.5, 18) - 255 * (scene**1.2 * 1000 / 203) ** (1 / 2.4)) <= 1


def test_gray_stays_gray_in_all_primaries():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[:, None, None].repeat(3, -1)
    for primaries in (9, 11, 12):
        found = color.to_standard(ramp, 1, primaries)
        assert np.abs(found.astype(int) - np.arange(256)[:, None, None]).max() <= 1


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_range_is_the_inverse_of_direct_mapping(transfer):
    levels = np.random.default_rng(0).integers(40, 256, (64, 64, 3))
    coded = made_films.to_high_range(levels / 255, transfer)
    pixels = np.rint(coded.clip(0, 1) * 65535).astype(np.uint16)
    found = color.to_standard(pixels, transfer, 9)
    assert np.abs(found.astype(int) - levels).max() <= 1


def test_what_is_brighter_than_white_keeps_its_hue():
    coded = made_films.to_high_range(np.array([[[1.0, 0.5, 0.25]]]) * 1.5, 16)
    ((found,),) = color.to_standard(np.rint(coded * 65535).astype(np.uint16), 16, 9)
    assert found[0] == 255 and np.abs(found.astype(int) - [255, 127.5, 63.75]).max() <= 2


@pytest.mark.parametrize(
    "format_, height, given, wanted",
    [
        ("yuv420p", 576, {}, (5, 1)),
        ("yuv420p", 720, {}, (1, 1)),
        ("yuvj420p", 720, {"colorspace": 5}, (5, 2)),
        ("yuv420p", 480, {"colorspace": 1, "color_range": 2}, (1, 2)),
        ("yuv420p10le", 480, {"color_primaries": 9}, (9, 1)),
        ("rgb24", 480, {}, (2, 2)),
    ],
)
def test_tags_that_are_missing_are_those_of_players(format_, height, given, wanted):
    frame = av.VideoFrame(64, height, format_)
    for name, value in given.items():
        setattr(frame, name, value)
    color.set_tags(frame)
    assert (frame.colorspace, frame.color_range) == wanted
