"""A ray caster for scenes of a few solids on a floor, in numpy.

Floor, sky and shading are those of `sora_jax.laws.scene`: one light, so far away that its rays are
parallel, with hard shadows on the floor and on other solids. The sky is whiter near the horizon,
into which the floor fades.

A pixel's colour is the mean of 2 x 2 rays. Each solid is crossed only with the rays within the
rectangle that its bounding box fills in the picture.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from data_pipelines.worlds.camera import Camera, look_at, project
from data_pipelines.worlds.solids import Ball, Box, Cylinder, Solid, find_corners, locate
from sora_jax.laws.scene import AMBIENT, DIFFUSE, FLOORS, HAZE, HORIZON, LIGHT, SKY

__all__ = ["FLOORS", "Ball", "Box", "Camera", "Cylinder", "cover", "look_at", "project", "render"]

RAYS = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75], [0.5, 0.5]])
# (column, row) within a pixel: four rays for its colour and one through its centre
_COLORED = 4
_EVERYWHERE = slice(None), slice(None)
_NEAR = 0.02  # units; a solid nearer to the camera may be anywhere in the picture
_SKIN = np.float32(1e-3)  # units; nothing shades what is nearer than this


@dataclasses.dataclass(frozen=True, eq=False)
class Rendering:
    """What a camera sees of n solids.

    Attributes:
      video: uint8[t, h, w, 3], RGB.
      depth: float32[t, h, w], along the optical axis at pixel centres; inf in the sky.
      ids: int16[t, h, w] at pixel centres: 0 floor and sky, i + 1 solid i.
      coverage: float32[n, t, h, w], the share of each pixel's rays that end on each solid.
    """

    video: np.ndarray
    depth: np.ndarray
    ids: np.ndarray
    coverage: np.ndarray


def render(
    camera: Camera,
    solids: Sequence[Solid],
    floor_color: tuple[int, int, int],
    light: tuple[float, float, float] = LIGHT,
    floor_color2: tuple[int, int, int] | None = None,
    tile: float = 0.5,
) -> Rendering:
    """Renders all frames of a camera.

    Args:
      camera: its number of poses is the number of frames; solids that move have as many centres.
      solids: what stands on the floor; none may contain the camera.
      floor_color: RGB, 0..255, of the floor in full light; it is shaded like every surface.
      light: direction to the light, of any length.
      floor_color2: RGB of every other tile of the floor; None for a plain floor.
      tile: side of a tile in units; tiles lie along x and y, and a corner of four at the origin.
    """
    t, h, w = len(camera.pose), camera.height, camera.width
    to_light = np.asarray(light, np.float64) / np.linalg.norm(light)
    video, depth = np.empty((t, h, w, 3), np.uint8), np.empty((t, h, w), np.float32)
    ids, coverage = np.zeros((t, h, w), np.int16), np.zeros((len(solids), t, h, w), np.float32)
    ground = None
    for k in range(t):
        if ground is None or not np.array_equal(camera.pose[k], camera.pose[k - 1]):
            tiles = floor_color, floor_color if floor_color2 is None else floor_color2, tile
            ground = _Ground(_View(camera, k), tiles, to_light)
        frame = _Frame(_View(camera, k), ground, solids, k)
        video[k] = frame.shade(ground, solids, to_light) + 0.5
        depth[k], ids[k] = frame.depth[_COLORED], frame.ids[_COLORED]
        for i, sight in enumerate(frame.sights):
            own = frame.ids[:_COLORED, *sight.window] == i + 1
            coverage[i, k][sight.window] = own.sum(0, dtype=np.float32) / _COLORED
    return Rendering(video, depth, ids, coverage)


def cover(camera: Camera, solid: Solid) -> np.ndarray:
    """Returns the share float32[t, h, w] of each pixel that a solid would fill, if alone."""
    coverage = np.zeros((len(camera.pose), camera.height, camera.width), np.float32)
    for k in range(len(coverage)):
        view = _View(camera, k)
        sight = _Sight(view, solid, k, find_corners(solid, k), _COLORED)
        enter, leave = solid.cross(sight.origin, sight.rays)
        hit = (enter < leave) & (enter > 0)
        coverage[k][sight.window] = hit.sum(0, dtype=np.float32) / _COLORED
    return coverage


class _View:
    """The rays of one frame: u[5, 1, w], v[5, h, 1], and the pose they start from."""

    def __init__(self, camera: Camera, frame: int):
        self.camera, self.pose = camera, np.asarray(camera.pose[frame], np.float64)
        self.rotation, self.origin = self.pose[:3, :3], self.pose[:3, 3]
        columns = RAYS[:, :1] + np.arange(camera.width) - camera.width / 2
        rows = camera.height / 2 - RAYS[:, 1:] - np.arange(camera.height)
        self.u = (columns / camera.focal).astype(np.float32)[:, None, :]
        self.v = (rows / camera.focal).astype(np.float32)[:, :, None]

    def turn(self, matrix: np.ndarray, window, count: int) -> tuple:
        """Returns the directions of the first `count` rays a pixel, by matrix @ rotation."""
        u, v = self.u[:count, :, window[1]], self.v[:count, window[0]]
        m = (matrix @ self.rotation).astype(np.float32)
        return tuple((u * row[0] - row[2]) + v * row[1] for row in m)

    def frame_points(self, points: np.ndarray) -> tuple[slice, slice]:
        """Returns the rows and columns of the rectangle that holds the pictures of points."""
        h, w = self.camera.height, self.camera.width
        columns, rows, depths = project(points, self.pose, self.camera.intrinsics())
        if depths.min() < _NEAR:
            return slice(0, h), slice(0, w)
        return _enclose(rows, h), _enclose(columns, w)


def _enclose(values: np.ndarray, size: int) -> slice:
    """Returns the pixels of a side of `size` that hold all values, with one to spare."""
    first, last = math.floor(values.min()) - 1, math.ceil(values.max()) + 1
    return slice(min(max(first, 0), size), min(max(last, 0), size))


class _Sight:
    """Rays of the window that holds the pictures of points, in a solid's own frame."""

    def __init__(self, view: _View, solid: Solid, frame: int, points: np.ndarray, count: int):
        self.center, self.rotation = locate(solid, frame)
        self.window = view.frame_points(points)
        self.origin = tuple((self.rotation.T @ (view.origin - self.center)).astype(np.float32))
        self.rays = view.turn(self.rotation.T, self.window, count)


