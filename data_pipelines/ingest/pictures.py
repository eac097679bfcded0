"""Opens pictures, and those that move (GIF, WebP, PNG), with Pillow."""

import itertools
import pathlib
import warnings
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from data_pipelines.ingest.config import Clips, Limits
from data_pipelines.ingest.frames import (
    SAMPLES,
    Rejected,
    Stream,
    check,
    fitted,
    picture_area,
    thinned,
)

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


def opened(path: pathlib.Path, limits: Limits, clips: Clips) -> Stream | None:
    """The stream of a picture, None for what is none; it is open as long as the process lives.

    Raises:
      Rejected: it breaks a limit.
    """
    Image.MAX_IMAGE_PIXELS = limits.pixels
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            picture = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        return None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Rejected("too many pixels", str(error)) from error
    count = getattr(picture, "n_frames", 1) if picture.format in ("GIF", "WEBP", "PNG") else 1
    first = _upright(picture)
    seconds = _pace(picture, count)
    shape = first.shape[0], first.shape[1]
    check(*shape, count * seconds if count > 1 else 0, limits)
    brightest = np.zeros(shape, np.uint8)
    if clips.bars >= 0:
        for frame in itertools.islice(_frames(picture, count), SAMPLES):
            np.maximum(brightest, cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), brightest)
    crop = top, left, height, width = picture_area(brightest, clips.bars)
    size = fitted(height, width, clips.pixels)
    fps, kept = thinned(1 / seconds, clips.fps) if count > 1 else (1.0, itertools.repeat(True))
    shrunk = (
        cv2.resize(
            frame[top : top + height, left : left + width],
            size[::-1],
            interpolation=cv2.INTER_AREA,
        )
        for frame, keep in zip(_frames(picture, count), kept, strict=False)
        if keep
    )
    return Stream(shape, crop, fps, shrunk)


def _pace(picture: Image.Image, count: int) -> float:
    """Mean seconds that a frame is shown; the first is often held for longer."""
    shown = []
    for frame in itertools.islice(ImageSequence.Iterator(picture), count if count > 1 else 0):
        frame.load()  # WebP says it then
        shown.append(frame.info.get("duration") or 100)
    return sum(shown) / len(shown) / 1000 if shown else 0.1


def _frames(picture: Image.Image, count: int) -> Iterator[np.ndarray]:
    """All frames, uint8[h, w, 3]; one where a file has several pictures and does not move."""
    for frame in itertools.islice(ImageSequence.Iterator(picture), count):
        yield _upright(frame)


def _upright(frame: Image.Image) -> np.ndarray:
    """RGB pixels of a picture, the right side up, on white where it is transparent."""
    if frame.mode in ("I", "F"):
        raise Rejected("does not decode", f"pixels of mode {frame.mode}, whose range is not known")
    frame = ImageOps.exif_transpose(frame)
    if frame.mode.startswith("I;16"):  # Pillow would make white of all that is not nearly black
        gray = (np.asarray(frame) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, 2)
    if frame.has_transparency_data:
        frame = frame.convert("RGBA")
        frame = Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame)
    return np.asarray(frame.convert("RGB"))
