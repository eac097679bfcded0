"""A training step of the transformer beside diffusers' on torch, and what packing saves.

Command:  pip install -e '.[reference]' && python -m experiments.benchmarks.dit_speed
Bars:     tokens a second of ours over theirs at least 1.0, theirs being the faster of eager torch
          and torch.compile, at either precision; useful tokens a second of packed rows above those
          of padded and of bucketed batches of the same clips.

Both train the same 20M parameters (random weights of WanTransformer3DModel) on the same 4 clips of
512 tokens with captions of 64: forward, backward, clipping, AdamW, and the average of weights. Runs
alternate, so that what else the machine does meets both. All is float32; where the processor is
faster at products of bfloat16 factors, both also run with those (`kernels.products`, and torch's
`set_float32_matmul_precision("medium")`). The floor is the step's operations over the speed of a
large matrix product, measured first.

The clips of the second part are drawn from `SIZES`. Padded: each clip alone in a row as long as the
longest. Bucketed: each clip alone in the shortest of four rows that holds it, as many rows a batch
as make up the same tokens; a bucket is a compilation. Packed: rows of `ROW` by `packing.plan_rows`.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from diffusers import WanTransformer3DModel

from data_pipelines.packing import plan_rows
from experiments.benchmarks import finish, matmul_speed, table
from sora_jax import sharding
from sora_jax.interop import wan_dit
from sora_jax.kernels import products
from sora_jax.models import dit
from sora_jax.patches import patch_grid
from sora_jax.rows import PackedBatch, batch_specs, make_segment, pack_row
from sora_jax.scaling.flops import step_flops
from sora_jax.training import diffusion_task
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.optimizer import OptimizerConfig

BAR, ROUNDS = 1.0, 9
PRECISIONS = {"float32": "highest", "bfloat16": "medium"}
"""Ours, of `jax.default_matmul_precision`, and torch's name for the same."""
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"remat": "dots", "unroll": False},
    "bfloat16": {"remat": "none", "unroll": True},
}
"""What is recomputed and unrolled: the fastest on a CPU, by precision; it changes no number."""
CONFIG: dict[str, Any] = {
    "_class_name": wan_dit.CLASS,
    "num_attention_heads": 6,
    "attention_head_dim": 64,
    "text_dim": 256,
    "ffn_dim": 1536,
    "num_layers": 8,
}
CLIPS, LATENT, WORDS = 4, (2, 32, 32), 64
ROW, ROWS = 1024, 2
SIZES = [(t, h, w) for t in (1, 1, 2, 3, 5) for h, w in ((8, 8), (12, 20), (20, 12), (16, 28))]
"""Latents of images and clips, wide, tall and square: 16 to 560 tokens."""
BUCKETS = (64, 128, 256, 560)


def experiment(precision: str = "float32") -> DiffusionExperiment:
    """Our side, with theirs' optimizer."""
    model = wan_dit.from_their_config({k: v for k, v in CONFIG.items() if k[0] != "_"})
    model = dataclasses.replace(model, padded_text_length=0, **SETTINGS[precision])
    return DiffusionExperiment("", model=model, optimizer=OptimizerConfig(steps=1000))


def batch_of(rows: list[list[tuple[int, ...]]], length: int, config: dit.DiTConfig) -> PackedBatch:
    """Random clips of these latents' shapes; their captions have `WORDS` states each."""
    rng, most = np.random.default_rng(0), max(map(len, rows))
    packed = []
    for row in rows:
        segments = []
        for shape in row:
            latent = rng.normal(size=(*shape, config.latent_channels)).astype(np.float32)
            text = rng.normal(size=(WORDS, config.text_embed_dim)).astype(np.float32)
            segments.append(make_segment(latent, 16.0, text, config.patch, 1.0))
        packed.append(pack_row(segments, (length, most * WORDS, most), config.patch_width))
    fields: Any = (np.stack(field) for field in zip(*packed, strict=True))
    return sharding.shard(PackedBatch(*fields), batch_specs())


def our_step(setup: DiffusionExperiment, state: Any, batch: PackedBatch) -> Callable[[], None]:
    """One training step on a batch; the state goes on."""
    run = jax.jit(functools.partial(diffusion_task.train_step, experiment=setup), donate_argnums=0)
    held = [jax.tree.map(jnp.copy, state)]

    def call() -> None:
        held[0], metrics = run(held[0], batch)
        jax.block_until_ready(metrics)

    return call


def their_step(model: WanTransformer3DModel, compiled: bool) -> Callable[[], None]:
    """The same on torch."""
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    run: Any = torch.compile(model) if compiled else model
    t, h, w = LATENT
    x, noise = torch.randn(2, CLIPS, 16, t, h, w)
    text = torch.randn(CLIPS, WORDS, CONFIG["text_dim"])

    def call() -> None:
        level = torch.rand(CLIPS)
        s = level[:, None, None, None, None]
        made = run((1 - s) * x + s * noise, 1000 * level, text).sample
        torch.mean((made - (noise - x)) ** 2).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 0.001)

    return call


