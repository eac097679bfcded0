"""The one training loop: mesh, state or restore, data, compiled step, checkpoints, metrics."""

import contextlib
from typing import Any

import grain
import jax
from etils import epath

from sora_jax import stopping
from sora_jax.agreement import check_agreement
from sora_jax.config import settings
from sora_jax.kernels.products import use_products
from sora_jax.processes import BatchShare, batch_share, is_first
from sora_jax.sharding import P, make_mesh
from sora_jax.training.changes import check_goes_on, resolve_products
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.clock import Clock
from sora_jax.training.compiled_step import compile_step
from sora_jax.training.log_writers import LogWriters, require_packages
from sora_jax.training.profile import Profile
from sora_jax.training.progress import RunProgress
from sora_jax.training.run_folder import lock, save_config
from sora_jax.training.task import BatchSizes, Task, TrainingData
from sora_jax.training.watchdog import Watchdog
from sora_jax.types import TrainState

AHEAD = 2
"""Steps whose metrics are not fetched yet, while the next one is dispatched."""


def train(task: Task, workdir: epath.PathLike, data: TrainingData) -> TrainState:
    """Trains to `optimizer.steps`, going on from the newest checkpoint if there is one.

    Args:
      workdir: holds config.json, metrics.jsonl and checkpoints/.

    Returns:
      The state after the last step.

    Raises:
      ValueError: the workdir holds another run, or another process trains there; the mesh's shards
        cannot share a batch; processes do not agree; a package that `loop.log_to` needs is not
        installed; or too many steps in a row were bad.
      OSError: the last state cannot be saved.
      stopping.Stopped: after SIGTERM; the state is saved.
    """
    workdir, config, steps = (
        epath.Path(workdir),
        task.experiment.loop,
        task.experiment.optimizer.steps,
    )
    clock = Clock()
    require_packages(config.log_to)
    mesh, specs = make_mesh(task.experiment.mesh), task.batch_specs()
    share = batch_share(mesh, specs)
    _check_shares(task.batch_sizes(), share)
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.set_mesh(mesh))
        check_agreement(
            {setting.path: repr(setting.value) for setting in settings(task.experiment)}
            | {"the data": data.digest},
            "give all processes the same",
        )
        stack.enter_context(lock(workdir))
        experiment = resolve_products(task.experiment, workdir)
        check_goes_on(workdir, experiment)
        stack.enter_context(use_products(experiment.loop.products))
        data.keep_inputs(workdir)
        watchdog = stack.enter_context(Watchdog(config.stuck_minutes))
        checkpoints = stack.enter_context(Checkpoints(workdir, config))
        if (restored := checkpoints.restore(jax.eval_shape(task.init_state))) is not None:
            state, position = restored
            data = data.go_on(position, int(state.step)) if data.go_on else data
        else:
            state = task.first_state()
        save_config(workdir, experiment)
        start = int(state.step)
        iterator: Any = iter(
            data.open(share).to_iter_dataset(grain.ReadOptions(config.threads, config.prefetch))
        )
        stack.callback(iterator.close)
        iterator.set_state({"next_index": start})
        writers = stack.enter_context(LogWriters(workdir, experiment, start, is_first()))
        progress = RunProgress(task, data, workdir, checkpoints, clock, start, writers)
        stack.callback(progress.metrics.flush)
        with watchdog.patient():
            progress.evaluate_if_missing(state)
        train_step = compile_step(task.train_step, config.spike_factor)
        constants = jax.device_put(task.constants(), P())
        clock.enter("compile")
        profile = stack.enter_context(Profile(workdir, start, config.profile_steps))
        for step in range(start + 1, steps + 1):
            profile.before(step)
            with clock.spend("data"):
                batch = share.place(next(iterator), specs)
            inputs = (batch, constants, progress.place_requests(mesh))
            if step == start + 1:
                _check_program(train_step, state, *inputs)
            state, values = train_step(state, *inputs)
            progress.add(step, values)
            if step == start + 1:  # it compiles; up to its end there is nothing to save
                progress.log(ahead=0)
                clock.enter("train")
                stack.enter_context(stopping.defer())
            progress.log(AHEAD)  # a step's metrics are fetched after later ones are dispatched
            watchdog.reset()
            due = progress.is_due(step)
            if due or progress.must_save:
                with watchdog.patient():
                    progress.save(state, step, data.position(step), evaluate=due)
        return state


def _check_shares(batch: BatchSizes, share: BatchShare) -> None:
    """Checks that every shard gets equally many rows, or crops, of every micro-batch."""
    parts, shards = share.count * batch.micro_batches, f"{share.count} shards"
    if batch.micro_batches > 1:
        shards += f" of {batch.micro_batches} micro-batches"
    if odd := [size for size in batch.sizes if size % parts]:
        raise ValueError(
            f"config.{batch.name} makes batches of {odd[0]}, which {shards} cannot share: give it "
            f"a multiple of {parts}"
        )


def _check_program(train_step: Any, *inputs: Any) -> None:
    """Checks that all processes compile the same step."""
    if jax.process_count() > 1:
        program = train_step.lower(*inputs).as_text()
        check_agreement({"the program": program}, "give all processes the same code and versions")
