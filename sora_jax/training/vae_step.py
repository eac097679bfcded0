"""Training of the autoencoder: initial state, loss and step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.config import VAEExperiment, VAELossConfig
from sora_jax.models import vae
from sora_jax.models.latents import LatentStatistics, PrincipalAxes
from sora_jax.models.vae import Posterior, VAEConfig
from sora_jax.sharding import AXES, P, auto_axes
from sora_jax.training.optimizer import apply_gradients, make_optimizer
from sora_jax.types import Params, TrainState

RATE = 0.02
"""Share of each batch in the running statistics of latents."""
BATCH = P(AXES)
"""Clips are spread over every device; convolutions want replicated weights."""


def init_state(experiment: VAEExperiment, axes: PrincipalAxes | None = None) -> TrainState:
    """The state before the first step; call under jit and a mesh.

    `axes` are wanted where `experiment.model.principal` is set.
    """
    config = experiment.model
    key = jax.random.key(experiment.loop.seed)
    params = vae.init_params(key, config)
    opt_state = make_optimizer(experiment.optimizer).init(params)
    average = jax.tree.map(jnp.copy, params)
    statistics: Params = {"latents": LatentStatistics.initial(config.latent_channels)._asdict()}
    if config.principal:
        shape = (3 * config.temporal * config.spatial**2, config.latent_channels)
        zeros = jnp.zeros(shape, out_sharding=P(None, None))
        statistics["axes"] = (axes or PrincipalAxes(zeros, zeros))._asdict()
    raw_key = jax.random.key_data(key)
    return TrainState(jnp.int32(0), params, average, opt_state, raw_key, statistics)


def loss(
    params: Params,
    statistics: Params,
    config: VAEConfig,
    weights: VAELossConfig,
    pixels: Float[Array, "b t h w 3"],
    key: Array,
) -> tuple[Float[Array, ""], tuple[dict[str, Array], Posterior]]:
    """l1 mean|x' - x| + l2 mean (x' - x)^2 + kl mean KL, with x' decoded from a sample."""
    found = vae.posterior(config, params, statistics, pixels)
    error = vae.decode(config, params, statistics, found.sample(key)) - pixels
    squared, divergence = jnp.mean(error**2), jnp.mean(found.kl())
    total = weights.l1 * jnp.mean(jnp.abs(error)) + weights.l2 * squared + weights.kl * divergence
    # Pixels span 2, so a mean squared error of 4 is 0 dB.
    metrics = {"loss": total, "psnr_db": -10 * jnp.log10(squared / 4), "kl": divergence}
    return total, (metrics, found)


def train_step(
    state: TrainState, pixels: Float[Array, "b t h w 3"], experiment: VAEExperiment
) -> tuple[TrainState, dict[str, Array]]:
    """One step of training on a batch of crops; also returns its metrics."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

    def parallel(state, pixels, key):
        gradients, (metrics, found) = jax.grad(loss, has_aux=True)(
            state.params, state.statistics, experiment.model, experiment.loss, pixels, key
        )
        latents = LatentStatistics(**state.statistics["latents"]).update(found.mean, RATE)
        state = state._replace(statistics=state.statistics | {"latents": latents._asdict()})
        return apply_gradients(state, gradients, experiment.optimizer, metrics)

    # Inside, the compiler spreads the batch: reshapes that merge it with time need no names.
    return auto_axes(parallel, out_sharding=P())(state, pixels, key)
