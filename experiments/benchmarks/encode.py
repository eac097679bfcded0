"""Clips of 200 native sizes to latents: what a step of the devices does, and what is compiled.

Command:  python -m experiments.benchmarks.encode
Bars:     eight devices encode at least 6 times the clips of one in a step; at most 8 compilations;
          latents are those of each clip alone to 2e-3 of the largest.

No two clips have the same height and width. A step is one block of frames of a batch; a device has
at most 16 frames of 96x96 in one, so that it holds few clips, as with films. The eight devices are
threads of this machine: what they do in a step is counted, not timed. `filled` is the share of the
canvases' latents that are of clips. `alone`: some of the clips one by one, each on a canvas of its
own, which is compiled for it.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import app

from data_pipelines import encode, records
from data_pipelines.clips import open_split
from data_pipelines.latents import Latents
from experiments.benchmarks import finish, table
from sora_jax import media, sharding
from sora_jax.codec.batch_encoder import BatchEncoder
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.models import vae
from sora_jax.models.vae_config import VAEConfig
from tests.data_pipelines.folders import clip_meta

CONFIG = VAEConfig(4, 2, (8, 16, 16), ((2, 2), (2, 2)))
CLIPS, ALONE, PIXELS = 200, 24, 16 * 96 * 96
TIMES, COMPILATIONS, ERROR = 6.0, 8, 2e-3
FAST = "--xla_backend_optimization_level=0"


def write_clips(folder: pathlib.Path) -> None:
    """Writes clips of 1 to 33 frames, whose sides are all different pairs of 32 to 192 pixels."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(160 * 160)[:CLIPS]

    def rows(split: str):
        for number, pair in enumerate(pairs):
            size = (int(rng.choice([1, 9, 17, 25, 33])), 32 + pair // 160, 32 + pair % 160)
            start = rng.integers(0, 256, (1, size[1] // 8 + 1, size[2] // 8 + 1, 3), np.uint8)
            frame = start.repeat(8, 1).repeat(8, 2)[:, : size[1], : size[2]]
            video = np.concatenate([np.roll(frame, i, 2) for i in range(size[0])])
            data = media.encode_video(video, 24, encoding=media.STORED)
            meta = clip_meta(data, size=tuple(map(int, size)), split=split)
            yield f"{split}-{number}", {"video": data, "meta": json.dumps(meta.write())}

    records.write(folder, "clips", rows, ["train"])


def encode_all(data: pathlib.Path, output: pathlib.Path) -> dict:
    """Encodes the clips on the devices of this process; returns what was counted."""
    found, start, step = {"steps": 0, "latents": 0, "canvas": 0}, BatchEncoder.start, []

    def counted(encoder, videos, canvas, *arguments):
        encoded = start(encoder, videos, canvas, *arguments)
        found["steps"] += len(encoded.parts)
        found["latents"] += sum(int(np.prod(shape)) for shape in encoded.shapes)
        found["canvas"] += sum(part[..., 0].size for part in encoded.parts)
        step[:] = [encoder._step]
        return encoded

    BatchEncoder.start = counted
    with sharding.use_own_mesh():
        codec = make_codec()
        began = time.perf_counter()
        encode.encode(
            *(data, "vae", output, codec, encode.TokenizerSource(32), 2),
            *(lambda *_: None,),
            pixels=PIXELS,
        )
    seconds = time.perf_counter() - began
    return found | {"seconds": seconds, "compilations": step[0]._cache_size()}


def make_codec() -> VideoCodec:
    """Makes a codec of random weights."""
    params = vae.init_params(jax.random.key(0), CONFIG)
    return VideoCodec(CONFIG, params, vae.init_statistics(CONFIG))


def encode_alone(data: pathlib.Path, latents: pathlib.Path) -> dict:
    """Encodes the first clips one by one; compares them with stored latents."""
    split, stored, worst = open_split(data, "train"), Latents(latents, "train"), 0.0
    with jax.set_mesh(sharding.make_mesh(devices=jax.devices()[:1])):
        codec, began = make_codec(), time.perf_counter()
        for number in range(ALONE):
            wanted = np.asarray(codec.encode_clip(split[number].video, 2)[0])
            error = np.abs(stored[number].latent.astype(np.float32) - wanted).max()
            worst = max(worst, float(error / np.abs(wanted).max()))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "compilations": codec._encode._cache_size(), "error": worst}


def main(arguments: list[str]) -> None:
    """Prints the table and writes the results; in a child, what it counted."""
    if len(arguments) > 1:
        kind, data, output = arguments[1], *map(pathlib.Path, arguments[2:])
        work = encode_alone if kind == "alone" else encode_all
        print(json.dumps(work(data, output)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        data, eight = pathlib.Path(folder, "clips"), pathlib.Path(folder, "8")
        write_clips(data)
        for kind, output in (("1", pathlib.Path(folder, "1")), ("8", eight), ("alone", eight)):
            flags = f"{FAST} --xla_force_host_platform_device_count={1 if kind == '1' else 8}"
            done = subprocess.run(
                [sys.executable, "-m", "experiments.benchmarks.encode", kind, data, output],
                env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[kind] = json.loads(done.stdout.splitlines()[-1])
    rows = []
    for kind, line in found.items():
        counts = (ALONE, "", line["compilations"], "")
        if kind != "alone":
            per_step = f"{CLIPS / line['steps']:.2f}"
            filled = f"{line['latents'] / line['canvas']:.2f}"
            counts = (CLIPS, per_step, line["compilations"], filled)
        name = kind if kind == "alone" else f"devices: {kind}"
        rows.append((name, *counts, f"{line['seconds']:.1f}"))
    print(table(("", "clips", "clips a step", "compilations", "filled", "seconds"), rows))
    times = found["1"]["steps"] / found["8"]["steps"]
    most = max(found[kind]["compilations"] for kind in ("1", "8"))
    error = found["alone"]["error"]
    print(f"8 devices: {times:.1f} times the clips a step; largest difference {error:.1e}")
    misses = []
    if not times >= TIMES:
        misses.append(f"{times:.2f} times the clips a step: the bar is {TIMES}")
    if not most <= COMPILATIONS:
        misses.append(f"{most} compilations: the bar is {COMPILATIONS}")
    if not error <= ERROR:
        misses.append(f"latents differ by {error:.1e}: the bar is {ERROR}")
    finish("encode", found, misses)


if __name__ == "__main__":
    app.run(main)
