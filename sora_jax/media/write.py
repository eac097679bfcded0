"""Writes video and pictures.

Three encodings, all H.264 in mp4, deterministic to the byte:

- `EXACT` for records that must not change: RGB, lossless; any size from 16x16.
- `STORED` for clips of films: 4:2:0 at a stated quality, with a keyframe at least every 17 frames,
  so that a part is read without all that is before it.
- `SHOWN` for viewers: 4:2:0 with the index first, which plays in any browser.

4:2:0 is tagged as what it is: BT.709 in limited range. Its sides are even: an odd side gets one
more row or column, a copy of its last.
"""

import contextlib
import dataclasses
import fractions
import io
import pathlib
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import av
import numpy as np
from av.filter import Graph
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from sora_jax.media.canvas import Video, canvas_shape
from sora_jax.media.convert import link_filters

_TO_PLANES = "flags=bicubic+accurate_rnd+full_chroma_inp:out_color_matrix=bt709:out_range=tv"
_BT709 = 1  # matrix, primaries and transfer in H.273
_LIMITED, _FULL = 1, 2


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How frames become H.264.

    Attributes:
      lossless: RGB without loss; else 4:2:0.
      options: those of x264.
    """

    lossless: bool
    options: Mapping[str, str]

    def at(self, crf: int | None) -> "Encoding":
        """Returns the encoding at another quality, from 0 (best) to 51; None is its own."""
        options = self.options if crf is None else {**self.options, "crf": str(crf)}
        return dataclasses.replace(self, options=options)


EXACT = Encoding(True, {"crf": "0", "preset": "medium"})
STORED = Encoding(False, {"crf": "16", "preset": "veryfast", "g": "17", "keyint_min": "1"})
SHOWN = Encoding(False, {"crf": "16", "preset": "medium"})


class VideoWriter:
    """Writes frames, uint8[h, w, 3] of one size, one by one to an mp4.

    The same frames always give the same bytes. This requires a single thread, and no macroblock
    tree: x264's SIMD code for it reads uninitialised memory (small videos then differ under each
    value of MALLOC_PERTURB_).

    Attributes:
      count: frames that have been written.
    """

    def __init__(
        self, target: str | io.BytesIO, fps: float | int, encoding: Encoding, comment: str = ""
    ):
        if not fps > 0:
            raise ValueError(f"fps must be above 0, got {fps}")
        self._container = av.open(
            target,
            mode="w",
            format="mp4",
            options={"movflags": "+faststart"} if isinstance(target, str) else {},
        )
        if comment:
            self._container.metadata["comment"] = comment
        self._rate, self._encoding = fractions.Fraction(fps).limit_denominator(1001), encoding
        self._size: tuple[int, int] | None = None
        self.count = 0

    def write(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Adds a frame. Raises ValueError where its size is not that of the first."""
        height, width = size = image.shape[:2]
        if self._size is None:
            self._size = size
            self._stream, self._graph = self._begin(height, width)
        if size != self._size:
            raise ValueError(f"frame {self.count} is {size}, the first {self._size}: use one size")
        if not self._encoding.lossless:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = to_frame(image, self.count, self._rate)
        if self._graph:
            self._graph.vpush(frame)
            frame = self._graph.vpull()
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def close(self) -> None:
        """Writes what the encoder still holds."""
        if self._size is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def _begin(self, height: int, width: int):
        """Adds the stream of video; returns it and the filters that frames pass, if any."""
        lossless = self._encoding.lossless
        options = {**self._encoding.options, "x264-params": "mbtree=0"}
        stream = self._container.add_stream(
            "libx264rgb" if lossless else "libx264", rate=self._rate, options=options
        )
        stream.codec_context.thread_count = 1
        if lossless:
            stream.height, stream.width, stream.pix_fmt = height, width, "rgb24"
            return stream, None
        height, width = height + height % 2, width + width % 2
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        tag(stream.codec_context)
        return stream, make_planes_graph(height, width, self._rate)


def tag(context: Any) -> None:
    """Sets the tags of an encoder to what `make_planes_graph` gives."""
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED


def make_planes_graph(
    height: int, width: int, rate: fractions.Fraction, form: str = "yuv420p"
) -> Graph:
    """Makes the filters that turn RGB frames of full range into BT.709 in limited range.

    Args:
      form: FFmpeg's name of the pixel format, by default 4:2:0 of 8 bits.
    """
    source = {
        "width": width,
        "height": height,
        "pix_fmt": "rgb24",
        "time_base": 1 / rate,
        "range": _FULL,
    }
    return link_filters(source, [("scale", _TO_PLANES), ("format", form)])


def to_frame(image: UInt8[np.ndarray, "h w 3"], number: int, rate: fractions.Fraction) -> Any:
    """Makes frame `number` of a video at this rate, RGB of full range."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame.pts, frame.time_base, frame.color_range = number, 1 / rate, _FULL
    return frame


def encode_video(
    frames: Video, fps: float | int, crf: int | None = None, encoding: Encoding = EXACT
) -> bytes:
    """Encodes frames for records.

    Args:
      frames: at least one frame, each side at least 16 pixels.
      fps: frames per second, above 0.
      crf: quality from 0 (best) to 51; None is that of the encoding.

    Raises:
      ValueError: for empty or too small videos, another dtype, or fps <= 0.
    """
    _check_video(frames, fps)
    buffer = io.BytesIO()
    _write_all(VideoWriter(buffer, fps, encoding.at(crf)), frames)
    return buffer.getvalue()


def video_bytes(frames: Video, fps: float | int, crf: int | None = None) -> bytes:
    """Encodes frames to an mp4 that browsers play. Raises ValueError as `encode_video`."""
    _check_video(frames, fps)
    with tempfile.TemporaryDirectory() as folder:  # moving the index to the front needs a real file
        path = pathlib.Path(folder, "video.mp4")
        _write_all(VideoWriter(str(path), fps, SHOWN.at(crf)), frames)
        return path.read_bytes()


def write_stream(
    path: epath.PathLike,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    fps: float | int,
    comment: str = "",
) -> None:
    """Writes the file of `write_video` from an iterator; few frames are in memory at a time.

    The file appears once the last frame is written.

    Args:
      comment: text that the file carries; see `read_comment`.

    Raises:
      ValueError: the path is a folder, fps <= 0, there are no frames, or they differ in size.
    """
    path = epath.Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file")
    if not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        local = pathlib.Path(folder, "video.mp4")
        if not _write_all(VideoWriter(str(local), fps, SHOWN, comment), frames):
            raise ValueError("a video of no frames cannot be written")
        partial = path.with_name(f"{path.name}.partial")
        epath.Path(local).copy(partial, overwrite=True)
        partial.replace(path)


def write_video(path: epath.PathLike, frames: Video, fps: float | int) -> None:
    """Writes `video_bytes` to a path (local or gs://) and makes its folder if needed."""
    path = epath.Path(path)
    data = video_bytes(frames, fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def image_bytes(frame: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encodes one frame as PNG."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "png", optimize=True)
    return file.getvalue()


def _write_all(writer: VideoWriter, frames: Iterable[np.ndarray]) -> int:
    """Writes all frames and closes the writer; returns how many there were."""
    with contextlib.closing(writer):
        for frame in frames:
            writer.write(frame)
    return writer.count


def _check_video(frames: np.ndarray, fps: float | int) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"a video must be uint8[t, h, w, 3], got {frames.dtype}{list(frames.shape)}; "
            "use to_uint8"
        )
    t, h, w, _ = frames.shape
    canvas_shape(t, h, w, 1, 1)  # raises if the video is too small
    if not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps}")
