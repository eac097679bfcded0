"""sora-jax sample: text to video (or to an image, with --frames=1) with a trained model.

Example:
  sora-jax sample --prompt="a red ball bounces on a white background" --frames=17 --height=64 \\
    --width=96 --seed=0 --output=ball.mp4
"""

from absl import flags
from etils import epath

from sora_jax import media, sharding
from sora_jax.commands.runs import load_generator
from sora_jax.diffusion.samplers import SAMPLERS
from sora_jax.generation.canvas import Request
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.progress import progress_of

CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Workdir of a diffusion run, or folder of a released model; the one that comes with sora_jax "
    "if not given.",
)
PROMPT = flags.DEFINE_multi_string("prompt", [], "What the video shows; give it several times.")
FRAMES = flags.DEFINE_integer("frames", 17, "Frames; 1 makes an image.", lower_bound=1)
HEIGHT = flags.DEFINE_integer("height", 64, "Pixels, at least 16.")
WIDTH = flags.DEFINE_integer("width", 96, "Pixels, at least 16.")
FPS = flags.DEFINE_float("fps", 8.0, "Frames per second.", lower_bound=0.1)
SEED = flags.DEFINE_integer("seed", 0, "The same seed gives the same video.")
STEPS = flags.DEFINE_integer("steps", 32, "Steps from noise to data.", lower_bound=1)
SAMPLER = flags.DEFINE_enum("sampler", "euler", list(SAMPLERS), "Method of integration.")
GUIDANCE = flags.DEFINE_float("guidance", 2.0, "Scale of guidance; 1 means none.")
ROPE_STRETCH = flags.DEFINE_list(
    "rope_stretch", ["1", "1", "1"], "Factors by axis t, h, w, for more than training's sizes."
)
OUTPUT = flags.DEFINE_string("output", "sample.mp4", "File; several prompts are numbered.")


def _stretch() -> tuple[float, float, float]:
    try:
        t, h, w = map(float, ROPE_STRETCH.value)
    except ValueError as error:
        raise ValueError(f"--rope_stretch={ROPE_STRETCH.value}: give three numbers") from error
    return t, h, w


def main() -> None:
    """Writes one file for each prompt."""
    with sharding.use_mesh():
        generator = load_generator(CHECKPOINT.value, _stretch())
        requests = [
            Request(prompt, FRAMES.value, HEIGHT.value, WIDTH.value, FPS.value, SEED.value)
            for prompt in PROMPT.value
        ]
        config = SamplingConfig(STEPS.value, GUIDANCE.value, SAMPLER.value)
        videos = generator.sample(requests, config, progress_of("rows"))
    path = epath.Path(OUTPUT.value)
    for i, video in enumerate(videos):
        target = path if len(videos) == 1 else path.with_name(f"{path.stem}-{i}{path.suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if len(video) == 1 and target.suffix == ".png":
            target.write_bytes(media.image_bytes(video[0]))
        else:
            media.write_video(target, video, FPS.value)
        print(target)
