"""Damaged, disguised and lying media through the ingest, by the thousand.

Command:  python -m experiments.benchmarks.bad_media [COUNT [SEED [ARCHIVE]]]
          pip download --no-deps --no-binary moviepy moviepy==2.2.1    ARCHIVE, with the film
Bars:     every valid file arrives; files seen = kept + rejected by reason, clips cut = kept +
          rejected by reason; no crash of the pipeline; no file takes more memory or time than the
          limits; with the sha256 of the original beside it, no altered file arrives.

COUNT (10,000) files are made from excerpts of a film (of noise without ARCHIVE) in several
containers and codecs, and from pictures: a tenth are valid, the others have bits flipped, are cut
off, spliced, overwritten with zeros, under another name, inside an archive, or say something else
in their headers. Those that decode all the same cannot be told from valid ones: they are counted,
and a second run, with the originals' hashes as sidecars, must reject them.
"""

import collections
import dataclasses
import io
import json
import pathlib
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from PIL import Image

from data_pipelines import records
from data_pipelines.ingest import config, manifest, pipeline
from data_pipelines.sources import bbb, film
from experiments.benchmarks import finish, table

LIMITS = config.Limits(pixels=1 << 22, seconds=60.0, memory_megabytes=400, wall_seconds=20.0)
CONFIG = config.IngestConfig(
    limits=LIMITS,
    clips=config.Clips(max_pixels=64 * 64, max_frames=17),
    filters=config.Filters(min_luma=0.0, min_change=0.0, max_motion=1e9),
    dedup=config.Dedup(max_distance=-1.0),
)
IDLE = 200  # megabytes of a process that does nothing yet
CODECS = {  # container: codec, its options
    "mp4": ("libx264", {"preset": "fast", "x264-params": "mbtree=0"}),
    "matroska": ("libx264", {"preset": "fast", "g": "5", "x264-params": "mbtree=0"}),
    "webm": ("libvpx", {"cpu-used": "8"}),
    "avi": ("mpeg4", {}),
    "mpegts": ("mpeg2video", {}),
}
SUFFIXES = {"mp4": ".mp4", "matroska": ".mkv", "webm": ".webm", "avi": ".avi", "mpegts": ".ts"}
KINDS = ("bits", "byte", "cut", "splice", "zeros", "name", "archive", "header", "tail")


def originals(films: list[np.ndarray]) -> list[tuple[str, bytes]]:
    """Small valid files, (suffix, content), of films uint8[t, h, w, 3] and of their frames."""
    found = []
    for i, frames in enumerate(films):
        for name, (codec, options) in list(CODECS.items())[i % 2 :: 2]:
            found.append((SUFFIXES[name], encoded(frames, name, codec, options)))
        for suffix in (".png", ".jpg", ".webp", ".bmp"):
            file = io.BytesIO()
            kind = suffix[1:].replace("jpg", "jpeg")
            Image.fromarray(frames[len(found) % len(frames)]).save(file, kind)
            found.append((suffix, file.getvalue()))
        file = io.BytesIO()
        first, *rest = map(Image.fromarray, frames[:9])
        first.save(file, "gif", save_all=True, append_images=rest, duration=40)
        found.append((".gif", file.getvalue()))
    return found


def encoded(frames: np.ndarray, container: str, codec: str, options: dict[str, str]) -> bytes:
    """A film as a file of 24 frames per second, the same bytes each time.

    As in `sora_jax.media`: one thread, and no macroblock tree, whose code in x264 reads
    uninitialised memory.
    """
    file = io.BytesIO()
    exact = {"fflags": "+bitexact"}  # no random names of tracks
    with av.open(file, "w", format=container, options=exact) as made:
        stream = made.add_stream(codec, 24, options=options)
        stream.codec_context.thread_count = 1
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        made.mux(stream.encode())
    return file.getvalue()


def altered(
    rng: np.random.Generator, kind: str, suffix: str, data: bytes, other: bytes
) -> tuple[str, bytes]:
    """A file, (suffix, content), made bad in one of the `KINDS` of ways."""
    changed = np.frombuffer(data, np.uint8).copy()
    place = int(rng.integers(len(data)))
    if kind == "bits":
        for bit in rng.integers(8 * len(data), size=int(rng.choice([1, 3, 30, 300]))):
            changed[bit // 8] ^= 1 << bit % 8
    elif kind == "byte":
        changed[place] = rng.integers(256)
    elif kind == "header":  # sizes, counts and durations stand near the start
        start = int(rng.integers(min(len(data), 1200)))
        changed[start : start + 4] = rng.choice([0, 1, 127, 255], min(4, len(data) - start))
    elif kind == "zeros":
        changed[place : place + int(rng.integers(1, 3000))] = 0
    elif kind == "cut":
        return suffix, data[:place]
    elif kind == "tail":
        return suffix, data[place:]
    elif kind == "splice":
        return suffix, data[:place] + other[int(rng.integers(len(other))) :]
    elif kind == "archive":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            made.writestr(zipfile.ZipInfo(f"film{suffix}"), data)  # of 1980: no wall clock in it
        return suffix, file.getvalue()
    elif kind == "name":
        return str(rng.choice([".png", ".mp4", ".gif", ".m3u8", ".mp3", ""])), data
    return suffix, changed.tobytes()


def make(folder: pathlib.Path, count: int, seed: int, films: list[np.ndarray]) -> dict[str, Any]:
    """Writes the files; returns of each name its kind and the content that it was made from."""
    rng, made = np.random.default_rng(seed), {}
    valid = originals(films)
    for i in range(count):
        suffix, data = original = valid[int(rng.integers(len(valid)))]
        kind = "valid" if i % 10 == 0 else KINDS[int(rng.integers(len(KINDS)))]
        if kind != "valid":
            _, other = valid[int(rng.integers(len(valid)))]
            suffix, data = altered(rng, kind, *original, other)
        place = folder / f"{i // 500:03d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:06d}{suffix}").write_bytes(data)
        same = data == original[1]
        made[f"{place.name}/{i:06d}{suffix}"] = (kind if not same else f"{kind}, same", original[1])
    return made


