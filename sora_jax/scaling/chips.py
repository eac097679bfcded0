"""Peak figures of TPU chips: from JAX's own table, link speeds from the vendor's pages."""

import dataclasses
from typing import Any

LINK_SPEEDS = {
    # kind: (bytes/s both ways over all links of a chip, links of a chip, network bytes/s of a chip)
    "v5e": (400e9, 4, 6.4e12 / 8 / 256),
    "v5p": (1200e9, 6, 50e9 / 8),
    "v6e": (800e9, 4, 25.6e12 / 8 / 256),
}
"""Interconnect within a slice and network between slices, by kind of chip.

Source: "System architecture" tables of docs.cloud.google.com/tpu/docs/v5e, /v5p and /v6e (read
2026-11): bidirectional ICI bandwidth per chip 400, 1200 and 800 GB/s, over the 4, 6 and 4 ports of
a 2D, 3D and 2D torus; data center network 6.4 Tb/s per pod of 256 chips, 50 Gb/s per chip, 25.6
Tb/s per pod of 256 chips.
"""
CHIP_KINDS = {"TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v5p": "v5p", "TPU v6 lite": "v6e"}
"""Kind of chip by the `device_kind` of JAX's devices."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak figures of one chip.

    Attributes:
      kind: `v5e`, `v5p` or `v6e`.
      flops: bfloat16 operations per second.
      hbm: memory, in bytes.
      hbm_bandwidth: bandwidth of that memory, in bytes per second.
      axis_bandwidth: bytes per second that a chip sends along one axis of its torus, over two
        links, one way each. An axis of the mesh is assumed to lie along one axis of the torus.
      network: bytes per second that a chip sends to other slices.
    """

    kind: str
    flops: float
    hbm: float
    hbm_bandwidth: float
    axis_bandwidth: float
    network: float


def chip_of(device: Any) -> Chip:
    """Looks up the chip of a TPU device, which may be absent.

    Raises:
      ValueError: the kind of chip is not in `CHIP_KINDS`.
    """
    from jax._src.pallas.mosaic import tpu_info  # its public function requires a TPU

    kind = CHIP_KINDS.get(device.device_kind)
    if kind is None:
        raise ValueError(
            f"no link speeds are known of {device.device_kind!r}: choose {', '.join(LINK_SPEEDS)}"
        )
    version: Any = tpu_info.chip_version_from_device_kind(device.device_kind)
    cores = version.num_physical_tensor_cores_per_chip
    info = tpu_info.get_tpu_info_for_chip(version, cores)
    both_ways, links, network = LINK_SPEEDS[kind]
    return Chip(
        kind,
        flops=float(info.bf16_ops_per_second * cores),
        hbm=float(info.hbm_capacity_bytes * cores),
        hbm_bandwidth=float(info.mem_bw_bytes_per_second * cores),
        axis_bandwidth=both_ways / 2 / links * 2,
        network=network,
    )


GPU_FLOPS = {"A100": 312e12, "H100": 989e12, "H200": 989e12}
"""Dense bfloat16 operations per second of GPUs (SXM), by a part of their name; vendor's sheets."""


def peak_flops(device: Any) -> float | None:
    """Operations per second in bfloat16 that a device can do; None where that is not known."""
    if device.device_kind in CHIP_KINDS:
        return chip_of(device).flops
    return next((rate for name, rate in GPU_FLOPS.items() if name in device.device_kind), None)
