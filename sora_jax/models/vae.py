"""A video autoencoder, causal in time (arXiv:1312.6114; network of Wan 2.1, arXiv:2503.20314).

    z ~ N(mean(x), exp(log_variance(x)));   x' = decode(z)
    latent = (mean(x) - m) / s              m, s: mean and deviation of each channel over data

An image is a video of one frame. 1 + 4k frames become 1 + k latent frames (for two temporal
strides of 2). Pixels are in [-1, 1], layout `b t h w c`. With `patch` > 1, squares of pixels
become channels before the first convolution (as in Wan 2.2's autoencoder). In shapes, `b u y x` are
the sizes of the result where they differ from `b t h w` of the input.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import CausalCache, CausalConv, conv3d_valid_time
from sora_jax.models.cell_vae import CellVAE
from sora_jax.models.functional import Network
from sora_jax.models.latents import LatentStatistics, Posterior, PrincipalAxes, depth_to_space
from sora_jax.models.resample import Downsample, Upsample
from sora_jax.models.vae_blocks import ConvTrunk, MidBlock, ResidualBlock
from sora_jax.models.vae_config import AnyVAEConfig, CellVAEConfig, VAEConfig
from sora_jax.sharding import P, any_mesh
from sora_jax.types import Params

FIRST_LOG_VARIANCE = -6.0
"""Initial log variance of the posterior: little noise, so that the decoder learns at once."""


class VAE(nnx.Module):
    """The network: encoder and decoder without principal axes; see the module's docstring."""

    def __init__(self, config: VAEConfig, rngs: nnx.Rngs):
        self.config = config
        pixels, z = 3 * config.patch**2, config.latent_channels
        width = config.channels[0]
        layers: list[nnx.Module] = []
        for i, channels in enumerate(config.channels):
            for _ in range(config.blocks):
                layers.append(ResidualBlock(width, channels, rngs))
                width = channels
            if i < len(config.strides):
                layers.append(Downsample(width, config.strides[i], rngs))
        first = CausalConv(pixels, config.channels[0], (3, 3, 3), rngs)
        self.encoder = ConvTrunk(
            first, [*layers, MidBlock(width, rngs)], width, 2 * z, config.principal_axes, rngs
        )
        self.posterior_conv = CausalConv(2 * z, 2 * z, (1, 1, 1), rngs)
        bias = self.posterior_conv.bias
        bias.set_value(bias[...].at[z:].set(FIRST_LOG_VARIANCE))

        width = config.channels[-1]
        layers: list[nnx.Module] = [MidBlock(width, rngs)]
        for i, channels in reversed(list(enumerate(config.channels))):
            for _ in range(config.blocks + 1):
                layers.append(ResidualBlock(width, channels, rngs))
                width = channels
            if i > 0:
                layers.append(up := Upsample(width, config.strides[i - 1], rngs))
                width = up.output_channels(width)
        self.latent_conv = CausalConv(z, z, (1, 1, 1), rngs)
        first = CausalConv(z, config.channels[-1], (3, 3, 3), rngs)
        self.decoder = ConvTrunk(first, layers, width, pixels, config.principal_axes, rngs)

    def posterior(self, pixels: Float[Array, "b t h w 3"], cache: CausalCache) -> Posterior:
        """Encodes videos in [-1, 1], of a shape that `check_divides` accepts."""
        b, t, h, w, _ = pixels.shape
        r = self.config.patch
        x = pixels.astype(self.config.dtype).reshape(b, t, h // r, r, w // r, r, 3)
        x = x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, t, h // r, w // r, 3 * r * r)
        moments = self.posterior_conv(self.encoder(x, cache), cache).astype(jnp.float32)
        mean, log_variance = jnp.split(moments, 2, -1)
        # Latents wider than the prior are useless; inputs unlike training's may produce them.
        max_log_variance = 0.0 if self.config.principal_axes else 20.0
        return Posterior(mean, jnp.clip(log_variance, -30.0, max_log_variance))

    def decode(
        self, latents: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b u y x 3"]:
        """Decodes latents that are not normalised; pixels may slightly exceed [-1, 1]."""
        latents = latents.astype(self.config.dtype)
        x = self.decoder(self.latent_conv(latents, cache), cache)
        b, t, h, w, _ = x.shape
        r = self.config.patch
        x = x.reshape(b, t, h, w, r, r, 3).transpose(0, 1, 2, 4, 3, 5, 6)
        return x.reshape(b, t, h * r, w * r, 3).astype(jnp.float32)


def check_divides(
    config: AnyVAEConfig, shape: tuple[int, ...], is_first_chunk: bool = True
) -> None:
    """Checks that a chunk of pixels [b, t, h, w, 3] divides into whole latents.

    Raises:
      ValueError: the duration is not 1 + k n frames (k n after the first chunk), a side is not
        divisible, or the shape is not that of a batch of videos with three channels.
    """
    k, s = config.temporal_stride, config.spatial_stride
    if len(shape) != 5 or shape[-1] != 3:
        raise ValueError(f"pixels have the shape {shape}: give videos as [b, t, h, w, 3]")
    _, t, h, w, _ = shape
    if (t - is_first_chunk) % k or t == 0 or h % s or w % s:
        raise ValueError(
            f"a clip of {t} frames, {h}x{w}, does not divide into latents of {k} frames and "
            f"{s} pixels: pad it with media.fit_canvas"
        )


NETWORKS: dict[type, Network] = {VAEConfig: Network(VAE), CellVAEConfig: Network(CellVAE)}


def init_params(key: Array, config: AnyVAEConfig) -> Params:
    """Random parameters on the current mesh."""
    return NETWORKS[type(config)].init_params(key, config)


def shapes(config: AnyVAEConfig) -> Params:
    """The parameters' tree of `jax.ShapeDtypeStruct`; needs no mesh and no memory."""
    return NETWORKS[type(config)].shapes(config)


def init_statistics(
    config: AnyVAEConfig,
    axes: PrincipalAxes | None = None,
    neighbour_kernel: Float[np.ndarray, "3 3 3 c n"] | None = None,
) -> Params:
    """Non-trained state of an autoencoder: statistics of latents, and its linear part.

    Args:
      axes: the principal axes where the config has them, else zeros.
      neighbour_kernel: the map of neighbours where the config has it, else zeros.
    """
    statistics: Params = {"latents": LatentStatistics.initial(config.latent_channels)._asdict()}
    if config.principal_axes:
        size = 3 * config.temporal_stride * config.spatial_stride**2
        zeros = jnp.zeros((size, config.latent_channels), out_sharding=P(None, None))
        statistics["axes"] = (axes or PrincipalAxes(zeros, zeros))._asdict()
        if isinstance(config, VAEConfig) and config.neighbour_kernel:
            taps = (3, 3, 3, config.latent_channels, size)
            kernel = jnp.zeros(taps, out_sharding=P(*[None] * 5))
            kernel = kernel if neighbour_kernel is None else kernel + jnp.float32(neighbour_kernel)
            statistics["neighbour_kernel"] = kernel
    return statistics


def statistics_shapes(config: AnyVAEConfig) -> Params:
    """The shapes of `init_statistics`; needs no mesh."""
    with any_mesh():
        return jax.eval_shape(lambda: init_statistics(config))


def posterior(
    config: AnyVAEConfig,
    params: Params,
    statistics: Params,
    pixels: Float[Array, "b t h w 3"],
    cache: CausalCache | None = None,
) -> Posterior:
    """Encodes a chunk of pixels in [-1, 1]: the network, plus the principal axes if configured.

    Args:
      statistics: non-trained state: `latents`, and `axes` and `neighbour_kernel` if configured.
      cache: that of the chunk; None for a whole clip.

    Returns:
      The distribution of latents that are not normalised.

    Raises:
      ValueError: as `check_divides`.
    """
    cache = cache or CausalCache()
    check_divides(config, pixels.shape, cache.is_first_chunk)
    distribution = NETWORKS[type(config)].bind(config, params).posterior(pixels, cache)
    if config.principal_axes:
        axes = PrincipalAxes(**statistics["axes"])
        strides = config.temporal_stride, config.spatial_stride
        linear = axes.encode(pixels, *strides, cache.is_first_chunk)
        distribution = distribution._replace(mean=distribution.mean + linear)
    return distribution


def decode(
    config: AnyVAEConfig,
    params: Params,
    statistics: Params,
    latents: Float[Array, "b t h w c"],
    cache: CausalCache | None = None,
) -> Float[Array, "b u y x 3"]:
    """Decodes a chunk of latents that are not normalised; inverse of `posterior`, see its args."""
    cache = cache or CausalCache()
    pixels = NETWORKS[type(config)].bind(config, params).decode(latents, cache)
    if config.principal_axes:
        pixels += linear_decode(config, statistics, latents, cache)
    return pixels


def linear_decode(
    config: AnyVAEConfig, statistics: Params, latents: Float[Array, "b t h w c"], cache: CausalCache
) -> Float[Array, "b u y x 3"]:
    """Decodes by the linear maps alone: the principal axes, and the neighbour kernel if any."""
    layout = config.temporal_stride, config.spatial_stride, cache.is_first_chunk
    pixels = PrincipalAxes(**statistics["axes"]).decode(latents, *layout)
    if "neighbour_kernel" in statistics:
        kernel = statistics["neighbour_kernel"]
        cells = conv3d_valid_time(cache.extend(latents, len(kernel) - 1), kernel)
        pixels += depth_to_space(cells, *layout)
    return pixels
