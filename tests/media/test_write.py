"""Written video holds its frames; damaged files are refused."""

import contextlib
import io
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from experiments import made_films
from sora_jax import media
from sora_jax.media import films


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


def test_written_video_says_what_its_colours_are_and_has_no_bias(tmp_path):
    frames = made_films.scene(9, 720, 1280)
    (tmp_path / "a.mp4").write_bytes(media.video_bytes(frames, 24, crf=1))
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
    assert tags == (1, 1, 1, 1)  # BT.709, limited range
    found, _ = media.read_video(tmp_path / "a.mp4")
    assert max(map(made_films.flat_error, found, frames)) <= 3  # levels of limited range
    ramp = np.arange(256, dtype=np.uint8)[None, None, :, None]
    gray = np.broadcast_to(ramp, (3, 64, 256, 3))
    for encoding in (media.SHOWN.at(1), media.STORED.at(1)):
        back, _ = media.decode_video(media.encode_video(gray, 8, encoding=encoding))
        difference = back.astype(float) - gray
        assert abs(difference.mean()) < 0.1 and np.abs(difference).max() <= 2


def test_parts_of_stored_video_need_little_that_is_before_them():
    frames = made_films.scene(65)
    data = media.encode_video(frames, 24, encoding=media.STORED)
    with av.open(io.BytesIO(data)) as container:
        keys = [i for i, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    assert keys[0] == 0 and max(np.diff([*keys, 65])) <= 17


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"frame 1 is \(32, 48\), the first \(16, 48\)"):
        writer = media.VideoWriter(io.BytesIO(), 8, media.SHOWN)
        with contextlib.closing(writer):
            writer.write(np.zeros((16, 48, 3), np.uint8))
            writer.write(np.zeros((32, 48, 3), np.uint8))


@pytest.mark.parametrize("encoding", [media.EXACT, media.STORED], ids=["exact", "stored"])
def test_parts_of_videos_are_those_of_the_whole(encoding):
    frames = made_films.scene(50, speed=4)
    data = media.encode_video(frames, 24000 / 1001, encoding=encoding)
    whole, fps = media.decode_video(data)
    assert len(whole) == 50
    for start, stop in ((0, 5), (3, 20), (16, 18), (17, 50), (33, 34), (49, 50), (20, None)):
        for given in (fps, 0.0):
            part, _ = media.decode_video(data, start, stop, given)
            np.testing.assert_array_equal(part, whole[start:stop])


def test_a_part_needs_no_frames_before_its_keyframe(monkeypatch):
    data = media.encode_video(made_films.scene(65), 24, encoding=media.STORED)
    seen, read = [], films.Film.read
    monkeypatch.setattr(films.Film, "read", lambda self: (seen.append(f) or f for f in read(self)))
    media.decode_video(data, 40, 50, 24.0)
    assert 10 <= len(seen) <= 10 + 17
