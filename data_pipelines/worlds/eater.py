"""A face bites round pieces out of a food, seen from above, and what is bitten stays bitten.

Laws are in `sora_jax.laws.eater`; lengths are in units of the frame's short side until something is
drawn.
"""

import math

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.drawing import Picture, blur_video, flicker_video
from data_pipelines.worlds.eater_captions import write_captions
from data_pipelines.worlds.eater_run import (
    BREAK,
    Run,
    cover_disc,
    draw_run,
    measure_in_sight,
    move_face,
    remove_bites,
    remove_unlawfully,
)
from sora_jax.laws import eater as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

NAME = "eater"
LICENCE = "Apache-2.0"
BROKEN = (
    "bite_heals",  # every bite is whole again 0.25 s later, from `BREAK` on
    "bite_elsewhere",  # the window's bites vanish from the side away from the face
    "bite_doubles",  # the window's bites have twice the area
    "food_recolored",  # the food has another colour from the window's first bite on
    "slowed",  # time runs at half its rate from the window's first bite on
    "appears",  # another piece of food lies there from `BREAK` on
    "blurred",
    "flickering",
)

_OPEN = math.radians(42)  # half of the angle of the wide open mouth
_UNCOVERED = 0.75  # radii that the face must have left the window's last bite for it to be told


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 8 of the 32 pairs of colour and food out of training, two colours for each food."""
    return _is_held_out_pair(attributes["color"], attributes["food"])


def _is_held_out_pair(color: str, food: str) -> bool:
    return list(COLORS).index(color) % len(laws.FOODS) == list(laws.FOODS).index(food)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. Truth, with lengths in units of `laws`:

    remaining[t, bytes], the mask of food that is not bitten off (at least half a pixel, also where
    the face hides it), packed by np.packbits per frame; bites[t], number of bites so far;
    mouth[t, 2], centre of the face, also outside of the frame; in_sight[t], share of the face
    within the frame; center[2] and radius of the food; bite_centers[n, 2] and bite_times[n] of all
    bites of the run, in seconds after the first frame.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request, BROKEN)
    pairs = base.allowed_pairs(COLORS, laws.FOODS, _is_held_out_pair, request.held_out)
    color, food = base.pick(rng, pairs)
    background = base.pick(rng, tuple(BACKGROUNDS))
    surface = base.pick(rng, ("table", "plate"))
    side = base.pick(rng, tuple(laws.SIDES))
    pace = base.pick(rng, ("very quickly",) if request.outside else laws.TRAINED_PACES)
    run = draw_run(rng, side, pace, surface, request.outside, w / min(h, w), h / min(h, w))

    seconds = np.arange(t) / FPS
    eaten = run.times <= seconds[:, None]  # [t, n]
    before, last = int(eaten[0].sum()), run.times[-1]
    mouth, _ = move_face(run, seconds)
    shown = int(eaten[-1].sum())
    if shown > before:
        left_by = np.hypot(*(mouth[-1] - run.bites[shown - 1])) / laws.BITE_RADIUS
        shown -= int(left_by < _UNCOVERED)
    attributes = {
        "food": food,
        "color": color,
        "background": background,
        "surface": surface,
        "direction": side,
        "pace": pace,
        "before": str(before),
        "bites": str(shown - before),
        "leaves": "yes" if t > 1 and last + laws.APPROACH <= seconds[-1] else "no",
    }
    scale = min(h, w)
    present = cover_disc(run.center * scale, run.radius * scale, h, w)
    discs = [cover_disc(b * scale, laws.BITE_RADIUS * scale, h, w) for b in run.bites]
    left = remove_bites(present, discs, eaten)
    remaining = np.stack(left) >= 0.5
    in_sight = measure_in_sight(mouth, h, w)
    truth = {
        "remaining": np.packbits(remaining.reshape(t, -1), axis=1),
        "bites": eaten.sum(1).astype(np.int32),
        "mouth": mouth.astype(np.float32),
        "in_sight": in_sight.astype(np.float32),
        "center": run.center.astype(np.float32),
        "radius": float(run.radius),
        "bite_centers": run.bites.astype(np.float32),
        "bite_times": run.times.astype(np.float32),
    }
    video = _render(run, attributes, left, seconds, request.broken)
    captions = write_captions(rng, attributes, base.name_view(h, w), t == 1, in_sight[0] > 0.6)
    return base.Clip(video, FPS, captions, truth, attributes)


def _render(run: Run, attributes, left: list[np.ndarray], seconds, broken: str) -> np.ndarray:
    """Draws the window, with one law broken unless `broken` is empty.

    Args:
      left: of each frame, the share [h, w] of pixels that is left of the food by the laws.
      seconds: [t] after the window's first frame.
    """
    t, (h, w) = len(seconds), left[0].shape
    scale = min(h, w)
    start = run.times[run.times > 0][0]  # of the window's first bite
    if broken == "slowed":
        seconds = np.where(seconds < start, seconds, start + (seconds - start) / 2)
    if broken in ("slowed", "bite_heals", "bite_elsewhere", "bite_doubles"):
        left = remove_unlawfully(run, seconds, h, w, broken)
    ground = Picture(1, h, w, BACKGROUNDS[attributes["background"]])
    if attributes["surface"] == "plate":
        plate = run.radius * laws.PLATE_RADIUS * scale
        center = run.center[None] * scale
        ground.disc(center, plate, laws.PLATE_RIM)
        ground.disc(center, plate - max(0.02 * scale, 1.0), laws.PLATE)
    below = ground.pixels()[0]
    color = attributes["color"]
    foods = [_draw_food(run, attributes["food"], color, scale, h, w)]
    if broken == "food_recolored":
        names = list(COLORS)
        other = names[(names.index(color) + 3) % len(names)]
        foods.append(_draw_food(run, attributes["food"], other, scale, h, w))
    painted: dict[tuple[int, int], np.ndarray] = {}
    stack = np.empty((t, h, w, 3), np.float32)
    for i, share in enumerate(left):
        food = int(seconds[i] >= start) if len(foods) > 1 else 0
        if (id(share), food) not in painted:
            painted[id(share), food] = below + share[..., None] * (foods[food] - below)
        stack[i] = painted[id(share), food]

    picture = Picture(t, h, w, stack)
    if broken == "appears":
        _draw_other_food(picture, run, color, t, h, w)
    mouth, opening = move_face(run, seconds)
    normal = np.array([-run.towards[1], run.towards[0]])
    r = laws.BITE_RADIUS * scale
    picture.notched_disc(mouth * scale, r, -run.towards, opening * _OPEN, laws.FACE)
    up = normal if normal[1] < 0 else -normal  # upright where the face looks to a side
    eye = mouth * scale + r * (0.1 * run.towards + 0.55 * up)
    picture.disc(eye, max(0.17 * r, 1.0), laws.EYE)
    video = picture.video()
    if broken == "blurred":
        return blur_video(video)
    return flicker_video(video) if broken == "flickering" else video


def _draw_food(run: Run, food: str, color: str, scale: float, h: int, w: int) -> np.ndarray:
    """Draws a food float32[h, w, 3] whose body, or rim, goes on beyond its outline."""
    look = laws.FOODS[food]
    center, radius = run.center[None] * scale, run.radius * scale
    picture = Picture(1, h, w, look.rim_color if look.rim else COLORS[color])
    if look.rim:
        picture.disc(center, (1 - look.rim) * radius, COLORS[color])
    turn = np.array([math.cos(run.turn), math.sin(run.turn)])
    for x, y, size in look.dots:
        place = np.array([[x * turn[0] - y * turn[1], x * turn[1] + y * turn[0]]])
        picture.disc(center + radius * place, size * radius, laws.BROWN)
    for angle, distance, half_width in look.bars:
        bearing = run.turn + math.radians(angle)
        along = radius * np.array([[math.cos(bearing), math.sin(bearing)]])
        middle = center + distance * along[:, ::-1] * (-1, 1)
        half = math.sqrt(max((1 - look.rim / 2) ** 2 - distance**2, 0)) * along
        picture.stroke(middle - half, middle + half, half_width * radius, laws.BROWN)
    return picture.pixels()[0]


def _draw_other_food(picture: Picture, run: Run, color: str, t: int, h: int, w: int) -> None:
    """Draws another piece in the corner that is farthest from food and face, from `BREAK` on."""
    inset, frame = 0.1, np.array([w, h]) / min(h, w)
    corners = inset + np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) * (frame - 2 * inset)
    behind = corners[(corners - frame / 2) @ run.towards < 0]
    corner = max(behind, key=lambda c: np.hypot(*(c - run.center)))
    places = np.where(np.arange(t)[:, None] < BREAK, -1.0, corner) * min(h, w)
    picture.disc(places, 0.075 * min(h, w), COLORS[color])
