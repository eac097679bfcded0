"""A ball is thrown at a pane of glass or a vase on a stand, which breaks into pieces that fall.

Some targets hold because the ball is slow, and some are missed. Laws are in
`sora_jax.laws.shatter`, runs in `shatter_physics`; Pymunk, of the extra "worlds", moves the pieces.
"""

import math

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.shatter_captions import write_captions
from data_pipelines.worlds.shatter_physics import (
    STEPS,
    Run,
    draw_run,
    outline_pieces,
    place_pieces,
    simulate,
)
from data_pipelines.worlds.shatter_picture import draw_video
from sora_jax.laws import shatter as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

NAME = "shatter"
LICENCE = "Apache-2.0"
BROKEN = (
    "breaks_early",  # the target breaks 0.5 s before the ball comes, also where it would not break
    "heals",  # the broken target is whole again, 0.75 s after the impact or in frame `BREAK`
    "pieces_vanish",  # every other piece vanishes, 0.5 s after the impact or in frame `BREAK`
    "pieces_float",  # pieces do not fall
    "ball_turns",  # the ball leaves the impact, or the target that it misses, the other way
    "ball_recolored",  # the ball has another colour from frame `BREAK` on
    "appears",  # another ball of the ball's colour appears in frame `BREAK`
    "blurred",
    "flickering",
)

GOES_ON = 0.06
_PHASES = {"before": 0.7, "impact": 0.1, "after": 0.2}  # share of the windows that start there
_STARTS = {  # the window's first frame, in steps after the impact
    "before": (-9 * STEPS, -3 * STEPS),
    "impact": (-STEPS, 0),
    "after": (2 * STEPS, 16 * STEPS),
}


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps two ball colours for the pane and for each colour of vase out of training."""
    return _is_held_out_pair(attributes["color"], attributes["target_color"])


def _is_held_out_pair(color: str, target_color: str) -> bool:
    palette = [*COLORS, "glass"]  # the glass counts as the first colour
    return (palette.index(target_color) - palette.index(color)) % len(COLORS) in (3, 5)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. Truth, with lengths in units of `laws`:

    ball[t, 2], centre of the ball, also outside of the frame; ball_seen[t], whether some of it is
    in sight; radius; impact, frames from the window's first one to the impact, or to the frame in
    which the ball passes over a target that it misses (a fraction, below 0 before the window);
    breaks, whether the target breaks at the impact; goes_on, whether the window shows that the ball
    then goes on for `GOES_ON` units in four frames; areas[n] of the pieces; corners[n, k, 2] of the
    pieces about their centroids, where the last one is repeated up to k; poses[t, n, 3], (x, y,
    angle) of each piece; inside[t], whether all of the target is within the frame.
    """
    rng = base.make_rng(NAME, request.seed)
    frames, height, width = base.draw_canvas(rng, request, BROKEN)
    side = min(height, width)
    kind = base.pick(rng, ("pane", "vase"))
    target_colors = ("glass",) if kind == "pane" else tuple(COLORS)
    pairs = base.allowed_pairs(COLORS, target_colors, _is_held_out_pair, request.held_out)
    color, target_color = base.pick(rng, [pair for pair in pairs if pair[0] != pair[1]])
    background = base.pick(rng, tuple(BACKGROUNDS))
    outcome = str(rng.choice(list(laws.OUTCOMES), p=list(laws.OUTCOMES.values())))
    if request.outside and outcome == "holds":
        outcome = "breaks"
    speed = "slowly" if outcome == "holds" else "very fast" if request.outside else "fast"
    counts = laws.OUTSIDE_PIECES if request.outside else laws.PIECES
    size = (width / side, height / side)
    run = draw_run(rng, kind, outcome, laws.SPEEDS[speed], counts, size)
    phase = str(rng.choice(list(_PHASES), p=list(_PHASES.values())))
    first = int(rng.integers(*_STARTS[phase]))

    ball, poses = simulate(run, first, frames)
    corners = outline_pieces(run)
    across = place_pieces(corners, poses)[..., 0]
    reach = np.abs(ball - np.array(size) / 2) - np.array(size) / 2  # of the centre, out of frame
    attributes = {
        "color": color,
        "target": kind,
        "target_color": target_color,
        "direction": "left" if run.mirrored else "right",
        "outcome": outcome,
        "speed": speed,
        "background": background,
    }
    truth = {
        "ball": ball.astype(np.float32),
        "ball_seen": (reach < 0.5 * run.radius).all(1),
        "radius": float(run.radius),
        "impact": -first / STEPS,
        "breaks": outcome == "breaks",
        "goes_on": outcome == "breaks" and _goes_on(run, ball, -first / STEPS),
        "areas": np.array([laws.area(piece) for piece in run.pieces], np.float32),
        "corners": corners.astype(np.float32),
        "inside": ((across > 0) & (across < size[0])).all((1, 2)),
        "poses": poses.astype(np.float32),
    }
    captions = write_captions(rng, attributes, truth, base.name_view(height, width))
    shape = (frames, height, width)
    video = draw_video(run, attributes, first, shape, (ball, poses), request.broken)
    return base.Clip(video, FPS, captions, truth, attributes)


def _goes_on(run: Run, ball: np.ndarray, impact: float) -> bool:
    hit = math.ceil(impact)
    if impact < 0 or hit + 4 >= len(ball):
        return False
    shift = ball[hit + 4, 0] - ball[hit, 0]
    within = run.radius < ball[hit + 4, 0] < run.size[0] - run.radius
    return bool(within and (-shift if run.mirrored else shift) > GOES_ON)
