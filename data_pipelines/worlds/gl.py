"""One MuJoCo scene with a floor, a sky and two lights, rendered without a screen.

Shadow maps would be slow and leave specks at this size: a body brings its own, a flat disc.

Needs an OpenGL library that draws without a display: EGL (Debian libegl1) or OSMesa (libosmesa6).
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (MuJoCo's names come from a compiled module.)

import math
import os

import numpy as np

FLOORS = {"cream": (0.90, 0.86, 0.76), "grey": (0.72, 0.74, 0.77), "white": (0.95, 0.95, 0.95)}
SUPERSAMPLING = 2

_SCENE = """
<mujoco>
  <visual>
    <global offwidth="{w}" offheight="{h}" fovy="{field}"/>
    <quality shadowsize="0" offsamples="0"/>
    <headlight ambient="0.38 0.38 0.38" diffuse="0.28 0.28 0.28" specular="0 0 0"/>
    <map znear="0.01" zfar="60" haze="0.6"/>
    <rgba haze="0.93 0.96 1 1"/>
  </visual>
  <statistic center="0 0 0.4" extent="2.5"/>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="0.62 0.80 0.96" rgb2="0.93 0.96 1"
      width="32" height="192"/>
    {materials}
  </asset>
  <worldbody>
    <light directional="true" pos="0 0 6" dir="-0.35 0.45 -1" diffuse="0.48 0.48 0.48"
      specular="0.1 0.1 0.1" castshadow="false"/>
    <geom name="floor" type="plane" size="30 30 0.1" material="floor"/>
    {bodies}
  </worldbody>
