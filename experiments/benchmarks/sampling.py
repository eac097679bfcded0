"""Sampling: time by size, steps and sampler; packed rows; convergence; compilations.

Command:  python -m experiments.benchmarks.sampling [--checkpoint=R] [--repeats=3]
Hardware: 2 CPU cores, 6 minutes with the model that comes along.
Bars:     on a mixture of Gaussians, errors of Euler's method fall at least as steps^-0.9 and those
          of Heun's and DPM-Solver++(2M) as steps^-1.8; eight clips in packed rows take at most the
          time of one after another.

Times are medians, with compilation apart. The mixture has one dimension and three parts; the flow
of its exact velocity from 64 points of noise, from level 1 to 0.05, is compared with that of Heun's
method in 4096 steps. Ancestral samples are random: their error is the largest difference of deciles
within parts, of 20,000 samples, from those of the mixture.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import finish, table
from sora_jax import sharding
from sora_jax.commands.runs import load_generator
from sora_jax.diffusion.noise_levels import timesteps
from sora_jax.diffusion.samplers import SAMPLERS
from sora_jax.generation import sampling, tasks
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.sharding import SHARDING as S

MIXTURE = np.float32(
    [[0.5, -1.0, 0.15], [0.3, 0.4, 0.25], [0.2, 1.5, 0.1]]
)  # share, mean, deviation
LAST, STEPS = 0.05, (16, 32, 64, 128)
ORDERS = {"euler": 0.9, "heun": 1.8, "dpm": 1.8}
SIZES = ((1, 64, 64), (17, 64, 64), (17, 54, 96), (33, 64, 64), (65, 64, 64), (17, 96, 96))
PROMPT = "a red ball bounces on a white background"


def velocity(x: jax.Array, levels: jax.Array) -> jax.Array:
    """E[eps - x0 | x_t] of the mixture."""
    t = levels[0, 0]
    share, mean, deviation = jnp.asarray(MIXTURE).T[:, :, None, None, None]
    variance = (1 - t) ** 2 * deviation**2 + t**2
    centred = x[None] - (1 - t) * mean
    part = jax.nn.softmax(jnp.log(share) - centred**2 / (2 * variance) - jnp.log(variance) / 2, 0)
    x0 = mean + (1 - t) * deviation**2 * centred / variance
    return jnp.sum(part * (t * centred / variance - x0), 0)


def sample_mixture(name: str, levels: np.ndarray, points: int, seed: int = 0) -> np.ndarray:
    """Ends of a sampler, from points of noise."""
    noise = np.random.default_rng(seed).standard_normal((1, points, 1)).astype(np.float32)
    noise = jax.sharding.reshard(jnp.asarray(noise), S.act_bl)
    ids = jax.sharding.reshard(jnp.zeros((1, points), jnp.int32), S.act_bs)

    def draw(step: jax.Array) -> jax.Array:
        z = jax.random.normal(jax.random.fold_in(jax.random.key(seed), step), noise.shape)
        return jax.sharding.reshard(z, S.act_bl)

    table = jnp.asarray(levels, jnp.float32)[:, None, None]
    run = jax.jit(lambda noise: SAMPLERS[name](velocity, noise, table, ids, draw))
    return np.asarray(run(noise)).ravel()


def measure_orders() -> dict[str, dict[str, Any]]:
    """Errors by steps, and the slope of their logarithms over the last two doublings."""
    wanted = sample_mixture("heun", np.linspace(1, LAST, 4097), 64)
    found = {}
    for name in ORDERS:
        ends = [sample_mixture(name, np.linspace(1, LAST, n + 1), 64) for n in STEPS]
        errors = [float(np.abs(end - wanted).max()) for end in ends]
        found[name] = {"errors": errors, "order": float(np.log2(errors[-3] / errors[-1]) / 2)}
    rng = np.random.default_rng(1)
    deciles = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.9]  # the others lie between parts
    parts = rng.choice(len(MIXTURE), 20_000, p=MIXTURE[:, 0] / MIXTURE[:, 0].sum())
    real = MIXTURE[parts, 1] + MIXTURE[parts, 2] * rng.standard_normal(20_000)
    ends = [sample_mixture("ancestral", np.asarray(timesteps(n)), 20_000) for n in STEPS]
    errors = [np.abs(np.quantile(e, deciles) - np.quantile(real, deciles)).max() for e in ends]
    return found | {"ancestral": {"errors": [*map(float, errors)], "order": None}}


def time_of(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """Seconds of the first call, and the median of the others."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return {"first_s": seconds[0], "median_s": statistics.median(seconds[1:] or seconds)}


