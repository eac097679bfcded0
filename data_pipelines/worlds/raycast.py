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
      alone: float32[n, t, h, w], the share of them that would, without the other solids.
    """

    video: np.ndarray
    depth: np.ndarray
    ids: np.ndarray
    coverage: np.ndarray
    alone: np.ndarray


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
    alone = np.zeros_like(coverage)
    tiles = floor_color, floor_color if floor_color2 is None else floor_color2, tile
    view, sights = _View(camera, 0), []
    ground = _Ground(view, tiles, to_light)
    for k in range(t):
        still = k > 0 and np.array_equal(camera.pose[k], camera.pose[k - 1])
        if k > 0 and not still:
            view = _View(camera, k)
            ground = _Ground(view, tiles, to_light)
        sights = [
            sights[i] if still and _is_fixed(solid) else _Sight(view, ground, solid, k, to_light)
            for i, solid in enumerate(solids)
        ]
        frame = _Frame(ground, sights)
        video[k] = frame.shade(to_light) + 0.5
        depth[k], ids[k] = frame.depth[_COLORED], frame.ids[_COLORED]
        for i, sight in enumerate(sights):
            own = frame.ids[:_COLORED, *sight.window] == i + 1
            coverage[i, k][sight.window] = own.sum(0, dtype=np.float32) / _COLORED
            alone[i, k][sight.window] = sight.hit[:_COLORED].sum(0, dtype=np.float32) / _COLORED
    return Rendering(video, depth, ids, coverage, alone)


def cover(camera: Camera, solid: Solid) -> np.ndarray:
    """Returns the share float32[t, h, w] of each pixel that a solid would fill, if alone."""
    return render(camera, [solid], HORIZON).alone[0]


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
        h, w, focal = self.camera.height, self.camera.width, self.camera.focal
        x, y, z = ((points - self.origin) @ self.rotation).T
        if z.max() > -_NEAR:
            return slice(0, h), slice(0, w)
        return _enclose(h / 2 + focal * y / z, h), _enclose(w / 2 - focal * x / z, w)


def _enclose(values: np.ndarray, size: int) -> slice:
    """Returns the pixels of a side of `size` that hold all values, with one to spare."""
    first, last = math.floor(values.min()) - 1, math.ceil(values.max()) + 1
    return slice(min(max(first, 0), size), min(max(last, 0), size))


def _is_fixed(solid: Solid) -> bool:
    """Whether a solid stays where it is in all frames."""
    return np.ndim(solid.center) == 1 and np.ndim(solid.yaw) == 0


class _Sight:
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

    def __init__(self, view: _View, ground: "_Ground", solid: Solid, frame: int, to_light):
        self.solid, (self.center, self.rotation) = solid, locate(solid, frame)
        corners = find_corners(solid, frame)
        self.window = view.frame_points(corners)
        self.origin = tuple((self.rotation.T @ (view.origin - self.center)).astype(np.float32))
        self.rays = view.turn(self.rotation.T, self.window, len(RAYS))
        self.enter, leave = solid.cross(self.origin, self.rays)
        self.hit = (self.enter < leave) & (self.enter > 0)
        self.light = tuple((self.rotation.T @ to_light).astype(np.float32))
        self.shades: tuple[list[_Sight], np.ndarray, np.ndarray] | None = None
        if to_light[2] <= 0:
            self.dark_window, self.dark = (slice(0), slice(0)), np.zeros((_COLORED, 0, 0), bool)
            return
        corners = np.concatenate([corners - corners[:, 2:] / to_light[2] * to_light, corners])
        corners[:, 2] = 0
        self.dark_window = view.frame_points(corners)
        depth = ground.depth[:_COLORED, *self.dark_window]
        floor = np.isfinite(depth)
        depth = np.where(floor, depth, np.float32(0))
        rays = view.turn(self.rotation.T, self.dark_window, _COLORED)
        points = tuple(o + depth * d for o, d in zip(self.origin, rays, strict=True))
        enter, leave = solid.cross(points, self.light)
        self.dark = floor & (enter < leave) & (leave > _SKIN)

    def may_shade(self, other: "_Sight", to_light: np.ndarray) -> bool:
        """Whether the balls around both solids overlap in the light's direction."""
        offset = self.center - other.center
        reach = math.hypot(*self.solid.reach()) + math.hypot(*other.solid.reach())
        along = float(offset @ to_light)
        return along > -reach and float(offset @ offset) - along * along < reach * reach

    def shade(self, own: np.ndarray, depth: np.ndarray, casters: "list[_Sight]") -> np.ndarray:
        """Returns the colours [n, 3] of the rays `own` of the window, which end at depth[n]."""
        rays = (d[:_COLORED][own] for d in self.rays)
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

    def __init__(self, ground: _Ground, sights: Sequence[_Sight]):
        self.ground, self.sights, self.depth = ground, sights, ground.depth.copy()
        self.ids = np.zeros(self.depth.shape, np.int16)
        for i, sight in enumerate(sights):
            nearest = self.depth[:, *sight.window]
            hit = sight.hit & (sight.enter < nearest)
            np.copyto(nearest, sight.enter, where=hit)
            np.copyto(self.ids[:, *sight.window], np.int16(i + 1), where=hit)

    def shade(self, to_light: np.ndarray) -> np.ndarray:
        """Returns the frame's colours, float32[h, w, 3]."""
        color = np.repeat(self.ground.color[None], _COLORED, 0)
        dark = np.zeros(color.shape[:3], bool)
        for sight in self.sights:
            dark[:, *sight.dark_window] |= sight.dark
        color[dark & (self.ids[:_COLORED] == 0)] *= self.ground.shaded
        for i, sight in enumerate(self.sights):
            own = self.ids[:_COLORED, *sight.window] == i + 1
            casters = [s for s in self.sights if s is not sight and s.may_shade(sight, to_light)]
            known = sight.shades
            if known is None or known[0] != casters or not np.array_equal(known[1], own):
                depth = self.depth[:_COLORED, *sight.window][own]
                known = sight.shades = casters, own, sight.shade(own, depth, casters)
            color[:, *sight.window][own] = known[2]
        return (color[0] + color[1] + color[2] + color[3]) * np.float32(1 / _COLORED)
