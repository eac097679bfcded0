"""Stamps of Tux Paint: small cut-outs of photographs and drawings, put on drawn backgrounds.

They come with a Debian package, each with a text in many languages, the first of them English.
stamps_captions.tsv has captions for those whose text says something else than what is seen, and
none for those that are left out. Stamps in one colour are painted in any.
"""

import dataclasses
import io
import pathlib
import re
from collections.abc import Iterator

import numpy as np
from PIL import Image

from data_pipelines.sources import Origin, SourceClip, choose_split, read_table
from data_pipelines.sources.archives import missing_content, read_files
from data_pipelines.sources.backgrounds import PALETTE, compose
from data_pipelines.worlds.base import make_rng, name_view, pick

NAME = "stamps"
FETCH = "apt-get download tuxpaint-stamps-default"
ORIGIN = Origin("Tux Paint's stamps, from Debian's tuxpaint-stamps-default", "GPL-2")
MIN_PICTURE_SIDE = 64  # pixels of the longer side
MIN_CONTRAST = 50  # mean difference of a stamp to its background, 0 to 255
MAX_BACKGROUNDS = 12  # that are tried for a stamp
_FOLDER = "/tuxpaint/stamps/"
_END = re.compile(r"[.!?(–—]")  # of what names the stamp in its text
_KINDS = {"/outlined/": "an outline of"} | dict.fromkeys(
    ("/cartoon/", "/asl/", "/t_"), "a drawing of"
)


@dataclasses.dataclass(frozen=True)
class Stamp:
    """A stamp: its path, RGBA pixels uint8[h, w, 4], name, and whether its colour is free."""

    path: str
    pixels: np.ndarray
    name: str
    colorable: bool


def read_clips(archive: pathlib.Path, height: int) -> Iterator[SourceClip]:
    """Composes each stamp. Raises ValueError where the archive is missing, damaged or another."""
    stamps = read_stamps(archive)
    names = sorted({stamp.name for stamp in stamps})  # pictures of the same are held out together
    for number, stamp in enumerate(stamps, 1):
        image, attributes = _compose_stamp(stamp, height)
        kind = next((words for part, words in _KINDS.items() if part in stamp.path), "a cut-out of")
        color = f" in {attributes['color']}" if stamp.colorable else ""
        short, view = f"{kind} {stamp.name}{color}", name_view(*image.shape[1:3])
        yield SourceClip(
            image,
            24.0,
            {"short": short, "detailed": f"{short}, on {attributes['background']}, {view}"},
            choose_split(names.index(stamp.name)),
            {"stamp": stamp.path, **attributes},
            ORIGIN,
            (number, len(stamps)),
            0,
        )


def read_stamps(archive: pathlib.Path) -> list[Stamp]:
    """Reads the stamps of a package that have a caption and are not too small."""
    endings = (".png", ".txt", ".dat")
    contents = dict(read_files(archive, FETCH, lambda n: _FOLDER in n and n.endswith(endings)))
    own, stamps = dict(read_table("stamps_captions.tsv")), []
    for name in sorted(name for name in contents if name.endswith(".png")):
        stem = name.removesuffix(".png")
        path = stem.partition(_FOLDER)[2]
        caption = own.get(path, name_stamp(path, contents.get(f"{stem}.txt", b"").decode()))
        with Image.open(io.BytesIO(contents[name])) as image:
            pixels = image.convert("RGBA")
        pixels = pixels.crop(pixels.getchannel("A").getbbox())
        if caption and max(pixels.size) >= MIN_PICTURE_SIDE:
            colorable = b"colorable" in contents.get(f"{stem}.dat", b"")
            stamps.append(Stamp(path, np.asarray(pixels), caption, colorable))
    if not stamps:
        raise missing_content(archive, "stamps", FETCH)
    return stamps


def name_stamp(path: str, text: str) -> str:
    """Names a stamp by the first line of its text; '' where that has no name."""
    name = _END.split(text.partition("\n")[0], maxsplit=1)[0].lower().replace("’", "'")
    name = re.sub(r"[“”\"]", "", name).strip(" ,:")
    case = "capital" if "/uppercase/" in path else "small"
    return name.replace("letter", f"{case} letter", 1) if "case/" in path else name


def _compose_stamp(stamp: Stamp, height: int) -> tuple[np.ndarray, dict[str, str]]:
    """Composes the stamp on the first drawn background that it stands out from."""
    image, attributes = np.zeros(()), {}
    for i in range(MAX_BACKGROUNDS):
        pixels, color = stamp.pixels.copy(), {}
        if stamp.colorable:
            color = {"color": pick(make_rng(f"{NAME} {stamp.path} color", i), list(PALETTE))}
            pixels[..., :3] = PALETTE[color["color"]]
        image, attributes = compose(pixels[None], height, make_rng(f"{NAME} {stamp.path}", i))
        pixels[..., 3] = 0
        ground, _ = compose(pixels[None], height, make_rng(f"{NAME} {stamp.path}", i))
        attributes = color | attributes
        change = np.abs(image.astype(int) - ground).max(-1)
        clear = change.any() and change[change > 0].mean() >= MIN_CONTRAST
        if clear and color.get("color", "no color") not in attributes["background"]:
            break
    return image, attributes
