"""Opens pictures, still and animated (GIF, WebP, PNG), with Pillow."""

import itertools
import pathlib
import warnings
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from data_pipelines.ingest import frames
from data_pipelines.ingest.config import Clips, Limits

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


def open_picture(path: pathlib.Path, limits: Limits, clips: Clips) -> frames.Stream | None:
    """Opens a picture as a stream, which stays open until the process ends.

    Returns:
      The stream, or None where the file is no picture.

    Raises:
      Rejected: the picture exceeds a limit.
    """
    Image.MAX_IMAGE_PIXELS = limits.pixels
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            picture = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        return None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise frames.Rejected("too many pixels", str(error)) from error
    count = getattr(picture, "n_frames", 1) if picture.format in ("GIF", "WEBP", "PNG") else 1
    first = _turn_upright(picture)
    seconds = _measure_pace(picture, count)
    shape = first.shape[0], first.shape[1]
    frames.check_limits(*shape, count * seconds if count > 1 else 0, limits)
    brightest = np.zeros(shape, np.uint8)
    if clips.max_bar_luma >= 0:
        for frame in itertools.islice(_read_frames(picture, count), frames.SAMPLES):
            np.maximum(brightest, cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), brightest)
    crop = top, left, height, width = frames.find_picture_area(brightest, clips.max_bar_luma)
    size = frames.fit_size(height, width, clips.max_pixels)
    fps, is_kept = (
        frames.thin_frames(1 / seconds, clips.max_fps)
        if count > 1
        else (1.0, itertools.repeat(True))
    )
    shrunk = (
        cv2.resize(
            frame[top : top + height, left : left + width],
            size[::-1],
            interpolation=cv2.INTER_AREA,
        )
        for frame, keep in zip(_read_frames(picture, count), is_kept, strict=False)
        if keep
    )
    return frames.Stream(shape, crop, fps, shrunk)


def _measure_pace(picture: Image.Image, count: int) -> float:
    """Computes the mean seconds that a frame is shown; the first is often shown longer."""
    shown = []
    for frame in itertools.islice(ImageSequence.Iterator(picture), count if count > 1 else 0):
        frame.load()  # WebP says it then
        shown.append(frame.info.get("duration") or 100)
    return sum(shown) / len(shown) / 1000 if shown else 0.1


def _read_frames(picture: Image.Image, count: int) -> Iterator[np.ndarray]:
    """Yields the first `count` frames, uint8[h, w, 3]."""
    for frame in itertools.islice(ImageSequence.Iterator(picture), count):
        yield _turn_upright(frame)


def _turn_upright(frame: Image.Image) -> np.ndarray:
    """Returns uint8[h, w, 3], upright, on white where the picture is transparent."""
    if frame.mode in ("I", "F"):
        raise frames.Rejected(
            "does not decode", f"pixels of mode {frame.mode}, whose range is not known"
        )
    frame = ImageOps.exif_transpose(frame)
    if frame.mode.startswith("I;16"):  # Pillow would make white of all that is not nearly black
        gray = (np.asarray(frame) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, 2)
    if frame.has_transparency_data:
        frame = frame.convert("RGBA")
        frame = Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame)
    return np.asarray(frame.convert("RGB"))
