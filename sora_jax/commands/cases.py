"""Cases of scores: held-out clips of a folder of simulated ones, and videos that others made.

A folder for others holds `prompts.json` and the first frames that they are given; they add a video
for each entry, of its size and duration (mp4 or another container, png for one frame, or npy):

  {"clips": [{"video": "ballistics-test-7-given1.mp4", "world": "ballistics", "caption": "...",
              "frames": 17, "height": 64, "width": 96, "fps": 8.0, "given": 1,
              "first_frames": ["first_frames/ballistics-test-7-0.png"],
              "split": "test", "seed": 7, "captions": {...}, "attributes": {...}, "truth": {...}}]}

`attributes` and `truth` are needed; with `split`, `seed` and `captions` too the clip is simulated
again, so that real clips and controls stand beside the videos.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines.clips import ClipMeta, ClipRecord, decode_truth, open_split
from data_pipelines.worlds import base, dataset
from sora_jax import media
from sora_jax.evals import vae_scores
from sora_jax.evals.world_scores import Case, world_of
from sora_jax.evals.worlds.base import Expected
from sora_jax.files import write_whole
from sora_jax.generation.canvas import Request

PROMPTS = "prompts.json"
FIRST_FRAMES = "first_frames"
SPLITS = ("test", dataset.TEST_LAWS)
"""Splits that scores are of: held-out combinations, and laws outside of training's range."""
_STATED = {
    "video": str,
    "world": str,
    "attributes": dict,
    "truth": dict,
    "fps": float,
    "given": int,
}


