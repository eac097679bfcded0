"""Any size fits a canvas and comes back; levels become numbers and levels again."""

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import media


def test_float_and_back_is_exact():
    levels = np.arange(256, dtype=np.uint8)
    floats = media.to_float(levels)
    assert floats.dtype == np.float32 and floats[0] == -1 and floats[-1] == 1
    np.testing.assert_array_equal(media.to_uint8(floats), levels)
    np.testing.assert_array_equal(media.to_uint8(np.array([-3.0, 3.0], np.float32)), [0, 255])
    rounded = media.to_uint8(floats[:-1] + np.float32(0.6 / 127.5))
    np.testing.assert_array_equal(rounded, levels[1:])


@hypothesis.given(
    t=st.integers(1, 12),
    h=st.integers(16, 50),
    w=st.integers(16, 50),
    temporal=st.sampled_from([1, 4]),
    spatial=st.sampled_from([1, 8, 16]),
)
@hypothesis.settings(max_examples=40)
def test_canvas_is_the_smallest_and_crops_back(t, h, w, temporal, spatial):
    frames = np.arange(t * h * w, dtype=np.float32).reshape(t, h, w, 1)
    padded, fit = media.fit_canvas(frames, temporal, spatial)
    assert padded.shape[:3] == fit.padded == media.canvas_shape(t, h, w, temporal, spatial)
    frames_, height, width = fit.padded
    assert (frames_ - 1) % temporal == height % spatial == width % spatial == 0
    assert 0 <= frames_ - t < temporal and 0 <= height - h < spatial and 0 <= width - w < spatial
    np.testing.assert_array_equal(fit.crop(padded), frames)
    pad = ((0, frames_ - t), (0, height - h), (0, width - w), (0, 0))
    np.testing.assert_array_equal(padded, np.pad(frames, pad, mode="edge"))


def test_canvas_takes_jax_arrays_and_leading_axes():
    frames = np.random.default_rng(1).normal(size=(2, 3, 17, 18, 3)).astype(np.float32)
    padded, fit = media.fit_canvas(jnp.asarray(frames), 4, 8)
    assert padded.shape == (2, 5, 24, 24, 3)
    np.testing.assert_array_equal(padded, media.fit_canvas(frames, 4, 8)[0])
    np.testing.assert_array_equal(fit.crop(padded), frames)


def test_canvas_errors_name_the_values():
    with pytest.raises(ValueError, match="1 frames of 15x64"):
        media.canvas_shape(1, 15, 64, 4, 8)
    with pytest.raises(ValueError, match="0 frames"):
        media.canvas_shape(0, 64, 64, 4, 8)
    _, fit = media.fit_canvas(np.zeros((2, 20, 20, 3), np.float32), 4, 8)
    with pytest.raises(ValueError, match=r"\(5, 24, 24\)"):
        fit.crop(np.zeros((2, 20, 20, 3), np.float32))
