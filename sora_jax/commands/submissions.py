"""Videos that others made of prompts, to be scored beside a model of this project.

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
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines.clip_meta import ClipMeta, decode_truth
from sora_jax import media
from sora_jax.commands.cases import PROMPTS, simulate_again
from sora_jax.evals.world_scores import Case, world_of
from sora_jax.evals.worlds.base import Expected, score_video

_STATED = {
    "video": str,
    "world": str,
    "attributes": dict,
    "truth": dict,
    "fps": float,
    "given": int,
}
_OPTIONAL = {"caption": str, "captions": dict, "split": str, "seed": int}
_OPTIONAL |= dict.fromkeys(("frames", "height", "width"), int)


@dataclasses.dataclass(frozen=True)
class Submission:
    """Videos that somebody made of the cases of one split and number of given frames."""

    split: str
    given: int
    cases: tuple[Case, ...]
    videos: tuple[np.ndarray, ...]


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
    named: dict[str, int] = {}
    for number, entry in enumerate(entries):
        where = f"{path}, clip {number}"
        _check_entry(entry, where)
        first = named.setdefault(entry["video"], number)
        if first != number:
            raise ValueError(f"{where} names {entry['video']}, as clip {first} does: name it once")
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
        _check_type(key, value, kind, where)
    for key, kind in _OPTIONAL.items():
        if key in entry:
            _check_type(key, entry[key], kind, where)
    if entry["given"] < 0:
        raise ValueError(f"{where} has given {entry['given']}: give 0 or more first frames")
    if not 0 < entry["fps"] < math.inf:
        raise ValueError(f"{where} has fps {entry['fps']}: give frames per second above 0")
    if entry.get("seed", 0) < 0:
        raise ValueError(f"{where} has seed {entry['seed']}: give 0 or more")
    for key, value in entry["attributes"].items():
        _check_type(f"attribute {key}", value, str, where)
    world_of(entry["world"])


def _check_type(key: str, value: Any, kind: type, where: str) -> None:
    right = type(value) in ((int, float) if kind is float else (kind,))
    if not right:
        raise ValueError(f"{where} has {key} {value!r}: give it type {kind.__name__}")


def _read_entry(entry: Mapping[str, Any], video: np.ndarray, where: str) -> tuple[Case, np.ndarray]:
    """The case of an entry, and its video without the padding of players."""
    try:
        truth = decode_truth(entry["truth"])
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"{where} has a truth that cannot be read: {error}") from error
    for key, value in truth.items():
        if isinstance(value, np.ndarray) and not np.isfinite(value).all():
            raise ValueError(f"{where} has a truth whose {key} is not finite")
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
        simulate = functools.partial(simulate_again, meta)
        try:
            real = simulate("", asked)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{where} cannot be simulated again: {error}") from error
    # One frame is enough to see whether scores find what they need, before all are made.
    _check_scores(entry["world"], video[:1], expected, where)
    caption, seed = str(entry.get("caption", "")), int(entry.get("seed", 0))
    name = epath.Path(entry["video"]).stem
    return Case(name, entry["world"], caption, expected, asked, seed, real, simulate), video


def _check_scores(world: str, video: np.ndarray, expected: Expected, where: str) -> None:
    """Checks that a world's scores find what they need in attributes and truth of elsewhere."""
    try:
        score_video(world_of(world), video, expected)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{where} has attributes and truth that scores of {world} cannot read: {error!r}"
        ) from error


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
    if not isinstance(video, np.ndarray):
        raise ValueError(f"{path} is an archive: give it one array of numpy")
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
