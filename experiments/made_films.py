"""Small films whose right pixels and times are known, in all the forms that cameras make.

Planes are computed here from the standards' equations, not by FFmpeg, whose reading they test.
"""

import dataclasses
import fractions
import pathlib
import struct
from collections.abc import Mapping, Sequence

import av
import cv2
import numpy as np
from av.video.frame import PictureType

_LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # Kr, Kb
_TO_2020 = np.array(  # BT.2087
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)
WHITE = 203.0  # cd/m^2, BT.2408


@dataclasses.dataclass(frozen=True)
class Form:
    """How a film is stored.

    Attributes:
      codec, pix_fmt, options: of FFmpeg's encoder.
      matrix, full: H.273 number of the matrix, and whether levels use the full range.
      transfer, primaries: H.273 numbers: 1 is BT.709, 16 PQ, 18 HLG, 9 BT.2020.
      tagged: whether the file says so.
      aspect: width of a pixel over its height.
      turns: quarter turns, clockwise, that show it upright; of mp4 and mov.
      woven: whether two frames make one, as the fields of interlaced video.
    """

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    matrix: int = 1
    full: bool = False
    transfer: int = 1
    primaries: int = 1
    tagged: bool = True
    aspect: fractions.Fraction = fractions.Fraction(1)
    turns: int = 0
    woven: bool = False


def scene(
    frames: int,
    height: int = 96,
    width: int = 160,
    speed: float = 2,
    levels: tuple[int, int] = (20, 236),
) -> np.ndarray:
    """A shot, uint8[t, h, w, 3]: flat patches of colour that move to the left."""
    rng = np.random.default_rng(0)
    colors = rng.integers(*levels, (height // 16, 8 * width // 16, 3), np.uint8)
    wide = colors.repeat(16, 0).repeat(16, 1)
    starts = (np.arange(frames) * speed).round().astype(int) % (wide.shape[1] - width)
    return np.stack([wide[:, start : start + width] for start in starts])


def to_high_range(rgb: np.ndarray, transfer: int) -> np.ndarray:
    """Encodes SDR levels 0 to 1 as PQ (16) or HLG (18) in BT.2020, white at 203 cd/m^2."""
    light = (rgb**2.4) @ _TO_2020.T
    if transfer == 16:
        y = (light * WHITE / 10_000) ** (2610 / 16384)
        c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
        return ((c1 + c2 * y) / (1 + c3 * y)) ** (2523 / 32)
    shown = light * WHITE / 1000
    luminance = np.maximum(shown @ (0.2627, 0.6780, 0.0593), 1e-9)[..., None]
    e = shown * luminance ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(e <= 1 / 12, np.sqrt(3 * e), a * np.log(np.maximum(12 * e - b, 1e-9)) + c)


def to_planes(rgb: np.ndarray, form: Form) -> list[np.ndarray]:
    """Computes Y, Cb and Cr of levels float[h, w, 3] from 0 to 1, as stored."""
    depth = 10 if "10" in form.pix_fmt else 8
    kr, kb = _LUMA[form.matrix]
    r, g, b = np.moveaxis(rgb, -1, 0)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    unit = 2 ** (depth - 8)
    if form.full:
        y, offset, scale = y * (256 * unit - 1), 128 * unit, 256 * unit - 1
    else:
        y, offset, scale = (16 + 219 * y) * unit, 128 * unit, 224 * unit
    across = 1 if "444" in form.pix_fmt else 2
    down = 2 if "420" in form.pix_fmt else 1
    h, w = y.shape
    halved = [
        c.reshape(h // down, down, w // across, across).mean((1, 3)) * scale + offset
        for c in (cb, cr)
    ]
    kind = np.uint16 if depth > 8 else np.uint8
    return [np.rint(plane).clip(0, 256 * unit - 1).astype(kind) for plane in (y, *halved)]


def stored(rgb: np.ndarray, form: Form) -> np.ndarray:
    """Computes what a display shows of uint8[..., h, w, 3] once it is rounded to planes."""
    if "yuv" not in form.pix_fmt:
        return rgb
    whole = dataclasses.replace(form, pix_fmt="yuv444p10le" if "10" in form.pix_fmt else "yuv444p")
    high = form.transfer in (16, 18)
    levels = to_high_range(rgb / 255, form.transfer) if high else rgb / 255
    flat = levels.reshape(1, -1, 3)
    unit = 4 if "10" in form.pix_fmt else 1
    y, cb, cr = (plane.astype(float) for plane in to_planes(flat, whole))
    if form.full:
        peak = 256 * unit - 1
        y, cb, cr = y / peak, (cb - 128 * unit) / peak, (cr - 128 * unit) / peak
    else:
        y = (y / unit - 16) / 219
        cb, cr = (cb / unit - 128) / 224, (cr / unit - 128) / 224
    kr, kb = _LUMA[form.matrix]
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    shown = np.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], -1).clip(0, 1)
    if high:
        shown = _to_standard(shown, form.transfer)
    return np.rint(shown * 255).clip(0, 255).astype(np.uint8).reshape(rgb.shape)


def _to_standard(coded: np.ndarray, transfer: int) -> np.ndarray:
    """The inverse of `to_high_range`."""
    if transfer == 16:
        root = coded ** (32 / 2523)
        c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
        light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (16384 / 2610) * 10_000 / WHITE
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        e = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
        light = e * (e @ (0.2627, 0.6780, 0.0593))[..., None] ** 0.2 * 1000 / WHITE
    return (light @ np.linalg.inv(_TO_2020).T).clip(0, 1) ** (1 / 2.4)


def to_frame(rgb: np.ndarray, form: Form) -> av.VideoFrame:
    """Makes a frame of FFmpeg of uint8[h, w, 3] or, with alpha, [h, w, 4]."""
    if "yuv" not in form.pix_fmt:
        given = "rgba" if rgb.shape[-1] == 4 else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=given)
        return frame.reformat(format=form.pix_fmt)
    levels = rgb[..., :3] / 255
    levels = to_high_range(levels, form.transfer) if form.transfer in (16, 18) else levels
    planes = to_planes(levels, form)
    if form.pix_fmt.startswith("yuva"):
        peak = 2 ** (10 if "10" in form.pix_fmt else 8) - 1
        planes.append(np.rint(rgb[..., 3] / 255 * peak).astype(planes[0].dtype))
    frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], form.pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        row = np.zeros((values.shape[0], plane.line_size), np.uint8)
        row[:, : values.shape[1] * values.itemsize] = values.view(np.uint8)
        plane.update(row.tobytes())
    return frame


