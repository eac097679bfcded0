"""Scores of the world `orbit`: a camera orbits, pans or dollies around solids on a tiled floor.

Solids are found by hue (`orbit_sight`). To the centroids of those that stand, a scene at rest and
a camera that orbits, pans or dollies is fitted by least squares (`orbit_camera`): a u for each
frame, how far the camera has come. From text alone, the laws fix the focal length, the distance,
the range of tilts, the solids' sizes, and that u has one speed and turns round at known ends.

- motion_class: of the three fits, the stated one leaves the least reprojection error, within a
  tolerance; direction and speed_class are those of the laws' path that is fitted to the u of the
  stated motion; camera_steady holds that path against u.
- rigid: the reprojection error of the stated motion's fit.
- ball_rolls: the places of a rolling ball on the floor follow from u and the picture.
- depth_warp, prediction: compare with the simulator, where first frames are given
  (`orbit_truth`).
"""

import dataclasses
import math

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds import orbit_camera, orbit_sight, orbit_solids, orbit_truth
from sora_jax.evals.worlds.base import Expected, Score
from sora_jax.laws import orbit as laws

NAME = "orbit"
MIN_SEEN = 0.1  # share of the frames in which a colour must be seen to be shown
MAX_FLOOR_MISS = 14.0  # distance in RGB of a pixel of the lit floor from its colours
MIN_LIT = 0.4  # share of the floor that must have its colours; the rest may be shadows
COST_RATIO, COST_FLOOR = 1.3, 0.05  # the stated motion's cost may exceed the least by these: the
# floor is an error of a sixth of a pixel where the short side has 64
RIGID = (0.008, 0.02)  # rms reprojection error of the short side, value 1 and 0: 0.5 and 1.3
# pixels of 64; centroids of real outlines are off by 0.2
DEVIATION = {"orbit": 6.0, "pan": 2.0, "dolly": 0.25}  # degrees or units, of u from its path; a
# quarter of what a camera's jump is, twice the error of u in a small picture
BALL_SPEED = (0.5 * laws.BALL_SPEED[0], 1.6 * laws.BALL_SPEED[1])  # units a second
SHARP = (0.2, 0.32)  # value 0 and 1 of the edges' steepness: that of a blur by 2 pixels and by 1
FLICKER = (0.02, 0.05)  # value 1 and 0 of the change of the floor's brightness, of itself
MIN_FLOOR = 0.05  # share of a frame from which on its floor is read
MISS = 0.012  # of the short side: an error of prediction that outlines explain
WARP = 0.5  # gain by depth and pose from which on a warp counts as right


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a video shows, beside what is expected of it; nan where something does not apply.

    Attributes:
      colors: share of the union of stated and shown colours that is both.
      count, stated_count: solids that are shown, and stated.
      solids: for each solid that the simulator shows whole, whether its shape is right.
      floor: name of the floor's colour, or ""; stated_floor: the stated one.
      moves: whether the camera should move.
      costs: of each motion's fit; stated_motion: the expected motion.
      directions: names of the directions, with legs of 2, 3 and 4 steps as the shortest.
      stated_direction: the expected ones.
      speed: of the camera along the fitted path, degrees or units a second.
      stated_speed: its name.
      deviation: greatest deviation of u, or of its steps, from the path, of `DEVIATION`.
      moved: whether u follows a path of the laws at half of their least speed at least.
      reprojection: rms error of the stated motion's fit, of the short side.
      ball_speeds: of the ball in parts of the clip, or None where none should roll.
      missing: greatest share of frames in which a stated solid is gone without a reason.
      from_nothing: whether something appears from nothing.
      single: mean share of the frames in which a stated solid is in one piece.
      edges: steepness of edges.
      flicker: median change of the floor's brightness, of itself.
      shown: whether a stated colour is shown at all.
      warp: gain by warping the first frame.
      prediction: errors of positions.
    """

    colors: float
    count: int
    stated_count: int
    solids: list[bool]
    floor: str
    stated_floor: str
    moves: bool
    costs: dict[str, float]
    stated_motion: str
    directions: list[str]
    stated_direction: str
    speed: float
    stated_speed: str
    deviation: float
    moved: bool
    reprojection: float
    ball_speeds: np.ndarray | None
    missing: float
    from_nothing: bool
    single: float
    edges: float
    flicker: float
    shown: bool
    warp: float
    prediction: orbit_truth.Prediction


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video; see `Reading`."""
    t, h, w, _ = video.shape
    attributes, truth = expected.attributes, expected.truth
    pairs = [pair.split() for pair in attributes["solids"].split(", ")]
    n, stated = len(pairs), [color for color, _ in pairs]
    everything = orbit_sight.look(video, max(2, round(min(h, w) / 20)))
    sight = orbit_sight.select(everything, stated)
    shown = {
        name
        for name, area in zip(everything.names, everything.area, strict=True)
        if (area > 0).mean() >= MIN_SEEN
    }
    pieces = [
        round(float(np.median(p[p > 0])))
        for name, p in zip(everything.names, everything.pieces, strict=True)
        if name in shown and (p > 0).any()
    ]
    whole_in_truth = orbit_truth.find_shown(truth, h, w)
    solids = [
        orbit_solids.match_shape(sight, i) == solid
        for i, (_, solid) in enumerate(pairs)
        if whole_in_truth[i].any()
    ]
    moves = attributes["motion"] in laws.MOTIONS
    floor, flicker = _read_floor(video, everything)
    seen = sight.area > 0
    single = [np.mean(sight.pieces[i, seen[i]] == 1) if seen[i].any() else 0.0 for i in range(n)]
    camera = _read_camera(sight, pairs, expected, h, w) if moves else _NO_CAMERA
    given = expected.given
    return Reading(
        colors=len(shown & set(stated)) / len(shown | set(stated)),
        count=sum(pieces),
        stated_count=n,
        solids=solids,
        floor=floor,
        stated_floor=attributes["floor"],
        moves=moves,
        stated_motion=attributes["motion"],
        stated_direction=attributes["direction"],
        stated_speed=attributes["speed"],
        from_nothing=orbit_solids.appear_from_nothing(everything, stated),
        single=float(np.mean(single)),
        edges=orbit_solids.measure_edges(sight),
        flicker=flicker,
        shown=bool(shown & set(stated)),
        warp=orbit_truth.measure_warp(truth, video) if given and moves else math.nan,
        prediction=orbit_truth.measure_prediction(
            truth, [solid for _, solid in pairs], sight.center, given, h, w
        ),
        **camera,
    )


