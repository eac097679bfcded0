"""One mesh, four axes, and one `PartitionSpec` per kind of tensor.

Axes: `data` (pure data parallel), `fsdp` (batch, and weights' model width), `context` (video
tokens), `tensor` (heads and MLP width). Axes of size 1 are normal: a laptop runs 1x1x1x1.
The mesh is explicit (JAX's sharding-in-types): every product with a weight names its output.
"""

import contextlib
import dataclasses
import math
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
    config: MeshConfig = MeshConfig(), devices: Sequence[Any] | None = None
) -> jax.sharding.Mesh:
    """Makes the explicit mesh of the config's sizes, to compile, train, sample and evaluate.

    A mesh axis may wind through several axes of a TPU slice's torus. Over several slices, or nodes
    of GPUs, `data` is the outermost: only it leaves a slice.

    Args:
      devices: None takes all devices of all processes. To compile for TPUs that are absent, the
        devices of a topology (see `scaling.topology`).

    Raises:
      ValueError: the product of the sizes is not the number of devices, or `data` is not a
        multiple of the slices.
    """
    sizes = [config.data, config.fsdp, config.context, config.tensor]
    devices = jax.devices() if devices is None else devices
    count, slices = len(devices), len({getattr(d, "slice_index", 0) for d in devices})
    if sizes[0] == -1:
        sizes[0] = max(count // math.prod(sizes[1:]), 1)
    if math.prod(sizes) != count or sizes[0] % slices:
        named = ", ".join(f"{axis} {n}" for axis, n in zip(AXES, sizes, strict=True))
        also = f" and data a multiple of the {slices} slices" if slices > 1 else ""
        raise ValueError(
            f"the mesh ({named}) needs {math.prod(sizes)} devices and {count} are present: "
            f"change it so that the product is {count}{also}"
        )
    if slices == 1:
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    else:
        slice_sizes = [sizes[0] // slices, *sizes[1:]]
        grid = mesh_utils.create_hybrid_device_mesh(
            slice_sizes, [slices, 1, 1, 1], devices, allow_split_physical_axes=True
        )
    return jax.sharding.Mesh(grid, AXES, axis_types=EXPLICIT)


def use_mesh(config: MeshConfig = MeshConfig()):
    """Makes a mesh of all devices the current one: `with use_mesh(): ...`."""
    return jax.set_mesh(make_mesh(config))


def use_own_mesh():
    """As `use_mesh()`, of the devices of this process alone."""
    return jax.set_mesh(make_mesh(devices=jax.local_devices()))


def abstract_array(shape: Sequence[int], dtype: Any, spec: P) -> jax.ShapeDtypeStruct:
    """Shape, dtype and sharding of an array on the current mesh."""
    sharding = jax.NamedSharding(jax.sharding.get_mesh(), spec)
    return jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype), sharding=sharding)


def spec_of(array: jax.ShapeDtypeStruct | jax.Array) -> P:
    """The `PartitionSpec` of an array; replicated if nothing gave it any."""
    given: Any = array.sharding
    return given.spec if given else P()


def put(array: Any, spec: P) -> jax.Array:
    """Puts an array that every process holds whole on the current mesh, a part on each device."""
    whole = np.asarray(array)
    sharding = jax.NamedSharding(jax.sharding.get_mesh(), spec)
    return jax.make_array_from_callback(whole.shape, sharding, whole.__getitem__)


def shard(tree: Any, specs: Any) -> Any:
    """`put` for each array of a tree.

    Args:
      specs: a `PartitionSpec` for each array, in a tree of the same structure.
    """
    return jax.tree.map(
        lambda spec, array: put(array, spec), specs, tree, is_leaf=lambda s: isinstance(s, P)
    )


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
