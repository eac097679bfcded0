"""Prompts to videos: canvases packed into rows, sampled, and decoded by the codec."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sora_jax.codec.video_codec import VideoCodec, to_frames
from sora_jax.generation.canvas import (
    Canvas,
    Given,
    KnownLatents,
    Request,
    fill_unknown,
    find_known_latents,
    make_canvas,
    spread_latents,
)
from sora_jax.generation.joins import join_given
from sora_jax.generation.sampling import SamplingConfig, noise_level_tables, sample_rows
from sora_jax.patches import unpatchify
from sora_jax.processes import fetch
from sora_jax.rows import (
    RowCapacity,
    batch_specs,
    pack_row,
    replace_captions,
    scale_channels,
    stack_rows,
)
from sora_jax.sharding import BATCH, axis_size, shard
from sora_jax.text_inputs import TextInputs
from sora_jax.training.run_folder import DiffusionRun

MAX_WHOLE_PIXELS = 2**23
"""Of a video that is decoded at once; of more, the frames of one latent after those of another."""
CAPACITY_STEP = 128
"""Rows are whole multiples of this many tokens long, so that few lengths are compiled."""


class Generator:
    """A trained transformer with its text inputs and its codec.

    Attributes:
      run: the transformer's weights and settings.
      text_inputs: what turns prompts into token ids or embeddings.
      codec: the video codec of the latents that the transformer was trained on.
      max_given: first frames of a video that the model can be given.
    """

    def __init__(self, run: DiffusionRun, text_inputs: TextInputs, codec: VideoCodec):
        self.run, self.text_inputs, self.codec = run, text_inputs, codec
        self.max_given = run.experiment.known.max_given

    def sample(
        self,
        requests: Sequence[Request],
        config: SamplingConfig = SamplingConfig(),
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[UInt8[np.ndarray, "t h w 3"]]:
        """One video for each request; see `sample_frames`."""
        videos = self.sample_frames(requests, config, progress)
        return [np.stack(list(frames)) for frames in videos]

    def sample_frames(
        self,
        requests: Sequence[Request],
        config: SamplingConfig = SamplingConfig(),
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Iterator[Iterable[UInt8[np.ndarray, "h w 3"]]]:
        """Yields the frames of a video for each request, of any sizes; a seed has one video.

        Frames of large videos from text alone are decoded as they are read, a few at a time.

        Args:
          config: steps, guidance and sampler, for all requests.
          progress: called with (rows done, rows in all).

        Raises:
          ValueError: there is no request, one of them is too small, all of its video is given, or
            more than the model was trained to be given, or a video is not finite.
        """
        latents = self.sample_latents(requests, config, progress)
        for request, latent in zip(requests, latents, strict=True):
            yield self._decode(request, latent)

    def sample_latents(
        self,
        requests: Sequence[Request],
        config: SamplingConfig = SamplingConfig(),
        progress: Callable[[int, int], None] = lambda done, total: None,
        known: Sequence[KnownLatents] = (),
    ) -> Iterator[Float[np.ndarray, "u y x c"]]:
        """Yields the normalised latents of a video for each request; see `sample_frames`.

        Args:
          known: of each request, in place of what it gives in pixels.
        """
        if not requests:
            raise ValueError("there are no prompts: give at least one")
        *texts, empty = self.text_inputs.encode([*(r.prompt for r in requests), ""])
        model, packing = self.run.experiment.model, self.run.experiment.packing
        canvases = [
            make_canvas(request, self.codec.config, model.patch, text, latents)
            for request, text, latents in zip(
                requests, texts, known or map(self._encode_given, requests), strict=True
            )
        ]
        self._check_trained(canvases)
        rows, capacity = assign_rows(canvases, packing.capacity)
        shards = axis_size(BATCH)
        size = -(-min(packing.rows, len(rows)) // shards) * shards
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            for row, patches in zip(
                chunk, self._sample(chunk, capacity, size, empty, config), strict=False
            ):
                yield from self._unpack(row, patches)
            progress(start + len(chunk), len(rows))

    def encode(self, video: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "u y x c"]:
        """Normalised latents of frames, padded as the transformer's patches need them."""
        multiple = self.run.experiment.model.patch[1]
        return np.asarray(self.codec.encode_clip(video, multiple)[0], np.float32)

    def _encode_given(self, request: Request) -> KnownLatents | None:
        """Latents of what is given; None where nothing is."""
        if request.given is None:
            return None
        video = request.given.video if request.strength < 1 else fill_unknown(request.given)
        return KnownLatents(self.encode(video), self._find_known(request.given))

    def _find_known(self, given: Given) -> Int[np.ndarray, "u y x"]:
        """1 for each latent of a patch of which all pixels are known, else 0."""
        config, side = self.codec.config, self.run.experiment.model.patch[1]
        known = find_known_latents(given.known, config.temporal_stride, config.spatial_stride, side)
        u, y, x = known.shape
        whole = known.reshape(u, y // side, side, x // side, side).min((2, 4))
        return whole.repeat(side, 1).repeat(side, 2)

    def _check_trained(self, canvases: Sequence[Canvas]) -> None:
        """Checks that the model was trained to be given what is given."""
        trained = self.run.experiment.known
        for canvas in canvases:
            known, prompt = canvas.segment.known.reshape(canvas.grid), canvas.request.prompt
            if known.any() and not (trained.total or trained.replaced):
                raise ValueError(
                    f"parts of the video of {prompt!r} are given, and this model was trained to be "
                    "given none: name another checkpoint, or set known.replaced in its config.json "
                    "(dit.known.replaced in that of a released model)"
                )
            if known[1:].any() and trained.total == trained.first and not trained.replaced:
                raise ValueError(
                    f"more than the first frame of the video of {prompt!r} is given, and this "
                    "model was trained to be given that: give one, or name another checkpoint"
                )

    def _sample(
        self,
        rows: list[list[Canvas]],
        capacity: RowCapacity,
        size: int,
        empty: np.ndarray,
        config: SamplingConfig,
    ) -> Float[np.ndarray, "b l p"]:
        """Clean patches of a batch of `size` rows, of which the last ones may be padding."""
        experiment = self.run.experiment
        width = experiment.model.patch_width
        packed = [pack_row([c.segment for c in row], capacity, width) for row in rows]
        batch = scale_channels(stack_rows(packed, size), self.run.channel_scale)
        noise = np.zeros((size, capacity.tokens, width), np.float32)
        keys = np.zeros((size, capacity.tokens, 2), np.uint32)
        rings = np.zeros((size, capacity.tokens, 2), np.float32)
        for number, row in enumerate(rows):
            tokens = slice(sum(len(canvas.noise) for canvas in row))
            noise[number, tokens] = np.concatenate([canvas.noise for canvas in row])
            keys[number, tokens] = np.concatenate([canvas.keys for canvas in row])
            rings[number, tokens] = np.repeat(
                [canvas.ring for canvas in row], [len(canvas.noise) for canvas in row], 0
            )
        specs = batch_specs()
        arrays = shard(
            (batch, replace_captions(batch, empty), noise, keys, rings),
            (specs, specs, *[specs.patches] * 3),
        )
        strengths = np.ones(batch.weights.shape, np.float32)
        for number, row in enumerate(rows):
            strengths[number, : len(row)] = [canvas.request.strength for canvas in row]
        levels = noise_level_tables(
            *(experiment.noise_levels, arrays[0], strengths, config.steps, config.repeats),
            replaced=experiment.known.replaced,
        )
        return fetch(
            sample_rows(
                *(experiment.denoiser, config.sampler, self.run.params),
                *(*arrays, levels, config.make_guidance()),
            )
        )

    def _unpack(
        self, row: list[Canvas], patches: Float[np.ndarray, "l p"]
    ) -> Iterator[Float[np.ndarray, "u y x c"]]:
        """The normalised latents of a row's canvases.

        Raises:
          ValueError: those of one are not finite; in all processes, which have the same patches.
        """
        start, patch = 0, self.run.experiment.model.patch
        for canvas in row:
            tokens = slice(start, start := start + len(canvas.noise))
            if not np.isfinite(patches[tokens]).all():
                raise ValueError(
                    f"the latents of the video of {canvas.request.prompt!r} are not finite: the "
                    "model's weights are damaged, or its training diverged, or guidance is too high"
                )
            latent = unpatchify(patches[tokens], canvas.grid, patch)
            yield np.asarray(latent / self.run.channel_scale)

    def _decode(
        self, request: Request, latent: Float[np.ndarray, "u y x c"]
    ) -> Iterable[UInt8[np.ndarray, "h w 3"]]:
        """The frames of a video's latents, cropped to what was requested."""
        r = request
        if r.loop:
            # Frames of the beginning depend on latents of the end.
            before = np.arange(-max(self.codec.config.decoder_reach, 1), 0) % len(latent)
            latent = np.concatenate([latent[before], latent])
        if r.frames * r.height * r.width > MAX_WHOLE_PIXELS:
            frames = self.decode_stream(latent, r)
        else:
            frames = self._to_frames(self.codec.decode(latent[None])[0], r)
        if r.loop:
            begun = 1 + (len(before) - 1) * self.codec.config.temporal_stride
            return itertools.islice(frames, begun, None)
        frames = itertools.islice(frames, r.frames)
        if r.given is None:
            return frames
        strides = self.codec.config.temporal_stride, self.codec.config.spatial_stride
        coded = spread_latents(self._find_known(r.given), *strides)
        coded = coded[: r.frames, : r.height, : r.width]
        return join_given(np.stack(list(frames)), r.given.video, r.given.known, coded)

    def decode_stream(
        self, latents: Iterable[Float[np.ndarray, "y x c"]], request: Request
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Yields the frames of normalised latents, of which a few are held at a time.

        Args:
          latents: of any duration.
          request: whose height and width the frames are cropped to.

        Raises:
          ValueError: the frames are not finite.
        """
        for part in self.codec.decode_stream(latents):
            yield from self._to_frames(part, request)

    def _to_frames(
        self, pixels: Float[Array | np.ndarray, "t _ _ 3"], request: Request
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """Decoded pixels as frames of the request's size."""
        try:
            return to_frames(pixels[:, : request.height, : request.width])
        except ValueError as error:
            raise ValueError(
                f"the video of {request.prompt!r} is not finite: the model's weights are damaged, "
                "or its training diverged"
            ) from error


def assign_rows(
    canvases: Sequence[Canvas], capacity: RowCapacity
) -> tuple[list[list[Canvas]], RowCapacity]:
    """Canvases in their order, as many to a row as the longest canvas leaves room for.

    Rows are no longer than that, as the time of attention grows with them where no kernel skips
    other segments.

    Args:
      capacity: that of training's rows, which limits captions and segments.

    Returns:
      The rows, and a capacity that holds them.
    """
    tokens = max(len(c.noise) for c in canvases)
    longest_text = max(len(c.segment.text) for c in canvases)
    limits = RowCapacity(tokens, max(capacity.text_tokens, longest_text), capacity.segments)
    rows: list[list[Canvas]] = [[]]
    for canvas in canvases:
        row = [*rows[-1], canvas]
        need = (sum(len(c.noise) for c in row), sum(len(c.segment.text) for c in row), len(row))
        if rows[-1] and any(n > c for n, c in zip(need, limits, strict=True)):
            rows.append([canvas])
        else:
            rows[-1] = row
    text_tokens = max(sum(len(c.segment.text) for c in row) for row in rows)
    tokens, text_tokens = (-(-n // CAPACITY_STEP) * CAPACITY_STEP for n in (tokens, text_tokens))
    return rows, RowCapacity(tokens, text_tokens, capacity.segments)
