"""sora-jax sample [TASK]: videos, or images with --frames=1, from words, pictures and films.

Tasks, and what they take beside --prompt:
  text      (the default) nothing
  animate   --clip=PICTURE, and --at, the frame at which it stands
  extend    --clip=FILM, and --backward; --frames are added to it
  connect   --clip=FILM, the beginning, and --last=FILM, the end
  edit      --clip=FILM, and --strength
  inpaint   --clip=FILM, and --region=TOP,LEFT,HEIGHT,WIDTH, which is made anew
  outpaint  --clip=FILM, inside of --height x --width at --top and --left

A picture or film of another size is scaled and cut at its sides.

Examples:
  sora-jax sample --prompt="a red ball bounces on a white background" --frames=17 --height=64 \\
    --width=96 --seed=0 --output=ball.mp4
  sora-jax sample extend --clip=ball.mp4 --prompt="a red ball bounces on a white background" \\
    --frames=24 --output=longer.mp4
"""

import dataclasses

import numpy as np
from absl import flags
from etils import epath

from sora_jax import media, sharding
from sora_jax.commands.runs import load_generator
from sora_jax.diffusion.samplers import SAMPLERS
from sora_jax.generation import long, tasks
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.progress import progress_of

CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Workdir of a diffusion run, or folder of a released model; the one that comes with sora_jax "
    "if not given.",
)
PROMPT = flags.DEFINE_multi_string("prompt", [], "What the video shows; give it several times.")
FRAMES = flags.DEFINE_integer(
    "frames", None, "Frames; 1 makes an image. 17, or those of --clip, if not given.", 1
)
HEIGHT = flags.DEFINE_integer("height", None, "Pixels, at least 16; 64, or those of --clip.")
WIDTH = flags.DEFINE_integer("width", None, "Pixels, at least 16; 96, or those of --clip.")
FPS = flags.DEFINE_float("fps", None, "Frames per second; 8, or those of --clip.", lower_bound=0.1)
SEED = flags.DEFINE_integer("seed", 0, "The same seed gives the same video.")
STEPS = flags.DEFINE_integer("steps", 32, "Steps from noise to data.", lower_bound=1)
SAMPLER = flags.DEFINE_enum("sampler", "euler", list(SAMPLERS), "Method of integration.")
GUIDANCE = flags.DEFINE_float("guidance", 2.0, "Scale of guidance; 1 means none.")
ROPE_STRETCH = flags.DEFINE_list(
    "rope_stretch", ["1", "1", "1"], "Factors by axis t, h, w, for more than training's sizes."
)
OUTPUT = flags.DEFINE_string("output", "sample.mp4", "File; several prompts are numbered.")
CLIP = flags.DEFINE_string("clip", None, "Picture or film that is given.")
LAST = flags.DEFINE_string("last", None, "Picture or film of the end, for connect.")
AT = flags.DEFINE_integer("at", 0, "Frame at which a picture stands, for animate.", lower_bound=0)
BACKWARD = flags.DEFINE_bool("backward", False, "Whether extend adds frames before the clip.")
STRENGTH = flags.DEFINE_float("strength", 0.6, "How much edit changes, 0 to 1.", 0, 1)
REGION = flags.DEFINE_list("region", [], "Pixels TOP,LEFT,HEIGHT,WIDTH that inpaint makes anew.")
TOP = flags.DEFINE_integer("top", 0, "Pixels above the clip, for outpaint.", lower_bound=0)
LEFT = flags.DEFINE_integer("left", 0, "Pixels to the left of the clip, for outpaint.", 0)

TASKS = {
    "text": (),
    "animate": ("clip", "at"),
    "extend": ("clip", "backward"),
    "connect": ("clip", "last"),
    "edit": ("clip", "strength"),
    "inpaint": ("clip", "region"),
    "outpaint": ("clip", "top", "left"),
}
"""The tasks, and the flags that only some of them take."""


