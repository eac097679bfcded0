"""One mesh, four axes, and one `PartitionSpec` per kind of tensor.

Axes: `data` (pure data parallel), `fsdp` (batch, and weights' model width), `context` (video
tokens), `tensor` (heads and MLP width). Axes of size 1 are normal: a laptop runs 1x1x1x1.
The mesh is explicit (JAX's sharding-in-types): every product with a weight names its output.
"""

import contextlib
import dataclasses
import glob
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils

from sora_jax.config import check_minimum

P = jax.P
auto_axes: Any = jax.sharding.auto_axes  # its annotation misses that it takes the function
AXES = ("data", "fsdp", "context", "tensor")
EXPLICIT = (jax.sharding.AxisType.Explicit,) * len(AXES)
BATCH = ("data", "fsdp")
WIDTH = ("fsdp", "context")
PROCESS_COUNT_VARIABLES = ("MEGASCALE_NUM_SLICES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes, in devices.

    Attributes:
      data: data parallelism with a copy of the weights each; -1 takes the devices that are left.
      fsdp: data parallelism with weights cut along the model width.
      context: video tokens of a row are cut into this many parts.
      tensor: attention heads and MLP width are cut into this many parts.
    """

    data: int = -1
    fsdp: int = 1
    context: int = 1
    tensor: int = 1

    def __post_init__(self):
        check_minimum(self, fsdp=1, context=1, tensor=1)


@dataclasses.dataclass(frozen=True)
class ShardingConfig:
    """One `PartitionSpec` for each kind of tensor.

    A field's name is the kind (`act` activation, `w` weight, `attn` and `keys` in attention) and
    the letters of its shape (see `types`).
    """

    act_bl: P = P(BATCH, "context")
    act_bld: P = P(BATCH, "context", None)
    act_blm: P = P(BATCH, "context", "tensor")
    act_blnk: P = P(BATCH, "context", "tensor", None)
    act_bed: P = P(BATCH, None, None)
    act_be6d: P = P(BATCH, None, None, None)
    act_bs: P = P(BATCH, None)
    act_bsd: P = P(BATCH, None, None)
    act_bsm: P = P(BATCH, None, "tensor")
    act_bsnk: P = P(BATCH, None, "tensor", None)
    # Self-attention over a whole row: tokens gathered, heads spread over `context` too (Ulysses).
    attn_blnk: P = P(BATCH, None, ("tensor", "context"), None)
    attn_bl: P = P(BATCH, None)
    # With more shards than heads, queries stay sharded over `context` and keys are gathered.
    keys_bvnk: P = P(BATCH, None, "tensor", None)
    w_dnk: P = P(WIDTH, "tensor", None)
    w_nkd: P = P("tensor", None, WIDTH)
    w_nk: P = P("tensor", None)
    w_dm: P = P(WIDTH, "tensor")
    w_md: P = P("tensor", WIDTH)
    w_pd: P = P(None, WIDTH)
    w_dp: P = P(WIDTH, None)
    w_6d: P = P(None, None)
    w_d6d: P = P(WIDTH, None, None)


SHARDING = ShardingConfig()


def make_mesh(
    config: MeshConfig = MeshConfig(), devices: Sequence[Any] | None = None, num_slices: int = 1
) -> jax.sharding.Mesh:
    """Makes the explicit mesh of the config's sizes.

    Args:
      devices: None takes all devices of all processes. To compile for TPUs that are absent, the
        devices of a topology (see `scaling.topology`); a mesh axis may then wind through several
        axes of the torus.
      num_slices: TPU slices that `devices` come from; `data` spans them.

    Raises:
      ValueError: the product of the sizes is not the number of devices, or `data` is not a
        multiple of the slices.
    """
    sizes = [config.data, config.fsdp, config.context, config.tensor]
    count = jax.device_count() if devices is None else len(devices)
    if sizes[0] == -1:
        sizes[0] = max(count // math.prod(sizes[1:]), 1)
    named = dict(zip(AXES, sizes, strict=True))
    if devices is None:
        if math.prod(sizes) != count:
            raise ValueError(
                f"mesh {named} needs {math.prod(sizes)} devices and {count} are present: change "
                f"config.mesh so that the product is {count}"
            )
        return jax.make_mesh(tuple(sizes), AXES, axis_types=EXPLICIT)
    if math.prod(sizes) != count or sizes[0] % num_slices:
        raise ValueError(
            f"config.mesh {named} does not divide {count} chips of {num_slices} slices: change it "
            f"so that the product is {count} and data a multiple of {num_slices}"
        )
    if num_slices == 1:
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    else:
        slice_sizes = [sizes[0] // num_slices, *sizes[1:]]
        grid = mesh_utils.create_hybrid_device_mesh(
            slice_sizes, [num_slices, 1, 1, 1], devices, allow_split_physical_axes=True
        )
    return jax.sharding.Mesh(grid, AXES, axis_types=EXPLICIT)


def use_mesh(config: MeshConfig = MeshConfig()):
    """Makes a mesh of all devices the current one: `with use_mesh(): ...`."""
    return jax.set_mesh(make_mesh(config))


def abstract_array(shape: Sequence[int], dtype: Any, spec: P) -> jax.ShapeDtypeStruct:
    """Shape, dtype and sharding of an array on the current mesh."""
    sharding = jax.NamedSharding(jax.sharding.get_mesh(), spec)
    return jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype), sharding=sharding)


def shard(tree: Any, specs: Any, local: bool = False) -> Any:
    """Puts arrays on the current mesh, each sharded as its `PartitionSpec` says.

    Args:
      specs: a tree of the same structure.
      local: each process holds its own share of the batch; False: every process holds all of it.
    """
    mesh = jax.sharding.get_mesh()

    def put(spec: P, array: Any) -> jax.Array:
        sharding = jax.NamedSharding(mesh, spec)
        if local:
            return jax.make_array_from_process_local_data(sharding, array)
        return jax.device_put(array, sharding)

    return jax.tree.map(put, specs, tree, is_leaf=lambda spec: isinstance(spec, P))


def any_mesh():
    """Keeps the current mesh, or calls `use_mesh()` if there is none: `with any_mesh(): ...`."""
    return use_mesh() if jax.sharding.get_abstract_mesh().empty else contextlib.nullcontext()


def platform() -> str:
    """Platform of the current mesh's devices: `cpu`, `gpu` or `tpu`."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()


def axis_size(names: str | tuple[str, ...] | None) -> int:
    """Number of shards that one entry of a `PartitionSpec` means on the current mesh."""
    names = (names,) if isinstance(names, str) else names or ()
    return math.prod(jax.sharding.get_abstract_mesh().shape[name] for name in names)


def start_distributed(mode: str) -> None:
    """Initialises multi-host JAX; call before anything uses a device.

    Args:
      mode: `off`; `on`, which requires a cluster that JAX detects; or `auto`, which is on if
        several processes are likely: on a TPU host, or by the environment variables of Slurm, Open
        MPI or several slices. (A single process is not initialised: JAX would show it one GPU.)

    Raises:
      ValueError: `mode` is `on` and JAX detects no cluster.
    """
    several = any(int(os.environ.get(name, 1)) > 1 for name in PROCESS_COUNT_VARIABLES)
    several |= bool(glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))
    if mode == "off" or (mode == "auto" and not several):
        return
    try:
        jax.distributed.initialize()
    except ValueError as error:
        if "coordinator_address" not in str(error):
            raise
        if mode == "on":
            raise ValueError(
                "JAX detects no cluster (TPU pod, Slurm, Open MPI): start the run there, or give "
                "--distributed=off"
            ) from error
