"""The transformer on one GPU: is packed attention right, and how near to the hardware is a step.

Command:  python -m experiments.benchmarks.gpu [SECONDS]   (torch, if installed, is compared with)
Bars:     packed attention within 2e-2 of the largest value of the same in float32, outputs and
          gradients, and exactly as it was when other segments change; on a GPU a training step of
          1.3 billion parameters at 50 % MFU or more at each size, and attention forward and
          backward at least as fast as torch's flash attention, segment by segment.

Written for one H100 or H200 and ten minutes, on a host with jax (0.10 to 0.12), flax, optax and
torch; sizes that do not fit in SECONDS, by default 480, are left out and named. Without a GPU the
first part runs on the CPU, against the reference. The model is Wan 2.1's of 1.3 billion, its
captions as long as they are: states that count many times are a bias, which cuDNN's packed layout
does not take.
"""

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import finish, table
from sora_jax import sharding
from sora_jax.kernels.attention import attention
from sora_jax.kernels.reference import reference_attention
from sora_jax.models.dit_config import PRESETS
from sora_jax.rows import PackedBatch, batch_specs, make_segment, pack_row
from sora_jax.scaling.flops import step_flops
from sora_jax.training import diffusion_task
from sora_jax.training.experiments import DiffusionExperiment

TOLERANCE, MFU, ROUNDS = 2e-2, 0.5, 5
BUDGET = 480.0  # seconds in all, unless the command says
STEPS_SHARE = 0.6
"""Of the time, after which no further size of training steps begins."""
PEAKS = {"H100": 989.4e12, "H200": 989.4e12}
"""bfloat16 FLOP/s without sparsity: NVIDIA's H100 and H200 data sheets, SXM."""
MIXES = {
    "one": [1.0],
    "clips and images": [0.4, 0.25, 0.15, 0.1, 0.03, 0.03, 0.02],
    "many": [1 / 16] * 16,
}
"""Shares of a row; what is left is padding."""
SIZES = (16384, 65536, 8192, 32768)
HEADS, WIDTH, WORDS, MOST = 12, 128, 64, 16


def lengths_of(mix: str, total: int) -> list[int]:
    """Tokens of a row's segments."""
    return [max(int(share * total), 1) for share in MIXES[mix]]


def segments_of(lengths: list[int], total: int) -> jax.Array:
    """Their numbers along a row, 0 after them."""
    numbers = np.repeat([*range(1, len(lengths) + 1), 0], [*lengths, total - sum(lengths)])
    return jnp.asarray(numbers, jnp.int32)[None]


def seconds(run: Callable[[], Any]) -> float:
    """Median of some runs after two that compile and warm up."""
    found = []
    for _ in range(ROUNDS + 2):
        start = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - start)
    return statistics.median(found[2:])


def pulled(attend: Callable[..., jax.Array]) -> Callable[..., Any]:
    """The output, and gradients by queries, keys and values of its product with fixed weights."""

    def run(q, k, v, q_ids, kv_ids, weights):
        out, pull = jax.vjp(lambda *x: attend(*x, q_ids, kv_ids), q, k, v)
        return out, *pull(weights.astype(out.dtype))

    return jax.jit(run)


def correctness(total: int) -> tuple[list[list[Any]], list[str]]:
    """Errors of each mix within a row and across to captions; what is wrong."""
    rows, missed = [], []
    ours = pulled(functools.partial(attention, max_segments=MOST))
    truth = pulled(lambda q, *rest: reference_attention(q * WIDTH**-0.5, *rest))
    for mix in MIXES:
        for kind in ("within", "across"):
            ids = segments_of(lengths_of(mix, total), total)
            words = [WORDS - 7 * (i % 3) for i in range(len(MIXES[mix]))]
            kv_ids = ids if kind == "within" else segments_of(words, MOST * WORDS)
            rng, live = np.random.default_rng(0), np.asarray(ids)[..., None, None] > 0
            shapes = [(*x.shape, HEADS, WIDTH) for x in (ids, kv_ids, kv_ids, ids)]
            q, k, v, w = (jnp.asarray(rng.normal(size=s), jnp.bfloat16) for s in shapes)
            w = jnp.where(live, w, 0)  # padding may return anything
            found = ours(q, k, v, ids, kv_ids, w)
            wanted = truth(*(x.astype(jnp.float32) for x in (q, k, v)), ids, kv_ids, w)
            errors = [
                float(jnp.abs(a - b)[where].max() / jnp.abs(b).max())
                for a, b, where in zip(
                    found,
                    wanted,
                    (ids > 0, ids > 0, kv_ids > 0, kv_ids > 0),
                    strict=True,
                )
            ]
            other = kv_ids[..., None, None] == 1  # another first segment, the same others
            again = ours(q, jnp.where(other, 5, k), jnp.where(other, -5, v), ids, kv_ids, w)
            same = bool(jnp.array_equal(found[0][ids > 1], again[0][ids > 1]))
            rows.append([mix, kind, *errors, same])
            if not max(errors) <= TOLERANCE:
                missed.append(f"{mix}, {kind}: off by {max(errors):.1e}")
            if not same:
                missed.append(f"{mix}, {kind}: what other segments hold is seen")
    return rows, missed


