"""Trains the world model that ships, autoencoder and transformer, in one call on one GPU.

Command:   python -m experiments.train_shipped --output=OUT --seconds=520 --tokenizer=FILE
           python -m experiments.train_shipped --output=OUT --seconds=520 \\
             --init=sora_jax/world_model               (trains that transformer on)
Hardware:  one H100 or H200, 16 processor cores that draw clips while it trains; no data on disk.
Needs:     jax, flax, optax, orbax-checkpoint, grain, ml-collections, sentencepiece, safetensors,
           scipy, pymunk and crafter, with --init also av; no network.
Expected:  in 525 s on an H100, 3,688 steps of the autoencoder and, after three minutes of
           compilation and of that, 3,927 of the transformer, 251 million tokens; so the model that
           comes along began. From there, in 575 s on an H200, 11,121 steps of the transformer, 713
           million tokens, to a loss that fell from 0.24 to 0.17.

What happens, all at once where it can:
  - processes draw new clips of all worlds to the end (`shipped.drawing`);
  - the autoencoder of `experiments/world_vae.py` trains on crops of them for `VAE_SHARE` of the
    time, unless there is a trained one;
  - its encoder turns every clip into latents, which stay on the device (`shipped.latents`);
  - the transformer of `experiments/world_dit.py` trains on rows of them for the rest, with the
    learning rate falling as time runs out.

The output: `vae.safetensors` and `dit-0`, `dit-1.safetensors`, averaged weights in float16; also
`early.safetensors`, the transformer's after `EARLY` of its time, in 8 bits; `scale.safetensors`,
what was measured of latents; `log.jsonl`. Each file is below 16 MiB. `shipped.unpack` makes run
folders of them.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments import world_dit, world_vae
from experiments.shipped import checks, weights
from experiments.shipped.autoencoder import Autoencoder
from experiments.shipped.device import TrainedCodec
from experiments.shipped.latents import LatentStore
from experiments.shipped.transformer import Transformer
from sora_jax import release, sharding
from sora_jax.models.latents import ChannelStatistics
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.training import diffusion_task
from sora_jax.training.experiments import parse
from sora_jax.types import Params

OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", required=True)
SECONDS = flags.DEFINE_float("seconds", 520.0, "Time of the whole call.")
TOKENIZER = flags.DEFINE_string("tokenizer", None, "Tokenizer of captions; that of --init.")
INIT = flags.DEFINE_string("init", None, "Released model whose transformer is trained on.")
CHECK = flags.DEFINE_bool("check", True, "Compare the GPU's attention with the reference first.")
PROFILE = flags.DEFINE_bool("profile", False, "Also write profile.pb, a trace of some steps.")
FILM = flags.DEFINE_string("film", None, "Crops of a film for the autoencoder, .npz.")
WORKERS = flags.DEFINE_integer("workers", max((os.cpu_count() or 2) - 1, 1), "Drawing processes.")
FIRST_WORKER = flags.DEFINE_integer(
    "first_worker", 0, "Number of the first: clips of another training's numbers are other clips."
)
DEBUG = flags.DEFINE_bool("debug", False, "Tiny models.")

VAE_SHARE = 0.22
EARLY = 1 / 8
FLAT = 0.6  # of the transformer's time, after which the learning rate falls
SAVE_SECONDS, WRITING_SECONDS = 110.0, 12.0
MAX_BLOCKS = 450  # of about a thousand clips each


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
        subprocess.Popen(
            [*command, str(FIRST_WORKER.value + i), str(tokenizer_path())], env=environment
        )
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


def choose_configs(released: release.Release | None) -> tuple[Any, Any]:
    """Both experiments, those of a released model or those of the experiment files.

    The learning rate is `rate` times that of the config, as nobody knows how many steps there will
    be.
    """
    mode = "debug" if DEBUG.value else ""
    configs = [parse(module.get_config(mode).to_dict()) for module in (world_vae, world_dit)]
    if released:
        ours = {"packing": configs[1].packing, "noise_levels": configs[1].noise_levels}
        configs = [
            released.vae.experiment,
            dataclasses.replace(released.dit.experiment, **ours),
        ]
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    vae_config, dit_config = (
        dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, dtype=dtype),
            optimizer=dataclasses.replace(config.optimizer, steps=10**9, warmup_steps=0),
        )
        for config in configs
    )
    unrolled = dataclasses.replace(dit_config.model, unroll=True)
    return vae_config, dataclasses.replace(dit_config, model=unrolled)


def train_autoencoder(
    config: Any,
    folder: pathlib.Path,
    output: pathlib.Path,
    start: float,
    compile_rest: Any,
    log: Log,
) -> TrainedCodec:
    """Trains and writes the autoencoder.

    Args:
      compile_rest: called with its state as soon as its own step is compiled, on another thread.
    """
    film = read_film(FILM.value) if FILM.value else None
    few: dict[str, Any] = {"pool": 256, "batch": 4} if DEBUG.value else {}
    autoencoder = Autoencoder(config, folder, film, log, **few)
    autoencoder.prepare()
    state = autoencoder.state
    shapes = jax.tree.map(jnp.zeros_like, (state.ema, state.statistics))
    compiling = threading.Thread(target=compile_rest, args=shapes, daemon=True)
    compiling.start()
    began, step, end = time.monotonic(), 0, start + VAE_SHARE * SECONDS.value
    while (now := time.monotonic()) < end:
        autoencoder.step(rate((now - began) / (end - began), step, 0.5))
        step += 1
    codec = autoencoder.finish()
    weights.save(output / "vae.safetensors", autoencoder.result())
    log(event="autoencoder", steps=step, crops=autoencoder.crops)
    compiling.join()
    return codec


def train_transformer(
    transformer: Transformer,
    store: LatentStore,
    output: pathlib.Path,
    end: float,
    log: Log,
) -> None:
    """Trains and writes the transformer, until `end`."""
    began, step, saved, early = time.monotonic(), 0, time.monotonic(), False
    while (now := time.monotonic()) < end:
        progress = (now - began) / (end - began)
        if PROFILE.value and step in (100, 105):
            jax.block_until_ready(transformer.state)
            if step == 100:
                jax.profiler.start_trace(str(output / "trace"))
            else:
                jax.profiler.stop_trace()
                (found,) = output.glob("trace/**/*.xplane.pb")
                found.rename(output / "profile.pb")
                shutil.rmtree(output / "trace")
        transformer.step(store, rate(progress, step, FLAT))
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
    log(event="transformer", steps=step, tokens=transformer.tokens, clips=store.clips)


def run(folder: pathlib.Path, output: pathlib.Path, start: float, log: Log) -> None:
    """Trains both and writes them."""
    released = release.load_release(INIT.value) if INIT.value else None
    vae_config, dit_config = choose_configs(released)
    log(
        event="start",
        device=jax.devices()[0].device_kind,
        jax=jax.__version__,
        dtype=dit_config.model.dtype,
    )
    if CHECK.value:
        log(event="attention", **checks.packed_attention(dit_config))
    blocks = 4 if DEBUG.value else MAX_BLOCKS
    store = LatentStore(folder, dit_config.packing, blocks, log)
    end_of_text = Tokenizer(tokenizer_path()).model.eos_id()
    init = released.dit.params if released else None
    transformer = Transformer(dit_config, end_of_text, log, init)

    def compile_rest(params: Params, statistics: Params) -> None:
        with sharding.use_mesh():
            store.allocate(vae_config.model.latent_channels)
            arguments = vae_config.model, params, statistics
            encoder = threading.Thread(target=store.compile, args=arguments, daemon=True)
            encoder.start()
            transformer.prepare(store)
            encoder.join()

    if released:
        codec = TrainedCodec(vae_config.model, released.vae.params, released.vae.statistics)
        compile_rest(codec.params, codec.statistics)
        statistics = jax.device_get(codec.statistics["latents"])
        store.start(codec, {name: np.asarray(value) for name, value in statistics.items()})
        transformer.set_scale(released.dit.channel_scale)
    else:
        codec = train_autoencoder(vae_config, folder, output, start, compile_rest, log)
        store.start(codec)
    while len(store.rows) < dit_config.packing.rows:
        time.sleep(0.05)
    if not released:
        sensitivity = store.measured["sensitivity"]  # of latents that are normalised exactly
        channels = ChannelStatistics(np.ones_like(sensitivity), sensitivity)
        scale = diffusion_task.channel_scale(dit_config, channels)
        transformer.set_scale(np.asarray(scale))
    train_transformer(transformer, store, output, start + SECONDS.value - WRITING_SECONDS, log)
    measured = {"channel_scale": transformer.state.statistics["channel_scale"], **store.measured}
    weights.save(output / "scale.safetensors", measured)
    store.finish()


def tokenizer_path() -> pathlib.Path:
    """File of the tokenizer."""
    if TOKENIZER.value:
        return pathlib.Path(TOKENIZER.value)
    if not INIT.value:
        raise ValueError("--tokenizer is missing: name a file, or a released model as --init")
    return pathlib.Path(INIT.value) / release.TOKENIZER


def main(_) -> None:
    """Starts the drawing, trains, and ends the drawing whatever happened."""
    start = time.monotonic()
    sys.setswitchinterval(5e-4)  # the thread that encodes shall not hold up steps
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