class _Ground:
    """Floor and sky of one view: depth[5, h, w] and color[h, w, 3] without shadows."""

    def __init__(self, view: _View, tiles: tuple, to_light: np.ndarray):
        x, y, rise = view.turn(np.eye(3), _EVERYWHERE, len(RAYS))
        below = rise < -1e-6
        fall = np.where(below, -rise, np.float32(1))
        self.depth = np.where(below, np.float32(view.origin[2]) / fall, np.float32(np.inf))
        x, y, rise, below = x[-1], y[-1], rise[-1], below[-1]
        length = np.sqrt(x * x + y * y + rise * rise)
        far = np.where(below, self.depth[-1], 0) * length / np.float32(HAZE)
        horizon, lit = np.array(HORIZON, np.float32), AMBIENT + DIFFUSE * max(to_light[2], 0)
        first, second, side = tiles
        floor = np.array(first, np.float32) * np.float32(lit)
        if first != second:
            change = np.array(second, np.float32) * np.float32(lit) - floor
            share = _share_tiles(x * self.depth[-1], y * self.depth[-1], view.origin, side)
            floor = floor + share[..., None] * change
        fading = np.where(below, np.exp(-far * far), 0)[..., None]
        rising = np.where(below, 0, np.sqrt(np.maximum(rise, 0) / length))[..., None]
        self.color = (
            horizon + fading * (floor - horizon) + rising * (np.array(SKY, np.float32) - horizon)
        )
        self.shaded = np.float32(AMBIENT / lit)  # brightness of a shadow, of the lit floor's


def _share_tiles(x, y, origin: np.ndarray, side: float) -> np.ndarray:
    """Returns the share [h, w] of each pixel's floor that lies on every other tile.

    The tile at (x, y) is that of the sign of s(x) s(y), with s a square wave of +1 and -1. A wave
    is averaged over the pixel's extent, from its integral; far away it is 0, both colours' mean.

    Args:
      x, y: of the points on the floor in units, from the origin; inf in the sky.
      origin: the camera's position.
    """
    product = np.ones(x.shape, np.float32)
    for position, start in ((x, origin[0]), (y, origin[1])):
        position = np.where(np.abs(position) < 1e3, position, np.float32(1e3))
        extent = sum(np.abs(np.gradient(position, axis=axis)) for axis in (0, 1))
        extent = np.clip(extent / np.float32(side), 1e-3, None)
        middle = (position + np.float32(start)) / np.float32(side)
        ends = (np.abs((middle + sign * extent / 2) % 2 - 1) for sign in (1, -1))
        wave = np.subtract(*ends) / -extent  # |z mod 2 - 1| falls where the wave is +1
        product *= wave * np.clip(2.5 - extent, 0, 1)
    return (1 - product) / 2


