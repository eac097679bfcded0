"""Reports of an ingest: manifest.json, files-*.jsonl (one line a file) and contact_sheet.html."""

import base64
import collections
import dataclasses
import html
import json
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines.clip_meta import ClipMeta
from data_pipelines.ingest import file_report, shards, staging
from data_pipelines.ingest.config import IngestConfig
from data_pipelines.ingest.extract import encode_thumbnail
from sora_jax import media
from sora_jax.files import write_whole

NAME, PAGE = "manifest.json", "contact_sheet.html"
FILES, FILES_PATTERN = "files-{:05d}-of-{:05d}.jsonl", "files-*-of-*.jsonl"
PART_FILES = 100_000  # about, in one part of the lines of files
MAX_SHOWN_CLIPS = 24  # on the page, for each reason and of those that are kept
DUPLICATE, NOTHING = "duplicate", "no clip left"
Counts = dict[tuple[str, ...], Any]


def summarize_file(report: dict[str, Any], rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Summarizes one file for files-*.jsonl, from its report and its rows with `duplicate_of`.

    Raises:
      RuntimeError: rows are missing, or there twice.
    """
    rows = list(rows)
    if len(rows) != (wanted := sum(not clip["reason"] for clip in report["clips"])):
        raise RuntimeError(f"{len(rows)} of {wanted} clips of {report['name']} arrived: run again")
    kept = [row["meta"] for row in rows if not row["duplicate_of"]]
    rejected = collections.Counter(c["reason"] for c in report["clips"] if c["reason"])
    rejected[DUPLICATE] = len(rows) - len(kept)
    frames = collections.Counter({"seen": report.get("frames", 0)})
    frames["dropped"] = sum(report.get("left_out", {}).values())
    frames["kept"] = sum(row["film_frames"] for row in rows if not row["duplicate_of"])
    frames["rejected"] = sum(c["film_frames"] for c in report["clips"] if c["reason"])
    frames["rejected"] += sum(row["film_frames"] for row in rows if row["duplicate_of"])
    return {
        **{name: report[name] for name in ("name", "key", "bytes", "sha256", "licence")},
        "source": report["origin"],
        "reason": report["reason"] or ("" if kept else NOTHING),
        "detail": report["detail"],
        "fps": report.get("fps", 0),
        "frames": dict(frames),
        "dropped": report.get("left_out", {}),
        "repeated": sum(meta.size[0] for meta in kept) - frames["kept"],
        "faults": report.get("faults", {}),
        "clips": {
            "cut": len(report["clips"]),
            "kept": len(kept),
            "rejected": dict(+rejected),
        },
        "splits": _count(meta.split for meta in kept),
        "sizes": _count("x".join(map(str, meta.size)) for meta in kept),
    }


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(collections.Counter(names).items()))


def count_line(line: dict[str, Any]) -> Counts:
    """Counts what the line of a file adds to each entry of the manifest, named by its path."""
    counts: Counts = collections.defaultdict(int, {("files", "seen"): 1})
    counts["files", *(("rejected", line["reason"]) if line["reason"] else ("kept",))] += 1
    if not line["reason"]:
        counts["licences", line["licence"]] += 1
    for outcome, frames in line["frames"].items():
        seconds = frames / line["fps"] if line["frames"]["seen"] > 1 else 0.0
        counts["hours", outcome] += seconds / 3600
    counts["clips", "cut"], counts["clips", "kept"] = line["clips"]["cut"], line["clips"]["kept"]
    counts["repeated",] = line["repeated"]
    for reason, count in line["clips"]["rejected"].items():
        counts["clips", "rejected", reason] += count
    for part in ("frames", "dropped", "faults", "splits", "sizes"):
        for name, count in line[part].items():
            counts[part, name] += count
    return counts


def add_counts(counts: Iterable[Counts]) -> Counts:
    """Adds counts."""
    total: Counts = collections.defaultdict(int)
    for part in counts:
        for path, count in part.items():
            total[path] += count
    return total


def summarize(total: Counts, shard_infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Makes the manifest. Files seen = kept + rejected by reason, and so for clips that were cut.

    Args:
      total: the sum of what `count_line` returned for each file.
      shard_infos: what `shards.write_shard` returned for each shard.
    """
    made: dict[str, Any] = {
        "files": {"seen": 0, "kept": 0, "rejected": {}},
        "clips": {"cut": 0, "kept": 0, "rejected": {}},
        **{part: {} for part in ("frames", "dropped", "faults", "hours", "splits", "sizes")},
        "licences": {},
        "repeated": 0,
    }
    for path, count in sorted(total.items()):
        entry = made
        for name in path[:-1]:
            entry = entry[name]
        entry[path[-1]] = round(count, 4) if path[0] == "hours" else count
    for part in ("frames", "dropped", "faults"):
        made[part] = {name: count for name, count in made[part].items() if count}
    made["shards"] = sorted(shard["name"] for shard in shard_infos)
    return made | {"bytes": sum(shard["bytes"] for shard in shard_infos)}


def key_by_part(line: dict[str, Any], files: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """Keys the line of a file by the part of the lines it is in: its number, and that of all."""
    count = -(-files // PART_FILES)
    return (int(staging.draw_fraction(line["key"]) * count), count), line


def write_part(output: epath.Path, part: tuple[int, int], lines: Iterable[dict[str, Any]]) -> str:
    """Writes a part of the lines of files, in the order of their names; returns its name."""
    name = FILES.format(*part)
    ordered = sorted(lines, key=lambda line: line["name"])
    write_whole(output / name, "".join(json.dumps(line) + "\n" for line in ordered))
    return name


def read_lines(output: epath.PathLike) -> Iterator[dict[str, Any]]:
    """Yields the lines of all files of an ingest."""
    for path in sorted(epath.Path(output).glob(FILES_PATTERN)):
        yield from map(json.loads, path.read_text().splitlines())


def finish(
    output: epath.Path,
    config: IngestConfig,
    total: Counts,
    shard_infos: Sequence[dict[str, Any]],
    clips: Sequence[tuple[str, Sequence]],
    parts: Sequence[str],
) -> None:
    """Makes the folder readable, then writes the page and, last, the manifest.

    Args:
      total: the sum of what `count_line` returned for each file.
      shard_infos: what `shards.write_shard` returned for each shard.
      clips: entries of the page by reason, see `render_page`.
      parts: what `write_part` returned for each part; others are deleted.
    """
    made = {"config": dataclasses.asdict(config), **summarize(total, shard_infos)}
    if shard_infos:
        shards.publish(output, shard_infos)
    for path in output.glob(FILES_PATTERN):
        if path.name not in parts:
            path.unlink()
    write_whole(output / PAGE, render_page(output, made, dict(clips)))
    write_whole(output / NAME, json.dumps(made, indent=1) + "\n")


def list_rejected_clips(report: dict[str, Any]) -> Iterator[tuple[str, tuple[float, str, str]]]:
    """Lists the rejected clips of a report that have a picture, for the page: (reason, entry)."""
    for number, clip in enumerate(report["clips"]):
        if clip.get("picture"):
            path = file_report.make_clip_path(report["key"], number, ".jpg")
            yield (
                clip["reason"],
                (staging.draw_fraction(path), path, _describe(report["name"], clip)),
            )


def describe_clip(row: dict[str, Any]) -> tuple[str, tuple[float, str, str]]:
    """Describes a clip that passed the filters, for the page: ('kept' or 'duplicate', entry)."""
    meta: ClipMeta = row["meta"]
    clip = {"start": int(meta.attributes["frame"]), **meta.write()}
    note = _describe(meta.attributes["file"], clip)
    reason = DUPLICATE if row["duplicate_of"] else "kept"
    return reason, (staging.draw_fraction(row["path"]), row["path"], note)


def _describe(name: str, clip: dict[str, Any]) -> str:
    numbers = (f"{k} {v:g}" for k, v in clip["measures"].items() if isinstance(v, float))
    text = (clip.get("captions") or {}).get("short", "")
    frames = f"{clip['size'][0]} frames from {clip['start']}"
    return "\n".join(filter(None, [text, name, f"{frames}; {', '.join(numbers)}"]))


def render_page(output: epath.Path, total: dict[str, Any], clips: dict[str, Sequence]) -> str:
    """Renders the HTML page: counts, and a few clips that were kept or rejected, by reason.

    Args:
      output: folder of the ingest.
      total: the manifest.
      clips: entries (order, path below `output`, text) by 'kept' or reason.
    """
    tables = [
        _render_table("Files", {"seen": total["files"]["seen"], "kept": total["files"]["kept"]}),
        _render_table("Rejected files", total["files"]["rejected"]),
        _render_table("Clips", {"cut": total["clips"]["cut"], "kept": total["clips"]["kept"]}),
        _render_table("Rejected clips", total["clips"]["rejected"]),
        _render_table("Hours", total["hours"]),
        _render_table("Dropped frames", total["dropped"]),
        _render_table("Faults in films", total["faults"]),
        _render_table("Splits", total["splits"]),
        _render_table("Sizes", dict(collections.Counter(total["sizes"]).most_common(12))),
        _render_table("Licences", total["licences"]),
    ]
    sections = []
    for reason in sorted(clips, key=lambda reason: (reason != "kept", reason)):
        figures = [_render_figure(output / path, note) for _, path, note in sorted(clips[reason])]
        sections.append(f"<h2>{html.escape(reason)}</h2>\n<div>{''.join(figures)}</div>")
    template = epath.Path(__file__).with_name(PAGE).read_text()
    return string.Template(template).substitute(
        tables="\n".join(tables), sections="\n".join(sections)
    )


def _render_table(title: str, counts: dict[str, Any]) -> str:
    rows = (f"<tr><td>{html.escape(str(k))}<td>{v:,}" for k, v in counts.items())
    return f"<table><caption>{title}</caption>{''.join(rows)}</table>" if counts else ""


def _render_figure(path: epath.Path, note: str) -> str:
    """Renders a picture, or the first, middle and last frame of a clip, above its text."""
    data = path.read_bytes()
    if path.suffix == ".mp4":
        frames, _ = media.decode_video(data)
        data = encode_thumbnail(
            np.concatenate(frames[sorted({0, len(frames) // 2, len(frames) - 1})], 1), 576
        )
    source = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return (
        f'<figure><img src="{source}" alt=""><figcaption>{html.escape(note)}</figcaption></figure>'
    )