def write(
    path: pathlib.Path,
    video: np.ndarray,
    fps: float = 24,
    times: Sequence[float] | None = None,
    form: Form = Form(),
) -> pathlib.Path:
    """Writes frames uint8[t, h, w, 3] (4 with alpha), in the container that the suffix names.

    Args:
      times: seconds of the frames, where they are not those of `fps`.
    """
    if form.woven:
        fields = video[0::2].copy()
        fields[:, 1::2] = video[1::2, 1::2]
        video = fields
    video = np.rot90(video, form.turns, (1, 2))
    times = np.arange(len(video)) / fps if times is None else times
    with av.open(str(path), "w") as container:
        rate = fractions.Fraction(fps).limit_denominator(1001)
        stream = container.add_stream(form.codec, rate=rate, options=dict(form.options))
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = form.pix_fmt
        context = stream.codec_context
        context.thread_count = 1
        context.sample_aspect_ratio = form.aspect
        if form.tagged:
            context.colorspace = form.matrix
            context.color_range = 2 if form.full else 1
            context.color_trc, context.color_primaries = form.transfer, form.primaries
        base = fractions.Fraction(1, 90_000) if form.codec != "mpeg4" else 1 / rate
        context.time_base = base
        for rgb, seconds in zip(video, times, strict=True):
            frame = to_frame(rgb, form)
            frame.pts, frame.time_base = round(seconds / base), base
            frame.pict_type = PictureType.NONE
            if form.tagged:
                frame.colorspace, frame.color_range = form.matrix, 2 if form.full else 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if form.turns:
        _turn(path, form.turns)
    return path


def _turn(path: pathlib.Path, turns: int) -> None:
    """Writes a display matrix of so many quarter turns, clockwise, into an mp4 or mov."""
    a, b = {1: (0, 1), 2: (-1, 0), 3: (0, -1)}[turns]
    set_matrix(path, a, b, -b, a)


def set_matrix(path: pathlib.Path, a: int, b: int, c: int, d: int) -> None:
    """Has an mp4 or mov show the point (x, y) at (a x + c y, b x + d y)."""
    one, last = 1 << 16, 1 << 30
    data = bytearray(path.read_bytes())
    unity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, last)
    place = data.index(unity, data.index(b"tkhd"))
    matrix = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, last)
    data[place : place + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


def damage(path: pathlib.Path, seed: int = 0, share: float = 0.5, length: int = 300) -> None:
    """Changes bytes in the middle of a file."""
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(seed).integers(1, 256, length, np.uint8)
    for place, byte in enumerate(noise, int(len(data) * share)):
        data[place] ^= int(byte)
    path.write_bytes(data)


def small(video: np.ndarray, height: int, width: int) -> np.ndarray:
    """The film at another size."""
    shape = width, height
    return np.stack([cv2.resize(frame, shape, interpolation=cv2.INTER_AREA) for frame in video])


def combs(frame: np.ndarray) -> float:
    """The mean difference of a line from the mean of its neighbours, in levels."""
    lines = frame.astype(np.float32)
    return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())


def flat_error(found: np.ndarray, wanted: np.ndarray, share: float = 1.0) -> float:
    """The difference of two frames in the middles of patches, where chroma is not mixed.

    Args:
      share: of the pixels, from 0 to 1, that differ by no more.
    """
    size = np.ones((11, 11), np.uint8)
    flat = (cv2.dilate(wanted, size) == cv2.erode(wanted, size)).all(-1)
    difference = cv2.blur(found.astype(np.float32) - wanted, (5, 5))  # noise of codecs is no error
    return float(np.quantile(np.abs(difference[flat]), share))
