"""Compiles a training step, or sampling, for a TPU slice that is not there, and reads its costs.

`libtpu` compiles for any topology on a CPU host; nothing runs.
"""

import dataclasses
import functools
import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.diffusion.guidance import Guidance
from sora_jax.generation.sampling import TABLES, sample_rows
from sora_jax.models.dit_config import REMAT
from sora_jax.rows import PackedBatch, abstract_batch
from sora_jax.scaling import flops, hlo
from sora_jax.scaling.chips import chip_of
from sora_jax.scaling.roofline import hbm_bytes, mfu_bound, roofline, sum_collectives
from sora_jax.scaling.topology import topology_devices
from sora_jax.sharding import AXES, P, abstract_array, make_mesh
from sora_jax.sharding import SHARDING as S
from sora_jax.training.compiled_step import abstract_requests, compile_step
from sora_jax.training.diffusion_task import DiffusionTask, init_state
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.types import TrainState


def abstract_state(experiment: DiffusionExperiment) -> TrainState:
    """Shapes and shardings of the training state, on the current mesh."""
    state = jax.eval_shape(functools.partial(init_state, experiment))
    return jax.tree.map(lambda a: abstract_array(a.shape, a.dtype, _spec(a)), state)


def _spec(array: Any) -> P:
    return array.sharding.spec if array.sharding else P()


def compile_program(
    experiment: DiffusionExperiment, topology: str, slices: int = 1, sample: int = 0
) -> tuple[dict[str, Any], str]:
    """The report of the experiment's training step on a topology, and the program's text.

    Every row is taken to be one segment, the most that attention can cost.

    Args:
      sample: not training: this many steps of guided sampling, from noise to latents.

    Raises:
      ValueError: for an unknown topology, a mesh that does not fit it, or a program that does not
        fit in memory.
    """
    devices = topology_devices(topology, slices)
    chip = chip_of(devices[0])
    mesh = make_mesh(experiment.mesh, devices)
    packing = experiment.packing
    micro_batches = experiment.optimizer.micro_batches
    if packing.rows % (shares := mesh.shape["data"] * mesh.shape["fsdp"] * micro_batches):
        raise ValueError(
            f"config.packing.rows {packing.rows} cannot be shared by {shares} shards of the batch "
            "(data x fsdp x optimizer.micro_batches): make it a multiple"
        )
    segments = [(packing.tokens, packing.text_tokens)] * packing.rows
    with jax.set_mesh(mesh):
        state = abstract_state(experiment)
        start, repeated = time.monotonic(), 0.0
        if sample:
            lowered = _lower_sampling(experiment, state, sample)
            useful = 2 * sample * flops.forward_flops(experiment.model, segments)
        else:
            step = compile_step(DiffusionTask(experiment).train_step, experiment.loop.spike_factor)
            lowered = step.lower(state, _batch(experiment), {}, abstract_requests(mesh))
            useful = flops.step_flops(experiment.model, segments)
            repeated = flops.repeated_flops(experiment.model, segments)
        try:
            compiled: Any = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            raise _does_not_fit(error, experiment, bool(sample)) from error
        seconds = time.monotonic() - start
    memory: Any = compiled.memory_analysis()
    program = compiled.as_text()
    sizes: dict[str, int] = dict(zip(AXES, mesh.devices.shape, strict=True))
    found = hlo.collectives(program, sizes, slices)
    times = roofline(chip, len(devices), useful + repeated, memory, found)
    report = {
        "program": f"{sample} steps of guided sampling" if sample else "training step",
        "topology": topology,
        "slices": slices,
        "chips": len(devices),
        "chip": dataclasses.asdict(chip),
        "mesh": sizes,
        "rows_x_tokens": [packing.rows, packing.tokens],
        "remat": experiment.model.remat,
        "dtype": experiment.model.dtype,
        "parameters": sum(math.prod(a.shape) for a in jax.tree.leaves(state.params)),
        "hbm_bytes": hbm_bytes(memory),
        "flops": {
            "step": useful,
            "token": useful / (packing.rows * packing.tokens),
            "repeated": repeated,
        },
        "collectives": sum_collectives(found),
        "roofline_s": times,
        "mfu_bound": mfu_bound(chip, len(devices), useful, times),
        "compile_s": seconds,
    }
    return report, program


def _batch(experiment: DiffusionExperiment) -> PackedBatch:
    model, packing = experiment.model, experiment.packing
    sizes = packing.rows, packing.capacity
    return abstract_batch(*sizes, model.patch_width, model.text_embed_dim)


def _lower_sampling(experiment: DiffusionExperiment, state: TrainState, steps: int) -> Any:
    batch = _batch(experiment)
    levels = abstract_array((steps + 1, *batch.levels.shape), jnp.float32, TABLES)
    number: Any = abstract_array((), jnp.float32, P())
    guidance = Guidance(number, number, number, number)
    keys = abstract_array((*batch.patches.shape[:2], 2), jnp.uint32, S.act_bl)
    rings = abstract_array((*batch.patches.shape[:2], 2), jnp.float32, S.act_bl)
    rows = batch, batch, batch.patches, keys, rings
    return sample_rows.lower(experiment.denoiser, "euler", state.ema, *rows, levels, guidance)


def _does_not_fit(error: Exception, experiment: DiffusionExperiment, samples: bool) -> ValueError:
    """What to change where the compiler ran out of memory; other errors as they are."""
    found = re.search(r"Used ([\d.]+\w) of ([\d.]+\w) hbm", str(error))
    if found is None:
        return ValueError(f"the compiler failed: {str(error).splitlines()[0]}")
    order = tuple(REMAT)
    remat, rows = experiment.model.remat, experiment.packing.rows
    change = f"config.packing.rows={rows // 2}, or larger fsdp, context or tensor"
    if samples:
        change = "a larger mesh, by its context or tensor"
    elif remat != order[-1]:
        change = f"config.model.remat={order[order.index(remat) + 1]}"
    return ValueError(f"the program needs {found[1]} of {found[2]} memory a chip: try {change}")
