"""Compiles a training step for a TPU slice that is not there, and reads its costs off the program.

`libtpu` compiles for any topology on a CPU host. Times are floors (a roofline), not forecasts:

    compute    useful operations / peak           network    bytes sent between slices / bandwidth
    memory     (arguments + outputs + 2 temporaries) / bandwidth
    links      bytes a chip sends on its slice / bandwidth of one torus axis, by axes of the mesh
"""

import dataclasses
import functools
import math
import os
import re
import time
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.config import DiffusionExperiment
from sora_jax.scaling import flops, hlo
from sora_jax.scaling.chips import Chip, chip_of
from sora_jax.sharding import AXES, MeshConfig, P
from sora_jax.training import step
from sora_jax.types import PackedBatch, TrainState

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


def abstract_state(experiment: DiffusionExperiment) -> TrainState:
    """Shapes and shardings of the state, on the current mesh."""
    like = jax.eval_shape(functools.partial(step.init_state, experiment))
    return jax.tree.map(lambda a: _abstract(a.shape, a.dtype, _spec(a)), like)


def abstract_batch(experiment: DiffusionExperiment) -> PackedBatch:
    """Shapes and shardings of a batch, on the current mesh."""
    b, model = experiment.packing.rows, experiment.model
    l, s, g = experiment.packing.capacity
    states = model.text_states
    shapes: dict[str, Any] = {
        "patches": ((b, l, model.patch_width), jnp.float32),
        "segment_ids": ((b, l), jnp.int32),
        "positions": ((b, l, 3), jnp.float32),
        "remaining": ((b, l, 3), jnp.float32),
        "known": ((b, l), jnp.bool_),
        "levels": ((b, g + 1), jnp.float32),
        "level_ids": ((b, l), jnp.int32),
        "text": ((b, s, states), jnp.bfloat16) if states else ((b, s), jnp.int32),
        "text_segment_ids": ((b, s), jnp.int32),
        "weights": ((b, g), jnp.float32),
    }
    specs = step.batch_shardings()._asdict()
    fields: dict[str, Any] = {
        n: _abstract(shape, kind, specs[n]) for n, (shape, kind) in shapes.items()
    }
    return PackedBatch(**fields)


def _spec(array: Any) -> P:
    return array.sharding.spec if array.sharding else P()


def _abstract(shape, dtype, spec: P) -> jax.ShapeDtypeStruct:
    sharding = jax.NamedSharding(jax.sharding.get_mesh(), spec)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def compile_step(
    experiment: DiffusionExperiment, topology: str, slices: int = 1
) -> tuple[dict[str, Any], str]:
    """The report of the experiment's training step on a topology, and the program's text.

    Every row is taken to be one segment, the most that attention can cost.

    Raises:
      ValueError: for an unknown topology, a mesh that does not fit it, or a step that does not fit
        in memory.
    """
    devices = topology_devices(topology, slices)
    chip = chip_of(devices[0])
    mesh = mesh_over(devices, experiment.mesh, slices)
    if experiment.packing.rows % (shares := mesh.shape["data"] * mesh.shape["fsdp"]):
        raise ValueError(
            f"config.packing.rows {experiment.packing.rows} cannot be shared by {shares} shards of "
            "the batch (data x fsdp): make it a multiple"
        )
    with jax.set_mesh(mesh):
        state, batch = abstract_state(experiment), abstract_batch(experiment)
        run = jax.jit(functools.partial(step.train_step, experiment=experiment), donate_argnums=0)
        start = time.monotonic()
        lowered = run.lower(state, batch)
        try:
            compiled: Any = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            raise _does_not_fit(error, experiment) from error
        seconds = time.monotonic() - start
    memory: Any = compiled.memory_analysis()
    program = compiled.as_text()
    found = hlo.collectives(program, dict(zip(AXES, mesh.devices.shape, strict=True)))
    packing = experiment.packing
    segments = [(packing.tokens, packing.text_tokens)] * packing.rows
    useful = flops.step_flops(experiment.model, segments)
    report = {
        "topology": topology,
        "slices": slices,
        "chips": len(devices),
        "chip": dataclasses.asdict(chip),
        "mesh": dict(zip(AXES, mesh.devices.shape, strict=True)),
        "rows_x_tokens": [packing.rows, packing.tokens],
        "remat": experiment.model.remat,
        "dtype": experiment.model.dtype,
        "parameters": sum(math.prod(a.shape) for a in jax.tree.leaves(state.params)),
        "hbm_bytes": {
            "arguments": memory.argument_size_in_bytes,
            "outputs": memory.output_size_in_bytes,
            "aliased": memory.alias_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "total": memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
            + memory.temp_size_in_bytes,
        },
        "flops": {"step": useful, "token": useful / (packing.rows * packing.tokens)},
        "collectives": summed(found),
        "roofline_s": (times := roofline(chip, mesh, slices, useful, memory, found)),
        "mfu_bound": times["compute"] / max(times.values()),
        "compile_s": seconds,
    }
    return report, program


def summed(found: list[hlo.Collective]) -> list[dict[str, Any]]:
    """Collectives by kind and axes of the mesh: how many a step, and bytes that a chip sends."""
    groups: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for one in found:
        count_and_bytes = groups.setdefault((one.kind, one.axes), [0, 0.0])
        count_and_bytes[0] += one.times
        count_and_bytes[1] += one.times * one.sent
    return [
        {"kind": kind, "axes": list(axes), "count": int(count), "bytes": sent}
        for (kind, axes), (count, sent) in sorted(groups.items(), key=lambda item: -item[1][1])
    ]


def roofline(
    chip: Chip,
    mesh: jax.sharding.Mesh,
    slices: int,
    useful: float,
    memory: Any,
    found: list[hlo.Collective],
) -> dict[str, float]:
    """Least seconds of a step, by what is used up; links by the axes that share them."""
    moved = memory.argument_size_in_bytes + memory.output_size_in_bytes
    times = {
        "compute": useful / mesh.devices.size / chip.flops,
        "memory": (moved + 2 * memory.temp_size_in_bytes) / chip.hbm_bandwidth,
    }
    for one in found:
        between = slices > 1 and "data" in one.axes
        name = "network" if between else f"links {'+'.join(one.axes) or 'none'}"
        bandwidth = chip.network if between else chip.axis_bandwidth
        times[name] = times.get(name, 0.0) + one.times * one.sent / bandwidth
    return times


def _does_not_fit(error: Exception, experiment: DiffusionExperiment) -> ValueError:
    """What to change where the compiler ran out of memory; other errors as they are."""
    found = re.search(r"Used ([\d.]+\w) of ([\d.]+\w) hbm", str(error))
    if found is None:
        return ValueError(f"the compiler failed: {str(error).splitlines()[0]}")
    order = ("none", "dots", "full")
    at, rows = order.index(experiment.model.remat), experiment.packing.rows
    change = (
        f"config.model.remat={order[at + 1]}"
        if at + 1 < len(order)
        else f"config.packing.rows={rows // 2}, or larger fsdp, context or tensor"
    )
    return ValueError(f"the step needs {found[1]} of {found[2]} memory a chip: try {change}")