_NO_CAMERA = {
    "costs": {},
    "directions": [],
    "speed": 0.0,
    "deviation": math.inf,
    "moved": False,
    "reprojection": math.inf,
    "ball_speeds": None,
    "missing": 1.0,
}


def _read_camera(sight, pairs, expected: Expected, h: int, w: int) -> dict:
    """Returns the fields of `Reading` that need the fit of a camera."""
    motion, path = expected.attributes["motion"], expected.attributes["path"]
    n, short, rolls = len(pairs), min(h, w), path != "none"
    t = sight.area.shape[1]
    standing = slice(int(rolls), None)
    distance = laws.middle_distance(n, rolls)
    half = np.array([laws.SOLIDS[solid] for _, solid in pairs]) * laws.RADIUS[n]
    z = half[:, 1]
    places = (sight.center - np.array([w / 2, h / 2])) / short
    whole, at = sight.whole[standing], places[standing]
    fits = {m: orbit_camera.fit(m, at, whole, z[standing], distance) for m in laws.MOTIONS}
    fit = fits[motion]
    known = whole.any(0)
    u = fit.u if motion == "dolly" else np.degrees(fit.u)
    course = orbit_camera.fit_path(motion, u, known, expected.fps, distance)
    frames = np.flatnonzero(known)
    steps = np.abs(np.diff(u[frames]) - np.diff(course.u[frames]))
    deviation = max(course.misses.max(initial=0), steps.max(initial=0)) / DEVIATION[motion]
    follows = known.any() and np.median(course.misses[known]) <= DEVIATION[motion]
    slowest = laws.SPEEDS[motion]["slow"][0]

    ball_speeds = None
    if rolls and orbit_truth.find_shown(expected.truth, h, w)[0].sum() >= 5:
        frames = np.flatnonzero(orbit_solids.find_round(sight, 0))
        on_floor = orbit_camera.locate(
            motion, fit.height, fit.tilt, places[:1, frames], z[:1], fit.u[frames]
        )[0]
        ball_speeds = orbit_solids.measure_speeds(on_floor, frames / expected.fps)

    found, depth = orbit_camera.project(
        motion, fit.height, fit.tilt, fit.places, z[standing], fit.u
    )
    plain = np.zeros((n, t), bool)
    plain[standing] = _find_plain(
        sight, found * short + (w / 2, h / 2), half, depth, standing, short
    )
    missing = [
        orbit_solids.share_missing(sight.area[i] > 0, sight.beside[i], plain[i]) for i in range(n)
    ]
    errors = fit.errors[whole]
    return {
        "costs": {m: f.cost for m, f in fits.items()},
        "directions": [laws.name_directions(motion, course.u, leg) for leg in (2, 3, 4)],
        "speed": abs(course.rate),
        "deviation": float(deviation),
        "moved": bool(abs(course.rate) >= slowest / 2 and follows),
        "reprojection": float(np.sqrt(np.mean(errors**2))) if len(errors) else math.inf,
        "ball_speeds": ball_speeds,
        "missing": max(missing),
    }


