"""Builds folders of simulated clips; `data_pipelines.clips` describes and reads their records.

Splits: `train`; `validation`, new seeds of the same combinations of attributes; `test`,
combinations that are in neither of the others. Each of the latter two has a tenth of train's size.

Worlds that need OpenGL are copied from `shard/`, a folder of the same kind that comes with the
project, unless they are asked to be rendered.
"""

import concurrent.futures
import functools
import itertools
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from etils import epath

from data_pipelines import records
from data_pipelines.clips import ClipMeta, encode_truth
from data_pipelines.records import SPLITS
from data_pipelines.worlds import ballistics, base, builder, gl, occlusion, orbit, painter
from sora_jax import media

WORLDS = {world.NAME: world for world in (ballistics, occlusion, orbit, painter, builder)}
SHARD = epath.Path(__file__).parent / "shard"
SHARD_CLIPS = {"train": 220, "validation": 30, "test": 30}  # of each world in the shard
HELD_OUT_SHARE = 0.1  # validation and test, each, of the train split
_MAX_CLIPS = 1_000_000  # of one split of one dataset, whose seeds follow each other


def build(
    output: epath.PathLike,
    clips: Mapping[str, int],
    seed: int = 0,
    render_gl: bool = False,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> dict[str, Any]:
    """Makes a folder of clips, or returns at once if it is already finished.

    Args:
      output: folder to write; an unfinished one of an earlier call is made anew.
      clips: number of train clips by world; validation and test get a tenth of it each.
      seed: another seed gives other clips.
      render_gl: render the worlds that need OpenGL instead of copying them from the shard.
      progress: called with (clips done, clips in all).
      workers: processes that simulate, beside this one; 0 simulates here. They are spawned, so a
        script that calls this needs an `if __name__ == "__main__"` guard.

    Returns:
      The report: the arguments, and the numbers of clips, frames and bytes of video by split.

    Raises:
      ValueError: an unknown world, more clips than the shard has, a folder that was made with
        other arguments or holds other files, or `render_gl` without OpenGL.
    """
    counts = {
        split: {
            w: n if split == "train" else _count_held_out(n) for w, n in sorted(clips.items()) if n
        }
        for split in SPLITS
    }
    return _build(epath.Path(output), counts, seed, render_gl, progress, workers)


def render_shard(
    output: epath.PathLike = SHARD,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> dict[str, Any]:
    """Renders the shard that comes with the project; needs OpenGL. Raises as `build`."""
    names = sorted(name for name, world in WORLDS.items() if world.NEEDS_GL)
    counts = {split: dict.fromkeys(names, SHARD_CLIPS[split]) for split in SPLITS}
    return _build(epath.Path(output), counts, 0, True, progress, workers)


def _build(output, counts, seed, render_gl, progress, workers) -> dict[str, Any]:
    arguments = {"clips": counts, "seed": seed, "render_gl": render_gl}
    if (report := records.read_report(output, arguments)) is not None:
        return report
    jobs, copies = _plan(counts, seed, render_gl)
    report = records.begin(output, "worlds", arguments)
    total = sum(len(jobs[split]) + len(copies[split]) for split in SPLITS)
    done = itertools.count(1)

    def rows(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        tally = report["splits"][split] = {"clips": 0, "frames": 0, "video_bytes": 0}
        for key, data, meta in itertools.chain(copies[split], run(_simulate, jobs[split])):
            tally["clips"] += 1
            tally["frames"] += json.loads(meta)["size"][0]
            tally["video_bytes"] += len(data)
            if progress is not None:
                progress(next(done), total)
            yield key, {"video": data, "meta": meta}

    if workers == 0:
        run = map
        records.write(output, "worlds", rows)
    else:
        spawn = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=spawn)
        run = functools.partial(pool.map, chunksize=8)
        try:
            records.write(output, "worlds", rows)
        finally:
            pool.shutdown(cancel_futures=True)
    records.finish(output, report)
    return report


def _count_held_out(count: int) -> int:
    return max(1, round(count * HELD_OUT_SHARE))


def _plan(counts, seed, render_gl):
    """Splits the work: (world, split, seed) to simulate, and finished rows to copy."""
    unknown = sorted({name for split in counts.values() for name in split} - set(WORLDS))
    if unknown:
        raise ValueError(f"no world named {', '.join(unknown)}; choose from {', '.join(WORLDS)}")
    if render_gl and any(WORLDS[name].NEEDS_GL for name in counts["train"]):
        gl.require_gl()
    jobs: dict[str, list] = {}
    copies: dict[str, list] = {}
    for number, split in enumerate(SPLITS):
        jobs[split], copies[split] = [], []
        for name, count in counts[split].items():
            if WORLDS[name].NEEDS_GL and not render_gl:
                copies[split] += _copy_from_shard(name, split, count)
            else:
                first = (seed * len(SPLITS) + number) * _MAX_CLIPS
                jobs[split] += [(name, split, first + i) for i in range(count)]
    return jobs, copies


def _copy_from_shard(name: str, split: str, count: int) -> list[tuple[str, bytes, str]]:
    rows = _read_shard(split).get(name, [])
    if count > len(rows):
        raise ValueError(
            f"the project comes with {len(rows)} {split} clips of {name}, {count} were asked for; "
            "ask for fewer, or render them (render_gl=True)"
        )
    return rows[:count]


@functools.cache
def _read_shard(split: str) -> dict[str, list[tuple[str, bytes, str]]]:
    """Reads the rows of a split of the shard by world, in the order of their seeds."""
    rows: dict[str, list] = {}
    for data, meta in records.RawSplit(SHARD, split, "restore it from the repository"):
        row = (meta["seed"], _make_key(meta["world"], split, meta["seed"]), data, json.dumps(meta))
        rows.setdefault(meta["world"], []).append(row)
    return {name: [row[1:] for row in sorted(unsorted)] for name, unsorted in rows.items()}


def _make_key(world: str, split: str, seed: int) -> str:
    return f"{world}-{split}-{seed:012d}"


def _simulate(job: tuple[str, str, int]) -> tuple[str, bytes, str]:
    """Simulates one clip in a worker process; returns its key, mp4 bytes and metadata as JSON."""
    name, split, seed = job
    world = WORLDS[name]
    clip: base.Clip = world.make_clip(base.ClipRequest(seed, held_out=split == "test"))
    data = media.encode_video(clip.video, clip.fps)
    meta = ClipMeta(
        captions=clip.captions,
        fps=clip.fps,
        size=clip.video.shape[:3],
        source=name,
        split=split,
        seed=seed,
        attributes=clip.attributes,
        origin=f"simulated by data_pipelines.worlds.{name}",
        licence=world.LICENCE,
        sha256=records.sha256(data),
        truth=encode_truth(clip.truth),
    )
    return _make_key(name, split, seed), data, json.dumps(meta.write())
