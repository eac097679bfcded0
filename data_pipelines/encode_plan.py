"""The shapes in which clips are encoded: a few canvases for any number of sizes, and batches.

Each canvas takes two compilations. The canvases are a function of all clips, of the number of
devices and of two settings, so that workers alike, and a call that goes on, take the same; latents
are the same on any canvas, to rounding.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from sora_jax.codec.batch_encoder import Canvas

PIXELS = 2**22
"""Maximum number of pixels, over all frames, that one device encodes at once."""
MAX_FRAMES = 16
"""Maximum number of frames of a block, as far as the temporal stride allows."""
MAX_SIZES = 256
"""Sizes that are told apart; of more, sides are rounded up."""
MAX_VIDEO_BYTES = 2**31
"""Maximum number of bytes of the decoded videos of a batch, as far as it is not a single one."""
MAX_PENDING = 2**29
"""Maximum number of latents, times channels, that wait until it is their turn to be written."""


def choose_canvases(
    shapes: Int[np.ndarray, "n 3"],
    strides: tuple[int, int],
    devices: int,
    most: int,
    shard_clips: int,
    pixels: int = PIXELS,
) -> list[Canvas]:
    """Chooses canvases that hold all clips, with little beside them.

    The sizes are merged, always the two whose common box adds least to the work, until `most` are
    left. Work is the area of canvases times the frames on them.

    Args:
      shapes: frames, height and width of each clip's latents.
      strides: of the codec: in time, and in space.
      devices: number of devices that share a batch.
      most: maximum number of canvases.
      shard_clips: number of clips that are encoded in a row, at most.
      pixels: maximum number of pixels, over all frames, that one device encodes at once; the least
        part of a clip may have more.
    """
    sizes, frames = shapes[:, 1:].astype(np.int64), shapes[:, 0].astype(np.float64)
    step = 1
    while len(found := np.unique(sizes, axis=0)) > MAX_SIZES:
        step += 1
        sizes = -(-shapes[:, 1:].astype(np.int64) // step) * step
    place = np.unique(sizes, axis=0, return_inverse=True)[1].reshape(-1)
    work = np.bincount(place, frames)
    while len(found) > most:
        boxes = np.maximum(found[:, None], found)
        own = found.prod(1) * work
        added = boxes.prod(2) * (work[:, None] + work) - own[:, None] - own
        np.fill_diagonal(added, np.inf)
        i, j = sorted(np.unravel_index(added.argmin(), added.shape))
        found[i], work[i] = boxes[i, j], work[i] + work[j]
        found, work = np.delete(found, j, 0), np.delete(work, j)
    boxes = [Canvas(height, width, 0, 0) for height, width in found.tolist()]
    on = assign(shapes, boxes)
    share = min(1.0, shard_clips / len(shapes))
    canvases = []
    for number, box in enumerate(boxes):
        durations = shapes[on == number, 0]
        if len(durations):
            canvases.append(_with_batch(box, durations, strides, devices, share, pixels))
    return canvases


def _with_batch(
    box: Canvas,
    durations: np.ndarray,
    strides: tuple[int, int],
    devices: int,
    share: float,
    pixels: int,
) -> Canvas:
    """Adds the frames and clips of a batch, as many as the memory and the clips give reason to.

    A block of frames costs about one latent frame more than it has.
    """
    k, s = strides
    picture = box.height * box.width * s * s
    most = max(1, min(MAX_FRAMES, pixels // picture) // k)
    costs = {n: (-(-(durations - 1) // n) * (n + 1)).sum() for n in range(1, most + 1)}
    frames = min(costs, key=lambda n: (costs[n], -n))
    wanted = -(-len(durations) * share // devices)  # clips of a shard on each device
    block = k * frames if durations.max() > 1 else 1
    clips = int(max(1, min(pixels // (block * picture), wanted)))
    return box._replace(frames=k * frames, clips=clips * devices)


def assign(shapes: Int[np.ndarray, "n 3"], canvases: Sequence[Canvas]) -> Int[np.ndarray, "n"]:
    """Finds the smallest canvas that holds each clip.

    Raises:
      ValueError: none holds one of them.
    """
    found = np.full(len(shapes), -1)
    for number in sorted(
        range(len(canvases)), key=lambda n: -canvases[n].height * canvases[n].width
    ):
        canvas = canvases[number]
        found[(shapes[:, 1] <= canvas.height) & (shapes[:, 2] <= canvas.width)] = number
    if (found < 0).any():
        raise ValueError(f"no canvas holds latents of {shapes[found < 0][0]}")
    return found


def plan_batches(
    shapes: Int[np.ndarray, "n 3"], canvases: Sequence[Canvas], channels: int, cell: int
) -> Iterator[list[tuple[Canvas, list[int]]]]:
    """Plans the encoding of clips, in groups that follow each other in the order of the clips.

    The latents of a group wait together until the first of them is known, so that they may be
    written in order.

    Args:
      shapes: frames, height and width of the latents of the clips.
      channels: those of latents.
      cell: bytes of the pixels behind a latent.

    Yields:
      Batches: a canvas, and the places of clips in `shapes`; alike durations share a batch.
    """
    on = assign(shapes, canvases)
    ends = np.cumsum(shapes.astype(np.int64).prod(1) * channels) // MAX_PENDING
    for end in np.unique(ends):
        group = np.flatnonzero(ends == end)
        group = group[np.lexsort((group, shapes[group, 0], on[group]))]
        batches = []
        for number in np.unique(on[group]):
            canvas, batch, total = canvases[number], list[int](), 0
            for clip in group[on[group] == number].tolist():
                size = int(shapes[clip].prod()) * cell
                if batch and (len(batch) == canvas.clips or total + size > MAX_VIDEO_BYTES):
                    batches.append((canvas, batch))
                    batch, total = [], 0
                batch.append(clip)
                total += size
            batches.append((canvas, batch))
        yield batches
