"""Tests of the ray caster against closed forms: depths, outlines, shadows, shades."""

import math

import numpy as np
import pytest

from data_pipelines.worlds import raycast
from data_pipelines.worlds.raycast import Ball, Box, Camera, Cylinder
from sora_jax.laws import scene

H, W, FOCAL = 48, 72, 90.0
RED = (225, 30, 30)
GREY = raycast.FLOORS["grey"]


def face(distance: float, height: float) -> Camera:
    """A camera that looks along y, level, at the origin's line."""
    pose = raycast.look_at((0.0, -distance, height), (0.0, 0.0, height))
    return Camera(pose, FOCAL, H, W)


def look_down(frames: int = 1, spin: float = 0.4) -> Camera:
    angle = np.linspace(0, spin, frames)
    position = np.stack([4 * np.sin(angle), -4 * np.cos(angle), np.full(frames, 2.5)], 1)
    return Camera(raycast.look_at(position, (0.0, 0.0, 0.2)), FOCAL, H, W)


def unproject(camera: Camera, depth: np.ndarray, frame: int = 0) -> np.ndarray:
    """Points of the world at pixel centres, from depth along the optical axis."""
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    local = np.stack(
        [(x - camera.width / 2) / camera.focal, (camera.height / 2 - y) / camera.focal, 0 * x - 1]
    )
    pose = camera.pose[frame]
    return np.moveaxis(np.einsum("ij,jhw->ihw", pose[:3, :3], local * depth), 0, -1) + pose[:3, 3]


