"""H.264 at a given number of bits: the baseline that an autoencoder is compared with.

x264, preset medium, yuv420p, one constant rate factor (crf) for the clip; pixels are converted as
by `media`, without bias. Only the bits of coded slices count: no container, no parameter sets, no
text that the encoder leaves in the stream.

The macroblock tree is on, as by default: it raises PSNR. Its code reads uninitialised memory (see
`media`), so bits of small clips may differ slightly from call to call.
"""

import fractions
import re
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.frame import PictureType

from sora_jax.media import color, write
from sora_jax.media.canvas import Video
from sora_jax.media.convert import to_rgb
from sora_jax.media.interlace import Scan

MIN_CRF, MAX_CRF = 0.0, 51.0  # best and worst quality; 0 is lossless but for the halved chroma
CRF_STEP = 0.1
START_CODE = re.compile(b"\0\0\0?\1")
SLICE_TYPES = range(1, 6)  # types of NAL units, ITU-T H.264 table 7-1


class Coded(NamedTuple):
    """A clip after encoding and decoding, and the number of bits it was encoded to."""

    video: Video
    bits: float


def encode_to_bits(video: Video, fps: float, bits: float) -> Coded:
    """Encodes a clip to at most `bits` bits, at the minimum crf (in steps of `CRF_STEP`) that fits.

    If none fits, the clip is encoded at `MAX_CRF`, and the result has more bits than asked for.
    """
    low, high = round(MIN_CRF / CRF_STEP), round(MAX_CRF / CRF_STEP)
    fitting = None
    while low < high:
        middle = (low + high) // 2
        packets = _encode(video, fps, middle * CRF_STEP)
        if _bits(packets) > bits:
            low = middle + 1
        else:
            high = middle
            if fitting is None or _bits(packets) > _bits(fitting):
                fitting = packets
    return _decode(video, fitting or _encode(video, fps, MAX_CRF))


def encode(video: Video, fps: float, crf: float) -> Coded:
    """Encodes a clip at a given crf; odd sides are padded for encoding and cropped back."""
    return _decode(video, _encode(video, fps, crf))


def _decode(video: Video, packets: list[Any]) -> Coded:
    decoder: Any = av.CodecContext.create("h264", "r")
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    for number, frame in enumerate(frames):
        color.set_tags(frame)
        frame.pts, frame.time_base = number, fractions.Fraction(1)
    size = frames[0].height, frames[0].width
    read = to_rgb(frames, (0, 0, *size), size, Scan.PROGRESSIVE)
    pixels = np.stack([rgb for rgb, _ in read])
    return Coded(pixels[:, : video.shape[1], : video.shape[2]], _bits(packets))


def _encode(video: Video, fps: float, crf: float) -> list[Any]:
    even = np.pad(video, [(0, 0), *((0, n % 2) for n in video.shape[1:3]), (0, 0)], mode="edge")
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = even.shape[1:3]
    encoder.pix_fmt, encoder.thread_count = "yuv420p", 1
    rate = fractions.Fraction(fps).limit_denominator(1001)
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.options = {"preset": "medium", "crf": f"{crf:.4g}"}
    write.tag(encoder)
    graph = write.make_planes_graph(even.shape[1], even.shape[2], rate)
    packets = []
    for i, image in enumerate(even):
        graph.vpush(write.to_frame(image, i, rate))
        frame = graph.vpull()
        frame.pict_type = PictureType.NONE
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def _bits(packets: list[Any]) -> float:
    units = [unit for packet in packets for unit in START_CODE.split(bytes(packet)) if unit]
    return 8.0 * sum(len(unit) for unit in units if unit[0] & 31 in SLICE_TYPES)
