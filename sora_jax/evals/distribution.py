"""How near a set of videos is to a set of real ones, as distributions and one by one.

    frechet  = |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2))       m means, C covariances
    FED      = frechet of EfficientNet-Lite0 features of single frames, and of frame differences
    nearest  = min over training clips of the RMS difference of thumbnails, in 8-bit levels
    variety  = mean distance of the features of two videos of a set

Frechet distances of few samples are biased upwards, by much. Therefore every distance is taken
between halves of clips, one half of the videos against the other half of the real clips and the
other way round, and the same distance between both halves of the real clips is its floor. The mean
and the range are those of `HALVINGS` random halvings. With C_x = A A' and C_y = B B',
tr (C_x C_y)^(1/2) is the sum of the singular values of A' B (arXiv:1706.08500 defines the distance;
here the features and the number of samples are others).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from sora_jax.evals.worlds.base import Figure
from sora_jax.models import efficientnet_lite0

AnyVideo = UInt8[np.ndarray, "_ _ _ 3"]
SIDE_PIXELS = 128  # of the squares that frames are resized to for their features
FRAMES = 8  # of a clip, spread over its duration, or all of a shorter one
BATCH = 16  # images
HALVINGS = 8
THUMBNAIL = (4, 16, 16)  # frames, height, width
Extract = Callable[[AnyVideo], tuple[Float[np.ndarray, "_ c"], Float[np.ndarray, "_ c"]]]
"""Features of frames of a clip, and of the differences of neighbouring frames."""


def frechet_distance(x: Float[np.ndarray, "n c"], y: Float[np.ndarray, "m c"]) -> float:
    """The Frechet distance of two sets of at least two vectors, as if they were Gaussian."""
    parts = []
    for samples in (x, y):
        mean = samples.mean(0)
        parts.append((mean, (samples - mean) / np.sqrt(len(samples) - 1)))
    (mean_x, a), (mean_y, b) = parts
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    distance = np.sum((mean_x - mean_y) ** 2) + np.sum(a**2) + np.sum(b**2) - 2 * cross
    return float(max(distance, 0.0))


def make_extractor(weights: efficientnet_lite0.Weights) -> Extract:
    """A function that computes the features of a clip."""
    features = jax.jit(efficientnet_lite0.pooled_features)

    def of_images(images: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            padded = np.zeros((BATCH, *images.shape[1:]), np.float32)
            padded[: len(part)] = part
            found.append(np.asarray(features(weights, jnp.asarray(padded)))[: len(part)])
        return np.concatenate(found)

    def extract(video):
        number = np.linspace(0, len(video) - 1, min(FRAMES, len(video))).round().astype(int)
        later = number[:-1] + 1
        size = (SIDE_PIXELS, SIDE_PIXELS)
        squares = {
            i: np.asarray(Image.fromarray(video[i]).resize(size), np.float32)
            for i in {*number, *later}
        }
        frames = of_images(np.stack([squares[i] for i in number]))
        if len(video) < 2:
            return frames, np.zeros((0, frames.shape[1]), np.float32)
        # Differences reach from -255 to 255; their pictures have grey for no change.
        pairs = [(squares[i + 1] - squares[i]) / 2 + 127 for i in number[:-1]]
        return frames, of_images(np.stack(pairs))

    return extract


def halved_distances(
    real: Sequence[Float[np.ndarray, "_ c"]], videos: Sequence[Float[np.ndarray, "_ c"]]
) -> tuple[Figure, Figure] | None:
    """The distance of videos from real clips, and its floor, the distance among real clips.

    Args:
      real: features of the frames of each real clip.
      videos: features of the video of each one's prompt.

    Returns:
      Means of both distances over `HALVINGS` random halvings, with the lowest and the highest; None
      where a half has fewer than two features.
    """
    rng, distances, floors = np.random.default_rng(0), [], []
    for _ in range(HALVINGS):
        order = rng.permutation(len(real))
        first, second = order[::2], order[1::2]
        parts = [_join(column, half) for column in (real, videos) for half in (first, second)]
        if min(map(len, parts)) < 2:
            return None
        real_1, real_2, video_1, video_2 = parts
        across = frechet_distance(video_1, real_2), frechet_distance(video_2, real_1)
        distances.append(sum(across) / 2)
        floors.append(frechet_distance(real_1, real_2))
    return _range(distances, len(real)), _range(floors, len(real))


def _join(features: Sequence[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    none = np.zeros((0, features[0].shape[1]), np.float32)
    return np.concatenate([none, *(features[i] for i in numbers)])


def _range(values: Sequence[float], clips: int) -> Figure:
    return Figure(float(np.mean(values)), min(values), max(values), clips)


def thumbnail(video: AnyVideo) -> Float[np.ndarray, "n"]:
    """A clip as a few small frames, in one vector; the first frame repeated is an image's."""
    frames, height, width = THUMBNAIL
    number = np.linspace(0, len(video) - 1, frames).round().astype(int)
    size, mean = (width, height), Image.Resampling.BOX
    images = [np.asarray(Image.fromarray(video[i]).resize(size, mean)) for i in number]
    return np.stack(images).astype(np.float32).ravel()


def nearest_distances(
    videos: Sequence[AnyVideo], train: Sequence[Float[np.ndarray, "n"]]
) -> list[float]:
    """RMS distance, in 8-bit levels, of each video's thumbnail to the nearest one of `train`."""
    known = np.stack(list(train))
    return [float(np.sqrt(((known - thumbnail(v)) ** 2).mean(1).min())) for v in videos]


def variety(features: Sequence[Float[np.ndarray, "c"]]) -> float:
    """Mean Euclidean distance of two of the vectors, one of each video; needs two at least."""
    x = np.stack(list(features))
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return float(distance[np.triu_indices(len(x), 1)].mean())
