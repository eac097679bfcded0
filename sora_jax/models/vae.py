"""Video autoencoders, causal in time (arXiv:1312.6114): one interface of two networks.

    z ~ N(mean(x), exp(log_variance(x)));   x' = decode(z)
    latent = (mean(x) - m) / s              m, s: mean and deviation of each channel over data

The networks are `conv_vae`, convolutional as in Wan 2.1, and `cell_vae`, matrix products at the
resolution of latents beside principal axes; the type of the config chooses one. An image is a video
of one frame. 1 + 4k frames become 1 + k latent frames (for a temporal stride of 4). Pixels are in
[-1, 1], layout `b t h w c`; `b u y x` are the sizes of the result where they differ from `b t h w`
of the input.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import CausalCache
from sora_jax.models.cell_vae import CellVAE
from sora_jax.models.conv_vae import ConvVAE
from sora_jax.models.functional import Network
from sora_jax.models.latents import LatentStatistics, Posterior, PrincipalAxes
from sora_jax.models.vae_config import AnyVAEConfig, CellVAEConfig, VAEConfig
from sora_jax.sharding import P, any_mesh
from sora_jax.types import Params


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


NETWORKS: dict[type, Network] = {VAEConfig: Network(ConvVAE), CellVAEConfig: Network(CellVAE)}


def init_params(key: Array, config: AnyVAEConfig) -> Params:
    """Random parameters on the current mesh."""
    return NETWORKS[type(config)].init_params(key, config)


def shapes(config: AnyVAEConfig) -> Params:
    """The parameters' tree of `jax.ShapeDtypeStruct`; needs no mesh and no memory."""
    return NETWORKS[type(config)].shapes(config)


def init_statistics(config: AnyVAEConfig, axes: PrincipalAxes | None = None) -> Params:
    """Non-trained state of an autoencoder: statistics of latents, and principal axes of cells.

    Args:
      axes: the principal axes where the network has them, else zeros.
    """
    statistics: Params = {"latents": LatentStatistics.initial(config.latent_channels)._asdict()}
    if isinstance(config, CellVAEConfig):
        zeros = jnp.zeros((config.cell_size, config.latent_channels), out_sharding=P(None, None))
        statistics["axes"] = (axes or PrincipalAxes(zeros, zeros))._asdict()
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
    """Encodes a chunk of pixels in [-1, 1].

    Args:
      statistics: non-trained state: `latents`, and `axes` for autoencoders of cells.
      cache: that of the chunk; None for a whole clip.

    Returns:
      The distribution of latents that are not normalised.

    Raises:
      ValueError: as `check_divides`.
    """
    cache = cache or CausalCache()
    check_divides(config, pixels.shape, cache.is_first_chunk)
    distribution = NETWORKS[type(config)].bind(config, params).posterior(pixels, cache)
    if "axes" in statistics:
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
    if "axes" in statistics:
        strides = config.temporal_stride, config.spatial_stride
        axes = PrincipalAxes(**statistics["axes"])
        pixels += axes.decode(latents, *strides, cache.is_first_chunk)
    return pixels
