"""Training of the autoencoder: initial state, step, and the jitted coder used everywhere else."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.config import VAEExperiment, VAELossConfig
from sora_jax.models.vae import VAE, LatentStatistics, Posterior, VAEConfig
from sora_jax.sharding import AXES, P, auto_axes
from sora_jax.training.optimizer import apply_gradients, make_optimizer
from sora_jax.types import Params, TrainState

RATE = 0.02
"""Share of each batch in the running statistics of latents."""
BATCH = P(AXES)
"""Clips are spread over every device; convolutions want replicated weights."""


def init_params(key: Array, config: VAEConfig) -> Params:
    """Random parameters, replicated."""
    return nnx.to_pure_dict(nnx.split(VAE(config, nnx.Rngs(key)), nnx.Param)[1])


@functools.cache
def _graph(config: VAEConfig):
    return nnx.split(nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0))), nnx.Param)[0]


def init_state(experiment: VAEExperiment) -> TrainState:
    """The state before the first step; call under jit and a mesh."""
    key = jax.random.key(experiment.loop.seed)
    params = init_params(key, experiment.model)
    opt_state = make_optimizer(experiment.optimizer).init(params)
    average = jax.tree.map(jnp.copy, params)
    statistics = LatentStatistics.initial(experiment.model.latent_channels)._asdict()
    return TrainState(
        jnp.int32(0), params, average, opt_state, jax.random.key_data(key), statistics
    )


def loss(
    params: Params,
    config: VAEConfig,
    weights: VAELossConfig,
    pixels: Float[Array, "b t h w 3"],
    key: Array,
) -> tuple[Float[Array, ""], tuple[dict[str, Array], Posterior]]:
    """l1 mean|x' - x| + l2 mean (x' - x)^2 + kl mean KL, with x' decoded from a sample."""
    model = nnx.merge(_graph(config), params)
    posterior = model.posterior(pixels)
    error = model.decode_raw(posterior.sample(key)) - pixels
    squared, divergence = jnp.mean(error**2), jnp.mean(posterior.kl())
    total = weights.l1 * jnp.mean(jnp.abs(error)) + weights.l2 * squared + weights.kl * divergence
    # Pixels span 2, so a mean squared error of 4 is 0 dB.
    metrics = {"loss": total, "psnr_db": -10 * jnp.log10(squared / 4), "kl": divergence}
    return total, (metrics, posterior)


def train_step(
    state: TrainState, pixels: Float[Array, "b t h w 3"], experiment: VAEExperiment
) -> tuple[TrainState, dict[str, Array]]:
    """One step of training on a batch of crops; also returns its metrics."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

    def parallel(state, pixels, key):
        gradients, (metrics, posterior) = jax.grad(loss, has_aux=True)(
            state.params, experiment.model, experiment.loss, pixels, key
        )
        statistics = LatentStatistics(**state.statistics).update(posterior.mean, RATE)
        state = state._replace(statistics=statistics._asdict())
        return apply_gradients(state, gradients, experiment.optimizer, metrics)

    # Inside, the compiler spreads the batch: reshapes that merge it with time need no names.
    return auto_axes(parallel, out_sharding=P())(state, pixels, key)


class Coder:
    """Encoding and decoding with a trained autoencoder, one compilation for each shape.

    Attributes:
      config: its sizes.
    """

    def __init__(self, config: VAEConfig, params: Params, statistics: Params):
        self.config = config
        self._params, self._statistics = params, LatentStatistics(**statistics)

        @jax.jit
        def encode(params, statistics, pixels):
            posterior = nnx.merge(_graph(config), params).posterior(pixels)
            return statistics.normalise(posterior.mean)

        @jax.jit
        def decode(params, statistics, latents):
            return nnx.merge(_graph(config), params).decode_raw(statistics.restore(latents))

        self._encode = auto_axes(encode, out_sharding=P())
        self._decode = auto_axes(decode, out_sharding=P())

    def encode(self, pixels: Float[Array, "b t h w 3"]) -> Float[Array, "b t h w c"]:
        """Normalised posterior means of videos in [-1, 1]; see `VAE.posterior` for shapes."""
        return self._encode(self._params, self._statistics, pixels)

    def decode(self, latents: Float[Array, "b t h w c"]) -> Float[Array, "b t h w 3"]:
        """Videos of normalised latents, about in [-1, 1]."""
        return self._decode(self._params, self._statistics, latents)
