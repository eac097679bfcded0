"""A face bites round pieces out of a food, seen from above, and what is bitten stays bitten.

Laws are in `sora_jax.laws.eater`; lengths are in units of the frame's short side until something is
drawn.
"""

import dataclasses
import math

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.drawing import Picture, blur_video, flicker_video
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
BREAK = 5  # frame of the window

_LEADS = (0.25, 0.45)  # seconds from the window's first frame to its first bite
_MARGIN = 0.02  # between the food, or its plate, and the frame's edges
_FACE_ROOM = 0.25  # at least, between the food and the frame's edge on the face's side
_OPEN = math.radians(42)  # half of the angle of the wide open mouth
_UNCOVERED = 0.75  # radii that the face must have left the window's last bite for it to be told
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
_FROM = {
    "left": "from the left",
    "right": "from the right",
    "top": "from above",
    "bottom": "from below",
}
_AT = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of bites; times are in seconds after the window's first frame.

    Attributes:
      center, radius: of the food.
      towards: unit vector from the food to the face's side.
      bites: [n, 2], the centres of all bites of the run.
      times: [n], when they are taken.
      turn: angle by which the food's picture is turned, in radians.
    """

    center: np.ndarray
    radius: float
    towards: np.ndarray
    bites: np.ndarray
    times: np.ndarray
    turn: float


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
    if request.broken and request.broken not in BROKEN:
        raise ValueError(f"{NAME} cannot break {request.broken!r}; choose from {', '.join(BROKEN)}")
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request)
    pairs = base.allowed_pairs(COLORS, laws.FOODS, _is_held_out_pair, request.held_out)
    color, food = base.pick(rng, pairs)
    background = base.pick(rng, tuple(BACKGROUNDS))
    surface = base.pick(rng, ("table", "plate"))
    side = base.pick(rng, tuple(laws.SIDES))
    pace = base.pick(rng, ("very quickly",) if request.outside else laws.TRAINED_PACES)
    run = _draw_run(rng, side, pace, surface, request.outside, w / min(h, w), h / min(h, w))

    seconds = np.arange(t) / FPS
    eaten = run.times <= seconds[:, None]  # [t, n]
    before, last = int(eaten[0].sum()), run.times[-1]
    mouth, _ = _move_face(run, seconds)
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
    present = _cover_disc(run.center * scale, run.radius * scale, h, w)
    discs = [_cover_disc(b * scale, laws.BITE_RADIUS * scale, h, w) for b in run.bites]
    left = _remove(present, discs, eaten)
    remaining = np.stack(left) >= 0.5
    in_sight = _measure_in_sight(mouth, h, w)
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
    captions = _write_captions(rng, attributes, base.name_view(h, w), t == 1, in_sight[0] > 0.6)
    return base.Clip(video, FPS, captions, truth, attributes)


def _draw_run(rng, side: str, pace: str, surface: str, outside: bool, width, height) -> Run:
    """Draws a run and where its window starts; width and height are the frame's, in units."""
    count = base.pick(rng, laws.OUTSIDE_COUNTS if outside else laws.COUNTS)
    radius = rng.uniform(*(laws.OUTSIDE_RADII if outside else laws.RADII))
    period = rng.uniform(*laws.PERIODS[pace])
    towards = np.array(laws.SIDES[side], float)
    extent = radius * (laws.PLATE_RADIUS if surface == "plate" else 1.0) + _MARGIN
    frame = np.array([width, height])
    low, high = np.full(2, extent), frame - extent
    axis = int(abs(towards[1]))
    if towards[axis] < 0:
        low[axis] = min(max(extent, radius + _FACE_ROOM), high[axis])
    else:
        high[axis] = max(min(high[axis], frame[axis] - radius - _FACE_ROOM), low[axis])
    center = rng.uniform(low, high)

    tilt = math.radians(rng.uniform(-laws.TILT, laws.TILT))
    toward = (
        np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]]) @ towards
    )
    normal = np.array([-toward[1], toward[0]]) * base.pick(rng, (-1, 1))
    depth, offset = np.array(laws.BITES[:count]).T * laws.BITE_RADIUS
    bites = center + np.outer(radius - depth, toward) + np.outer(offset, normal)

    first = int(rng.integers(count))
    lead = rng.uniform(_LEADS[0], max(_LEADS[0], min(_LEADS[1], period - _LEADS[0])))
    times = lead + (np.arange(count) - first) * period
    return Run(center, radius, towards, bites, times, rng.uniform(0, 2 * math.pi))


