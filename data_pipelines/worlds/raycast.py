"""A ray caster for scenes of a few solids on a floor, in numpy.

Floor, sky and shading are those of `sora_jax.laws.scene`: one light, so far away that its rays are
parallel, with hard shadows on the floor and on other solids. The sky is whiter near the horizon,
into which the floor fades.

A pixel's colour is the mean of 2 x 2 rays. Each solid is crossed only with the rays within the
rectangle that its bounding box fills in the picture.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.worlds.camera import Camera, look_at, project
from data_pipelines.worlds.rays import COLORED, Ground, Sight, View
from data_pipelines.worlds.solids import Ball, Box, Cylinder, Solid
from sora_jax.laws.scene import FLOORS, HORIZON, LIGHT

__all__ = ["FLOORS", "Ball", "Box", "Camera", "Cylinder", "cover", "look_at", "project", "render"]


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
    view, sights = View(camera, 0), []
    ground = Ground(view, tiles, to_light)
    for k in range(t):
        still = k > 0 and np.array_equal(camera.pose[k], camera.pose[k - 1])
        if k > 0 and not still:
            view = View(camera, k)
            ground = Ground(view, tiles, to_light)
        sights = [
            sights[i] if still and _is_fixed(solid) else Sight(view, ground, solid, k, to_light)
            for i, solid in enumerate(solids)
        ]
        frame = _Frame(ground, sights)
        video[k] = frame.shade(to_light) + 0.5
        depth[k], ids[k] = frame.depth[COLORED], frame.ids[COLORED]
        for i, sight in enumerate(sights):
            own = frame.ids[:COLORED, *sight.window] == i + 1
            coverage[i, k][sight.window] = own.sum(0, dtype=np.float32) / COLORED
            alone[i, k][sight.window] = sight.hit[:COLORED].sum(0, dtype=np.float32) / COLORED
    return Rendering(video, depth, ids, coverage, alone)


def cover(camera: Camera, solid: Solid) -> np.ndarray:
    """Returns the share float32[t, h, w] of each pixel that a solid would fill, if alone."""
    return render(camera, [solid], HORIZON).alone[0]


def _is_fixed(solid: Solid) -> bool:
    """Whether a solid stays where it is in all frames."""
    return np.ndim(solid.center) == 1 and np.ndim(solid.yaw) == 0


class _Frame:
    """What every ray of one frame ends on: depth[5, h, w] and ids[5, h, w]."""

    def __init__(self, ground: Ground, sights: Sequence[Sight]):
        self.ground, self.sights, self.depth = ground, sights, ground.depth.copy()
        self.ids = np.zeros(self.depth.shape, np.int16)
        for i, sight in enumerate(sights):
            nearest = self.depth[:, *sight.window]
            hit = sight.hit & (sight.enter < nearest)
            np.copyto(nearest, sight.enter, where=hit)
            np.copyto(self.ids[:, *sight.window], np.int16(i + 1), where=hit)

    def shade(self, to_light: np.ndarray) -> np.ndarray:
        """Returns the frame's colours, float32[h, w, 3]."""
        color = np.repeat(self.ground.color[None], COLORED, 0)
        dark = np.zeros(color.shape[:3], bool)
        for sight in self.sights:
            dark[:, *sight.dark_window] |= sight.dark
        color[dark & (self.ids[:COLORED] == 0)] *= self.ground.shaded
        for i, sight in enumerate(self.sights):
            own = self.ids[:COLORED, *sight.window] == i + 1
            casters = [s for s in self.sights if s is not sight and s.may_shade(sight, to_light)]
            known = sight.shades
            if known is None or known[0] != casters or not np.array_equal(known[1], own):
                depth = self.depth[:COLORED, *sight.window][own]
                known = sight.shades = casters, own, sight.shade(own, depth, casters)
            color[:, *sight.window][own] = known[2]
        return (color[0] + color[1] + color[2] + color[3]) * np.float32(1 / COLORED)
