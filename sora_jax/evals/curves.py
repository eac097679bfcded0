"""Curves as SVG, for pages that need nothing but themselves."""

import html
import math
from dataclasses import dataclass

PLOT_BOX = (56, 26, 454, 262)
"""Left, top, right and bottom of the axes in a drawing of 480 x 300 units."""


@dataclass(frozen=True)
class Curve:
    """Lines through the (x, y) points of named series.

    Points that the axes cannot show (nan, infinity, log of 0) are left out.
    """

    title: str
    x_label: str
    y_label: str
    series: dict[str, list[tuple[int | float, int | float]]]
    log_y: bool = False


def _ticks(values: list[int | float], log: bool) -> list[float]:
    """Round numbers from below the minimum to above the maximum of the values.

    Steps between them (with `log`, the numbers themselves) are 1, 2 or 5 times a power of ten.
    """
    low, high = min(values), max(values)
    if log:
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        marks = [m * 10.0**e for e in powers for m in (1, 2, 5)]
        first = max(i for i, m in enumerate(marks) if m <= low)
        last = min(i for i, m in enumerate(marks) if m >= high and i > first)
        return marks[first : last + 1]
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= span / 5 * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def draw_curve(curve: Curve) -> str:
    """Draws a curve as an HTML figure with an SVG and a legend; styled by `gallery.html`."""
    left, top, right, bottom = PLOT_BOX
    shown = {
        name: [(x, y) for x, y in points if math.isfinite(x + y) and (y > 0 or not curve.log_y)]
        for name, points in curve.series.items()
    }
    all_points = [p for points in shown.values() for p in points] or [(1.0, 1.0)]
    x_ticks = _ticks([x for x, _ in all_points], log=False)
    y_ticks = _ticks([y for _, y in all_points], log=curve.log_y)
    scale = math.log10 if curve.log_y else float
    low, high = scale(y_ticks[0]), scale(y_ticks[-1])

    def to_svg_x(x: int | float) -> float:
        return round(left + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (right - left), 1)

    def to_svg_y(y: int | float) -> float:
        return round(bottom - (scale(y) - low) / (high - low) * (bottom - top), 1)

    decades = [y for y in y_ticks if f"{y:e}".startswith("1.0")]
    labelled = y_ticks if len(y_ticks) < 8 or not curve.log_y else decades
    parts = [
        f'<path class="grid" d="M{left} {to_svg_y(y)}H{right}"/>'
        f'<text x="{left - 8}" y="{to_svg_y(y) + 4:.1f}" text-anchor="end">{y:,.6g}</text>'
        for y in labelled
    ]
    parts += [
        f'<text x="{to_svg_x(x)}" y="{bottom + 18}" text-anchor="middle">{x:,.6g}</text>'
        for x in x_ticks
    ]
    parts.append(f'<text x="0" y="12">{html.escape(curve.y_label)}</text>')
    parts.append(
        f'<text x="{right}" y="{bottom + 36}" text-anchor="end">{html.escape(curve.x_label)}</text>'
    )
    legend = []
    for i, (name, points) in enumerate(shown.items()):
        line = "L".join(f"{to_svg_x(x)} {to_svg_y(y)}" for x, y in points)
        dots = points if len(points) <= 12 else points[-1:]
        circles = "".join(
            f'<circle cx="{to_svg_x(x)}" cy="{to_svg_y(y)}" r="2.6"/>' for x, y in dots
        )
        path = f'<path class="line" d="M{line}"/>' if line else ""
        parts.append(f'<g class="s{i % 6}">{path}{circles}</g>')
        legend.append(
            f'<li><svg class="swatch s{i % 6}" viewBox="0 0 24 8" aria-hidden="true">'
            f'<path d="M0 4H24"/></svg>{html.escape(name)}</li>'
        )
    ends = "; ".join(f"{n}: {p[-1][1]:.4g} at {p[-1][0]:,g}" for n, p in shown.items() if p)
    label = html.escape(f"{curve.title}. {curve.y_label} over {curve.x_label}. Last: {ends}")
    items = "\n".join(legend)
    legend_list = f'<ul class="legend">\n{items}\n</ul>' if items else ""
    return (
        f"<figure><h3>{html.escape(curve.title)}</h3>{legend_list}"
        f'<svg class="plot" viewBox="0 0 480 300" role="img" aria-label="{label}">\n'
        + "\n".join(parts)
        + "</svg></figure>"
    )
