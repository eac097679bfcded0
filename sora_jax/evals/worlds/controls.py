"""Videos that must fail: what a real clip becomes when something that a score measures is broken.

Given first frames stay as they are; only what follows them is changed.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sora_jax.laws.palette import COLORS

CONTROLS = ("frozen", "shuffled", "reversed", "mismatched", "grey_disc", "cropped")


def freeze(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Repeats the last given frame, or the first one if none is given."""
    still = max(given, 1)
    return np.concatenate(
        [video[:still], np.repeat(video[still - 1 : still], len(video) - still, 0)]
    )


def shuffle(video: np.ndarray, given: int = 0, seed: int = 0) -> np.ndarray:
    """Puts the frames that were not given in a random order, never their own."""
    order, rng = np.arange(given, len(video)), np.random.default_rng(seed)
    if len(order) < 2:
        return video
    shuffled = order
    while (shuffled == order).all():
        shuffled = rng.permutation(order)
    return np.concatenate([video[:given], video[shuffled]])


def reverse(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Plays the frames that were not given backwards."""
    return np.concatenate([video[:given], video[given:][::-1]])


def grey_disc(video: np.ndarray, color: str, given: int = 0) -> np.ndarray:
    """Shows a grey picture with a disc of a colour of the palette after the given frames."""
    t, h, w, _ = video.shape
    y, x = np.mgrid[:h, :w] + 0.5
    inside = np.hypot(x - w / 2, y - h / 2) < min(h, w) / 5
    picture = np.where(inside[..., None], np.array(COLORS[color], np.uint8), np.uint8(128))
    return np.concatenate([video[:given], np.repeat(picture[None], t - given, 0)])


def crop(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Enlarges the middle three fifths of each side to the frame, after the given frames.

    Each pixel shows the nearest one of the middle.
    """
    rows, columns = (
        (size / 5 + (np.arange(size) + 0.5) * 3 / 5).astype(int) for size in video.shape[1:3]
    )
    return np.concatenate([video[:given], video[given:, rows[:, None], columns]])


def match_other(attributes: Sequence[Mapping[str, str]], index: int) -> int:
    """Returns the index of the clip whose attributes differ most from those of clip `index`.

    Of equals, the next one after `index` is taken, so that no clip serves all others.
    """
    count = len(attributes)
    others = [(index + step) % count for step in range(1, count)]
    if not others:
        raise ValueError("the mismatched control needs at least two clips of a world")
    own = attributes[index]
    return max(others, key=lambda i: sum(own[k] != attributes[i].get(k) for k in own))
