"""Values of the shattering world's scores, 0 to 1, nan where one does not apply; see `shatter`."""

import math

import numpy as np

from sora_jax.evals.worlds.base import grade
from sora_jax.evals.worlds.shatter_reading import MOVED, Reading
from sora_jax.laws import shatter as laws
from sora_jax.laws.palette import FPS

JUMP = 0.22  # units from frame to frame: no ball moves faster
INSET = 1.5  # pixels between the frame's edge and a ball that is surely seen whole
DROP, FALLING = 0.05, 0.25  # units by which pieces fall, and the share of their area that does
SINKS = 0.3  # pixels from frame to frame by which the middle of pieces surely moves
REST = 0.12  # units above the floor of the middle of pieces that lie, at most
AFTER = 3  # frames after the impact that are needed to tell what came of it


def _breaks_in_window(reading: Reading, after: int = AFTER) -> bool:
    """Whether the simulator's target breaks in the new frames, with `after` frames to follow."""
    impact = reading.impact
    enough = reading.first <= impact <= reading.frames - 1 - after
    return bool(reading.expected.truth["breaks"]) and enough


def watch_ball(reading: Reading, first: int) -> np.ndarray:
    """Returns the frames from `first` on in which the whole ball is seen."""
    late = np.arange(reading.frames) >= first
    return np.flatnonzero((reading.ball.count > 0) & ~reading.ball.cut & late)


def sign(reading: Reading) -> float:
    return 1.0 if reading.expected.attributes["direction"] == "right" else -1.0


def measure_scene(reading: Reading) -> float:
    if not reading.new.any():
        return math.nan
    shares = (reading.strange, reading.ground, reading.base, reading.ledge)
    strange, ground, base, ledge = (float(share[reading.new].mean()) for share in shares)
    scene = grade(strange, 0.03, 0.15) * grade(ground, 0.6, 0.3) * grade(base, 0.6, 0.3)
    return scene * grade(ledge, 0.22, 0.32)


def measure_ball(reading: Reading) -> float:
    if (reading.ball_whole & reading.new).sum() < AFTER:
        return math.nan
    return grade(float(reading.others[reading.new].mean()), 0.02, 0.15)


def measure_target(reading: Reading) -> float:
    if not reading.new.any():
        return math.nan
    kind = reading.expected.attributes["target"]
    whole = sum(laws.area(part) for part in laws.outline(kind))
    low, high = (whole * height**2 for height in laws.TARGET_HEIGHTS[kind])
    area, inside = (
        float(np.quantile(areas[reading.new], 0.75))
        for areas in (reading.target.area, reading.share_inside)
    )
    value = grade(max(1 - area / max(low * inside, 1e-9), area / high - 1), 0.2, 0.5)
    first = reading.expected.given
    stands = not reading.expected.truth["breaks"] or reading.impact > first
    return value * float(reading.intact[first]) if stands else value


def measure_direction(reading: Reading) -> float:
    speed = measure_entry(reading)
    low = laws.SPEEDS[reading.expected.attributes["speed"]][0]
    return speed if math.isnan(speed) else float(speed > 0.5 * low)


def measure_speed(reading: Reading) -> float:
    speed = measure_entry(reading)
    low, high = laws.SPEEDS[reading.expected.attributes["speed"]]
    return speed if math.isnan(speed) else grade(max(1 - speed / low, speed / high - 1), 0.12, 0.4)


def measure_entry(reading: Reading) -> float:
    """Returns the ball's speed to the caption's side when it is first seen, in units/s.

    It is 0 for a ball that is not seen and nan where the simulator's is not seen before the impact.
    """
    order = np.arange(reading.frames)
    flight = reading.find_whole_ball(INSET / reading.unit) & (order <= reading.impact)
    if flight[reading.first :].sum() < 2 or not (flight & reading.new).any():
        return math.nan
    frames = watch_ball(reading, reading.first)
    if len(frames) < 2:
        return 0.0
    (x0, _), (x1, _) = (reading.ball.centers[t][0] for t in frames[:2])
    return float(sign(reading) * (x1 - x0) * FPS / (frames[1] - frames[0]))


def measure_breaks(reading: Reading) -> float:
    if not _breaks_in_window(reading):
        return math.nan
    first, broken = reading.expected.given, reading.broken
    if reading.impact < first:
        first = reading.first
    if broken >= reading.frames or not reading.intact[first]:
        return 0.0
    return float(reading.target.count[broken:].max() >= 2)


def measure_stays_whole(reading: Reading) -> float:
    truth, last = reading.expected.truth, reading.frames - 1
    ends = not truth["breaks"] or reading.impact > last
    if not ends or reading.new.sum() < AFTER or reading.impact > last + 1:
        return math.nan
    new = reading.new
    changed = 1 - (reading.intact[new] & (reading.moved[new] < 0.3)).mean()
    return grade(float(changed), 0.05, 0.3)


def measure_after_impact(reading: Reading) -> float:
    if not _breaks_in_window(reading):
        return math.nan
    broken, first = reading.broken, reading.first
    if broken >= reading.frames or not reading.intact[first]:
        return 0.0
    if reading.target.area[broken] < 0.6 * reading.target.area[first]:
        return 0.0  # it has vanished
    ball = [reading.ball.centers[t] for t in (broken - 1, broken)]
    if not len(ball[0]) or not len(ball[1]) or np.linalg.norm(ball[0][0] - ball[1][0]) > JUMP:
        return 0.0  # the ball was not there before
    return grade(reading.gap(broken, first), 0.06, 0.1)


