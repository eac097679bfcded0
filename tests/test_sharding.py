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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "needs 3 devices and 8 are present: change config.mesh so that the product is 8"),
        ((4,), "does not divide 4 chips of 1 slices"),
    ],
)
def test_a_mesh_of_another_size_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(MeshConfig(data=1, fsdp=3), *(jax.devices()[:n] for n in arguments))


def test_data_must_span_the_slices():
    with pytest.raises(ValueError, match="and data a multiple of 2"):
        make_mesh(MeshConfig(data=1, fsdp=8), jax.devices(), num_slices=2)
