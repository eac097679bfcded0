"""Videos longer than a model makes at once, whose parts go on from each other; loops.

A part goes on from the latents of the one before it, which the sampler keeps as they are, and all
are decoded as one film, by a decoder that never begins anew: no join is decoded and encoded again.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.generation.canvas import MAX_SEED, Given, KnownLatents, Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.joins import FADE, join_given
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.generation.tasks import connect

CONTEXT = 9
"""Frames that a part sees of those before it, at most."""
PART = 24
"""Frames that are made at once."""


def lengthen(
    generator: Generator,
    request: Request,
    clip: UInt8[np.ndarray, "_ h w 3"],
    config: SamplingConfig = SamplingConfig(),
    backward: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> UInt8[np.ndarray, "_ h w 3"]:
    """A clip with frames added behind it, or before it; see `add_frames`."""
    add = prepend_frames if backward else add_frames
    added = np.stack(list(add(generator, request, clip, config, progress)))
    return np.concatenate([added, clip] if backward else [clip, added])


def add_frames(
    generator: Generator,
    request: Request,
    clip: UInt8[np.ndarray, "_ h w 3"],
    config: SamplingConfig = SamplingConfig(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields frames that follow a clip; a part and its context are in memory.

    Args:
      request: what is wanted; its `frames` are those to add. Part i, from 0, has its seed + i.
      clip: of the request's height and width.
      progress: called with (frames added, frames to add).

    Raises:
      ValueError: as `Generator.sample`.
    """
    stride = generator.codec.config.temporal_stride
    seen = 1 + (min(CONTEXT, len(clip)) - 1) // stride * stride

    def make_latents() -> Iterator[Float[np.ndarray, "y x c"]]:
        known = _encode(generator, clip[-seen:])
        yield from known
        for part in itertools.count():
            made = _make_part(generator, request, part, known, PART // stride, config)
            yield from made
            known = np.concatenate([known, made])[-(1 + (CONTEXT - 1) // stride) :]

    frames = generator.decode_stream(make_latents(), request)
    near = list(itertools.islice(frames, seen + min(FADE, request.frames)))
    near = _join(near, clip[-seen:], 0)[seen:]
    added = itertools.islice(itertools.chain(near, frames), request.frames)
    for number, frame in enumerate(added, 1):
        yield frame
        progress(number, request.frames)


def prepend_frames(
    generator: Generator,
    request: Request,
    clip: UInt8[np.ndarray, "_ h w 3"],
    config: SamplingConfig = SamplingConfig(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields frames that lead to a clip, once the latents of all of them are made.

    The part next to the clip is made first. The first latent of a film spans one frame, and where a
    part is put before it, that frame is made anew, as one of four. See `add_frames`.
    """
    stride = generator.codec.config.temporal_stride
    seen = clip[: min(CONTEXT, len(clip)) // stride * stride]
    if not len(seen):  # too short for a latent: its first frame stands still
        seen = np.repeat(clip[:1], stride, 0)
    film = known = _encode(generator, np.concatenate([clip[:1], seen]))[1:]
    for part in itertools.count():
        made = _make_part(generator, request, part, known, 1 + PART // stride, config, True)
        film = np.concatenate([made, film[1:] if part else film])
        known = film[1:][: CONTEXT // stride]
        frames = 1 + (len(film) - len(seen) // stride - 1) * stride
        progress(min(frames, request.frames), request.frames)
        if frames >= request.frames:
            break
    decoded = generator.decode_stream(film, request)
    for _ in itertools.islice(decoded, frames - request.frames):
        pass
    yield from itertools.islice(decoded, max(request.frames - FADE, 0))
    near = list(decoded)
    new = min(request.frames, FADE)
    yield from _join(near, seen, new)[:new]


def _join(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], clip: UInt8[np.ndarray, "_ h w 3"], start: int
) -> UInt8[np.ndarray, "t h w 3"]:
    """Decoded frames with those of a clip in them, from frame `start` on."""
    video, known = np.stack(frames), np.zeros(np.shape(frames)[:3], bool)
    known[start : start + len(clip)] = True
    given = np.zeros_like(video)
    given[start : start + len(clip)] = clip
    return join_given(video, Given(given, known))


def _encode(
    generator: Generator, frames: UInt8[np.ndarray, "t h w 3"]
) -> Float[np.ndarray, "u y x c"]:
    """Normalised latents of frames."""
    multiple = generator.run.experiment.model.patch[1]
    return np.asarray(generator.codec.encode_clip(frames, multiple)[0])


def _make_part(
    generator: Generator,
    request: Request,
    part: int,
    known: Float[np.ndarray, "k y x c"],
    count: int,
    config: SamplingConfig,
    backward: bool = False,
) -> Float[np.ndarray, "n y x c"]:
    """Normalised latents, `count` of them, that follow the known ones or lead to them."""
    new = np.zeros((count, *known.shape[1:]), np.float32)
    latents = np.concatenate([new, known] if backward else [known, new])
    mask = np.zeros(latents.shape[:3], np.int8)
    mask[slice(count, None) if backward else slice(len(known))] = 1
    stride = generator.codec.config.temporal_stride
    asked = dataclasses.replace(
        request,
        frames=1 + (len(latents) - 1) * stride,
        seed=(request.seed + part) % MAX_SEED,
    )
    (made,) = generator.sample_latents([asked], config, given=[KnownLatents(latents, mask)])
    return made[:count] if backward else made[len(known) :]


def close_loop(
    generator: Generator,
    request: Request,
    clip: UInt8[np.ndarray, "_ h w 3"],
    config: SamplingConfig = SamplingConfig(),
) -> UInt8[np.ndarray, "_ h w 3"]:
    """A clip and frames that lead from its end to its beginning: played again and again, a loop.

    The model sees both joins from both sides: it is given the clip's last frames as the beginning
    and its first ones as the end. `tasks.loop` makes a loop from text.

    Args:
      request: what is wanted; its `frames` are those to add, and are rounded up to whole latents.
      clip: of the request's height and width.

    Raises:
      ValueError: the clip is too short; else as `Generator.sample`.
    """
    stride = generator.codec.config.temporal_stride
    whole = min(max(CONTEXT - 1, stride), len(clip) - 1) // stride * stride
    if not whole:
        raise ValueError(f"a clip of {len(clip)} frames is too short: give {stride + 1} or more")
    # Whole latents: the first is of one frame.
    before, after = clip[-(whole + 1) :], clip[:whole]
    added = -(-request.frames // stride) * stride
    asked = dataclasses.replace(request, frames=len(before) + added + len(after))
    (video,) = generator.sample([connect(asked, before, after)], config)
    return np.concatenate([clip, video[len(before) : len(before) + added]])
