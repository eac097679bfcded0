"""Reads and writes video, and pads any size to a canvas.

Two encodings, both H.264 in mp4:

- `encode_video` for records: RGB, lossless by default, any size from 16x16.
- `video_bytes`, `write_video` and `write_stream` for viewers: yuv420p with the index first, which
  plays in any browser.

Frames are uint8[t, h, w, 3] in RGB; `to_float` and `to_uint8` convert to and from [-1, 1].
"""

import contextlib
import dataclasses
import fractions
import io
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

import av
import numpy as np
from av.error import FFmpegError
from etils import epath
from jaxtyping import Array, Float, Float32, Shaped, UInt8
from PIL import Image

Video = UInt8[np.ndarray, "t h w 3"]
MIN_SIDE_PIXELS = 16  # H.264 works in blocks of 16x16, which is also the minimum canvas
RECORD_CRF = 0  # lossless; for clips with flat colours that also takes the fewest bytes
VIEWER_CRF = 16


def encode_video(frames: Video, fps: float | int, crf: int | None = None) -> bytes:
    """Encodes frames for records: RGB H.264 in mp4, deterministic to the byte.

    Args:
      frames: at least one frame, each side at least 16 pixels; sizes may be odd.
      fps: frames per second, above 0.
      crf: quality from 0 (lossless) to 51; None is `RECORD_CRF`.

    Raises:
      ValueError: for empty or too small videos, another dtype, or fps <= 0.
    """
    _check_video(frames, fps)
    options = {"crf": str(RECORD_CRF if crf is None else crf), "preset": "medium"}
    buffer = io.BytesIO()
    _mux(buffer, frames, fps, codec="libx264rgb", pix_fmt="rgb24", options=options)
    return buffer.getvalue()


def decode_video(data: bytes) -> tuple[Video, float]:
    """Decodes the first video stream of a container into RGB frames and frames per second.

    Raises:
      ValueError: if the bytes hold no video that decodes to at least one frame.
    """
    # FFmpeg reports broken data by many types of exceptions; callers need not tell them apart.
    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            rate = stream.average_rate or stream.guessed_rate or stream.base_rate
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames), float(rate or 0)
    except Exception as error:
        raise ValueError(
            f"cannot decode {len(data)} bytes as video ({type(error).__name__}); "
            "the data is damaged or not a video, make or fetch it again"
        ) from error


def video_bytes(frames: Video, fps: float | int, crf: int = VIEWER_CRF) -> bytes:
    """Encodes frames to an mp4 that browsers play: yuv420p, index first, odd sizes padded to even.

    Raises:
      ValueError: as `encode_video`.
    """
    _check_video(frames, fps)
    with tempfile.TemporaryDirectory() as folder:  # moving the index to the front needs a real file
        path = pathlib.Path(folder, "video.mp4")
        _mux_for_viewers(path, frames, fps, crf)
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
        _mux_for_viewers(local, frames, fps, VIEWER_CRF, comment)
        partial = path.with_name(f"{path.name}.partial")
        epath.Path(local).copy(partial, overwrite=True)
        partial.replace(path)


def write_video(path: epath.PathLike, frames: Video, fps: float | int) -> None:
    """Writes `video_bytes` to a path (local or gs://) and makes its folder if needed."""
    path = epath.Path(path)
    data = video_bytes(frames, fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def frame_rate(path: epath.PathLike) -> float:
    """Reads the frames per second of a video file. Raises ValueError as `read_video`."""
    with _open_container(path) as container:
        stream = container.streams.video[0]
        return float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)


def read_comment(path: epath.PathLike) -> str:
    """Reads the text that a video file carries, or "". Raises ValueError as `read_video`."""
    with _open_container(path) as container:
        return container.metadata.get("comment", "")


def read_stream(path: epath.PathLike) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields the frames of a video file one by one. Raises ValueError as `read_video`."""
    with _open_container(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="rgb24")


def _check_is_file(path: epath.PathLike) -> epath.Path:
    path = epath.Path(path)
    if not path.exists() or path.is_dir():
        raise ValueError(f"no video at {path}; check the path")
    return path


@contextlib.contextmanager
def _open_container(path: epath.PathLike):
    """Opens a local or remote container; FFmpeg's errors become a ValueError."""
    path = _check_is_file(path)
    try:
        with path.open("rb") as file, av.open(file, mode="r") as container:
            yield container
    except (FFmpegError, IndexError, OSError) as error:
        raise ValueError(f"{path} does not decode as video ({type(error).__name__})") from error


