"""TPU slices that are not there, as `libtpu` describes them on any host, and meshes over them."""

import math
import os
from typing import Any

import jax

from sora_jax.sharding import AXES, MeshConfig

ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}
"""What libtpu wants on a host that has no TPU; the type is read and not used."""


def topology_devices(name: str, slices: int = 1) -> list[Any]:
    """Devices of a topology such as `v5p:8x8x8`.

    Raises:
      ValueError: libtpu is not installed or does not know the topology.
    """
    from jax.experimental import topologies

    os.environ.update(ENVIRONMENT)
    more: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=name, **more).devices
    except (RuntimeError, ValueError, NotImplementedError) as error:
        if "TPU support not installed" in str(error):
            raise ValueError("libtpu is not installed: pip install 'sora-jax[tpu]'") from error
        raise ValueError(
            f"no topology {name!r} ({str(error).splitlines()[0]}): name a chip and its grid, as "
            "v5e:16x16, v5p:8x8x8 or v6e:16x16"
        ) from error


def mesh_over(devices: list[Any], config: MeshConfig, slices: int = 1) -> jax.sharding.Mesh:
    """The experiment's mesh on the topology; `data` spans the slices.

    Raises:
      ValueError: the sizes do not multiply to the devices, or `data` to the slices.
    """
    from jax.experimental import mesh_utils

    sizes = [config.data, config.fsdp, config.context, config.tensor]
    if sizes[0] == -1:
        sizes[0] = max(len(devices) // math.prod(sizes[1:]), 1)
    if math.prod(sizes) != len(devices) or sizes[0] % slices:
        raise ValueError(
            f"config.mesh {dict(zip(AXES, sizes, strict=True))} does not divide {len(devices)} "
            f"chips of {slices} slices: change it so that the product is {len(devices)} and data "
            f"a multiple of {slices}"
        )
    if slices > 1:
        inner = [sizes[0] // slices, *sizes[1:]]
        outer = [slices, 1, 1, 1]
        grid = mesh_utils.create_hybrid_device_mesh(
            inner, outer, devices, allow_split_physical_axes=True
        )
    else:
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return jax.sharding.Mesh(grid, AXES, axis_types=(jax.sharding.AxisType.Explicit,) * 4)