def _move_face(run: Run, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the face's centre [t, 2] and how far its mouth is open [t], 0 to 1.

    The face withdraws from each bite along the food's side, shifts, and comes back; it stays
    `HOLD` before and after each bite.
    """
    inward = (run.bites - run.center) @ run.towards  # along `towards`, from the food's centre
    normal = np.array([-run.towards[1], run.towards[0]])
    offset = (run.bites - run.center) @ normal
    rest = run.radius + laws.BITE_RADIUS + laws.REST_GAP
    away = run.radius + laws.BITE_RADIUS + laws.AWAY_GAP
    # Turning points: away, bite, rest, bite, ..., bite, away.
    between = (run.times[1:] + run.times[:-1]) / 2
    ends = run.times[0] - laws.APPROACH, run.times[-1] + laws.APPROACH
    outer_times = np.r_[ends[0], between, ends[1]]
    outer = np.r_[away, np.full(len(between), rest), away]
    index = np.searchsorted(outer_times, seconds) - 1  # the bite that is nearest in time
    index = np.clip(index, 0, len(run.times) - 1)
    lag = seconds - run.times[index]
    coming = lag < 0
    reach = np.where(
        coming, run.times[index] - outer_times[index], outer_times[index + 1] - run.times[index]
    )
    share = np.clip((np.abs(lag) - laws.HOLD) / (reach - laws.HOLD), 0, 1)
    far = (1 - np.cos(math.pi * share)) / 2
    along = inward[index] + far * (np.where(coming, outer[index], outer[index + 1]) - inward[index])

    # The offset changes in the middle third of the way between two bites.
    if len(run.times) > 1:
        step = np.clip(np.searchsorted(run.times, seconds) - 1, 0, len(run.times) - 2)
        u = (seconds - run.times[step]) / (run.times[1] - run.times[0])
        u = np.clip(3 * u - 1, 0, 1)
        aside = offset[step] + (offset[step + 1] - offset[step]) * u * u * (3 - 2 * u)
    else:
        aside = np.full(len(seconds), offset[0])
    opening = np.where(coming, np.clip(-lag / laws.HOLD, 0, 1) * np.clip(3 * (1 - share), 0, 1), 0)
    return run.center + np.outer(along, run.towards) + np.outer(aside, normal), opening


def _cover_disc(center, radius: float, h: int, w: int) -> np.ndarray:
    """Returns the share [h, w] of each pixel within a disc; lengths are in pixels."""
    x, y = np.arange(w) + 0.5 - center[0], np.arange(h)[:, None] + 0.5 - center[1]
    return np.clip(0.5 + radius - np.hypot(x, y), 0, 1).astype(np.float32)


def _remove(present: np.ndarray, discs: list[np.ndarray], eaten: np.ndarray) -> list[np.ndarray]:
    """Returns what remains [h, w] of the food in each frame, of the bites in eaten[t, n]."""
    states: dict[bytes, np.ndarray] = {}
    for row in eaten:
        if row.tobytes() not in states:
            left = present
            for i in np.flatnonzero(row):
                left = np.minimum(left, 1 - discs[i])
            states[row.tobytes()] = left
    return [states[row.tobytes()] for row in eaten]


def _measure_in_sight(mouth: np.ndarray, h: int, w: int) -> np.ndarray:
    """Measures the share of the face's bounding square within the frame."""
    frame = np.array([w, h]) / min(h, w)
    r = laws.BITE_RADIUS
    inside = np.clip(np.minimum(mouth + r, frame) - np.maximum(mouth - r, 0), 0, 2 * r)
    return inside.prod(1) / (2 * r) ** 2


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
        left = _remove_unlawfully(run, seconds, h, w, broken)
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
    mouth, opening = _move_face(run, seconds)
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


def _remove_unlawfully(run: Run, seconds, h: int, w: int, broken: str) -> list[np.ndarray]:
    """Returns what is left [h, w] of the food in each frame where a law of bites is broken."""
    scale, in_window = min(h, w), run.times > 0
    eaten = run.times <= seconds[:, None]
    bites, radii = run.bites, np.full(len(run.bites), laws.BITE_RADIUS)
    if broken == "bite_heals":
        old = run.times <= seconds[:, None] - 0.25
        eaten &= ~(old & (np.arange(len(seconds))[:, None] >= BREAK))
    elif broken == "bite_elsewhere":
        bites = np.where(in_window[:, None], 2 * run.center - bites, bites)
    elif broken == "bite_doubles":
        radii = np.where(in_window, math.sqrt(2) * radii, radii)
    present = _cover_disc(run.center * scale, run.radius * scale, h, w)
    discs = [_cover_disc(b * scale, r * scale, h, w) for b, r in zip(bites, radii)]
    return _remove(present, discs, eaten)


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


def _write_captions(rng, attributes, view: str, still: bool, in_sight: bool) -> dict[str, str]:
    """Writes the captions; `in_sight` says whether a still shows the face."""
    color, food, background, surface, side, pace = (
        attributes[k] for k in ("color", "food", "background", "surface", "direction", "pace")
    )
    before, bites = int(attributes["before"]), int(attributes["bites"])
    thing = base.add_article(f"{color} {food}")
    whole = base.add_article(f"whole {color} {food}")
    missing = f"{_NUMBERS[before]} bite{'s' * (before > 1)} missing"
    ground = base.add_article(f"{background} table")
    ground = f"a plate on {ground}" if surface == "plate" else ground
    place = f"on {ground}"
    if still:
        state = f"{thing} with {missing} {_AT[side]}" if before else whole
        short = base.pick(
            rng,
            (
                f"a picture of {state if before else whole}",
                f"{state} {place}",
                f"a still of {thing}" + (f" with {missing}" if before else ", nothing bitten off"),
            ),
        )
        beside = f", and a round grey face {_AT[side]}" if in_sight else ""
        detailed = base.pick(
            rng,
            (
                f"a still picture, {view}: {state}, {place}{beside}.",
                f"{view}, a flat drawing of {state} {place}{beside}.",
            ),
        )
        return {"short": short, "detailed": detailed}
    more = " more" if before else ""
    count = f"{_NUMBERS[bites]}{more} bite{'s' * (bites > 1)}"
    eater = base.pick(rng, ("a round face", "a hungry face", "a mouth"))
    leaves = base.pick(rng, (", then goes back", " and then draws back"))
    leaves = leaves if attributes["leaves"] == "yes" else ""
    of = f"{thing} with {missing}" if before else thing
    short = base.pick(
        rng,
        (
            f"{_FROM[side]}, {eater} takes {count} out of {of}",
            f"{eater} {pace} eats {of}: {count} {_FROM[side]}{leaves}",
            f"{count} {'is' if bites == 1 else 'are'} taken out of {of}{leaves and ', then the face goes back'}",
        ),
    )
    state = f"{thing} with {missing}" if before else whole
    detailed = base.pick(
        rng,
        (
            f"{view}, still camera: a round grey face comes {_FROM[side]} and {pace} takes {count} "
            f"out of {state} {place}{leaves}.",
            f"{view}: {state} lies {place}; {_FROM[side]}, a round grey face {pace} bites it "
            f"{_NUMBERS[bites]}{more} time{'s' * (bites > 1)}{leaves}.",
        ),
    )
    return {"short": short, "detailed": detailed}
