"""What H.264 makes of a clip at a given number of bits: the codec an autoencoder stands beside.

x264, preset medium, yuv420p, one constant rate factor (crf) for the clip. Bits are those of coded
slices: no container, no parameter sets, no text that the encoder leaves in the stream.

The macroblock tree is on, as by default: it raises PSNR. Its code reads memory that nobody has
written (see `media`), so bits of small clips may differ a little from call to call.
"""

import fractions
import re
from typing import Any, NamedTuple

import av
import numpy as np
from jaxtyping import UInt8

Video = UInt8[np.ndarray, "t h w 3"]
BEST, WORST = 0.0, 51.0  # crf; 0 is lossless but for the halved chroma
STEP = 0.1
START = re.compile(b"\0\0\0?\1")
SLICES = range(1, 6)  # types of NAL units, ITU-T H.264 table 7-1


class Coded(NamedTuple):
    """A clip after encoding and decoding, and the bits between the two."""

    video: Video
    bits: float


def encode_to_bits(video: Video, fps: float, bits: float) -> Coded:
    """The clip in at most `bits` bits, at the least crf (in steps of `STEP`) that fits.

    Where none fits, the clip at the largest crf: the bits really used are those returned.
    """
    low, high = round(BEST / STEP), round(WORST / STEP)
    kept = None
    while low < high:
        middle = (low + high) // 2
        packets = _encode(video, fps, middle * STEP)
        if _bits(packets) > bits:
            low = middle + 1
        else:
            high = middle
            kept = packets if kept is None or _bits(packets) > _bits(kept) else kept
    return _decode(video, kept or _encode(video, fps, WORST))


def encode(video: Video, fps: float, crf: float) -> Coded:
    """The clip at one crf; odd sides are padded on the way."""
    return _decode(video, _encode(video, fps, crf))


def _decode(video: Video, packets: list[Any]) -> Coded:
    decoder: Any = av.CodecContext.create("h264", "r")
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return Coded(pixels[:, : video.shape[1], : video.shape[2]], _bits(packets))


def _encode(video: Video, fps: float, crf: float) -> list[Any]:
    even = np.pad(video, [(0, 0), *((0, n % 2) for n in video.shape[1:3]), (0, 0)], mode="edge")
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = even.shape[1:3]
    encoder.pix_fmt, encoder.thread_count = "yuv420p", 1
    encoder.framerate = fractions.Fraction(fps).limit_denominator(1001)
    encoder.time_base = 1 / encoder.framerate
    encoder.options = {"preset": "medium", "crf": f"{crf:.4g}"}
    packets = []
    for i, image in enumerate(even):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = i
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def _bits(packets: list[Any]) -> float:
    units = [unit for packet in packets for unit in START.split(bytes(packet)) if unit]
    return 8.0 * sum(len(unit) for unit in units if unit[0] & 31 in SLICES)
