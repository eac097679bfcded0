"""Jobs of `sora-jax sample`: one file each, from flags or from lines of JSON."""

import collections
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from sora_jax import media
from sora_jax.config import build, check_choice, check_minimum
from sora_jax.generation import tasks
from sora_jax.generation.canvas import MAX_SEED, Request
from sora_jax.outputs import check_output

TASKS = {
    "text": ("preview",),
    "animate": ("clip", "at"),
    "extend": ("clip", "backward"),
    "connect": ("clip", "last"),
    "loop": ("clip",),
    "mix": ("clip", "last", "strength"),
    "edit": ("clip", "strength"),
    "inpaint": ("clip", "region"),
    "outpaint": ("clip", "top", "left"),
}
"""The tasks, and the options that only some of them take."""
OPTIONS = sorted({name for taken in TASKS.values() for name in taken})
FILES = ("clip", "last")
NO_CLIPS = (".npz", ".webp")
"""Endings of files that are written and not read."""
MAY_LACK = {"loop": "clip"}
"""Files that a task can do without."""
MINIMA = {
    **{"frames": 1, "height": 16, "width": 16, "fps": 0, "seed": 0},
    **{"at": 0, "strength": 0, "top": 0, "left": 0, "preview": 1},
}
SIZE = Request.frames, Request.height, Request.width
"""Frames, height and width where neither an option nor a clip says them."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A video to make; the options are the flags of `sora-jax sample` that have their names."""

    output: str
    prompt: str = ""
    unconditional: bool | None = None
    task: str = "text"
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None
    seed: int = 0
    clip: str | None = None
    last: str | None = None
    at: int | None = None
    backward: bool | None = None
    strength: float | None = None
    region: tuple[int, int, int, int] | None = None
    top: int | None = None
    left: int | None = None
    preview: int | None = None

    def __post_init__(self):
        check_choice(self, task=tuple(TASKS))
        try:
            check_output(self.output, 1)
        except ValueError as error:
            raise ValueError(f"output: {error}") from error
        if epath.Path(self.output).is_dir():
            raise ValueError(f"output is the folder {self.output}: name a file")
        given = {name: low for name, low in MINIMA.items() if getattr(self, name) is not None}
        check_minimum(self, **given)
        rate_is_wrong = self.fps is not None and not 0.1 <= self.fps < math.inf
        if self.seed >= MAX_SEED or (self.strength or 0) > 1 or rate_is_wrong:
            raise ValueError(
                f"seed, strength and fps are {self.seed}, {self.strength} and {self.fps}: seeds "
                "have 32 bits, strengths are at most 1, and frames per second at least 0.1"
            )
        if not self.prompt.strip() and not self.unconditional:
            raise ValueError(
                'prompt is empty: describe the video, as in "a red ball bounces", or give '
                "unconditional"
            )
        if self.prompt and self.unconditional:
            raise ValueError(f"unconditional, and prompt is {self.prompt!r}: leave one out")
        for name in OPTIONS:
            value = getattr(self, name)
            if name in TASKS[self.task]:
                if name in FILES and value and epath.Path(value).suffix in NO_CLIPS:
                    raise ValueError(f"{value} is not read as a clip: give an mp4, gif or png")
                if name in FILES and not value and MAY_LACK.get(self.task) != name:
                    raise ValueError(
                        f"{name} is missing: `sora-jax sample {self.task}` needs a file"
                    )
            elif value is not None:
                raise ValueError(
                    f"{name} does nothing in `sora-jax sample {self.task}`: leave it out"
                )

    @property
    def files(self) -> list[str]:
        """Paths of the clips that the task takes."""
        found = [getattr(self, name) for name in FILES if name in TASKS[self.task]]
        return [path for path in found if path]

    def describe(self) -> dict[str, Any]:
        """The options that were given, and hashes of the files."""
        fields = dataclasses.asdict(self)
        del fields["output"]
        hashes = [hashlib.sha256(epath.Path(path).read_bytes()).hexdigest() for path in self.files]
        return {n: value for n, value in fields.items() if value is not None} | {"sha256": hashes}


