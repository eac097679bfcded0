"""What a person reads of an autoencoder's scores: the page and a strip of frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import UInt8

from sora_jax.evals import reconstruction
from sora_jax.evals.gallery import Comparison, Table, write_gallery
from sora_jax.evals.vae_scores import CODECS, Scored

COLUMNS = {
    "psnr_db": ("PSNR, dB", "{:.2f}"),
    "ssim": ("SSIM", "{:.3f}"),
    "vgg_hed": ("VGG-HED", "{:.3f}"),
    "vmaf": ("VMAF", "{:.1f}"),
    "flicker": ("flicker", "{:.2f}"),
}


def write_page(
    path: epath.PathLike,
    report: dict[str, Any],
    shown: Sequence[tuple[Any, Scored]],
    commands: list[str],
) -> None:
    """Writes the page of `report` (as in eval.json) and of a few records with their scores."""
    write_gallery(
        path,
        "An autoencoder on held-out clips",
        summary(report),
        figures(report),
        [],
        {"Real vs reconstruction": [compare(*clip) for clip in shown]},
        [],
        tables(report),
        commands,
    )


def summary(report: dict[str, Any]) -> str:
    """What was measured, and how to read it."""
    clips = ", ".join(f"{group['clips']} of {name}" for name, group in report["sources"].items())
    return "\n\n".join(
        [
            f"{report['checkpoint']} at step {report['step']}, on clips of the {report['split']} "
            f"split of {report['data']} at their native size: {clips}, spread evenly over the "
            "split. Those that are shown are the longest.",
            "The autoencoder's rate is the divergence of its posterior from the standard normal, "
            "in bits for each pixel of each frame; its pixels come from the posterior's mean, a "
            "little better than from the samples that those bits pay for. H.264 (x264, preset "
            "medium, yuv420p) is given as many bits for each clip; its rate is the one it reached, "
            "less where its best quality needs less, and more where its worst (crf 51) still needs "
            "more. Its chroma has half the resolution, "
            "which alone bounds its PSNR of RGB, often near 40 dB. Films were H.264 before they "
            "were clips, which makes them easier for it.",
            "PSNR, SSIM and VMAF: more is better. VGG-HED and flicker, the error of changes from "
            "frame to frame in 8-bit levels: less is better; images have none. All numbers "
            "are means over clips.",
            *(f"{line[0].upper()}{line[1:]}." for line in report["left_out"]),
        ]
    )


def figures(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The headline: each source's rate and PSNR, and how that compares with H.264's."""
    cells = []
    for name, group in report["sources"].items():
        rate, psnr = group["kl_bits_per_pixel"], group["autoencoder"]["psnr_db"]
        cells += [
            (f"{name}: PSNR at {rate:.2f} bits per pixel", f"{psnr:.1f} dB", ""),
            (f"{name}: above H.264", f"{psnr - group['h264']['psnr_db']:+.1f} dB", ""),
        ]
    return cells


def tables(report: dict[str, Any]) -> list[Table]:
    """Scores by source, and by source and size."""
    return [
        Table("By source", header(report), rows(report, "sources")),
        Table("By size: frames x height x width", header(report), rows(report, "sizes")),
    ]


def measures(report: dict[str, Any]) -> list[str]:
    """What was measured of any source."""
    return [n for n in COLUMNS if any(n in g["autoencoder"] for g in report["sources"].values())]


def header(report: dict[str, Any]) -> list[str]:
    """Names of the columns of `rows`."""
    names = [COLUMNS[n][0] for n in measures(report)]
    return ["source", "clips", "codec", "bits/pixel", *names]


def rows(report: dict[str, Any], kind: str) -> list[list[str]]:
    """One line for each group and codec; `kind` is "sources" or "sizes"."""
    lines = []
    for name, group in report[kind].items():
        rates = {
            "autoencoder": f"{group['kl_bits_per_pixel']:.4f}",
            "h264": f"{group['h264']['bits_per_pixel']:.4f}",
            "linear": "-",
        }
        for codec in (codec for codec in CODECS if codec in group):
            scores = group[codec]
            scores = [
                COLUMNS[n][1].format(scores[n]) if n in scores else "-" for n in measures(report)
            ]
            lines.append([name, str(group["clips"]), CODECS[codec], rates[codec], *scores])
    return lines


def compare(record: Any, clip: Scored) -> Comparison:
    """The clip beside what both codecs make of it."""
    ours, theirs = clip.numbers["autoencoder"], clip.numbers["h264"]
    label = f"H.264: {theirs['bits_per_pixel']:.3f} bits per pixel, PSNR {theirs['psnr_db']:.1f} dB"
    rate = f"{clip.numbers['kl_bits_per_pixel']:.3f} bits per pixel"
    decoded = clip.decoded
    return Comparison(
        {"real": record.video, "reconstruction": decoded["autoencoder"], label: decoded["h264"]},
        record.fps,
        record.captions["short"],
        (f"{clip.source}, {rate}, PSNR {ours['psnr_db']:.1f} dB",),
    )


def strip(shown: Sequence[tuple[Any, Scored]]) -> UInt8[np.ndarray, "h w 3"]:
    """Frames of a few clips above those of their reconstructions."""
    return reconstruction.strip([(r.video, clip.decoded["autoencoder"]) for r, clip in shown])
