"""The worlds of arXiv:2411.02385: a ball in uniform motion, a parabola, a collision of two balls.

Made from the paper and a description of its generator; laws and units are in
`sora_jax.laws.phyworld`, the motion in `phyworld_physics`. The paper's rules differ from those of
the other worlds:

- 10 frames a second, 33 frames unless fewer are asked for; the first 32 are the paper's. Every clip
  starts at the run's first frame, which is one step (0.01 s) after the start.
- The world is square: 64x64 pixels unless another size is asked for. On another aspect it is the
  largest square in the middle, between grey margins.
- What is held out of training is what the paper calls out of distribution: radii and speeds outside
  of training's range. `held_out=True` and `outside=True` ask for the same, one of `laws.LEVELS`.

A picture of fewer than 256 pixels shows in each pixel the mean of several points, so that its edges
are as smooth as those of a picture of 256 pixels that is made smaller.
"""

import dataclasses
import math

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.drawing import blur_video, flicker_video
from data_pipelines.worlds.phyworld_captions import write_captions
from data_pipelines.worlds.phyworld_physics import draw_run, simulate
from sora_jax.laws import phyworld as laws
from sora_jax.laws.palette import COLORS

NAME = "phyworld"
LICENCE = "Apache-2.0"
BROKEN = (  # from frame `BREAK` on
    "speed_changed",  # time runs at a third of its rate
    "gravity_doubled",  # parabolas only
    "inelastic",  # collisions only: the balls stick together
    "recolored",  # red becomes green, blue becomes orange
    "resized",  # radii are 0.55 times as long
    "doubled",  # another red ball appears and stays where it is
    "blurred",
    "flickering",
)
BREAK = 5
BLUR = 0.03  # deviation of the blur, of the side

