"""Made films in the forms that cameras and programs write, through the one reader.

Command:  python -m experiments.benchmarks.footage
Bar:      each film is read right (size, frames per second, number of frames, the right frame at
          each time, colours of flat patches within one level) or refused by its reason.

The films are those of `experiments.made_films`, whose planes are computed from the standards. A
film at a varying rate is read right where each frame of its reading is the one nearest in time.
"""

import dataclasses
import fractions
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np
from absl import app
from PIL import Image

from experiments import made_films
from experiments.benchmarks import finish, table
from experiments.made_films import Form
from sora_jax import media

H264 = {"crf": "0", "preset": "veryfast"}
FORM = Form(options=H264)
STATED = 1.0  # levels


@dataclasses.dataclass(frozen=True)
class Case:
    """A film, and what reading it should give.

    Attributes:
      name: of the table and the file, with its suffix.
      make: writes the film to a path.
      video: uint8[t, h, w, 3], its frames at `times`.
      fps: frames per second of the reading; 0 where it should be refused for `reason`.
      levels: largest error of the colours of flat patches, in this share of their pixels.
      has_holes: whether frames are lost, for which the one before is shown.
    """

    name: str
    make: Callable[[pathlib.Path], object]
    video: np.ndarray
    times: Sequence[float] | np.ndarray = ()
    fps: float = 24.0
    reason: str = ""
    levels: float = STATED
    share: float = 1.0
    has_holes: bool = False


def _case(name: str, video: np.ndarray, form: Form, **about) -> Case:
    """A film of frames at a constant rate, which reads as what is stored of them."""
    shown = made_films.stored(video, form)
    return Case(name, lambda path: made_films.write(path, video, form=form), shown, **about)


def containers() -> Iterator[Case]:
    """Every container with the codecs that it usually has."""
    video = made_films.scene(25)
    lossless = {"lossless": "1"}
    for name, form in {
        "h264.mp4": FORM,
        "h264.mov": FORM,
        "h264.mkv": FORM,
        "h264.ts": FORM,
        "hevc.mp4": Form("libx265", options={"x265-params": "log-level=none:qp=2:pools=1"}),
        "hevc 10 bit.mkv": Form(
            "libx265", "yuv420p10le", {"x265-params": "log-level=none:qp=2:pools=1"}
        ),
        "vp9.webm": Form("libvpx-vp9", options={**lossless, "cpu-used": "8"}),
        "av1.mp4": Form("libsvtav1", options={"crf": "8", "preset": "10", "svtav1-params": "lp=1"}),
        "mpeg4.avi": Form("mpeg4", options={"qmin": "1", "qmax": "1"}, matrix=5),
        "prores 422.mov": Form("prores_ks", "yuv422p10le", {"profile": "3"}),
        "mjpeg.avi": Form("mjpeg", "yuvj420p", {"qmin": "1", "qmax": "1"}, matrix=5, full=True),
        "ffv1 444.mkv": Form("ffv1", "yuv444p"),
        "ffv1 420 10 bit.mkv": Form("ffv1", "yuv420p10le"),
        "ffv1 rgb.mkv": Form("ffv1", "bgr0", matrix=0, full=True),
        "h264 422 10 bit.mp4": dataclasses.replace(FORM, pix_fmt="yuv422p10le"),
        "h264 444.mp4": dataclasses.replace(FORM, pix_fmt="yuv444p"),
    }.items():
        levels = {"mpeg4": 3.0, "mjpeg": 3.0, "libsvtav1": 3.0}.get(form.codec, STATED)  # lossy
        yield _case(name, video, form, levels=levels)
    for suffix in ("gif", "webp", "png"):

        def write(path: pathlib.Path) -> None:
            first, *rest = (Image.fromarray(frame) for frame in video)
            first.save(path, save_all=True, append_images=rest, duration=40, lossless=True)

        levels = 26.0 if suffix == "gif" else STATED  # 256 colours
        yield Case(f"animated.{suffix}", write, video, fps=25.0, levels=levels)


def colors() -> Iterator[Case]:
    """Matrix, range and tags, below and from 720 lines on; high dynamic range."""
    small, large = made_films.scene(5), made_films.scene(3, 720, 1280)
    for matrix, full in ((1, False), (1, True), (6, False), (6, True), (9, False)):
        form = dataclasses.replace(FORM, matrix=matrix, full=full)
        form = dataclasses.replace(form, pix_fmt="yuvj420p") if full else form
        name = f"{ {1: '709', 6: '601', 9: '2020'}[matrix] } {'full' if full else 'limited'}.mp4"
        yield _case(name, small, form)
    for name, video, matrix in (("untagged SD.mp4", small, 6), ("untagged HD.mp4", large, 1)):
        form = dataclasses.replace(FORM, matrix=matrix, tagged=False)
        yield _case(name, video, form)
    for name, transfer in (("PQ.mkv", 16), ("HLG.mkv", 18)):
        # saturated dark colours are differences of large numbers, which 10 bits do not hold
        milder = made_films.scene(5, levels=(60, 200))
        form = Form("ffv1", "yuv420p10le", matrix=9, transfer=transfer, primaries=9)
        yield _case(name, milder, form, levels=2.0)
    clear = np.concatenate([small, np.full((*small.shape[:3], 1), 255, np.uint8)], -1)
    clear[:, :48, :, 3] = 0
    shown = np.where(clear[..., 3:] == 0, 255, small)
    for name, form in {
        "alpha prores.mov": Form("prores_ks", "yuva444p10le", {"profile": "4"}),
        "alpha png.mov": Form("png", "rgba", matrix=0, full=True),
    }.items():
        yield Case(name, lambda path, f=form: made_films.write(path, clear, form=f), shown)


