"""A model for `sora-jax sample` in a process of its own: it notes what it is asked for."""

import json
import pathlib

import numpy as np

from sora_jax.commands import sample
from sora_jax.generation.generate import Generator
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.outputs import write_output
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.run_folder import DiffusionRun

FIELDS = (
    *("prompt", "unconditional", "frames", "height", "width", "fps", "seed", "strength", "loop"),
    "coarse",
)


class FakeGenerator(Generator):
    """Keeps what it is asked for; frame k of its videos is of level k where it is not known.

    It cannot make what the prompt "fails" asks for.
    """

    def __init__(self):
        self.codec, self.asked, self.max_given = Codec(), [], 9
        self.run = DiffusionRun(DiffusionExperiment(""), {}, np.ones(4, np.float32), 5)

    def sample_frames(self, requests, config=None, progress=None):
        self.asked += requests
        for r in requests:
            if r.prompt == "fails":
                raise ValueError("the video of 'fails' is not finite")
            video = np.zeros((r.frames, r.height, r.width, 3), np.uint8)
            video += np.arange(r.frames, dtype=np.uint8)[:, None, None, None]
            given = r.given
            yield np.where(given.known[..., None], given.video, video) if given else video

    def sample_latents(self, requests, config=None, progress=None, known=()):
        self.asked += requests
        yield from (one.latents for one in known)

    def decode_stream(self, latents, request):
        for number, _ in enumerate(latents):
            for _ in range(4 if number else 1):
                yield np.full((request.height, request.width, 3), 10 * number, np.uint8)


class Codec:
    config, params, statistics = CellVAEConfig(), {}, {}

    def encode_clip(self, clip, multiple=1):
        return np.zeros((1 + len(clip) // 4, clip.shape[1] // 8, clip.shape[2] // 8, 4)), None


def install(folder):
    """Lets the command use this model, and note in a folder what it was asked for and made."""
    model, folder, made = FakeGenerator(), pathlib.Path(folder), []

    def write(path, frames, fps, how):
        made.append(np.stack(list(frames)))
        asked = [{name: getattr(r, name) for name in FIELDS} for r in model.asked]
        (folder / "asked.json").write_text(json.dumps({"asked": asked, "fps": fps}))
        arrays = {f"made{i}": video for i, video in enumerate(made)}
        for i, request in enumerate(model.asked):
            if request.given:
                arrays |= {f"known{i}": request.given.known, f"video{i}": request.given.video}
        np.savez(folder / "arrays.npz", **arrays)
        write_output(folder / pathlib.Path(path).name, made[-1], fps, how)

    sample.load_generator = lambda *_: model
    sample.write_output = write
