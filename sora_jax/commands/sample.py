"""sora-jax sample [TASK]: videos, or images with --frames=1, from words, pictures and films.

Tasks, and what they take beside --prompt:
  text      (the default) nothing, or --preview=N
  animate   --clip=PICTURE, and --at, the frame at which it stands
  extend    --clip=FILM, and --backward; --frames are added to it
  connect   --clip=FILM, the beginning, and --last=FILM, the end
  loop      --clip=FILM; --frames lead from its end to its beginning; or no clip, a film from text
  mix       --clip=FILM and --last=FILM, of which one becomes the other, and --strength
  edit      --clip=FILM, and --strength
  inpaint   --clip=FILM, and --region=TOP,LEFT,HEIGHT,WIDTH, which is made anew
  outpaint  --clip=FILM, inside of --height x --width at --top and --left

A picture or film of another size is scaled and cut at its sides. The ending of --output says the
format: mp4, gif, webp, png or npz; `sora-jax info --file=FILE` prints how a file was made.

--requests=FILE has a job on each line, as {"task": "extend", "prompt": "...", "clip": "a.mp4",
"output": "b.mp4"}, with the names of the flags below, which say what a line leaves out. A line may
take files that others make. Files that are there and were made so are kept.

Examples:
  sora-jax sample --prompt="a red ball bounces on a white background" --frames=17 --height=64 \\
    --width=96 --seed=0 --output=ball.mp4
  sora-jax sample extend --clip=ball.mp4 --prompt="a red ball bounces on a white background" \\
    --frames=24 --output=longer.mp4
"""

import collections
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from etils import epath

from sora_jax import media, processes, sharding
from sora_jax.commands import devices, jobs
from sora_jax.commands.jobs import TASKS, Job
from sora_jax.commands.runs import load_generator
from sora_jax.config import to_dict
from sora_jax.diffusion.samplers import SAMPLERS
from sora_jax.files import write_whole
from sora_jax.generation import long
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.outputs import check_output, read_metadata, write_output

__all__ = ["TASKS", "main"]

LONG = "extend", "loop"
"""Tasks whose videos are a clip and what is added to it."""

CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Workdir of a diffusion run, or folder of a released model; the one that comes with sora_jax "
    "if not given.",
)
PROMPT = flags.DEFINE_multi_string("prompt", [], "What the video shows; give it several times.")
UNCONDITIONAL = flags.DEFINE_bool("unconditional", None, "Makes a video without a prompt.")
REQUESTS = flags.DEFINE_string("requests", None, "File of JSON with a job on each line.")
FRAMES = flags.DEFINE_integer(
    "frames",
    None,
    "Frames; 1 makes an image. 17, or those of --clip, if not given; of a loop a multiple of 4.",
    1,
)
HEIGHT = flags.DEFINE_integer("height", None, "Pixels, at least 16; 64, or those of --clip.")
WIDTH = flags.DEFINE_integer("width", None, "Pixels, at least 16; 96, or those of --clip.")
FPS = flags.DEFINE_float("fps", None, "Frames per second; 8, or those of --clip.", lower_bound=0.1)
SEED = flags.DEFINE_integer("seed", 0, "The same seed gives the same video.")
STEPS = flags.DEFINE_integer("steps", 32, "Steps from noise to data.", lower_bound=1)
SAMPLER = flags.DEFINE_enum("sampler", "euler", list(SAMPLERS), "Method of sampling.")
REPEATS = flags.DEFINE_integer(
    "repeats", 1, "Times that ancestral makes each step but the last.", 1
)
GUIDANCE = flags.DEFINE_float("guidance", 2.0, "Scale of guidance; 1 means none.")
INTERVAL = flags.DEFINE_list(
    "guidance_interval",
    ["0", "1"],
    "Lowest and highest noise level, after the shift, with guidance.",
)
RESCALE = flags.DEFINE_float(
    "guidance_rescale",
    0.0,
    "Share, 0 to 1, by which contrast is moved to that without guidance.",
    0,
    1,
)
ROPE_STRETCH = flags.DEFINE_list(
    "rope_stretch", ["1", "1", "1"], "Factors by axis t, h, w, for more than training's sizes."
)
OUTPUT = flags.DEFINE_string("output", "sample.mp4", "File; several prompts are numbered.")
SAVE_EVERY = flags.DEFINE_integer(
    "save_every", None, "Also writes OUTPUT.strip.png, of one frame in so many.", 1
)
CLIP = flags.DEFINE_string("clip", None, "Picture or film that is given.")
LAST = flags.DEFINE_string("last", None, "Picture or film of the end, for connect and mix.")
AT = flags.DEFINE_integer("at", None, "Frame at which a picture stands, for animate; 0.", 0)
BACKWARD = flags.DEFINE_bool("backward", None, "Whether extend adds frames before the clip.")
STRENGTH = flags.DEFINE_float(
    "strength", None, "How much edit and mix change, 0 to 1; 0.6 if not given.", 0, 1
)
REGION = flags.DEFINE_list("region", None, "Pixels TOP,LEFT,HEIGHT,WIDTH that inpaint makes anew.")
PREVIEW = flags.DEFINE_integer(
    "preview", None, "Makes a quick look at a video whose sides are so many times as long.", 1
)
TOP = flags.DEFINE_integer("top", None, "Pixels above the clip, for outpaint; 0.", lower_bound=0)
LEFT = flags.DEFINE_integer("left", None, "Pixels to the left of the clip, for outpaint; 0.", 0)
devices.define_process_flags()
devices.define_mesh_flag()


