"""A brush paints one broad stroke on paper, and what is painted stays; drawn with Pillow."""

import math

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines.worlds import base
from data_pipelines.worlds.base import COLORS

NAME = "painter"
NEEDS_GL = False
LICENCE = "Apache-2.0"

PAPERS = {
    "white": (250, 250, 250),
    "cream": (246, 236, 208),
    "grey": (196, 196, 196),
    "black": (28, 28, 30),
}
FIGURES = (
    "circle",
    "line",
    "zigzag",
    "wave",
    "spiral",
    "square",
    "triangle",
    "letter l",
    "letter s",
    "letter u",
    "letter v",
    "letter z",
)
THICKNESS = {"thin": (0.11, 0.13), "thick": (0.16, 0.20)}  # fractions of the short side
SUPERSAMPLING = 3
HANDLE, FERRULE = (120, 78, 40), (170, 170, 175)
POINTS = 200  # along a stroke


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 12 of the 96 pairs of colour and figure out of training, one colour for each figure."""
    return _is_held_out_pair(attributes["color"], attributes["figure"])


def _is_held_out_pair(color: str, figure: str) -> bool:
    return list(COLORS).index(color) == FIGURES.index(figure) * 3 % len(COLORS)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. An image shows the finished painting, without the brush.

    Truth: tip[t, 2] (x, y) of the brush in pixels; painted[t, bytes], the mask of painted pixels
    (at least half covered), packed by np.packbits per frame; thickness in pixels.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request)
    pairs = base.allowed_pairs(COLORS, FIGURES, _is_held_out_pair, request.held_out)
    color, figure = base.pick(rng, pairs)
    paper = base.pick(rng, tuple(PAPERS))
    stroke = base.pick(rng, tuple(THICKNESS))
    thickness = min(h, w) * rng.uniform(*THICKNESS[stroke])
    path = _fit_to_paper(rng, _draw_figure(rng, figure), thickness, h, w)
    if rng.uniform() < 0.5:
        path = path[::-1]

    s = SUPERSAMPLING
    image = Image.new("RGB", (w * s, h * s), PAPERS[paper])
    mask = Image.new("L", (w * s, h * s))
    video, painted, tips = [], [], []
    drawn = 0
    for i in range(t):
        reached = round((POINTS - 1) * (i + 1) / t)
        for surface, ink in ((image, COLORS[color]), (mask, 255)):
            _paint(surface, path[drawn : reached + 1] * s, thickness * s, ink)
        drawn = reached
        tips.append(path[reached])
        painted.append(np.packbits(np.asarray(mask.reduce(s)) >= 128))
        frame = image.copy()
        if t > 1:
            _draw_brush(frame, path[reached] * s, thickness * s, COLORS[color])
        video.append(np.asarray(frame.reduce(s)))

    attributes = {"color": color, "figure": figure, "paper": paper, "stroke": stroke}
    truth = {
        "tip": np.array(tips, np.float32),
        "painted": np.stack(painted),
        "thickness": float(thickness),
    }
    captions = _write_captions(rng, attributes, base.name_view(h, w), still=t == 1)
    return base.Clip(np.stack(video), base.FPS, captions, truth, attributes)


def _draw_figure(rng, figure: str) -> np.ndarray:
    """Draws the points [POINTS, 2] of a figure, roughly in the unit square, y down."""
    u = np.linspace(0, 1, POINTS)
    turn = 2 * math.pi * u
    start = rng.uniform(0, 2 * math.pi)
    corners = {
        "zigzag": [(0, 1), (0.25, 0), (0.5, 1), (0.75, 0), (1, 1)],
        "square": [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)],
        "triangle": [(0.5, 0), (1, 1), (0, 1), (0.5, 0)],
        "letter l": [(0, 0), (0, 1), (0.7, 1)],
        "letter v": [(0, 0), (0.45, 1), (0.9, 0)],
        "letter z": [(0, 0), (0.9, 0), (0, 1), (0.9, 1)],
    }
    if figure == "circle":
        return np.stack([np.cos(turn + start), np.sin(turn + start)], 1)
    if figure == "line":
        slope = rng.uniform(0, math.pi)
        return np.outer(u, [math.cos(slope), math.sin(slope)])
    if figure == "wave":
        return np.stack([u, 0.28 * np.sin(2 * turn)], 1)
    if figure == "spiral":
        return np.stack([np.cos(1.5 * turn + start), np.sin(1.5 * turn + start)], 1) * u[:, None]
    if figure == "letter s":
        bend = (
            math.pi * (0.1 + 1.4 * np.minimum(2 * u, 1)),
            math.pi * 1.4 * np.maximum(2 * u - 1, 0),
        )
        upper = np.stack([np.cos(bend[0]), -np.sin(bend[0])], 1)
        lower = np.stack([np.sin(bend[1]), 2 - np.cos(bend[1])], 1)
        return np.where(u[:, None] < 0.5, upper, lower)
    if figure == "letter u":
        arc = np.stack([-0.4 * np.cos(math.pi * u), 0.6 + 0.4 * np.sin(math.pi * u)], 1)
        return _resample(np.concatenate([[(-0.4, 0)], arc, [(0.4, 0)]]))
    return _resample(np.array(corners[figure], float))


def _resample(points: np.ndarray) -> np.ndarray:
    """Spreads `POINTS` points evenly along a polyline [n, 2]."""
    length = np.r_[0, np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
    wanted = np.linspace(0, length[-1], POINTS)
    return np.stack([np.interp(wanted, length, points[:, i]) for i in (0, 1)], 1)


def _fit_to_paper(rng, points, thickness, h, w) -> np.ndarray:
    """Scales a figure to 80-100 % of the paper within its margins and moves it within them."""
    low, high = points.min(0), points.max(0)
    extent = np.maximum(high - low, 1e-6)
    room = np.array([w, h]) - 2.2 * thickness
    scale = (room / extent).min() * rng.uniform(0.8, 1.0)
    spare = (room - extent * scale) * rng.uniform(size=2)
    return _resample((points - low) * scale + spare + 1.1 * thickness)


def _paint(surface, path, thickness, ink) -> None:
    """Draws the stroke along points[n, 2]; round dabs make its joints and ends round."""
    pen = ImageDraw.Draw(surface)
    pen.line([tuple(p) for p in path], fill=ink, width=round(thickness))
    for x, y in path:
        r = thickness / 2
        pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)


def _draw_brush(surface, tip, thickness, color) -> None:
    """Draws a brush that stands on its tip and leans to the upper right."""
    pen = ImageDraw.Draw(surface)
    along, across = np.array([0.45, -0.893]), np.array([0.893, 0.45])

    def band(start, stop, first, last, ink):
        corners = [(start, -first), (start, first), (stop, last), (stop, -last)]
        pen.polygon([tuple(tip + thickness * (a * along + b * across)) for a, b in corners], ink)

    band(0.0, 1.1, 0.12, 0.42, tuple(int(0.75 * c) for c in color))
    band(1.0, 1.7, 0.42, 0.36, FERRULE)
    band(1.7, 6.0, 0.30, 0.22, HANDLE)


def _write_captions(rng, attributes, view, still) -> dict[str, str]:
    color, figure, paper, stroke = (attributes[k] for k in ("color", "figure", "paper", "stroke"))
    thing = base.add_article(f"{color} {figure}")
    if still:
        short = base.pick(
            rng,
            (
                f"a photo-like still: {thing} painted on {paper} paper",
                f"an image of {thing} painted on {paper} paper",
                f"a painting of {thing} on {paper} paper",
            ),
        )
        detailed = (
            f"a photo-like still, {view}: {thing} painted with one {stroke} stroke "
            f"on {paper} paper, without a brush."
        )
    else:
        verb = base.pick(rng, ("paints", "draws"))
        tool = base.pick(rng, ("a brush", "a paint brush"))
        short = f"{tool} {verb} {thing} on {paper} paper"
        detailed = (
            f"a video, {view}, still camera: a brush with a brown handle paints {thing} "
            f"in one {stroke} stroke on {paper} paper, and the paint stays."
        )
    return {"short": short, "detailed": detailed}
