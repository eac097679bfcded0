"""Packed rows against padding, Open-Sora's buckets and Grain's packer, on mixed streams of clips.

Command:  python -m experiments.benchmarks.packing [--seed=N] [--clips=N] [--plan=N] [--mixes=A,B]
Bars:     rows of 16k tokens: at least 0.96 filled, every token of every clip kept, one shape; in
          each step of four epochs the device with most work has at most 1.1 times the mean; with
          four rows a device the share of image tokens varies from step to step at most 1.5 times as
          in random steps; 50,000 clips a second are planned.

A stream has images and clips of five resolutions (144p to 720p) and six aspect ratios from 9:16 to
16:9, 24 frames a second; `MIXES` has the shares of images and the mean durations. A token is 16x16
pixels of 4 frames. Every way gets all clips; "fits" is the share of their tokens in clips that fit
a row, "kept" the share that is trained on, "fill" that of the rows' tokens which belong to clips.
Here clips that are longer than a row are cut in time (`data_pipelines.pieces`): a frame of 720p has
3,600 tokens, which whole frames must leave in a row of 16k. A row's room for text and segments
(`ROWS`) is what many images need; `packed, (2048, 32)` has the 7B config's, which suits clips. A
step has 64 devices, and costs are those of a transformer of width 2048.

Padding: one clip a row, as long as the longest. Buckets: the rule and table of Open-Sora 1.2
(configs/opensora-v1-2/train/stage3.py, datasets/bucket.py), all ten resolutions: a clip goes to the
largest bucket that is no larger, or by chance to a smaller one, loses what is too much, and is
dropped where none is left. Grain: BestFitPackIterDataset with 64 bins, on the first clips of the
stream; it takes none that is longer than a row.

mix: how much the share of image tokens differs from step to step, relative to steps of random rows.
With one row a device, steps of equal cost hold clips of like lengths, so it is high.
"""

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import grain
import numpy as np

from data_pipelines import packing
from data_pipelines.pieces import cut_clips
from experiments.benchmarks import finish, table
from experiments.pods import v5p_7b
from sora_jax.training.experiments import parse

MIXES = {"images": (0.9, 3.0), "mixed": (0.5, 4.0), "clips": (0.2, 4.0), "films": (0.05, 10.0)}
ROWS = {4096: (2048, 64), 16384: (8192, 192), 65536: (16384, 512)}  # text tokens, segments
HEIGHTS, HEIGHT_SHARES = (144, 240, 360, 480, 720), (0.2, 0.25, 0.25, 0.2, 0.1)
ASPECTS = (9 / 16, 3 / 4, 1, 4 / 3, 3 / 2, 16 / 9)
BATCH, TOGETHER, EPOCHS, ALIKE, WINDOW, GRAIN_CLIPS = 64, 4, 4, 7 * 2048, 2048, 8000
# Open-Sora's chance that a clip stays in the bucket of (pixels, frames).
BUCKETS = {
    4_194_304: {1: 0.05},  # "2048"
    2_073_600: {1: 0.1},  # "1080p"
    1_048_576: {204: 0.0, 102: 0.1, 51: 0.1, 1: 0.3},  # "1024"
    921_600: {204: 0.0, 102: 0.1, 51: 0.2, 1: 0.3},  # "720p"
    409_920: {408: 0.0, 204: 0.25, 102: 0.5, 51: 0.5, 1: 1.0},  # "480p"
    262_144: {408: 0.1, 204: 0.5, 102: 0.5, 51: 0.5, 1: 1.0},  # "512"
    230_400: {408: 0.15, 204: 0.5, 102: 0.5, 51: 0.5, 1: 1.0},  # "360p"
    102_240: {408: 0.2, 204: 0.5, 102: 0.5, 51: 0.5, 1: 1.0},  # "240p"
    65_536: {408: 0.25, 204: 0.5, 102: 0.5, 51: 0.5, 1: 1.0},  # "256"
    36_864: {408: 1.0, 204: 1.0, 102: 1.0, 51: 1.0, 1: 1.0},  # "144p"
}


