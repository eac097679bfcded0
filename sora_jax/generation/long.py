"""Videos longer than a model makes at once: each part goes on from the last frames before it."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.generation.tasks import extend

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
    """A clip with frames added behind it, or before it.

    Args:
      request: what is wanted; its `frames` are those to add. Part i, from 0, has its seed + i.
      clip: of the request's height and width.
      backward: whether frames are added before the clip.
      progress: called with (frames added, frames to add).

    Raises:
      ValueError: as `Generator.sample`.
    """
    stride = generator.codec.config.temporal_stride
    # A model sees whole latents: the first is of one frame.
    context = CONTEXT // stride * stride if backward else CONTEXT
    parts, end, added = [clip], clip, 0
    while added < request.frames:
        known = end[:context] if backward else end[-context:]
        new = 1 + -(-(len(known) + PART - 1) // stride) * stride - len(known)
        asked = dataclasses.replace(
            request, frames=len(known) + new, seed=request.seed + len(parts) - 1
        )
        (video,) = generator.sample([extend(asked, known, backward)], config)
        left = request.frames - added
        made = video[:new][-left:] if backward else video[len(known) :][:left]
        end = np.concatenate([made, known] if backward else [known, made])
        parts.append(made)
        added += len(made)
        progress(added, request.frames)
    return np.concatenate(parts[::-1] if backward else parts)
