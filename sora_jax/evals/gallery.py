"""A self-contained HTML page of samples, reconstructions, curves and tables.

Clips are embedded as base64 H.264. They are small (48 to 96 pixels), so they are enlarged before
encoding: the player then shows the model's pixels and not its own smoothing, and the halved chroma
does no harm.
"""

import base64
import html
import math
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from sora_jax import media
from sora_jax.evals.curves import Curve, draw_curve

_LONG_SIDE_PIXELS = 288  # approximate length that the longer side of a clip is enlarged to


@dataclass(frozen=True)
class Sample:
    """A generated clip, or an image if it has one frame.

    `group` is the name of a world, or an aspect ratio such as "aspect ratio 16:9".
    """

    video: UInt8[np.ndarray, "t h w 3"]
    fps: float
    caption: str
    group: str
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """A real clip and its reconstruction by the VAE; `others`, by name, are shown to the right."""

    real: UInt8[np.ndarray, "t h w 3"]
    reconstruction: UInt8[np.ndarray, "t h w 3"]
    fps: float
    caption: str
    psnr_db: float
    world: str
    others: dict[str, UInt8[np.ndarray, "t h w 3"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows of text; columns whose cells all begin with a number or are "-" are right-aligned."""

    title: str
    header: list[str]
    rows: list[list[str]]


def write_gallery(
    path: epath.PathLike,
    title: str,
    summary: str,
    figures: list[tuple[str, str, str]],
    samples: list[Sample],
    pairs: list[Pair],
    curves: list[Curve],
    tables: list[Table],
    commands: list[str],
) -> None:
    """Writes the page.

    Args:
      path: the HTML file; its folder is made if needed.
      title: the page's heading.
      summary: plain text, with blank lines between paragraphs.
      figures: headline (name, value, bar), such as ("VAE PSNR", "27.1 dB", ">= 25 dB"). Value and
        bar have the same unit; an empty bar means no verdict.
      samples: generated clips and images, shown by group in the order in which groups appear.
      pairs: real clips beside their reconstructions.
      curves: drawn as SVG.
      tables: shown unchanged.
      commands: commands to try next, each shown in a box.

    Raises:
      ValueError: if there are neither samples nor pairs, or a bar cannot be read.
    """
    if not (samples or pairs):
        raise ValueError("no samples and no pairs: a gallery shows at least one clip")
    shapes = [s for s in samples if s.group.startswith("aspect ratio")]
    worlds = [s for s in samples if not s.group.startswith("aspect ratio")]
    sections = {
        "Samples by world": _sample_groups(worlds),
        "Samples by aspect ratio": _sample_groups(shapes),
        "Real vs reconstruction": _pairs(pairs),
        "Curves": _wrap("div", "curves", map(draw_curve, curves)),
        "Numbers": _wrap("div", "tables", map(_table, tables)),
        "Try next": "\n".join(f'<pre tabindex="0">{html.escape(c)}</pre>' for c in commands),
    }
    ids = {name: name.lower().replace(" ", "-") for name, body in sections.items() if body}
    template = epath.Path(__file__).with_name("gallery.html").read_text(encoding="utf-8")
    page = string.Template(template).substitute(
        title=html.escape(title),
        summary="\n".join(f"<p>{html.escape(p)}</p>" for p in summary.split("\n\n") if p.strip()),
        figures=_wrap("dl", "figures", (_figure(*f) for f in figures)),
        nav="\n".join(f'<a href="#{i}">{name}</a>' for name, i in ids.items()),
        sections="\n".join(
            f'<section id="{i}"><h2>{name}</h2>\n{sections[name]}</section>'
            for name, i in ids.items()
        ),
    )
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _wrap(tag: str, css_class: str, items: Iterable[str]) -> str:
    """Wraps the items in one element; without items, returns an empty string."""
    body = "\n".join(items)
    return f'<{tag} class="{css_class}">\n{body}\n</{tag}>' if body else ""


def _number(text: str) -> float:
    """The first number in a text, nan if it has none."""
    match = re.search(r"[-+]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?", text, re.IGNORECASE)
    return float(match[0].replace(",", "")) if match else math.nan


def _passes(value: str, bar: str) -> bool:
    """Whether a value such as "27.1 dB" meets a bar such as ">= 25 dB"; without a number, False."""
    match = re.match(r"\s*(>=|<=|≥|≤|>|<)\s*(?=[-+.\d])", bar)
    if not match:
        raise ValueError(f'bar {bar!r} of value {value!r} should read like ">= 25 dB" or be empty')
    x, y = _number(value), _number(bar)
    return {">": x > y, "<": x < y}.get(match[1], x >= y if match[1] in (">=", "≥") else x <= y)


def _figure(name: str, value: str, bar: str) -> str:
    verdict = "<dd>no bar</dd>"
    if bar:
        word = "pass" if _passes(value, bar) else "miss"
        bar_text = html.escape(bar.replace(">=", "≥").replace("<=", "≤"))
        verdict = f'<dd><span class="{word}">{word}</span><span>bar {bar_text}</span></dd>'
    return (
        f'<div><dt>{html.escape(name)}</dt><dd class="value">{html.escape(value)}</dd>'
        f"{verdict}</div>"
    )


def _png(frame: UInt8[np.ndarray, "h w 3"]) -> str:
    return "data:image/png;base64," + base64.b64encode(media.image_bytes(frame)).decode()


def _clip(video: UInt8[np.ndarray, "t h w 3"], fps: float, label: str) -> str:
    """An img element for one frame, a video element for more, scaled to its cell."""
    height, width = video.shape[1:3]
    scale = max(1, round(_LONG_SIDE_PIXELS / max(height, width)))
    size = [2 * math.ceil(n * scale / 2) for n in (width, height)]  # yuv420p needs even sides
    frames = [np.asarray(Image.fromarray(f).resize(size, Image.Resampling.LANCZOS)) for f in video]
    label = html.escape(label)
    box = f'width="{size[0]}" height="{size[1]}" style="width:{min(1, width / height):.2%}"'
    if len(video) == 1:
        return f'<img {box} alt="{label}" src="{_png(frames[0])}">'
    mp4 = base64.b64encode(media.video_bytes(np.stack(frames), fps)).decode()
    return (
        f'<video {box} aria-label="{label}" poster="{_png(video[len(video) // 2])}" tabindex="0" '
        f'autoplay muted loop playsinline src="data:video/mp4;base64,{mp4}"></video>'
    )


def _size(video: UInt8[np.ndarray, "t h w 3"], fps: float) -> str:
    length = "image" if len(video) == 1 else f"{len(video)} frames, {fps:.4g}\N{NO-BREAK SPACE}fps"
    return f"{video.shape[2]} × {video.shape[1]}, {length}"


def _sample_groups(samples: list[Sample]) -> str:
    groups: dict[str, list[str]] = {}
    for s in samples:
        note = f"<small>{html.escape(s.note)}</small>" if s.note else ""
        groups.setdefault(s.group, []).append(
            f"<figure>{_clip(s.video, s.fps, s.caption)}"
            f"<figcaption>{html.escape(s.caption)}<small>{_size(s.video, s.fps)}</small>{note}"
            "</figcaption></figure>"
        )
    blocks = (
        f'<div class="group" style="--n:{len(cards)}"><h3>'
        f"{html.escape(group.removeprefix('aspect ratio '))}</h3>"
        f"{_wrap('div', 'clips', cards)}</div>"
        for group, cards in groups.items()
    )
    return _wrap("div", "groups", blocks)


def _pairs(pairs: list[Pair]) -> str:
    """All pairs, in columns wide enough for the maximum number of versions (--n)."""
    max_versions = max((2 + len(pair.others) for pair in pairs), default=0)
    body = _wrap("div", "pairs", map(_pair, pairs))
    return body.replace('class="pairs"', f'class="pairs" style="--n:{max_versions}"', 1)


def _pair(pair: Pair) -> str:
    """A figure of one clip that holds all versions side by side, so that they stay in step."""
    versions = {"real": pair.real, "reconstruction": pair.reconstruction} | pair.others
    clip = _clip(
        np.concatenate(list(versions.values()), axis=2),
        pair.fps,
        f"{' and '.join(versions)}: {pair.caption}",
    )
    names = "".join(f"<span>{html.escape(name)}</span>" for name in versions)
    return (
        f'<figure style="--n:{len(versions)}"><div class="halves">{names}</div>'
        f'<div class="both">{clip}</div>'
        f"<figcaption>{html.escape(pair.caption)}<small>{html.escape(pair.world)}, "
        f"PSNR {pair.psnr_db:.1f} dB</small><small>{_size(pair.real, pair.fps)}</small>"
        "</figcaption></figure>"
    )


def _table(table: Table) -> str:
    columns = zip(*table.rows, strict=True)
    numeric = [all(re.match(r"\s*[-+]?\.?\d|-$", c) for c in column) for column in columns]
    numeric = numeric or [False] * len(table.header)

    def row(cells: list[str], tag: str) -> str:
        marks = [' class="number"' if n else "" for n in numeric]
        pairs = zip(cells, marks, strict=True)
        return f"<tr>{''.join(f'<{tag}{m}>{html.escape(c)}</{tag}>' for c, m in pairs)}</tr>"

    body = "\n".join(row(cells, "td") for cells in table.rows)
    title = html.escape(table.title)
    return (
        f'<div><h3>{title}</h3><div class="wide" role="region" aria-label="{title}" tabindex="0">'
        f"<table><thead>{row(table.header, 'th')}</thead><tbody>{body}</tbody></table></div></div>"
    )
