"""Sidecars of a file: NAME.json, NAME.srt and NAME.txt beside NAME.mp4.

NAME.json may hold captions, licence, source and sha256. Captions are {"short": ..., "detailed":
...} of the whole file, or a list of such with "start" and "stop" in seconds: a clip has the one
that it shares the most time with, at least half of its own. NAME.txt has one caption of the whole
file, whose first line is the short one; it is used where NAME.json has none. A caption of a whole
film of several shots describes none of them: its clips have it as the attribute "film" and no
caption. NAME.srt has subtitles: what is said is no caption, and the attribute "dialogue" of the
clips in whose time it is said. Texts are UTF-8, or UTF-16 with a mark; suffixes may be in capitals.
"""

import codecs
import dataclasses
import json
import re
import stat
from collections.abc import Mapping

from etils import epath

SUFFIXES = (".txt", ".json", ".srt")
MAX_CAPTION_CHARACTERS = 4000  # a film's caption is repeated in each of its clips; the rest is cut
MAX_BYTES = 4_000_000  # of a sidecar
_TIME = r"(\d{1,3}):(\d\d):(\d\d)[,.](\d{1,3})"
_CUE = re.compile(rf"{_TIME}\s*-->\s*{_TIME}[^\n]*\n(.*?)(?:\n\s*\n|\Z)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Sidecars:
    """Contents of the sidecars of one file; "" and () where there is none.

    Attributes:
      captions: 'short' and 'detailed' of the whole file; {} where there is none.
      timed: those of parts of it: (start second, stop second, captions).
      cues: subtitles of NAME.srt: (start second, stop second, text).
      licence, origin, sha256: of NAME.json, where the key of `origin` is "source".
    """

    captions: dict[str, str]
    timed: tuple[tuple[float, float, dict[str, str]], ...] = ()
    cues: tuple[tuple[float, float, str], ...] = ()
    licence: str = ""
    origin: str = ""
    sha256: str = ""

    def caption_clip(self, start: float, stop: float, is_whole: bool) -> dict[str, str]:
        """Returns the captions of a clip from second `start` to `stop`; "" where there is none.

        Args:
          is_whole: whether the file has no other shot.
        """
        found = dict(self.captions) if is_whole else {}
        if self.timed:
            shared, found = max(
                ((min(b, stop) - max(a, start), text) for a, b, text in self.timed),
                key=lambda one: one[0],
            )
            found = found if shared >= (stop - start) / 2 else {}
        return {name: _cut(found.get(name, "")) for name in ("short", "detailed")}

    def describe_clip(self, start: float, stop: float, is_whole: bool) -> dict[str, str]:
        """Returns the other texts about a clip: 'dialogue' and 'film', where there are any."""
        said = " ".join(text for a, b, text in self.cues if a < stop and b > start)
        film = "" if is_whole else self.captions.get("detailed", "")
        texts = {"dialogue": said, "film": film}
        return {name: _cut(text) for name, text in texts.items() if text}


def read(path: epath.Path) -> Sidecars:
    """Reads the sidecars that lie beside a file. Raises ValueError as `parse`."""
    texts = {}
    for suffix in SUFFIXES:
        files = path.with_suffix(suffix), path.with_suffix(suffix.upper())
        texts[suffix] = next((data for data in map(_read_file, files) if data), b"")
    return parse(texts, path.name)


def parse(texts: Mapping[str, bytes], name: str) -> Sidecars:
    """Parses sidecars.

    Args:
      texts: contents of the sidecars by suffix; some may be missing.
      name: that of the file that they are of.

    Raises:
      ValueError: a sidecar has not the format of its suffix; the message names it.
    """
    stem = name.rpartition(".")[0] or name
    about, srt, txt = (
        _decode(texts.get(suffix, b""), stem + suffix) for suffix in (".json", ".srt", ".txt")
    )
    cues = tuple(
        (
            _parse_seconds(*match.groups()[:4]),
            _parse_seconds(*match.groups()[4:8]),
            _strip_tags(match[9]),
        )
        for match in _CUE.finditer(srt)
    )
    found = _read_json(about, f"{stem}.json")
    if txt.strip() and not found["captions"]:
        short = txt.strip().split("\n")[0].strip()
        found["captions"] = {"short": short, "detailed": " ".join(txt.split())}
    return Sidecars(**found, cues=cues)


def _read_json(text: str, name: str) -> dict:
    """Parses NAME.json."""
    try:
        content = json.loads(text or "{}")
        given = content.get("captions", {})
        timed = [
            (float(one["start"]), float(one["stop"]), _read_captions(one))
            for one in (given if isinstance(given, list) else [])
        ]
        whole = {} if isinstance(given, list) else _read_captions(given)
        texts = {key: content.get(key, "") for key in ("licence", "source", "sha256")}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON object with captions: {error!r}") from error
    every = [*whole.values(), *texts.values(), *(t for *_, one in timed for t in one.values())]
    if not all(isinstance(text, str) for text in every):
        raise ValueError(f"{name} holds numbers or lists where text should be")
    if any("\ud800" <= c <= "\udfff" for text in every for c in text):
        raise ValueError(
            f"{name} holds halves of characters (\\ud800 to \\udfff): write whole ones"
        )
    texts["origin"] = texts.pop("source")
    return {"captions": whole, "timed": tuple(timed), **texts}


def _read_captions(given: dict) -> dict:
    """Reads both captions; where one is missing, it is the other. {} where there is none."""
    short, detailed = given.get("short", ""), given.get("detailed", "")
    return {"short": short or detailed, "detailed": detailed or short} if short or detailed else {}


def _cut(text: str) -> str:
    return text[:MAX_CAPTION_CHARACTERS]


def _read_file(path: epath.Path) -> bytes:
    if not path.exists():
        return b""
    about = path.stat()
    if about.mode and not stat.S_ISREG(about.mode):  # a pipe or a device may have no end
        raise ValueError(f"{path.name} is no sidecar: it is no plain file")
    if about.length > MAX_BYTES:
        return b" " * (MAX_BYTES + 1)  # is refused as what is too long
    return path.read_bytes()


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise ValueError(f"{name} is no sidecar: it has more than {MAX_BYTES} bytes")
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 text: save it as UTF-8") from error
    return text.replace("\r\n", "\n")


def _parse_seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _strip_tags(text: str) -> str:
    """Joins the lines of a subtitle and removes its tags."""
    return " ".join(re.sub(r"<[^>]*>|\{\\[^}]*\}", "", text).split())
