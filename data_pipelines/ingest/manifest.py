"""Reports of an ingest: manifest.json, files.jsonl (one line a file) and contact_sheet.html."""

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

from data_pipelines.clips import ClipMeta
from data_pipelines.ingest import file_report, shards, staging
from data_pipelines.ingest.config import IngestConfig
from data_pipelines.ingest.extract import encode_thumbnail
from sora_jax import media
from sora_jax.files import write_whole

NAME, FILES, PAGE = "manifest.json", "files.jsonl", "contact_sheet.html"
MAX_SHOWN_CLIPS = 24  # on the page, for each reason and of those that are kept
DUPLICATE, NOTHING = "duplicate", "no clip left"
Counts = dict[str, int]


def summarize_file(report: dict[str, Any], rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Summarizes one file for files.jsonl, from its report and its rows with `duplicate_of`.

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


def _count(names: Iterable[str]) -> Counts:
    return dict(sorted(collections.Counter(names).items()))


def _add_counts(counts: Iterable[Counts]) -> Counts:
    total: collections.Counter[str] = collections.Counter()
    for part in counts:
        total.update(part)
    return dict(sorted(total.items()))


def summarize(
    lines: Sequence[dict[str, Any]], shard_infos: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Makes the manifest. Files seen = kept + rejected by reason, and so for clips that were cut.

    Args:
      lines: what `summarize_file` returned for each file.
      shard_infos: what `shards.write_shard` returned for each shard.
    """
    kept = [line for line in lines if not line["reason"]]
    seconds = collections.Counter()
    for line in lines:
        for outcome, frames in line["frames"].items():
            seconds[outcome] += frames / line["fps"] if line["frames"]["seen"] > 1 else 0
    return {
        "files": {
            "seen": len(lines),
            "kept": len(kept),
            "rejected": _count(line["reason"] for line in lines if line["reason"]),
        },
        "clips": {
            "cut": sum(line["clips"]["cut"] for line in lines),
            "kept": sum(line["clips"]["kept"] for line in lines),
            "rejected": _add_counts(line["clips"]["rejected"] for line in lines),
        },
        "frames": _add_counts(line["frames"] for line in lines),
        "dropped": _add_counts(line["dropped"] for line in lines),
        "repeated": sum(line["repeated"] for line in lines),
        "faults": _add_counts(line["faults"] for line in lines),
        "hours": {outcome: round(seconds[outcome] / 3600, 4) for outcome in sorted(seconds)},
        "splits": _add_counts(line["splits"] for line in lines),
        "sizes": _add_counts(line["sizes"] for line in lines),
        "licences": _count(line["licence"] for line in kept),
        "shards": [shard["name"] for shard in sorted(shard_infos, key=lambda shard: shard["name"])],
        "bytes": sum(shard["bytes"] for shard in shard_infos),
    }


def finish(
    output: epath.Path,
    config: IngestConfig,
    lines: Sequence[dict[str, Any]],
    shard_infos: Sequence[dict[str, Any]],
    clips: Sequence[tuple[str, Sequence]],
) -> None:
    """Makes the folder readable, then writes files.jsonl, the page and, last, the manifest."""
    lines = sorted(lines, key=lambda line: line["name"])
    total = {"config": dataclasses.asdict(config), **summarize(lines, shard_infos)}
    if shard_infos:
        shards.publish(output, shard_infos)
    write_whole(output / FILES, "".join(json.dumps(line) + "\n" for line in lines))
    write_whole(output / PAGE, render_page(output, total, dict(clips)))
    write_whole(output / NAME, json.dumps(total, indent=1) + "\n")


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
