"""Photographs that come with libraries of computer vision, as images.

The archives are wheels of scikit-image and scikit-learn, and opencv-doc, a Debian package. In
photos.tsv are the pictures whose licence is told there: the end of the path, the origin, the
licence, a short and a detailed caption, written by hand.
"""

import io
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from data_pipelines.sources import Origin, SourceClip, choose_split, read_table
from data_pipelines.sources.archives import missing_content, read_files
from data_pipelines.worlds.base import name_view

NAME = "photos"
FETCH = (
    "pip download --no-deps --only-binary :all: scikit-image==0.25.2 scikit-learn==1.7.2; "
    "apt-get download opencv-doc"
)


def read_clips(archive: pathlib.Path, height: int) -> Iterator[SourceClip]:
    """Yields each picture. Raises ValueError where the archive is missing, damaged or another."""
    pictures = {
        path: (choose_split(i), *row) for i, (path, *row) in enumerate(read_table("photos.tsv"))
    }
    contents = {}
    for name, data in read_files(archive, FETCH, lambda name: name.endswith(tuple(pictures))):
        contents[next(path for path in pictures if name.endswith(path))] = data
    if not contents:
        raise missing_content(archive, "photograph that is known", FETCH)
    for number, (path, data) in enumerate(contents.items(), 1):
        split, source, licence, short, detailed = pictures[path]
        image = _decode(data, height)
        yield SourceClip(
            image[None],
            24.0,
            {"short": short, "detailed": f"{detailed}, {name_view(*image.shape[:2])}"},
            split,
            {"picture": pathlib.PurePath(path).name},
            Origin(source, licence),
            (number, len(contents)),
            0,
        )


def _decode(data: bytes, height: int) -> np.ndarray:
    """Decodes a picture to uint8[h, w, 3], its shorter side at most `height` by area means."""
    with Image.open(io.BytesIO(data)) as image:
        scale = min(1, height / min(image.size))
        size = round(image.width * scale), round(image.height * scale)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