def image_bytes(frame: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encodes one frame as PNG."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "png", optimize=True)
    return file.getvalue()


def read_video(path: epath.PathLike) -> tuple[Video, float]:
    """Reads a video file of any container that FFmpeg knows into frames and frames per second.

    Raises:
      ValueError: if there is no such file, or it does not decode.
    """
    path = _check_is_file(path)
    try:
        return decode_video(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def to_float(pixels: UInt8[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Maps 0..255 to float32 in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_uint8(pixels: Float[np.ndarray | Array, "..."]) -> UInt8[np.ndarray, "..."]:
    """Maps [-1, 1] to 0..255, rounded; values outside [-1, 1] are clipped."""
    pixels = (np.asarray(pixels, np.float32) + 1) * 127.5
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def canvas_shape(t: int, h: int, w: int, temporal: int, spatial: int) -> tuple[int, int, int]:
    """Minimum canvas (t, h, w) for a video: 1 + temporal * k frames, sides multiples of spatial.

    Raises:
      ValueError: if t < 1, or a side is below 16 pixels.
    """
    if t < 1 or min(h, w) < MIN_SIDE_PIXELS:
        raise ValueError(
            f"a video of {t} frames of {h}x{w} is too small; "
            f"use 1 frame of {MIN_SIDE_PIXELS}x{MIN_SIDE_PIXELS} or more"
        )
    frames = 1 + -(-(t - 1) // temporal) * temporal
    return frames, -(-h // spatial) * spatial, -(-w // spatial) * spatial


@dataclasses.dataclass(frozen=True)
class Fit:
    """Shapes (t, h, w) of a video, in frames and pixels, before and after padding to its canvas."""

    original: tuple[int, int, int]
    padded: tuple[int, int, int]

    def crop(self, frames: Shaped[np.ndarray | Array, "*b T H W c"]) -> np.ndarray | Array:
        """Cuts a canvas [..., t, h, w, c] back to the original size.

        Raises:
          ValueError: if the frames are not of the padded shape.
        """
        if tuple(frames.shape[-4:-1]) != self.padded:
            raise ValueError(
                f"frames of shape {tuple(frames.shape)} are not on the canvas {self.padded}; "
                "crop with the Fit that fit_canvas returned for them"
            )
        t, h, w = self.original
        return frames[..., :t, :h, :w, :]


def fit_canvas(
    frames: Shaped[np.ndarray | Array, "*b t h w c"], temporal: int, spatial: int
) -> tuple[np.ndarray | Array, Fit]:
    """Pads a video (numpy or JAX, leading axes allowed) to its canvas: the one padding rule.

    Bottom and right edges are repeated up to multiples of `spatial` pixels, the last frame up to
    1 + temporal * k frames.

    Raises:
      ValueError: if t < 1, or a side is below 16 pixels.
    """
    t, h, w = original = frames.shape[-4], frames.shape[-3], frames.shape[-2]
    padded = canvas_shape(t, h, w, temporal, spatial)
    for axis, size, target in zip((-4, -3, -2), original, padded, strict=True):
        if target > size:
            index = (..., np.minimum(np.arange(target), size - 1)) + (slice(None),) * (-1 - axis)
            frames = frames[index]
    return frames, Fit(original, padded)


def cover(frames: Video, height: int, width: int) -> UInt8[np.ndarray, "t {height} {width} 3"]:
    """Frames scaled, as little as covers this size, and cut at both sides to it."""
    _, h, w, _ = frames.shape
    scale = max(height / h, width / w)
    if scale != 1:
        size = max(round(w * scale), width), max(round(h * scale), height)
        how = Image.Resampling.LANCZOS
        frames = np.stack([np.asarray(Image.fromarray(f).resize(size, how)) for f in frames])
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


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


def _mux_for_viewers(
    path: pathlib.Path, frames: Iterable[np.ndarray], fps, crf: int, comment: str = ""
) -> None:
    """Encodes frames as `video_bytes` describes."""
    even = (np.pad(f, [(0, n % 2) for n in f.shape[:2]] + [(0, 0)], mode="edge") for f in frames)
    options = {"crf": str(crf), "preset": "medium"}
    _mux(str(path), even, fps, comment, codec="libx264", pix_fmt="yuv420p", options=options)


def _mux(target, frames: Iterable[np.ndarray], fps, comment="", *, codec, pix_fmt, options) -> None:
    """Encodes frames one by one; the same frames always give the same bytes.

    This requires a single thread, and no macroblock tree: x264's SIMD code for it reads
    uninitialised memory (small videos then differ under each value of MALLOC_PERTURB_).
    """
    options = {**options, "x264-params": "mbtree=0"}
    flags = {"movflags": "+faststart"} if isinstance(target, str) else {}
    with av.open(target, mode="w", format="mp4", options=flags) as container:
        if comment:
            container.metadata["comment"] = comment
        rate = fractions.Fraction(fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.codec_context.thread_count = 1
        size = None
        for i, image in enumerate(frames):
            if size is None:
                size = stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pix_fmt
            if image.shape[:2] != size:
                raise ValueError(f"frame {i} is {image.shape[:2]}, the first {size}: use one size")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        if size is None:
            raise ValueError("a video of no frames cannot be written")
        container.mux(stream.encode())
