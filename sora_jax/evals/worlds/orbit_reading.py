"""Reads a video of `orbit`: everything that its scores need."""

import dataclasses
import math

import numpy as np

from sora_jax.evals.worlds import orbit_camera, orbit_path, orbit_sight, orbit_solids, orbit_truth
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.morphology import dilate_mask
from sora_jax.laws import orbit as laws

MIN_SEEN = 0.1  # share of the frames in which a colour must be seen to be shown
MAX_FLOOR_MISS = 14.0  # distance in RGB of a pixel of the lit floor from its colours
MIN_LIT = 0.4  # share of the floor that must have its colours; the rest may be shadows
DEVIATION = {"orbit": 6.0, "pan": 2.0, "dolly": 0.25}  # degrees or units, of u from its path; a
# quarter of what a camera's jump is, twice the error of u in a small picture
MIN_BALL = 5  # frames that must show a rolling ball whole for its speed to be read
MIN_FLOOR = 0.05  # share of a frame from which on its floor is read


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
      shown: share of the stated colours that are shown.
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
    shown: float
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
    whole_in_truth = orbit_truth.find_shown(truth, [solid for _, solid in pairs], h, w)
    solids = [
        orbit_solids.match_shape(sight, i) == solid
        for i, (_, solid) in enumerate(pairs)
        if whole_in_truth[i].any()
    ]
    moves = attributes["motion"] in laws.MOTIONS
    floor, flicker = _read_floor(video, everything)
    seen = sight.area > 0
    single = [np.mean(sight.pieces[i, seen[i]] == 1) if seen[i].any() else 0.0 for i in range(n)]
    ball_shown = int(whole_in_truth[0].sum())
    camera = _read_camera(sight, pairs, expected, ball_shown) if moves else _NO_CAMERA
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
        shown=len(shown & set(stated)) / n,
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


def _read_camera(sight, pairs, expected: Expected, ball_shown: int) -> dict:
    """Returns the fields of `Reading` that need the fit of a camera.

    Args:
      sight: the stated solids.
      pairs: their colours and kinds.
      expected: what the video should show.
      ball_shown: frames in which the simulator shows the first solid whole.
    """
    h, w = sight.chroma.shape[1:]
    motion, path = expected.attributes["motion"], expected.attributes["path"]
    n, short, rolls = len(pairs), min(h, w), path != "none"
    t = sight.area.shape[1]
    standing = slice(int(rolls), None)
    distance = laws.middle_distance(n, rolls)
    half = np.array([laws.SOLIDS[solid] for _, solid in pairs]) * laws.middle_radius(n, rolls)
    z = half[:, 1]
    places = (sight.center - np.array([w / 2, h / 2])) / short
    whole, at = sight.whole[standing], places[standing]
    fits = {m: orbit_camera.fit(m, at, whole, z[standing], distance) for m in laws.MOTIONS}
    fit = fits[motion]
    known = whole.any(0)
    u = fit.u if motion == "dolly" else np.degrees(fit.u)
    course = orbit_path.fit_path(motion, u, known, expected.fps, distance)
    frames = np.flatnonzero(known)
    steps = np.abs(np.diff(u[frames]) - np.diff(course.u[frames]))
    deviation = max(course.misses.max(initial=0), steps.max(initial=0)) / DEVIATION[motion]
    follows = known.any() and np.median(course.misses[known]) <= DEVIATION[motion] / 3
    slowest = laws.SPEEDS[motion]["slow"][0]

    ball_speeds = None
    if rolls and ball_shown >= MIN_BALL:
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
        orbit_solids.share_missing(sight.area[i], sight.beside[i], plain[i]) for i in range(n)
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
    solid = dilate_mask(sight.masks.any(0), np.ones((1, 5, 5)))
    floor = np.logical_not(solid) & (sight.chroma < 60)
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
