"""Sidecars of a file: NAME.json, NAME.srt and NAME.txt beside NAME.mp4.

NAME.json may hold captions ({"short": ..., "detailed": ...}), licence, source and sha256; NAME.srt
has subtitles, of which a clip gets those of its time; NAME.txt has one caption, whose first line is
the short one. The first of these three that says something is used. Without a caption, both are "".
Suffixes may be in capitals.
"""

import dataclasses
import json
import re
import stat

from etils import epath

SUFFIXES = (".txt", ".json", ".srt")
MAX_CAPTION_CHARACTERS = 4000  # a film's caption is repeated in each of its clips; the rest is cut
_MAX_BYTES = 4_000_000  # of a sidecar
_TIME = r"(\d{1,3}):(\d\d):(\d\d)[,.](\d{1,3})"
_CUE = re.compile(rf"{_TIME}\s*-->\s*{_TIME}[^\n]*\n(.*?)(?:\n\s*\n|\Z)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Sidecars:
    """Contents of the sidecars of one file; "" and () where there is none.

    Attributes:
      captions: 'short' and 'detailed' of NAME.json; {} where it has none.
      cues: subtitles of NAME.srt: (start second, stop second, text).
      text: content of NAME.txt.
      licence, origin, sha256: of NAME.json, where the key of `origin` is "source".
    """

    captions: dict[str, str]
    cues: tuple[tuple[float, float, str], ...] = ()
    text: str = ""
    licence: str = ""
    origin: str = ""
    sha256: str = ""

    def caption_clip(self, start: float, stop: float) -> dict[str, str]:
        """Returns the captions of a clip from second `start` to `stop` of its film."""
        return {
            name: text[:MAX_CAPTION_CHARACTERS]
            for name, text in self._choose_captions(start, stop).items()
        }

    def _choose_captions(self, start: float, stop: float) -> dict[str, str]:
        if self.captions:
            return self.captions
        spoken = " ".join(text for a, b, text in self.cues if a < stop and b > start)
        if spoken:
            return {"short": spoken, "detailed": spoken}
        short = self.text.split("\n")[0].strip()
        return {"short": short, "detailed": " ".join(self.text.split())}


def read(path: epath.Path) -> Sidecars:
    """Reads the sidecars of a file.

    Raises:
      ValueError: a sidecar has not the format of its suffix; the message names it.
    """
    about, srt, txt = (
        _read_text(path.with_suffix(suffix)) or _read_text(path.with_suffix(suffix.upper()))
        for suffix in (".json", ".srt", ".txt")
    )
    cues = tuple(
        (
            _parse_seconds(*match.groups()[:4]),
            _parse_seconds(*match.groups()[4:8]),
            _strip_tags(match[9]),
        )
        for match in _CUE.finditer(srt)
    )
    return Sidecars(**_read_json(about, f"{path.stem}.json"), cues=cues, text=txt.strip())


def _read_json(text: str, name: str) -> dict:
    """Parses NAME.json; where one of the two captions is missing, it is the other."""
    try:
        content = json.loads(text or "{}")
        given = content.get("captions", {})
        short, detailed = given.get("short", ""), given.get("detailed", "")
        texts = {key: content.get(key, "") for key in ("licence", "source", "sha256")}
    except (AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON object with captions: {error}") from error
    if not all(isinstance(text, str) for text in (short, detailed, *texts.values())):
        raise ValueError(f"{name} holds numbers or lists where text should be")
    if any("\ud800" <= c <= "\udfff" for text in (short, detailed, *texts.values()) for c in text):
        raise ValueError(
            f"{name} holds halves of characters (\\ud800 to \\udfff): write whole ones"
        )
    both = {"short": short or detailed, "detailed": detailed or short}
    texts["origin"] = texts.pop("source")
    return {"captions": both if short or detailed else {}, **texts}


def _read_text(path: epath.Path) -> str:
    if not path.exists():
        return ""
    about = path.stat()
    if about.mode and not stat.S_ISREG(about.mode):  # a pipe or a device may have no end
        raise ValueError(f"{path.name} is no sidecar: it is no plain file")
    if about.length > _MAX_BYTES:
        raise ValueError(f"{path.name} is no sidecar: it has more than {_MAX_BYTES} bytes")
    return path.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")


def _parse_seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _strip_tags(text: str) -> str:
    """Joins the lines of a subtitle and removes its tags."""
    return " ".join(re.sub(r"<[^>]*>|\{\\[^}]*\}", "", text).split())
