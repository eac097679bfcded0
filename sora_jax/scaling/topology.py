"""Devices of TPU slices that are absent, as `libtpu` describes them on any host."""

import os
from typing import Any

LIBTPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}
"""Variables that libtpu requires on a host without a TPU; the type is read and not used."""


def topology_devices(name: str, slices: int = 1) -> list[Any]:
    """Describes the devices of a topology such as `v5p:8x8x8`; they compile and do not run.

    Args:
      slices: slices of that topology, joined by the data center network.

    Raises:
      ValueError: libtpu is not installed or does not know the topology.
    """
    from jax.experimental import topologies

    os.environ.update(LIBTPU_ENVIRONMENT)
    options: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices
    except (RuntimeError, ValueError, NotImplementedError) as error:
        if "TPU support not installed" in str(error):
            raise ValueError("libtpu is not installed: pip install 'sora-jax[tpu]'") from error
        raise ValueError(
            f"no topology {name!r} ({str(error).splitlines()[0]}): name a chip and its grid, as "
            "v5e:16x16, v5p:8x8x8 or v6e:16x16"
        ) from error
