"""The page of a report: what `evals.gallery` needs, from its numbers and clips."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from sora_jax.evals import score_tables, scores_page
from sora_jax.evals.curves import Curve
from sora_jax.evals.gallery import Comparison, Sample, Table, write_gallery
from sora_jax.evals.reconstruction import psnr_db
from sora_jax.evals.world_scores import REAL, Case
from sora_jax.training.run_folder import read_metrics

PER_WORLD = 2
PAIRS_PER_WORLD = 2
SHAPES = {(54, 96): "16:9", (96, 54): "9:16", (64, 64): "1:1"}


class Shown(NamedTuple):
    """The clips of a report's page.

    Attributes:
      held_out: records of the validation split.
      reconstructions: what the codec makes of each.
      sampled: cases of the test split, each with the model's video.
      shaped: requests of several aspect ratios, each with the model's video.
      evaluation: has `comparisons`, worst and median clips by the title of their section.
    """

    held_out: Sequence[Any]
    reconstructions: Sequence[np.ndarray]
    sampled: Sequence[tuple[Case, np.ndarray]]
    shaped: Sequence[tuple[Any, np.ndarray]]
    evaluation: Any


def write_demo_page(
    path: epath.PathLike,
    report: dict[str, Any],
    shown: Shown,
    vae: epath.PathLike,
    dit: epath.PathLike,
) -> None:
    """Writes the page of `report` (as in report.json)."""
    cases, videos = [c for c, _ in shown.sampled], [video for _, video in shown.sampled]
    write_gallery(
        path,
        "A world model trained on this machine",
        summary(report),
        headline(report),
        samples(shown),
        {
            "Model, real clip and a control": scores_page.compare_first(cases, videos, PER_WORLD),
            **shown.evaluation.comparisons,
            "Real vs reconstruction": pairs(shown),
        },
        [curve("Autoencoder", vae, ["loss"]), curve("World model", dit, ["loss"]), levels(report)],
        tables(report),
        [
            f'sora-jax sample --checkpoint={dit} --prompt="a red ball bounces on a white '
            'background" --frames=17 --height=64 --width=96 --output=ball.mp4',
            f"sora-jax eval --checkpoint={dit} --output={epath.Path(path).parent / 'scores'}",
            f"sora-jax report --checkpoint={dit} --output={epath.Path(path).parent}",
        ],
        [table for group in report["groups"] for table in score_tables.overview(group)],
    )


def summary(report: dict[str, Any]) -> str:
    """A few sentences that say what the page shows and how it came about."""
    seconds, parameters = report["seconds"], report["parameters"]
    return (
        f"A video autoencoder ({parameters['vae'] / 1e6:.1f} million parameters) and a packed "
        f"diffusion transformer ({parameters['dit'] / 1e6:.1f} million) were trained from "
        f"nothing on {report['machine']} in {sum(seconds.values()) / 60:.0f} minutes, all stages "
        "counted.\n\nEvery prompt is the detailed caption of a held-out clip: the model saw "
        "neither the clip nor its combination of attributes, such as this colour with this shape. "
        "Samples are the first of their split, not chosen.\n\n"
    ) + scores_page.summary("The world model", report["left_out"])


def headline(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Scores, reconstruction, packing and memory."""
    linear = report.get("linear_psnr_db", {})
    gains = [db - linear[world] for world, db in report["vae_psnr_db"].items() if world in linear]
    return [
        *scores_page.headline(report["groups"][0]),
        ("Autoencoder, worst world", f"{min(report['vae_psnr_db'].values()):.1f} dB", ""),
        *([("Least gain over its principal axes", f"{min(gains):.1f} dB", "")] if gains else []),
        ("Packing fill", f"{report['packing_fill']:.3f}", ">= 0.97"),
        ("Peak memory", f"{report['peak_rss_gb']:.1f} GB", "<= 6 GB"),
    ]


def samples(shown: Shown) -> list[Sample]:
    """A video of each aspect ratio."""
    found = []
    for request, video in shown.shaped:
        size = request.height, request.width
        shape = SHAPES.get(size, f"{size[1]}:{size[0]}, a size that was not trained")
        found.append(Sample(video, request.fps, request.prompt, f"aspect ratio {shape}"))
    return found


def pairs(shown: Shown) -> list[Comparison]:
    """The first videos of each world beside their reconstructions."""
    count: dict[str, int] = defaultdict(int)
    found = []
    for record, video in zip(shown.held_out, shown.reconstructions, strict=True):
        world = record.meta.source
        if len(record.video) > 1 and count[world] < PAIRS_PER_WORLD:
            count[world] += 1
            versions = {REAL: record.video, "reconstruction": video}
            note = f"{world}, PSNR {psnr_db(video, record.video):.1f} dB"
            found.append(Comparison(versions, record.fps, record.captions["short"], (note,)))
    return sorted(found, key=lambda pair: pair.notes)


def curve(title: str, workdir: epath.PathLike, names: list[str]) -> Curve:
    """Metrics of a run over its steps, smoothed over a twentieth of them, four lines at least."""
    lines = read_metrics(workdir)
    window = max(len(lines) // 20, 4)  # a cycle of the four shapes of crops
    series = {}
    for name in names:
        points = [(int(line["step"]), line[name]) for line in lines if line.get(name) is not None]
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
    """Scores, reconstruction, seconds, losses by size."""
    psnr = [name for name in ("vae_psnr_db", "linear_psnr_db") if name in report]
    seconds = [[name, f"{value:.0f}"] for name, value in report["seconds"].items()]
    return [
        *(table for group in report["groups"] for table in score_tables.all_tables(group)),
        *score_tables.distribution_tables(report["distribution"]),
        Table(
            "Reconstruction of held-out clips, PSNR in dB",
            ["world", *(name.removesuffix("_psnr_db") for name in psnr)],
            [[w, *(f"{report[n][w]:.1f}" for n in psnr)] for w in report["vae_psnr_db"]],
        ),
        Table("Time", ["stage", "seconds"], seconds),
        loss_table(report),
        score_tables.meanings_table(report["groups"]),
    ]
