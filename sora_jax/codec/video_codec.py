"""Encoding and decoding with a trained autoencoder: whole clips, or chunk by chunk.

Streaming is exact, to rounding (of the largest number 1e-5 in float32, 0.02 in bfloat16): causal
layers hand the frames that the next chunk needs on (see `models.causal_conv`). A clip of any
duration takes two compilations for each size, one for the first chunk (one frame) and one for the
others, and activations do not grow with its duration.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array, Float, Shaped, UInt8

from sora_jax import media
from sora_jax.config import VAEExperiment
from sora_jax.models import vae
from sora_jax.models.causal_conv import CausalCache
from sora_jax.models.latents import LatentStatistics
from sora_jax.models.vae import VAEConfig
from sora_jax.sharding import P, auto_axes, axis_size
from sora_jax.training import vae_step
from sora_jax.training.checkpoint import load_config, load_latest
from sora_jax.types import Params

ROUNDING = 1e-3
"""How far pixels may leave [-1, 1] by rounding."""
AnyArray = Shaped[Array | np.ndarray, "..."]
"""Videos or latents [b, t, h, w, c] as a caller brings them; what is wrong is said in words."""
Cache = list[Array]
WHOLE = P()
"""Every device has the whole tensor."""


class VideoCodec:
    """An autoencoder with its weights.

    Attributes:
      config: its sizes.
      params, statistics: its weights, and the data beside them; see `vae_step.init_state`.
      step: of training, that the weights are of; None where they are from no checkpoint.
    """

    step: int | None = None

    def __init__(self, config: VAEConfig, params: Params, statistics: Params, spec: P = WHOLE):
        """Compiles nothing yet.

        Args:
          spec: how videos, latents and caches [b, t, h, w, c] lie on the current mesh, both what
            is given and what comes back: `P(None, None, "context")` cuts height, exactly, where
            the height of latents divides; clips and streams are padded so. Weights are replicated.
        """
        self.config, self._spec = config, spec
        self.params, self.statistics = params, statistics

        def encode(params, statistics, cache, pixels):
            cache = CausalCache(cache)
            mean = vae.posterior(config, params, statistics, pixels, cache).mean
            latents = LatentStatistics(**statistics["latents"]).normalise(mean)
            return cache.frames_out, latents

        def decode(params, statistics, cache, latents):
            cache = CausalCache(cache)
            latents = LatentStatistics(**statistics["latents"]).restore(latents)
            return cache.frames_out, vae.decode(config, params, statistics, latents, cache)

        def compiled(step, whole: bool):
            run = (lambda *a: step(*a)[1]) if whole else step  # whole: no cache is made
            return jax.jit(auto_axes(run, out_sharding=spec), donate_argnums=2)

        self._encode, self._decode = compiled(encode, True), compiled(decode, True)
        self._encode_step, self._decode_step = compiled(encode, False), compiled(decode, False)
        self._range = jax.jit(lambda x: (x.min(), x.max()))

    def encode(self, pixels: AnyArray) -> Float[Array, "b t h w c"]:
        """Normalised posterior means of videos in [-1, 1], 1 + k n frames, sides of whole latents.

        Raises:
          ValueError: the shape does not divide, or pixels are not in [-1, 1].
        """
        self._check_pixels(pixels)
        return self._encode(self.params, self.statistics, None, pixels)

    def decode(self, latents: AnyArray) -> Float[Array, "b t h w 3"]:
        """Videos of normalised latents, about in [-1, 1].

        Raises:
          ValueError: the latents have another number of channels.
        """
        self._check_latents(latents)
        return self._decode(self.params, self.statistics, None, latents)

    def encode_clip(
        self, video: AnyArray, multiple: int = 1
    ) -> tuple[Float[Array | np.ndarray, "u y x c"], media.Fit]:
        """Latents of a clip of any size and duration, uint8 [t, h, w, 3].

        It is padded as by `media.fit_canvas`, sides to multiples of `multiple` latents, and to what
        the mesh cuts into equal parts.

        Raises:
          ValueError: it is no such clip, or too small.
        """
        canvas, fit = self._fit(video, self.config.temporal_stride, multiple)
        return self.encode(canvas[None])[0], fit

    def decode_clip(
        self, latents: Float[Array | np.ndarray, "u y x c"], fit: media.Fit
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """The clip of latents, cropped back to its own size. Raises ValueError as `to_frames`."""
        return np.asarray(fit.crop(to_frames(self.decode(latents[None])[0])))

    def encode_step(
        self, cache: Cache | None, pixels: AnyArray
    ) -> tuple[Cache, Float[Array, "b t h w c"]]:
        """Latents of a chunk, and what its successor needs; the given cache is used up.

        Args:
          cache: None for the first chunk, of 1 + k n frames; others are of k n frames.

        Raises:
          ValueError: as `encode`.
        """
        self._check_pixels(pixels, cache is None)
        return self._encode_step(self.params, self.statistics, cache, pixels)

    def decode_step(
        self, cache: Cache | None, latents: AnyArray
    ) -> tuple[Cache, Float[Array, "b t h w 3"]]:
        """Pixels of a chunk of latents, and what its successor needs; `cache` is used up."""
        self._check_latents(latents)
        return self._decode_step(self.params, self.statistics, cache, latents)

    def encode_stream(
        self, frames: Iterable[AnyArray], chunk: int = 1
    ) -> Iterator[Float[np.ndarray, "u y x c"]]:
        """Latents of frames as they come: the first alone, then up to `chunk` at a time.

        Frames, uint8 [h, w, 3], are padded as by `encode_clip`, and the result is the same.

        Raises:
          ValueError: a frame is no such picture, too small or of another size than the first.
        """
        k = self.config.temporal_stride

        def fitted() -> Iterator[np.ndarray]:
            first = None
            for number, frame in enumerate(frames):
                first = first or frame.shape
                if frame.shape != first:
                    raise ValueError(
                        f"frame {number} has the shape {list(frame.shape)}, the first "
                        f"{list(first)}: cut the film where its size changes"
                    )
                yield self._fit(frame[None], 1)[0][0]

        for latents, count in _steps(self.encode_step, fitted(), chunk, k):
            yield latents[: -(-count // k)]

    def decode_stream(
        self, latents: Iterable[Float[np.ndarray | Array, "h w c"]], chunk: int = 1
    ) -> Iterator[Float[np.ndarray, "u y x 3"]]:
        """Frames of latents as they come: the first alone, then those of `chunk` at a time."""
        for pixels, count in _steps(self.decode_step, latents, chunk, 1):
            yield pixels[: count * self.config.temporal_stride]

    def canvas_shape(self, t: int, h: int, w: int, multiple: int = 1) -> tuple[int, int, int]:
        """Frames, height and width that a clip is padded to; see `encode_clip`."""
        s = self.config.spatial_stride
        t, h, w = media.canvas_shape(t, h, w, self.config.temporal_stride, multiple * s)
        _, _, *parts = self._parts()
        rows, columns = (s * math.lcm(multiple, n) for n in parts)
        return t, -(-h // rows) * rows, -(-w // columns) * columns

    def _fit(
        self, video: AnyArray, temporal: int, multiple: int = 1
    ) -> tuple[np.ndarray, media.Fit]:
        """A clip in [-1, 1] on its canvas of 1 + k `temporal` frames."""
        if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3:
            raise ValueError(
                f"a clip is {video.dtype}{list(video.shape)}: give uint8 [t, h, w, 3], frames of "
                "0 to 255, or encode pixels in [-1, 1] with VideoCodec.encode"
            )
        canvas, fit = media.fit_canvas(media.to_float(np.asarray(video)), temporal, 1)
        wanted = (len(canvas), *self.canvas_shape(*fit.original, multiple)[1:])
        missing = [(0, n - have) for n, have in zip(wanted, canvas.shape, strict=False)]
        return np.pad(canvas, [*missing, (0, 0)], "edge"), media.Fit(fit.original, wanted)

    def _parts(self) -> tuple[int, ...]:
        """Parts that the mesh cuts b, t, h and w into."""
        cuts = [*self._spec, None, None, None, None]
        return tuple(axis_size(cut) for cut in cuts[:4])

    def _check_pixels(self, pixels: AnyArray, first: bool = True) -> None:
        vae.check_divides(self.config, pixels.shape, first)
        _check_some("pixels", pixels)
        s = self.config.spatial_stride
        self._check_cut(pixels.shape[0], 1, pixels.shape[2] // s, pixels.shape[3] // s)
        if not jnp.issubdtype(pixels.dtype, jnp.floating):
            raise ValueError(f"pixels are {pixels.dtype}: map them to [-1, 1] with media.to_float")
        here = isinstance(pixels, np.ndarray)  # and not on a device
        low, high = map(float, (pixels.min(), pixels.max()) if here else self._range(pixels))
        if not (-1 - ROUNDING <= low and high <= 1 + ROUNDING):  # NaN fails both
            raise ValueError(
                f"pixels lie in [{low:.4g}, {high:.4g}]: map them to [-1, 1] with media.to_float"
            )

    def _check_latents(self, latents: AnyArray) -> None:
        channels = self.config.latent_channels
        if latents.ndim != 5 or latents.shape[-1] != channels:
            raise ValueError(
                f"latents have the shape {tuple(latents.shape)}: this autoencoder's are "
                f"[b, t, h, w, {channels}]"
            )
        _check_some("latents", latents)
        self._check_cut(latents.shape[0], 1, *latents.shape[2:4])

    def _check_cut(self, *shape: int) -> None:
        """Latents [b, 1, h, w] must divide over the mesh as `spec` cuts them."""
        for name, size, parts in zip("bthw", shape, self._parts(), strict=True):
            if size % parts:
                raise ValueError(
                    f"latents with {name} = {size} do not divide into the {parts} parts that the "
                    f"mesh cuts {name} in: pad videos, as encode_clip does"
                )


def to_frames(pixels: Float[Array | np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """`media.to_uint8` of decoded pixels.

    Raises:
      ValueError: they are not finite, which 0 to 255 would hide.
    """
    pixels = np.asarray(pixels)
    if not np.isfinite(pixels).all():
        raise ValueError(
            "decoded pixels are not finite: the weights or the latents are damaged, make them anew"
        )
    return media.to_uint8(pixels)


def _check_some(name: str, array: AnyArray) -> None:
    if 0 in array.shape:
        raise ValueError(f"{name} have the shape {list(array.shape)}: give at least one of each")


def _steps(
    step: Callable[[Any, np.ndarray], tuple[Any, Any]],
    items: Iterable[np.ndarray | Array],
    chunk: int,
    each: int,
) -> Iterator[tuple[np.ndarray, int]]:
    """What `step` makes of the first item, then of `chunk` times `each`, and how many those were.

    The last item repeated fills the last chunk: what is causal does not see it.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}: give at least one latent frame at a time")
    size = chunk * each
    cache, waiting = None, []
    for item in items:
        waiting.append(item)
        if len(waiting) == (1 if cache is None else size):
            cache, made = step(cache, np.stack(waiting)[None])
            yield np.asarray(made[0]), len(waiting)
            waiting = []
    if waiting:
        full = waiting + waiting[-1:] * (size - len(waiting))
        yield np.asarray(step(cache, np.stack(full)[None])[1][0]), len(waiting)


def load_codec(workdir: epath.PathLike, spec: P = WHOLE) -> VideoCodec:
    """An autoencoder with its averaged weights, ready to encode and decode.

    Raises:
      ValueError: the folder holds no autoencoder's checkpoint, or a damaged one.
    """
    experiment = load_config(workdir)
    if not isinstance(experiment, VAEExperiment):
        raise ValueError(f"{workdir} holds a diffusion run: name an autoencoder's workdir")
    like = jax.eval_shape(functools.partial(vae_step.init_state, experiment))
    step, items = load_latest(workdir, {"ema": like.params, "statistics": like.statistics})
    codec = VideoCodec(experiment.model, items["ema"], items["statistics"], spec)
    codec.step = step
    return codec
