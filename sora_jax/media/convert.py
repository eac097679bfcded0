"""Turns decoded frames into upright RGB of one size, by one graph of FFmpeg's filters."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.error import BlockingIOError as NotYet
from av.error import EOFError as NoMore
from av.error import FFmpegError
from av.filter import Graph
from PIL import Image

from sora_jax.media import color
from sora_jax.media.interlace import Scan
from sora_jax.media.limits import Rejected
from sora_jax.media.orientation import find_orientation

Area = tuple[int, int, int, int]  # top, left, height and width in pixels
# area alone is a level too dark and coarse in colour
_SCALE = "area+accurate_rnd+full_chroma_int+full_chroma_inp"
_DEINTERLACE = {
    Scan.UNKNOWN: [("bwdif", "mode=send_frame:deint=interlaced")],  # frames that are flagged
    Scan.PROGRESSIVE: [],
    Scan.INTERLACED: [("bwdif", "mode=send_frame:deint=all")],
    Scan.TELECINED: [("fieldmatch", "combmatch=full"), ("decimate", "cycle=5")],
}


def to_rgb(
    frames: Iterable[av.VideoFrame],
    crop: Area,
    size: tuple[int, int],
    scan: Scan,
    fps: float = 25.0,
    has_alpha: bool = True,
) -> Iterator[tuple[np.ndarray, float]]:
    """Yields uint8[h, w, 3] and the time in seconds; on white where a film is transparent.

    Args:
      frames: of one format, with tags and times.
      crop: part that is shown, in pixels of the upright frame as stored.
      size: height and width of what is yielded.
      scan: how the film was recorded; of a telecined one fewer frames are yielded.
      fps: frames per second, of a telecined film.
      has_alpha: whether alpha counts, where there is any.

    Raises:
      Rejected: FFmpeg cannot convert such frames.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    transparent = has_alpha and is_transparent(first)
    finish = _finisher(first, size, transparent)
    with _convertible(first):
        graph = _make_graph(first, crop, None if transparent else size, scan, fps, transparent)
    for frame in itertools.chain([first], frames, [None]):
        with _convertible(first):
            graph.vpush(frame)
        while (made := _pull(graph, first)) is not None:
            yield finish(made.to_ndarray()), made.time


def _pull(graph: Graph, first: av.VideoFrame) -> av.VideoFrame | None:
    """Returns the next frame of a graph, None where there is none yet, or no more."""
    with _convertible(first):
        try:
            return graph.vpull()
        except (NotYet, NoMore):
            return None


@contextlib.contextmanager
def _convertible(first: av.VideoFrame) -> Iterator[None]:
    """Says of frames that FFmpeg's filters do not take what they are."""
    try:
        yield
    except MemoryError:
        raise
    except (FFmpegError, NotImplementedError) as error:
        what = f"{first.width}x{first.height} {first.format.name}, matrix {int(first.colorspace)}"
        raise Rejected("cannot be converted", f"{what}: {error}") from error


def is_transparent(frame: av.VideoFrame) -> bool:
    """Returns whether the format of a frame has alpha."""
    return any(component.is_alpha for component in frame.format.components)


def _finisher(first: av.VideoFrame, size: tuple[int, int], transparent: bool):
    """Returns the function that makes RGB of 8 bits, of the given size, of what the graph gives."""
    wide = color.is_wide(first)
    transfer, primaries = first.color_trc, first.color_primaries

    def finish(pixels: np.ndarray) -> np.ndarray:
        pixels = on_white(pixels) if transparent else pixels
        pixels = color.to_standard(pixels, transfer, primaries) if wide else pixels
        return shrink(pixels, size)

    return finish


def shrink(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales uint8[h, w, 3] to a size by the means of areas; as it is where it has that size."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    how = Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), how))


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Puts uint8[h, w, 4] or uint16[h, w, 4] with alpha on white; returns [h, w, 3]."""
    peak = np.iinfo(pixels.dtype).max
    values, alpha = pixels[..., :3].astype(np.uint64), pixels[..., 3:].astype(np.uint64)
    return ((values * alpha + peak * (peak - alpha) + peak // 2) // peak).astype(pixels.dtype)


def link_filters(source: Mapping[str, Any], filters: Iterable[tuple[str, str]]) -> Graph:
    """Makes a graph of FFmpeg's filters, one after the other, on one thread.

    Args:
      source: arguments of the filter `buffer`, which the graph begins with.
      filters: (name, arguments) of each.
    """
    graph = Graph()
    graph.threads = 1
    chain = [graph.add("buffer", **{name: str(value) for name, value in source.items()})]
    chain += [graph.add(name, arguments) for name, arguments in filters]
    chain.append(graph.add("buffersink"))
    for one, two in itertools.pairwise(chain):
        one.link_to(two)
    graph.configure()
    return graph


def _make_graph(
    first: av.VideoFrame,
    crop: Area,
    size: tuple[int, int] | None,
    scan: Scan,
    fps: float,
    transparent: bool,
) -> Graph:
    """Makes the filters: progressive, upright, cropped, scaled where a size is given, RGB."""
    top, left, height, width = crop
    source = {
        "width": first.width,
        "height": first.height,
        "pix_fmt": first.format.name,
        "time_base": first.time_base or Fraction(1, 1000),
        "colorspace": int(first.colorspace),
        "range": int(first.color_range),
    }
    if scan is Scan.TELECINED:
        source["frame_rate"] = Fraction(fps).limit_denominator(1001)
    wide = color.is_wide(first)
    # packed 48-bit RGB would be wrong: FFmpeg's accurate rounding breaks it
    to = ("gbrap16le" if wide else "rgba") if transparent else "gbrp16le" if wide else "rgb24"
    turned = find_orientation(first).filters
    cut = [("crop", f"{width}:{height}:{left}:{top}:exact=1")]
    scaled = [("scale", f"{size[1]}:{size[0]}:flags={_SCALE}" if size else f"flags={_SCALE}")]
    return link_filters(source, [*_DEINTERLACE[scan], *turned, *cut, *scaled, ("format", to)])
