"""Where the balls of a phyworld video are, and the velocity errors of arXiv:2411.02385.

`read_balls` is the calibrated reading. The coverage a of a pixel by a ball comes from its colour
(`tracking.coverage`); a ball's centre is the mean of its pixels' points, weighted by a, in a
picture of n x n pixels where (`laws`, equation 1)

  x = SIDE j / (n - 1),  y = SIDE (1 - i / (n - 1)),

and its radius is sqrt(sum(a) / (pi (1 - EDGE / 2))) pixels: a disc's edge fades over a share of
`EDGE` of its area.

`find_paper_centers` reads what the paper's evaluation reads: the mean of those pixels whose colour
channels pass 127, with x = SIDE j / n. Its scale is too small by 1 / n, which makes an error of
v / n even on the simulator's own videos.

The velocity error of both is that of the mean over frames, as in the paper's evaluation:

  e = mean over balls of |mean_t v_t - mean_t v*_t|,  v_t = (x_{t+1} - x_t) FPS,

over pairs of frames from frame 3 on, or from the first frame that was not given if that is later,
in which the ball is wholly in view. It is the sum of both
axes' errors in parabolas, and that of x in other motions; in collisions only pairs after the balls
touched count.
"""

import dataclasses
import math

import numpy as np

from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.tracking import coverage, cut_out, find_components
from sora_jax.laws import phyworld as laws

FIRST = 3  # frame of the first velocity: the paper gives three frames
PARTLY = (0.15, 0.85)  # shares of a pixel that the edge covers
PASSED = 127  # of 0..255: the paper's threshold of colour channels


@dataclasses.dataclass(frozen=True)
class Ball:
    """What a video shows in the colour of one ball.

    Attributes:
      center: float[t, 2], units; nan where nothing is seen.
      radius: float[t], units; nan where nothing is seen.
      pieces: int[t], components of its colour.
      cut: bool[t], whether the largest component touches the edge of the world, so that its centre
        and radius are not those of the ball.
      aspect: float[t], ratio of the longer to the shorter axis of the ellipse with the same second
        moments; 1 for a disc.
      edge: float[t], width of the edge in pixels: those partly covered, to a pixel of outline.
        Of an edge wider than two pixels only those count that are beside pixels half covered.
    """

    center: np.ndarray
    radius: np.ndarray
    pieces: np.ndarray
    cut: np.ndarray
    aspect: np.ndarray
    edge: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Whether something of the ball is seen, bool[t]."""
        return self.pieces > 0

    @property
    def whole(self) -> np.ndarray:
        """Whether the whole ball is seen, bool[t]."""
        return self.seen & ~self.cut


def crop_world(video: np.ndarray, frames: int) -> np.ndarray:
    """Returns the largest square in the middle of a video, which shows the world.

    Args:
      video: uint8[t, h, w, 3].
      frames: of the result; a video that has fewer stands still at its end.
    """
    height, width = video.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    shown = video[np.minimum(np.arange(frames), len(video) - 1)]
    return shown[:, top : top + side, left : left + side]


def read_balls(world: np.ndarray, colors: list[str]) -> list[Ball]:
    """Reads the balls of some colours of `laws.BALLS` in a square video uint8[t, n, n, 3]."""
    side = world.shape[1]
    unit = laws.SIDE / max(side - 1, 1)  # units a pixel
    painted, balls = find_painted(world), []
    for color in colors:
        center, radius = np.full((len(world), 2), np.nan), np.full(len(world), np.nan)
        pieces, cut = np.zeros(len(world), int), np.zeros(len(world), bool)
        aspect, edge = np.full(len(world), np.nan), np.full(len(world), np.nan)
        shares = np.zeros(world.shape[:3])
        shares[painted] = coverage(world[painted], laws.BALLS[color], laws.WHITE)
        for t in np.flatnonzero((shares >= 0.5).any((1, 2))):
            corner, part = cut_out(shares[t])
            components = find_components(part)
            if components:
                x, y = components[0].center + corner - 0.5
                center[t] = x * unit, (side - 1 - y) * unit
                radius[t] = np.sqrt(components[0].area / (np.pi * (1 - laws.EDGE / 2))) * unit
                pieces[t], cut[t] = len(components), components[0].cut
                aspect[t], edge[t] = _measure_outline(components[0].coverage)
        balls.append(Ball(center, radius, pieces, cut, aspect, edge))
    return balls


def _measure_outline(coverage: np.ndarray) -> tuple[float, float]:
    """Returns the aspect and the edge's width (`Ball`) of what covers coverage[h, w]."""
    area = coverage.sum()
    places = np.indices(coverage.shape).reshape(2, -1)
    weights = coverage.ravel() / area
    offset = places - (places @ weights)[:, None]
    moments = np.linalg.eigvalsh((offset * weights) @ offset.T)
    partly = ((coverage > PARTLY[0]) & (coverage < PARTLY[1])).sum()
    outline = 2 * math.sqrt(math.pi * area)
    return math.sqrt(moments[1] / max(moments[0], 1e-9)), float(partly / outline)