def shapes() -> Iterator[Case]:
    """Rotation, aspect, fields."""
    video = made_films.scene(25)
    for turns in (1, 2, 3):
        form = dataclasses.replace(FORM, turns=turns)
        name = f"rotation {90 * turns}.mp4"
        yield _case(name, video, form)
    form = dataclasses.replace(FORM, aspect=fractions.Fraction(2))
    narrow = made_films.small(video, 96, 80)
    make = lambda path, f=form: made_films.write(path, narrow, form=f)  # noqa: E731
    yield Case("aspect 2.mp4", make, video, levels=2.0, share=0.9)
    fields = made_films.scene(60, speed=3)
    for name, flags in (("flagged", {"flags": "+ildct+ilme"}), ("not flagged", {})):
        form = dataclasses.replace(FORM, woven=True, options={**H264, **flags})
        name = f"interlaced, {name}.mp4"
        make = lambda path, f=form: made_films.write(path, fields, form=f)  # noqa: E731
        yield Case(name, make, fields[0::2], levels=8.0, share=0.9)  # lines are interpolated


def times() -> Iterator[Case]:
    """Rates that vary, gaps, few and many frames a second."""
    for name, stamps, fps in (
        ("30 then 6 fps.mp4", [*np.arange(60) / 30, *(2 + np.arange(60) / 6)], 30.0),
        ("a phone's jitter.mp4", np.arange(60) / 30 + 0.004 * np.sin(np.arange(60)), 30.0),
        ("a frame is missing.mp4", np.delete(np.arange(61) / 24, 30), 24.0),
        ("a recorded screen.mkv", [0, 20, 40, *(60 + np.arange(30) / 30)], 30.0),
        ("120 fps.mp4", np.arange(120) / 120, 120.0),
        ("23.976 fps.mkv", np.arange(48) * 1001 / 24000, 24000 / 1001),
        ("1 fps.mp4", np.arange(10) * 1.0, 1.0),
        ("one frame.mp4", [0.0], 24.0),
    ):
        video = made_films.scene(len(stamps))
        make = lambda path, v=video, s=stamps: made_films.write(path, v, 24, s, FORM)  # noqa: E731
        shown = made_films.stored(video, FORM)
        yield Case(name, make, shown, stamps, 0.0 if len(stamps) == 1 else fps)


def faults() -> Iterator[Case]:
    """Damage in the middle; what is no film."""
    video = made_films.scene(96)
    form = dataclasses.replace(FORM, options={**H264, "g": "24"})

    def harm(path: pathlib.Path) -> None:
        made_films.write(path, video, form=form)
        made_films.damage(path)

    for name in ("damaged.mp4", "damaged.mkv", "damaged.ts", "damaged.avi"):
        yield Case(name, harm, made_films.stored(video, form), has_holes=True)

    def sound(path: pathlib.Path) -> None:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44_100)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
            frame.sample_rate = 44_100
            container.mux(stream.encode(frame))
            container.mux(stream.encode())

    yield Case("sound alone.mp4", sound, video, reason="no pictures")
    yield Case("text.mp4", lambda path: path.write_text("no film"), video, reason="no pictures")


def read(case: Case, folder: pathlib.Path) -> tuple[str, list[str]]:
    """Makes and reads a film; returns what was read, and what is wrong with it."""
    path = folder / case.name
    case.make(path)
    try:
        found, fps = media.read_video(path)
    except ValueError as error:
        return str(error).rpartition(": ")[0][-40:], [] if case.reason and case.reason in str(
            error
        ) else [f"refused: {error}"]
    times = np.asarray(case.times) if len(case.times) else np.arange(len(case.video)) / case.fps
    wrong = []
    if case.reason:
        wrong.append(f"read, not refused as {case.reason!r}")
    if found.shape[1:] != case.video.shape[1:]:
        return f"{found.shape}", [f"its shape is not that of {case.video.shape}"]
    if case.fps and abs(fps / case.fps - 1) > 0.003:
        wrong.append(f"{fps:.3f} frames per second, not {case.fps:.3f}")
    last = times[-1] - times[0]
    if abs((len(found) - 1) / fps - last) > (0.2 if case.has_holes else 0.5 / fps + 1e-3):
        wrong.append(f"{len(found)} frames of {last:.2f} s")
    error = 0.0
    for tick, frame in enumerate(found):
        if case.has_holes and tick % 8:
            continue  # each is compared with all
        away = np.abs(times - times[0] - tick / fps)
        may = np.flatnonzero((away < away.min() + 2e-3) | case.has_holes)
        errors = (made_films.flat_error(frame, case.video[i], case.share) for i in may)
        error = max(error, min(errors))
    combs = [np.mean([made_films.combs(f) for f in v]) for v in (found, case.video)]
    if combs[0] > 1.2 * combs[1] + 1:
        wrong.append(f"lines differ by {combs[0]:.1f} levels, not {combs[1]:.1f}")
    if error > case.levels:
        wrong.append(f"colours are off by {error:.1f} levels")
    return f"{len(found)} x {found.shape[1]}x{found.shape[2]}, {fps:.3f} fps, {error:.2f}", wrong


def main(_: list[str]) -> None:
    """Reads all films; prints, writes."""
    rows, missed = [], []
    with tempfile.TemporaryDirectory() as folder:
        for group in (containers, colors, shapes, times, faults):
            for case in group():
                said, wrong = read(case, pathlib.Path(folder))
                rows.append([group.__name__, case.name, said, "; ".join(wrong) or "right"])
                missed += [f"{case.name}: {what}" for what in wrong]
    print(table(["kind", "film", "read as", ""], rows))
    figures = {"films": len(rows), "rows": rows}
    finish("footage", figures, missed)


if __name__ == "__main__":
    app.run(main)
