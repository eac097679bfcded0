"""What the eater obeys: a round food and a face that bites round pieces out of it.

Units: the short side of a frame is 1 unit long; time is in seconds. A bite removes the disc of
radius `BITE_RADIUS` about its centre, for ever. The bites of a run lie at `BITES`, in their order:
with d the unit vector from the food towards the face's side, turned by at most `TILT` degrees, n
its normal, to either side, c and R the food's centre and radius, and (u, v) an entry of `BITES`,

    centre = c + (R - u BITE_RADIUS) d + v BITE_RADIUS n.

Bites follow each other at a constant period, drawn uniformly from the range of a pace.
"""

import dataclasses

RGB = tuple[int, int, int]

SIDES = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}  # (x, y), y down

BITE_RADIUS = 0.14  # also that of the face
BITES = (  # (depth, offset to the side) in radii of a bite
    (0.0, 0.0),
    (0.6, 1.45),
    (0.6, -1.45),
    (1.3, 0.72),
    (1.3, -0.72),
    (1.8, 2.0),
    (1.8, -2.0),
    (2.4, 0.0),
)
TILT = 10.0  # degrees
COUNTS, OUTSIDE_COUNTS = (1, 2, 3, 4, 5), (6, 7, 8)  # bites of a run, equally likely
RADII, OUTSIDE_RADII = (0.25, 0.32), (0.35, 0.38)  # of the food, uniform
PERIODS = {"slowly": (1.15, 1.5), "quickly": (0.75, 1.0), "very quickly": (0.5, 0.6)}
TRAINED_PACES = ("slowly", "quickly")

HOLD = 0.07  # the face stays at a bite from this long before it to this long after it
APPROACH = 0.75  # the face comes to the first bite, and leaves after the last one, in this time
REST_GAP = 0.04  # between the face and the food, halfway between two bites
AWAY_GAP = 0.45  # the same before and after all bites

FACE, EYE = (120, 130, 150), (20, 20, 25)
PLATE, PLATE_RIM = (196, 218, 245), (160, 180, 205)
PLATE_RADIUS = 1.25  # in radii of the food
BROWN = (125, 60, 15)


@dataclasses.dataclass(frozen=True)
class Look:
    """What is drawn on a food's coloured body; lengths are in radii of the food.

    Attributes:
      rim: width of the ring along the outline, 0 for none.
      rim_color: its colour.
      dots: (x, y, radius) of brown dots.
      bars: (angle in degrees, distance from the centre, half width) of brown bars.
    """

    rim: float = 0.0
    rim_color: RGB = BROWN
    dots: tuple[tuple[float, float, float], ...] = ()
    bars: tuple[tuple[float, float, float], ...] = ()


FOODS = {
    "cookie": Look(
        dots=(
            (0.05, -0.05, 0.15),
            (0.62, 0.1, 0.14),
            (0.2, 0.62, 0.15),
            (-0.5, 0.42, 0.13),
            (-0.58, -0.3, 0.15),
            (0.1, -0.64, 0.13),
        )
    ),
    "pizza": Look(
        rim=0.2,
        rim_color=(214, 170, 112),
        dots=((0.42, 0.12, 0.13), (-0.1, 0.45, 0.13), (-0.42, -0.08, 0.13), (0.1, -0.45, 0.13)),
    ),
    "melon": Look(
        rim=0.18,
        rim_color=(0, 130, 80),
        dots=tuple(
            (x, y, 0.075)
            for x, y in (
                *((0.5, 0.0), (0.25, 0.43), (-0.25, 0.43)),
                *((-0.5, 0.0), (-0.25, -0.43), (0.25, -0.43)),
            )
        ),
    ),
    "pie": Look(
        rim=0.16,
        bars=((0.0, -0.36, 0.09), (0.0, 0.36, 0.09), (90.0, -0.36, 0.09), (90.0, 0.36, 0.09)),
    ),
}
