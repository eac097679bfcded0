"""The velocity errors of phyworld's own videos, beside those of arXiv:2411.02385.

Command:  python -m experiments.benchmarks.phyworld [--clips=N] [--seed=N]
Bars:     at 256 pixels the paper's reading has the paper's error of ground truth (table 3) within
          25 %; the calibrated reading has at most 1.5 times the error that its rule has on the
          paper's videos (`FLOORS`), at 64, 128 and 256 pixels.

Each figure is the mean over clips of one motion in training's range, 32 frames, uncompressed. Both
readings and their error are defined in `sora_jax.evals.worlds.phyworld_parser`. The paper's reading
has a scale that is 1 / n too small in a picture of n x n pixels, so that its error is that of the
ruler (v / n). The paper's videos are drawn at 256 pixels and compressed.
"""

import argparse
from typing import Any

from data_pipelines.worlds import phyworld
from data_pipelines.worlds.base import ClipRequest
from experiments.benchmarks import finish, table
from sora_jax.evals.worlds.base import Expected, summarise
from sora_jax.evals.worlds.phyworld_parser import velocity_errors
from sora_jax.laws.phyworld import MOTIONS

SIDES, FRAMES = (64, 128, 256), 32
PUBLISHED = {"uniform": 0.0099, "parabola": 0.0210, "collision": 0.0117}  # units/s, at 256 pixels
FLOORS = {  # units/s, at each of `SIDES`, of videos without smooth edges
    "uniform": (0.0052, 0.0015, 0.0004),
    "parabola": (0.0080, 0.0022, 0.0007),
    "collision": (0.0195, 0.0069, 0.0015),
}
PAPER_BAR, FLOOR_BAR = 0.25, 1.5


def measure(side: int, clips: int, seed: int) -> dict[str, dict[str, list[float]]]:
    """Measures both errors of the first clips of each motion from a seed on."""
    found = {motion: {"paper": [], "calibrated": []} for motion in MOTIONS}
    while min(len(errors["paper"]) for errors in found.values()) < clips:
        clip = phyworld.make_clip(ClipRequest(seed, False, FRAMES, side, side))
        seed += 1
        errors = found[clip.attributes["motion"]]
        if len(errors["paper"]) < clips:
            measured = velocity_errors(clip.video, Expected(clip.attributes, clip.truth, clip.fps))
            for name, values in errors.items():
                values.append(measured[name])
    return found


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=100, help="of each motion and size")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows, figures, missed = [], [], []
    for k, side in enumerate(SIDES):
        for motion, errors in measure(side, args.clips, args.seed).items():
            paper, calibrated = (summarise(errors[name]) for name in ("paper", "calibrated"))
            published = PUBLISHED[motion] if side == 256 else None
            floor = FLOORS[motion][k]
            row: dict[str, Any] = {"motion": motion, "pixels": side, "clips": paper.clips}
            row |= {"paper": paper.mean, "published": published}
            row |= {"calibrated": calibrated.mean, "floor": floor}
            rows.append(["" if value is None else value for value in row.values()])
            intervals = {"paper": [paper.low, paper.high]}
            intervals["calibrated"] = [calibrated.low, calibrated.high]
            figures.append({**row, "intervals": intervals})
            if published and not abs(paper.mean / published - 1) <= PAPER_BAR:
                missed.append(f"{motion}: the paper's reading has {paper.mean:.4f}, {published}")
            if not calibrated.mean <= FLOOR_BAR * floor:
                missed.append(f"{motion} at {side}: the calibrated error is {calibrated.mean:.4f}")
    print(table("motion pixels clips paper published calibrated floor".split(), rows))
    finish("phyworld", {"errors": figures, "frames": FRAMES, "seed": args.seed}, missed)


if __name__ == "__main__":
    main()
