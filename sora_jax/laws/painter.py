"""What the painter obeys: a brush that paints figures, stroke after stroke, and ink that stays.

Units: the short side of a frame is 1 unit long; time is in seconds; y points down. A run paints
figures one after another, each in its own colour and its own part of the paper. The brush moves at
a constant speed while it paints, drawn uniformly from the range of a pace, and paints the disc of
half its stroke's width about its tip. Between strokes it is lifted and moves at `TRAVEL_SPEED`; it
comes from, and goes to, the right of the frame.
"""

import math

import numpy as np

SPEEDS = {"slowly": (0.35, 0.5), "quickly": (0.8, 1.1), "very quickly": (1.5, 2.0)}  # units/s
TRAINED_PACES = ("slowly", "quickly")
TRAVEL_SPEED = 1.5  # units/s
LIFT = 0.06  # units by which the lifted brush rises halfway between two strokes

COUNTS, OUTSIDE_COUNT = {1: 0.35, 2: 0.35, 3: 0.3}, 4  # figures of a run: share of the runs
SIZES = {1: (0.5, 0.68), 2: (0.36, 0.42), 3: (0.34, 0.4), 4: (0.34, 0.4)}  # by count: longer side
WIDTHS = (0.13, 0.17)  # of a stroke, in sizes of its figure, uniform
TILT = 8.0  # degrees, at most; lines, circles and spirals are turned by any angle
STRETCH = (0.88, 1.12)  # width over height of a figure, times that of `FIGURES`

# The brush, from its tip along `AXIS`: (start, stop, half width at both, colour), in units.
AXIS = (0.45, -0.893)
BRISTLES, FERRULE, HANDLE = (205, 170, 125), (150, 155, 165), (120, 78, 40)
BRUSH = (
    (0.0, 0.13, 0.012, 0.045, BRISTLES),
    (0.13, 0.19, 0.045, 0.038, FERRULE),
    (0.19, 0.6, 0.034, 0.022, HANDLE),
)


def _arc(x: float, y: float, radius: float, start: int, stop: int) -> list[tuple[float, float]]:
    """Returns points of an arc between two angles in degrees; 0 is right, 90 is down."""
    turn = np.radians(np.linspace(start, stop, max(2, round(abs(stop - start) / 9))))
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in turn]


def _spiral() -> list[tuple[float, float]]:
    u = np.linspace(0.08, 1, 56)
    return [
        (0.5 * r * math.cos(3.1 * math.pi * r), 0.5 * r * math.sin(3.1 * math.pi * r)) for r in u
    ]


def _wave() -> list[tuple[float, float]]:
    return [(x - 0.5, -0.24 * math.sin(2 * math.pi * x)) for x in np.linspace(0, 1, 33)]


# Lines [n, 2] of a figure about its middle, in the order in which they are painted.
FIGURES: dict[str, tuple[np.ndarray, ...]] = {
    name: tuple(np.array(line, float) for line in lines)
    for name, lines in {
        "line": [[(-0.5, 0), (0.5, 0)]],
        "circle": [_arc(0.0, 0.0, 0.5, 0, 360)],
        "square": [[(-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45), (-0.45, -0.45)]],
        "triangle": [[(0, -0.45), (0.5, 0.45), (-0.5, 0.45), (0, -0.45)]],
        "zigzag": [[(-0.5, 0.3), (-0.25, -0.3), (0, 0.3), (0.25, -0.3), (0.5, 0.3)]],
        "wave": [_wave()],
        "spiral": [_spiral()],
        "letter c": [_arc(0.0, 0.0, 0.5, -50, -310)],
        "letter l": [[(-0.3, -0.5), (-0.3, 0.5), (0.3, 0.5)]],
        "letter n": [[(-0.35, 0.5), *_arc(0.0, -0.15, 0.35, 180, 360), (0.35, 0.5)]],
        "letter s": [[*_arc(0.0, -0.25, 0.25, -30, -270), *_arc(0.0, 0.25, 0.25, -90, 150)]],
        "letter t": [[(0, -0.5), (0, 0.5)], [(-0.35, -0.2), (0.35, -0.2)]],
        "letter u": [[(-0.35, -0.5), *_arc(0.0, 0.15, 0.35, 180, 0), (0.35, -0.5)]],
        "letter v": [[(-0.4, -0.5), (0, 0.5), (0.4, -0.5)]],
        "letter x": [[(-0.4, -0.5), (0.4, 0.5)], [(0.4, -0.5), (-0.4, 0.5)]],
        "letter z": [[(-0.4, -0.5), (0.4, -0.5), (-0.4, 0.5), (0.4, 0.5)]],
    }.items()
}
TURNING = ("line", "circle", "spiral")  # turned by any angle
