"""Clips read, encoded in batches and handed on in order, all three at the same time."""

import concurrent.futures
import itertools
import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from data_pipelines.clip_meta import ClipMeta
from data_pipelines.clips import ClipRecord, Split
from data_pipelines.encode_plan import plan_batches
from sora_jax.codec.batch_encoder import BatchEncoder, Canvas, Encoded, latent_shape
from sora_jax.codec.video_codec import VideoCodec


def latent_shapes(split: Split, codec: VideoCodec, multiple: int) -> Int[np.ndarray, "n 3"]:
    """Frames, height and width of the latents of all clips of a split; reads no video.

    Raises:
      ValueError: a clip is too small.
    """
    sizes, first, place = np.unique(
        split.index.sizes, axis=0, return_index=True, return_inverse=True
    )
    shapes = []
    for size, clip in zip(sizes.tolist(), first, strict=True):
        try:
            shapes.append(latent_shape(codec, tuple(size), multiple))
        except ValueError as error:
            raise ValueError(f"clip {clip} of {split.name} cannot be encoded: {error}") from error
    return np.array(shapes, np.int64).reshape(-1, 3)[place.reshape(-1)]


def _read(split: Split, clip: int) -> ClipRecord:
    """Reads a clip. Raises ValueError, which names it, where it is damaged."""
    try:
        record, size = split[clip], tuple(split.index.sizes[clip].tolist())
        if record.video.shape[:3] != size:
            raise ValueError(f"its video is {record.video.shape[:3]}, its metadata says {size}")
        return record
    except ValueError as error:
        raise ValueError(f"clip {clip} of {split.name} cannot be encoded: {error}") from error


def encode_clips(
    split: Split,
    clips: Sequence[int],
    shapes: Int[np.ndarray, "n 3"],
    canvases: Sequence[Canvas],
    encoder: BatchEncoder,
    multiple: int,
) -> Iterator[tuple[ClipMeta, Float[np.ndarray, "u y x c"]]]:
    """Encodes clips of a split; the next batch is read while the devices encode one.

    Args:
      clips: numbers of the clips.
      shapes: frames, height and width of the latents of these clips.
      multiple: as of `VideoCodec.encode_clip`.

    Yields:
      Metadata and latents of each clip, in the order of `clips`.

    Raises:
      ValueError: a record is damaged.
    """
    config = encoder.codec.config
    cell = 3 * config.temporal_stride * config.spatial_stride**2
    plan = plan_batches(shapes, canvases, config.latent_channels, cell)
    batches = [batch for group in plan for batch in group]
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def read(number: int) -> list[concurrent.futures.Future]:
        places = batches[number][1] if number < len(batches) else []
        return [pool.submit(_read, split, clips[place]) for place in places]

    def start_all() -> Iterator[tuple[list[int], list[ClipMeta], Encoded]]:
        reading = read(0)
        for number, (canvas, places) in enumerate(batches):
            records = [future.result() for future in reading]
            reading = read(number + 1)
            encoded = encoder.start([record.video for record in records], canvas, multiple)
            yield places, [record.meta for record in records], encoded

    ready: dict[int, tuple[ClipMeta, np.ndarray]] = {}
    written = 0
    try:
        # One batch is fetched after the next one has been started.
        for started, _ in itertools.pairwise(itertools.chain(start_all(), [None])):
            assert started is not None  # None is the last
            places, metas, encoded = started
            ready.update(zip(places, zip(metas, encoded.fetch(), strict=True), strict=True))
            while written in ready:
                yield ready.pop(written)
                written += 1
    finally:
        pool.shutdown(cancel_futures=True)