</mujoco>
"""


def require_gl() -> None:
    """Requires that frames can be rendered without a display.

    Raises:
      ValueError: neither EGL nor OSMesa works here.
    """
    try:
        with Scene("", {}, "grey", 16, 16) as scene:
            scene.aim((0, 0, 0), 2.0, azimuth=0.0, tilt=0.5)
            scene.render()
    except Exception as error:  # every backend fails in its own way
        raise ValueError(
            "no OpenGL without a display for MuJoCo: apt-get install libegl1 libgl1-mesa-dri, or "
            "libosmesa6 and set MUJOCO_GL=osmesa; or use the clips that come with the project"
        ) from error


def draw_shadow(radius: float, height: float, offset: tuple[float, float] = (0.0, 0.0)) -> str:
    """Returns the MJCF of a round shadow on the floor.

    Args:
      radius: radius of the shadow in the units of the world.
      height: height of the body's frame above the floor.
      offset: x and y of the shadow from the body's frame.
    """
    z = 0.004 - height
    return (
        f'<geom type="cylinder" size="{radius:.4f} 0.003" material="shadow" '
        f'pos="{offset[0]:.4f} {offset[1]:.4f} {z:.4f}"/>'
    )


def project(point, pose, intrinsics) -> tuple[float, float, float]:
    """Projects a point of the world to its column and row in pixels and its depth in units."""
    pose = np.asarray(pose, np.float64)
    x, y, z = pose[:3, :3].T @ (np.asarray(point) - pose[:3, 3])
    column, row, _ = np.asarray(intrinsics) @ (x / -z, -y / -z, 1.0)
    return float(column), float(row), float(-z)


class Scene:
    """A rendered scene; a context manager, since it holds an OpenGL context."""

    def __init__(
        self,
        bodies: str,
        colors: dict[str, tuple[int, int, int]],
        floor: str,
        height: int,
        width: int,
        field: float = math.radians(30),
    ):
        """Builds the scene.

        Args:
          bodies: MJCF of the world's bodies; they use the names in `colors` as materials.
          colors: RGB 0..255 of each material.
          floor: a name of `FLOORS`.
          height, width: of the pictures, in pixels.
          field: vertical field of view, radians.
        """
        os.environ.setdefault("MUJOCO_GL", "egl")
        import mujoco

        paints = {name: tuple(c / 255 for c in rgb) for name, rgb in colors.items()}
        paints["floor"] = FLOORS[floor]
        paints["shadow"] = tuple(0.72 * c for c in FLOORS[floor])
        materials = "".join(
            f'<material name="{name}" rgba="{r:.3f} {g:.3f} {b:.3f} 1" specular="0.15" '
            f'shininess="0.3" emission="0.12" reflectance="0"/>'
            for name, (r, g, b) in paints.items()
        )
        xml = _SCENE.format(
            w=width * SUPERSAMPLING,
            h=height * SUPERSAMPLING,
            field=math.degrees(field),
            materials=materials,
            bodies=bodies,
        )
        self._model = mujoco.MjModel.from_xml_string(xml)
        self._data = mujoco.MjData(self._model)
        self._field, self._height, self._width = field, height, width
        self._renderer = mujoco.Renderer(self._model, height * SUPERSAMPLING, width * SUPERSAMPLING)
        self._camera = mujoco.MjvCamera()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._renderer.close()

    def aim(self, target, distance: float, azimuth: float, tilt: float) -> list[list[float]]:
        """Points the camera at a target and returns its pose: 4x4, camera to world.

        The camera looks along its -z axis, +x is right and +y up in the picture. It stands
        at `distance` from the target; `azimuth` (radians) is the heading it looks along,
        `tilt` how far it looks down.
        """
        self._camera.lookat[:] = target
        self._camera.distance = distance
        self._camera.azimuth = math.degrees(azimuth)
        self._camera.elevation = -math.degrees(tilt)
        heading = np.array(
            [
                math.cos(azimuth) * math.cos(tilt),
                math.sin(azimuth) * math.cos(tilt),
                -math.sin(tilt),
            ]
        )
        right = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(right, heading), -heading], 1)
        pose[:3, 3] = np.asarray(target) - distance * heading
        return pose.round(6).tolist()

    def camera_matrix(self) -> list[list[float]]:
        """Returns the 3x3 camera matrix in pixels: focal lengths and the picture's centre."""
        focal = self._height / 2 / math.tan(self._field / 2)
        return [[focal, 0, self._width / 2], [0, focal, self._height / 2], [0, 0, 1]]

    def move(self, body: str, position, roll: float = 0.0) -> None:
        """Moves a mocap body to a position, rolled about the y axis by an angle in radians."""
        index = self._model.body(body).mocapid[0]
        self._data.mocap_pos[index] = position
        self._data.mocap_quat[index] = math.cos(roll / 2), 0, math.sin(roll / 2), 0

    def render(self) -> np.ndarray:
        """Renders uint8[h, w, 3], averaged from twice the size."""
        self._update()
        big = self._renderer.render().astype(np.uint16)
        s = SUPERSAMPLING
        small = big.reshape(self._height, s, self._width, s, 3).sum((1, 3))
        return ((small + s * s // 2) // (s * s)).astype(np.uint8)

    def render_depth(self, stride: int) -> np.ndarray:
        """Renders float16[h // stride, w // stride], distance along the optical axis in units."""
        self._update()
        self._renderer.enable_depth_rendering()
        depth = self._renderer.render()
        self._renderer.disable_depth_rendering()
        step = stride * SUPERSAMPLING
        rows, columns = self._height // stride, self._width // stride
        sampled = depth[step // 2 :: step, step // 2 :: step][:rows, :columns]
        return sampled.astype(np.float16)

    def count_pixels(self, name: str, without: str | None = None) -> int:
        """Counts the pixels where a geom is seen, rounded up; `without` names a geom to hide."""
        import mujoco

        groups = self._model.geom_group.copy()
        if without is not None:
            self._model.geom_group[self._model.geom(without).id] = 4  # groups above 2 are not drawn
        self._update()
        self._renderer.enable_segmentation_rendering()
        ids = self._renderer.render()
        self._renderer.disable_segmentation_rendering()
        self._model.geom_group[:] = groups
        seen = (ids[..., 0] == self._model.geom(name).id) & (
            ids[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
        )
        return math.ceil(seen.sum() / SUPERSAMPLING**2)

    def _update(self) -> None:
        import mujoco

        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera)
