"""What TPU chips can do: from JAX's own table, and link speeds from the vendor's pages."""

import dataclasses
from typing import Any

LINKS = {
    # kind: (bytes/s both ways over all links of a chip, links of a chip, network bytes/s of a chip)
    "v5e": (400e9, 4, 6.4e12 / 8 / 256),
    "v5p": (1200e9, 6, 50e9 / 8),
    "v6e": (800e9, 4, 25.6e12 / 8 / 256),
}
"""Interconnect within a slice and network between slices, for each chip.

Source: "System architecture" tables of docs.cloud.google.com/tpu/docs/v5e, /v5p and /v6e (read
2026-11): bidirectional ICI bandwidth per chip 400, 1200 and 800 GB/s, over the 4, 6 and 4 ports of
a 2D, 3D and 2D torus; data center network 6.4 Tb/s per pod of 256 chips, 50 Gb/s per chip, 25.6
Tb/s per pod of 256 chips.
"""
KINDS = {"TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v5p": "v5p", "TPU v6 lite": "v6e"}
"""JAX's names of devices."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """A chip's peaks.

    Attributes:
      flops: bfloat16 operations a second.
      hbm: bytes of memory.
      hbm_bandwidth: bytes a second.
      axis_bandwidth: bytes a second that a chip sends along one axis of its torus: two links, one
        way each. An axis of the mesh is assumed to lie along one.
      network: bytes a second that a chip sends to other slices.
    """

    kind: str
    flops: float
    hbm: float
    hbm_bandwidth: float
    axis_bandwidth: float
    network: float


def chip_of(device: Any) -> Chip:
    """The chip of a (possibly absent) TPU device.

    Raises:
      ValueError: there are no figures of its kind.
    """
    from jax._src.pallas.mosaic import tpu_info  # its public function wants a TPU at hand

    kind = KINDS.get(device.device_kind)
    if kind is None:
        raise ValueError(
            f"no link speeds are known of {device.device_kind!r}: choose {', '.join(LINKS)}"
        )
    version: Any = tpu_info.chip_version_from_device_kind(device.device_kind)
    cores = version.num_physical_tensor_cores_per_chip
    info = tpu_info.get_tpu_info_for_chip(version, cores)
    both_ways, links, network = LINKS[kind]
    return Chip(
        kind,
        flops=float(info.bf16_ops_per_second * cores),
        hbm=float(info.hbm_capacity_bytes * cores),
        hbm_bandwidth=float(info.mem_bw_bytes_per_second * cores),
        axis_bandwidth=both_ways / 2 / links * 2,
        network=network,
    )
