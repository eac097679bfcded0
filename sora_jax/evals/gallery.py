"""A self-contained HTML page of samples, comparisons of clips, curves and tables.

Clips are embedded as base64 H.264. They are small (48 to 96 pixels), so they are enlarged before
encoding: the player then shows the model's pixels and not its own smoothing, and the halved chroma
does no harm.
"""

import base64
import html
import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from etils import epath
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from sora_jax import media
from sora_jax.evals.curves import Curve, draw_curve

_MAX_WIDE_COLUMNS = 11  # tables with more columns have narrower ones
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
class Comparison:
    """Versions of one clip, side by side and in step.

    Attributes:
      versions: clips of one shape by name, such as "real" and "reconstruction".
      fps: frames per second.
      caption: what the clip shows.
      notes: lines below the caption.
      group: comparisons of one group stand together under its name; "" for no name.
      marks: (x, y) in pixels of points in each frame, which a ring marks in every version; nan
        marks nothing.
    """

    versions: Mapping[str, UInt8[np.ndarray, "t h w 3"]]
    fps: float
    caption: str
    notes: tuple[str, ...] = ()
    group: str = ""
    marks: Float[np.ndarray, "t n 2"] | None = None


@dataclass(frozen=True)
class Cell:
    """A table's cell in another colour: `style` is "pass", "miss" or "dim"."""

    text: str
    style: str


@dataclass(frozen=True)
class Table:
    """Rows of cells; columns whose cells all begin with a number or are "-" are right-aligned.

    Attributes:
      note: a sentence below the title.
    """

    title: str
    header: list[str]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""


