"""What is not read: the exception that says why, and the maxima of a file."""

import dataclasses


class Rejected(ValueError):
    """Raised for a file that is not read.

    Attributes:
      reason: one of a few texts, by which files are counted.
      detail: what there is to say of this file.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclasses.dataclass(frozen=True)
class Limits:
    """Maxima for one film or picture.

    Attributes:
      pixels: pixels of a frame as stored.
      seconds: duration.
    """

    pixels: int = 8192 * 4608
    seconds: float = 4 * 3600.0

    def check(self, height: int, width: int, seconds: float | int = 0) -> None:
        """Raises Rejected where a size in pixels or a duration exceeds the limits."""
        if height * width > self.pixels:
            raise Rejected("too many pixels", f"{width}x{height}")
        if seconds > self.seconds:
            raise Rejected("too long", f"{seconds:.0f} s")
