"""Trains the world model that ships, autoencoder and transformer, in one call on one GPU.

Command:   python -m experiments.train_shipped --output=OUT --seconds=520 --tokenizer=FILE
Hardware:  one H100, 16 processor cores that draw clips while it trains; no disk of data is needed.
Needs:     jax, flax, optax, orbax-checkpoint, grain, ml-collections, sentencepiece, safetensors,
           scipy, pymunk and crafter; no network.

What happens, all at once where it can:
  - processes draw new clips of all worlds to the end (`shipped.drawing`);
  - the autoencoder of `experiments/world_vae.py` trains on crops of them for `VAE_SHARE` of the
    time;
  - its encoder turns every clip into latents, which stay on the device (`shipped.feed`);
  - the transformer of `experiments/world_dit.py` trains on rows of them for the rest, with the
    learning rate falling as time runs out.

The output: `vae.safetensors` and `dit-0`, `dit-1.safetensors`, averaged weights in float16; also
`early.safetensors`, the transformer's after `EARLY` of its time, in 8 bits; `log.jsonl`. Each file
is below 16 MiB. `experiments.shipped.unpack` makes run folders of them.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import jax
import numpy as np
from absl import app, flags

from experiments import world_dit, world_vae
from experiments.shipped import checks, weights
from experiments.shipped.stages import Autoencoder, Transformer
from sora_jax import sharding
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.training.experiments import parse

OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", required=True)
SECONDS = flags.DEFINE_float("seconds", 520.0, "Time of the whole call.")
TOKENIZER = flags.DEFINE_string("tokenizer", None, "Tokenizer of captions.", required=True)
FILM = flags.DEFINE_string("film", None, "Crops of a film for the autoencoder, .npz.")
WORKERS = flags.DEFINE_integer("workers", max((os.cpu_count() or 2) - 3, 1), "Drawing processes.")
DEBUG = flags.DEFINE_bool("debug", False, "Tiny models.")

VAE_SHARE = 0.22
EARLY = 1 / 8
SAVE_SECONDS = 110.0


class Log:
    """Lines of `log.jsonl` and on the terminal, each with the seconds since the start."""

    def __init__(self, path: pathlib.Path, start: float):
        self._file, self._start, self._lock = path.open("a"), start, threading.Lock()

    def __call__(self, **values: Any) -> None:
        """Writes a line."""
        line = json.dumps({"seconds": round(time.monotonic() - self._start, 2)} | values)
        with self._lock:
            print(line, flush=True)
            self._file.write(line + "\n")
            self._file.flush()


def start_drawing(folder: pathlib.Path) -> list[subprocess.Popen]:
    """Starts the processes that draw."""
    alone = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "NUMBA_DISABLE_JIT": "1"}
    environment = os.environ | alone
    command = [sys.executable, "-m", "experiments.shipped.drawing", str(folder)]
    return [
        subprocess.Popen([*command, str(i), TOKENIZER.value], env=environment)
        for i in range(WORKERS.value)
    ]


def rate(progress: float, step: int, flat: float) -> np.float32:
    """Factor of the learning rate: a warm-up in steps, then 1, from `flat` on a line to 0.01."""
    return np.float32(min(1.0, (step + 1) / 200, max((1 - progress) / (1 - flat), 0.01)))


def read_film(path: str) -> np.ndarray:
    """Crops of a file that holds each as a JPEG of its frames side by side."""
    import cv2  # of the extra "ingest"

    with np.load(path) as file:
        parts = np.split(file["data"], file["lengths"].cumsum()[:-1])
    pictures = [cv2.imdecode(part, cv2.IMREAD_COLOR)[..., ::-1] for part in parts]
    return np.stack([np.stack(np.split(p, p.shape[1] // p.shape[0], 1)) for p in pictures])


def run(folder: pathlib.Path, output: pathlib.Path, start: float, log: Log) -> None:
    """Trains both and writes them."""
    vae_config, dit_config = (
        parse(module.get_config("debug" if DEBUG.value else "").to_dict())
        for module in (world_vae, world_dit)
    )
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    # The learning rate is `rate` times that of the config; how many steps there will be is unknown.
    vae_config, dit_config = (
        dataclasses.replace(
            e,
            model=dataclasses.replace(e.model, dtype=dtype),
            optimizer=dataclasses.replace(e.optimizer, steps=10**9, warmup_steps=0),
        )
        for e in (vae_config, dit_config)
    )
    log(event="start", device=jax.devices()[0].device_kind, jax=jax.__version__, dtype=dtype)
    log(event="attention", **checks.packed_attention(dit_config))

    end = start + SECONDS.value
    vae_end = start + VAE_SHARE * SECONDS.value
    film = read_film(FILM.value) if FILM.value else None
    tiny: dict[str, Any] = {"blocks": 4} if DEBUG.value else {}
    few: dict[str, Any] = {"pool": 256, "batch": 4} if DEBUG.value else {}
    autoencoder = Autoencoder(vae_config, folder, film, log, **few)
    end_of_text = Tokenizer(TOKENIZER.value).model.eos_id()
    transformer = Transformer(dit_config, folder, end_of_text, log, **tiny)
    autoencoder.prepare()
    compiling = threading.Thread(target=transformer.prepare, args=(autoencoder,), daemon=True)
    compiling.start()
    began, step = time.monotonic(), 0
    while (now := time.monotonic()) < vae_end:
        autoencoder.step(rate((now - began) / (vae_end - began), step, 0.5))
        step += 1
    autoencoder.finish()
    weights.save(output / "vae.safetensors", autoencoder.result())
    log(event="autoencoder", steps=step, crops=autoencoder.crops)

    compiling.join()
    transformer.start_encoding(autoencoder)
    while not transformer.ready():
        time.sleep(0.05)
    began, step, saved, early = time.monotonic(), 0, time.monotonic(), False
    last = end - 12  # to write
    while (now := time.monotonic()) < last:
        progress = (now - began) / (last - began)
        transformer.step(rate(progress, step, 0.6))
        step += 1
        if not early and progress >= EARLY:
            weights.save_8bit(output / "early.safetensors", transformer.result())
            early = True
            log(event="early", steps=step, tokens=transformer.tokens)
        if now - saved > SAVE_SECONDS:
            weights.save_halves(output, "dit", transformer.result())
            saved = now
            log(event="saved", steps=step)
    weights.save_halves(output, "dit", transformer.result())
    weights.save(output / "scale.safetensors", transformer.statistics())
    log(event="transformer", steps=step, tokens=transformer.tokens, clips=transformer.clips)


def main(_) -> None:
    """Starts the drawing, trains, and ends the drawing whatever happened."""
    start = time.monotonic()
    output = pathlib.Path(OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        processes = start_drawing(folder)
        try:
            with sharding.use_mesh():
                run(folder, output, start, Log(output / "log.jsonl", start))
        finally:
            (folder / "stop").touch()
            for process in processes:
                process.terminate()


if __name__ == "__main__":
    app.run(main)
