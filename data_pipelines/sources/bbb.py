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

from data_pipelines.sources import Origin, SourceClip, choose_split, film, read_table
from data_pipelines.sources.archives import missing_content, report_damage
from data_pipelines.worlds.base import name_view

NAME = "bbb"
FETCH = "pip download --no-deps --no-binary moviepy moviepy==2.2.1"
ORIGIN = Origin(
    "Big Buck Bunny, from the source distribution of moviepy 2.2.1",
    "CC-BY 3.0, (c) copyright 2008, Blender Foundation / www.bigbuckbunny.org",
)
CREDITS = 11_765  # the first frame of the credits
CAPTIONS = [
    (int(frame), short, detailed) for frame, short, detailed in read_table("bbb_captions.tsv")
]
MAX_CUT_OFFSET = 4  # frames between a cut and the first frame of its caption
_GENERIC = "a shot of the animated film big buck bunny"
_ZIP, _FILM = "/moviepy_10_minutes.zip", "/resources/bbb.mp4"


def read_clips(archive: pathlib.Path, height: int) -> Iterator[SourceClip]:
    """Cuts the film. Raises ValueError where the archive is missing, damaged or another one."""
    with extract_film(archive) as path:
        plan = film.plan_clips(path, CREDITS)
        starts = {}
        for clip, (video, fps) in zip(plan, film.cut_clips(path, height, plan), strict=True):
            start = starts.setdefault(clip.shot, clip.start)
            short, detailed = find_captions(start, (clip.start + clip.stop) // 2)
            yield SourceClip(
                video,
                fps,
                {"short": short, "detailed": f"{detailed}, {name_view(*video.shape[1:3])}"},
                choose_split(clip.shot),
                {"shot": str(clip.shot), "frame": str(clip.start)},
                ORIGIN,
                (clip.shot + 1, clip.shots),
                clip.dropped,
            )


def find_captions(start: int, middle: int) -> tuple[str, str]:
    """Returns the short and the detailed caption of a clip.

    Args:
      start: first frame of the shot.
      middle: middle frame of the clip.

    A long shot has several captions and begins with the first. A shot at whose start no caption
    begins gets a caption with the name of the film.
    """
    if all(abs(frame - start) > MAX_CUT_OFFSET for frame, _, _ in CAPTIONS):
        return _GENERIC, _GENERIC
    _, short, detailed = max(
        row for row in CAPTIONS if row[0] <= max(middle, start + MAX_CUT_OFFSET)
    )
    return short, detailed


@contextlib.contextmanager
def extract_film(archive: pathlib.Path) -> Iterator[pathlib.Path]:
    """Extracts the film from the archive into a file that exists while the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "bbb.mp4")
        with report_damage(archive, FETCH), tarfile.open(archive) as tar:
            inner = next((name for name in tar.getnames() if name.endswith(_ZIP)), None)
            data = tar.extractfile(inner) if inner else None
            if data is None:
                raise missing_content(archive, _ZIP[1:], FETCH)
            with zipfile.ZipFile(data) as inside:
                name = next((name for name in inside.namelist() if name.endswith(_FILM)), None)
                if name is None:
                    raise missing_content(archive, _FILM[1:], FETCH)
                with inside.open(name) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
        yield path