def outcome(output: pathlib.Path) -> dict[str, str]:
    """Of each name, why it was rejected, or ""."""
    lines = manifest.read_lines(output)
    return {line["name"]: line["reason"] for line in lines}


def balanced(manifest: dict[str, Any], count: int) -> bool:
    """Whether files and clips add up."""
    files, clips = manifest["files"], manifest["clips"]
    return files["seen"] == count == files["kept"] + sum(files["rejected"].values()) and clips[
        "cut"
    ] == clips["kept"] + sum(clips["rejected"].values())


def excerpts(archive: str | None) -> Iterator[np.ndarray]:
    """A few short films, uint8[24, h, w, 3]."""
    if archive is None:
        for seed in range(4):
            yield np.random.default_rng(seed).integers(0, 256, (24, 48, 64, 3), np.uint8)
        return
    with bbb.extract_film(pathlib.Path(archive)) as path:
        starts = (1000, 3000, 5000, 7000)
        pieces = [film.PlannedClip(i, len(starts), s, s + 24, 0) for i, s in enumerate(starts)]
        for video, _ in film.cut_clips(path, 72, pieces):
            yield video


def main() -> None:
    """Makes the files, ingests them twice, compares."""
    count, seed, archive = (*sys.argv[1:], None, None, None)[:3]
    count, seed = int(count or 10_000), int(seed or 0)
    with tempfile.TemporaryDirectory() as folder:
        files, output = pathlib.Path(folder, "files"), pathlib.Path(folder, "output")
        made = make(files, count, seed, list(excerpts(archive)))
        began = time.monotonic()
        first = pipeline.ingest(str(files), output, CONFIG)
        seconds = time.monotonic() - began
        reasons = outcome(output)
        took = [json.loads(path.read_text())["took"] for path in output.glob("files/*/*.json")]
        for name, (_, original) in made.items():
            beside = (files / name).with_suffix(".json")
            beside.write_text(json.dumps({"sha256": records.sha256(original)}))
        second = pipeline.ingest(str(files), output, CONFIG)
        hashed = outcome(output)
    kinds = sorted({kind for kind, _ in made.values()})
    tally = {kind: collections.Counter() for kind in kinds}
    arrived = collections.Counter()
    for name, (kind, _) in made.items():
        tally[kind][reasons[name] or "kept"] += 1
        arrived[kind] += not hashed[name]
    rows = [[k, t.total(), t["kept"], arrived[k]] for k, t in tally.items()]
    print(table(["kind", "files", "kept", "kept with hashes"], rows))
    total = sum(tally.values(), collections.Counter())
    print(table(["outcome", "files"], total.most_common()))
    peak = max(one["peak_megabytes"] for one in took)
    longest = max(one["seconds"] for one in took)
    print(f"{seconds:.0f} s; of one file, at most {peak} MB and {longest:.1f} s")
    same = [kind for kind in kinds if kind == "valid" or kind.endswith(", same")]
    missed = []
    if any(
        tally[kind]["kept"] < tally[kind].total() or arrived[kind] < tally[kind].total()
        for kind in same
    ):
        missed.append("not every valid file arrived")
    if any(arrived[kind] for kind in set(kinds) - set(same)):
        missed.append("an altered file arrived, its hash notwithstanding")
    if not (balanced(first, count) and balanced(second, count)):
        missed.append("files or clips do not add up")
    if peak > IDLE + LIMITS.memory_megabytes or longest > LIMITS.wall_seconds + 1:
        missed.append(f"the limits were exceeded: {peak} MB, {longest} s")
    figures = {
        "count": count,
        "seed": seed,
        "originals": "Big Buck Bunny" if archive else "noise",
        "limits": dataclasses.asdict(LIMITS),
        "outcomes": {kind: dict(found) for kind, found in tally.items()},
        "undetectable": sum(tally[k]["kept"] for k in set(kinds) - set(same)),
        "kept_with_hashes": {k: n for k, n in arrived.items() if n},
        "seconds": seconds,
        "peak_megabytes": peak,
        "longest_seconds": longest,
    }
    finish("bad_media", figures, missed)


if __name__ == "__main__":
    main()
