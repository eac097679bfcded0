"""How well clips survive compression.

PSNR = 10 log10(255^2 / mean squared error of 8-bit RGB)   in dB, of a whole clip
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from sora_jax import media
from sora_jax.models.latents import PrincipalAxes
from sora_jax.models.vae_config import AnyVAEConfig

Video = UInt8[np.ndarray, "t h w 3"]
AnyVideo = UInt8[np.ndarray, "_ _ _ 3"]
"""One of several clips, each of its own shape."""


def psnr_db(video: Video, other: Video) -> float:
    """Peak signal-to-noise ratio of two clips of one shape; 99 dB where they are equal."""
    error = np.mean((video.astype(np.float32) - other.astype(np.float32)) ** 2)
    return float(min(10 * np.log10(255**2 / max(error, 1e-12)), 99.0))


def reconstruct(video: Video, codec) -> Video:
    """Encodes and decodes a clip with a `codec.video_codec.VideoCodec`; any size and duration."""
    return codec.decode_clip(*codec.encode_clip(video))


def strip(
    pairs: Sequence[tuple[AnyVideo, AnyVideo]], frames: int = 4
) -> UInt8[np.ndarray, "y x 3"]:
    """Frames of each clip above those of its reconstruction, as one image.

    Args:
      frames: of each clip, spread over its duration.
    """
    bands = []
    for pair in pairs:
        chosen = np.linspace(0, len(pair[0]) - 1, min(frames, len(pair[0]))).astype(int)
        bands += [np.concatenate([video[i] for i in chosen], 1) for video in pair]
    width = max(band.shape[1] for band in bands)
    padded = [np.pad(b, ((0, 2), (0, width - b.shape[1]), (0, 0))) for b in bands]
    return np.concatenate(padded)


def linear_reconstruct(video: Video, codec) -> Video:
    """The baseline: the best linear autoencoder of as many channels, the principal axes alone."""
    config: AnyVAEConfig = codec.config
    axes = PrincipalAxes(**codec.statistics["axes"])
    canvas, fit = media.fit_canvas(
        media.to_float(video), config.temporal_stride, config.spatial_stride
    )
    strides = config.temporal_stride, config.spatial_stride
    pixels = axes.decode(axes.encode(jnp.asarray(canvas)[None], *strides), *strides)
    return media.to_uint8(fit.crop(pixels)[0])
