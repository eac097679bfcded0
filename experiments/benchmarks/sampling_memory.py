"""Peak memory and time of sampling large pictures and films.

Command:  python -m experiments.benchmarks.sampling_memory [--size=T,H,W]
Hardware: 2 CPU cores, 24 GiB of memory, about fifteen minutes.
Bars:     every size is sampled and decoded, within 16 GiB.

The codec is that of the model that comes along, so that latents have their real sizes; the
transformer has one layer of random weights, whose time and memory are not those of a trained one,
and takes two steps without guidance. Each size has a fresh process, whose largest resident memory
is the peak. What a trained model takes of a pod's chips, `sora-jax compile --sample=32` says.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import finish, table
from sora_jax import sharding
from sora_jax.commands.runs import load_generator
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.models import dit
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.progress import peak_memory_gib
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.run_folder import DiffusionRun

SIZES = ((1, 2048, 2048), (17, 1080, 1920), (17, 1920, 1080), (65, 512, 512))
MAX_GIB = 16.0


def measure(size: tuple[int, int, int]) -> dict[str, Any]:
    """What one size takes in this process."""
    with sharding.use_mesh():
        shipped = load_generator(None)
        text = TextEncoderConfig(width=32, depth=1, heads=2)
        channels = shipped.codec.config.latent_channels
        config = DiTConfig(channels, (1, 2, 2), 64, depth=1, heads=1, mlp_dim=64, text=text)
        params = jax.jit(lambda: dit.init_params(jax.random.key(0), config))()
        run = DiffusionRun(
            DiffusionExperiment("", config), params, np.ones(channels, np.float32), 0
        )
        generator = Generator(run, shipped.text_inputs, shipped.codec)
        began = time.perf_counter()
        (video,) = generator.sample([Request("a red ball", *size)], SamplingConfig(2, 1.0))
        seconds = time.perf_counter() - began
    t, h, w = size
    tokens = (1 + -(-(t - 1) // 4)) * -(-h // 16) * -(-w // 16)
    return {
        "size": "x".join(map(str, size)),
        "made": list(video.shape[:3]) == list(size),
        "tokens": tokens,
        "seconds": seconds,
        "peak_gib": peak_memory_gib(resource.getrusage(resource.RUSAGE_SELF)),
    }


def main() -> None:
    """One process for each size; prints, writes."""
    found, missed = [], []
    for size in SIZES:
        command = [sys.executable, "-m", "experiments.benchmarks.sampling_memory"]
        command.append(f"--size={','.join(map(str, size))}")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            missed.append(f"{size}: {done.stderr.strip().splitlines()[-1]}")
            continue
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(found[-1], flush=True)
        if not found[-1]["made"] or found[-1]["peak_gib"] > MAX_GIB:
            missed.append(f"{size}: {found[-1]}")
    if found:
        print(table(list(found[0]), [list(row.values()) for row in found]))
    finish("sampling_memory", {"sizes": found}, missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore
    parser.add_argument("--size", help="frames, height, width of one size to measure here")
    chosen = parser.parse_args().size
    if chosen:
        print(json.dumps(measure(tuple(int(n) for n in chosen.split(",")))))
    else:
        main()
