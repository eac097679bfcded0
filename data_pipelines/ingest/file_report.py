"""Stage 1, for one file: clips in OUTPUT/files, and a report that says that they are complete.

OUTPUT/files/ab/abcd.../000000.mp4 and so on are the clips of the file whose key is abcd...; the
report beside the folder is written last. It holds as long as the file's content and the settings
of clips and filters do, and, of a rejected file, the limits. Sidecars are read each time: other
captions need no new clips.
"""

import dataclasses
import hashlib
import json
import os
from typing import Any

from etils import epath

from data_pipelines import records
from data_pipelines.clip_meta import ClipMeta
from data_pipelines.ingest import staging
from data_pipelines.ingest.config import IngestConfig
from data_pipelines.ingest.inputs import Input
from data_pipelines.ingest.worker import Worker
from sora_jax.files import write_whole


def hash_name(name: bytes) -> str:
    """Hashes the path of a file below the input to its key, 16 hexadecimal digits."""
    return hashlib.sha256(name).hexdigest()[:16]


def make_clip_path(key: str, number: int, suffix: str = ".mp4") -> str:
    """Makes the path of clip `number`, below the output, of the file with this key."""
    return f"files/{key[:2]}/{key}/{number:06d}{suffix}"


def report_file(
    given: Input, output: epath.Path, config: IngestConfig, worker: Worker
) -> dict[str, Any]:
    """Reports the clips of an input; those left in `output` by an earlier run hold.

    Returns:
      The report of `extract`, with `reason` and `detail` of a rejected file ("" where it is kept),
      name, key, bytes, sha256, licence and origin of the file, and of each clip its captions and
      other texts.
    """
    path, key = epath.Path(os.fsdecode(given.path)), hash_name(given.name)
    shown = _make_printable(os.fsdecode(given.name))
    about = {"name": shown, "key": key, "bytes": 0, "sha256": "", "clips": []}
    about["unit"] = hash_name(given.film or given.name)
    about |= {"licence": config.output.licence, "origin": config.output.origin or shown}

    def rejected(reason: str, detail: object = "") -> dict[str, Any]:
        return about | {"reason": reason, "detail": _make_printable(str(detail))}

    if given.fault:
        return rejected("bad row", given.fault)
    try:
        beside = given.read_sidecars()
        stat = path.stat()
    except ValueError as error:
        return rejected("bad sidecar", error)
    except OSError as error:
        return rejected("cannot be read", error)
    about |= {k: getattr(beside, k) for k in ("licence", "origin") if getattr(beside, k)}
    about["bytes"] = size = stat.length if given.length < 0 else given.length
    if not size:
        return rejected("empty")
    if size > config.limits.megabytes * 1e6:
        return rejected("too large", f"{size} bytes")
    target = output / "files" / key[:2] / f"{key}.json"
    report: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    limits, wanted = dataclasses.asdict(config.limits), beside.sha256.lower()
    holds = report.get("recipe") == config.recipe and report["limits"] in (limits, None)
    modified = os.stat(path).st_mtime_ns if staging.is_local(path) else stat.mtime
    stamp = {"bytes": size, "modified": modified}
    if not holds or report | stamp != report or wanted not in ("", report["sha256"]):
        with staging.stage_file(path, given.offset, given.length) as local:
            try:
                about["sha256"] = records.file_sha256(local)
            except OSError as error:
                return rejected("cannot be read", error)
            if wanted not in ("", about["sha256"]):
                return rejected("sha256 differs", f"it is {about['sha256']}")
            if not holds or report["sha256"] != about["sha256"]:
                with staging.stage_folder(target.with_suffix("")) as folder:
                    part = given.start, given.stop
                    report = worker.extract(local, folder, dataclasses.asdict(config), part)
                if report["reason"]:
                    target.with_suffix("").rmtree()
                report |= {"recipe": config.recipe, "sha256": about["sha256"]}
                report["limits"] = limits if report["reason"] else None  # another may be enough
            report |= stamp
            write_whole(target, json.dumps(report))
    for clip in report.get("clips", []):
        # a caption of a row is of its part of the film, however often that is cut
        start, is_whole = clip["seconds"], given.is_row or report["shots"] == 1
        part = start, start + clip["size"][0] / clip["fps"], is_whole
        clip |= {"captions": beside.caption_clip(*part), "texts": beside.describe_clip(*part)}
    return about | report | {"detail": _make_printable(report["detail"])}


def _make_printable(text: str) -> str:
    """Escapes what may stand in names of files but not in text."""
    return text.encode("utf-8", "backslashreplace").decode()


def list_rows(report: dict[str, Any], config: IngestConfig) -> list[dict[str, Any]]:
    """Lists the rows of stage 2: the clips of a report that passed the filters.

    A row has the keys of the clip, of its file and of its shot, the pixels of a frame of its file,
    perceptual hash, path below the output, bytes, and the `ClipMeta` of the record.
    """
    rows = []
    for number, clip in enumerate(report["clips"]):
        if clip["reason"]:
            continue
        key = f"{report['key']}-{number:06d}"
        shot = f"{report['key']}-{clip['shot']}"
        split = _draw_split(report["unit"] if config.output.hold_out == "file" else shot, config)
        meta = ClipMeta(
            captions=clip["captions"],
            fps=clip["fps"],
            size=tuple(clip["size"]),
            source=config.output.collection,
            split=split,
            seed=int(hashlib.sha256(key.encode()).hexdigest()[:8], 16),
            attributes={
                "file": report["name"],
                "shot": str(clip["shot"]),
                "frame": str(clip["start"]),
                "seconds": f"{clip['seconds']:.3f}",
                **clip["texts"],
            },
            origin=report["origin"],
            licence=report["licence"],
            sha256=clip["sha256"],
            truth={},
            measures=clip["measures"] | {"crop": report["crop"], "file_size": report["size"]},
            file_sha256=report["sha256"],
        )
        rows.append(
            {
                "key": key,
                "file": report["key"],
                "shot": shot,
                "pixels": report["crop"][2] * report["crop"][3],
                "hash": clip["hash"],
                "film_frames": clip["film_frames"],
                "path": make_clip_path(report["key"], number),
                "bytes": clip["bytes"],
                "meta": meta,
            }
        )
    return rows


def _draw_split(unit: str, config: IngestConfig) -> str:
    """Draws the split of a file or shot; the same key gives the same split."""
    drawn = staging.draw_fraction(f"split of {unit}")
    if drawn < config.output.test:
        return records.SPLITS[2]
    return records.SPLITS[1 if drawn < config.output.test + config.output.validation else 0]
