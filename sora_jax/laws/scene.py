"""Light and floor of the worlds with depth, and how their surfaces are shaded.

World: x right, y away, z up, right-handed; the floor is the plane z = 0. A surface of colour c
with normal n, lit from the direction l, has the colour

    c (AMBIENT + DIFFUSE max(n . l, 0) [the light reaches it]),   AMBIENT + DIFFUSE = 1,

so that its hue and saturation are those of c, and its brightness lies between AMBIENT and 1 of
c's: a mask by hue finds all of a surface, in light and in shadow.
"""

FLOORS = {"cream": (230, 219, 194), "grey": (184, 189, 196), "white": (242, 242, 242)}
SKY, HORIZON = (158, 204, 245), (237, 245, 255)  # RGB straight up, and at the floor's end
AMBIENT, DIFFUSE = 0.55, 0.45
LIGHT = (-0.35, -0.5, 0.8)  # direction to the light: from the left, behind a camera that looks
# along y, and above
HAZE = 40.0  # distance in units at which the floor has faded to 1 / e into the horizon
MIN_SHADE = 0.03  # the top of a solid is brighter than its bottom by this share at least
