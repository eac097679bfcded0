"""Training of the diffusion transformer: initial state, step, evaluation loss."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.config import DiffusionExperiment
from sora_jax.diffusion import process
from sora_jax.diffusion.losses import packed_loss, segment_errors
from sora_jax.models.dit import DiT, DiTConfig
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P
from sora_jax.training.optimizer import apply_gradients, make_optimizer
from sora_jax.types import PackedBatch, Params, TrainState


def init_params(key: Array, config: DiTConfig) -> Params:
    """Random parameters, sharded as `ShardingConfig` says."""
    return nnx.to_pure_dict(nnx.split(DiT(config, nnx.Rngs(key)), nnx.Param)[1])


@functools.cache
def _graph(config: DiTConfig):
    return nnx.split(nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0))), nnx.Param)[0]


def apply(config: DiTConfig, params: Params, x: Array, batch: PackedBatch) -> Float[Array, "b l p"]:
    """The model as a function of its parameters; see `DiT.__call__`."""
    return nnx.merge(_graph(config), params)(x, batch)


def predict(
    experiment: DiffusionExperiment, params: Params, x: Float[Array, "b l p"], batch: PackedBatch
) -> Float[Array, "b l p"]:
    """What the model returns for noisy patches `x` at the batch's levels.

    In training, evaluation and sampling alike; its meaning is `experiment.prediction`.
    """
    scale = process.input_scale(experiment.prediction, token_levels(batch))
    return apply(experiment.model, params, scale * x, batch)


def init_state(
    experiment: DiffusionExperiment, channel_sensitivity: Float[np.ndarray, "c"] | None = None
) -> TrainState:
    """The state before the first step; call under jit and a mesh.

    `channel_sensitivity` is what `encode` measured; wanted where `experiment.channel_weight_exponent` is not 0.
    """
    key = jax.random.key(experiment.loop.seed)
    params = init_params(key, experiment.model)
    opt_state = make_optimizer(experiment.optimizer).init(params)
    average = jax.tree.map(jnp.copy, params)
    statistics = {"channel_scale": channel_scale(experiment, channel_sensitivity)}
    raw_key = jax.random.key_data(key)
    return TrainState(jnp.int32(0), params, average, opt_state, raw_key, statistics)


def channel_scale(
    experiment: DiffusionExperiment, energy: Float[np.ndarray, "c"] | None
) -> Float[Array, "c"]:
    """What normalised latents are multiplied by; see `channel_weight_exponent`. Its mean square is 1."""
    power = np.ones(experiment.model.latent_channels)
    if energy is not None:
        # A channel that moves nothing keeps a scale.
        power = np.maximum(energy, 1e-6 * energy.max()) ** experiment.channel_weight_exponent
    return jnp.zeros(power.shape, out_sharding=P(None)) + np.float32(np.sqrt(power / power.mean()))


def token_levels(batch: PackedBatch) -> Float[Array, "b l 1"]:
    """The noise level of each token."""
    levels = jnp.take_along_axis(
        jax.sharding.reshard(batch.levels, S.act_bs),
        jax.sharding.reshard(batch.level_ids, S.act_bs),
        1,
    )
    return jax.sharding.reshard(levels, S.act_bl)[..., None]


def loss(
    params: Params,
    experiment: DiffusionExperiment,
    batch: PackedBatch,
    noise: Float[Array, "b l p"],
) -> Float[Array, ""]:
    """The packed loss at the batch's noise levels, with standard normal `noise`.

    Its error is the velocity's, whatever the model predicts (arXiv:2511.13720, table 1), or the
    output's; see `DiffusionExperiment.velocity_loss`.
    """
    level = token_levels(batch)
    x = process.corrupt(batch.patches, noise, level)
    output = predict(experiment, params, x, batch)
    target = process.target(experiment.prediction, batch.patches, noise, level)
    if not experiment.velocity_loss:
        return packed_loss(output, target, batch)
    scale = process.velocity_scale(experiment.prediction, level)
    return packed_loss(scale * output, scale * target, batch)


def scaled(batch: PackedBatch, channel_scale: Float[Array | np.ndarray, "c"]) -> PackedBatch:
    """Patches of normalised latents as the model sees them; see `channel_weight_exponent`."""
    repeats = batch.patches.shape[-1] // channel_scale.size
    return batch._replace(patches=batch.patches * jnp.tile(channel_scale, repeats)[None, None])


def draw(
    key: Array, experiment: DiffusionExperiment, batch: PackedBatch
) -> tuple[PackedBatch, Float[Array, "b l p"]]:
    """A noise level for each segment (known patches stay at 0), and noise."""
    level_key, noise_key = jax.random.split(key)
    levels = experiment.noise_levels.draw(level_key, segment_sizes(batch))
    levels = jnp.concatenate([jnp.zeros_like(levels[:, :1]), levels], 1)
    # Each device draws its own share.
    noise = jax.random.normal(noise_key, batch.patches.shape, out_sharding=S.act_bld)
    return batch._replace(levels=jax.sharding.reshard(levels, S.act_bs)), noise


def train_step(
    state: TrainState, batch: PackedBatch, experiment: DiffusionExperiment
) -> tuple[TrainState, dict[str, Array]]:
    """One step of training; also returns its loss and gradient norm."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    batch, noise = draw(key, experiment, scaled(batch, state.statistics["channel_scale"]))
    value, gradients = jax.value_and_grad(loss)(state.params, experiment, batch, noise)
    return apply_gradients(state, gradients, experiment.optimizer, {"loss": value})


