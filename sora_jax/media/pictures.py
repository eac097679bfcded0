"""Opens pictures, still and animated, with Pillow: upright, in sRGB, on white."""

import contextlib
import io
import itertools
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from etils import epath
from PIL import Image, ImageCms, ImageOps, ImageSequence, UnidentifiedImageError

from sora_jax.media.convert import shrink
from sora_jax.media.decode import Account
from sora_jax.media.interlace import Scan
from sora_jax.media.limits import Limits, Rejected
from sora_jax.media.timing import Frame, choose_rate

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
DAMAGE = (EOFError, IndexError, OSError, SyntaxError, ValueError)  # what Pillow raises of it
HEIF = ("HEIF",)
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1"))
_ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")
_DEFAULT_SHOWN, _LEAST_SHOWN = 0.1, 0.02  # seconds of a frame that says nothing, or less, of GIF


class Picture:
    """A picture that is open; has what `films.Film` has.

    Attributes:
      size: height and width in pixels.
      aspect: width of a pixel over its height: 1.
      fps: mean frames per second; 1 of a still picture.
      scan, is_high_range: those of a film whose frames need nothing done.
      account: where its frames went.
    """

    def __init__(self, image: Image.Image, limits: Limits):
        self._image, self.aspect, self.account = image, 1.0, Account()
        self.scan, self.is_high_range = Scan.PROGRESSIVE, False
        self._count = getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1
        self._first = int(bool(image.info.get("default_image")))  # of PNG, and not in its film
        shown = self._measure_times() if self._count > 1 else []
        limits.check(image.height, image.width, sum(shown))
        self._count = len(shown) or 1
        self._starts = [0.0, *itertools.accumulate(shown[:-1])]
        self.fps = round(len(shown) / sum(shown), 6) if shown else 1.0
        if shown:  # a still one is at its primary picture
            image.seek(self._first)
        self.size = self.shown_size = _to_rgb(image).shape[:2]

    def sample(self, count: int, fewest: int) -> Iterator[np.ndarray]:
        """Yields the luma of at most `count` frames, uint8[h, w] of the picture's `size`."""
        step = -(-self._count // count)
        for image in itertools.islice(self._iterate(), 0, None, step):
            yield np.asarray(Image.fromarray(_to_rgb(image)).convert("L"))

    def measure_rate(self) -> float:
        """Measures the frames per second."""
        return choose_rate(self._starts, self.fps)

    def read(
        self,
        crop: tuple[int, int, int, int] | None = None,
        fit: Callable[[float, float], tuple[int, int]] | None = None,
    ) -> Iterator[Frame]:
        """Yields the frames; arguments as in `films.Film.read`."""
        top, left, height, width = crop or (0, 0, *self.size)
        size = fit(height, width) if fit else (height, width)
        frames = self._iterate()
        for number, seconds in enumerate(self._starts):
            self.account.seen += 1
            pixels = _to_rgb(next(frames))[top : top + height, left : left + width]
            yield Frame(shrink(pixels, size), seconds, number, 0)

    def _iterate(self) -> Iterator[Image.Image]:
        """Yields the frames of the film, or the picture."""
        if self._count == 1:
            return iter([self._image])
        last = self._first + self._count
        return itertools.islice(ImageSequence.Iterator(self._image), self._first, last)

    def _measure_times(self) -> list[float]:
        """Measures the seconds that each frame is shown, as far as the frames are whole."""
        shown: list[float] = []
        self._count -= self._first
        try:
            for frame in self._iterate():
                frame.load()  # WebP says it then
                seconds = (frame.info.get("duration") or 0) / 1000
                too_short = seconds < _LEAST_SHOWN if frame.format == "GIF" else not seconds
                shown.append(_DEFAULT_SHOWN if too_short else seconds)
        except DAMAGE:
            if not shown:
                raise
            self.account.faults["ends early"] += 1
        return shown


@contextlib.contextmanager
def open_picture(file: epath.PathLike | io.BytesIO, limits: Limits) -> Iterator[Picture | None]:
    """Opens a picture.

    Yields:
      The picture, or None where the file is none.

    Raises:
      Rejected: the picture exceeds a limit or cannot be read here.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(file, io.BytesIO):
            opened = file
        else:
            opened = stack.enter_context(epath.Path(file).open("rb"))
        formats = _choose_formats(opened)
        opened.seek(0)
        Image.MAX_IMAGE_PIXELS = limits.pixels
        try:
            with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
                image = stack.enter_context(Image.open(opened, formats=formats))
            picture = Picture(image, limits)
        except UnidentifiedImageError as error:
            if formats == HEIF:
                raise Rejected("does not decode", str(error)) from error
            picture = None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise Rejected("too many pixels", str(error)) from error
        except DAMAGE as error:
            if isinstance(error, Rejected):
                raise
            raise Rejected("does not decode", f"{type(error).__name__}: {error}") from error
        yield picture


def _choose_formats(opened) -> tuple[str, ...]:
    """Returns Pillow's names of the formats that a file may have.

    Raises:
      Rejected: it is in the HEIF container, and the package that reads it is missing.
    """
    opened.seek(0)
    head = opened.read(64)
    brands = head[8 : min(64, int.from_bytes(head[:4], "big"))]
    if head[4:8] != b"ftyp" or brands[:4] not in _HEIF_BRANDS or b"avif" in brands:
        return FORMATS
    try:
        import pillow_heif  # type: ignore[import-not-found]
    except ImportError as error:
        raise Rejected("needs pillow-heif", "pip install pillow-heif reads HEIC") from error
    pillow_heif.register_heif_opener()
    return HEIF


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Returns uint8[h, w, 3], upright, in sRGB, on white where the picture is transparent."""
    if image.mode in ("I", "F"):
        raise Rejected("does not decode", f"pixels of mode {image.mode}, whose range is not known")
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would make white of all that is not nearly black
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, 2)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    image = _to_srgb(image, profile)
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    return np.asarray(image)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts the colours of a profile to sRGB; profiles that do not fit are ignored."""
    if profile:
        with_profile = image.convert("RGB") if image.mode in ("RGBA", "P") else image
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(with_profile, source, target, outputMode="RGB")
            return converted or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert("RGB")
