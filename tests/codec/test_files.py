"""Files of any duration and size through the autoencoder."""

import contextlib

import numpy as np
import pytest

from sora_jax import media
from sora_jax.codec import files
from sora_jax.codec.video_codec import VideoCodec
from tests.codec.test_video_codec import CONFIGS, random_weights

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def codec():
    return VideoCodec(CONFIGS["time 2"], *random_weights(CONFIGS["time 2"]))


def film(path, frames, height=20, width=36):
    """Writes a film that moves; returns what is read of it."""
    pixels = np.linspace(0, 255, frames * height * width * 3).reshape(frames, height, width, 3)
    path.write_bytes(media.encode_video(pixels.astype(np.uint8), 12))
    return media.read_video(path)[0]


@pytest.mark.parametrize(
    "frames, size", [(1, (20, 36)), (2, (17, 33)), (6, (20, 36)), (7, (17, 33))]
)
def test_a_file_comes_back_as_the_whole_clip_does(codec, tmp_path, frames, size):
    seen = film(tmp_path / "film.mp4", frames, *size)
    assert seen.shape[1:3] == size
    made = tmp_path / "out" / "made.mp4"
    fit = files.reconstruct_file(codec, tmp_path / "film.mp4", made, chunk=2)
    latents, wanted_fit = codec.encode_clip(seen)
    assert fit == wanted_fit
    wanted = codec.decode_clip(latents, fit)
    media.write_video(tmp_path / "wanted.mp4", wanted, 12)
    wanted = media.read_video(tmp_path / "wanted.mp4")[0].astype(int)

    def check():
        found, fps = media.read_video(made)
        assert fps == 12 and found.shape[1:3] == tuple(n + n % 2 for n in size)  # yuv420p
        assert found.shape == wanted.shape and len(found) == frames
        assert np.abs(found - wanted).mean() < 0.5  # a level's rounding, through H.264

    check()
    files.decode_to_file(codec, np.asarray(latents), fit, made, 12, chunk=3)
    check()


def test_frames_are_written_as_they_are_read(codec, tmp_path, monkeypatch):
    """No more than a chunk is read ahead of what is written: neither film nor latents are held."""
    film(tmp_path / "film.mp4", 24)
    read, ahead = 0, []
    frames, fps = media.read_video(tmp_path / "film.mp4")

    @contextlib.contextmanager
    def opening(_):
        def reading():
            nonlocal read
            for frame in frames:
                read += 1
                yield frame

        yield fps, reading()

    def writing(path, made, fps):
        ahead.extend(read - written for written, _ in enumerate(made))

    monkeypatch.setattr(media, "open_video", opening)
    monkeypatch.setattr(media, "write_stream", writing)
    files.reconstruct_file(codec, tmp_path / "film.mp4", tmp_path / "made.mp4", chunk=2)
    # The first chunk has one frame, so the second latent waits for two more.
    assert len(ahead) == 24 and max(ahead) <= 4 + 1


def test_pixels_that_are_not_finite_are_not_written(tmp_path):
    params, statistics = random_weights(CONFIGS["time 2"])
    params["decoder"]["last"]["bias"] += np.nan
    broken = VideoCodec(CONFIGS["time 2"], params, statistics)
    film(tmp_path / "film.mp4", 2)
    with pytest.raises(ValueError, match="decoded pixels are not finite"):
        files.reconstruct_file(broken, tmp_path / "film.mp4", tmp_path / "made.mp4")
    assert not (tmp_path / "made.mp4").exists()


def test_what_cannot_be_streamed(codec, tmp_path):
    with pytest.raises(ValueError, match="no video at"):
        files.reconstruct_file(codec, tmp_path / "none.mp4", tmp_path / "made.mp4")
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(ValueError, match="text.mp4 cannot be read: no pictures"):
        files.reconstruct_file(codec, tmp_path / "text.mp4", tmp_path / "made.mp4")
    with pytest.raises(ValueError, match="made.mp4 is a folder"):
        (tmp_path / "made.mp4").mkdir()
        film(tmp_path / "film.mp4", 1)
        files.reconstruct_file(codec, tmp_path / "film.mp4", tmp_path / "made.mp4")
