"""Containers keep frames, damaged ones are refused, and any size fits a canvas and comes back."""

import os
import subprocess
import sys

import av
import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import media


def moving_bars(t, h, w):
    """Saturated bars that move one pixel a frame."""
    x, y, i = np.arange(w)[None, None], np.arange(h)[None, :, None], np.arange(t)[:, None, None]
    red = ((x + i) // 5 % 2) * np.ones_like(y)
    blue = ((y + i) // 7 % 2) * np.ones_like(x)
    return (np.stack([red, 0.3 * red * blue, blue], -1) * 230 + 10).astype(np.uint8)


@pytest.mark.parametrize(
    "shape", [(1, 16, 16), (1, 17, 31), (2, 54, 96), (9, 33, 45), (33, 64, 48)]
)
@pytest.mark.parametrize("fps", [8.0, 29.97])
def test_stored_video_is_exact_and_deterministic(shape, fps):
    frames = moving_bars(*shape)
    data = media.encode_video(frames, fps)
    assert data == media.encode_video(frames, fps)
    decoded, rate = media.decode_video(data)
    np.testing.assert_array_equal(decoded, frames)
    assert rate == pytest.approx(fps, abs=1e-3)


def test_shown_video_does_not_depend_on_memory_nobody_wrote():
    """glibc fills fresh memory with the pattern of MALLOC_PERTURB_."""
    program = (
        "import hashlib, numpy as np; from sora_jax import media\n"
        "for seed in (1, 2):\n"
        "    v = np.random.default_rng(seed).normal(0, 3, (9, 50, 100, 3)).cumsum(0) + 128\n"
        "    v = np.clip(v + np.linspace(0, 40, 100)[:, None], 0, 255).astype('uint8')\n"
        "    print(hashlib.md5(media.video_bytes(v, 8)).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"MALLOC_PERTURB_": pattern},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for pattern in ("0", "85", "170")
    }
    assert len(seen) == 1


def test_lower_quality_is_smaller_and_still_close():
    frames = np.random.default_rng(0).integers(90, 160, (9, 48, 48, 3), np.uint8)
    lossy = media.encode_video(frames, 8, crf=28)
    assert len(lossy) < len(media.encode_video(frames, 8)) / 2
    error = np.abs(media.decode_video(lossy)[0].astype(int) - frames)
    assert 0 < error.mean() < 12


@pytest.mark.parametrize("shape", [(1, 17, 31), (9, 54, 95)])
def test_shown_video_plays_in_browsers_and_keeps_colours(tmp_path, shape):
    frames = np.empty((*shape, 3), np.uint8)
    frames[:] = (200, 60, 40)
    path = tmp_path / "new" / "clip.mp4"
    media.write_video(path, frames, 8)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # playable while it loads
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    shown, fps = media.read_video(path)
    t, h, w = shape
    assert shown.shape == (t, h + h % 2, w + w % 2, 3) and fps == 8
    assert np.abs(shown.astype(int) - (200, 60, 40)).max() <= 4


@pytest.mark.parametrize("size", [0, 10, 300])
def test_damaged_bytes_are_refused_in_one_line(size):
    data = media.encode_video(moving_bars(5, 32, 32), 8)[:size]
    with pytest.raises(ValueError, match="cannot decode") as error:
        media.decode_video(data)
    assert "\n" not in str(error.value)


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no video at .*none\.mp4"):
        media.read_video(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_bytes(b"not a video")
    with pytest.raises(ValueError, match=r"text\.mp4 cannot be read: no pictures"):
        media.read_video(tmp_path / "text.mp4")


def test_what_is_no_video_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        media.encode_video(moving_bars(1, 16, 16), 0)
    with pytest.raises(ValueError, match="0 frames of 16x16"):
        media.encode_video(moving_bars(1, 16, 16)[:0], 8)
    with pytest.raises(ValueError, match="1 frames of 15x64"):
        media.video_bytes(moving_bars(1, 15, 64), 8)


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
