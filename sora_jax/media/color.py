"""What the colours of a film mean, and wide and high dynamic range as standard range.

Films say in tags how RGB was made into what they store. Where a tag is missing, the conventions of
players hold: BT.601 below 720 lines and BT.709 from there on, limited range. `set_tags` makes all
of it explicit, so that FFmpeg's `scale` filter need not guess.

High dynamic range becomes standard range by the inverse of BT.2408's direct mapping: light is
relative to its reference white of 203 cd/m^2, which becomes 255; what is brighter keeps its hue and
is scaled until its largest component is 255. Colours go from their primaries to those of BT.709,
and what lies outside them is clipped.
"""

import functools

import numpy as np
from av import VideoFrame
from jaxtyping import UInt8, UInt16

HD_LINES = 720  # films with so many lines and no tag are BT.709
REFERENCE_WHITE = 203.0  # cd/m^2, BT.2408 table 1
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2  # cd/m^2 and system gamma of a reference display, BT.2100
_NOT_SAID = (0, 2, 3)  # matrices: of RGB, unknown, reserved
_LIMITED, _FULL = 1, 2
_PQ, _HLG = 16, 18  # H.273 table 3
_BT2020, _P3_DCI, _P3 = 9, 11, 12  # H.273 table 2
_WHITE_D65 = (0.3127, 0.3290)
_PRIMARIES = {  # chromaticities (x, y) of red, green, blue
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    _BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    _P3_DCI: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    _P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def set_tags(frame: VideoFrame) -> None:
    """Sets the matrix and range of a frame that has none, by the conventions of players."""
    if not frame.format.is_rgb and frame.colorspace in _NOT_SAID:
        if frame.color_primaries == _BT2020:
            frame.colorspace = 9
        else:
            frame.colorspace = 1 if frame.height >= HD_LINES else 5
    if frame.color_range not in (_LIMITED, _FULL):
        full = frame.format.is_rgb or frame.format.name.startswith("yuvj")
        frame.color_range = _FULL if full else _LIMITED


def is_wide(frame: VideoFrame) -> bool:
    """Returns whether a frame has to go through `to_standard`: high range or wide primaries."""
    return is_high_range(frame) or frame.color_primaries in (_BT2020, _P3_DCI, _P3)


def is_high_range(frame: VideoFrame) -> bool:
    """Returns whether the light of a frame is encoded by PQ or HLG."""
    return frame.color_trc in (_PQ, _HLG)


def to_standard(
    pixels: UInt16[np.ndarray, "h w 3"], transfer: int, primaries: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Converts R'G'B' of full range to BT.709 of standard range, as a BT.1886 display shows it.

    Args:
      pixels: 0 to 65535.
      transfer, primaries: numbers of H.273; unknown ones are those of BT.709.
    """
    light = _decode_table(transfer)[pixels]
    if transfer == _HLG:  # BT.2100's opto-optical transfer: F = peak Y^(gamma - 1) E
        luminance = light @ np.array((0.2627, 0.6780, 0.0593), np.float32)
        light *= (luminance ** np.float32(_HLG_GAMMA - 1))[..., None]
        light *= np.float32(_HLG_PEAK / REFERENCE_WHITE)
    if primaries in _PRIMARIES and primaries != 1:
        light = light @ _between_primaries(primaries).T
    light /= np.maximum(light.max(-1, keepdims=True), 1)
    shown = np.clip(light, 0, 1) ** np.float32(1 / 2.4)
    return np.rint(shown * 255).astype(np.uint8)


@functools.cache
def _decode_table(transfer: int) -> np.ndarray:
    """Light of each of 65536 levels; relative to reference white, of HLG to the scene's peak."""
    e = np.linspace(0, 1, 65536)
    if transfer == _PQ:  # BT.2100 table 4
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = e ** (1 / m2)
        light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * 10_000 / REFERENCE_WHITE
    elif transfer == _HLG:  # BT.2100 table 5
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
        light = np.where(e <= 0.5, e**2 / 3, (np.exp((e - c) / a) + b) / 12)
    else:
        light = e**2.4  # BT.1886
    return light.astype(np.float32)


@functools.cache
def _between_primaries(primaries: int) -> np.ndarray:
    """Matrix from linear RGB of some primaries to that of BT.709; both have D65 as white."""

    def to_xyz(chromaticities) -> np.ndarray:
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in chromaticities]).T
        (x, y) = _WHITE_D65
        return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])

    matrix = np.linalg.solve(to_xyz(_PRIMARIES[1]), to_xyz(_PRIMARIES[primaries]))
    return matrix.astype(np.float32)
