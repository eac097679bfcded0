"""The numbers of a report, from clips and a trained model; no files, no flags."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from sora_jax.evals import reconstruction


def mean_by_group(
    pairs: Iterator[tuple[str, float]] | Sequence[tuple[str, float]],
) -> dict[str, float]:
    """Mean of the values of each name, in the order of the names."""
    groups = defaultdict(list)
    for name, value in pairs:
        groups[name].append(value)
    return {name: float(np.mean(values)) for name, values in sorted(groups.items())}


def reconstruction_scores(
    records: Sequence[Any], codec, progress: Callable[[int, int], None]
) -> tuple[dict[str, dict[str, float]], list]:
    """PSNR per world, mean over clips: of the autoencoder, and of its principal axes alone.

    Args:
      progress: called with (clips done, clips in all).

    Returns:
      The scores by name and world, and the reconstructions.
    """
    kinds = {"vae_psnr_db": reconstruction.reconstruct}
    if "axes" in codec.statistics:
        kinds["linear_psnr_db"] = reconstruction.linear_reconstruct
    videos: dict[str, list] = {name: [] for name in kinds}
    for i, record in enumerate(records, 1):
        for name, make in kinds.items():
            videos[name].append(make(record.video, codec))
        progress(i, len(records))
    worlds = [r.meta.source for r in records]
    psnr = reconstruction.psnr_db
    scores = {
        name: mean_by_group(
            [(w, psnr(v, r.video)) for w, v, r in zip(worlds, decoded, records, strict=True)]
        )
        for name, decoded in videos.items()
    }
    return scores, videos["vae_psnr_db"]