def _numbers(flag: flags.FlagHolder, count: int, kind: type) -> list:
    try:
        values = [kind(text) for text in flag.value]
    except ValueError:
        values = []
    if len(values) != count:
        raise ValueError(f"--{flag.name}={','.join(flag.value)}: give {count} numbers with commas")
    return values


def main(task: str = "text") -> None:
    """Writes one file for each prompt."""
    _check_flags(task)
    if not PROMPT.value:
        raise ValueError("there are no prompts: give at least one")
    clips, fps = [], FPS.value
    for name in ("clip", "last"):
        if name not in TASKS[task]:
            continue
        video, its_fps = media.read_video(flags.FLAGS[name].value or "")
        clips.append(video)
        fps = fps or (its_fps if len(video) > 1 else None)
    base = _make_request(task, clips, fps or 8.0)
    if task != "outpaint":
        clips = [media.cover(clip, base.height, base.width) for clip in clips]
    requests = [dataclasses.replace(base, prompt=prompt) for prompt in PROMPT.value]
    with sharding.use_mesh():
        generator = load_generator(CHECKPOINT.value, tuple(_numbers(ROPE_STRETCH, 3, float)))
        config = SamplingConfig(STEPS.value, GUIDANCE.value, SAMPLER.value)
        if task == "extend":
            told = *(config, BACKWARD.value), progress_of("frames")
            videos = [long.lengthen(generator, r, clips[0], *told) for r in requests]
        else:
            asked = [_fill_in(task, request, clips, generator) for request in requests]
            videos = generator.sample(asked, config, progress_of("rows"))
    _write(videos, base.fps)


def _check_flags(task: str) -> None:
    """Checks that the task has what it needs, and nothing that it does not take."""
    for name in {name for taken in TASKS.values() for name in taken}:
        if name in TASKS[task]:
            if name in ("clip", "last") and not flags.FLAGS[name].value:
                raise ValueError(f"--{name} is missing: `sora-jax sample {task}` needs a file")
        elif flags.FLAGS[name].present:
            raise ValueError(f"--{name} does nothing in `sora-jax sample {task}`: leave it out")


def _make_request(task: str, clips: list[np.ndarray], fps: float) -> Request:
    """The request of all prompts, of the clip's size where no other is asked for."""
    frames, height, width = 17, 64, 96
    if clips:
        _, height, width, _ = clips[0].shape
        if task in ("edit", "inpaint", "outpaint"):
            frames = len(clips[0])
        elif task == "connect":
            frames += sum(map(len, clips))
    size = FRAMES.value or frames, HEIGHT.value or height, WIDTH.value or width
    return Request(PROMPT.value[0], *size, fps, SEED.value)


def _fill_in(task: str, request: Request, clips: list[np.ndarray], generator: Generator) -> Request:
    """The request with what the task gives."""
    match task:
        case "animate":
            stride = generator.codec.config.temporal_stride
            return tasks.animate(request, clips[0][0], AT.value, stride)
        case "connect":
            return tasks.connect(request, *clips)
        case "edit":
            return tasks.edit(request, clips[0], STRENGTH.value)
        case "inpaint":
            top, left, height, width = _numbers(REGION, 4, int)
            wanted = np.zeros(clips[0].shape[:3], bool)
            wanted[:, max(top, 0) : top + height, max(left, 0) : left + width] = True
            if not wanted.any():
                raise ValueError(f"--region={','.join(REGION.value)} lies outside of the clip")
            return tasks.inpaint(request, clips[0], wanted)
        case "outpaint":
            return tasks.outpaint(request, clips[0], TOP.value, LEFT.value)
    return request


def _write(videos: list[np.ndarray], fps: float) -> None:
    path = epath.Path(OUTPUT.value)
    for i, video in enumerate(videos):
        target = path if len(videos) == 1 else path.with_name(f"{path.stem}-{i}{path.suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if len(video) == 1 and target.suffix == ".png":
            target.write_bytes(media.image_bytes(video[0]))
        else:
            media.write_video(target, video, fps)
        print(target)