def measure_times(generator: Generator, repeats: int) -> dict[str, dict[str, float]]:
    """Times by size at 16 steps of Euler's method; by steps and sampler at one size."""
    found = {}
    for size in SIZES:
        name = "x".join(map(str, size)) + ", euler, 16 steps"
        requests = [Request(PROMPT, *size)]
        found[name] = time_of(lambda r=requests: generator.sample(r, SamplingConfig(16)), repeats)
    for sampler in SAMPLERS:
        for steps in (8, 16, 32):
            name, config = (
                f"17x64x64, {sampler}, {steps} steps",
                SamplingConfig(steps, 2.0, sampler),
            )
            requests = [Request(PROMPT, 17, 64, 64)]
            found[name] = time_of(lambda c=config, r=requests: generator.sample(r, c), repeats)
    return found


def measure_packing(generator: Generator, repeats: int) -> dict[str, float]:
    """Seconds of eight clips of several sizes: packed, and one after another."""
    sizes = [(9, 64, 64), (17, 64, 64), (1, 64, 64), (33, 64, 64)] * 2
    requests = [Request(PROMPT, *size, seed=i) for i, size in enumerate(sizes)]
    config = SamplingConfig(16)

    def one_by_one() -> None:
        for request in requests:
            generator.sample([request], config)

    times = {"packed": [], "one by one": []}
    for _ in range(repeats + 1):  # alternating, for the machine's load changes
        for name, run in (("packed", lambda: generator.sample(requests, config)),
                          ("one by one", one_by_one)):  # fmt: skip
            times[name].append(time_of(run, 0)["first_s"])
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def count_compilations(generator: Generator) -> int:
    """Programs of the sampler for ten sizes of text alone, and four tasks at another."""
    sampling.sample_rows.clear_cache()
    config = SamplingConfig(2)
    for i in range(10):
        generator.sample([Request(PROMPT, 1 + 4 * i, 48 + 8 * (i % 4), 96 - 8 * (i % 3))], config)
    plain, clip = Request(PROMPT, 17, 64, 64), np.zeros((17, 64, 64, 3), np.uint8)
    for request in (
        tasks.extend(plain, clip[:9]),
        tasks.connect(plain, clip[:5], clip[:4]),
        tasks.edit(plain, clip, 0.5),
        tasks.animate(plain, clip[0]),
    ):
        generator.sample([request], config)
    return sampling.sample_rows._cache_size()


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore
    parser.add_argument("--checkpoint", help="run or released model; the one that comes along")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    with sharding.use_mesh():
        orders = measure_orders()
        generator = load_generator(chosen.checkpoint)
        times = measure_times(generator, chosen.repeats)
        packed = measure_packing(generator, chosen.repeats)
        programs = count_compilations(generator)
    print(table(["sampler", *map(str, STEPS), "order"],
                [[n, *o["errors"], o["order"]] for n, o in orders.items()]))  # fmt: skip
    print(table(["sampling", "first, s", "then, s"], [[n, *t.values()] for n, t in times.items()]))
    print(table(["eight clips", "s"], list(packed.items())))
    print(f"{programs} programs for ten sizes and four tasks")
    missed = [
        f"{name}: errors fall as steps^-{orders[name]['order']:.2f}"
        for name, bar in ORDERS.items()
        if not orders[name]["order"] >= bar
    ]
    if not packed["packed"] <= packed["one by one"]:
        missed.append("packed rows take longer than clips one by one")
    figures = {"orders": orders, "times": times, "packing": packed, "programs": programs}
    finish("sampling", figures, missed)


if __name__ == "__main__":
    main()