def as_text(table: Table) -> str:
    """The table in columns of spaces."""
    lines = [table.header, *([_text(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def write_gallery(
    path: epath.PathLike,
    title: str,
    summary: str,
    figures: list[tuple[str, str, str]],
    samples: list[Sample],
    comparisons: Mapping[str, Sequence[Comparison]],
    curves: list[Curve],
    tables: list[Table],
    commands: list[str],
    overview: Sequence[Table] = (),
) -> None:
    """Writes the page.

    Args:
      path: the HTML file; its folder is made if needed.
      title: the page's heading.
      summary: plain text, with blank lines between paragraphs.
      figures: headline (name, value, bar), such as ("VAE PSNR", "27.1 dB", ">= 25 dB"). Value and
        bar have the same unit; an empty bar means no verdict.
      samples: generated clips and images, shown by group in the order in which groups appear.
      comparisons: versions of clips side by side, by the title of their section.
      curves: drawn as SVG.
      tables: shown unchanged, below the clips.
      commands: commands to try next, each shown in a box.
      overview: tables that stand before the clips.

    Raises:
      ValueError: if there are neither samples nor comparisons, or a bar cannot be read.
    """
    if not (samples or any(comparisons.values())):
        raise ValueError("no samples and no comparisons: a gallery shows at least one clip")
    shapes = [s for s in samples if s.group.startswith("aspect ratio")]
    worlds = [s for s in samples if not s.group.startswith("aspect ratio")]
    sections = {
        "Overview": _wrap("div", "tables", map(_table, overview)),
        "Samples by world": _sample_groups(worlds),
        "Samples by aspect ratio": _sample_groups(shapes),
        **{name: _comparison_groups(shown) for name, shown in comparisons.items()},
        "Curves": _wrap("div", "curves", map(draw_curve, curves)),
        "Numbers": _wrap("div", "tables", map(_table, tables)),
        "Try next": "\n".join(f'<pre tabindex="0">{html.escape(c)}</pre>' for c in commands),
    }
    _write_page(path, title, summary, sections, figures)


def write_numbers_page(
    path: epath.PathLike, title: str, summary: str, curves: list[Curve], tables: list[Table]
) -> None:
    """Writes a page of curves and tables alone; arguments are those of `write_gallery`."""
    sections = {
        "Curves": _wrap("div", "curves", map(draw_curve, curves)),
        "Numbers": _wrap("div", "tables", map(_table, tables)),
    }
    _write_page(path, title, summary, sections)


def _write_page(
    path: epath.PathLike,
    title: str,
    summary: str,
    sections: Mapping[str, str],
    figures: Sequence[tuple[str, str, str]] = (),
) -> None:
    """Writes a page of sections of HTML by their titles; those that are empty are left out."""
    ids = {name: name.lower().replace(" ", "-") for name, body in sections.items() if body}
    template = epath.Path(__file__).with_name("gallery.html").read_text(encoding="utf-8")
    page = string.Template(template).substitute(
        title=html.escape(title),
        summary="\n".join(map(_paragraph, filter(str.strip, summary.split("\n\n")))),
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


def _paragraph(text: str) -> str:
    """A paragraph of text in which `this` is code."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return f"<p>{marked}</p>"


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
    verdict = ""
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


def _enlarge(video: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t y x 3"]:
    """Frames whose longer side has about `_LONG_SIDE_PIXELS` pixels, of even sides."""
    height, width = video.shape[1:3]
    scale = max(1, round(_LONG_SIDE_PIXELS / max(height, width)))
    size = [2 * math.ceil(n * scale / 2) for n in (width, height)]  # yuv420p needs even sides
    images = (Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in video)
    return np.stack([np.asarray(image) for image in images])


def _clip(video: UInt8[np.ndarray, "t h w 3"], fps: float, label: str) -> str:
    """An element that shows a clip, enlarged and scaled to its cell."""
    return _player(_enlarge(video), fps, label, video[len(video) // 2])


def _player(
    frames: UInt8[np.ndarray, "t y x 3"], fps: float, label: str, poster: UInt8[np.ndarray, "h w 3"]
) -> str:
    """An img element for one frame, a video element for more, as wide as its cell if it is wide."""
    height, width = frames.shape[1:3]
    label = html.escape(label)
    box = f'width="{width}" height="{height}" style="width:{min(1, width / height):.2%}"'
    if len(frames) == 1:
        return f'<img {box} alt="{label}" src="{_png(frames[0])}">'
    mp4 = base64.b64encode(media.video_bytes(frames, fps)).decode()
    return (
        f'<video {box} aria-label="{label}" poster="{_png(poster)}" tabindex="0" '
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


def _comparison_groups(shown: Sequence[Comparison]) -> str:
    """All comparisons by group, in columns wide enough for the maximum number of versions (--n)."""
    versions = max((len(comparison.versions) for comparison in shown), default=0)
    groups: dict[str, list[str]] = {}
    for comparison in shown:
        groups.setdefault(comparison.group, []).append(_comparison(comparison))
    blocks = []
    for name, figures in groups.items():
        title = f"<h3>{html.escape(name)}</h3>\n" if name else ""
        blocks.append(title + _wrap("div", "pairs", figures))
    body = "\n".join(blocks)
    return body.replace('class="pairs"', f'class="pairs" style="--n:{versions}"')


def _comparison(comparison: Comparison) -> str:
    """A figure of one clip that holds all versions in one video, so that they stay in step."""
    c = comparison
    first, *_ = c.versions.values()
    parts = [_mark(_enlarge(video), first.shape, c.marks) for video in c.versions.values()]
    clip = _player(
        np.concatenate(parts, axis=2),
        c.fps,
        f"{' and '.join(c.versions)}: {c.caption}",
        np.concatenate([video[len(video) // 2] for video in c.versions.values()], axis=1),
    )
    names = "".join(f"<span>{html.escape(name)}</span>" for name in c.versions)
    notes = "".join(f"<small>{html.escape(n)}</small>" for n in (*c.notes, _size(first, c.fps)))
    return (
        f'<figure style="--n:{len(c.versions)}"><div class="halves">{names}</div>'
        f'<div class="both">{clip}</div>'
        f"<figcaption>{html.escape(c.caption)}{notes}</figcaption></figure>"
    )


def _mark(
    frames: UInt8[np.ndarray, "t y x 3"],
    shape: tuple[int, ...],
    marks: Float[np.ndarray, "t n 2"] | None,
) -> UInt8[np.ndarray, "t y x 3"]:
    """Draws rings, white within black, around points given in pixels of clips of a shape."""
    if marks is None:
        return frames
    scale = np.array(frames.shape[2:0:-1]) / np.array(shape[2:0:-1])
    marked = []
    for frame, points in zip(frames, marks * scale, strict=True):
        image = Image.fromarray(frame)
        draw = ImageDraw.Draw(image)
        for x, y in points[np.isfinite(points).all(-1)]:
            for radius, width, color in ((6, 4, "black"), (5, 2, "white")):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), None, color, width)
        marked.append(np.asarray(image))
    return np.stack(marked)


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _table(table: Table) -> str:
    columns = zip(*table.rows, strict=True)
    numeric = [all(re.match(r"\s*[-+]?\.?\d|-$", _text(c)) for c in column) for column in columns]
    numeric = numeric or [False] * len(table.header)

    def row(cells: Sequence[str | Cell], tag: str) -> str:
        line = []
        for cell, right in zip(cells, numeric, strict=True):
            names = [cell.style] if isinstance(cell, Cell) else []
            names += ["number"] if right else []
            css = f' class="{" ".join(names)}"' if names else ""
            line.append(f"<{tag}{css}>{html.escape(_text(cell))}</{tag}>")
        return f"<tr>{''.join(line)}</tr>"

    body = "\n".join(row(cells, "td") for cells in table.rows)
    title = html.escape(table.title)
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    dense = ' class="dense"' if len(table.header) > _MAX_WIDE_COLUMNS else ""
    return (
        f'<div><h3>{title}</h3>{note}<div class="wide" role="region" aria-label="{title}" '
        f'tabindex="0"><table{dense}><thead>{row(table.header, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div></div>"
    )
