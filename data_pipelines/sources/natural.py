"""A few clips of films from Debian packages: for tests of reconstruction, nothing to train on.

The archives are the source of libopenshot (its .orig.tar file; fetching it takes a deb-src line
among apt's sources) and opencv-doc (a package).
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator

from data_pipelines.sources import MAX_FRAMES, Origin, SourceClip, film
from data_pipelines.sources.archives import missing_content, read_files
from data_pipelines.worlds.base import name_view

NAME = "natural"
FETCH = "apt-get source --download-only libopenshot; apt-get download opencv-doc"
MAX_CLIPS = 6  # of each film
_OPENSHOT = "from Debian's source package libopenshot"
_OPENCV = Origin("OpenCV's samples, from Debian's opencv-doc", "Apache-2.0 and BSD-3-Clause")


@dataclasses.dataclass(frozen=True)
class Film:
    """A film: the end of its path in the archive, caption, origin, and first frame left out."""

    path: str
    caption: str
    origin: Origin
    end: int | None = None


FILMS = (
    Film(
        "/examples/sintel_trailer-720p.mp4",
        "a shot of the animated film sintel",
        Origin(
            f"Trailer of Sintel, {_OPENSHOT}",
            "CC-BY 3.0, (c) copyright Blender Foundation / durian.blender.org",
        ),
        end=960,  # titles follow
    ),
    Film(
        "/examples/test_video.mp4",
        "cars drive on a road with two lanes",
        Origin(f"Example of OpenShot, {_OPENSHOT}", "LGPL-3+"),
    ),
    Film("/data/vtest.avi", "people walk on paths between lawns, seen from above", _OPENCV),
    Film("/data/tree.avi", "a tree against a bright sky", _OPENCV),
)


def read_clips(archive: pathlib.Path, height: int) -> Iterator[SourceClip]:
    """Cuts the films. Raises ValueError where the archive is missing, damaged or another one."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        known = {one.path: one for one in FILMS}
        for name, data in read_files(archive, FETCH, lambda name: name.endswith(tuple(known))):
            one = next(one for path, one in known.items() if name.endswith(path))
            paths[one] = pathlib.Path(folder, pathlib.Path(one.path).name)
            paths[one].write_bytes(data)
        if not paths:
            raise missing_content(archive, "film that is known", FETCH)
        for number, (one, path) in enumerate(paths.items(), 1):
            for clip, (video, fps) in _cut_spread(path, one.end, height):
                yield SourceClip(
                    video,
                    fps,
                    {
                        "short": one.caption,
                        "detailed": f"{one.caption}, {name_view(*video.shape[1:3])}",
                    },
                    "test",
                    {"film": path.name, "frame": str(clip.start)},
                    one.origin,
                    (number, len(paths)),
                    clip.dropped,
                )


def _cut_spread(path: pathlib.Path, end: int | None, height: int):
    """Cuts up to `MAX_CLIPS` clips of full length, evenly spread over the film."""
    plan = [clip for clip in film.plan_clips(path, end) if clip.stop - clip.start == MAX_FRAMES]
    count = min(MAX_CLIPS, len(plan))
    plan = [plan[(2 * i + 1) * len(plan) // (2 * count)] for i in range(count)]
    return zip(plan, film.cut_clips(path, height, plan), strict=True)
