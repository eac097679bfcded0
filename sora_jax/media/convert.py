"""Turns decoded frames into upright RGB of one size, by one graph of FFmpeg's filters."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.error import BlockingIOError as NotYet
from av.error import EOFError as NoMore
from av.filter import Graph
from PIL import Image

from sora_jax.media import color
from sora_jax.media.interlace import Scan

Area = tuple[int, int, int, int]  # top, left, height and width in pixels
# area alone is a level too dark and coarse in colour
_SCALE = "area+accurate_rnd+full_chroma_int+full_chroma_inp"
_UPRIGHT = {0: [], 1: ["cclock"], 2: ["clock", "clock"], 3: ["clock"]}
_DEINTERLACE = {
    Scan.UNKNOWN: [("bwdif", "mode=send_frame:deint=interlaced")],  # frames that are flagged
    Scan.PROGRESSIVE: [],
    Scan.INTERLACED: [("bwdif", "mode=send_frame:deint=all")],
    Scan.TELECINED: [("fieldmatch", "combmatch=full"), ("decimate", "cycle=5")],
}


def quarter_turns(frame: av.VideoFrame) -> int:
    """Quarter turns, counterclockwise, that bring a frame upright."""
    return round(frame.rotation / 90) % 4


def to_rgb(
    frames: Iterable[av.VideoFrame], crop: Area, size: tuple[int, int], scan: Scan
) -> Iterator[tuple[np.ndarray, float]]:
    """Yields uint8[h, w, 3] and the time in seconds; on white where a film is transparent.

    Args:
      frames: of one format, with tags and times.
      crop: part that is shown, in pixels of the upright frame as stored.
      size: height and width of what is yielded.
      scan: how the film was recorded; of a telecined one fewer frames are yielded.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    finish = _finisher(first, size)
    graph = _make_graph(first, crop, None if _is_transparent(first) else size, scan)
    for frame in itertools.chain([first], frames, [None]):
        graph.vpush(frame)
        with contextlib.suppress(NotYet, NoMore):
            while True:
                made = graph.vpull()
                yield finish(made.to_ndarray()), made.time


def _is_transparent(frame: av.VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def _finisher(first: av.VideoFrame, size: tuple[int, int]):
    """Returns the function that makes RGB of 8 bits, of the given size, of what the graph gives."""
    transparent, wide = _is_transparent(first), color.is_wide(first)
    transfer, primaries = first.color_trc, first.color_primaries

    def finish(pixels: np.ndarray) -> np.ndarray:
        pixels = _on_white(pixels) if transparent else pixels
        pixels = color.to_standard(pixels, transfer, primaries) if wide else pixels
        return shrink(pixels, size)

    return finish


def shrink(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales uint8[h, w, 3] to a size by the means of areas; as it is where it has that size."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    how = Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), how))


def _on_white(pixels: np.ndarray) -> np.ndarray:
    """Puts uint8[h, w, 4] or uint16[h, w, 4] with alpha on white; returns [h, w, 3]."""
    peak = np.iinfo(pixels.dtype).max
    values, alpha = pixels[..., :3].astype(np.uint64), pixels[..., 3:].astype(np.uint64)
    return ((values * alpha + peak * (peak - alpha) + peak // 2) // peak).astype(pixels.dtype)


def _make_graph(
    first: av.VideoFrame, crop: Area, size: tuple[int, int] | None, scan: Scan
) -> Graph:
    """Makes the filters: progressive, upright, cropped, scaled where a size is given, RGB."""
    graph, (top, left, height, width) = Graph(), crop
    graph.threads = 1
    frame_rate = {"frame_rate": "30000/1001"} if scan is Scan.TELECINED else {}
    source = graph.add(
        "buffer",
        width=str(first.width),
        height=str(first.height),
        pix_fmt=first.format.name,
        time_base=str(first.time_base or Fraction(1, 1000)),
        colorspace=str(int(first.colorspace)),
        range=str(int(first.color_range)),
        **frame_rate,
    )
    wide, transparent = color.is_wide(first), _is_transparent(first)
    # packed 48-bit RGB would be wrong: FFmpeg's accurate rounding breaks it
    to = ("gbrap16le" if wide else "rgba") if transparent else "gbrp16le" if wide else "rgb24"
    turned = [("transpose", way) for way in _UPRIGHT[quarter_turns(first)]]
    cut = [("crop", f"{width}:{height}:{left}:{top}:exact=1")]
    scaled = [("scale", f"{size[1]}:{size[0]}:flags={_SCALE}" if size else f"flags={_SCALE}")]
    chain = [
        source,
        *(graph.add(*f) for f in (*_DEINTERLACE[scan], *turned, *cut, *scaled)),
        graph.add("format", to),
        graph.add("buffersink"),
    ]
    for one, two in itertools.pairwise(chain):
        one.link_to(two)
    graph.configure()
    return graph
