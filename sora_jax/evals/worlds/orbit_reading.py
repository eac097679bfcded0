"""Reads a video of `orbit`: everything that its scores need.

The camera is fitted to all frames, so that given ones anchor the scene; what is measured are the
frames after them, with the last given one as reference where frames are compared.
"""

import dataclasses
import math

import numpy as np

from sora_jax.evals.worlds import orbit_sight, orbit_solids, orbit_truth, orbit_warp
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.continuity import measure_smoothness
from sora_jax.evals.worlds.orbit_course import DEVIATION, MIN_BALL, NO_COURSE, Course, read_course
from sora_jax.evals.worlds.orbit_floor import find_grey_blots, read_floor
from sora_jax.evals.worlds.tracking import measure_light
from sora_jax.laws import orbit as laws

MIN_SEEN = 0.1  # share of the frames in which a colour must be seen to be shown
MIN_WAY = 0.9  # seconds in which the slowest camera comes as far as it must to be measured
MIN_DUE = 3  # frames that must show a standing solid whole for the camera to be measured
MIN_SHIFT = 0.9  # pixels by which solids shift where the camera deviates by `DEVIATION`; what
# shifts less cannot be told from the error of centroids, a quarter of a pixel
MIN_SMOOTH = 5  # frames, from step to step of which the picture moves
MIN_STEADY = 3  # frames, between which brightness is compared


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a video shows after its given frames, beside what is expected of it.

    A solid is due in the frames in which the simulator shows it whole.

    Attributes:
      expected: what the video should show.
      due: bool[n], whether a solid is due in any frame.
      coverage: [n], for each solid the frames that show it over those in which it is due, at most
        1; 0 where it is not due.
      floor: share of the frames that show the stated floor.
      strange: colours that are shown but not stated.
      count: solids that are shown.
      shapes: bool[n], whether a solid's shape is right.
      single: [n], share of the frames in which a solid is in one piece, of those that show it and
        those in which it is due.
      edges: steepness of edges.
      flicker: median change of the floor's brightness, of itself; nan for too few frames.
      light: by how much solids are brighter at the top, see `tracking.measure_light`.
      smooth: how steadily the picture goes on, see `continuity.measure_smoothness`; nan for too few
        frames, or a camera that stands still.
      from_nothing: whether something appears from nothing.
      moves: whether the simulator's camera, and the solids in its picture, move far enough to be
        measured.
      ball_due: whether a ball rolls that the simulator shows whole in `MIN_BALL` frames.
      direction: that of the simulator's camera in these frames.
      course: what is read of the camera.
      warp: share of the frames that show what the simulator's camera sees; nan if unknown.
      misses: errors of positions, as `orbit_truth.measure_misses` returns them; none if fewer than
        two frames are given.
    """

    expected: Expected
    due: np.ndarray
    coverage: np.ndarray
    floor: float
    strange: int
    count: int
    shapes: np.ndarray
    single: np.ndarray
    edges: float
    flicker: float
    light: float
    smooth: float
    from_nothing: bool
    moves: bool
    ball_due: bool
    direction: str
    course: Course
    warp: float
    misses: dict[str, np.ndarray]

    @property
    def shown(self) -> float:
        """Squared share of the solids that are due and seen, times that of frames with the floor.

        It is nan if no solid is due.
        """
        if not self.due.any():
            return math.nan
        return float(self.coverage[self.due].mean() ** 2 * self.floor)


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video; see `Reading`."""
    t, h, w, _ = video.shape
    attributes, truth = expected.attributes, expected.truth
    pairs = [pair.split() for pair in attributes["solids"].split(", ")]
    colors, solids = [color for color, _ in pairs], [solid for _, solid in pairs]
    u = np.asarray(truth["u"], np.float64)
    made = min(expected.given, t - 1, len(u) - 1)  # the first frame that counts
    start = max(made - 1, 0)
    everything = orbit_sight.look(video, max(2, round(min(h, w) / 20)))
    sight = orbit_sight.select(everything, colors)
    new, new_solids = orbit_sight.cut(everything, made), orbit_sight.cut(sight, made)
    centroids, whole = orbit_truth.find_outlines(truth, solids, h, w)
    due_frames, seen_frames = whole[:, made:].sum(1), (new_solids.area > 0).sum(1)
    due = due_frames > 0
    frames = max(len(u), t) - made
    floor = read_floor(video[start:], orbit_sight.cut(everything, start), attributes["floor"])
    shown = [
        name
        for name, area in zip(new.names, new.area, strict=True)
        if (area > 0).mean() >= (0 if name in colors else MIN_SEEN) and area.any()
    ]
    rolls, motion = attributes["path"] != "none", attributes["motion"]
    standing = slice(int(rolls), None), slice(start, None)
    moves = motion in laws.MOTIONS and _is_measurable(
        motion, u[start:], centroids[standing], whole[standing]
    )
    return Reading(
        expected=expected,
        due=due,
        coverage=np.where(due, np.minimum(seen_frames / np.maximum(due_frames, 1), 1), 0.0),
        floor=float(floor.shown[made - start :].sum() / frames),
        strange=sum(name not in colors for name in shown),
        count=sum(_count_pieces(new, name) for name in shown),
        shapes=np.array(
            [
                due[i] and orbit_solids.match_shape(new_solids, i) == solid
                for i, solid in enumerate(solids)
            ]
        ),
        single=(new_solids.pieces == 1).sum(1) / np.maximum(np.maximum(due_frames, seen_frames), 1),
        edges=orbit_solids.measure_edges(new_solids),
        flicker=floor.flicker if len(u) - start >= MIN_STEADY else math.nan,
        light=measure_light(video[made:], new_solids.masks),
        smooth=measure_smoothness(video[start:], np.ones(len(video[start:]) - 1, bool))
        if motion in laws.MOTIONS and len(u) - start >= MIN_SMOOTH
        else math.nan,
        from_nothing=orbit_solids.appear_from_nothing(orbit_sight.cut(everything, start), colors)
        or find_grey_blots(video[made:], new, attributes["floor"]),
        moves=moves,
        ball_due=bool(rolls and moves and whole[0, start:].sum() >= MIN_BALL),
        direction=laws.name_directions(motion, u[start:]) if moves else "none",
        course=read_course(sight, pairs, expected, start, whole) if moves else NO_COURSE,
        warp=orbit_warp.measure_warp(truth, video, start)
        if expected.given and motion in laws.MOTIONS
        else math.nan,
        misses=orbit_truth.measure_misses(centroids, whole, sight.center, expected.given, min(h, w))
        if expected.given >= 2
        else {},
    )


