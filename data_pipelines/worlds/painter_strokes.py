"""Runs of the painter's brush.

Times are in seconds after the window's first frame, lengths in units of the frame's short side
unless pixels are said.
"""

import dataclasses
import math

import numpy as np

from sora_jax.laws import painter as laws

_LEAD = 0.5  # seconds before a stroke's start, or its end, at which a window starts at the latest
_SPACING = 0.05  # units between the points of a path


@dataclasses.dataclass(frozen=True)
class Run:
    """The brush's path, painted and lifted, and the strokes along it.

    Attributes:
      times: [k], when the brush is at points[k, 2].
      points: see times.
      owner: [k - 1], the stroke that is painted between a point and the next one, -1 for none.
      starts, ends: [n], when each stroke is begun and finished.
      lengths: [n], of each stroke.
      places: [n, 2], the middle of each figure.
      speed: of the painting brush, in units/s.
      size: longer side of the figures.
      width: of the strokes.
      first: the stroke in which, or before which, the window starts.
    """

    times: np.ndarray
    points: np.ndarray
    owner: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray
    places: np.ndarray
    speed: float
    size: float
    width: float
    first: int

    def find_tip(self, seconds: np.ndarray) -> np.ndarray:
        """Returns where [t, 2] the tip is."""
        return np.stack([np.interp(seconds, self.times, p) for p in self.points.T], 1)

    def is_down(self, seconds: np.ndarray) -> np.ndarray:
        """Says [t] whether the brush is painting."""
        index = np.clip(np.searchsorted(self.times, seconds) - 1, 0, len(self.owner) - 1)
        return (self.owner[index] >= 0) & (seconds > self.times[0]) & (seconds < self.times[-1])

    def measure_painted(self, second: float) -> np.ndarray:
        """Returns the length [n] that is painted of each stroke."""
        spent = np.clip(second - self.times[:-1], 0, np.diff(self.times))
        return np.array(
            [self.speed * spent[self.owner == i].sum() for i in range(len(self.lengths))]
        )


def draw_run(rng, figures: list[str], speeds, width: float, height: float) -> Run:
    """Draws a run and where its window starts; width and height are the frame's, in units."""
    count = len(figures)
    size = rng.uniform(*laws.SIZES[count])
    stroke = size * rng.uniform(*laws.WIDTHS)
    speed = rng.uniform(*speeds)
    cells = _lay_out(rng, count, width, height)
    paths, places = [], []
    for figure, (low, high) in zip(figures, cells, strict=True):
        lines = _draw_figure(rng, figure, size)
        corner = np.concatenate(lines)
        reach = np.maximum(corner.max(0), -corner.min(0)) + stroke / 2 + 0.01
        place = rng.uniform(
            np.minimum(low + reach, (low + high) / 2), np.maximum(high - reach, (low + high) / 2)
        )
        paths.append([line + place for line in lines])
        places.append(place)

    away = np.array([width + 0.1, paths[0][0][0, 1]])
    times, points, owner = [0.0], [away], []
    for i, lines in enumerate(paths):
        for line in lines:
            _travel(times, points, owner, line[0])
            for point in line[1:]:
                times.append(times[-1] + np.hypot(*(point - points[-1])) / speed)
                points.append(point)
                owner.append(i)
    _travel(times, points, owner, np.array([width + 0.1, points[-1][1]]))
    times, points, owner = np.array(times), np.array(points), np.array(owner)
    lengths = np.hypot(*np.diff(points, axis=0).T)
    starts = np.array([times[:-1][owner == i][0] for i in range(count)])
    ends = np.array([times[1:][owner == i][-1] for i in range(count)])
    first = int(rng.integers(count))
    zero = rng.uniform(starts[first] - _LEAD, max(starts[first], ends[first] - 2 * _LEAD))
    return Run(
        times - zero,
        points,
        owner,
        starts - zero,
        ends - zero,
        np.array([lengths[owner == i].sum() for i in range(count)]),
        np.array(places),
        speed,
        size,
        stroke,
        first,
    )


def _travel(times: list, points: list, owner: list, stop: np.ndarray) -> None:
    """Adds the lifted brush's way to a point, in a flat arc."""
    start = points[-1]
    span = max(np.hypot(*(stop - start)), 1e-6)
    rise = min(laws.LIFT, span / 4)
    u = np.linspace(0, 1, 9)[1:]
    way = start + u[:, None] * (stop - start) - np.outer(rise * np.sin(math.pi * u), (0, 1))
    for point in way:
        times.append(times[-1] + max(np.hypot(*(point - points[-1])), 1e-6) / laws.TRAVEL_SPEED)
        points.append(point)
        owner.append(-1)


def _lay_out(rng, count: int, width: float, height: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (low, high) corners of a part of the paper for each figure, in random order.

    Of all grids with enough parts the one is taken whose parts have the longest short side.
    """
    grids = [(r, c) for r in range(1, count + 1) for c in range(1, count + 1) if r * c >= count]
    rows, columns = max(grids, key=lambda g: (min(height / g[0], width / g[1]), -g[0] * g[1]))
    part = np.array([width / columns, height / rows])
    order = rng.permutation(rows * columns)[:count]
    return [
        (part * (i % columns, i // columns), part * (i % columns + 1, i // columns + 1))
        for i in order
    ]


def _draw_figure(rng, figure: str, size: float) -> list[np.ndarray]:
    """Draws the lines [n, 2] of a figure about its middle, with the figure's longer side `size`."""
    degrees = 180.0 if figure in laws.TURNING else laws.TILT
    tilt = math.radians(rng.uniform(-degrees, degrees))
    stretch = rng.uniform(*laws.STRETCH)
    flip, backwards = rng.uniform(size=2) < 0.5
    if figure in laws.TURNING:
        stretch = -1.0 if flip else 1.0
    turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    lines = [line * (stretch, 1) @ turn.T for line in laws.FIGURES[figure]]
    if backwards:
        lines = [line[::-1] for line in lines[::-1]]
    every = np.concatenate(lines)
    low, high = every.min(0), every.max(0)
    return [_resample((line - (low + high) / 2) * size / (high - low).max()) for line in lines]


def _resample(line: np.ndarray) -> np.ndarray:
    """Adds points to a line [n, 2] so that neighbours are at most `_SPACING` apart."""
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))]
    parts = [
        np.linspace(a, b, math.ceil((b - a) / _SPACING) + 1)[:-1]
        for a, b in zip(along[:-1], along[1:], strict=True)
    ]
    wanted = np.r_[np.concatenate(parts), along[-1]]
    return np.stack([np.interp(wanted, along, p) for p in line.T], 1)


def find_free_place(run: Run, frame: np.ndarray) -> np.ndarray:
    """Returns the place of a grid on the paper that is farthest from all strokes."""
    grid = np.stack(np.meshgrid(*(np.linspace(0.1, f - 0.1, 12) for f in frame)), -1).reshape(-1, 2)
    painted = run.points[1:][run.owner >= 0]
    gaps = np.hypot(*(grid[:, None] - painted).transpose(2, 0, 1)).min(1)
    return grid[gaps.argmax()]
