"""Tasks: requests for videos that pictures and films prompt, beside words.

Each takes a request for words alone, which says how long and large the video will be, and returns
it with what is given. `Generator.sample` fills all of them alike, in any mix.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, UInt8

from sora_jax.generation.canvas import Given, Request

Video = UInt8[np.ndarray, "_ _ _ 3"]


def preview(request: Request, factor: int) -> Request:
    """A quick look at a video, of the same frames and seed at a size that is smaller.

    Its noise is the low frequencies of the larger video's, so that both begin alike.

    Args:
      factor: times that the video's sides are as long.

    Raises:
      ValueError: the sides are no multiples of the factor, or something is given. Sampling raises
        it where the small sides are no whole patches, so that the noises have nothing in common.
    """
    sides = request.height, request.width
    if request.given or factor < 1 or any(side % factor for side in sides):
        raise ValueError(
            f"a preview of 1 / {factor} of {sides[0]}x{sides[1]} pixels: give sides that are "
            "multiples of the factor, and no clip"
        )
    height, width = (side // factor for side in sides)
    return dataclasses.replace(request, height=height, width=width, coarse=request.coarse * factor)


def loop(request: Request) -> Request:
    """A video from text whose last frame leads to its first, as much as any frame to the next.

    Its latents lie on a ring: positions along time turn in each step of sampling, and what is
    decoded at the beginning has seen the end.

    Args:
      request: of frames that are a multiple of the codec's temporal stride, 4, times that of the
        transformer's patches, 1.
    """
    return dataclasses.replace(request, loop=True)


def animate(
    request: Request, image: UInt8[np.ndarray, "h w 3"], at: int = 0, held: int = 4
) -> Request:
    """A video with an image as one of its frames.

    Args:
      image: of the request's height and width.
      at: number of that frame, from 0.
      held: the codec's temporal stride. Latents behind the first span so many frames, and a model
        sees those that are known whole: there the image stands still for all of them.

    Raises:
      ValueError: the video has no such frame.
    """
    if not 0 <= at < request.frames:
        raise ValueError(f"the image is to be frame {at} of {request.frames}: frames begin with 0")
    if at == 0:
        return place(request, [(0, image[None])])
    start = 1 + (at - 1) // held * held
    frames = min(held, request.frames - start)
    return place(request, [(start, np.repeat(image[None], frames, 0))])


def extend(request: Request, clip: Video, backward: bool = False) -> Request:
    """A video that begins with a clip, or ends with it.

    Args:
      clip: of the request's height and width, and fewer frames than the request.
      backward: whether the clip is the end, and what comes before it is wanted.
    """
    return place(request, [(request.frames - len(clip) if backward else 0, clip)])


def connect(request: Request, first: Video, last: Video) -> Request:
    """A video that begins with one clip and ends with another.

    Raises:
      ValueError: the clips leave no frame between them.
    """
    if len(first) + len(last) >= request.frames:
        raise ValueError(
            f"clips of {len(first)} and {len(last)} frames leave none between them in a video of "
            f"{request.frames}: ask for more frames"
        )
    return place(request, [(0, first), (request.frames - len(last), last)])


def mix(request: Request, first: Video, last: Video, strength: float, held: int = 4) -> Request:
    """A video that begins as one clip and becomes another, whose influence grows over time.

    Sampling begins at a cross-fade with noise on it, as `edit`; its ends stay.

    Args:
      first, last: of the request's height and width. Beyond its end a clip stands still.
      strength: see `edit`; 0 is the cross-fade.
      held: the codec's temporal stride: so many last frames are the other clip's.

    Raises:
      ValueError: the request has too few frames for both.
    """
    if request.frames < held + 2:
        raise ValueError(f"{request.frames} frames are too few to mix clips: ask for {held + 2}")
    number = np.arange(request.frames)
    one, two = (
        clip[np.minimum(number, len(clip) - 1)].astype(np.float32) for clip in (first, last)
    )
    share = np.clip(number / (request.frames - held), 0, 1)[:, None, None, None]
    video = np.rint((1 - share) * one + share * two).astype(np.uint8)
    known = np.broadcast_to((share == 0) | (share == 1), (*video.shape[:3], 1))[..., 0]
    return dataclasses.replace(request, given=Given(video, known.copy()), strength=strength)


def edit(request: Request, clip: Video, strength: float) -> Request:
    """A clip made again after the request's prompt (SDEdit, arXiv:2108.01073).

    Args:
      clip: of the request's size.
      strength: 0 returns the clip as the autoencoder reconstructs it, 1 sees nothing of it.
    """
    known = np.zeros(clip.shape[:3], bool)
    return dataclasses.replace(request, given=Given(clip, known), strength=strength)


def inpaint(
    request: Request, clip: Video, wanted: Bool[np.ndarray, "t h w"], strength: float = 1.0
) -> Request:
    """A clip of which some pixels are made anew.

    Args:
      clip: of the request's size.
      wanted: which pixels are made anew; the others stay.
      strength: below 1, those pixels begin at the clip's with noise on them.
    """
    return dataclasses.replace(request, given=Given(clip, ~wanted), strength=strength)


def outpaint(request: Request, clip: Video, top: int, left: int) -> Request:
    """A clip inside of a larger video.

    Args:
      clip: of the request's frames.
      top, left: pixels of the video above and to the left of the clip.
    """
    return place(request, [(0, clip)], top, left)


def place(request: Request, clips: list[tuple[int, Video]], top: int = 0, left: int = 0) -> Request:
    """A video with clips at given frames of it.

    A model sees the latents that clips cover whole: 1 + k n frames at the beginning, and k n frames
    that begin 1 + k m frames in, with k the codec's temporal stride.

    Args:
      clips: the number of the first frame of each, and its frames.
      top, left: place of the clips' upper left corner.

    Raises:
      ValueError: a clip does not lie inside of the video.
    """
    size = request.frames, request.height, request.width
    video, known = np.zeros((*size, 3), np.uint8), np.zeros(size, bool)
    for start, clip in clips:
        t, h, w, _ = clip.shape
        ends = start + t, top + h, left + w
        if min(start, top, left) < 0 or any(a > b for a, b in zip(ends, size, strict=True)):
            raise ValueError(
                f"a clip of {t}x{h}x{w} (frames x height x width) at frame {start}, {top} pixels "
                f"down and {left} to the right does not lie inside of a video of "
                f"{size[0]}x{size[1]}x{size[2]}: cut it, or ask for a larger one"
            )
        where = slice(start, ends[0]), slice(top, ends[1]), slice(left, ends[2])
        video[where], known[where] = clip, True
    return dataclasses.replace(request, given=Given(video, known))