def batch_shardings() -> PackedBatch:
    """One `PartitionSpec` in the place of each field of a batch."""
    specs: dict[str, Any] = {
        "patches": S.act_bld,
        "segment_ids": S.act_bl,
        "positions": S.act_bld,
        "remaining": S.act_bld,
        "known": S.act_bl,
        "levels": S.act_bs,
        "level_ids": S.act_bl,
        "text": S.act_bs,
        "text_segment_ids": S.act_bs,
        "weights": S.act_bs,
    }
    return PackedBatch(**specs)


def segment_sizes(batch: PackedBatch) -> Float[Array, "b g"]:
    """Tokens of each segment."""
    member = jax.nn.one_hot(batch.segment_ids - 1, batch.weights.shape[1])
    return jnp.einsum("blg->bg", member, out_sharding=S.act_bs)


def at_level(
    batch: PackedBatch, noise_level: Float[Array, ""] | Float[Array, "b g"]
) -> PackedBatch:
    """The batch with everything that is not known at one noise level, or at its segment's."""
    levels = jnp.broadcast_to(noise_level, batch.weights.shape)
    table = jnp.pad(levels, ((0, 0), (1, 0)))
    return batch._replace(levels=jax.sharding.reshard(table, S.act_bs))


def place(batch: Any, specs: Any) -> Any:
    """Arrays that every process holds whole, on the current mesh, each sharded by its spec."""
    mesh = jax.sharding.get_mesh()

    def put(array, spec: P):
        return jax.device_put(array, jax.NamedSharding(mesh, spec))

    return jax.tree.map(put, batch, specs)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(
    experiment: DiffusionExperiment,
    params: Params,
    channel_scale: Float[Array, "c"],
    batch: PackedBatch,
    noise: Float[Array, "b l p"],
    noise_level: Float[Array, ""],
) -> Float[Array, "b g"]:
    """Mean squared error of each segment's velocity at one noise level, whatever the prediction.

    Every process gets all of it.
    """
    batch = at_level(scaled(batch, channel_scale), noise_level)
    level = token_levels(batch)
    x = process.corrupt(batch.patches, noise, level)
    output = predict(experiment, params, x, batch)
    velocity = process.to_velocity(experiment.prediction, output, x, level)
    errors = segment_errors(velocity, noise - batch.patches, batch)
    return jax.sharding.reshard(errors, P(None, None))