DEFAULT_SIDE, SAMPLED_SIDE = 64, 256  # pixels; clips are square unless a request says otherwise


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps every level outside of training's range out of training."""
    return attributes["level"] != laws.INSIDE


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. Truth, in units of `laws`:

    position[t, n, 2] and velocity[t, n, 2] of n balls, the red one first; in_view[t, n], whether a
    ball is wholly in view; radius[n]; touch, seconds after the start at which the balls touch, -1
    where they never do. An image is the first frame.

    Raises:
      ValueError: what `base.draw_canvas` refuses; a level of training (`held_out=False`) outside of
        training's range.
    """
    rng = base.make_rng(NAME, request.seed)
    if request.height is None and request.width is None:
        request = dataclasses.replace(request, height=DEFAULT_SIDE, width=DEFAULT_SIDE)
    frames, height, width = base.draw_canvas(rng, request, BROKEN, laws.MAX_FRAMES)
    if request.outside and request.held_out is False:
        raise ValueError(
            "phyworld holds out of training what is outside of training's range: "
            "with outside, give held_out=True or None"
        )
    run = draw_run(rng, request.held_out, request.outside)
    time = laws.STEP + np.arange(frames) / laws.FPS
    position, velocity, touch = simulate(run, time)
    inside = (position > run.radius[:, None]) & (position < laws.SIDE - run.radius[:, None])
    attributes = {"motion": run.motion, "level": run.level}
    for color, prefix, radius, speed in zip(
        laws.BALLS, ("", "second_"), run.radius, run.speed, strict=False
    ):
        attributes[f"{prefix}color"] = color
        attributes[f"{prefix}size"] = laws.name_range(radius, laws.SIZES)
        attributes[f"{prefix}speed"] = laws.name_range(abs(speed), laws.SPEEDS)
    truth = {
        "position": position.astype(np.float32),
        "velocity": velocity.astype(np.float32),
        "in_view": inside.all(-1),
        "radius": run.radius.astype(np.float32),
        "touch": touch,
    }
    captions = write_captions(rng, attributes, truth, base.name_view(height, width))

    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    video = np.full((frames, height, width, 3), laws.MARGIN, np.uint8)
    window = video[:, top : top + side, left : left + side]
    shown = draw(side, *_show(run, time, request.broken))
    change = {"blurred": lambda late: blur_video(late, BLUR), "flickering": flicker_video}
    if request.broken in change:
        shown[BREAK:] = change[request.broken](shown[BREAK:])
    window[:] = shown
    return base.Clip(video, laws.FPS, captions, truth, attributes)


def draw(side: int, center: np.ndarray, radius: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Draws discs on white as uint8[t, side, side, 3]; later ones cover earlier ones.

    A disc's share of a point at distance d of its centre is clip((r^2 - d^2) / (EDGE r^2), 0, 1).

    Args:
      center: [t, n, 2] in units.
      radius: [t, n] in units; nothing is drawn where it is 0.
      color: [t, n, 3].
    """
    scale = (side - 1) / laws.SIDE  # pixels a unit
    samples = math.ceil(SAMPLED_SIDE / side)
    spread = (np.arange(samples) + 0.5) / samples - 0.5
    pixels = np.full((len(center), side, side, 3), laws.WHITE, np.float32)
    for ball in range(center.shape[1]):
        size = radius[:, ball] * scale
        spot = np.stack([center[:, ball, 0] * scale, side - 1 - center[:, ball, 1] * scale], 1)
        reach = math.ceil(size.max()) + 1
        grid = np.round(spot).astype(int)[:, :, None] + np.arange(-reach, reach + 1)
        offset = grid[..., None] + spread - spot[..., None, None]
        squared = (offset.reshape(len(spot), 2, -1) ** 2).astype(np.float32)
        r2 = np.maximum(size**2, 1e-6).astype(np.float32)[:, None, None]
        share = r2 - squared[:, 1, :, None] - squared[:, 0, None, :]
        share = np.clip(share / (laws.EDGE * r2), 0, 1)
        blocks = (len(spot), 2 * reach + 1, samples, 2 * reach + 1, samples)
        share = share.reshape(blocks).mean((2, 4))
        share *= ((grid[:, 1] >= 0) & (grid[:, 1] < side))[:, :, None]
        share *= ((grid[:, 0] >= 0) & (grid[:, 0] < side) & (size > 0)[:, None])[:, None, :]
        t, i, j = np.nonzero(share)
        at = t, grid[t, 1, i], grid[t, 0, j]
        paint = color[t, ball].astype(np.float32)
        pixels[at] += share[t, i, j, None] * (paint - pixels[at])
    return pixels.astype(np.uint8)


def _show(run, time: np.ndarray, broken: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what `draw` takes: the lawful run, or one whose law is broken."""
    broken_from = laws.STEP + (BREAK - 1) / laws.FPS
    late = np.arange(len(time)) >= BREAK
    seen = time
    if broken == "speed_changed":
        seen = np.where(late, broken_from + (time - broken_from) / 3, time)
    center = simulate(run, seen, restitution=0.0 if broken == "inelastic" else 1.0)[0]
    if broken == "gravity_doubled" and run.motion == "parabola":
        center[..., 1] += laws.GRAVITY / 2 * np.maximum(time - broken_from, 0)[:, None] ** 2
    radius = np.tile(run.radius, (len(time), 1))
    color = np.tile(list(laws.BALLS.values())[: len(run.radius)], (len(time), 1, 1))
    if broken == "recolored":
        color[late] = [COLORS["green"], COLORS["orange"]][: len(run.radius)]
    if broken == "resized":
        radius[late] *= 0.55
    if broken == "doubled":
        # Of the four places, the one that keeps away from all balls.
        places = np.array([(2.0, 2.0), (8.0, 2.0), (2.0, 8.0), (8.0, 8.0)])
        nearest = np.linalg.norm(center[:, :, None] - places, axis=-1).min((0, 1))
        place = np.tile(places[nearest.argmax()], (len(time), 1, 1))
        center = np.concatenate([center, place], 1)
        radius = np.concatenate([radius, np.where(late, 1.0, 0.0)[:, None]], 1)
        color = np.concatenate([color, color[:, :1]], 1)
    return center, radius, color
