"""The autoencoder's part of `experiments.train_shipped`: crops on the device, a step at a time."""

import collections
import pathlib
import threading
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shipped import feed
from experiments.shipped.device import StepLog, TrainedCodec, insert
from sora_jax.models import vae
from sora_jax.models.latents import PrincipalAxes, space_to_depth
from sora_jax.sharding import P, auto_axes
from sora_jax.training import vae_task
from sora_jax.training.experiments import VAEExperiment
from sora_jax.training.optimizer import apply_gradients
from sora_jax.types import Params, TrainState

CROP = (17, 56, 56)  # frames and sides that fit in every canvas of the worlds
BATCH, POOL = 72, 24_000  # crops of a step, crops on the device
INSERTED = 32  # crops that are put on the device at a time
FITTED = 1024  # crops that the principal axes are fitted to
FILM_SHARE = 0.12  # of the crops


class Autoencoder:
    """Trains the autoencoder on crops of the files of a folder, mirrored at random."""

    def __init__(
        self,
        experiment: VAEExperiment,
        folder: pathlib.Path,
        film: np.ndarray | None,
        log: Callable[..., None],
        pool: int = POOL,
        batch: int = BATCH,
    ):
        """Starts to read crops, in the background.

        Args:
          film: further crops, `FILM_SHARE` of those that are trained on.
        """
        self.experiment, self.crops = experiment, 0
        self._size, self._batch, self._film = pool, batch, film
        self._log = StepLog("autoencoder", log)
        self._waiting: collections.deque[np.ndarray] = collections.deque()
        self._done = threading.Event()
        threading.Thread(target=self._read, args=(folder,), daemon=True).start()

    def _read(self, folder: pathlib.Path) -> None:
        """Puts crops of new clips into `_waiting`, until the training ends."""
        rng, crops = np.random.default_rng(0), []
        for path in feed.new_files(folder):
            if self._done.is_set():
                return
            if path is None:
                continue
            for clip in feed.read_clips(path, self.experiment.model.spatial_stride):
                if len(clip.video) >= CROP[0]:
                    crops.append(random_crop(clip.video, rng))
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
        while self.crops - self._films < min(FITTED, self._size // 2):
            if not self._take():
                time.sleep(0.05)
        model = self.experiment.model
        strides = model.temporal_stride, model.spatial_stride

        @jax.jit
        def moments(pixels):
            cells = space_to_depth(pixels / 127.5 - 1.0, *strides).reshape(-1, model.cell_size)
            return jnp.einsum("ij,ik->jk", cells, cells, precision="highest") / len(cells)

        starts = range(0, min(self.crops, FITTED) - 63, 64)
        total = sum(np.asarray(moments(self._pool[i : i + 64])) for i in starts) / len(starts)
        axes = PrincipalAxes.fit(total, model.latent_channels)

        def init_state() -> TrainState:
            return vae_task.init_state(self.experiment, vae.init_statistics(model, axes))

        self.state = jax.jit(init_state)()
        self._run = jax.jit(self._train_step, donate_argnums=0)
        self.step(np.float32(0))

    def _train_step(self, state, pool, counts, rate):
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
        self._log.add(metrics)

    def _take(self) -> bool:
        if not self._waiting or self.crops + INSERTED > self._size:
            return False
        self._add(self._waiting.popleft())
        return True

    def _add(self, crops: np.ndarray) -> None:
        self._pool = insert(self._pool, crops, np.int32(self.crops))
        self.crops += len(crops)

    def finish(self) -> TrainedCodec:
        """The trained weights; frees the crops."""
        self._done.set()
        jax.block_until_ready(self.state)
        del self._pool
        return TrainedCodec(self.experiment.model, self.state.ema, self.state.statistics)

    def result(self) -> Params:
        """Averaged weights and the state that is not trained."""
        return {"params": self.state.ema, "statistics": self.state.statistics}


def random_crop(video: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A crop of the size `CROP`, on the grid of latents."""
    free = [n - c for n, c in zip(video.shape, CROP, strict=False)]
    t, y, x = (int(rng.integers(n // s + 1)) * s for n, s in zip(free, (1, 8, 8), strict=True))
    return video[t : t + CROP[0], y : y + CROP[1], x : x + CROP[2]]
