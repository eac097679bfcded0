"""Encoding and decoding with a trained autoencoder: whole clips, or chunk by chunk.

Streaming equals encoding the whole clip up to rounding (1e-5 of the maximum in float32, 0.02 in
bfloat16), as each chunk gets the frames of the past that its causal layers need (see
`models.causal_conv`). A clip of any duration takes two compilations for each size, one for the
first chunk (one frame) and one for the others, and activations do not grow with its duration.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array, Float, Shaped, UInt8

from sora_jax import media
from sora_jax.models import vae
from sora_jax.models.causal_conv import CausalCache
from sora_jax.models.latents import LatentStatistics
from sora_jax.models.vae_config import AnyVAEConfig
from sora_jax.sharding import P, auto_axes, axis_size
from sora_jax.training.run_folder import load_vae_run
from sora_jax.types import Params

MAX_PIXEL_EXCESS = 1e-3
"""How far pixels may leave [-1, 1] by rounding."""
AnyArray = Shaped[Array | np.ndarray, "..."]
"""Videos or latents [b, t, h, w, c] of a caller; wrong shapes and dtypes raise a ValueError."""
CachedFrames = list[Array]
"""Past frames that the causal layers of the next chunk need, one array for each layer."""
REPLICATED = P()


class VideoCodec:
    """An autoencoder with its weights, as an encoder and decoder of videos.

    Attributes:
      config: sizes of the autoencoder.
      params: its weights.
      statistics: its non-trained state; see `vae.init_statistics`.
      step: training step of the weights; None if they come from no checkpoint.
    """

    step: int | None = None

    def __init__(
        self, config: AnyVAEConfig, params: Params, statistics: Params, spec: P = REPLICATED
    ):
        """Compiles nothing yet.

        Args:
          spec: sharding of videos, latents and caches [b, t, h, w, c] over the current mesh, of
            arguments and results alike. `P(None, None, "context")` cuts height, without seams,
            if the height of latents divides; clips and streams are padded to that. Weights are
            replicated.
        """
        self.config, self._spec = config, spec
        self.params, self.statistics = params, statistics

        def encode(params, statistics, cached_frames, pixels):
            cache = CausalCache(cached_frames)
            mean = vae.posterior(config, params, statistics, pixels, cache).mean
            latents = LatentStatistics(**statistics["latents"]).normalise(mean)
            return cache.frames_out, latents

        def decode(params, statistics, cached_frames, latents):
            cache = CausalCache(cached_frames)
            latents = LatentStatistics(**statistics["latents"]).restore(latents)
            return cache.frames_out, vae.decode(config, params, statistics, latents, cache)

        def compiled(step, whole: bool):
            run = (lambda *a: step(*a)[1]) if whole else step  # a whole clip returns no cache
            return jax.jit(auto_axes(run, out_sharding=spec), donate_argnums=2)

        self._encode, self._decode = compiled(encode, True), compiled(decode, True)
        self._encode_step, self._decode_step = compiled(encode, False), compiled(decode, False)
        self._range = jax.jit(lambda x: (x.min(), x.max()))

    def encode(self, pixels: AnyArray) -> Float[Array, "b t h w c"]:
        """Normalised posterior means of videos in [-1, 1], 1 + k n frames of whole latents.

        Raises:
          ValueError: the shape does not divide, or pixels are not in [-1, 1].
        """
        self._check_pixels(pixels)
        return self._encode(self.params, self.statistics, None, pixels)

    def decode(self, latents: AnyArray) -> Float[Array, "b t h w 3"]:
        """Videos of normalised latents; pixels may leave [-1, 1] a little.

        Raises:
          ValueError: the latents have another number of channels.
        """
        self._check_latents(latents)
        return self._decode(self.params, self.statistics, None, latents)

    def encode_clip(
        self, video: AnyArray, multiple: int = 1
    ) -> tuple[Float[Array | np.ndarray, "u y x c"], media.Fit]:
        """Latents of a clip of any size and duration, uint8 [t, h, w, 3], and how it was padded.

        The clip is padded as by `media.fit_canvas`, its sides to multiples of `multiple` latents
        that the mesh cuts into equal parts.

        Raises:
          ValueError: the array is no such clip, or too small.
        """
        canvas, fit = self._fit(video, self.config.temporal_stride, multiple)
        return self.encode(canvas[None])[0], fit

    def decode_clip(
        self, latents: Float[Array | np.ndarray, "u y x c"], fit: media.Fit
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """The clip of latents, cropped to its original size. Raises ValueError as `to_frames`."""
        return np.asarray(fit.crop(to_frames(self.decode(latents[None])[0])))

    def encode_step(
        self, cache: CachedFrames | None, pixels: AnyArray
    ) -> tuple[CachedFrames, Float[Array, "b t h w c"]]:
        """Latents of a chunk, and the cache of the next chunk; `cache` is donated.

        Args:
          cache: None for the first chunk, of 1 + k n frames; other chunks have k n frames.

        Raises:
          ValueError: as `encode`.
        """
        self._check_pixels(pixels, cache is None)
        return self._encode_step(self.params, self.statistics, cache, pixels)

    def decode_step(
        self, cache: CachedFrames | None, latents: AnyArray
    ) -> tuple[CachedFrames, Float[Array, "b t h w 3"]]:
        """Pixels of a chunk of latents, and the cache of the next chunk; `cache` is donated."""
        self._check_latents(latents)
        return self._decode_step(self.params, self.statistics, cache, latents)

    def encode_stream(
        self, frames: Iterable[AnyArray], chunk: int = 1
    ) -> Iterator[Float[np.ndarray, "u y x c"]]:
        """Latents of a stream of frames, uint8 [h, w, 3]; the same as of `encode_clip`.

        Args:
          chunk: latent frames that are encoded together, after the first.

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
        """Frames of a stream of latents, decoded `chunk` at a time after the first."""
        for pixels, count in _steps(self.decode_step, latents, chunk, 1):
            yield pixels[: count * self.config.temporal_stride]

    def canvas_shape(self, t: int, h: int, w: int, multiple: int = 1) -> tuple[int, int, int]:
        """Frames, height and width that `encode_clip` pads a clip to."""
        s = self.config.spatial_stride
        t, h, w = media.canvas_shape(t, h, w, self.config.temporal_stride, multiple * s)
        _, _, *parts = self._parts()
        rows, columns = (s * math.lcm(multiple, n) for n in parts)
        return t, -(-h // rows) * rows, -(-w // columns) * columns

    def _fit(
        self, video: AnyArray, temporal: int, multiple: int = 1
    ) -> tuple[np.ndarray, media.Fit]:
        """A clip in [-1, 1], padded to its canvas of 1 + k `temporal` frames."""
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
        """Number of parts that the mesh cuts b, t, h and w into."""
        cuts = [*self._spec, None, None, None, None]
        return tuple(axis_size(cut) for cut in cuts[:4])

    def _check_pixels(self, pixels: AnyArray, first: bool = True) -> None:
        vae.check_divides(self.config, pixels.shape, first)
        _check_not_empty("pixels", pixels)
        s = self.config.spatial_stride
        self._check_cut(pixels.shape[0], 1, pixels.shape[2] // s, pixels.shape[3] // s)
        if not jnp.issubdtype(pixels.dtype, jnp.floating):
            raise ValueError(f"pixels are {pixels.dtype}: map them to [-1, 1] with media.to_float")
        here = isinstance(pixels, np.ndarray)  # and not on a device
        low, high = map(float, (pixels.min(), pixels.max()) if here else self._range(pixels))
        if not (-1 - MAX_PIXEL_EXCESS <= low and high <= 1 + MAX_PIXEL_EXCESS):  # NaN fails both
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
        _check_not_empty("latents", latents)
        self._check_cut(latents.shape[0], 1, *latents.shape[2:4])

    def _check_cut(self, *shape: int) -> None:
        """Checks that latents [b, 1, h, w] divide over the mesh as `spec` cuts them."""
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


def _check_not_empty(name: str, array: AnyArray) -> None:
    if 0 in array.shape:
        raise ValueError(f"{name} have the shape {list(array.shape)}: give at least one of each")


def _steps(
    step: Callable[[Any, np.ndarray], tuple[Any, Any]],
    items: Iterable[np.ndarray | Array],
    chunk: int,
    each: int,
) -> Iterator[tuple[np.ndarray, int]]:
    """Results of `step` on the first item, then on `chunk` x `each` items, with their true number.

    The last chunk is filled with its last item, which causal layers do not see.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}: give at least one latent frame at a time")
    size = chunk * each
    cache, waiting = None, []
    for item in items:
        waiting.append(item)
        if len(waiting) == (1 if cache is None else size):
            cache, result = step(cache, np.stack(waiting)[None])
            yield np.asarray(result[0]), len(waiting)
            waiting = []
    if waiting:
        full = waiting + waiting[-1:] * (size - len(waiting))
        yield np.asarray(step(cache, np.stack(full)[None])[1][0]), len(waiting)


def load_codec(workdir: epath.PathLike, spec: P = REPLICATED) -> VideoCodec:
    """The codec of an autoencoder's run, with its averaged weights.

    Args:
      spec: see `VideoCodec`.

    Raises:
      ValueError: the folder holds no autoencoder's checkpoint, or a damaged one.
    """
    run = load_vae_run(workdir)
    codec = VideoCodec(run.experiment.model, run.params, run.statistics, spec)
    codec.step = run.step
    return codec
