"""Files of generated videos hold the frames, and how they were made."""

import av
import numpy as np
import pytest
from PIL import Image

from sora_jax.outputs import SUFFIXES, read_metadata, write_output

MADE = {"job": {"prompt": 'a "red" ball — öö', "seed": 3}, "how": {"steps": 8}}
VIDEO = np.repeat(np.arange(0, 200, 40, dtype=np.uint8), 32 * 48 * 3).reshape(5, 32, 48, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_says_how_it_was_made_and_holds_the_frames(tmp_path, suffix):
    video = VIDEO[:1] if suffix == ".png" else VIDEO
    path = tmp_path / f"folder/video{suffix}"
    write_output(path, iter(video), 8.0, MADE)
    assert read_metadata(path) == MADE
    if suffix == ".npz":
        with np.load(path) as arrays:
            found, fps = arrays["frames"], arrays["fps"]
        assert fps == 8
    elif suffix == ".mp4":
        with av.open(str(path)) as container:
            found = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
            assert container.streams.video[0].average_rate == 8
    else:
        with Image.open(path) as image:
            found = []
            for i in range(len(video)):
                image.seek(i)
                found.append(np.asarray(image.convert("RGB")))
            assert suffix == ".png" or image.info["duration"] in (120, 125)  # GIF: tens of ms
    assert np.abs(np.stack(found).astype(int) - video).max() <= 6


def test_what_says_nothing_is_refused(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "plain.png")
    (tmp_path / "text.webp").write_text("no picture")
    np.savez(tmp_path / "plain.npz", frames=VIDEO)
    for name in ("plain.png", "text.webp", "plain.npz"):
        with pytest.raises(ValueError, match="does not say how it was made"):
            read_metadata(tmp_path / name)
    with pytest.raises(ValueError, match="no file at"):
        read_metadata(tmp_path / "nothing.mp4")


def test_an_image_holds_one_frame(tmp_path):
    with pytest.raises(ValueError, match="is an image, and the video has 5 frames"):
        write_output(tmp_path / "a.png", VIDEO, 8.0, MADE)
    with pytest.raises(ValueError, match="name a file that ends in"):
        write_output(tmp_path / "a.avi", VIDEO, 8.0, MADE)
    assert not list(tmp_path.iterdir())
