"""The page of a report: what `evals.gallery` needs, from its numbers and clips."""

from collections import defaultdict
from typing import Any

import numpy as np
from etils import epath

from sora_jax.evals.curves import Curve
from sora_jax.evals.gallery import Pair, Sample, Table, write_gallery
from sora_jax.evals.reconstruction import psnr_db
from sora_jax.training.run_folder import read_metrics

PER_WORLD = 5
PAIRS_PER_WORLD = 2
SHAPES = {(54, 96): "16:9", (96, 54): "9:16", (64, 64): "1:1"}


def write_demo_page(
    path: epath.PathLike,
    report: dict[str, Any],
    clips: dict[str, Any],
    vae: epath.PathLike,
    dit: epath.PathLike,
) -> None:
    """Writes the page of `report` (as in report.json); `clips` are the report command's."""
    write_gallery(
        path,
        "A world model trained on this machine",
        summary(report),
        headline(report),
        samples(clips),
        pairs(clips),
        [curve("Autoencoder", vae, ["loss"]), curve("World model", dit, ["loss"]), levels(report)],
        tables(report),
        [
            f'sora-jax sample --checkpoint={dit} --prompt="a red ball bounces on a white '
            'background" --frames=17 --height=64 --width=96 --output=ball.mp4',
            f"sora-jax report --checkpoint={dit} --output={epath.Path(path).parent}",
        ],
    )


def summary(report: dict[str, Any]) -> str:
    """A few sentences that say what the page shows and how it came about."""
    seconds, parameters = report["seconds"], report["parameters"]
    return (
        f"A video autoencoder ({parameters['vae'] / 1e6:.1f} million parameters) and a packed "
        f"diffusion transformer ({parameters['dit'] / 1e6:.1f} million) were trained from "
        f"nothing on {report['machine']} in {sum(seconds.values()) / 60:.0f} minutes, all stages "
        "counted.\n\nEvery prompt comes from a held-out split: the model saw neither the clip nor "
        "its combination of attributes, such as this colour with this shape. Samples are the first "
        "of their split, not chosen."
    )


def headline(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The numbers with bars."""
    gain = min(x - report["box_psnr_db"][w] for w, x in report["vae_psnr_db"].items())
    figures = [
        ("Autoencoder, worst world", f"{min(report['vae_psnr_db'].values()):.1f} dB", ">= 26 dB"),
        ("Above box averages", f"{gain:.1f} dB", ">= 3 dB"),
        ("Packing fill", f"{report['packing_fill']:.3f}", ">= 0.97"),
        ("Peak memory", f"{report['peak_rss_gb']:.1f} GB", "<= 6 GB"),
    ]
    if report["color_accuracy"] is not None:
        figures += [
            ("Prompted colour shown", f"{report['color_accuracy']:.2f}", ">= 0.8"),
            ("The same, shuffled prompts", f"{report['color_accuracy_shuffled']:.2f}", "<= 0.3"),
            ("The same, real clips", f"{report['color_accuracy_real']:.2f}", ">= 0.95"),
        ]
    return [*figures, ("Right world shown", f"{report['world_accuracy']:.2f}", "")]


def samples(clips: dict[str, Any]) -> list[Sample]:
    """The first few of each world, then those of each shape."""
    count: dict[str, int] = defaultdict(int)
    shown = []
    for record, video in zip(clips["chosen"], clips["generated"], strict=True):
        world = record.meta.source
        count[world] += 1
        if count[world] <= PER_WORLD:
            shown.append(Sample(video, record.fps, record.captions["short"], world))
    order = list(dict.fromkeys(sample.group for sample in shown))
    shown.sort(key=lambda sample: order.index(sample.group))
    for request, video in clips["shaped"]:
        size = request.height, request.width
        shape = SHAPES.get(size, f"{size[1]}:{size[0]}, a size that was not trained")
        shown.append(Sample(video, request.fps, request.prompt, f"aspect ratio {shape}"))
    return shown


def pairs(clips: dict[str, Any]) -> list[Pair]:
    """The first videos of each world beside their reconstructions."""
    count: dict[str, int] = defaultdict(int)
    shown = []
    for record, video in zip(clips["held_out"], clips["reconstructions"], strict=True):
        world = record.meta.source
        if len(record.video) > 1 and count[world] < PAIRS_PER_WORLD:
            count[world] += 1
            psnr = psnr_db(video, record.video)
            caption = record.captions["short"]
            shown.append(Pair(record.video, video, record.fps, caption, psnr, world))
    return sorted(shown, key=lambda pair: pair.world)


def curve(title: str, workdir: epath.PathLike, names: list[str]) -> Curve:
    """Metrics of a run over its steps, smoothed over a twentieth of them, four lines at least."""
    lines = read_metrics(workdir)
    window = max(len(lines) // 20, 4)  # a cycle of the four shapes of crops
    series = {}
    for name in names:
        points = [(int(line["step"]), line[name]) for line in lines if name in line]
        values = np.array([value for _, value in points])
        smooth = [float(values[max(i - window + 1, 0) : i + 1].mean()) for i in range(len(values))]
        series[name] = [(step, value) for (step, _), value in zip(points, smooth, strict=True)]
    return Curve(f"{title}: training loss", "step", "loss", series, log_y=True)


def levels(report: dict[str, Any]) -> Curve:
    """Held-out loss over the noise level."""
    points = [(float(k), v) for k, v in report["eval_loss"]["by_level"].items()]
    return Curve("World model: held-out loss", "noise level", "error", {"velocity": points})


def loss_table(report: dict[str, Any]) -> Table:
    """Held-out loss by size and noise level."""
    losses = report["eval_loss"]
    return Table(
        "Held-out loss by size: error of the velocity at fixed noise levels",
        ["frames x height x width", "clips", *losses["by_level"], "mean"],
        [
            [
                size,
                str(losses["clips_by_size"][size]),
                *(f"{error:.3f}" for error in errors.values()),
                f"{losses['by_size'][size]:.3f}",
            ]
            for size, errors in losses["by_size_and_level"].items()
        ],
    )


def tables(report: dict[str, Any]) -> list[Table]:
    """Scores per world, colours, seconds, losses by size."""
    psnr = [name for name in ("vae_psnr_db", "linear_psnr_db", "box_psnr_db") if name in report]
    colors = report["color_by_world"]
    seconds = [[name, f"{value:.0f}"] for name, value in report["seconds"].items()]
    return [
        Table(
            "Reconstruction of held-out clips, PSNR in dB",
            ["world", *(name.removesuffix("_psnr_db") for name in psnr)],
            [[w, *(f"{report[n][w]:.1f}" for n in psnr)] for w in report["vae_psnr_db"]],
        ),
        Table(
            "Prompted colour is the dominant one",
            ["world", "generated", "real", "shuffled", "prompts"],
            [
                [w, *(f"{s[k]:.2f}" for k in ("generated", "real", "shuffled")), str(s["prompts"])]
                for w, s in colors.items()
            ],
        ),
        Table("Time", ["stage", "seconds"], seconds),
        loss_table(report),
    ]
