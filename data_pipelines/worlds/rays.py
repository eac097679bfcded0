"""Rays of the ray caster: from the camera, to the floor, through solids and on to the light."""

import math

import numpy as np

from data_pipelines.worlds.camera import Camera
from data_pipelines.worlds.solids import Solid, find_corners, locate
from sora_jax.laws.scene import AMBIENT, DIFFUSE, HAZE, HORIZON, SKY

RAYS = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75], [0.5, 0.5]])
# (column, row) within a pixel: four rays for its colour and one through its centre
COLORED = 4
_EVERYWHERE = slice(None), slice(None)
_NEAR = 0.02  # units; a solid nearer to the camera may be anywhere in the picture
_SKIN = np.float32(1e-3)  # units; nothing shades what is nearer than this


class View:
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
        h, w, focal = self.camera.height, self.camera.width, self.camera.focal
        x, y, z = ((points - self.origin) @ self.rotation).T
        if z.max() > -_NEAR:
            return slice(0, h), slice(0, w)
        return _enclose(h / 2 + focal * y / z, h), _enclose(w / 2 - focal * x / z, w)


def _enclose(values: np.ndarray, size: int) -> slice:
    """Returns the pixels of a side of `size` that hold all values, with one to spare."""
    first, last = math.floor(values.min()) - 1, math.ceil(values.max()) + 1
    return slice(min(max(first, 0), size), min(max(last, 0), size))


class Ground:
    """Floor and sky of one view: depth[5, h, w] and color[h, w, 3] without shadows."""

    def __init__(self, view: View, tiles: tuple, to_light: np.ndarray):
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


class Sight:
    """A solid in one frame: the rays that cross it, and those that end on the floor in its shadow.

    Attributes:
      center, rotation: float[3] and float[3, 3], its own frame to world.
      window: rows and columns in which it may be seen.
      origin, rays: the camera's rays within the window, in the solid's own frame.
      enter, hit: [5, rows, columns], where the rays enter it, and whether they do.
      dark, dark_window: the rays of another window that would end in its shadow, were there
        nothing but the floor.
      light: direction to the light, in the solid's own frame.
      shades: of the last frame in which it was shaded: what may throw a shadow on it, the rays
        that ended on it, and their colours.
    """

    def __init__(self, view: View, ground: Ground, solid: Solid, frame: int, to_light):
        self.solid, (self.center, self.rotation) = solid, locate(solid, frame)
        corners = find_corners(solid, frame)
        self.window = view.frame_points(corners)
        self.origin = tuple((self.rotation.T @ (view.origin - self.center)).astype(np.float32))
        self.rays = view.turn(self.rotation.T, self.window, len(RAYS))
        self.enter, leave = solid.cross(self.origin, self.rays)
        self.hit = (self.enter < leave) & (self.enter > 0)
        self.light = tuple((self.rotation.T @ to_light).astype(np.float32))
        self.shades: tuple[list[Sight], np.ndarray, np.ndarray] | None = None
        if to_light[2] <= 0:
            self.dark_window, self.dark = (slice(0), slice(0)), np.zeros((COLORED, 0, 0), bool)
            return
        corners = np.concatenate([corners - corners[:, 2:] / to_light[2] * to_light, corners])
        corners[:, 2] = 0
        self.dark_window = view.frame_points(corners)
        depth = ground.depth[:COLORED, *self.dark_window]
        floor = np.isfinite(depth)
        depth = np.where(floor, depth, np.float32(0))
        rays = view.turn(self.rotation.T, self.dark_window, COLORED)
        points = tuple(o + depth * d for o, d in zip(self.origin, rays, strict=True))
        enter, leave = solid.cross(points, self.light)
        self.dark = floor & (enter < leave) & (leave > _SKIN)

    def may_shade(self, other: "Sight", to_light: np.ndarray) -> bool:
        """Whether the balls around both solids overlap in the light's direction."""
        offset = self.center - other.center
        reach = math.hypot(*self.solid.reach()) + math.hypot(*other.solid.reach())
        along = float(offset @ to_light)
        return along > -reach and float(offset @ offset) - along * along < reach * reach

    def shade(self, own: np.ndarray, depth: np.ndarray, casters: "list[Sight]") -> np.ndarray:
        """Returns the colours [n, 3] of the rays `own` of the window, which end at depth[n]."""
        rays = (d[:COLORED][own] for d in self.rays)
        points = tuple(o + depth * d for o, d in zip(self.origin, rays, strict=True))
        (nx, ny, nz), (lx, ly, lz) = self.solid.normal(points), self.light
        light = np.maximum(nx * lx + ny * ly + nz * lz, 0) * np.float32(DIFFUSE)
        for caster in casters:
            turn = (caster.rotation.T @ self.rotation).astype(np.float32)
            shift = (caster.rotation.T @ (self.center - caster.center)).astype(np.float32)
            seen = tuple(
                r[0] * points[0] + r[1] * points[1] + r[2] * points[2] + s
                for r, s in zip(turn, shift, strict=True)
            )
            enter, leave = caster.solid.cross(seen, caster.light)
            light[(enter < leave) & (leave > _SKIN)] = 0
        light += np.float32(AMBIENT)
        return light[:, None] * np.array(self.solid.color, np.float32)
