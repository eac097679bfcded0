"""Clips of `experiments.shipped.drawing` to latents on the device, and rows of these.

Clips are encoded in batches of few static shapes: as the encoder is causal, frames that pad a clip
change none of its latents.
"""

import concurrent.futures
import functools
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shipped import feed
from experiments.shipped.device import TrainedCodec, insert
from sora_jax import sharding
from sora_jax.models import vae
from sora_jax.models.latents import LatentStatistics
from sora_jax.models.vae_config import AnyVAEConfig
from sora_jax.rows import PackingConfig
from sora_jax.sharding import P, auto_axes

CANVASES = ((64, 64), (64, 96), (96, 64), (56, 96), (96, 56))  # `worlds.base.SIZES`, padded
TOGETHER = {17: 64, 65: 16}  # frames that clips are padded to: clips of a batch
BLOCK_FILES, BLOCK_TOKENS = 16, 1 << 19  # files of which rows are made; at most tokens of these
SENSITIVITY_CLIPS = 32


class LatentStore:
    """Latents of all clips of a folder, those to come too, as one array of tokens on the device.

    Attributes:
      array: float16 [tokens, c], normalised; take `lock` while a program that reads it is started.
      rows: rows of clips that are there.
      clips: number of clips that are there.
      measured: statistics and sensitivity of latents; set before the first rows.
    """

    def __init__(
        self, folder: pathlib.Path, packing: PackingConfig, blocks: int, log: Callable[..., None]
    ):
        self._folder, self._packing, self._log, self._max_blocks = folder, packing, log, blocks
        self.lock, self._stop, self._blocks = threading.Lock(), threading.Event(), 0
        self.rows: list[feed.Row] = []
        self.clips, self.measured = 0, {}

    def allocate(self, channels: int) -> None:
        """Makes room on the device."""
        self.array = jnp.zeros((self._max_blocks * BLOCK_TOKENS, channels), jnp.float16)
        part = np.zeros((BLOCK_TOKENS, channels), np.float16)
        self.array = insert(self.array, part, np.int32(0))

    def compile(self, model: AnyVAEConfig, params: Any, statistics: Any) -> None:
        """Compiles the encoder for all canvases.

        Args:
          params, statistics: of the right shapes; the values are not read.
        """
        with sharding.use_mesh():
            self._compile(model, params, statistics)

    def _compile(self, model: AnyVAEConfig, params: Any, statistics: Any) -> None:
        zeros = jax.tree.map(jnp.zeros_like, (params, statistics))

        def compile_one(job: tuple[tuple[int, int], int]) -> None:
            (h, w), frames = job
            with sharding.use_mesh():
                pixels = np.zeros((TOGETHER[frames], frames, h, w, 3), np.uint8)
                jax.block_until_ready(_encode(model, *zeros, pixels))

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(compile_one, [(canvas, n) for canvas in CANVASES for n in TOGETHER]))
        self._log(event="encoder compiled")

    def start(self, codec: TrainedCodec, measured: dict[str, np.ndarray] | None = None) -> None:
        """Encodes all clips of the folder, in the background.

        Args:
          measured: `measured` of an earlier training, whose latents these shall equal; None
            measures those of the first block.
        """
        self._codec, self.measured = codec, measured or {}
        self._thread = threading.Thread(target=self._encode_all, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ends the encoding."""
        self._stop.set()
        self._thread.join(10)

    def _encode_all(self) -> None:
        with sharding.use_mesh():
            waiting: list[feed.Clip] = []
            files = 0
            for path in feed.new_files(self._folder):
                if self._stop.is_set() or self._blocks == self._max_blocks:
                    return
                if path is None:
                    continue
                waiting.extend(feed.read_clips(path, self._codec.config.spatial_stride))
                files += 1
                path.unlink()
                if files == BLOCK_FILES:
                    self._add_block(waiting)
                    waiting, files = [], 0

    def _add_block(self, clips: list[feed.Clip]) -> None:
        latents = self._latents(clips)
        if not self.measured:
            self.measured = self._measure(latents)
            self._log(event="latents", **{k: v.tolist() for k, v in self.measured.items()})
        m, s = self.measured["mean"], np.sqrt(self.measured["variance"])
        grids = np.array([z.shape[:3] for z in latents], np.int32)
        ends = grids.prod(1).cumsum()
        fits = int((ends <= BLOCK_TOKENS).sum())
        flat = np.concatenate([z.reshape(-1, z.shape[-1]) for z in latents[:fits]])
        flat = np.pad(((flat - m) / s).astype(np.float16), [(0, BLOCK_TOKENS - len(flat)), (0, 0)])
        first = self._blocks * BLOCK_TOKENS
        starts = (first + ends - grids.prod(1)).astype(np.int32)
        rows = list(feed.plan(clips[:fits], starts[:fits], grids[:fits], self._packing))
        with self.lock:
            self.array = insert(self.array, flat, np.int32(first))
        self._blocks += 1
        self.clips += fits
        self.rows = self.rows + rows
        self._log(event="block", clips=self.clips, rows=len(self.rows))

    def _latents(self, clips: list[feed.Clip]) -> list[np.ndarray]:
        """Latents of clips [t, h, w, c], float32, not normalised."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, clip in enumerate(clips):
            frames = min(n for n in TOGETHER if n >= len(clip.video))
            groups.setdefault((frames, *clip.video.shape[1:3]), []).append(i)
        running, stride = [], self._codec.config.temporal_stride
        for (frames, h, w), numbers in groups.items():
            for start in range(0, len(numbers), TOGETHER[frames]):
                part = numbers[start : start + TOGETHER[frames]]
                pixels = np.zeros((TOGETHER[frames], frames, h, w, 3), np.uint8)
                for j, i in enumerate(part):
                    pixels[j, : len(clips[i].video)] = clips[i].video
                running.append((part, _encode(*self._codec, pixels)))
        made: list[Any] = [None] * len(clips)
        for part, means in running:
            array = np.asarray(means)
            for j, i in enumerate(part):
                made[i] = array[j, : 1 + (len(clips[i].video) - 1) // stride]
        return made

    def _measure(self, latents: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Mean and variance of each channel, and how far it moves pixels.

        That is what `data_pipelines.encode.channel_sensitivity` measures.
        """
        flat = np.concatenate([z.reshape(-1, z.shape[-1]) for z in latents]).astype(np.float64)
        mean, variance = flat.mean(0).astype(np.float32), flat.var(0).astype(np.float32)
        statistics = LatentStatistics(jnp.asarray(mean), jnp.asarray(variance))._asdict()
        codec, changes = self._codec, []
        codec = codec._replace(statistics={**codec.statistics, "latents": statistics})
        videos = [z for z in latents if len(z) > 1]
        for i in np.linspace(0, len(videos) - 1, SENSITIVITY_CLIPS).astype(int):
            latent = ((videos[i][:2, :7, :7] - mean) / np.sqrt(variance)).astype(np.float32)
            noise = np.random.default_rng(int(i)).normal(size=latent.shape).astype(np.float32)
            channels = np.eye(latent.shape[-1], dtype=np.float32)[:, None, None, None]
            moved = np.concatenate([latent[None], latent + channels * (noise - latent)])
            pixels = np.asarray(_decode(*codec, moved))
            changes.append(np.mean((pixels[1:] - pixels[:1]) ** 2, (1, 2, 3, 4)))
        sensitivity = np.mean(changes, 0).astype(np.float32)
        return {"mean": mean, "variance": variance, "sensitivity": sensitivity}


@functools.partial(jax.jit, static_argnums=0)
def _encode(model, params, statistics, pixels):
    """Posterior means of clips uint8 [b, t, h, w, 3]."""

    def run(params, statistics, pixels):
        return vae.posterior(model, params, statistics, pixels / 127.5 - 1.0).mean

    return auto_axes(run, out_sharding=P())(params, statistics, pixels)


@functools.partial(jax.jit, static_argnums=0)
def _decode(model, params, statistics, latents):
    """Pixels of normalised latents."""

    def run(params, statistics, latents):
        restored = LatentStatistics(**statistics["latents"]).restore(latents)
        return vae.decode(model, params, statistics, restored)

    return auto_axes(run, out_sharding=P())(params, statistics, latents)
