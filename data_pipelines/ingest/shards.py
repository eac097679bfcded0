"""Stage 2: shards of records. A shard depends on its rows alone and stays if they do not change."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from data_pipelines import records, shards
from data_pipelines.clip_index import ClipIndex
from sora_jax.files import write_whole

NAME = "clips"


def write_shard(
    output: epath.Path, split: str, index: int, count: int, rows: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Writes one shard of `file_report.list_rows` in the order of their keys, if it is not there.

    Returns:
      The split, index, count, name, number of clips and bytes of the shard.

    Raises:
      ValueError: a clip has changed since its file was extracted.
    """
    rows = sorted(rows, key=lambda row: row["key"])
    path = shards.path_of(output, NAME, split, index, count)
    note = output / "shards" / f"{path.name}.json"
    info = {"split": split, "index": index, "count": count, "name": path.name, "clips": len(rows)}
    info["bytes"] = sum(row["bytes"] for row in rows)
    state = records.sha256(json.dumps([row["meta"].write() for row in rows]).encode())
    if path.exists() and note.exists() and json.loads(note.read_text())["state"] == state:
        return info
    note.unlink(missing_ok=True)
    shards.write(path, (_record(output, row) for row in rows))
    metas = [row["meta"] for row in rows]
    ClipIndex.of(metas).save(output, (split, index, count), metas)
    write_whole(note, json.dumps(info | {"state": state}))
    return info


def _record(output: epath.Path, row: dict[str, Any]) -> dict[str, str | bytes]:
    video = (output / row["path"]).read_bytes()
    if records.sha256(video) != row["meta"].sha256:
        raise ValueError(
            f"{output / row['path']} has changed; delete {row['file']}.json beside its folder "
            "and ingest again"
        )
    return {"video": video, "meta": json.dumps(row["meta"].write())}


def hide(output: epath.Path) -> None:
    """Deletes the files without which readers do not open the folder, while shards change."""
    for name in ("dataset_info.json", "features.json"):
        (shards.folder_of(output, NAME) / name).unlink(missing_ok=True)


def publish(output: epath.Path, infos: Sequence[dict[str, Any]]) -> None:
    """Makes the folder readable, of the shards in `infos`; other shards are deleted.

    Args:
      infos: what `write_shard` returned for each shard.
    """
    names = {shard["name"] for shard in infos}
    counts = {(shard["split"], shard["index"], shard["count"]) for shard in infos}
    indices = {shards.index_path(output, *shard).name for shard in counts}
    for folder, kept in ((shards.folder_of(output, NAME), names), (output / "index", indices)):
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()
    shards.finish(output, NAME, dict(_lengths(infos)))


def _lengths(infos: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[int]]]:
    """Yields each split that has shards, with the number of clips of each."""
    ordered = sorted(infos, key=lambda shard: shard["index"])
    for split in records.SPLITS:
        if lengths := [shard["clips"] for shard in ordered if shard["split"] == split]:
            yield split, lengths
