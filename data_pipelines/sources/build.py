"""Builds folders of clips from archives; `data_pipelines.clips` describes and reads their records.

The `source` of a clip is the name of its source here, its `seed` counts the clips of its split.
"""

import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath

from data_pipelines import records
from data_pipelines.clip_index import ClipIndex
from data_pipelines.clip_meta import ClipMeta
from data_pipelines.clips import open_split
from data_pipelines.sources import bbb, emoji, natural, photos, stamps
from data_pipelines.sources.archives import require
from sora_jax import media

SOURCES = {source.NAME: source for source in (bbb, emoji, natural, photos, stamps)}
CRF = 10  # of the stored videos: hardly visible in films, far fewer bytes than lossless
_MAX_CLIPS = 1_000_000  # of one split, whose seeds follow each other


def build(
    output: epath.PathLike,
    sources: Sequence[tuple[str, str]],
    height: int = 144,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Makes a folder of clips, or returns at once if it is already finished.

    Args:
      output: folder to write; an unfinished one of an earlier call is made anew.
      sources: (name, path of the archive); a name may come with several archives.
      height: maximum of the shorter side of films and photographs, in pixels.
      progress: called with (name, parts of its archive done, parts in all).

    Returns:
      The report: the arguments, and for each split and source the numbers of clips, frames, bytes
      of video and dropped frames.

    Raises:
      ValueError: for an unknown source, a missing or damaged archive, a height that is too small,
        a folder that was made with other arguments or holds other files.
    """
    output = epath.Path(output)
    unknown = sorted({name for name, _ in sources} - set(SOURCES))
    if unknown:
        raise ValueError(f"no source named {', '.join(unknown)}; choose from {', '.join(SOURCES)}")
    if height * 8 // 9 < media.MIN_SIDE_PIXELS:
        raise ValueError(f"height {height} is too small; use 18 or more")
    for name, path in sources:
        require(pathlib.Path(path), SOURCES[name].FETCH)
    archives = sorted(
        (name, records.file_sha256(path), pathlib.Path(path)) for name, path in sources
    )
    named = [[name, path.name, digest] for name, digest, path in archives]
    if len({(name, digest) for name, digest, _ in archives}) < len(archives):
        raise ValueError("an archive is named twice; name each once")
    arguments = {"sources": named, "height": height}
    if (report := records.read_report(output, arguments)) is not None:
        return report
    report = records.begin(output, arguments)
    report["splits"] = {split: {} for split in records.SPLITS}
    with tempfile.TemporaryDirectory() as folder:
        staging = pathlib.Path(folder)
        for name, _, path in archives:
            _stage(name, path, height, staging, report["splits"], progress)

        def rows(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
            for meta in sorted(staging.glob(f"*-{split}-*.json")):
                video = meta.with_suffix(".mp4")
                yield meta.stem, {"video": video.read_bytes(), "meta": meta.read_text()}

        filled = [split for split in records.SPLITS if report["splits"][split]]
        records.write(output, "sources", rows, filled)
        for split in filled:
            metas = open_split(output, split).metas()  # in the order that TFDS gave them
            ClipIndex.of(metas).save(output, (split, 0, 1), metas)
    records.finish(output, report)
    return report


def _stage(name, path, height, staging, splits, progress) -> None:
    """Encodes the clips of one archive into files; they wait there for their split's turn."""
    part = None
    for clip in SOURCES[name].read_clips(path, height):
        none = {"clips": 0, "frames": 0, "video_bytes": 0, "dropped_frames": 0}
        tally = splits[clip.split].setdefault(name, none)
        key = f"{name}-{clip.split}-{tally['clips']:012d}"
        data = media.encode_video(clip.video, clip.fps, CRF)
        meta = ClipMeta(
            captions=clip.captions,
            fps=clip.fps,
            size=clip.video.shape[:3],
            source=name,
            split=clip.split,
            seed=records.SPLITS.index(clip.split) * _MAX_CLIPS + tally["clips"],
            attributes=clip.attributes,
            origin=clip.origin.text,
            licence=clip.origin.licence,
            sha256=records.sha256(data),
            truth={},
        )
        (staging / f"{key}.mp4").write_bytes(data)
        (staging / f"{key}.json").write_text(json.dumps(meta.write()))
        tally["clips"] += 1
        tally["frames"] += len(clip.video)
        tally["video_bytes"] += len(data)
        tally["dropped_frames"] += clip.dropped
        if progress is not None and clip.part != part:
            progress(name, *clip.part)
        part = clip.part
