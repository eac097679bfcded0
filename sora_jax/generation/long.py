"""Videos longer than a model makes at once, whose parts go on from each other; loops."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

from sora_jax.generation.canvas import MAX_SEED, Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.generation.tasks import connect, extend

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
    """A clip with frames added behind it, or before it; see `make_parts`."""
    parts = [clip, *make_parts(generator, request, clip, config, backward, progress)]
    return np.concatenate(parts[::-1] if backward else parts)


def make_parts(
    generator: Generator,
    request: Request,
    clip: UInt8[np.ndarray, "_ h w 3"],
    config: SamplingConfig = SamplingConfig(),
    backward: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[UInt8[np.ndarray, "_ h w 3"]]:
    """Yields the frames to add to a clip, part by part; a part and its context are in memory.

    Args:
      request: what is wanted; its `frames` are those to add. Part i, from 0, has its seed + i.
      clip: of the request's height and width.
      backward: whether frames are added before the clip: the first part is the one next to it.
      progress: called with (frames added, frames to add).

    Raises:
      ValueError: as `Generator.sample`.
    """
    stride = generator.codec.config.temporal_stride
    # A model sees whole latents: the first is of one frame.
    context = CONTEXT // stride * stride if backward else CONTEXT
    end, added, part = clip, 0, 0
    while added < request.frames:
        known = end[:context] if backward else end[-context:]
        new = 1 + -(-(len(known) + PART - 1) // stride) * stride - len(known)
        asked = dataclasses.replace(
            request, frames=len(known) + new, seed=(request.seed + part) % MAX_SEED
        )
        (video,) = generator.sample([extend(asked, known, backward)], config)
        left = request.frames - added
        made = video[:new][-left:] if backward else video[len(known) :][:left]
        end = np.concatenate([made, known] if backward else [known, made])
        yield made
        added, part = added + len(made), part + 1
        progress(added, request.frames)


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
