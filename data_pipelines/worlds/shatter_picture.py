"""Pictures of the shattering world, lawful or with a law of `shatter.BROKEN` broken."""

import math

import numpy as np

from data_pipelines.worlds.drawing import Picture, blur_video, flicker_video
from data_pipelines.worlds.shatter_physics import (
    EARLY,
    STEPS,
    Run,
    outline_pieces,
    outline_target,
    place_pieces,
    simulate,
)
from sora_jax.laws import shatter as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

MOVED = ("breaks_early", "pieces_float")  # broken laws that are simulated
BREAK = 5  # frame of the window, the first in which what had happened before it is undone
HEAL, VANISH = 0.75, 0.5  # seconds after the impact

_POST, _PLATE = 0.02, (0.09, 0.025)  # half width of the stand's post; half width, height of plates


def draw_video(
    run: Run,
    attributes: dict[str, str],
    first: int,
    shape: tuple[int, int, int],
    lawful: tuple[np.ndarray, np.ndarray],
    broken: str,
) -> np.ndarray:
    """Draws the clip; `lawful` is what `simulate` returns without a broken law."""
    frames, height, width = shape
    unit = min(height, width)  # pixels
    furniture = Picture(1, height, width, BACKGROUNDS[attributes["background"]])
    for box, paint in _furnish(run):
        _blend(furniture, _cover_box(box * unit, height, width)[None], paint)
    picture = Picture(frames, height, width, furniture.pixels())
    ball, poses = lawful if broken not in MOVED else simulate(run, first, frames, broken)
    time = (first / STEPS + np.arange(frames)) / FPS  # seconds after the impact
    target = _cover_target(run, poses, time, shape, broken)
    color, glass = attributes["color"], attributes["target_color"] == "glass"
    _blend(picture, target, laws.GLASS if glass else COLORS[attributes["target_color"]])

    if broken == "ball_turns":
        center = run.size[0] - run.ball[0] if run.mirrored else run.ball[0]
        ball[time > 0, 0] = 2 * center - ball[time > 0, 0]
    others = [c for c in COLORS if c not in (color, attributes["target_color"])]
    order, late = np.arange(frames), np.zeros(frames, bool)
    if broken == "ball_recolored":
        late = order >= BREAK
    balls = [(ball, ~late, color)]
    if late.any():
        balls.append((ball, late, others[len(COLORS) // 2]))
    if broken == "appears":
        spot = (0.33 if run.mirrored else run.size[0] - 0.33, 0.1)
        balls.append((np.tile(spot, (frames, 1)), order >= BREAK, color))
    for center, seen, name in balls:
        away = np.where(seen[:, None], center, -9.0)  # out of the frame
        picture.disc(away * unit, run.radius * unit, COLORS[name])
    video = picture.video()
    video = blur_video(video) if broken == "blurred" else video
    return flicker_video(video) if broken == "flickering" else video


def _blend(picture: Picture, cover: np.ndarray, color: tuple[int, int, int]) -> None:
    """Paints where cover[t, h, w] says, which is little of the picture."""
    pixels, shares = picture.pixels().reshape(-1, 3), cover.ravel()
    at = np.flatnonzero(shares)
    pixels[at] += shares[at, None] * (np.array(color, np.float32) - pixels[at])


def _furnish(run: Run) -> list[tuple[np.ndarray, tuple[int, int, int]]]:
    """Returns (left, top, right, bottom) and the colour of the floor and of the stand's parts."""
    width, height = run.size
    foot = np.concatenate(outline_target(run))
    x, top, floor = (foot[:, 0].min() + foot[:, 0].max()) / 2, foot[:, 1].max(), height - laws.FLOOR
    half, thick = _PLATE
    return [
        (np.array([-1, floor, width + 1, height + 1]), laws.FLOOR_COLOR),
        (np.array([x - _POST, top, x + _POST, floor]), laws.STAND_COLOR),
        (np.array([x - half, top, x + half, top + thick]), laws.STAND_COLOR),
        (np.array([x - half, floor - thick, x + half, floor]), laws.STAND_COLOR),
    ]


def _cover_box(box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the share [h, w] of each pixel that a box (left, top, right, bottom) covers."""
    shares = []
    for low, high, size in ((box[1], box[3], height), (box[0], box[2], width)):
        start = np.arange(size)
        shares.append(np.clip(np.minimum(high, start + 1) - np.maximum(low, start), 0, 1))
    return np.outer(*shares).astype(np.float32)


def _cover_target(
    run: Run, poses: np.ndarray, time: np.ndarray, shape: tuple[int, int, int], broken: str
) -> np.ndarray:
    """Returns the share [t, h, w], 0 to 1, of each pixel that the target or its pieces cover."""
    unit, later = min(shape[1:]), np.arange(len(time)) >= BREAK
    whole = (time <= 0) | (run.outcome != "breaks")
    if broken == "breaks_early":
        whole = time <= -EARLY
    if broken == "heals" and run.outcome == "breaks":
        whole |= later & (time > HEAL)
    cover = np.zeros(shape, np.float32)
    if whole.any():
        still = np.zeros((1, *shape[1:]), np.float32)
        for part in outline_target(run):
            _add_convex(still, np.zeros(1, int), part[None] * unit)
        cover[whole] = still
    corners = outline_pieces(run)
    shown = np.repeat(~whole[:, None], len(corners), 1)
    if broken == "pieces_vanish":
        shown[later & (time > VANISH), ::2] = False
    t, i = np.nonzero(shown)
    if len(t):
        _add_convex(cover, t, place_pieces(corners[i], poses[t, i]) * unit)
    return np.minimum(cover, 1)


def _add_convex(cover: np.ndarray, frames: np.ndarray, polygons: np.ndarray) -> None:
    """Adds the coverage of convex polygons to frames, so that neighbours sum up to 1 at an edge.

    Args:
      cover: [t, h, w].
      frames: [n], the frame of each polygon.
      polygons: [n, k, 2] in pixels; a corner may be repeated.
    """
    center = polygons.mean(1)
    local = polygons - center[:, None]
    side = 2 * math.ceil(np.abs(local).max() + 1) + 1
    corner = np.floor(center).astype(int) - side // 2
    columns, rows = (corner[:, k, None] + np.arange(side) for k in (0, 1))
    x = (columns + 0.5 - center[:, :1]).astype(np.float32)[:, None, :]
    y = (rows + 0.5 - center[:, 1:]).astype(np.float32)[:, :, None]
    edge = np.roll(local, -1, 1) - local
    turn = np.sign((local[..., 0] * edge[..., 1] - local[..., 1] * edge[..., 0]).sum(1))
    length = np.hypot(edge[..., 0], edge[..., 1])
    normal = np.stack([edge[..., 1], -edge[..., 0]], -1) * turn[:, None, None]
    normal = normal / np.maximum(length, 1e-9)[..., None]
    offset = np.where(length > 1e-6, (normal * local).sum(-1), np.inf).astype(np.float32)
    distance = np.full((len(polygons), side, side), -np.inf, np.float32)
    for k in range(polygons.shape[1]):
        a, b = (normal[:, k, axis, None, None].astype(np.float32) for axis in (0, 1))
        np.maximum(distance, a * x + b * y - offset[:, k, None, None], out=distance)
    share = np.clip(0.5 - distance, 0, 1)
    share *= ((rows >= 0) & (rows < cover.shape[1]))[:, :, None]
    share *= ((columns >= 0) & (columns < cover.shape[2]))[:, None, :]
    n, i, j = np.nonzero(share)
    np.add.at(cover, (frames[n], rows[n, i], columns[n, j]), share[n, i, j])
