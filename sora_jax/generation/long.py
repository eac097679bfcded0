"""Videos longer than a model makes at once, whose parts go on from each other; loops.

A part goes on from the latents of the one before it, which the sampler keeps as they are, and all
are decoded as one film, by a decoder that never begins anew: no join is decoded and encoded again.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.generation.canvas import MAX_SEED, KnownLatents, Request
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
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields the frames of a clip and those added behind it, or before it; see `append_frames`."""
    add = prepend_frames if backward else append_frames
    added = add(generator, request, clip, config, progress)
    return itertools.chain(added, clip) if backward else itertools.chain(clip, added)


def append_frames(
    generator: Generator,
    request: Request,
    clip: UInt8[np.ndarray, "_ h w 3"],
    config: SamplingConfig = SamplingConfig(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields frames that follow a clip; a part and its context are in memory.

    The first latent that a later part sees spans four frames, as it lies in the middle of a film,
    where training's clips begin with a latent of one.

    Args:
      request: what is wanted; its `frames` are those to add. Part i, from 0, has its seed + i.
      clip: of the request's height and width.
      progress: called with (frames added, frames to add).

    Raises:
      ValueError: the request gives pixels or is a loop, or the model cannot go on from more than
        one frame; else as `Generator.sample`.
    """
    _check(request)
    if request.frames > PART and generator.max_given <= 1:
        raise ValueError(
            f"this model was trained to be given one frame, and goes on from that for {PART} "
            f"frames, not {request.frames}: ask for fewer, or name another checkpoint"
        )
    stride = generator.codec.config.temporal_stride
    seen = 1 + (min(CONTEXT, len(clip)) - 1) // stride * stride

    def make_latents() -> Iterator[Float[np.ndarray, "y x c"]]:
        known = generator.encode(clip[-seen:])
        yield from known
        for part in itertools.count():
            made = _make_part(generator, request, part, known, PART // stride, config)
            yield from made
            known = np.concatenate([known, made])[-(1 + (CONTEXT - 1) // stride) :]

    frames = generator.decode_stream(make_latents(), request)
    near = _join(list(itertools.islice(frames, seen + FADE)), clip[-seen:], 0)
    added = itertools.islice(itertools.chain(near[seen:], frames), request.frames)
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
    part is put before it, that frame is made anew, as one of four. See `append_frames`.
    """
    _check(request)
    stride = generator.codec.config.temporal_stride
    count = max(min(CONTEXT, len(clip)) // stride, 1)
    seen = clip[: count * stride]
    still = np.repeat(seen[-1:], count * stride - len(seen), 0)  # of a clip below a latent
    film = known = generator.encode(np.concatenate([clip[:1], seen, still]))[1:]
    for part in itertools.count():
        made = _make_part(generator, request, part, known, 1 + PART // stride, config, True)
        film = np.concatenate([made, film[1:] if part else film])
        known = film[1:][: CONTEXT // stride]
        frames = 1 + (len(film) - count - 1) * stride
        progress(min(frames, request.frames), request.frames)
        if frames >= request.frames:
            break
    decoded = generator.decode_stream(film, request)
    for _ in itertools.islice(decoded, frames - request.frames):
        pass
    yield from itertools.islice(decoded, max(request.frames - FADE, 0))
    near, new = list(decoded), min(request.frames, FADE)
    yield from _join(near, seen, new)[:new]


def _check(request: Request) -> None:
    """Checks that a request is one for frames to add."""
    if request.given or request.loop:
        raise ValueError("frames are added to a clip alone: ask for no loop, and give no pixels")


def _join(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], clip: UInt8[np.ndarray, "k h w 3"], start: int
) -> UInt8[np.ndarray, "t h w 3"]:
    """Decoded frames with a clip of which the film has the latents in them, from `start` on."""
    video = np.stack(frames)
    given, known = video.copy(), np.zeros(video.shape[:3], bool)
    given[start : start + len(clip)] = clip
    known[start : start + len(clip)] = True
    return join_given(video, given, known, known)


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
    frames = 1 + (len(latents) - 1) * generator.codec.config.temporal_stride
    seed = (request.seed + part) % MAX_SEED
    asked = dataclasses.replace(request, frames=frames, seed=seed)
    (made,) = generator.sample_latents([asked], config, known=[KnownLatents(latents, mask)])
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
