"""A whole film through the ingest: its speed beside bare decoding, its shots, its memory.

Command:  python -m experiments.benchmarks.ingest ARCHIVE [SECONDS]
          pip download --no-deps --no-binary moviepy moviepy==2.2.1    ARCHIVE, with the film
Bars:     the process that decodes the film has a peak below 600 MB; frames = frames in clips +
          those of rejected clips + dropped ones; 139 shots, give or take 6: the 128 that
          PySceneDetect finds alone, which end at cuts, and 11 that end at dissolves and fades,
          counted by eye (with SECONDS, only the start of the film is used and shots are not
          compared).

Bare decoding is PyAV on one thread, frames thrown away. It alternates with the stages of the
ingest, one on top of the other, on a part of the film: decoding and shrinking, shots, measures; and
last all of it with the encoding of the clips, on the whole film. Rates are frames per second of
processor time, so that they mean the same while a machine does something else.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import pathlib
import statistics
import sys
import tempfile
import time

import av

from data_pipelines.ingest import config, filters, pipeline, shots
from data_pipelines.ingest import frames as bars
from data_pipelines.sources import bbb
from experiments.benchmarks import finish, table
from sora_jax import media

SHOTS, APART, PEAK, PART = 139, 6, 600, 1200  # shots and their bar, megabytes, frames
CONFIG = config.IngestConfig()


def bare(path: pathlib.Path, frames: int) -> float:
    """Frames per second of processor time of decoding alone."""
    began = time.process_time()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        count = 0
        for count, _ in enumerate(container.decode(stream), 1):
            if count == frames:
                break
    return count / (time.process_time() - began)


def staged(path: pathlib.Path, frames: int, stage: str) -> float:
    """The same of decoding and what comes after it, up to a stage, without encoding."""
    clips, count = CONFIG.clips, 0
    with media.open_media(path) as film:
        crop = bars.find_bars(film, clips.max_bar_luma)
        began = time.process_time()  # bars and fields have been looked for
        whole = film.read(crop, lambda h, w: bars.fit_size(h, w, clips.max_pixels))
        seen = itertools.islice(whole, frames)
        if stage == "decode":
            count = sum(1 for _ in seen)
        else:
            for cut in shots.cut_shots(seen, film.fps, clips, collections.Counter()):
                measure = filters.Measure(cut.fps, False)
                for frame in cut.frames:
                    count += 1
                    if stage == "measure":
                        measure.add(frame.pixels)
                if stage == "measure":
                    measure.read()
    return count / (time.process_time() - began)


@contextlib.contextmanager
def excerpt(path: pathlib.Path, seconds: float):
    """The first seconds of a film as a file of its own; 0 is all of it."""
    if not seconds:
        yield path
        return
    made = path.with_name("start.mp4")
    with av.open(str(path)) as source, av.open(str(made), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or packet.dts * packet.time_base > seconds:
                break
            packet.stream = stream
            target.mux(packet)
    yield made


def main() -> None:
    """Measures, prints, writes."""
    if len(sys.argv) < 2:
        print("left out: it needs the path of moviepy-2.2.1.tar.gz")
        return
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    rates: dict[str, list[float]] = {"bare decoding": []}
    with (
        bbb.extract_film(pathlib.Path(sys.argv[1])) as whole,
        excerpt(whole, seconds) as path,
        tempfile.TemporaryDirectory() as output,
    ):
        for stage in ("decode", "shots", "measure") * 2:
            rates["bare decoding"].append(bare(path, PART))
            rates.setdefault(f"to {stage}", []).append(staged(path, PART, stage))
        rates["bare decoding"].append(bare(path, PART))
        began = time.monotonic()
        manifest = pipeline.ingest(str(path), output, CONFIG, workers=1)
        wall = time.monotonic() - began
        rates["bare decoding"].append(bare(path, PART))
        (report,) = (json.loads(p.read_text()) for p in pathlib.Path(output).glob("files/*/*.json"))
        began = time.monotonic()
        pipeline.ingest(str(path), output, CONFIG, workers=1)
        again = time.monotonic() - began
    frames, found = manifest["frames"], manifest["clips"]
    rates["all, encoded"] = [report["frames"] / report["took"]["processor_seconds"]]
    median = {name: statistics.median(values) for name, values in rates.items()}
    share = {name: rate / median["bare decoding"] for name, rate in median.items()}
    print(table(["stage", "frames/s", "of bare"], [[n, r, share[n]] for n, r in median.items()]))
    peak = report["took"]["peak_megabytes"]
    print(f"{report['frames']} frames in {wall:.0f} s, again {again:.1f} s; peak {peak} MB")
    print(f"{report['shots']} shots; clips: {json.dumps(found)}; frames: {json.dumps(frames)}")
    missed = []
    if peak > PEAK:
        missed.append(f"the peak is {peak} MB, above {PEAK}")
    if frames["seen"] != sum(frames[k] for k in ("kept", "rejected", "dropped")):
        missed.append(f"frames do not add up: {frames}")
    if not seconds and abs(report["shots"] - SHOTS) > APART:
        missed.append(f"{report['shots']} shots, not about {SHOTS}")
    figures = {
        "film": "Big Buck Bunny, 1280x720" + f", {seconds:g} s" * bool(seconds),
        "config": dataclasses.asdict(CONFIG),
        "frames_per_processor_second": rates,
        "of_bare_decoding": share,
        "wall_seconds": wall,
        "second_run_seconds": again,
        "peak_megabytes": peak,
        "shots": report["shots"],
        "clips": found,
        "frames": frames,
        "sizes": manifest["sizes"],
        "hours": manifest["hours"],
        "stored_bytes": manifest["bytes"],
    }
    finish("ingest", figures, missed)


if __name__ == "__main__":
    main()