def read_jobs(path: epath.PathLike, defaults: Mapping[str, Any]) -> list[Job]:
    """The jobs of a file of JSON, one to a line; empty lines are left out.

    Args:
      defaults: options that a line does not name, for tasks that take them; `output` is numbered
        by line.

    Raises:
      ValueError: there is no such file, or a line is no job.
    """
    if not epath.Path(path).exists():
        raise ValueError(f"no file at {path}; check the path")
    jobs = []
    for number, line in enumerate(epath.Path(path).read_text().split("\n"), 1):
        if not line.strip():
            continue
        try:
            options = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is no JSON: {error}") from error
        if not isinstance(options, dict):
            raise ValueError(
                f'{path}: line {number} is no job: give it as {{"prompt": "a red ball"}}'
            )
        task = options.get("task", defaults["task"])
        taken = TASKS.get(task, ()) if isinstance(task, str) else ()
        known = {n: v for n, v in defaults.items() if n not in OPTIONS or n in taken}
        known["output"] = number_path(str(defaults["output"]), number)
        try:
            jobs.append(build(Job, known | options, f"line {number}"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return jobs


def number_path(path: str, number: int) -> str:
    """The path with a number before its ending."""
    file = epath.Path(path)
    return str(file.with_name(f"{file.stem}-{number}{file.suffix}"))


def list_waves(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yields jobs in groups, each of which takes files of earlier groups alone.

    Raises:
      ValueError: two jobs write one file, or jobs wait for each other's.
    """
    for output, count in collections.Counter(_find_path(job.output) for job in jobs).items():
        if count > 1:
            raise ValueError(f"{output} is the output of two jobs: name another file for one")
    left = list(jobs)
    while left:
        waiting = {_find_path(job.output) for job in left}
        ready = [job for job in left if not waiting & set(map(_find_path, job.files))]
        if not ready:
            raise ValueError(
                f"{left[0].output} waits for a file that waits for it: change its clip"
            )
        yield ready
        left = [job for job in left if waiting & set(map(_find_path, job.files))]


def _find_path(path: str) -> str:
    """The one name of a file that may be written in several ways; that of a bucket as it is."""
    return path if "://" in path else os.path.abspath(path)


def make_request(job: Job, stride: int) -> tuple[Request, list[np.ndarray]]:
    """What a job asks a model for, and its clips, scaled and cut to its size.

    Args:
      stride: the codec's temporal stride.

    Raises:
      ValueError: a file does not decode, or does not fit.
    """
    read = [media.read_video(path) for path in job.files]
    clips = [video for video, _ in read]
    rates = [rate for video, rate in read if len(video) > 1 and rate > 0]
    frames, height, width = SIZE
    if clips:
        _, height, width, _ = clips[0].shape
        if job.task in ("edit", "inpaint", "outpaint", "mix"):
            frames = len(clips[0])
        elif job.task == "connect":
            # The second clip begins with a latent: a model sees whole ones.
            start = 1 + -(-(len(clips[0]) + frames - 1) // stride) * stride
            frames = start + len(clips[1])
    elif job.task == "loop":
        frames = frames // stride * stride
    if job.task in ("edit", "inpaint") and job.frames not in (None, frames):
        raise ValueError(
            f"frames is {job.frames}, and the clip has {frames}: leave frames out, or cut the clip"
        )
    size = job.frames or frames, job.height or height, job.width or width  # none is 0
    fps = job.fps or next(iter(rates), Request.fps)
    request = Request(job.prompt, *size, fps, job.seed, unconditional=bool(job.unconditional))
    if job.task != "outpaint":
        clips = [media.cover(clip, *size[1:]) for clip in clips]
    strength = 0.6 if job.strength is None else job.strength
    match job.task:
        case "text" if job.preview:
            request = tasks.preview(request, job.preview)
        case "loop" if not clips:
            if size[0] % stride:
                raise ValueError(f"a loop of {size[0]} frames: give a multiple of {stride}")
            request = tasks.loop(request)
        case "animate":
            request = tasks.animate(request, clips[0][0], job.at or 0, stride)
        case "connect":
            request = tasks.connect(request, *clips)
        case "mix":
            first, last = clips
            request = tasks.mix(request, first, last, strength, stride)
        case "edit":
            request = tasks.edit(request, clips[0], strength)
        case "inpaint":
            request = tasks.inpaint(request, clips[0], _mark(job.region, clips[0].shape[:3]))
        case "outpaint":
            request = tasks.outpaint(request, clips[0], job.top or 0, job.left or 0)
    return request, clips


def _mark(region: tuple[int, int, int, int] | None, size: tuple[int, ...]) -> np.ndarray:
    """Which pixels of a clip are made anew."""
    if region is None:
        raise ValueError("region is missing: give TOP,LEFT,HEIGHT,WIDTH in pixels")
    top, left, height, width = region
    text, wanted = ",".join(map(str, region)), np.zeros(size, bool)
    if min(height, width) < 1:
        raise ValueError(f"region {text} is empty: give a height and a width of a pixel or more")
    rows, columns = (
        slice(max(start, 0), max(start + count, 0))
        for start, count in ((top, height), (left, width))
    )
    wanted[:, rows, columns] = True
    if not wanted.any():
        raise ValueError(f"region {text} lies outside of the clip")
    return wanted
