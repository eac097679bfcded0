"""Peak memory of streaming, by duration: of decoding, and of a whole film through the autoencoder.

Command:  python -m experiments.benchmarks.vae_memory
Bars:     each way, the largest peak of 17, 65, 257 and 1,025 frames at 256x256, `tiny` preset, is
          at most 10 % above the smallest; two compilations of each step, whatever the duration.

Each duration has a fresh process, which decodes random latents, drawn as they are wanted, into an
mp4, or reads an mp4, encodes, decodes and writes it; the peak is the process's largest resident
memory. One latent frame at a time.
"""

import functools
import json
import resource
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import finish, table
from sora_jax import media, sharding
from sora_jax.codec.files import decode_to_file, reconstruct_file
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.models.vae_config import PRESETS
from sora_jax.progress import peak_memory_gib
from sora_jax.training import vae_task
from sora_jax.training.experiments import VAEExperiment

FRAMES, SIDE, PRESET, BAR = (17, 65, 257, 1025), 256, "tiny", 1.1


def codec_of(preset: str) -> VideoCodec:
    """A codec of random weights."""
    experiment = VAEExperiment(data="", model=PRESETS[preset])
    state = jax.jit(functools.partial(vae_task.init_state, experiment))()
    return VideoCodec(experiment.model, state.ema, state.statistics)


def decode(codec: VideoCodec, frames: int, target: str) -> None:
    """Decodes a video of so many frames of random latents."""
    rng, config = np.random.default_rng(0), codec.config
    shape = *(SIDE // config.spatial_stride,) * 2, config.latent_channels
    count = 1 + (frames - 1) // config.temporal_stride
    latents = (rng.standard_normal(shape, np.float32) for _ in range(count))
    size = (frames, SIDE, SIDE)
    decode_to_file(codec, latents, media.Fit(size, size), target, fps=24)


def film(frames: int, path: str) -> None:
    """Writes a film of moving waves."""
    y, x = np.mgrid[:SIDE, :SIDE, :1][:2] / 16.0
    waves = (np.sin(x + [0, 1, 2] + t / 9) + np.cos(y - t / 5) for t in range(frames))
    media.write_stream(path, ((64 * w + 128).clip(0, 255).astype(np.uint8) for w in waves), 24)


def measured(way: str, frames: int, folder: str) -> dict[str, Any]:
    """What this process takes."""
    with sharding.use_mesh():
        codec, target = codec_of(PRESET), f"{folder}/made.mp4"
        if way == "decode":
            decode(codec, frames, target)
        else:
            reconstruct_file(codec, f"{folder}/film.mp4", target)
        peak = peak_memory_gib(resource.getrusage(resource.RUSAGE_SELF))
        written = len(media.read_video(target)[0])
    steps = (codec._decode_step, codec._encode_step)[: 1 if way == "decode" else 2]
    compilations = [step._cache_size() for step in steps]
    return dict(way=way, frames=frames, written=written, compilations=compilations, peak_gb=peak)


def main() -> None:
    """One process for each duration; prints, writes."""
    found, missed, ratios = [], [], {}
    for way in ("decode", "film"):
        for frames in FRAMES:
            with tempfile.TemporaryDirectory() as folder:
                film(frames, f"{folder}/film.mp4")
                command = [sys.executable, "-m", "experiments.benchmarks.vae_memory"]
                command += [way, str(frames), folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(found[-1], flush=True)
        peaks = [row["peak_gb"] for row in found if row["way"] == way]
        ratios[way] = max(peaks) / min(peaks)
        if ratios[way] > BAR:
            missed.append(f"{way}: the peaks differ by {ratios[way]:.2f}, more than {BAR}")
    print(table(list(found[0]), [list(row.values()) for row in found]))
    for row in found:
        if row["written"] != row["frames"] or set(row["compilations"]) != {2}:
            missed.append(f"frames or compilations are off: {row}")
    figures = {"size": [SIDE, SIDE], "preset": PRESET, "durations": found, "ratio": ratios}
    finish("vae_memory", figures, missed)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
    else:
        main()