class _Frame:
    """What every ray of one frame ends on: depth[5, h, w] and ids[5, h, w]."""

    def __init__(self, view: _View, ground: _Ground, solids: Sequence[Solid], frame: int):
        self.view, self.number = view, frame
        self.depth = ground.depth.copy()
        self.ids = np.zeros(self.depth.shape, np.int16)
        self.sights = [_Sight(view, s, frame, find_corners(s, frame), len(RAYS)) for s in solids]
        for i, (solid, sight) in enumerate(zip(solids, self.sights, strict=True)):
            enter, leave = solid.cross(sight.origin, sight.rays)
            nearest = self.depth[:, *sight.window]
            hit = (enter < leave) & (enter > 0) & (enter < nearest)
            np.copyto(nearest, enter, where=hit)
            np.copyto(self.ids[:, *sight.window], np.int16(i + 1), where=hit)

    def shade(self, ground: _Ground, solids: Sequence[Solid], to_light: np.ndarray) -> np.ndarray:
        """Returns the frame's colours, float32[h, w, 3]."""
        color = np.repeat(ground.color[None], _COLORED, 0)
        dark = np.zeros(color.shape[:3], bool)
        for solid in solids:
            self._shade_floor(dark, solid, to_light)
        color[dark] *= ground.shaded
        for i in range(len(solids)):
            self._shade_solid(color, solids, i, to_light)
        return color.mean(0)

    def _shade_floor(self, dark: np.ndarray, solid: Solid, to_light: np.ndarray) -> None:
        """Marks the rays that end on the floor in a solid's shadow."""
        if to_light[2] <= 0:
            return
        corners = find_corners(solid, self.number)
        corners = np.concatenate([corners - corners[:, 2:] / to_light[2] * to_light, corners])
        corners[:, 2] = 0
        sight = _Sight(self.view, solid, self.number, corners, _COLORED)
        depth = self.depth[:_COLORED, *sight.window]
        floor = (self.ids[:_COLORED, *sight.window] == 0) & np.isfinite(depth)
        depth = np.where(floor, depth, np.float32(0))
        points = tuple(o + depth * d for o, d in zip(sight.origin, sight.rays, strict=True))
        enter, leave = solid.cross(points, tuple((sight.rotation.T @ to_light).astype(np.float32)))
        dark[:, *sight.window] |= floor & (enter < leave) & (leave > _SKIN)

    def _shade_solid(self, color: np.ndarray, solids, i: int, to_light: np.ndarray) -> None:
        """Colours the rays that end on solid i."""
        sight, solid = self.sights[i], solids[i]
        own = self.ids[:_COLORED, *sight.window] == i + 1
        depth = self.depth[:_COLORED, *sight.window][own]
        if not len(depth):
            return
        rays = (d[:_COLORED][own] for d in sight.rays)
        points = tuple(o + depth * d for o, d in zip(sight.origin, rays, strict=True))
        lx, ly, lz = (sight.rotation.T @ to_light).astype(np.float32)
        nx, ny, nz = solid.normal(points)
        light = np.maximum(nx * lx + ny * ly + nz * lz, 0) * np.float32(DIFFUSE)
        for j, other in enumerate(solids):
            if j != i and self._may_shade(solids, j, i, to_light):
                to = self.sights[j]
                turn = (to.rotation.T @ sight.rotation).astype(np.float32)
                shift = (to.rotation.T @ (sight.center - to.center)).astype(np.float32)
                seen = tuple(
                    r[0] * points[0] + r[1] * points[1] + r[2] * points[2] + s
                    for r, s in zip(turn, shift, strict=True)
                )
                direction = tuple((to.rotation.T @ to_light).astype(np.float32))
                enter, leave = other.cross(seen, direction)
                light[(enter < leave) & (leave > _SKIN)] = 0
        light += np.float32(AMBIENT)
        color[:, *sight.window][own] = light[:, None] * np.float32(solid.color)

    def _may_shade(self, solids, caster: int, receiver: int, to_light: np.ndarray) -> bool:
        """Whether the balls around two solids overlap in the light's direction."""
        offset = self.sights[caster].center - self.sights[receiver].center
        reach = math.hypot(*solids[caster].reach()) + math.hypot(*solids[receiver].reach())
        along = float(offset @ to_light)
        return along > -reach and float(offset @ offset) - along * along < reach * reach
