"""Constants of phyworld: the worlds of arXiv:2411.02385 ("How far is video generation from world
model: a physical law perspective"), section 3 and appendix A.4, and their public generator.

Units: the frame's side is `SIDE` = 10 units long, whatever its pixels; positions are (x, y) from
the bottom left corner, y up; time is in seconds. The frame rate is this world's own.

A pixel (row i, column j) of a picture of n x n pixels shows the point

  x = SIDE j / (n - 1),  y = SIDE (1 - i / (n - 1)).                                      (1)
"""

FPS = 10.0  # frames per second
SIDE = 10.0  # units
STEP, STRIDE = 0.01, 10  # seconds of a step of the simulator; steps from frame to frame
MAX_FRAMES = 33  # the paper's 32 and one more, so that durations are 1 + 4 k
GRAVITY = -2.5  # units/s2, in parabolas
MOTIONS = ("uniform", "parabola", "collision")

WHITE = (255, 255, 255)
BALLS = {"red": (255, 0, 0), "blue": (0, 0, 255)}  # the second one is in collisions only
EDGE = 0.03  # share of r^2 over which a disc of radius r fades to the background
MARGIN = (128, 128, 128)  # beside the world, where the picture is not square

# In training's range: radii in units, speeds in units/s.
RADIUS = {"uniform": (0.7, 1.4), "parabola": (0.7, 1.4), "collision": (0.5, 1.5)}
SPEED = (1.0, 4.0)
# Outside of it: either range with equal probability.
OUTSIDE_RADIUS = {
    "uniform": ((0.3, 0.6), (1.5, 2.0)),
    "parabola": ((0.3, 0.6), (1.5, 2.0)),
    "collision": ((0.3, 0.4), (1.7, 2.0)),
}
OUTSIDE_SPEED = ((0.0, 0.8), (4.5, 6.0))

INSIDE = "inside"
_ONE = {
    "radius": frozenset({"radius 0"}),
    "speed": frozenset({"speed 0"}),
    "radius and speed": frozenset({"radius 0", "speed 0"}),
}
LEVELS = {  # by motion: what is drawn from outside of training's range, of ball 0 and ball 1
    "uniform": _ONE,
    "parabola": _ONE,
    "collision": {
        **_ONE,
        "both radii": frozenset({"radius 0", "radius 1"}),
        "both speeds": frozenset({"speed 0", "speed 1"}),
        "all": frozenset({"radius 0", "radius 1", "speed 0", "speed 1"}),
    },
}

# Words of captions: from, to (units; units/s).
SIZES = {"tiny": (0.0, 0.6), "small": (0.6, 1.0), "large": (1.0, 1.5), "huge": (1.5, 5.0)}
SPEEDS = {
    "very slowly": (0.0, 0.9),
    "slowly": (0.9, 2.5),
    "fast": (2.5, 4.25),
    "very fast": (4.25, 20.0),
}


def name_range(value: float, ranges: dict[str, tuple[float, float]]) -> str:
    """Returns the word of `SIZES` or `SPEEDS` whose range holds a value of at least 0."""
    return next(word for word, (low, high) in ranges.items() if low <= value < high)


def collide(
    radii: tuple[float, float], velocities: tuple[float, float], restitution: float = 1.0
) -> tuple[float, float]:
    """Returns the velocities of two balls on one line after they collide, in units/s.

    Masses are m_i = r_i^2 (equal density). With the velocity v of their centre of mass and the
    restitution e, which is 1 for an elastic collision,

      v = (m1 v1 + m2 v2) / (m1 + m2),
      v1' = v + e m2 (v2 - v1) / (m1 + m2),  v2' = v + e m1 (v1 - v2) / (m1 + m2).        (2)

    Args:
      radii: of both balls, units.
      velocities: before the collision, signed.
      restitution: relative velocity after over that before, 0 to 1.
    """
    (m1, m2), (v1, v2) = (r * r for r in radii), velocities
    common = (m1 * v1 + m2 * v2) / (m1 + m2)
    part = restitution * (v2 - v1) / (m1 + m2)
    return common + m2 * part, common - m1 * part
