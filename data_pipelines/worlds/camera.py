"""A pinhole camera: its poses, and where it sees points of the world.

World: x right, y away, z up, right-handed. In the camera's frame x is right, y up, and it looks
along -z. A ray through (column, row) has the direction d = (u, v, -1) in that frame,

    u = (column - width / 2) / focal,   v = (height / 2 - row) / focal,

so that the parameter s of a point origin + s d is its depth along the optical axis.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Attributes:
      pose: float[t, 4, 4], camera to world: x right, y up, looking along -z.
      focal: focal length in pixels.
      height, width: of the picture in pixels.
    """

    pose: np.ndarray
    focal: float
    height: int
    width: int

    def intrinsics(self) -> np.ndarray:
        """Returns the 3x3 camera matrix in pixels, x right and y down in the picture."""
        f = self.focal
        return np.array([[f, 0, self.width / 2], [0, f, self.height / 2], [0, 0, 1]])


def look_at(position, target) -> np.ndarray:
    """Returns upright poses [t, 4, 4] of a camera that looks from positions at targets.

    Args:
      position, target: float[t, 3]; either may be float[3]. Never straight above one another.
    """
    position, target = np.broadcast_arrays(*np.atleast_2d(position, target))
    ahead = target - position
    ahead = ahead / np.linalg.norm(ahead, axis=-1, keepdims=True)
    right = np.cross(ahead, (0, 0, 1))
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    pose = np.tile(np.eye(4), (len(ahead), 1, 1))
    pose[:, :3, :3] = np.stack([right, np.cross(right, ahead), -ahead], -1)
    pose[:, :3, 3] = position
    return pose


def project(points, pose, intrinsics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Projects points of the world to columns and rows in pixels and depths in units.

    What lies behind the camera has a negative depth, and its column and row mean nothing.

    Args:
      points: float[..., 3].
      pose: float[4, 4], or float[t, 4, 4] where points is float[t, 3].
      intrinsics: float[3, 3].
    """
    pose, k = np.asarray(pose, np.float64), np.asarray(intrinsics, np.float64)
    offset = np.asarray(points, np.float64) - pose[..., :3, 3]
    x, y, z = np.moveaxis(np.einsum("...ji,...j->...i", pose[..., :3, :3], offset), -1, 0)
    depth = -z
    scale = 1 / np.where(depth == 0, 1e-12, depth)
    return k[0, 0] * x * scale + k[0, 2], k[1, 1] * -y * scale + k[1, 2], depth