def stream(mix: str, clips: int, seed: int) -> dict[str, np.ndarray]:
    """Clips of a mix: latent shape in tokens, video and text tokens, frames, pixels and aspect."""
    images, seconds = MIXES[mix]
    rng = np.random.default_rng(seed)
    short = rng.choice(HEIGHTS, clips, p=HEIGHT_SHARES)
    aspect = rng.choice(ASPECTS, clips)
    width, height = short * np.maximum(aspect, 1), short / np.minimum(aspect, 1)
    duration = np.minimum(0.5 + rng.exponential(seconds, clips), 60)
    frames = np.where(rng.random(clips) < images, 1, 1 + 4 * np.ceil(duration * 6)).astype(int)
    sides = np.ceil(height / 16), np.ceil(width / 16)
    shape = np.stack([1 + (frames - 1) // 4, *sides], 1).astype(int)
    text = np.where(rng.random(clips) < 0.1, 1, rng.integers(8, 200, clips))
    return {
        "shape": shape,
        "tokens": shape.prod(1),
        "text": -(-text // 8) * 8,
        "frames": frames,
        "pixels": width * height,
        "aspect": aspect,
    }


def uneven(costs: np.ndarray, together: int = 1) -> tuple[float, float]:
    """The largest and the mean over steps of: most work of a device over the mean work."""
    batch = BATCH * together
    steps = costs[: len(costs) // batch * batch].reshape(-1, BATCH, together).sum(2)
    found = steps.max(1) / steps.mean(1)
    return float(found.max()), float(found.mean())


def packed(
    clips: dict[str, np.ndarray], capacity: tuple[int, int, int], seed: int
) -> dict[str, Any]:
    """This project's rows and steps, of several epochs."""
    row = capacity[0]
    pieces = cut_clips(clips["shape"], (1, 1, 1), row)
    lengths = np.stack([pieces.tokens, clips["text"][pieces.clips]], 1)
    is_image = clips["frames"][pieces.clips] == 1
    rows = packing.plan_rows(lengths, capacity, WINDOW)
    costs = packing.row_costs(rows, lengths[:, 0], row, ALIKE)
    rng = np.random.default_rng(seed)
    random, kind = rng.permutation(len(costs)), packing.length_buckets(*lengths.T)
    dealt = packing.assign_clips(kind, np.ones(len(kind), int), kind, rng)
    images = np.bincount(rows, lengths[:, 0] * is_image) / row
    # What an epoch puts into each row, counted again.
    held = [np.bincount(rows, values) for values in (*lengths[dealt].T, np.ones(len(rows)))]
    most = [int(used.max()) for used in held]

    def spread(order: np.ndarray, batch: int) -> float:
        whole = order[: len(order) // batch * batch].reshape(-1, batch)
        return float(images[whole].mean(1).std())

    one = {
        "fill": float(held[0].sum() / (len(held[0]) * row)),
        "kept": float(lengths[np.unique(dealt), 0].sum() / clips["tokens"].sum()),
        "dropped": len(clips["tokens"]) - len(np.unique(pieces.clips[dealt])),
        "shapes": 1 if all(m <= c for m, c in zip(most, capacity, strict=True)) else 2,
    }
    ways = {}
    for together in (1, TOGETHER):
        batch, orders = BATCH * together, []
        for epoch in range(EPOCHS):
            orders.append(packing.order_rows(costs, batch, together, epoch * len(costs), rng))
        ways[f"packed, {together} a device"] = {
            **one,
            "uneven": uneven(costs[np.concatenate(orders)], together),
            "mix": spread(orders[0], batch) / spread(random, batch),
        }
    return ways | {"packed, random steps": {**one, "mix": 1.0, "uneven": uneven(costs[random])}}


def pods(clips: dict[str, np.ndarray], seed: int) -> dict[str, Any]:
    """The same rows with the 7B config's room for text and segments."""
    capacity = parse(v5p_7b.get_config().to_dict()).packing.capacity
    fits = clips["text"] <= capacity[1]
    clips = {name: values[fits] for name, values in clips.items()}
    return {f"packed, {capacity[1:]}": packed(clips, capacity, seed)["packed, 1 a device"]}


def padded(clips: dict[str, np.ndarray]) -> dict[str, Any]:
    """A clip a row."""
    tokens = clips["tokens"]
    costs = tokens.max() + tokens.astype(float) ** 2 / ALIKE
    return {
        "kept": 1.0,
        "fill": float(tokens.mean() / tokens.max()),
        "dropped": 0,
        "shapes": 1,
        "uneven": uneven(costs),
    }


def bucketed(clips: dict[str, np.ndarray], seed: int) -> dict[str, Any]:
    """Open-Sora's buckets."""
    rng, kept, shapes, dropped = np.random.default_rng(seed), 0.0, set(), 0
    for frames, pixels, aspect in zip(
        clips["frames"], clips["pixels"], clips["aspect"], strict=True
    ):
        for area, chances in BUCKETS.items():
            fitting = [1] if frames == 1 else [f for f in chances if 1 < f <= frames]
            if pixels < 0.8 * area or not fitting:
                continue
            length = fitting[0]
            if rng.random() < chances[length]:
                shapes.add((area, length, aspect))
                kept += (1 + (length - 1) // 4) * min(pixels, area) / 256
                break
        else:
            dropped += 1
    return {
        "kept": kept / float(clips["tokens"].sum()),
        "fill": 1.0,
        "dropped": dropped,
        "shapes": len(shapes),
        "uneven": (1.0, 1.0),
    }


def by_grain(clips: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """Grain's packer, on elements of the right lengths."""
    text, segments = ROWS[row]
    whole = np.stack([clips["tokens"], clips["text"]], 1)[:GRAIN_CLIPS]
    pairs = whole[whole[:, 0] <= row]
    source = grain.MapDataset.source(pairs).map(
        lambda n: {"video": np.zeros(n[0], np.uint8), "text": np.zeros(n[1], np.uint8)}
    )
    packer = grain.experimental.BestFitPackIterDataset(
        source.to_iter_dataset(grain.ReadOptions(1, 4)),
        length_struct={"video": row, "text": text},
        num_packing_bins=64,
        max_sequences_per_bin=segments,
    )
    costs = []
    for found in packer:
        lengths = np.bincount(found["video_segment_ids"])[1:]
        costs.append(row + float(np.sum(lengths**2.0)) / ALIKE)
    return {
        "kept": float(pairs[:, 0].sum() / whole[:, 0].sum()),
        "fill": float(pairs[:, 0].sum() / (len(costs) * row)),
        "dropped": len(whole) - len(pairs),
        "shapes": 1,
        "uneven": uneven(np.array(costs)),
    }


def planned(count: int, mix: str, seed: int) -> dict[str, Any]:
    """Seconds and memory of planning so many clips, and of an epoch's deal."""
    clips = stream(mix, count, seed)
    pieces = cut_clips(clips["shape"], (1, 1, 1), 16384)
    lengths = np.stack([pieces.tokens, clips["text"][pieces.clips]], 1)
    del clips, pieces
    tracemalloc.start()
    start, rng = time.perf_counter(), np.random.default_rng(seed)
    kind = packing.length_buckets(*lengths.T)
    rows = packing.plan_rows(lengths, (16384, *ROWS[16384]), WINDOW)
    costs = packing.row_costs(rows, lengths[:, 0], 16384, ALIKE)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    order = packing.order_rows(costs, BATCH, 1, 0, rng)
    rank = np.argsort(order)
    places = kind[np.argsort(rank[rows], kind="stable")]
    packing.assign_clips(kind, np.ones(len(kind), int), places, rng)
    return {
        "clips": len(lengths),
        "fill": packing.fill(rows, lengths[:, 0], 16384),
        "seconds": seconds,
        "clips_per_second": len(lengths) / seconds,
        "epoch_seconds": time.perf_counter() - start,
        "lengths_gb": lengths.nbytes / 1e9,
        "peak_gb": tracemalloc.get_traced_memory()[1] / 1e9,
    }


def main() -> None:
    """Compares, plans, prints, writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--plan", type=int, default=10_000_000)
    parser.add_argument("--mixes", default=",".join(MIXES))
    parser.add_argument("--planned", help="a mix: plans it and prints what that took")
    args = parser.parse_args()
    if args.planned:
        print(json.dumps(planned(args.plan, args.planned, args.seed)))
        return
    missed, found, lines = [], [], []
    for mix in args.mixes.split(","):
        clips = stream(mix, args.clips, args.seed)
        for row in ROWS:
            fits = clips["tokens"][clips["tokens"] <= row].sum() / clips["tokens"].sum()
            ways = {
                **packed(clips, (row, *ROWS[row]), args.seed),
                **(pods(clips, args.seed) if row == 16384 else {}),
                "padded": padded(clips),
                "bucketed": bucketed(clips, args.seed),
                "grain": by_grain(clips, row),
            }
            found.append({"mix": mix, "row": row, "fits": float(fits), **ways})
            for way, one in ways.items():
                figures = [one[name] for name in ("kept", "fill", "dropped", "shapes")]
                lines.append(
                    [mix, row, float(fits), way, *figures, *one["uneven"], one.get("mix", "")]
                )
            for way, ours in ways.items():
                if row != 16384 or "a device" not in way:
                    continue
                if str(TOGETHER) in way and ours["mix"] > 1.5:
                    missed.append(f"{mix}, {way}: steps differ in content by {ours['mix']:.2f}")
                if ours["fill"] < 0.96 or ours["kept"] < 1 or ours["shapes"] > 1:
                    missed.append(f"{mix}, {way}: rows are not full or not complete: {ours}")
                if ours["uneven"][0] > 1.1:
                    missed.append(f"{mix}, {way}: a step is uneven by {ours['uneven'][0]:.3f}")
    head = "mix row fits way kept fill dropped shapes uneven_most uneven_mean mix".split()
    print(table(head, lines), flush=True)
    command = [sys.executable, "-m", "experiments.benchmarks.packing", f"--seed={args.seed}"]
    command += [f"--plan={args.plan}", "--planned"]
    plans = {}
    for mix in args.mixes.split(","):
        done = subprocess.run([*command, mix], capture_output=True, text=True, check=True)
        plans[mix] = json.loads(done.stdout)
        if plans[mix]["clips_per_second"] < 50_000:
            missed.append(f"{mix}: {plans[mix]['clips_per_second']:.0f} clips a second are planned")
    keys = list(next(iter(plans.values())))
    print(table(["planning", *keys], [[m, *map(p.get, keys)] for m, p in plans.items()]))
    finish("packing", {"streams": found, "planning": plans, "seed": args.seed}, missed)


if __name__ == "__main__":
    main()
