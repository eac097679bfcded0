"""Colours, frame rate and units that all worlds share.

Units: the short side of a frame is 1 unit long, whatever its pixels; time is in seconds. Positions
are (x, y) from the top left corner, y down, unless a world says otherwise.
"""

FPS = 8.0  # frames per second, of every world

COLORS = {  # RGB, saturated: only things that a caption names have these colours
    "red": (225, 30, 30),
    "orange": (250, 130, 10),
    "yellow": (245, 220, 20),
    "green": (30, 165, 45),
    "cyan": (20, 205, 215),
    "blue": (35, 70, 225),
    "purple": (145, 50, 220),
    "pink": (245, 75, 165),
}

BACKGROUNDS = {  # RGB, unsaturated
    "white": (250, 250, 250),
    "light grey": (205, 205, 205),
    "black": (12, 12, 12),
    "dark grey": (72, 72, 72),
    "beige": (232, 221, 200),
}