@dataclasses.dataclass(frozen=True)
class Submission:
    """Videos that somebody made of the cases of one split and number of given frames."""

    split: str
    given: int
    cases: tuple[Case, ...]
    videos: tuple[np.ndarray, ...]


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
    try:
        records = open_split(data, split)
    except ValueError:
        if split == SPLITS[0]:
            raise
        return []
    metas = records.metas()
    chosen = [
        records[i]
        for i in vae_scores.choose(metas, clips, min_frames=max(2, given + 1))
        if metas[i].source in (worlds or [metas[i].source])
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
    simulate = functools.partial(_simulate, meta)
    size = record.video.shape[0], record.video.shape[1], record.video.shape[2]
    return Case(name, meta.source, caption, expected, size, meta.seed, record.video, simulate)


def _simulate(meta: ClipMeta, broken: str, size: tuple[int, int, int]) -> np.ndarray:
    """Simulates a clip again, with a broken law, or at another size."""
    if size == tuple(meta.size):
        return dataset.remake_clip(meta, broken).video
    held_out, outside = meta.split == "test", meta.split == dataset.TEST_LAWS
    request = base.ClipRequest(meta.seed, held_out, *size, outside, broken)
    return dataset.WORLDS[meta.source].make_clip(request).video


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
    metas = {
        f"{meta.source}-{meta.split}-{meta.seed}": meta
        for split in {case.name.split("-")[1] for case in cases}
        for meta in open_split(data, split).metas()
    }
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


def read_submissions(folder: epath.PathLike, worlds: Sequence[str] = ()) -> list[Submission]:
    """Reads a folder of videos that others made, by split and number of given frames.

    Args:
      folder: holds `prompts.json` and the videos that it names.
      worlds: names of worlds; none for all.

    Raises:
      ValueError: what is wrong with the list, or with one of its videos.
    """
    folder = epath.Path(folder)
    path = folder / PROMPTS
    if not path.exists():
        raise ValueError(
            f"{folder} has no {PROMPTS}: `sora-jax eval --write_prompts={folder} --data=...` "
            "writes one"
        )
    try:
        entries = json.loads(path.read_text())["clips"]
        if not isinstance(entries, list):
            raise TypeError("clips is no list")
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no JSON object with a list of clips: {error}") from error
    for name in worlds:
        world_of(name)
    found: dict[tuple[str, int], list[tuple[Case, np.ndarray]]] = {}
    for number, entry in enumerate(entries):
        where = f"{path}, clip {number}"
        _check_entry(entry, where)
        if worlds and entry["world"] not in worlds:
            continue
        video = _read_video(folder / entry["video"])
        key = entry.get("split", "clips"), entry["given"]
        found.setdefault(key, []).append(_read_entry(entry, video, where))
    if not found:
        raise ValueError(f"{path} lists no clips of these worlds: give at least one")
    return [
        Submission(split, given, *(tuple(column) for column in zip(*pairs, strict=True)))
        for (split, given), pairs in found.items()
    ]


def _check_entry(entry: Any, where: str) -> None:
    """Checks that an entry states what it must, of the right type."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no JSON object")
    for key, kind in _STATED.items():
        value = entry.get(key)
        if not value and key in ("attributes", "truth"):
            raise ValueError(f"{where} has no {key} to score a video against")
        if not isinstance(value, (int, float) if kind is float else kind):
            raise ValueError(f"{where} has {key} {value!r}: give it a {kind.__name__}")
    if entry["given"] < 0 or not entry["fps"] > 0:
        raise ValueError(f"{where} has given {entry['given']} and fps {entry['fps']}: too small")
    world_of(entry["world"])


def _read_entry(entry: Mapping[str, Any], video: np.ndarray, where: str) -> tuple[Case, np.ndarray]:
    """The case of an entry, and its video without the padding of players."""
    try:
        truth = decode_truth(entry["truth"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} has a truth that cannot be read: {error}") from error
    names = ("frames", "height", "width")
    asked = tuple(entry.get(k, n) for k, n in zip(names, video.shape[:3], strict=True))
    even = (asked[0], *(n + n % 2 for n in asked[1:]))
    if video.shape[:3] not in (asked, even):
        shapes = ["x".join(map(str, size)) for size in (video.shape[:3], asked)]
        raise ValueError(
            f"{entry['video']} is {shapes[0]}, its prompt asks for {shapes[1]} (frames x height x "
            "width)"
        )
    if entry["given"] >= asked[0]:
        raise ValueError(f"{where} has {asked[0]} frames, of which {entry['given']} were given")
    video = video[:, : asked[1], : asked[2]]
    expected = Expected(entry["attributes"], truth, float(entry["fps"]), entry["given"])
    simulate = real = None
    if all(key in entry for key in ("split", "seed", "captions")):
        meta = ClipMeta(
            **{key: entry[key] for key in ("captions", "split", "seed", "attributes", "fps")},
            **{"size": asked, "source": entry["world"], "truth": entry["truth"]},
            **dict.fromkeys(("origin", "licence", "sha256"), ""),
        )
        simulate = functools.partial(_simulate, meta)
        real = simulate("", asked)
    caption, seed = str(entry.get("caption", "")), int(entry.get("seed", 0))
    name = epath.Path(entry["video"]).stem
    return Case(name, entry["world"], caption, expected, asked, seed, real, simulate), video


def _read_video(path: epath.Path) -> np.ndarray:
    """The frames of a file; npy holds uint8, or floats from 0 to 1.

    Raises:
      ValueError: the file is missing, cannot be read, or holds something else.
    """
    if path.suffix != ".npy":
        return media.read_video(path)[0]
    if not path.exists():
        raise ValueError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            video = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no array of numpy: {error}") from error
    if video.ndim != 4 or video.shape[-1] != 3 or not video.size:
        raise ValueError(f"{path} has shape {video.shape}: a video is [frames, height, width, 3]")
    if np.issubdtype(video.dtype, np.floating):
        if not np.isfinite(video).all():
            raise ValueError(f"{path} has pixels that are not finite")
        if video.min() < 0 or video.max() > 1:
            raise ValueError(f"{path} has floats outside of 0 to 1")
        return np.rint(video * 255).astype(np.uint8)
    if video.dtype != np.uint8:
        raise ValueError(f"{path} holds {video.dtype}: give uint8, or floats from 0 to 1")
    return video