def batch_of(total: int, mix: str, setup: DiffusionExperiment) -> PackedBatch:
    """One row of random clips of a mix, each a strip of patches."""
    rng, model, made = np.random.default_rng(0), setup.model, []
    for n in lengths_of(mix, total):
        latent = rng.normal(size=(1, 2, 2 * n, model.latent_channels)).astype(np.float32)
        text = rng.normal(size=(WORDS, model.text_embed_dim)).astype(np.float16)
        made.append(make_segment(latent, 16.0, text, model.patch, 1.0))
    row = pack_row(made, (total, MOST * WORDS, MOST), model.patch_width)
    fields: Any = (field[None] for field in row)
    return sharding.shard(PackedBatch(*fields), batch_specs())


def steps(peak: float, deadline: float) -> tuple[list[list[Any]], list[str]]:
    """Seconds and MFU of training steps on one row of each size and mix; what is missed."""
    model = dataclasses.replace(
        PRESETS["wan_1_3b"], padded_text_length=0, remat="full", dtype="bfloat16"
    )
    setup, rows, missed = DiffusionExperiment("", model=model), [], []
    run = jax.jit(functools.partial(diffusion_task.train_step, experiment=setup), donate_argnums=0)
    state = jax.jit(functools.partial(diffusion_task.init_state, setup))()
    for total in SIZES:
        for mix in ("one", "clips and images"):
            if time.monotonic() > deadline:
                missed.append(f"{total} tokens, {mix}: no time left")
                continue
            batch, held = batch_of(total, mix, setup), [state]

            def call(batch=batch, held=held):
                held[0], metrics = run(held[0], batch)
                return metrics

            s = seconds(call)
            state = held[0]
            flops = step_flops(model, [(n, WORDS) for n in lengths_of(mix, total)])
            rows.append([total, mix, s, total / s, flops / s / peak])
            print(table(["tokens", "mix", "s", "tokens/s", "MFU"], rows[-1:]), flush=True)
            if rows[-1][-1] < MFU:
                missed.append(f"{total} tokens, {mix}: MFU {rows[-1][-1]:.2f}, the bar is {MFU}")
    return rows, missed


def beside_torch(deadline: float) -> tuple[list[list[Any]], list[str]]:
    """Attention forward and backward beside torch's, which runs segment by segment."""
    import torch

    rows, missed = [], []
    for total in SIZES:
        for mix in MIXES:
            if time.monotonic() > deadline:
                missed.append(f"attention of {total}, {mix}: no time left")
                continue
            lengths = lengths_of(mix, total)
            ids = segments_of(lengths, total)
            q, k, v, w = (
                jax.random.normal(jax.random.key(i), (1, total, HEADS, WIDTH), jnp.bfloat16)
                for i in range(4)
            )
            run = pulled(functools.partial(attention, max_segments=MOST))
            mine = seconds(functools.partial(run, q, k, v, ids, ids, w))
            parts = [
                [
                    torch.randn(
                        1, HEADS, n, WIDTH, device="cuda", dtype=torch.bfloat16, requires_grad=True
                    )
                    for _ in range(3)
                ]
                for n in lengths
            ]

            def call(parts=parts):
                for x in parts:
                    out = torch.nn.functional.scaled_dot_product_attention(*x)
                    out.backward(out.detach())
                torch.cuda.synchronize()

            theirs = seconds(call)
            rows.append([total, mix, mine, theirs, theirs / mine])
            if theirs < mine:
                missed.append(f"attention of {total}, {mix}: {theirs / mine:.2f} of torch's speed")
    return rows, missed


def main() -> None:
    """Checks, times, prints, writes."""
    start, gpu = time.monotonic(), jax.default_backend() == "gpu"
    budget = float(sys.argv[1]) if len(sys.argv) > 1 else BUDGET
    rows, missed = correctness(8192 if gpu else 512)
    header = ["mix", "keys", "output", "by q", "by k", "by v", "others unseen"]
    print(table(header, rows), flush=True)
    figures: dict[str, Any] = {"correctness": [dict(zip(header, r, strict=True)) for r in rows]}
    if gpu:
        kind = jax.devices()[0].device_kind
        peak = next((peak for name, peak in PEAKS.items() if name in kind), float("nan"))
        rows, slow = steps(peak, start + STEPS_SHARE * budget)
        header = ["tokens", "mix", "s", "tokens/s", "MFU"]
        figures["steps"] = [dict(zip(header, r, strict=True)) for r in rows]
        missed += slow
        try:
            rows, slow = beside_torch(start + budget)
            header = ["tokens", "mix", "ours s", "torch s", "torch / ours"]
            print(table(header, rows), flush=True)
            figures["attention"] = [dict(zip(header, r, strict=True)) for r in rows]
            missed += slow
        except ImportError:
            print("torch is not installed: attention is not compared")
    finish("gpu" if gpu else "gpu_on_cpu", figures, missed)


if __name__ == "__main__":
    with sharding.use_mesh():
        main()
