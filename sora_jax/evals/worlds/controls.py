"""Videos that must fail: what a real clip becomes when something that a score measures is broken.

Given first frames stay as they are; only what follows them is changed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from sora_jax.laws.palette import COLORS

CONTROLS = (
    *("frozen", "stopped", "shuffled", "swapped", "reversed", "stuttered", "mismatched"),
    *("grey_disc", "cropped", "upside_down", "stretched", "tilted", "banded", "boxed"),
)


def freeze(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Repeats the last given frame, or the first one if none is given."""
    still = max(given, 1)
    return np.concatenate(
        [video[:still], np.repeat(video[still - 1 : still], len(video) - still, 0)]
    )


def stop(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Repeats the last frame before half of all that changes after the given ones has changed."""
    first = max(given, 1) - 1
    change = np.abs(np.diff(video[first:].astype(np.int16), axis=0)).sum((1, 2, 3)).cumsum()
    if not len(change) or not change[-1]:
        return video
    last = first + 1 + int((change >= change[-1] / 2).argmax())
    return np.concatenate([video[:last], np.repeat(video[last - 1 : last], len(video) - last, 0)])


def swap(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Exchanges the frames that were not given in pairs: 1 0 3 2 5 4 and so on."""
    order = np.arange(len(video))
    pairs = given + np.arange((len(video) - given) // 2 * 2).reshape(-1, 2)
    order[pairs.ravel()] = pairs[:, ::-1].ravel()
    return video[order]


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


def stutter(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Shows every second of the frames that were not given twice, in place of the one after it."""
    steps = np.arange(len(video))
    return video[np.where((steps > given) & ((steps - given) % 2 == 1), steps - 1, steps)]


def turn_upside_down(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Mirrors the frames that were not given from top to bottom."""
    return np.concatenate([video[:given], video[given:, ::-1]])


def grey_disc(video: np.ndarray, color: str, given: int = 0) -> np.ndarray:
    """Shows a grey picture with a disc of a colour of the palette after the given frames."""
    t, h, w, _ = video.shape
    y, x = np.mgrid[:h, :w] + 0.5
    inside = np.hypot(x - w / 2, y - h / 2) < min(h, w) / 5
    picture = np.where(inside[..., None], np.array(COLORS[color], np.uint8), np.uint8(128))
    return np.concatenate([video[:given], np.repeat(picture[None], t - given, 0)])


def crop(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Enlarges the middle three fifths of each side to the frame, after the given frames."""
    rows, columns = (_enlarge(size, 3 / 5) for size in video.shape[1:3])
    return np.concatenate([video[:given], video[given:, rows[:, None], columns]])


def stretch(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Enlarges the middle three fifths of the height to all of it, after the given frames."""
    return np.concatenate([video[:given], video[given:, _enlarge(video.shape[1], 3 / 5)]])


def tilt(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Turns the frames that were not given by 12 degrees about their middle; edges are repeated."""
    turned = [
        ndimage.rotate(frame.astype(np.float32), 12, reshape=False, order=1, mode="nearest")
        for frame in video[given:]
    ]
    return np.concatenate([video[:given], *np.rint(turned).astype(np.uint8)[:, None]])


def box(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Puts a box, a fifth as wide and high as the picture's short side, on the frames not given.

    It is in the upper right of the picture's middle square, white on what is dark, else black.
    """
    _, h, w, _ = video.shape
    size, top, right = max(min(h, w) // 5, 1), (h - min(h, w)) // 2, (w + min(h, w)) // 2
    margin = max(size // 4, 1)
    where = np.s_[top + margin : top + margin + size, right - margin - size : right - margin]
    boxed = video.copy()
    boxed[given:, *where] = 255 if video[(slice(None), *where)].mean() < 128 else 0
    return boxed


def _enlarge(size: int, share: float) -> np.ndarray:
    """The index of the pixel of the middle share of a side that each pixel shows, the nearest."""
    return (size * (1 - share) / 2 + (np.arange(size) + 0.5) * share).astype(int)


def shift_bands(video: np.ndarray, given: int = 0) -> np.ndarray:
    """Shifts every second band of a sixteenth of the height by a fifth of the width, to the right.

    What leaves the frame on the right comes in on the left; given frames stay.
    """
    _, h, w, _ = video.shape
    odd = np.arange(h) * 16 // h % 2 == 1
    shifted = video[given:].copy()
    shifted[:, odd] = np.roll(shifted[:, odd], w // 5, axis=2)
    return np.concatenate([video[:given], shifted])


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