def find_painted(world: np.ndarray) -> np.ndarray:
    """Returns which pixels are not white, bool[t, n, n]; up to 4 of 255 levels are noise."""
    return (world[..., 0] < 251) | (world[..., 1] < 251) | (world[..., 2] < 251)


def find_paper_centers(world: np.ndarray, color: str) -> np.ndarray:
    """Returns the centres [t, 2] that the paper's evaluation reads, in units; nan if unseen."""
    side = world.shape[1]
    wanted = np.array(laws.BALLS[color]) > PASSED
    mask = ((world > PASSED) == wanted).all(-1)
    count = mask.sum((1, 2))
    i, j = np.mgrid[:side, :side]
    with np.errstate(invalid="ignore"):
        x, y = ((mask * grid).sum((1, 2)) / count for grid in (j, side - 1 - i))
    return np.stack([x, y], 1) * laws.SIDE / side


def velocity_errors(video: np.ndarray, expected: Expected) -> dict[str, float]:
    """Returns the velocity errors of a video in units/s, and how much of it was seen.

    The paper leaves out parabolas of radius below 0.6.

    Args:
      video: uint8[t, h, w, 3].
      expected: its truth is that of the world phyworld.

    Returns:
      'paper' and 'calibrated', the errors; nan where no pair of frames counts. 'seen', the share of
      the frames that count in which the ball is seen; nan likewise.
    """
    world = crop_world(video, len(expected.truth["position"]))
    colors = list(laws.BALLS)[: len(expected.truth["radius"])]
    centers = [ball.center for ball in read_balls(world, colors)]
    counted = [_find_pairs(expected, i) for i in range(len(colors))]
    seen = [
        1 - np.isnan(center[np.union1d(pairs, pairs + 1), 0]).mean()
        for center, pairs in zip(centers, counted, strict=True)
        if len(pairs)
    ]
    return {
        "paper": find_velocity_error([find_paper_centers(world, c) for c in colors], expected),
        "calibrated": find_velocity_error(centers, expected),
        "seen": float(np.mean(seen)) if seen else math.nan,
    }


def find_velocity_error(centers: list[np.ndarray], expected: Expected) -> float:
    """Returns the velocity error of balls in units/s; nan where no pair of frames counts.

    A ball that is not seen is where it was seen last, so that it has no velocity; one that is never
    seen in the frames that count has an error of its whole velocity.

    Args:
      centers: [t, 2] in units of each ball, as many frames as `expected` has; nan where it is not
        seen.
      expected: its truth is that of the world phyworld.
    """
    axes, errors = (2 if expected.attributes["motion"] == "parabola" else 1), []
    for i, center in enumerate(centers):
        pairs = _find_pairs(expected, i)
        if len(pairs):
            right = _mean_velocity(np.asarray(expected.truth["position"], float)[:, i], pairs)
            errors.append(np.abs(_mean_velocity(center, pairs) - right)[:axes].sum())
    return float(np.mean(errors)) if errors else math.nan


def _find_pairs(expected: Expected, ball: int) -> np.ndarray:
    """Returns the frames t of the pairs (t, t + 1) that count."""
    counted = np.asarray(expected.truth["in_view"])[:, ball].astype(bool)
    order = np.arange(len(counted))
    counted &= order >= max(FIRST, expected.given)
    if expected.attributes["motion"] == "collision":
        counted &= laws.STEP + order / laws.FPS >= expected.truth["touch"]
    return np.flatnonzero(counted[1:] & counted[:-1])


def _mean_velocity(center: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the mean velocity [2] over pairs of frames (t, t + 1), in units/s."""
    used = np.arange(pairs[0], pairs[-1] + 2)
    path, known = center[used].copy(), ~np.isnan(center[used, 0])
    if not known.any():
        return np.zeros(2)
    # What is not seen is where it was seen last, or else where it is seen first.
    last = np.maximum.accumulate(np.where(known, np.arange(len(used)), -1))
    path = path[np.where(last < 0, np.argmax(known), last)]
    return (np.diff(path, axis=0)[pairs - pairs[0]] * laws.FPS).mean(0)
