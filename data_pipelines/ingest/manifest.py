"""What an ingest did: manifest.json, files.jsonl with a line a file, and contact_sheet.html."""

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
from data_pipelines.ingest.extract import thumbnail
from sora_jax import media
from sora_jax.files import write_whole

NAME, FILES, PAGE = "manifest.json", "files.jsonl", "contact_sheet.html"
SHOWN = 24  # clips of one kind on the page
DUPLICATE, NOTHING = "duplicate", "no clip left"
Counts = dict[str, int]


def line(found: dict[str, Any], rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What the manifest says of a file, from its report and rows with `duplicate_of`.

    Raises:
      RuntimeError: rows are missing, or there twice.
    """
    rows = list(rows)
    if len(rows) != (wanted := sum(not clip["reason"] for clip in found["clips"])):
        raise RuntimeError(f"{len(rows)} of {wanted} clips of {found['name']} arrived: run again")
    kept = [row["meta"] for row in rows if not row["duplicate_of"]]
    rejected = collections.Counter(c["reason"] for c in found["clips"] if c["reason"])
    rejected[DUPLICATE] = len(rows) - len(kept)
    frames = collections.Counter({"seen": found.get("frames", 0)})
    frames["dropped"] = found.get("dropped", 0)
    frames["kept"] = sum(meta.size[0] for meta in kept)
    frames["rejected"] = sum(c["size"][0] for c in found["clips"] if c["reason"])
    frames["rejected"] += sum(row["meta"].size[0] for row in rows if row["duplicate_of"])
    about = ("name", "key", "bytes", "sha256", "licence", "source", "reason", "detail")
    return {
        **{name: found[name] for name in about},
        "reason": found["reason"] or ("" if kept else NOTHING),
        "fps": found.get("fps", 0),
        "frames": dict(frames),
        "clips": {
            "cut": len(found["clips"]),
            "kept": len(kept),
            "rejected": dict(+rejected),
        },
        "splits": _tally(meta.split for meta in kept),
        "sizes": _tally("x".join(map(str, meta.size)) for meta in kept),
    }


def _tally(names: Iterable[str]) -> Counts:
    return dict(sorted(collections.Counter(names).items()))


def _sum(counts: Iterable[Counts]) -> Counts:
    total: collections.Counter[str] = collections.Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def summary(lines: Sequence[dict[str, Any]], made: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The manifest: files seen = kept + rejected by reason, and so for the clips that were cut."""
    kept = [one for one in lines if not one["reason"]]
    seconds = collections.Counter()
    for one in lines:
        for kind, frames in one["frames"].items():
            seconds[kind] += frames / one["fps"] if one["frames"]["seen"] > 1 else 0
    return {
        "files": {
            "seen": len(lines),
            "kept": len(kept),
            "rejected": _tally(one["reason"] for one in lines if one["reason"]),
        },
        "clips": {
            "cut": sum(one["clips"]["cut"] for one in lines),
            "kept": sum(one["clips"]["kept"] for one in lines),
            "rejected": _sum(one["clips"]["rejected"] for one in lines),
        },
        "frames": _sum(one["frames"] for one in lines),
        "hours": {kind: round(seconds[kind] / 3600, 4) for kind in sorted(seconds)},
        "splits": _sum(one["splits"] for one in lines),
        "sizes": _sum(one["sizes"] for one in lines),
        "licences": _tally(one["licence"] for one in kept),
        "shards": [shard["name"] for shard in sorted(made, key=lambda shard: shard["name"])],
        "bytes": sum(shard["bytes"] for shard in made),
    }


def finish(
    output: epath.Path,
    config: IngestConfig,
    lines: Sequence[dict[str, Any]],
    made: Sequence[dict[str, Any]],
    clips: Sequence[tuple[str, Sequence]],
) -> None:
    """Opens the folder to readers and writes what there is to say of it."""
    lines = sorted(lines, key=lambda one: one["name"])
    total = {"config": dataclasses.asdict(config), **summary(lines, made)}
    if made:
        shards.publish(output, made)
    write_whole(output / FILES, "".join(json.dumps(one) + "\n" for one in lines))
    write_whole(output / PAGE, page(output, total, dict(clips)))
    write_whole(output / NAME, json.dumps(total, indent=1) + "\n")


def rejected(found: dict[str, Any]) -> Iterator[tuple[str, tuple[float, str, str]]]:
    """The clips of a report that have a picture of why they were rejected, for the page."""
    for number, clip in enumerate(found["clips"]):
        if clip.get("picture"):
            path = file_report.clip_path(found["key"], number, ".jpg")
            yield clip["reason"], (staging.fraction(path), path, _note(found["name"], clip))


def shown(row: dict[str, Any]) -> tuple[str, tuple[float, str, str]]:
    """A clip that passed the filters, for the page."""
    meta: ClipMeta = row["meta"]
    clip = {"start": int(meta.attributes["frame"]), **meta.write()}
    note = _note(meta.attributes["file"], clip)
    kind = DUPLICATE if row["duplicate_of"] else "kept"
    return kind, (staging.fraction(row["path"]), row["path"], note)


def _note(name: str, clip: dict[str, Any]) -> str:
    numbers = (f"{k} {v:g}" for k, v in clip["measures"].items() if isinstance(v, float))
    text = (clip.get("captions") or {}).get("short", "")
    frames = f"{clip['size'][0]} frames from {clip['start']}"
    return "\n".join(filter(None, [text, name, f"{frames}; {', '.join(numbers)}"]))


def page(output: epath.Path, total: dict[str, Any], clips: dict[str, Sequence]) -> str:
    """The page: counts, and a few clips that were kept and that were rejected, by reason."""
    tables = [
        _table("Files", {"seen": total["files"]["seen"], "kept": total["files"]["kept"]}),
        _table("Rejected files", total["files"]["rejected"]),
        _table("Clips", {"cut": total["clips"]["cut"], "kept": total["clips"]["kept"]}),
        _table("Rejected clips", total["clips"]["rejected"]),
        _table("Hours", total["hours"]),
        _table("Splits", total["splits"]),
        _table("Sizes", dict(collections.Counter(total["sizes"]).most_common(12))),
        _table("Licences", total["licences"]),
    ]
    sections = []
    for kind in sorted(clips, key=lambda kind: (kind != "kept", kind)):
        figures = [_figure(output / path, note) for _, path, note in sorted(clips[kind])]
        sections.append(f"<h2>{html.escape(kind)}</h2>\n<div>{''.join(figures)}</div>")
    template = epath.Path(__file__).with_name(PAGE).read_text()
    return string.Template(template).substitute(
        tables="\n".join(tables), sections="\n".join(sections)
    )


def _table(title: str, counts: dict[str, Any]) -> str:
    rows = (f"<tr><td>{html.escape(str(k))}<td>{v:,}" for k, v in counts.items())
    return f"<table><caption>{title}</caption>{''.join(rows)}</table>" if counts else ""


def _figure(path: epath.Path, note: str) -> str:
    """A picture, or the first, middle and last frame of a clip, with what there is to say of it."""
    data = path.read_bytes()
    if path.suffix == ".mp4":
        frames, _ = media.decode_video(data)
        data = thumbnail(
            np.concatenate(frames[sorted({0, len(frames) // 2, len(frames) - 1})], 1), 576
        )
    source = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return (
        f'<figure><img src="{source}" alt=""><figcaption>{html.escape(note)}</figcaption></figure>'
    )