def measure_pieces_conserved(reading: Reading) -> float:
    inside, order = np.asarray(reading.expected.truth["inside"]), np.arange(reading.frames)
    last = order[-AFTER:]
    shown = _breaks_in_window(reading, 7)
    lying = bool(reading.expected.truth["breaks"]) and reading.impact < 0 and reading.frames > 8
    if not (shown or lying) or not inside[last].all() or not reading.new[last].all():
        return math.nan
    if shown and reading.broken >= reading.frames:
        return 0.0
    area, first = reading.target.area, reading.first
    ratio = float(np.median(area[last])) / max(float(area[first]), 1e-9)
    return grade(abs(ratio - 1), 0.15, 0.35)


def measure_never_heals(reading: Reading) -> float:
    shown = _breaks_in_window(reading, 9)
    lying = bool(reading.expected.truth["breaks"]) and reading.impact < 0 and reading.frames > 8
    if not (shown or lying):
        return math.nan
    lying = lying and not shown
    start = reading.broken if shown else reading.first
    if start >= reading.frames:
        return 0.0
    # A target that is whole and where it was, too: fast pieces first fly up, so that few are lower.
    later = np.s_[start + 1 :]
    if (reading.intact[later] & (lying | (reading.moved[later] <= MOVED))).any():
        return 0.0
    top = reading.edges[0][start:]
    if np.isnan(top).mean() > 0.3:
        return 0.0
    lowest = np.fmax.accumulate(top)
    return grade(float(np.nanmax(lowest - top)), 0.1, 0.18)


def measure_pieces_fall(reading: Reading) -> float:
    if not _breaks_in_window(reading, 6):
        return math.nan
    broken, first = reading.broken, reading.first
    if broken >= reading.frames or not reading.intact[first]:
        return 0.0
    gravity = fit_gravity(reading)
    value = grade(abs(gravity / laws.GRAVITY - 1), 0.45, 0.9)
    if _breaks_in_window(reading, 12):
        rest = reading.floor - float(reading.target.middle[-1, 1])
        value *= grade(rest, 0.2, 0.3)
    return value


def measure_pieces_drop(reading: Reading) -> float:
    """Measures how pieces that fall from the start on leave their place, sink and come to rest.

    It applies where `FALLING` of the simulator's fall by `DROP` in the new frames, in the frame.
    Nothing lifts them: once they fall, of the way of their middle hardly any leads up.
    """
    x, y = np.asarray(reading.expected.truth["poses"], float)[reading.first :, :, :2].T
    broken = bool(reading.expected.truth["breaks"]) and reading.impact < reading.first
    areas = np.asarray(reading.expected.truth["areas"], float)
    inside = (x > 0) & (x < reading.size[0])
    falls = (y[:, -1] - y[:, 0] > DROP) & inside.all(1)
    if not broken or not reading.new.any() or falls @ areas < FALLING * areas.sum():
        return math.nan
    steps = np.diff(reading.target.middle[reading.first :, 1]) * reading.unit
    steps = np.where(np.abs(steps) > SINKS, steps, 0.0)  # also where nothing is seen
    steps[:2] = np.maximum(steps[:2], 0)  # what has just been hit may fly up
    rising = float(-np.minimum(steps, 0).sum() / max(np.abs(steps).sum(), 1e-9))
    shown = areas * inside[:, -1]
    end = reading.floor - float(y[:, -1] @ shown / shown.sum())
    above = reading.floor - float(reading.target.middle[-1, 1]) - max(end, REST)
    sinks = grade(rising, 0.1, 0.2) * grade(above, 0.04, 0.12)
    return sinks * grade(float(reading.moved[-1]), MOVED, 0.02)


def fit_gravity(reading: Reading) -> float:
    """Fits the acceleration of the pieces' middle until one of them lands, units/s^2, or nan."""
    middle, bottom = reading.target.middle[:, 1], reading.edges[1]
    start = reading.broken
    landed = np.flatnonzero((bottom > reading.floor - 0.02) & (np.arange(len(bottom)) > start))
    stop = int(landed[0]) if len(landed) else reading.frames
    frames = np.arange(max(min(start - 1, stop - 4), 0), min(stop, start + 6))
    frames = frames[~np.isnan(middle[frames])]
    if len(frames) < 4:
        return math.nan
    return float(2 * np.polyfit(frames / FPS, middle[frames], 2)[0])


def measure_ball_after(reading: Reading) -> float:
    """After the impact the ball goes on or bounces back, as the caption says."""
    truth, order = reading.expected.truth, np.arange(reading.frames)
    first = reading.first
    after = reading.ball_whole & reading.new & (order > reading.impact)
    if not first <= reading.impact or after.sum() < AFTER:
        return math.nan
    if truth["breaks"] and not truth["goes_on"]:
        return math.nan
    seen = watch_ball(reading, reading.expected.given)
    turn = _find_turn(reading, bool(truth["breaks"]), seen)
    later = seen[seen >= turn][:3]
    if len(later) < 2:
        return 0.0
    path = np.array([reading.ball.centers[t][0][0] for t in later])
    speed = sign(reading) * np.polyfit(later / FPS, path, 1)[0]
    back = reading.expected.attributes["outcome"] == "holds"
    return float((-speed if back else speed) > 0.04)


def _find_turn(reading: Reading, breaks: bool, seen: np.ndarray) -> int:
    """Returns the first frame after the impact, or after the ball passes over the target."""
    if breaks:
        return reading.broken
    middle = reading.target.middle[:, 0]
    near = [abs(reading.ball.centers[t][0][0] - middle[t]) for t in seen]
    near = [value if value == value else math.inf for value in near]
    return int(seen[int(np.argmin(near))]) + 1 if near else reading.frames
