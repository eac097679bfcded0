"""Solids of the ray caster: where a ray enters and leaves them, and their normals.

A ray is o + s d. Each solid answers in its own frame, whose origin is its centre and which is
turned by its yaw about z. All of them are convex, so that a ray is inside for one interval of s:
a box is the meeting of three slabs, a cylinder that of a slab and an endless tube.
"""

import dataclasses
import math
from typing import Protocol

import numpy as np

Vector = tuple  # three arrays or scalars, float32: the components x, y, z
RGB = tuple[int, int, int]

_TINY = np.float32(1e-9)


class Solid(Protocol):
    """A convex solid that may move and turn from frame to frame."""

    @property
    def center(self) -> np.ndarray: ...

    @property
    def yaw(self) -> float | np.ndarray: ...

    @property
    def color(self) -> RGB: ...

    def reach(self) -> tuple[float, float, float]:
        """Half the sides of its bounding box, in its own frame."""
        ...

    def cross(self, o: Vector, d: Vector) -> tuple[np.ndarray, np.ndarray]:
        """Returns the interval of s in which rays o + s d are inside; empty: first > second."""
        ...

    def normal(self, point: Vector) -> Vector:
        """Returns the outward unit normals at points of its surface."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Ball:
    """A ball. center: float[3] or float[t, 3]; color: RGB, 0..255."""

    center: np.ndarray
    radius: float
    color: RGB
    yaw = 0.0

    def reach(self) -> tuple[float, float, float]:
        return self.radius, self.radius, self.radius

    def cross(self, o: Vector, d: Vector) -> tuple[np.ndarray, np.ndarray]:
        return _cross_round(_dot(d, d), _dot(o, d), _dot(o, o), self.radius)

    def normal(self, point: Vector) -> Vector:
        inverse = np.float32(1 / self.radius)
        return tuple(p * inverse for p in point)


@dataclasses.dataclass(frozen=True, eq=False)
class Box:
    """A box with half sides half[3], turned by yaw (radians, float or float[t]) about z."""

    center: np.ndarray
    half: tuple[float, float, float]
    yaw: float | np.ndarray
    color: RGB

    def reach(self) -> tuple[float, float, float]:
        x, y, z = (float(v) for v in self.half)
        return x, y, z

    def cross(self, o: Vector, d: Vector) -> tuple[np.ndarray, np.ndarray]:
        slabs = [_cross_slab(*axis) for axis in zip(o, d, self.reach(), strict=True)]
        enter = np.maximum(np.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
        return enter, np.minimum(np.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])

    def normal(self, point: Vector) -> Vector:
        x, y, z = (p * np.float32(1 / h) for p, h in zip(point, self.half, strict=True))
        ax, ay, az = np.abs(x), np.abs(y), np.abs(z)
        on_x = (ax >= ay) & (ax >= az)
        on_y = ~on_x & (ay >= az)
        return np.sign(x) * on_x, np.sign(y) * on_y, np.sign(z) * ~(on_x | on_y)


@dataclasses.dataclass(frozen=True, eq=False)
class Cylinder:
    """An upright cylinder. center: float[3] or float[t, 3]; color: RGB, 0..255."""

    center: np.ndarray
    radius: float
    half_height: float
    color: RGB
    yaw = 0.0

    def reach(self) -> tuple[float, float, float]:
        return self.radius, self.radius, self.half_height

    def cross(self, o: Vector, d: Vector) -> tuple[np.ndarray, np.ndarray]:
        dd = np.maximum(d[0] * d[0] + d[1] * d[1], _TINY)
        od, oo = o[0] * d[0] + o[1] * d[1], o[0] * o[0] + o[1] * o[1]
        round_enter, round_leave = _cross_round(dd, od, oo, self.radius)
        flat_enter, flat_leave = _cross_slab(o[2], d[2], self.half_height)
        return np.maximum(round_enter, flat_enter), np.minimum(round_leave, flat_leave)

    def normal(self, point: Vector) -> Vector:
        x, y = (p * np.float32(1 / self.radius) for p in point[:2])
        z = point[2] * np.float32(1 / self.half_height)
        side = np.abs(z) < x * x + y * y  # on the tube rather than on an end
        return x * side, y * side, np.sign(z) * ~side


def locate(solid: Solid, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a solid's centre[3] and rotation[3, 3], own frame to world, in one frame."""
    center, yaw = np.asarray(solid.center, np.float64), np.asarray(solid.yaw, np.float64)
    center = center[frame] if center.ndim == 2 else center
    angle = float(yaw[frame]) if yaw.ndim else float(yaw)
    c, s = math.cos(angle), math.sin(angle)
    return center, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def find_corners(solid: Solid, frame: int) -> np.ndarray:
    """Returns the 8 corners [8, 3] of a solid's bounding box in the world."""
    center, rotation = locate(solid, frame)
    return center + (_SIGNS * solid.reach()) @ rotation.T


_SIGNS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def _dot(a: Vector, b: Vector):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross_round(dd, od, oo, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Solves |o + s d|^2 = radius^2 for s, from the products of o and d."""
    room = od * od - dd * (oo - np.float32(radius * radius))
    root, inverse = np.sqrt(np.maximum(room, 0)), 1 / dd
    return np.where(room > 0, (-od - root) * inverse, np.float32(np.inf)), (root - od) * inverse


def _cross_slab(o, d, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns where -half < o + s d < half, along one axis."""
    inverse = 1 / np.where(np.abs(d) < _TINY, _TINY, d)
    middle, extent = -o * inverse, np.abs(inverse) * np.float32(half)
    return middle - extent, middle + extent
