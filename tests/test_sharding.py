"""The one mesh: over devices that are present, and over given ones."""

import jax
import numpy as np
import pytest

from sora_jax.sharding import AXES, MeshConfig, make_mesh


def test_data_takes_the_devices_that_other_axes_leave():
    assert dict(make_mesh(MeshConfig(fsdp=2)).shape) == dict(zip(AXES, (4, 2, 1, 1), strict=True))
    mesh = make_mesh(MeshConfig(tensor=2), jax.devices()[2:6])
    assert dict(mesh.shape) == dict(zip(AXES, (2, 1, 1, 2), strict=True))
    assert {d.id for d in np.ravel(mesh.devices)} == {2, 3, 4, 5}
    assert mesh.axis_types == (jax.sharding.AxisType.Explicit,) * 4


@pytest.mark.parametrize("count", [8, 4])
def test_a_mesh_of_another_size_is_refused(count):
    message = f"needs 3 devices and {count} are present: change it so that the product is {count}"
    with pytest.raises(ValueError, match=message):
        make_mesh(MeshConfig(data=1, fsdp=3), jax.devices()[:count])


class SliceDevice:
    """Stands in for a device of one of several slices."""

    platform = device_kind = "gpu"

    def __init__(self, number, slice_index):
        self.id, self.slice_index, self.process_index = number, slice_index, slice_index


def test_data_alone_leaves_a_slice(monkeypatch):
    devices = [SliceDevice(i, i % 2) for i in range(8)]  # in another order than the slices
    grids, here = [], make_mesh()
    monkeypatch.setattr(jax.sharding, "Mesh", lambda grid, *_, **__: grids.append(grid) or here)
    make_mesh(MeshConfig(data=4, tensor=2), devices)
    slices = np.vectorize(lambda device: device.slice_index)(grids[0])
    assert grids[0].shape == (4, 1, 1, 2) and slices.ravel().tolist() == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match="product is 8 and data a multiple of the 2 slices"):
        make_mesh(MeshConfig(data=1, fsdp=8), devices)
