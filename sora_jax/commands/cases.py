"""Cases of scores: held-out clips of a folder of simulated ones, and their prompts for others."""

import functools
import json
from collections.abc import Collection, Sequence

import numpy as np
from etils import epath

from data_pipelines.clip_meta import ClipMeta, decode_truth
from data_pipelines.clips import ClipRecord, has_split, open_split
from data_pipelines.worlds import dataset
from sora_jax import media
from sora_jax.evals import vae_scores
from sora_jax.evals.world_scores import Case, world_of
from sora_jax.evals.worlds.base import Expected
from sora_jax.files import write_whole
from sora_jax.generation.canvas import Request

PROMPTS = "prompts.json"
"""Name of the file of prompts; `commands.submissions` says what is in it."""
FIRST_FRAMES = "first_frames"

SPLITS = ("test", dataset.TEST_LAWS)
"""Splits that scores are of: held-out combinations, and laws outside of training's range."""


def read_cases(
    data: epath.PathLike, split: str, worlds: Sequence[str], clips: int, given: int = 0
) -> list[Case]:
    """Cases of a split of simulated clips, spread evenly over each world's.

    Args:
      data: folder of clips.
      split: name of the split; a folder without it has no cases.
      worlds: names of worlds; none for all.
      clips: number of cases of each world, at most.
      given: first frames that will be given; clips that have no more frames are left out.

    Raises:
      ValueError: a world is unknown or has no clips in the split, or a clip has no truth.
    """
    for name in worlds:
        world_of(name)
    if split != SPLITS[0] and not has_split(data, split):
        return []
    records = open_split(data, split)
    frames, sources = records.index.sizes[:, 0], records.index.sources
    chosen = [
        records[i]
        for i in vae_scores.choose(frames, sources, clips, min_frames=max(2, given + 1))
        if sources[i] in (worlds or sources[i : i + 1])
    ]
    found = {record.meta.source for record in chosen}
    if split == SPLITS[0] and (missing := [name for name in worlds if name not in found]):
        raise ValueError(f"{data} has no {split} clips of {', '.join(missing)} of enough frames")
    return [make_case(record) for record in chosen]


def make_case(record: ClipRecord) -> Case:
    """The case of a simulated clip.

    Raises:
      ValueError: the record has no truth, or is of no world that has scores.
    """
    meta = record.meta
    name = f"{meta.source}-{meta.split}-{meta.seed}"
    if not meta.truth:
        raise ValueError(f"clip {name} has no truth to score videos against")
    world_of(meta.source)
    expected = Expected(meta.attributes, decode_truth(meta.truth), meta.fps)
    caption = meta.captions.get("detailed") or meta.captions.get("short", "")
    simulate = functools.partial(simulate_again, meta)
    size = record.video.shape[0], record.video.shape[1], record.video.shape[2]
    return Case(name, meta.source, caption, expected, size, meta.seed, record.video, simulate)


def _find_metas(data: epath.PathLike, names: Collection[str]) -> dict[str, ClipMeta]:
    """Reads the metadata of the records with these names of cases, with what is true of them."""
    found = {}
    for split in sorted({name.split("-")[1] for name in names}):
        records = open_split(data, split)
        index = records.index
        for i, (source, seed) in enumerate(zip(index.sources, index.seeds, strict=True)):
            if (name := f"{source}-{split}-{seed}") in names:
                found[name] = records.meta(i)
    return found


def simulate_again(meta: ClipMeta, broken: str, size: tuple[int, int, int]) -> np.ndarray:
    """Simulates a clip again, with a broken law, or at another size."""
    return dataset.remake_clip(meta, broken, size).video


def make_request(case: Case, seed: int | None = None) -> Request:
    """What a model is asked for, with the case's seed unless another is given."""
    return Request(case.caption, *case.size, case.expected.fps, case.seed if seed is None else seed)


def write_prompts(
    folder: epath.PathLike, data: epath.PathLike, cases: Sequence[Case], givens: Sequence[int]
) -> int:
    """Writes prompts and first frames for others to make videos of.

    Args:
      folder: an empty or a new one.
      data: folder of clips that the cases are of.
      cases: cases of its splits.
      givens: numbers of first frames; each case with more frames has an entry for each.

    Returns:
      The number of entries.

    Raises:
      ValueError: the folder holds files.
    """
    folder = epath.Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not an empty folder: name a new one")
    metas = _find_metas(data, {case.name for case in cases})
    entries = []
    for case in cases:
        meta = metas[case.name]
        frames, height, width = case.size
        for i, frame in enumerate(case.real[: max(givens)] if case.real is not None else []):
            path = folder / FIRST_FRAMES / f"{case.name}-{i}.png"
            write_whole(path, media.image_bytes(frame))
        for given in givens:
            if given >= frames:
                continue
            entries.append(
                {
                    "video": f"{case.name}-given{given}.mp4",
                    "world": case.world,
                    "caption": case.caption,
                    "frames": frames,
                    "height": height,
                    "width": width,
                    "fps": case.expected.fps,
                    "given": given,
                    "first_frames": [f"{FIRST_FRAMES}/{case.name}-{i}.png" for i in range(given)],
                    "split": meta.split,
                    "seed": meta.seed,
                    "captions": meta.captions,
                    "attributes": meta.attributes,
                    "truth": meta.truth,
                }
            )
    write_whole(folder / PROMPTS, json.dumps({"clips": entries}, indent=1) + "\n")
    return len(entries)
