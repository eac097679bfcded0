"""Curves of any points stay within their axes."""

import re

import numpy as np
import pytest

from sora_jax.evals.curves import PLOT_BOX, Curve, draw_curve


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0, 3.0)],
        [(0, 0.0), (1, float("nan")), (2, float("inf"))],
        [(0, 0.5), (1000, 0.5)],
        [(0, 1e-9), (1, 1e9)],
        [(0, -5.0), (7, 0.3)],
        [(0, 9.999999999999999e-06), (1, 1.0000000000000002)],
    ],
)
def test_curves_of_any_points_stay_within_their_axes(points, log_y):
    text = draw_curve(Curve("c", "x", "y", {"s": points}, log_y))
    plot = text[text.index('<svg class="plot"') :]
    plot = plot[: plot.index("</svg>")]
    assert "nan" not in plot and "inf" not in plot
    line = re.search(r'class="line" d="M([^"]+)"', plot)
    spots = [tuple(map(float, p.split())) for p in line[1].split("L")] if line else []
    left, top, right, bottom = PLOT_BOX
    assert all(left <= x <= right and top <= y <= bottom for x, y in spots)
    assert len(spots) == sum(np.isfinite(y) and (y > 0 or not log_y) for _, y in points)
