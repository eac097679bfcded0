"""The two trainings of `experiments.train_shipped`, each a step at a time."""

import collections
import concurrent.futures
import dataclasses
import functools
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shipped import feed
from sora_jax import sharding
from sora_jax.models import vae
from sora_jax.models.latents import LatentStatistics, PrincipalAxes, space_to_depth
from sora_jax.rows import batch_specs, scale_channels
from sora_jax.sharding import P, auto_axes
from sora_jax.training import diffusion_task, vae_task
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment
from sora_jax.training.optimizer import apply_gradients
from sora_jax.types import Params, TrainState

CROP = (17, 56, 56)  # frames and sides that fit in every canvas of the worlds
BATCH, POOL = 72, 24_000  # crops of a step, crops on the device
FILM_SHARE = 0.12  # of the autoencoder's crops
INSERTED = 32  # crops that are put on the device at a time
LOG_EVERY = 50
ENCODED_TOGETHER = {17: 64, 65: 16}  # frames that clips are padded to: clips
BLOCK_FILES, BLOCK_TOKENS = 16, 1 << 19  # files of which rows are made; at most tokens of these
MAX_BLOCKS = 260
STATISTICS_CLIPS = 2048


class Autoencoder:
    """Trains the autoencoder on crops of the files of a folder."""

    def __init__(
        self,
        experiment: VAEExperiment,
        folder: pathlib.Path,
        film: np.ndarray | None,
        log: Callable[..., None],
        pool: int = POOL,
        batch: int = BATCH,
    ):
        self.experiment, self.log, self.crops, self._steps = experiment, log, 0, 0
        self._batch, self._film = batch, film
        self._waiting: collections.deque[np.ndarray] = collections.deque()
        self._done = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(folder,), daemon=True)
        self._reader.start()
        self._size, self._metrics = pool, collections.deque()

    def _read(self, folder: pathlib.Path) -> None:
        """Puts crops of new clips into `_waiting`, until the training ends."""
        rng, crops = np.random.default_rng(0), []
        for path in feed.new_files(folder):
            if self._done.is_set():
                return
            if path is None:
                continue
            for clip in feed.read_clips(path, self.experiment.model.spatial_stride):
                if len(clip.video) < CROP[0]:
                    continue
                free = [n - c for n, c in zip(clip.video.shape, CROP, strict=False)]
                t, y, x = (
                    int(rng.integers(n // s + 1)) * s for n, s in zip(free, (1, 8, 8), strict=True)
                )
                crops.append(clip.video[t : t + CROP[0], y : y + CROP[1], x : x + CROP[2]])
            while len(crops) >= INSERTED:
                self._waiting.append(np.stack(crops[:INSERTED]))
                crops = crops[INSERTED:]

    def prepare(self) -> None:
        """Fits the principal axes to the first crops and compiles the step."""
        self._pool = jnp.zeros((self._size, *CROP, 3), jnp.uint8)
        if self._film is not None:
            for i in range(0, min(len(self._film), self._size // 4) - INSERTED + 1, INSERTED):
                self._add(self._film[i : i + INSERTED])
        self._films = self.crops
        while self.crops - self._films < min(1024, self._size // 2):
            self._take() or time.sleep(0.05)
        model = self.experiment.model
        strides = model.temporal_stride, model.spatial_stride

        @jax.jit
        def moments(pixels):
            cells = space_to_depth(pixels / 127.5 - 1.0, *strides).reshape(-1, model.cell_size)
            return jnp.einsum("ij,ik->jk", cells, cells, precision="highest") / len(cells)

        first = range(0, min(self.crops, 1024) - 63, 64)
        total = sum(np.asarray(moments(self._pool[i : i + 64])) for i in first) / len(first)
        axes = PrincipalAxes.fit(total, model.latent_channels)

        def init_state() -> TrainState:
            return vae_task.init_state(self.experiment, vae.init_statistics(model, axes))

        self.state = jax.jit(init_state)()
        self._run = jax.jit(self._train_step, donate_argnums=0)
        self.step(np.float32(0))

    def _train_step(self, state, pool, counts, rate):
        """A step on random crops, mirrored at random."""
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

        def parallel(state, pool, counts, rate, key):
            keys = jax.random.split(key, 4)
            films, crops = counts
            world = jax.random.randint(keys[0], (self._batch,), films, crops)
            film = jax.random.randint(keys[0], (self._batch,), 0, jnp.maximum(films, 1))
            is_film = jax.random.uniform(keys[1], (self._batch,)) < FILM_SHARE * (films > 0)
            pixels = pool[jnp.where(is_film, film, world)].astype(jnp.float32) / 127.5 - 1.0
            flip = jax.random.bernoulli(keys[2], shape=(2, self._batch, 1, 1, 1, 1))
            pixels = jnp.where(flip[0], pixels[:, :, ::-1], pixels)
            pixels = jnp.where(flip[1], pixels[:, :, :, ::-1], pixels)
            gradients, aux = jax.grad(vae_task.loss, has_aux=True)(
                state.params, state, self.experiment, pixels, keys[3], None
            )
            network = state._replace(opt_state=state.opt_state["network"])
            config = self.experiment.optimizer
            new, metrics = apply_gradients(network, gradients, config, aux["metrics"], rate)
            return new._replace(opt_state={"network": new.opt_state}), metrics

        return auto_axes(parallel, out_sharding=P())(state, pool, counts, rate, key)

    def step(self, rate: np.float32) -> None:
        """One step of training, and new crops on the device, if there are any."""
        self._take()
        counts = np.int32([self._films, self.crops])
        self.state, metrics = self._run(self.state, self._pool, counts, rate)
        self._steps += 1
        _log_later(self, metrics, "autoencoder")

    def _take(self) -> bool:
        if not self._waiting or self.crops + INSERTED > self._size:
            return False
        self._add(self._waiting.popleft())
        return True

    def _add(self, crops: np.ndarray) -> None:
        self._pool = _insert(self._pool, crops, np.int32(self.crops))
        self.crops += len(crops)

    def finish(self) -> None:
        """Frees the crops; the weights are final."""
        self._done.set()
        jax.block_until_ready(self.state)
        del self._pool
        self.statistics = dict(self.state.statistics)

    def result(self) -> Params:
        """Averaged weights and the state that is not trained."""
        return {"params": self.state.ema, "statistics": self.statistics}


@functools.partial(jax.jit, donate_argnums=0)
def _insert(store, part, start):
    """The store with a part replaced, in place."""

    def run(store, part, start):
        return jax.lax.dynamic_update_slice_in_dim(store, part.astype(store.dtype), start, 0)

    return auto_axes(run, out_sharding=P())(store, part, start)


def _log_later(stage: Any, metrics: dict[str, Any], name: str) -> None:
    """Logs every `LOG_EVERY`th step's metrics, two steps later, so that the device never waits."""
    stage._metrics.append((stage._steps, metrics))
    if len(stage._metrics) > 2:
        number, values = stage._metrics.popleft()
        values = {key: float(value) for key, value in jax.device_get(values).items()}
        if number % LOG_EVERY == 1 or number < 4:
            stage.log(stage=name, step=number, **values)


class Transformer:
    """Encodes clips, keeps their latents on the device, and trains on rows of them."""

    def __init__(
        self,
        experiment: DiffusionExperiment,
        folder: pathlib.Path,
        end: int,
        log: Callable[..., None],
        blocks: int = MAX_BLOCKS,
    ):
        self.experiment, self.log, self._folder, self._end = experiment, log, folder, end
        self.rows: list[feed.Row] = []
        self.clips, self.tokens, self._steps, self._blocks = 0, 0, 0, 0
        self._max_blocks, self._metrics = blocks, collections.deque()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._rng = np.random.default_rng(1)

    def prepare(self, autoencoder: Autoencoder) -> None:
        """Compiles the step and the encoder for all canvases, while something else trains."""
        with sharding.use_mesh():
            c = self.experiment.model.latent_channels
            self._store = jnp.zeros((self._max_blocks * BLOCK_TOKENS, c), jnp.float16)
            self._store = _insert(self._store, np.zeros((BLOCK_TOKENS, c), np.float16), np.int32(0))
            sensitivity = np.ones(c)
            init = functools.partial(diffusion_task.init_state, self.experiment, sensitivity)
            self.state = jax.jit(init)()
            while True:
                try:
                    self._warm_up(jax.jit(init)())
                    break
                except jax.errors.JaxRuntimeError as error:  # out of memory: half the rows
                    packing = self.experiment.packing
                    self.log(event="fewer rows", rows=packing.rows // 2, reason=repr(error)[:300])
                    packing = dataclasses.replace(
                        packing, rows=packing.rows // 2, rows_per_device=packing.rows // 2
                    )
                    self.experiment = dataclasses.replace(self.experiment, packing=packing)
            self.state = jax.jit(init)()
            self.log(event="transformer compiled")
            self._encode = functools.partial(_encode, autoencoder.experiment.model)
            params, statistics = autoencoder.state.ema, autoencoder.state.statistics
            params, statistics = jax.tree.map(jnp.zeros_like, (params, statistics))

        def compile_one(canvas: tuple[int, int], frames: int) -> None:
            with sharding.use_mesh():
                pixels = np.zeros((ENCODED_TOGETHER[frames], frames, *canvas, 3), np.uint8)
                jax.block_until_ready(self._encode(params, statistics, pixels))

        canvases = ((64, 64), (64, 96), (96, 64), (56, 96), (96, 56))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(
                pool.map(
                    lambda job: compile_one(*job), [(s, f) for s in canvases for f in (17, 65)]
                )
            )
        self.log(event="encoder compiled")

    def _warm_up(self, state: TrainState) -> None:
        """Compiles the step, and runs it on rows of padding."""
        packing = self.experiment.packing
        self._run = jax.jit(self._train_step, donate_argnums=0)
        row = feed.Row(*(np.zeros((0, *n)) for n in ((), (3,), ())), [])
        empty = feed.plan_step([row] * packing.rows, packing, self._end, self._rng)
        jax.block_until_ready(self._run(state, self._store, empty, np.float32(0)))

    def start_encoding(self, autoencoder: Autoencoder) -> None:
        """Encodes all clips of the folder, those to come too, in the background."""
        self._autoencoder = autoencoder
        self._thread = threading.Thread(target=self._encode_all, daemon=True)
        self._thread.start()

    def _encode_all(self) -> None:
        with sharding.use_mesh():
            waiting: list[feed.Clip] = []
            files = 0
            for path in feed.new_files(self._folder):
                if self._stop.is_set() or self._blocks == self._max_blocks:
                    return
                if path is None:
                    continue
                waiting.extend(feed.read_clips(path, 8))
                files += 1
                path.unlink()
                if files == BLOCK_FILES:
                    self._add_block(waiting)
                    waiting, files = [], 0

    def _add_block(self, clips: list[feed.Clip]) -> None:
        """Encodes clips, puts their latents on the device and their rows into `rows`."""
        latents = self._latents(clips)
        if not self._blocks:
            self._measure(latents)
        m, s = (np.asarray(a) for a in self._scale)
        grids = np.array([z.shape[:3] for z in latents], np.int32)
        flat = np.concatenate([z.reshape(-1, z.shape[-1]) for z in latents])
        flat = ((flat - m) / s).astype(np.float16)
        ends = grids.prod(1).cumsum()
        fits = int((ends <= BLOCK_TOKENS).sum())
        flat = np.pad(flat[: ends[fits - 1]], [(0, BLOCK_TOKENS - ends[fits - 1]), (0, 0)])
        first = self._blocks * BLOCK_TOKENS
        starts = (first + ends - grids.prod(1)).astype(np.int32)
        packing = self.experiment.packing
        rows = list(feed.plan(clips[:fits], starts[:fits], grids[:fits], packing))
        with self._lock:
            self._store = _insert(self._store, flat, np.int32(first))
        self._blocks += 1
        self.clips += fits
        self.rows = self.rows + rows
        self.log(event="block", clips=self.clips, rows=len(self.rows))

    def _latents(self, clips: list[feed.Clip]) -> list[np.ndarray]:
        """Latents of clips [t, h, w, c], float32, not normalised."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, clip in enumerate(clips):
            frames = min(n for n in ENCODED_TOGETHER if n >= len(clip.video))
            groups.setdefault((frames, *clip.video.shape[1:3]), []).append(i)
        ema, statistics = self._autoencoder.state.ema, self._autoencoder.statistics
        made: list[Any] = [None] * len(clips)
        running = []
        for (frames, h, w), numbers in groups.items():
            size = ENCODED_TOGETHER[frames]
            for start in range(0, len(numbers), size):
                part = numbers[start : start + size]
                pixels = np.zeros((size, frames, h, w, 3), np.uint8)
                for j, i in enumerate(part):
                    pixels[j, : len(clips[i].video)] = clips[i].video
                running.append((part, self._encode(ema, statistics, pixels)))
        for part, means in running:
            means = np.asarray(means)
            for j, i in enumerate(part):  # causal: what follows a clip changes nothing of it
                made[i] = means[j, : 1 + (len(clips[i].video) - 1) // 4]
        return made

    def _measure(self, latents: list[np.ndarray]) -> None:
        """Statistics of latents, and how far each channel moves pixels, of the first block."""
        flat = np.concatenate([z.reshape(-1, z.shape[-1]) for z in latents]).astype(np.float64)
        mean, variance = flat.mean(0).astype(np.float32), flat.var(0).astype(np.float32)
        self._scale = mean, np.sqrt(variance)
        stage = self._autoencoder
        self._replicated = LatentStatistics(jnp.asarray(mean), jnp.asarray(variance))._asdict()
        stage.statistics["latents"] = self._replicated
        sensitivity = self._sensitivity(latents)
        scale = jax.jit(lambda: diffusion_task.channel_scale(self.experiment, sensitivity))()
        self.state = self.state._replace(statistics={"channel_scale": scale})
        self._measured = {"channel_sensitivity": np.asarray(sensitivity, np.float32)}
        self.log(
            event="latents", deviation=self._scale[1].tolist(), sensitivity=sensitivity.tolist()
        )

    def _sensitivity(self, latents: list[np.ndarray]) -> np.ndarray:
        """As `data_pipelines.encode.channel_sensitivity`."""
        stage, changes = self._autoencoder, []
        model = stage.experiment.model

        @jax.jit
        def decode(params, statistics, z):
            def run(params, statistics, z):
                z = LatentStatistics(**statistics["latents"]).restore(z)
                return vae.decode(model, params, statistics, z)

            return auto_axes(run, out_sharding=P())(params, statistics, z)

        videos = [z for z in latents if len(z) > 1]
        for i in np.linspace(0, len(videos) - 1, 32).astype(int):
            m, s = self._scale
            latent = ((videos[i][:2, :7, :7] - m) / s).astype(np.float32)
            noise = np.random.default_rng(int(i)).normal(size=latent.shape).astype(np.float32)
            channels = np.eye(latent.shape[-1], dtype=np.float32)[:, None, None, None]
            moved = np.concatenate([latent[None], latent + channels * (noise - latent)])
            pixels = np.asarray(decode(stage.state.ema, stage.statistics, moved))
            changes.append(np.mean((pixels[1:] - pixels[:1]) ** 2, (1, 2, 3, 4)))
        return np.mean(changes, 0)

    def ready(self) -> bool:
        """Whether there are rows to train on."""
        return len(self.rows) > 4 * self.experiment.packing.rows

    def _train_step(self, state, store, plan, rate):
        experiment = self.experiment
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        known_key, key = jax.random.split(key)
        assemble = functools.partial(feed.assemble, tokens=experiment.packing.tokens)
        batch = auto_axes(
            lambda store, plan, key: assemble(store, plan, key=key), out_sharding=batch_specs()
        )(store, plan, known_key)
        batch = scale_channels(batch, state.statistics["channel_scale"])
        leveled, noise = diffusion_task.sample_noise(key, experiment, batch)
        g = batch.weights.shape[1]
        levels = jnp.concatenate([leveled.levels[:, : 1 + g], batch.levels[:, 1 + g :]], 1)
        batch = leveled._replace(levels=levels)
        value, gradients = jax.value_and_grad(diffusion_task.loss)(
            state.params, experiment, batch, noise
        )
        metrics = {"loss": value, "known": jnp.mean(batch.known.astype(jnp.float32))}
        return apply_gradients(state, gradients, experiment.optimizer, metrics, rate)

    def step(self, rate: np.float32) -> None:
        """One step of training on random rows of those that are there."""
        packing = self.experiment.packing
        chosen = self._rng.choice(len(self.rows), packing.rows, replace=False)
        rows = [self.rows[i] for i in chosen]
        plan = feed.plan_step(rows, packing, self._end, self._rng)
        with self._lock:
            self.state, metrics = self._run(self.state, self._store, plan, rate)
        self.tokens += int(plan.grids.prod(-1).sum())
        self._steps += 1
        _log_later(self, metrics, "transformer")

    def result(self) -> Params:
        """Averaged weights."""
        return self.state.ema

    def statistics(self) -> Params:
        """What is measured of latents; also ends the encoding."""
        self._stop.set()
        self._thread.join(10)
        return {
            "channel_scale": self.state.statistics["channel_scale"],
            "latents": self._replicated,
            **self._measured,
        }


@functools.partial(jax.jit, static_argnums=0)
def _encode(model, params, statistics, pixels):
    """Posterior means of clips uint8 [b, t, h, w, 3]."""

    def run(params, statistics, pixels):
        return vae.posterior(model, params, statistics, pixels / 127.5 - 1.0).mean

    return auto_axes(run, out_sharding=P())(params, statistics, pixels)
