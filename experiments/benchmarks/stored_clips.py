"""How clips of films are stored: bytes, loss, and the time that writing and reading takes.

Command:  python -m experiments.benchmarks.stored_clips ARCHIVE
          pip download --no-deps --no-binary moviepy moviepy==2.2.1    ARCHIVE, with the film
Bars:     what is used (`media.STORED`) keeps at least 38 dB of RGB and 42 dB of brightness, and no
          other way is better in all columns.

Eight parts of Big Buck Bunny, 96 frames each, at the size of ingested clips. PSNR is of all pixels,
against the frames that were encoded; that of brightness is of 0.2126 R + 0.7152 G + 0.0722 B. A
crop is 17 frames that begin anywhere, as an autoencoder is trained on. Times are of processors,
summed over threads, per frame written, or per crop read; ways alternate. RGB at crf 10 is what was
used before.
"""

import fractions
import io
import itertools
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np

from data_pipelines.ingest import config
from data_pipelines.ingest import frames as bars
from data_pipelines.sources import bbb
from experiments.benchmarks import finish, table
from sora_jax import media
from sora_jax.media import write

PARTS, EVERY, FRAMES, CROP, CROPS = 8, 700, 96, 17, 6
LEAST, LEAST_BRIGHTNESS = 38.0, 42.0
BRIGHTNESS = np.array([0.2126, 0.7152, 0.0722])


def read_parts(path: pathlib.Path) -> tuple[list[np.ndarray], float]:
    """Reads parts of the film as the ingest does; returns them and the frames per second."""
    clips, parts = config.IngestConfig().clips, []
    with media.open_media(path) as film:
        crop = bars.find_bars(film, clips.max_bar_luma)
        frames = film.read(crop, lambda h, w: bars.fit_size(h, w, clips.max_pixels))
        for number in range(PARTS):
            some = itertools.islice(frames, EVERY if number else EVERY // 2)
            parts.append(np.stack([frame.pixels for frame in some][-FRAMES:]))
        return parts, film.fps


def x264(lossless: bool, **options: str) -> Callable[[np.ndarray, float], bytes]:
    """Makes a way to store by x264."""
    encoding = write.Encoding(lossless, options)
    return lambda video, fps: media.encode_video(video, fps, encoding=encoding)


def planes(codec: str, form: str, **options: str) -> Callable[[np.ndarray, float], bytes]:
    """Makes a way to store by another codec, or in another format, BT.709 in limited range."""

    def encode(video: np.ndarray, fps: float) -> bytes:
        rate, file = fractions.Fraction(fps).limit_denominator(1001), io.BytesIO()
        video = np.pad(video, [(0, 0), *((0, n % 2) for n in video.shape[1:3]), (0, 0)], "edge")
        graph = write.make_planes_graph(video.shape[1], video.shape[2], rate, form)
        with av.open(file, "w", format="mp4") as container:
            stream: Any = container.add_stream(codec, rate=rate, options=options)
            stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], form
            write.tag(stream.codec_context)
            for number, image in enumerate(video):
                graph.vpush(write.to_frame(image, number, rate))
                container.mux(stream.encode(graph.vpull()))
            container.mux(stream.encode())
        return file.getvalue()

    return encode


AV1 = {"preset": "10", "g": "17"}
SHORT = {"preset": "veryfast", "g": "17", "keyint_min": "1"}
WAYS = {
    "RGB x264, crf 10, medium": x264(True, crf="10", preset="medium"),
    "RGB x264, crf 10, keys every 17": x264(True, crf="10", **SHORT),
    "STORED": lambda video, fps: media.encode_video(video, fps, encoding=media.STORED),
    "4:4:4 x264, crf 16, keys every 17": planes("libx264", "yuv444p", crf="16", **SHORT),
    "4:4:4 x264, crf 20, keys every 17": planes("libx264", "yuv444p", crf="20", **SHORT),
    "4:2:0 x264, crf 12, keys every 17": x264(False, crf="12", **SHORT),
    "4:2:0 x264, crf 20, keys every 17": x264(False, crf="20", **SHORT),
    "4:2:0 x264, crf 16, keys every 250": x264(False, crf="16", preset="veryfast"),
    "4:2:0 SVT-AV1, crf 20, keys every 17": planes(
        "libsvtav1", "yuv420p", crf="20", preset="10", g="17"
    ),
    "4:2:0 SVT-AV1, crf 12, keys every 17": planes(
        "libsvtav1", "yuv420p", crf="12", preset="10", g="17"
    ),
}


def spent(run: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a call, and its result."""
    began = time.process_time()
    result = run()
    return time.process_time() - began, result


def main() -> None:
    """Measures, prints, writes."""
    if len(sys.argv) < 2:
        print("left out: it needs the path of moviepy-2.2.1.tar.gz")
        return
    with bbb.extract_film(pathlib.Path(sys.argv[1])) as path:
        parts, fps = read_parts(path)
    rng, found = np.random.default_rng(0), {}
    for part in parts:
        starts = rng.integers(0, FRAMES - CROP + 1, CROPS).tolist()
        for name, way in WAYS.items():
            wrote, data = spent(lambda way=way, part=part: way(part, fps))
            whole, _ = media.decode_video(data)
            whole = whole[:, : part.shape[1], : part.shape[2]]
            read = [
                spent(lambda s=s, d=data: media.decode_video(d, s, s + CROP, fps))[0]
                for s in starts
            ]
            difference = whole.astype(float) - part
            errors = np.mean(difference**2), np.mean((difference @ BRIGHTNESS) ** 2)
            line = (len(data) / part[..., 0].size, *errors, wrote / FRAMES, statistics.mean(read))
            found.setdefault(name, []).append(line)
    rows = []
    for name, lines in found.items():
        size, *errors, wrote, read = np.mean(lines, 0).tolist()
        psnr = [10 * float(np.log10(255**2 / error)) for error in errors]
        rows.append((name, size, *psnr, 1e3 * wrote, 1e3 * read))
    header = ("way", "bytes/pixel", "PSNR dB", "of brightness", "ms/frame written", "ms/crop read")
    print(table(header, rows))
    (stored,) = (row for row in rows if row[0] == "STORED")
    missed = []
    if not (stored[2] >= LEAST and stored[3] >= LEAST_BRIGHTNESS):
        missed.append(f"STORED keeps {stored[2]:.1f} dB, and {stored[3]:.1f} of brightness")
    signs = np.array([1, -1, -1, 1, 1])
    for name, *numbers in rows:
        if (signs * numbers < signs * np.array(stored[1:])).all():
            missed.append(f"{name} is better in all")
    lines = [dict(zip(header, row, strict=True)) for row in rows]
    figures = {"size": parts[0].shape, "rows": lines}
    finish("stored_clips", figures, missed)


if __name__ == "__main__":
    main()
