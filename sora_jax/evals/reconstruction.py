"""How well clips survive compression.

PSNR = 10 log10(255^2 / mean squared error of 8-bit RGB)   in dB, of a whole clip
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from sora_jax import media
from sora_jax.models.vae import PrincipalAxes, VAEConfig, from_cells, to_cells

Video = UInt8[np.ndarray, "t h w 3"]


def psnr_db(video: Video, other: Video) -> float:
    """Peak signal-to-noise ratio of two clips of one shape; 99 dB where they are equal."""
    error = np.mean((video.astype(np.float32) - other.astype(np.float32)) ** 2)
    return float(min(10 * np.log10(255**2 / max(error, 1e-12)), 99.0))


def reconstruct(video: Video, coder) -> Video:
    """Encodes and decodes a clip with a `training.vae_step.Coder`; any size and duration."""
    config: VAEConfig = coder.config
    canvas, fit = media.fit_canvas(media.to_float(video), config.temporal, 2 * config.spatial)
    return media.to_uint8(fit.crop(coder.decode(coder.encode(canvas[None]))[0]))


def box_reconstruct(video: Video, coder) -> Video:
    """The baseline: each latent cell of pixels replaced by its mean colour."""
    size = coder.config.temporal, coder.config.spatial
    canvas, fit = media.fit_canvas(media.to_float(video), *size)
    cells = to_cells(jnp.asarray(canvas)[None], *size)
    cells = cells.reshape(*cells.shape[:4], -1, 3)
    cells = jnp.broadcast_to(cells.mean(4, keepdims=True), cells.shape)
    averaged = from_cells(cells.reshape(*cells.shape[:4], -1), *size)
    return media.to_uint8(fit.crop(averaged[0]))


def linear_reconstruct(video: Video, coder) -> Video:
    """What the autoencoder's principal axes make of a clip without the network's share."""
    config: VAEConfig = coder.config
    axes = PrincipalAxes(**coder.statistics["axes"])
    canvas, fit = media.fit_canvas(media.to_float(video), config.temporal, 2 * config.spatial)
    pixels = axes.decode(axes.encode(jnp.asarray(canvas)[None], config), config)
    return media.to_uint8(fit.crop(pixels)[0])