def _is_measurable(motion: str, u: np.ndarray, centroids: np.ndarray, whole: np.ndarray) -> bool:
    """Whether a camera moves far enough, and the picture of solids [n, t] with it, to be measured.

    The shift is the root of the sum of squares, over solids, of the way of their centroids for a
    way of u by `DEVIATION`.
    """
    way = float(np.abs(np.diff(u)).sum())
    if whole.any(0).sum() < MIN_DUE or way < MIN_WAY * laws.SPEEDS[motion]["slow"][0]:
        return False
    steps = np.linalg.norm(np.diff(centroids, axis=1), axis=-1)
    ways = np.where(whole[:, 1:] & whole[:, :-1], steps, 0).sum(1)
    return float(np.linalg.norm(ways)) * DEVIATION[motion] >= MIN_SHIFT * way


def _count_pieces(sight: orbit_sight.Sight, name: str) -> int:
    pieces = sight.pieces[sight.names.index(name)]
    return round(float(np.median(pieces[pieces > 0]))) if pieces.any() else 0


def prediction_errors(reading: Reading) -> dict[str, np.ndarray]:
    """Returns the mean error of positions in each frame from frame `given` on, float[t - given].

    Keys are "model", "copy_last" and "constant_velocity"; errors are means over the solids that
    the simulator shows whole, in units of the frame's short side, at most `orbit_truth.MAX_MISS`,
    which is also that of a solid that is not seen. A frame is nan where the simulator shows no
    solid whole; there are no frames if fewer than two are given, so that no velocity is known.
    """
    errors = {}
    for name in ("model", "copy_last", "constant_velocity"):
        misses = reading.misses.get(name, np.zeros((1, 0)))
        known = ~np.isnan(misses)
        total = np.where(known, misses, 0).sum(0)
        errors[name] = np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
    return errors
