"""A brush paints coloured figures on paper, one after another, and what is painted stays.

Laws are in `sora_jax.laws.painter`; lengths are in units of the frame's short side until something
is drawn. `painter_strokes` draws the runs.
"""

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds import painter_strokes as strokes
from data_pipelines.worlds.drawing import Picture, blur_video, flicker_video
from data_pipelines.worlds.painter_captions import VERBS, write_captions
from data_pipelines.worlds.painter_ink import Ink, paint
from sora_jax.laws import painter as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

NAME = "painter"
LICENCE = "Apache-2.0"
BROKEN = (
    "ink_erased",  # ink vanishes 0.4 s after it is painted, from `BREAK` on
    "ink_recolored",  # all ink has another colour from `BREAK` on
    "ink_without_brush",  # the brush is 0.35 units beside the ink that it paints
    "brush_teleports",  # brush and ink go on somewhere else from the middle of a stroke on
    "speed_drifts",  # within 1.6 s the brush goes from 0.3 to 3 times its speed
    "blot_appears",  # a blot of another colour appears at `BREAK`
    "blurred",
    "flickering",
)
BREAK = 5  # frame of the window

_SHOWN = 0.05  # units of a stroke that must be painted for it to be told of
_SEEN = 0.003  # square units of it that the brush must not hide in the last frame
_HIDDEN = 0.5  # seconds after which the brush has left a stroke
_MISSED = 0.02  # units that may be missing from a figure that is told to be finished


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 16 of the 128 pairs of colour and figure out of training, a colour for each figure."""
    return _is_held_out_pair(attributes["color"], attributes["figure"])


def _is_held_out_pair(color: str, figure: str) -> bool:
    return list(COLORS).index(color) == list(laws.FIGURES).index(figure) * 3 % len(COLORS)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. Truth, with lengths in units of `laws`:

    tip[t, 2] of the brush, also outside of the frame; down[t], 1 while it paints; painted[t,
    bytes], the mask of painted pixels (at least half covered, also where the brush hides them),
    packed by np.packbits; colors and figures of all strokes of the run, starts[n] and ends[n] when
    they are painted, in frames of the window; speed in units/s, size of the figures, width of the
    strokes.

    Attributes color and figure are those of the stroke in which the window starts; colors,
    figures and states list the strokes that are on the paper in the last frame.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request, BROKEN)
    pairs = base.allowed_pairs(COLORS, laws.FIGURES, _is_held_out_pair, request.held_out)
    counts = laws.COUNTS
    count = int(rng.choice(list(counts), p=list(counts.values())))
    pace = base.pick(rng, laws.TRAINED_PACES)
    if request.outside:
        count, pace = laws.OUTSIDE_COUNT, "very quickly"
    named: list[tuple[str, str]] = []
    while len(named) < count:
        pair = base.pick(rng, pairs)
        if pair[0] not in [color for color, _ in named]:
            named.append(pair)
    paper = base.pick(rng, tuple(BACKGROUNDS))
    run = strokes.draw_run(
        rng, [figure for _, figure in named], laws.SPEEDS[pace], w / min(h, w), h / min(h, w)
    )

    seconds = np.arange(t) / FPS
    ink = paint(run, seconds, h, w)
    states = _tell_states(run, seconds)
    if t > 1:
        states = _drop_hidden(run, seconds[-1], ink, states)
    shown = [i for i, state in enumerate(states) if state]
    color, figure = named[run.first]
    attributes = {
        "color": color,
        "figure": figure,
        "paper": paper,
        "pace": pace,
        "count": str(len(shown)),
        "colors": ", ".join(named[i][0] for i in shown),
        "figures": ", ".join(named[i][1] for i in shown),
        "states": ", ".join(states[i] for i in shown),
    }
    truth = {
        "tip": run.find_tip(seconds).astype(np.float32),
        "down": run.is_down(seconds).astype(np.int32),
        "painted": np.packbits((ink.coverage >= 0.5).reshape(t, -1), axis=1),
        "colors": [color for color, _ in named],
        "figures": [figure for _, figure in named],
        "starts": (run.starts * FPS).astype(np.float32),
        "ends": (run.ends * FPS).astype(np.float32),
        "speed": float(run.speed),
        "size": float(run.size),
        "width": float(run.width),
    }
    palette = np.array([[COLORS[color] for color, _ in named]])
    if request.broken in ("", "blurred", "flickering"):
        video = _render(run.find_tip(seconds), ink, palette, BACKGROUNDS[paper])
    else:
        video = _render_broken(run, palette, paper, seconds, (h, w), request.broken)
    if request.broken == "blurred":
        video = blur_video(video)
    elif request.broken == "flickering":
        video = flicker_video(video)
    inside = ((truth["tip"][0] > 0) & (truth["tip"][0] * min(h, w) < (w, h))).all()
    brush = " under a brush with a brown handle" if t == 1 and inside else ""
    captions = write_captions(rng, attributes, base.name_view(h, w), t == 1, brush)
    return base.Clip(video, FPS, captions, truth, attributes)


def _tell_states(run: strokes.Run, seconds: np.ndarray) -> list[str]:
    """Tells of each stroke what the window shows of it, "" if nothing.

    "there" is finished and "part" is unfinished all the time; "painted" and "begun" start in the
    window, "finished" and "continued" before it; "begun" and "continued" end after it.
    """
    states = []
    for first, last, whole in zip(
        run.measure_painted(seconds[0]),
        run.measure_painted(seconds[-1]),
        run.lengths,
        strict=True,
    ):
        done = last >= whole - _MISSED
        if last < _SHOWN:
            states.append("")
        elif first >= whole - _MISSED:
            states.append("there")
        elif len(seconds) == 1:
            states.append("part")
        elif first >= _SHOWN:
            states.append("finished" if done else "continued")
        else:
            states.append("painted" if done else "begun")
    return states


def _drop_hidden(run: strokes.Run, second: float, ink: Ink, states: list[str]) -> list[str]:
    """Tells nothing of strokes that the brush, which has just painted them, hides at the end."""
    h, w = ink.owner.shape
    unit = min(h, w)
    picture = Picture(1, h, w, (0, 0, 0))
    draw_brush(picture, run.find_tip(np.array([second])) * unit, unit)
    seen = (ink.coverage[-1] >= 0.5) & (picture.pixels()[0].max(-1) == 0)
    area = np.bincount(ink.owner[seen], minlength=len(states))
    left = (run.ends < second - _HIDDEN) | (area >= _SEEN * unit**2)
    return [
        state if keep or state not in VERBS else ""
        for state, keep in zip(states, left, strict=True)
    ]


def _render(tip: np.ndarray, ink: Ink, palette: np.ndarray, paper) -> np.ndarray:
    """Draws ink in the colours palette[t or 1, n, 3] of the strokes, and the brush over it."""
    t, h, w = ink.coverage.shape
    picture = Picture(t, h, w, paper)
    inked = ink.coverage.max(0) > 0
    shades = palette[:, ink.owner[inked]].astype(np.float32)  # [t or 1, pixels, 3]
    share = ink.coverage[:, inked, None]
    picture.pixels()[:, inked] += share * (shades - np.float32(paper))
    draw_brush(picture, tip * min(h, w), min(h, w))
    return picture.video()


def draw_brush(picture: Picture, tip: np.ndarray, unit: float) -> None:
    """Draws the brush with its tip at tip[t, 2] in pixels; a unit has so many pixels."""
    along, across = np.array(laws.AXIS), np.array([-laws.AXIS[1], laws.AXIS[0]])
    for start, stop, first, last, color in laws.BRUSH:
        corners = [(start, -first), (start, first), (stop, last), (stop, -last)]
        outline = np.array([a * along + b * across for a, b in corners]) * unit
        picture.convex(tip, outline, color)


def _render_broken(run: strokes.Run, palette, paper: str, seconds, size, broken: str) -> np.ndarray:
    """Draws the window with one law of ink or motion broken."""
    h, w = size
    late = np.arange(len(seconds)) >= BREAK
    if broken == "brush_teleports":
        part = max(run.starts[run.first], 0.0), min(run.ends[run.first], 1.0)
        late = seconds >= sum(part) / 2
    if broken == "speed_drifts":
        seconds = np.where(
            seconds < 1.6, 0.3 * seconds + 0.85 * seconds**2, 2.656 + 3 * (seconds - 1.6)
        )
    frame = np.array([w, h]) / min(h, w)
    tip = run.find_tip(seconds)
    aside = 0.3 * np.where(run.places.mean(0) < frame / 2, 1, -1)
    offset = late[:, None] * aside if broken == "brush_teleports" else np.zeros((len(seconds), 2))
    kept = 3 if broken == "ink_erased" else None
    ink = paint(run, seconds, h, w, offset, kept, BREAK)
    tip = tip + offset
    if broken == "ink_without_brush":
        tip = tip + 0.35 * np.array([1 if tip[len(tip) // 2, 0] < frame[0] / 2 else -1, 0])
    others = [c for c in COLORS.values() if not (palette[0] == c).all(1).any()]
    if broken == "ink_recolored":
        palette = np.where(late[:, None, None], others[: palette.shape[1]], palette)
    video = _render(tip, ink, palette, BACKGROUNDS[paper])
    if broken == "blot_appears":
        picture = Picture(len(seconds), h, w, video.astype(np.float32))
        center = np.where(late[:, None], strokes.find_free_place(run, frame), -1) * min(h, w)
        picture.disc(center, 0.06 * min(h, w), others[0])
        video = picture.video()
    return video
