"""Files of generated videos, which carry how they were made: mp4, gif, webp, png and npz.

`sora-jax info --file=FILE` prints what a file carries.
"""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

from sora_jax import media
from sora_jax.files import write_whole

SUFFIXES = (".mp4", ".gif", ".webp", ".png", ".npz")
_KEY = "sora_jax"
_IMAGE_DESCRIPTION = 0x010E  # the tag of Exif


def check_output(path: epath.PathLike, frames: int) -> None:
    """Checks that a file of this name can hold a video.

    Raises:
      ValueError: its ending is of no kind that is written, or of an image, and there are frames.
    """
    suffix = epath.Path(path).suffix
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path} ends in {suffix!r}: name a file that ends in {', '.join(SUFFIXES)}"
        )
    if suffix == ".png" and frames > 1:
        raise ValueError(f"{path} is an image, and the video has {frames} frames: name an .mp4")


def write_output(
    path: epath.PathLike,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    fps: float,
    metadata: Mapping[str, Any],
) -> None:
    """Writes a video in the format of its name's ending; few frames of an mp4 are in memory.

    Args:
      metadata: how it was made, which goes into the file as JSON.

    Raises:
      ValueError: see `check_output` and `media.write_stream`.
    """
    path, note = epath.Path(path), json.dumps(metadata)
    if path.suffix == ".mp4":
        media.write_stream(path, frames, fps, note)
        return
    video, file = np.stack(list(frames)), io.BytesIO()
    check_output(path, len(video))
    if path.suffix == ".npz":
        np.savez_compressed(file, frames=video, fps=fps, metadata=note)
    else:
        first, *rest = map(Image.fromarray, video)
        first.save(file, path.suffix[1:], **_image_options(path.suffix, rest, fps, note))
    write_whole(path, file.getvalue())


def _image_options(suffix: str, rest: list[Image.Image], fps: float, note: str) -> dict[str, Any]:
    """What Pillow is told."""
    if suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt(_KEY, note)
        return {"pnginfo": text, "optimize": True}
    options = {"save_all": True, "append_images": rest, "duration": round(1000 / fps), "loop": 0}
    if suffix == ".gif":
        return options | {"comment": note.encode()}
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = note
    return options | {"exif": exif, "quality": 90}


def read_metadata(path: epath.PathLike) -> dict[str, Any]:
    """How a file of `write_output` was made.

    Raises:
      ValueError: there is no such file, or it does not say.
    """
    path = epath.Path(path)
    if not path.exists() or path.is_dir():
        raise ValueError(f"no file at {path}; check the path")
    try:
        metadata = json.loads(_read_note(path))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        metadata = None
    if not isinstance(metadata, dict):
        raise ValueError(f"{path} does not say how it was made")
    return metadata


def _read_note(path: epath.Path) -> str:
    """The JSON that a file carries; "" or any other text where it carries none."""
    if path.suffix == ".mp4":
        return media.read_comment(path)
    data = io.BytesIO(path.read_bytes())
    if path.suffix == ".npz":
        with np.load(data) as arrays:
            return str(arrays["metadata"])
    with Image.open(data) as image:
        if path.suffix == ".webp":
            return image.getexif().get(_IMAGE_DESCRIPTION, "")
        note = image.info.get(_KEY if path.suffix == ".png" else "comment", "")
        return note.decode() if isinstance(note, bytes) else note
