"""The one training loop: mesh, state or restore, data, compiled step, checkpoints, metrics."""

import functools
from collections.abc import Callable
from typing import Any

import grain
import jax
from etils import epath

from sora_jax.config import DiffusionExperiment, VAEExperiment
from sora_jax.sharding import P, make_mesh
from sora_jax.training import step as diffusion_step
from sora_jax.training import vae_step
from sora_jax.training.checkpoint import Checkpoints, save_config
from sora_jax.training.metrics import Metrics
from sora_jax.types import TrainState


def train(
    experiment: VAEExperiment | DiffusionExperiment,
    workdir: epath.PathLike,
    batches: grain.MapDataset,
    init: Callable[[], TrainState],
    describe: Callable[[dict[str, float]], str],
    watch: Callable[[TrainState], dict[str, float]] = lambda state: {},
) -> TrainState:
    """Trains to `experiment.optimizer.steps`, going on from the latest checkpoint if there is one.

    Args:
      workdir: holds config.json, metrics.jsonl and checkpoints/.
      batches: this process's share of batch i at index i.
      init: makes the state before the first step, on the current mesh; called where there is no
        checkpoint.
      describe: a few words for the progress line from a step's metrics.
      watch: evaluates the state at each checkpoint; its metrics go on a line of their own.

    Returns:
      The state after the last step.
    """
    workdir, config = epath.Path(workdir), experiment.loop
    vae = isinstance(experiment, VAEExperiment)
    module: Any = vae_step if vae else diffusion_step
    specs = vae_step.BATCH if vae else diffusion_step.batch_shardings()
    steps = experiment.optimizer.steps
    mesh = make_mesh(experiment.mesh)
    _check_shares(experiment, mesh)
    save_config(workdir, experiment)
    with (
        jax.set_mesh(mesh),
        Checkpoints(workdir, config.save_every, config.keep) as checkpoints,
    ):
        like = jax.eval_shape(functools.partial(module.init_state, experiment))
        iterator = iter(batches.to_iter_dataset(grain.ReadOptions(config.threads, config.prefetch)))
        if (restored := checkpoints.restore(like)) is not None:
            state, loader = restored
            iterator.set_state(loader)
        else:
            state = init()
        start = int(state.step)
        metrics = Metrics(workdir, start, steps, jax.process_index() == 0)
        train_step = jax.jit(
            functools.partial(module.train_step, experiment=experiment), donate_argnums=0
        )
        frozen = jax.device_put(module.frozen(experiment), P()) if vae else {}
        place = functools.partial(_place, mesh, specs)
        pending: tuple[int, dict[str, jax.Array]] | None = None
        try:
            for step in range(start, steps):
                state, values = train_step(state, place(next(iterator)), **frozen)
                # A step's metrics are fetched after the next one is dispatched.
                _log(metrics, pending, config.log_every, describe)
                pending = (step + 1, values)
                last = step + 1 == steps
                if last or checkpoints.due(step + 1):
                    # Before the save: a run killed after it finds the lines up to its step.
                    _log(metrics, pending, config.log_every, describe)
                    pending = None
                    if seen := watch(state):
                        metrics.log(step + 1, seen)
                    metrics.flush()
                    checkpoints.save(state, step + 1, iterator.get_state())
            _log(metrics, pending, config.log_every, describe)
        finally:
            metrics.flush()
            iterator.close()
        return state


def _check_shares(experiment: VAEExperiment | DiffusionExperiment, mesh: jax.sharding.Mesh) -> None:
    """Every device and every host gets whole rows, or whole crops."""
    within = experiment.mesh.context * experiment.mesh.tensor
    if jax.local_device_count() % within:
        raise ValueError(
            f"mesh context x tensor is {within} and a host has {jax.local_device_count()} devices: "
            "keep both axes within a host, as each host loads whole rows"
        )
    if isinstance(experiment, VAEExperiment):
        name, sizes, shares = "crops", [c.batch for c in experiment.crops], mesh.size
    else:
        name, sizes, shares = "packing.rows", [experiment.packing.rows], mesh.size // within
    if odd := [size for size in sizes if size % shares]:
        raise ValueError(
            f"config.{name} makes batches of {odd[0]}, which {shares} devices cannot share: "
            f"give it a multiple of {shares}"
        )


def _place(mesh: jax.sharding.Mesh, specs, batch):
    """This process's share of a batch as global arrays."""
    return jax.tree.map(
        lambda spec, a: jax.make_array_from_process_local_data(jax.NamedSharding(mesh, spec), a),
        specs,
        batch,
        is_leaf=lambda spec: isinstance(spec, jax.P),
    )


def _log(metrics: Metrics, pending, every: int, describe) -> None:
    if pending is None:
        return
    step, arrays = pending
    if step % every == 0 or step == metrics.steps or step == metrics.start + 1:
        values = {name: float(value) for name, value in jax.device_get(arrays).items()}
        metrics.log(step, values)
        metrics.show(step, describe(values))
