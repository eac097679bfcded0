"""Peak memory of streaming decode, by duration.

Command:  python -m experiments.benchmarks.vae_memory
Bar:      the largest peak of 17, 65, 257 and 1,025 frames at 256x256, `tiny` preset, is at most
          10 % above the smallest.

Each duration has a fresh process that decodes random latents into an mp4 file; the peak is the
process's largest resident memory. One latent frame at a time.
"""

import functools
import json
import resource
import subprocess
import sys
import tempfile

import jax
import numpy as np

from experiments.benchmarks import finish, table
from sora_jax import media, sharding
from sora_jax.config import VAEExperiment
from sora_jax.generation.coder import Coder
from sora_jax.generation.stream import decode_to_file
from sora_jax.models.vae import PRESETS
from sora_jax.training import vae_step
from sora_jax.training.metrics import peak_gb

FRAMES, SIDE, PRESET, BAR = (17, 65, 257, 1025), 256, "tiny", 1.1


def decode(frames: int) -> dict[str, float]:
    """Decodes a video of so many frames in this process."""
    config = PRESETS[PRESET]
    with sharding.use_mesh(), tempfile.TemporaryDirectory() as folder:
        make = functools.partial(vae_step.init_state, VAEExperiment(data="", model=config))
        state = jax.jit(make)()
        coder = Coder(config, state.ema, state.statistics)
        shape = (1 + (frames - 1) // config.temporal, *(SIDE // config.spatial,) * 2)
        rng = np.random.default_rng(0)
        latents = rng.standard_normal((*shape, config.latent_channels), np.float32)
        size = (frames, SIDE, SIDE)
        path = f"{folder}/video.mp4"
        decode_to_file(coder, latents, media.Fit(size, size), path, fps=24)
        written = sum(1 for _ in media.read_stream(path))
    return {
        "frames": frames,
        "written": written,
        "compilations": coder._decode_step._cache_size(),
        "peak_gb": peak_gb(resource.getrusage(resource.RUSAGE_SELF)),
    }


def main() -> None:
    """One process for each duration; prints, writes."""
    found = []
    for frames in FRAMES:
        command = [sys.executable, "-m", "experiments.benchmarks.vae_memory", str(frames)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    print(table(list(found[0]), [list(row.values()) for row in found]))
    peaks = [row["peak_gb"] for row in found]
    ratio = max(peaks) / min(peaks)
    missed = [f"the peaks differ by {ratio:.2f}, more than {BAR}"] if ratio > BAR else []
    missed += [f"{row}" for row in found if row["written"] != row["frames"]]
    figures = {"size": [SIDE, SIDE], "preset": PRESET, "durations": found, "ratio": ratio}
    finish("vae_memory", figures, missed)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(decode(int(sys.argv[1]))))
    else:
        main()