def test_depth_of_solids_straight_ahead():
    # Rows H / 2 and columns W / 2 are half a pixel off the axis: 0.5 * 5 / 90 = 0.028 units.
    off = 0.5 / FOCAL
    ball = raycast.render(face(5, 2), [Ball((0, 0, 2.0), 0.8, RED)], GREY)
    c = 2 * off**2 + 1  # |o + s d|^2 = r^2 for o = (0, -5, 0) and d = (off, 1, off)
    expected = (5 - math.sqrt(25 - c * (25 - 0.64))) / c
    assert ball.depth[0, H // 2, W // 2] == pytest.approx(expected, abs=1e-4)

    box = raycast.render(face(5, 2), [Box((0, 0, 2.0), (0.6, 0.3, 0.5), 0.0, RED)], GREY)
    front = box.depth[0, H // 2 - 4 : H // 2 + 4, W // 2 - 4 : W // 2 + 4]
    np.testing.assert_allclose(front, 4.7, atol=1e-4)

    tube = raycast.render(face(5, 2), [Cylinder((0, 0, 2.0), 0.7, 0.6, RED)], GREY)
    expected = (5 - math.sqrt(25 - (off**2 + 1) * (25 - 0.49))) / (off**2 + 1)
    assert tube.depth[0, H // 2, W // 2] == pytest.approx(expected, abs=1e-4)
    seen = tube.ids[0] == 1
    # The near rim stands 4.3 away: half heights of 0.6 units are 0.6 * 90 / 4.3 rows.
    assert seen[:, W // 2].sum() == pytest.approx(2 * 0.6 * FOCAL / 4.3, abs=1)


@pytest.mark.parametrize("yaw", [0.0, 0.7, -0.3])
def test_points_seen_lie_on_their_surfaces(yaw):
    camera = look_down(3)
    center = np.array([[0.1, 0.3, 0.5], [0.2, 0.2, 0.5], [0.4, -0.2, 0.5]])
    solids = [
        Ball(center, 0.45, RED),
        Box(np.array([-0.9, 0.0, 0.4]), (0.3, 0.2, 0.4), yaw, RED),
        Cylinder(np.array([1.1, 0.4, 0.6]), 0.3, 0.6, RED),
    ]
    seen = raycast.render(camera, solids, GREY)
    for frame in range(3):
        points = unproject(camera, seen.depth[frame], frame)
        ids = seen.ids[frame]
        on_floor = (ids == 0) & np.isfinite(seen.depth[frame])
        np.testing.assert_allclose(points[on_floor][:, 2], 0, atol=2e-4)
        ball = np.linalg.norm(points[ids == 1] - center[frame], axis=1)
        np.testing.assert_allclose(ball, 0.45, atol=1e-3)
        offset = points[ids == 2] - (-0.9, 0.0, 0.4)
        x = offset[:, 0] * math.cos(yaw) + offset[:, 1] * math.sin(yaw)
        y = offset[:, 1] * math.cos(yaw) - offset[:, 0] * math.sin(yaw)
        cube = np.max(np.abs(np.stack([x / 0.3, y / 0.2, offset[:, 2] / 0.4])), axis=0)
        np.testing.assert_allclose(cube, 1, atol=5e-3)
        offset = points[ids == 3] - (1.1, 0.4, 0.6)
        tube = np.maximum(np.hypot(offset[:, 0], offset[:, 1]) / 0.3, abs(offset[:, 2]) / 0.6)
        np.testing.assert_allclose(tube, 1, atol=5e-3)
        assert all((ids == i).sum() > 20 for i in (1, 2, 3))


def test_projection_is_the_inverse_of_unprojection():
    camera = look_down(2)
    depth = np.random.default_rng(0).uniform(1, 9, (H, W))
    points = unproject(camera, depth, 1)
    column, row, again = raycast.project(points, camera.pose[1], camera.intrinsics())
    y, x = np.mgrid[:H, :W] + 0.5
    np.testing.assert_allclose(column, x, atol=1e-9)
    np.testing.assert_allclose(row, y, atol=1e-9)
    np.testing.assert_allclose(again, depth, atol=1e-9)
    moved = raycast.project(np.array([[0, 0, 1.0], [0, 0, 1.0]]), camera.pose, camera.intrinsics())
    assert moved[0].shape == (2,)


def test_look_at_is_a_right_handed_upright_pose():
    pose = look_down(4, 2.0).pose
    rotation = pose[:, :3, :3]
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    np.testing.assert_allclose(rotation[:, 2, 0], 0, atol=1e-12)  # right stays level
    assert (rotation[:, 2, 1] > 0).all()  # up is up
    column, row, depth = raycast.project((0.0, 0.0, 0.2), pose[3], look_down().intrinsics())
    assert (column, row) == (pytest.approx(W / 2), pytest.approx(H / 2)) and depth > 0


def test_area_of_a_ball_is_that_of_its_cone():
    for radius in (0.4, 0.9):
        ball = Ball((0, 0, 2.0), radius, RED)
        area = math.pi * (FOCAL * radius) ** 2 / (25 - radius**2)
        seen = raycast.render(face(5, 2), [ball], GREY)
        assert seen.coverage.sum() == pytest.approx(area, rel=0.015)
        np.testing.assert_array_equal(seen.coverage, seen.alone)


@pytest.mark.parametrize("light", [scene.LIGHT, (0.5, 0.2, 0.9), (0.0, -0.3, 0.9)])
def test_shadow_of_a_ball_lies_where_the_light_is_blocked(light):
    camera, center, radius = look_down(), np.array([0.2, 0.1, 0.7]), 0.4
    seen = raycast.render(camera, [Ball(center, radius, RED)], GREY, light)
    bare = raycast.render(camera, [], GREY, light)
    points = unproject(camera, bare.depth[0])
    direction = np.array(light) / np.linalg.norm(light)
    gap = np.linalg.norm(np.cross(center - points, direction), axis=-1)  # ray to light, to centre
    floor = (seen.coverage[0, 0] == 0) & (np.abs(gap - radius) > 0.05)
    shaded = seen.video[0].astype(int).sum(-1) < 0.9 * bare.video[0].astype(int).sum(-1)
    np.testing.assert_array_equal(shaded[floor], gap[floor] < radius)
    assert shaded[floor].sum() > 30
    lit = scene.AMBIENT + scene.DIFFUSE * direction[2]
    ratio = seen.video[0][floor & shaded].astype(float) / bare.video[0][floor & shaded]
    assert ratio.mean() == pytest.approx(scene.AMBIENT / lit, abs=0.02)


def test_solids_shade_solids():
    light = (0.0, 0.0, 1.0)
    slab = Box((0, 0, 0.2), (0.8, 0.8, 0.2), 0.0, (200, 200, 0))
    ball = Ball((0, 0, 1.2), 0.3, RED)
    camera = Camera(raycast.look_at((0, -3.0, 3.0), (0, 0, 0.3)), FOCAL, H, W)
    seen = raycast.render(camera, [slab, ball], GREY, light)
    y, x = np.mgrid[:H, :W] + 0.5
    points = unproject(camera, seen.depth[0])
    top = (seen.coverage[0, 0] == 1) & (np.abs(points[..., 2] - 0.4) < 1e-3)
    away = np.hypot(points[..., 0], points[..., 1])
    under, beside = top & (away < 0.25), top & (away > 0.35)
    assert under.sum() > 5 and beside.sum() > 50
    np.testing.assert_allclose(seen.video[0][under][:, 0], 200 * scene.AMBIENT, atol=1)
    np.testing.assert_allclose(seen.video[0][beside][:, 0], 200, atol=1)


def test_ends_and_side_of_a_cylinder_face_their_ways():
    tube = Cylinder((0, 0, 1.0), 0.6, 1.0, (200, 200, 0))
    camera = Camera(raycast.look_at((0, -4.0, 4.5), (0, 0, 1.2)), FOCAL, H, W)
    seen = raycast.render(camera, [tube], GREY, (0.0, -1.0, 1.0))
    points, own = unproject(camera, seen.depth[0]), seen.coverage[0, 0] == 1
    top = own & (np.abs(points[..., 2] - 2) < 1e-3)
    side = own & (points[..., 2] < 1.95)
    shade = scene.AMBIENT + scene.DIFFUSE * math.sqrt(0.5)
    assert np.quantile(np.abs(seen.video[0][top][:, 0] - 200 * shade), 0.8) < 2  # not at the rim
    normal = np.maximum(-points[side][:, 1], 0) / 0.6
    shades = scene.AMBIENT + scene.DIFFUSE * math.sqrt(0.5) * normal
    assert np.quantile(np.abs(seen.video[0][side][:, 0] - 200 * shades), 0.9) < 4
    assert top.sum() > 50 and side.sum() > 100


def test_shades_keep_the_hue():
    seen = raycast.render(look_down(), [Ball((0, 0, 0.5), 0.5, (200, 100, 50))], GREY)
    own = seen.video[0][seen.coverage[0, 0] == 1].astype(float)
    np.testing.assert_allclose(own[:, 1] / own[:, 0], 0.5, atol=0.02)
    assert own[:, 0].min() >= 200 * scene.AMBIENT - 1 and own[:, 0].max() <= 201
    assert own[:, 0].max() > 0.97 * 200  # one point faces the light


def test_nearer_solids_hide_farther_ones_and_coverage_sums_to_one():
    near, far = Ball((0, -1, 2.0), 0.3, RED), Box((0, 1, 2.0), (0.9, 0.2, 0.6), 0.0, RED)
    ahead = raycast.render(face(5, 2), [near, far], GREY)
    swapped = raycast.render(face(5, 2), [far, near], GREY)
    np.testing.assert_array_equal(ahead.video, swapped.video)
    np.testing.assert_array_equal(ahead.coverage, swapped.coverage[::-1])
    assert ahead.ids[0, H // 2, W // 2] == 1 and ahead.coverage.sum(0).max() <= 1
    whole = raycast.render(face(5, 2), [far], GREY).coverage[0]
    np.testing.assert_array_equal(ahead.alone[1], whole)
    np.testing.assert_allclose(ahead.coverage.sum(0)[whole == 1], 1)


def test_frames_do_not_depend_on_one_another():
    camera = look_down(3)
    center = np.array([[0, 0, 0.5], [0.3, 0, 0.5], [0.6, 0.2, 0.5]])
    yaw = np.array([0.0, 0.3, 0.9])
    solids = [Ball(center, 0.3, RED), Box(center - (1, 0, 0), (0.2, 0.3, 0.5), yaw, RED)]
    seen = raycast.render(camera, solids, GREY)
    single = [Ball(center[2], 0.3, RED), Box(center[2] - (1, 0, 0), (0.2, 0.3, 0.5), 0.9, RED)]
    alone = raycast.render(Camera(camera.pose[2:], FOCAL, H, W), single, GREY)
    for name in ("video", "depth", "ids"):
        np.testing.assert_array_equal(getattr(seen, name)[2], getattr(alone, name)[0])
    still = raycast.render(Camera(camera.pose[[2, 2]], FOCAL, H, W), single, GREY)
    np.testing.assert_array_equal(still.video[1], alone.video[0])


def test_solids_beside_and_behind_the_camera_are_not_drawn():
    bare = raycast.render(face(5, 2), [], GREY)
    for center in ((0, -9.0, 2.0), (40.0, 0, 2.0), (0.0, -5.0, 3.0)):
        seen = raycast.render(face(5, 2), [Ball(center, 0.5, RED)], GREY)
        assert seen.coverage.sum() == 0 and (seen.ids == 0).all()
    assert np.isinf(bare.depth[0, 0]).all() and np.isfinite(bare.depth[0, -1]).all()
