"""The ink that the painter's brush leaves, as coverage of pixels."""

import dataclasses
import math

import numpy as np

from data_pipelines.worlds.painter_strokes import Run


@dataclasses.dataclass(frozen=True)
class Ink:
    """What is painted in each frame of a window.

    Attributes:
      coverage: float32[t, h, w], the share of each pixel that is painted.
      owner: [h, w], the stroke that paints it.
    """

    coverage: np.ndarray
    owner: np.ndarray


def paint(
    run: Run,
    seconds: np.ndarray,
    h: int,
    w: int,
    offset: np.ndarray | None = None,
    kept: int | None = None,
    since: int = 0,
) -> Ink:
    """Paints the ink of all frames.

    A pixel's coverage by a piece of a stroke is clip(1/2 - d, 0, 1), d its signed distance in
    pixels from the piece, a round-ended line; that of a stroke is the maximum over its pieces.

    Args:
      run: the run.
      seconds: [t], time of each frame.
      h, w: pixels of a frame.
      offset: [t, 2], by which the ink of each frame's last step is moved; None for none.
      kept: steps after which ink vanishes, from frame `since` on; None if it stays.
      since: see kept.
    """
    unit, t = min(h, w), len(seconds)
    ends = np.union1d(run.times, seconds)
    ends = ends[(ends >= run.times[0]) & (ends <= min(run.times[-1], seconds[-1]))]
    middles = (ends[1:] + ends[:-1]) / 2
    owner = run.owner[np.clip(np.searchsorted(run.times, middles) - 1, 0, len(run.owner) - 1)]
    painted = np.flatnonzero(owner >= 0)
    steps = np.zeros((t, h, w), np.float32)
    if not len(painted):
        return Ink(steps, np.zeros((h, w), int))
    places = run.find_tip(ends)
    frame = np.searchsorted(seconds, ends[painted + 1] - 1e-9)
    start, stop = places[painted], places[painted + 1]
    if offset is not None:
        start, stop = start + offset[frame], stop + offset[frame]
    patch, rows, columns = _cover_pieces(start * unit, stop * unit, run.width * unit / 2, h, w)
    np.maximum.at(steps, (frame[:, None, None], rows, columns), patch)
    last = np.zeros((len(run.lengths), h, w), np.float32)
    np.maximum.at(last, (owner[painted][:, None, None], rows, columns), patch)
    late = [] if kept is None else [steps[max(i - kept + 1, 0) : i + 1].max(0) for i in range(t)]
    for i in range(1, t):
        np.maximum(steps[i], steps[i - 1], out=steps[i])
    if late:
        steps[since:] = late[since:]
    return Ink(steps, last.argmax(0))


def _cover_pieces(start, stop, radius: float, h: int, w: int):
    """Returns coverage[s, k, k] by round-ended lines, with rows [s, k, 1] and columns [s, 1, k]."""
    center, half = (start + stop) / 2, ((stop - start) / 2).astype(np.float32)
    side = 2 * math.ceil(float(np.hypot(*half.T).max()) + radius + 1) + 1
    corner = np.floor(center).astype(int) - side // 2
    columns, rows = (corner[:, i, None] + np.arange(side) for i in (0, 1))
    x = (columns + 0.5 - center[:, :1]).astype(np.float32)[:, None, :]
    y = (rows + 0.5 - center[:, 1:]).astype(np.float32)[:, :, None]
    hx, hy = half[:, 0, None, None], half[:, 1, None, None]
    u = np.clip((x * hx + y * hy) / np.maximum(hx * hx + hy * hy, 1e-12), -1, 1)
    coverage = np.clip(0.5 + np.float32(radius) - np.hypot(x - u * hx, y - u * hy), 0, 1)
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    coverage = coverage * inside
    return coverage, np.clip(rows, 0, h - 1)[:, :, None], np.clip(columns, 0, w - 1)[:, None, :]
