"""Stage 1, a file at a time: its clips in OUTPUT/files, and a report that says they are complete.

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
from data_pipelines.clips import ClipMeta
from data_pipelines.ingest import sidecars, staging
from data_pipelines.ingest.config import IngestConfig
from data_pipelines.ingest.worker import Worker
from sora_jax.files import write_whole


def file_key(name: bytes) -> str:
    """The key of a file by its path below the input."""
    return hashlib.sha256(name).hexdigest()[:16]


def clip_path(key: str, number: int, suffix: str = ".mp4") -> str:
    """Where a clip is, below the output."""
    return f"files/{key[:2]}/{key}/{number:06d}{suffix}"


def report(
    root: epath.Path, name: bytes, output: epath.Path, config: IngestConfig, worker: Worker
) -> dict[str, Any]:
    """The report of the file `root`/`name`, new or as it was left in `output`.

    Args:
      name: as the file system has it, which need not be text.

    Returns:
      What `extract` does, `reason` and `detail` of a file that is rejected ("" where it is not),
      name, key, bytes, sha256, licence and source, and the captions of each clip.
    """
    path, key, shown = root / os.fsdecode(name), file_key(name), _printable(os.fsdecode(name))
    about = {"name": shown, "key": key, "bytes": 0, "sha256": "", "clips": []}
    about |= {"licence": config.output.licence, "source": config.output.source or shown}

    def rejected(reason: str, detail: object = "") -> dict[str, Any]:
        return about | {"reason": reason, "detail": _printable(str(detail))}

    try:
        beside = sidecars.read(path)
        stat = path.stat()
    except ValueError as error:
        return rejected("bad sidecar", error)
    except OSError as error:
        return rejected("cannot be read", error)
    about |= {k: getattr(beside, k) for k in ("licence", "source") if getattr(beside, k)}
    about["bytes"] = stat.length
    if not stat.length:
        return rejected("empty")
    if stat.length > config.limits.megabytes * 1e6:
        return rejected("too large", f"{stat.length} bytes")
    target = output / "files" / key[:2] / f"{key}.json"
    found: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    limits, wanted = dataclasses.asdict(config.limits), beside.sha256.lower()
    holds = found.get("recipe") == config.recipe and found["limits"] in (limits, None)
    modified = os.stat(path).st_mtime_ns if staging.is_local(path) else stat.mtime
    stamp = {"bytes": stat.length, "modified": modified}
    if not holds or found | stamp != found or wanted not in ("", found["sha256"]):
        with staging.reading(path) as local:
            try:
                about["sha256"] = records.file_sha256(local)
            except OSError as error:
                return rejected("cannot be read", error)
            if wanted not in ("", about["sha256"]):
                return rejected("sha256 differs", f"it is {about['sha256']}")
            if not holds or found["sha256"] != about["sha256"]:
                with staging.filling(target.with_suffix("")) as folder:
                    found = worker.extract(local, folder, dataclasses.asdict(config))
                if found["reason"]:
                    target.with_suffix("").rmtree()
                found |= {"recipe": config.recipe, "sha256": about["sha256"]}
                found["limits"] = limits if found["reason"] else None  # another may be enough
            found |= stamp
            write_whole(target, json.dumps(found))
    for clip in found.get("clips", []):
        start = clip["start"] / found["fps"]
        clip["captions"] = beside.of(start, start + clip["size"][0] / found["fps"])
    return about | found | {"detail": _printable(found["detail"])}


def _printable(text: str) -> str:
    """The text without what only names of files may hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def rows(found: dict[str, Any], config: IngestConfig) -> list[dict[str, Any]]:
    """The clips of a report that passed the filters, as they go through stage 2.

    A row has the clip's key, that of its file and its shot, pixels of its file, hash, path, bytes,
    and the `ClipMeta` of its record.
    """
    made = []
    for number, clip in enumerate(found["clips"]):
        if clip["reason"]:
            continue
        key = f"{found['key']}-{number:06d}"
        shot = f"{found['key']}-{clip['shot']}"
        split = _split(found["key"] if config.output.hold_out == "file" else shot, config)
        meta = ClipMeta(
            captions=clip["captions"],
            fps=found["fps"],
            size=tuple(clip["size"]),
            source=config.output.world,
            split=split,
            seed=int(hashlib.sha256(key.encode()).hexdigest()[:8], 16),
            attributes={
                "file": found["name"],
                "shot": str(clip["shot"]),
                "frame": str(clip["start"]),
            },
            origin=found["source"],
            licence=found["licence"],
            sha256=clip["sha256"],
            truth={},
            measures=clip["measures"] | {"crop": found["crop"], "file_size": found["size"]},
            file_sha256=found["sha256"],
        )
        made.append(
            {
                "key": key,
                "file": found["key"],
                "shot": shot,
                "pixels": found["crop"][2] * found["crop"][3],
                "hash": clip["hash"],
                "path": clip_path(found["key"], number),
                "bytes": clip["bytes"],
                "meta": meta,
            }
        )
    return made


def _split(unit: str, config: IngestConfig) -> str:
    """The split of a file or shot, drawn by its key."""
    drawn = staging.fraction(f"split of {unit}")
    if drawn < config.output.test:
        return records.SPLITS[2]
    return records.SPLITS[1 if drawn < config.output.test + config.output.validation else 0]
