"""Pictures: colour profiles, transparency, times, and what is refused."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from experiments import made_films
from sora_jax import media
from sora_jax.media import pictures


def read(path):
    return media.read_video(path)[0]


def test_profiles_become_srgb(tmp_path):
    frame = made_films.scene(1)[0]
    image = Image.fromarray(frame)
    swapped = ImageCms.createProfile("XYZ")  # no RGB profile: it is ignored
    image.save(tmp_path / "a.png", icc_profile=ImageCms.ImageCmsProfile(swapped).tobytes())
    assert np.array_equal(read(tmp_path / "a.png")[0], frame)
    image.save(tmp_path / "b.png", icc_profile=b"no profile")
    assert np.array_equal(read(tmp_path / "b.png")[0], frame)
    lab = Image.fromarray(frame).convert("RGB")
    profile = ImageCms.ImageCmsProfile(io.BytesIO(wide_profile())).tobytes()
    lab.save(tmp_path / "c.png", icc_profile=profile)
    found = read(tmp_path / "c.png")[0].astype(int)
    gray = np.full((32, 32, 3), 120, np.uint8)
    Image.fromarray(gray).save(tmp_path / "d.png", icc_profile=profile)
    assert np.abs(read(tmp_path / "d.png")[0].astype(int) - gray).max() <= 1
    spread = lambda v: float((v.max(-1) - v.min(-1)).mean())  # noqa: E731
    assert spread(found) > 1.05 * spread(frame.astype(int))  # wide primaries are more saturated


def wide_profile() -> bytes:
    """A matrix profile of Display P3's primaries with sRGB's curve: that of sRGB, rewritten."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    columns = {  # XYZ of the primaries, adapted to D50
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    count = int.from_bytes(data[128:132], "big")
    for i in range(count):
        entry = 132 + 12 * i
        name, place = bytes(data[entry : entry + 4]), data[entry + 4 : entry + 8]
        if name in columns:
            offset = int.from_bytes(place, "big")
            values = struct.pack(">3i", *(round(value * 65536) for value in columns[name]))
            data[offset + 8 : offset + 20] = values
    return bytes(data)


@pytest.mark.parametrize("suffix", ["png", "webp", "gif", "tiff"])
def test_what_is_transparent_is_white(tmp_path, suffix):
    clear = np.zeros((32, 48, 4), np.uint8)
    clear[8:24, 8:24] = (200, 30, 30, 255)
    Image.fromarray(clear).save(tmp_path / f"a.{suffix}", lossless=True)
    found = read(tmp_path / f"a.{suffix}")[0]
    assert (found[0, 0] == 255).all()
    assert np.abs(found[16, 16].astype(int) - (200, 30, 30)).max() <= 4


def test_frames_are_shown_as_long_as_they_say(tmp_path):
    frames = [Image.fromarray(frame) for frame in made_films.scene(6)]
    for name in ("a.gif", "a.webp", "a.png"):
        shown = {"append_images": frames[1:], "duration": [100, 100, 100, 300, 100, 100]}
        frames[0].save(tmp_path / name, save_all=True, **shown)
        with media.open_media(tmp_path / name) as picture:
            assert np.allclose([f.seconds for f in picture.read()], [0, 0.1, 0.2, 0.3, 0.6, 0.7])
            assert picture.measure_rate() == 10
        assert len(read(tmp_path / name)) == 8
    frames[0].save(tmp_path / "still.avif")
    assert read(tmp_path / "still.avif").shape == (1, 96, 160, 3)


def test_a_damaged_end_leaves_what_is_before_it(tmp_path):
    frames = [Image.fromarray(frame) for frame in made_films.scene(20)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with media.open_media(path) as picture:
        read_ = list(picture.read())
    assert 0 < len(read_) < 20 and picture.account.seen == len(read_)
    assert picture.account.faults == {"ends early": 1}


def test_photographs_in_heif_are_read_or_refused_by_name(tmp_path):
    head = (24).to_bytes(4, "big") + b"ftypheic" + bytes(4) + b"mif1heic"
    (tmp_path / "a.heic").write_bytes(head + bytes(100))
    with pytest.raises(ValueError, match="a.heic cannot be read: (needs pillow-heif|does not)"):
        media.read_video(tmp_path / "a.heic")


def test_heif_is_told_by_its_brands():
    def formats(major, *others):
        size = 16 + 4 * len(others)
        data = size.to_bytes(4, "big") + b"ftyp" + major + bytes(4) + b"".join(others)
        try:
            return pictures._choose_formats(io.BytesIO(data + bytes(64)))
        except media.Rejected as error:
            return (error.reason,)

    assert formats(b"heic", b"mif1")[0] in ("HEIF", "needs pillow-heif")
    assert formats(b"mif1", b"heic")[0] in ("HEIF", "needs pillow-heif")
    assert formats(b"mif1", b"avif") == formats(b"avif") == formats(b"isom") == pictures.FORMATS