def main(task: str = "text") -> None:
    """Writes one file for each prompt, or each line of --requests."""
    asked, stretch = _list_jobs(task), tuple(_numbers(ROPE_STRETCH, 3, float))
    config = SamplingConfig(
        steps=STEPS.value,
        guidance=GUIDANCE.value,
        sampler=SAMPLER.value,
        guidance_interval=tuple(_numbers(INTERVAL, 2, float)),
        guidance_rescale=RESCALE.value,
        repeats=REPEATS.value,
    )
    waves = list(jobs.list_waves(asked))
    devices.start()
    with sharding.use_mesh(devices.mesh_config()):
        generator = load_generator(CHECKPOINT.value, stretch)
        settings = dataclasses.asdict(config) | {"rope_stretch": stretch}
        settings["model"] = _hash(generator)
        for wave in waves:
            _run(generator, wave, config, settings)
            processes.wait_for_others("files that the next jobs may read")


def _run(
    generator: Generator, wave: Sequence[Job], config: SamplingConfig, settings: dict[str, Any]
) -> None:
    """Writes the files of jobs whose clips are there."""
    stride, together = generator.codec.config.temporal_stride, []
    for job in wave:
        try:
            request, clips = jobs.make_request(job, stride)
        except ValueError as error:
            raise ValueError(f"{job.output}: {error}" if REQUESTS.value else str(error)) from error
        metadata = {"job": job.describe(), "settings": settings, "fps": request.fps}
        if REQUESTS.value and processes.agree(_is_there(job.output, metadata)):
            if processes.is_first():
                print(f"{job.output} was made in an earlier call")
        else:
            added_to = len(clips[0]) if _is_long(job, clips) else 0
            check_output(job.output, request.frames + added_to)
            together.append((job, request, clips, metadata))
    for job, request, clips, metadata in together:
        if _is_long(job, clips):
            frames = _lengthen(generator, job, request, clips[0], config)
            _write(job.output, frames, request.fps, metadata)
    packed = [
        (job, request, metadata)
        for job, request, clips, metadata in together
        if not _is_long(job, clips)
    ]
    if packed:
        requests = [request for _, request, _ in packed]
        videos = generator.sample_frames(requests, config, progress=devices.progress_of("rows"))
        for (job, request, metadata), video in zip(packed, videos, strict=True):
            _write(job.output, video, request.fps, metadata)


def _is_long(job: Job, clips: Sequence[np.ndarray]) -> bool:
    return job.task in LONG and len(clips) > 0


def _list_jobs(task: str) -> list[Job]:
    """The jobs of the command line."""
    names = [
        field.name for field in dataclasses.fields(Job) if field.name not in ("prompt", "task")
    ]
    options: dict[str, Any] = {name: flags.FLAGS[name].value for name in names}
    if REGION.value is not None:
        options["region"] = tuple(_numbers(REGION, 4, int))
    options["task"] = task
    if REQUESTS.value is None:
        prompts = PROMPT.value or [""] * bool(UNCONDITIONAL.value)
        if not prompts:
            raise ValueError("there are no prompts: give at least one, or --unconditional")
        found = []
        for i, text in enumerate(prompts):
            options["prompt"] = text
            if len(prompts) > 1:
                options["output"] = jobs.number_path(OUTPUT.value, i)
            found.append(Job(**options))
        return found
    if PROMPT.value:
        raise ValueError("--prompt and --requests are both given: leave one out")
    found = jobs.read_jobs(REQUESTS.value, options)
    if not found:
        raise ValueError(f"{REQUESTS.value} has no jobs: give a line for each video")
    return found


def _numbers(flag: flags.FlagHolder, count: int, kind: type) -> list:
    try:
        values = [kind(text) for text in flag.value]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError(f"--{flag.name}={','.join(flag.value)}: give {count} numbers with commas")
    return values


def _hash(generator: Generator) -> str:
    """Tells models apart by the weights of the transformer and of the codec, and by settings."""
    found = hashlib.sha256()
    run, codec = generator.run, generator.codec
    for leaf in jax.tree.leaves((run.params, run.channel_scale, codec.params, codec.statistics)):
        found.update(processes.fetch(jnp.asarray(leaf)).tobytes())
    found.update(json.dumps(to_dict(run.experiment), sort_keys=True).encode())
    return f"{found.hexdigest()[:12]} at step {generator.run.step}"


def _lengthen(
    generator: Generator, job: Job, request: Request, clip: np.ndarray, config: SamplingConfig
) -> Iterable[np.ndarray]:
    """Frames of a clip and of what is added to it, which are made or decoded as they are read."""
    if job.task == "loop":
        return long.close_loop(generator, request, clip, config)
    backward = bool(job.backward)
    return long.lengthen(
        generator, request, clip, config, backward, progress=devices.progress_of("frames")
    )


def _is_there(path: str, metadata: dict[str, Any]) -> bool:
    """Whether a file was made so in an earlier call."""
    if not epath.Path(path).exists():
        return False
    try:
        return read_metadata(path) == json.loads(json.dumps(metadata))
    except ValueError:
        return False


def _write(path: str, frames: Iterable[np.ndarray], fps: float, metadata: dict[str, Any]) -> None:
    """Writes a file, on process 0 alone; the others help to make its frames."""
    if not processes.is_first():
        collections.deque(frames, maxlen=0)
        return
    kept: list[np.ndarray] = []
    write_output(path, _keep(frames, SAVE_EVERY.value, kept), fps, metadata)
    if kept:
        strip = epath.Path(path).with_suffix(".strip.png")
        write_whole(strip, media.image_bytes(np.concatenate(kept, 1)))
    print(path)


def _keep(
    frames: Iterable[np.ndarray], every: int | None, kept: list[np.ndarray]
) -> Iterable[np.ndarray]:
    """The frames as they come, of which one in `every`, from the first, goes into `kept`."""
    for number, frame in enumerate(frames):
        if every and number % every == 0:
            kept.append(frame)
        yield frame
