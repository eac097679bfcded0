"""Builds folders of simulated clips; `data_pipelines.clips` describes and reads their records.

Splits: `train`; `validation`, other seeds of the same combinations of attributes; `test`,
combinations that are in none of the others; `test_laws`, training's combinations with speeds, sizes
and counts outside of training's range. Each of the latter three has a tenth of train's size. Worlds
of `HOLD_OUT_LAWS` keep no combination out of training: their `test` is other seeds alone.

The work is cut into shards of clips, see `shard_jobs`. A shard is a function of its seeds: whoever
makes it, and however often a call was stopped, the bytes are the same.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from data_pipelines import records, shards
from data_pipelines.clip_index import ClipIndex
from data_pipelines.clip_meta import ClipMeta, encode_truth
from data_pipelines.shard_jobs import Share, cut_into_shards, run_jobs
from data_pipelines.worlds import base
from data_pipelines.worlds.catalog import HOLD_OUT_LAWS, WORLDS
from sora_jax import media
from sora_jax.files import write_whole

NAME = "worlds"
TEST_LAWS = "test_laws"
SPLITS = (*records.SPLITS, TEST_LAWS)
HELD_OUT_SHARE = 0.1  # validation, test and test_laws, each, of the train split
SHARD_CLIPS = 256
MAX_CLIPS = 1_000_000  # of one split of one folder, whose seeds follow each other


def build(
    output: epath.PathLike,
    clips: Mapping[str, int],
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    share: Share = Share(),
    processes: int = 1,
    shard_clips: int = SHARD_CLIPS,
) -> dict[str, Any]:
    """Makes a folder of clips, or this worker's share of it; finished shards are kept.

    Args:
      output: folder to write.
      clips: number of train clips by world; each other split gets a tenth of it.
      seed: another seed gives other clips.
      progress: called with (clips done, clips of this share).
      share: number of this worker, and of all.
      processes: processes that simulate, see `shard_jobs.run_jobs`.
      shard_clips: number of clips in a shard, the same for all workers.

    Returns:
      The report: the arguments; whether the folder is finished, which it is unless other workers
      have shards left to make; and then the numbers of clips, frames and bytes of video by split.

    Raises:
      ValueError: an unknown world, no clips or too many, a seed below 0, a folder that was made
        with other arguments or holds other files.
      OSError: a process was killed.
    """
    output = epath.Path(output)
    clips = {name: clips[name] for name in sorted(clips) if clips[name]}
    _check(clips, seed, shard_clips)
    arguments = {"clips": clips, "seed": seed, "shard_clips": shard_clips}
    if (report := records.read_report(output, arguments, resumes=True)) is not None:
        return report
    report = records.begin(output, arguments)
    jobs = list(_plan(output, clips, seed, shard_clips))
    if run_jobs(jobs, share, progress, processes):
        return report
    lengths: dict[str, list[int]] = {}
    for job in jobs:
        made = json.loads(job.counts_path.read_text())
        lengths.setdefault(job.split, []).append(made["clips"])
        total = report["splits"].setdefault(job.split, dict.fromkeys(made, 0))
        report["splits"][job.split] = {key: total[key] + made[key] for key in made}
    shards.finish(output, NAME, lengths)
    records.finish(output, report)
    return report


def read_counts(items: Sequence[str]) -> dict[str, int]:
    """Reads numbers of clips by world from texts.

    Args:
      items: one number, which is spread evenly over all worlds, or some of NAME:COUNT.

    Raises:
      ValueError: the texts are neither, or name a world twice.
    """
    if len(items) == 1 and items[0].strip().isdecimal():
        each, rest = divmod(int(items[0]), len(WORLDS))
        return {name: each + (i < rest) for i, name in enumerate(WORLDS)}
    counts: dict[str, int] = {}
    for item in items:
        name, _, count = item.strip().partition(":")
        if not (name and count.isdecimal()):
            raise ValueError(
                f"{item!r} is no number of clips: write one number for all worlds, or NAME:COUNT "
                "for each of some, as in ballistics:1200,painter:220"
            )
        if name in counts:
            raise ValueError(f"{name} is named twice: name each world once")
        counts[name] = int(count)
    return counts


def remake_clip(
    meta: ClipMeta, broken: str = "", size: tuple[int, int, int] | None = None
) -> base.Clip:
    """Simulates the clip of a record again, also from the metadata of its latent.

    Args:
      meta: metadata of a record that `build` wrote.
      broken: law of `list_broken` that the video shall break, or "".
      size: frames, height and width; None for those of the record.

    Raises:
      ValueError: the record is not of a world, its world has no such law, or it was simulated by
        another version of the world.
    """
    if broken and broken not in list_broken(meta.source):
        known = ", ".join(list_broken(meta.source))
        raise ValueError(f"{meta.source} breaks no law named {broken}; choose from {known}")
    frames, height, width = size or meta.size
    canvas = {"frames": frames, "height": height, "width": width}
    request = _request(meta.source, meta.split, meta.seed)
    clip = _make_clip(meta.source, dataclasses.replace(request, **canvas, broken=broken))
    if tuple(size or meta.size) != tuple(meta.size):
        return clip
    truth = encode_truth(clip.truth) if meta.truth is not None else None
    known = (meta.captions, meta.attributes, meta.truth)
    if (clip.captions, clip.attributes, json.loads(json.dumps(truth))) != known:
        raise ValueError(
            f"clip {meta.seed} of {meta.source} was simulated by another version of the world: "
            "make the folder again"
        )
    return clip


def list_broken(world: str) -> tuple[str, ...]:
    """Lists the laws of a world that a request can break.

    Raises:
      ValueError: there is no such world.
    """
    return tuple(_find_world(world).BROKEN)


def _find_world(name: str) -> Any:
    if name not in WORLDS:
        raise ValueError(f"no world named {name}; choose from {', '.join(WORLDS)}")
    return WORLDS[name]


def _check(clips: Mapping[str, int], seed: int, shard_clips: int) -> None:
    for name, count in clips.items():
        _find_world(name)
        if not 0 < count <= MAX_CLIPS:
            raise ValueError(f"{count} clips of {name}: ask for 1 to {MAX_CLIPS}")
    if not clips:
        raise ValueError("no clips were asked for: ask for one at least")
    if seed < 0:
        raise ValueError(f"seed {seed} is below 0")
    if shard_clips < 1:
        raise ValueError(f"{shard_clips} clips in a shard: ask for one at least")


def _plan(
    output: epath.Path, clips: Mapping[str, int], seed: int, shard_clips: int
) -> Iterator["_Job"]:
    """Yields all jobs; each shard has the worlds in the proportion of the whole split."""
    for number, split in enumerate(SPLITS):
        counts = {
            name: count if split == "train" else max(1, round(count * HELD_OUT_SHARE))
            for name, count in clips.items()
        }
        first = (seed * len(SPLITS) + number) * MAX_CLIPS
        ordered = sorted(
            ((i + 0.5) / count, name, first + i)
            for name, count in counts.items()
            for i in range(count)
        )
        parts = cut_into_shards(len(ordered), shard_clips)
        for shard, part in enumerate(parts):
            chosen = tuple(ordered[i][1:] for i in part)
            yield _Job(output, split, shard, len(parts), chosen)


@dataclasses.dataclass(frozen=True)
class _Job:
    """Shard number `shard` of the `shards` of a split; `clips` are (world, seed)."""

    output: epath.Path
    split: str
    shard: int
    shards: int
    clips: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        return len(self.clips)

    @property
    def counts_path(self) -> epath.Path:
        """The numbers of clips, frames and bytes of video of the shard."""
        return self.output / "counts" / f"{self.split}-{self.shard:05d}-of-{self.shards:05d}.json"

    def is_done(self) -> bool:
        """The counts are written last."""
        return self.counts_path.exists()

    def run(self, progress: Callable[[int], None]) -> None:
        counts = {"clips": 0, "frames": 0, "video_bytes": 0}
        metas: list[ClipMeta] = []

        def rows() -> Iterator[dict[str, str | bytes]]:
            for world, seed in self.clips:
                video, meta = _simulate(world, self.split, seed)
                counts["clips"] += 1
                counts["frames"] += meta.size[0]
                counts["video_bytes"] += len(video)
                metas.append(dataclasses.replace(meta, truth=None))
                yield {"video": video, "meta": json.dumps(meta.write())}
                progress(counts["clips"])

        shard = self.split, self.shard, self.shards
        shards.write(shards.path_of(self.output, NAME, *shard), rows())
        ClipIndex.of(metas).save(self.output, shard, metas)
        write_whole(self.counts_path, json.dumps(counts))


def _request(name: str, split: str, seed: int) -> base.ClipRequest:
    if name in HOLD_OUT_LAWS:
        return base.ClipRequest(seed, held_out=split == TEST_LAWS)
    return base.ClipRequest(seed, held_out=split == "test", outside=split == TEST_LAWS)


def _make_clip(name: str, request: base.ClipRequest) -> base.Clip:
    try:
        return _find_world(name).make_clip(request)
    except ImportError as error:
        raise ValueError(f"{name} needs {error.name}: pip install 'sora-jax[worlds]'") from error


def _simulate(name: str, split: str, seed: int) -> tuple[bytes, ClipMeta]:
    """Simulates one clip; returns its mp4 bytes and its metadata."""
    clip = _make_clip(name, _request(name, split, seed))
    video = media.encode_video(clip.video, clip.fps)
    return video, ClipMeta(
        captions=clip.captions,
        fps=clip.fps,
        size=clip.video.shape[:3],
        source=name,
        split=split,
        seed=seed,
        attributes=clip.attributes,
        origin=f"simulated by data_pipelines.worlds.{name}",
        licence=WORLDS[name].LICENCE,
        sha256=records.sha256(video),
        truth=encode_truth(clip.truth),
    )