def medians(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median seconds of each, run in turn after a first call that compiles."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(kept) for name, kept in times.items()}


def plan_of(lengths: np.ndarray) -> list[np.ndarray]:
    """The packed rows of clips of so many tokens."""
    pairs = np.stack([lengths, np.full_like(lengths, WORDS)], 1)
    rows = plan_rows(pairs, (ROW, ROW, ROW), 1024)
    return [np.flatnonzero(rows == row) for row in range(rows.max() + 1)]


def batches_of(lengths: np.ndarray) -> dict[str, list[tuple[int, list[list[int]], float]]]:
    """Kinds of batches: (row length, clips of each row of one batch, batches of that kind)."""
    plan = plan_of(lengths)
    plan = sorted(plan, key=lambda row: abs(len(row) - len(lengths) / len(plan)))
    longest, rows = max(BUCKETS), ROW * ROWS
    buckets = []
    for shorter, length in zip((0, *BUCKETS), BUCKETS, strict=False):
        here = np.flatnonzero((lengths > shorter) & (lengths <= length))
        count = max(rows // length, 1)
        buckets.append((length, [[int(i)] for i in here[:count]], len(here) / count))
    return {
        "packed": [(ROW, [row.tolist() for row in plan[:ROWS]], len(plan) / ROWS)],
        "bucketed": buckets,
        "padded": [
            (longest, [[i] for i in range(rows // longest)], len(lengths) / (rows // longest))
        ],
    }


def main() -> None:
    """Times, prints, writes."""
    torch.manual_seed(0)
    setup = experiment()
    config = setup.model
    model = WanTransformer3DModel(**{k: v for k, v in CONFIG.items() if k[0] != "_"})
    found = {name: value.numpy() for name, value in model.state_dict().items()}
    params = wan_dit.from_their_tensors(config, found)
    state = jax.jit(functools.partial(diffusion_task.init_state, setup))()
    params = jax.tree.map(lambda old, new: jax.device_put(new, old.sharding), state.params, params)
    state = state._replace(params=params, ema=jax.tree.map(jnp.copy, params))
    tokens = int(np.prod(patch_grid(LATENT, config.patch)))

    flops = step_flops(config, [(tokens, WORDS)] * CLIPS)
    batch = batch_of([[LATENT]] * CLIPS, tokens, config)
    by_precision, missed = {}, []
    for precision, theirs in PRECISIONS.items():
        if precision != "float32" and products.gain() < products.WORTH:
            print(f"{precision} factors are {products.gain():.2f} times as fast: left out")
            continue
        torch.set_float32_matmul_precision(theirs)
        with jax.default_matmul_precision(precision):
            speed = matmul_speed()
            seconds = medians(
                {
                    "ours": our_step(experiment(precision), state, batch),
                    "torch eager": their_step(model, False),
                    "torch compiled": their_step(model, True),
                }
            )
        rows = [[name, s, CLIPS * tokens / s, flops / s / 1e9] for name, s in seconds.items()]
        print(table([f"step, {precision}", "s", "tokens/s", "GFLOP/s"], rows))
        print(f"floor: {flops / speed:.3g} s at {speed / 1e9:.0f} GFLOP/s of a matrix product")
        ratio = min(seconds["torch eager"], seconds["torch compiled"]) / seconds["ours"]
        print(f"ours / torch: {ratio:.2f}")
        if ratio < BAR:
            missed.append(f"{precision}: {ratio:.2f} of torch's tokens a second, not {BAR}")
        by_precision[precision] = {
            "seconds": seconds,
            "matmul_gflops": speed / 1e9,
            "ours_over_torch": ratio,
        }
    torch.set_float32_matmul_precision("highest")

    rng = np.random.default_rng(1)
    shapes = [SIZES[i] for i in rng.integers(len(SIZES), size=400)]
    lengths = np.array([np.prod(patch_grid(shape, config.patch)) for shape in shapes])
    kinds, useful = batches_of(lengths), {}
    runs = {
        f"{kind} {length}": our_step(
            setup, state, batch_of([[shapes[i] for i in row] for row in clips], length, config)
        )
        for kind, batches in kinds.items()
        for length, clips, _ in batches
    }
    times = medians(runs)
    for kind, batches in kinds.items():
        total = sum(times[f"{kind} {length}"] * count for length, _, count in batches)
        useful[kind] = float(lengths.sum() / total)
    print(table(["batches", "useful tokens/s"], list(useful.items())))
    for other in ("padded", "bucketed"):
        if useful["packed"] <= useful[other]:
            missed.append(f"{other} batches: more useful tokens a second than packed rows")
    figures = {
        "step_gflop": flops / 1e9,
        "by_precision": by_precision,
        "bfloat16_gain": products.gain(),
        "useful_tokens_per_s": useful,
        "packed_fill": lengths.sum() / (ROW * len(plan_of(lengths))),
        "batch_seconds": times,
    }
    finish("dit_speed", figures, missed)


if __name__ == "__main__":
    with sharding.use_mesh():
        main()