def _find_plain(sight, center, half, depth, standing: slice, short: int) -> np.ndarray:
    """Returns bool[m, t], where the fit has standing solids in the frame, away from all others."""
    h, w = sight.chroma.shape[1:]
    size = half[standing][:, None] * laws.FOCAL * short / depth[..., None]
    size = size * (1.4, 1.0) + size[..., ::-1] * (0.0, 0.5)
    plain = (center - size > 0).all(-1) & (center + size < (w, h)).all(-1)
    for i in range(len(plain)):
        for j in range(len(sight.names)):
            if j != i + (standing.start or 0):
                left, top, right, bottom = np.moveaxis(np.nan_to_num(sight.box[j], nan=-1e6), -1, 0)
                apart = (left > center[i, :, 0] + size[i, :, 0]) | (
                    right < center[i, :, 0] - size[i, :, 0]
                )
                apart |= (top > center[i, :, 1] + size[i, :, 1]) | (
                    bottom < center[i, :, 1] - size[i, :, 1]
                )
                plain[i] &= apart
    return plain


def _read_floor(video: np.ndarray, sight) -> tuple[str, float]:
    """Returns the floor's name, and the median change of its brightness from frame to frame.

    The floor is what has no colour and is away from solids, in the lower half of the frame.
    """
    t, h, w, _ = video.shape
    solid = ndimage.binary_dilation(sight.masks.any(0), np.ones((1, 5, 5)))
    floor = ~solid & (sight.chroma < 60)
    floor[:, : h // 2] = False
    means, pixels = [], []
    for frame, keep in zip(video, floor, strict=True):
        if keep.sum() >= MIN_FLOOR * h * w:
            pixels.append(frame[keep].astype(np.float32)[:: max(1, keep.sum() // 200)])
            means.append(float(frame[keep].mean()))
    if not means:
        return "", math.inf
    fits = {name: _fit_floor(np.concatenate(pixels), *tiles) for name, tiles in laws.FLOORS.items()}
    name = max(fits, key=lambda key: fits[key])
    change = np.abs(np.diff(means, 2)) if len(means) > 2 else np.zeros(1)
    flicker = float(np.median(change) / max(np.mean(means), 1))
    return (name if fits[name] >= MIN_LIT else ""), flicker


def _fit_floor(pixels: np.ndarray, *tiles: tuple[int, int, int]) -> float:
    """Returns the share of pixels [m, 3] whose colour is between those of lit tiles."""
    first, second = (laws.FLOOR_LIGHT * np.array(tile, np.float32) for tile in tiles)
    axis = second - first
    along = np.clip((pixels - first) @ axis / (axis @ axis), 0, 1)
    miss = np.linalg.norm(pixels - first - along[:, None] * axis, axis=1)
    return float((miss <= MAX_FLOOR_MISS).mean())


def _ramp(value: float, bad: float, good: float) -> float:
    """Returns 0 at `bad` or beyond, 1 at `good` or beyond, and in between a straight line."""
    return float(np.clip((value - bad) / (good - bad), 0, 1)) if math.isfinite(value) else 0.0


def _if_moving(measure):
    """A score that applies to clips whose camera moves."""
    return lambda reading: float(measure(reading)) if reading.moves else math.nan


def _match_motion(r: Reading) -> bool:
    least = min(r.costs.values())
    return r.moved and r.costs[r.stated_motion] <= COST_RATIO * least + COST_FLOOR


def _match_direction(r: Reading) -> float:
    if not r.moved:
        return 0.0
    if r.stated_direction in r.directions:
        return 1.0
    return 0.0


def _match_speed(r: Reading) -> bool:
    speeds = laws.SPEEDS[r.stated_motion]
    names = list(speeds)
    i = names.index(r.stated_speed)
    low = math.sqrt(speeds[names[i - 1]][1] * speeds[names[i]][0]) if i else speeds["slow"][0] / 1.8
    high = (
        math.sqrt(speeds[names[i]][1] * speeds[names[i + 1]][0])
        if i + 1 < len(names)
        else speeds[names[i]][1] * 1.4
    )
    return r.moved and low <= r.speed <= high


def _match_ball(r: Reading) -> float:
    if r.ball_speeds is None:
        return math.nan
    low, high = BALL_SPEED
    speeds = r.ball_speeds
    return float(len(speeds) and r.moved and low <= speeds.min() and speeds.max() <= high)


def _match_prediction(r: Reading) -> float:
    p = r.prediction
    if math.isnan(p.still) or p.still < 3 * MISS:
        return math.nan
    return float(np.clip(1 - max(p.miss - MISS, 0) / (p.still - MISS), 0, 1))


def _match_solids(r: Reading) -> float:
    return float(np.mean(r.solids)) if r.solids else math.nan


_NOTHING = {"mismatched", "grey_disc"}
SCORES = (
    Score(
        "colors",
        "what",
        "1 if exactly the stated colours are seen; else the squared share that is right",
        lambda r: r.colors**2,
        frozenset(_NOTHING),
    ),
    Score(
        "count",
        "what",
        "1 if as many solids are seen as stated, else 0",
        lambda r: float(r.count == r.stated_count),
        frozenset(_NOTHING),
    ),
    Score(
        "solid_shape",
        "what",
        "share of the stated solids whose outline is that of their kind, of those shown whole",
        _match_solids,
        frozenset(_NOTHING),
    ),
    Score(
        "floor",
        "what",
        "1 if the floor has the stated colour, else 0",
        lambda r: float(r.floor == r.stated_floor),
        frozenset(_NOTHING),
    ),
    Score(
        "motion_class",
        "where",
        "1 if the stated one of orbit, pan and dolly explains the tracks best, else 0",
        _if_moving(_match_motion),
        frozenset(_NOTHING | {"frozen"}),
    ),
    Score(
        "direction",
        "where",
        "1 if the camera moves in the stated directions in their order, else 0",
        _if_moving(_match_direction),
        frozenset(_NOTHING | {"frozen", "reversed", "shuffled"}),
    ),
    Score(
        "speed_class",
        "laws",
        "1 if the camera's speed is within the stated range, else 0",
        _if_moving(_match_speed),
        frozenset(_NOTHING | {"frozen", "speed_doubled", "shuffled"}),
    ),
    Score(
        "camera_steady",
        "laws",
        "1 if the camera keeps one speed within small deviations, 0 if it jumps or stands",
        _if_moving(lambda r: r.moved * _ramp(r.deviation, 2.0, 1.0)),
        frozenset(_NOTHING | {"frozen", "camera_jumps", "shuffled"}),
    ),
    Score(
        "rigid",
        "3d",
        "1 if one scene at rest explains all tracks within half a pixel of 64, 0 beyond 1.3",
        _if_moving(lambda r: r.moved * _ramp(r.reprojection, RIGID[1], RIGID[0])),
        frozenset(_NOTHING | {"frozen", "solid_drifts"}),
    ),
    Score(
        "ball_rolls",
        "laws",
        "1 if the rolling ball keeps a speed within the laws' range on the floor, else 0",
        _match_ball,
        frozenset(_NOTHING | {"frozen", "shuffled", "ball_stops"}),
    ),
    Score(
        "permanence",
        "permanence",
        "1 if solids go only behind others or out of the frame; 0 from a quarter of frames on",
        _if_moving(lambda r: _ramp(r.missing, 0.25, 0.05)),
        frozenset(_NOTHING | {"solid_recolored"}),
    ),
    Score(
        "no_spontaneous_objects",
        "permanence",
        "1 if stated solids are seen and nothing appears in the open, else 0",
        _if_moving(lambda r: float(r.shown and not r.from_nothing)),
        frozenset({"solid_recolored", "solid_spawned"}),
    ),
    Score(
        "one_component",
        "looks",
        "squared share of the frames in which a stated solid is in one piece, over all solids",
        lambda r: r.single**2,
        frozenset(_NOTHING),
    ),
    Score(
        "sharp_edges",
        "looks",
        "1 if the stated solids' edges are as steep as with a blur by 1 pixel, 0 with 2",
        lambda r: _ramp(r.edges, *SHARP),
        frozenset({"blurred"}),
    ),
    Score(
        "no_flicker",
        "looks",
        "1 if the floor's brightness changes by 2 % from frame to frame at most, 0 from 5 % on",
        _if_moving(lambda r: r.shown * _ramp(r.flicker, FLICKER[1], FLICKER[0])),
        frozenset({"flickering"}),
    ),
    Score(
        "depth_warp",
        "3d",
        "1 if warping the first frame by depth and pose halves its difference from the others",
        _if_moving(lambda r: _ramp(r.warp, 0.0, WARP)),
        frozenset(_NOTHING | {"frozen", "reversed"}),
        min_given=1,
    ),
    Score(
        "prediction",
        "prediction",
        "1 if solids are where the simulator has them, 0 if no nearer than those that stay still",
        _if_moving(_match_prediction),
        frozenset(_NOTHING | {"frozen", "speed_doubled", "camera_jumps"}),
        min_given=5,
    ),
)
