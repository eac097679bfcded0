"""Big Buck Bunny, an animated film of ten minutes; its shots before the credits.

The film comes with the source distribution of moviepy. Its captions are written by hand, in
bbb_captions.tsv: the first frame of what they describe, a short and a detailed caption.
"""

import contextlib
import pathlib
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator

from data_pipelines.sources import Origin, SourceClip, film, split_of, table
from data_pipelines.sources.archives import lacks, reading
from data_pipelines.worlds.base import name_view

NAME = "bbb"
FETCH = "pip download --no-deps --no-binary moviepy moviepy==2.2.1"
ORIGIN = Origin(
    "Big Buck Bunny, from the source distribution of moviepy 2.2.1",
    "CC-BY 3.0, (c) copyright 2008, Blender Foundation / www.bigbuckbunny.org",
)
CREDITS = 11_765  # the first frame of the credits
CAPTIONS = [(int(frame), short, detailed) for frame, short, detailed in table("bbb_captions.tsv")]
TOLERANCE = 4  # frames that a cut may be away from a caption's first frame
_GENERIC = "a shot of the animated film big buck bunny"
_ZIP, _FILM = "/moviepy_10_minutes.zip", "/resources/bbb.mp4"


def clips(archive: pathlib.Path, height: int) -> Iterator[SourceClip]:
    """Cuts the film. Raises ValueError where the archive is missing, damaged or another one."""
    with _film(archive) as path:
        plan = film.plan(path, CREDITS)
        starts = {}
        for piece, (video, fps) in zip(plan, film.cut(path, height, plan), strict=True):
            start = starts.setdefault(piece.shot, piece.start)
            short, detailed = captions(start, (piece.start + piece.stop) // 2)
            yield SourceClip(
                video,
                fps,
                {"short": short, "detailed": f"{detailed}, {name_view(*video.shape[1:3])}"},
                split_of(piece.shot),
                {"shot": str(piece.shot), "frame": str(piece.start)},
                ORIGIN,
                (piece.shot + 1, piece.shots),
                piece.dropped,
            )


def captions(start: int, middle: int) -> tuple[str, str]:
    """The short and the detailed caption of a clip by its shot's first and its own middle frame.

    A long shot has several; it begins with the first. A shot that none begins with has the name
    of the film.
    """
    if all(abs(frame - start) > TOLERANCE for frame, _, _ in CAPTIONS):
        return _GENERIC, _GENERIC
    _, short, detailed = max(row for row in CAPTIONS if row[0] <= max(middle, start + TOLERANCE))
    return short, detailed


@contextlib.contextmanager
def _film(archive: pathlib.Path) -> Iterator[pathlib.Path]:
    """The film as a file, while the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "bbb.mp4")
        with reading(archive, FETCH), tarfile.open(archive) as tar:
            inner = next((name for name in tar.getnames() if name.endswith(_ZIP)), None)
            data = tar.extractfile(inner) if inner else None
            if data is None:
                raise lacks(archive, _ZIP[1:], FETCH)
            with zipfile.ZipFile(data) as inside:
                name = next((name for name in inside.namelist() if name.endswith(_FILM)), None)
                if name is None:
                    raise lacks(archive, _FILM[1:], FETCH)
                with inside.open(name) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
        yield path
