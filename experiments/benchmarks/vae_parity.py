"""Our autoencoder against diffusers' AutoencoderKLWan on the same random weights.

Command:  pip install -e '.[reference]' && python -m experiments.benchmarks.vae_parity
Bars:     posterior mean, log variance and decoded pixels (before the clamp of pixels) within 1e-4
          of the largest value, in float32, at 1, 5, 9 and 17 frames and two aspect ratios; any kind
          of kernel read in a wrong order moves them by more than 1e-2; every name and shape of the
          full-size model fits, and what we write is read by diffusers, tensor for tensor.

Every weight, bias and gain is drawn at random: ones and zeros would hide errors. The reference is
the public `encode` and `decode`, which carry their cache from chunk to chunk. The answers of the
smallest model are kept in `results/vae_parity.npz`, for tests where torch is not installed.
"""

import tempfile
from unittest import mock

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from experiments.benchmarks import RESULTS, finish, table
from sora_jax import sharding
from sora_jax.interop import wan, wan_vae
from sora_jax.interop.entries import to_params
from tests.interop.reference import (
    SMALLEST,
    SMALLEST_VIDEO,
    draw,
    errors,
    misread,
    ours,
    their_config,
    weights_of,
)

BAR, SEEN = 1e-4, 1e-2
FRAMES, SIZES = (1, 5, 9, 17), ((32, 48), (48, 24))
MODELS = {
    "wan 2.1 in small": {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2},
    "one stride": {"base_dim": 6, "z_dim": 3, "dim_mult": [1, 3], "temperal_downsample": [True]},
    "time first": {
        "base_dim": 8,
        "z_dim": 5,
        "dim_mult": [1, 1, 2],
        "num_res_blocks": 1,
        "temperal_downsample": [True, False],
    },
}


def reference(config: dict) -> AutoencoderKLWan:
    """A model of theirs with `draw`'s parameters."""
    model = AutoencoderKLWan(**{k: v for k, v in config.items() if k[0] != "_"}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw(name, tuple(parameter.shape))))
    return model


def theirs(model: AutoencoderKLWan, video: np.ndarray) -> list[np.ndarray]:
    """Mean and log variance of a video [t, h, w, 3], and the decoded mean before the clamp."""
    x = torch.from_numpy(video.transpose(3, 0, 1, 2)[None].copy())
    with torch.no_grad():
        found = model.encode(x).latent_dist
        with mock.patch.object(torch, "clamp", lambda x, **_: x):
            made = model.decode(found.mean).sample
    return [a[0].numpy().transpose(1, 2, 3, 0) for a in (found.mean, found.logvar, made)]


def video_of(frames: int, height: int, width: int) -> np.ndarray:
    """Noise in [-1, 1]."""
    rng = np.random.default_rng((frames, height, width))
    return rng.uniform(-1, 1, (frames, height, width, 3)).astype(np.float32)


def full_size() -> int:
    """Tensors of the full-size model whose names and shapes fit; raises where one does not."""
    with torch.device("meta"):
        state = AutoencoderKLWan().state_dict()
    config = wan_vae.from_their_config({})
    like = wan.vae.shapes(config)
    entries = wan_vae.entries(config)
    empty = {k: np.broadcast_to(np.float32(0), tuple(v.shape)) for k, v in state.items()}
    to_params(entries, empty, like)
    return len(entries)


def round_trip(model: AutoencoderKLWan) -> bool:
    """Their folder, read and written by us, is read by them as the same model."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        model.save_pretrained(one, max_shard_size="1MB")  # several files and an index
        wan.save_vae(two, wan.load_vae(one))
        again = AutoencoderKLWan.from_pretrained(two, low_cpu_mem_usage=False)
    old, new = model.state_dict(), again.state_dict()
    same = old.keys() == new.keys() and all(torch.equal(old[k], new[k]) for k in old)
    return same and np.allclose(model.config.latents_std, again.config.latents_std, rtol=1e-5)


def main() -> None:
    """Compares, prints, writes."""
    rows, missed, names = [], [], ("mean", "log_variance", "pixels")
    for name, sizes in MODELS.items():
        config = their_config(sizes)
        model, weights = reference(config), weights_of(config)
        for height, width in SIZES:
            for frames in FRAMES:
                video = video_of(frames, height, width)
                wanted = theirs(model, video)
                found = errors(ours(weights, video, wanted[0]), wanted)
                rows.append([name, f"{frames}x{height}x{width}", *found])
                if not max(found) <= BAR:
                    missed.append(f"{name} at {frames}x{height}x{width}: {max(found):.1e}")
        if not round_trip(model):
            missed.append(f"{name}: another model after reading and writing")
    print(table(["model", "size", *names], rows))

    config = their_config(SMALLEST)
    wanted = theirs(reference(config), SMALLEST_VIDEO)
    np.savez_compressed(RESULTS / "vae_parity.npz", **dict(zip(names, wanted, strict=True)))
    seen = []
    for kind, wrong in misread(config).items():
        error = max(errors(ours(wrong, SMALLEST_VIDEO, wanted[0]), wanted))
        seen.append([kind, error])
        if not error > SEEN:
            missed.append(f"{kind} goes unseen: {error:.1e}")
    print(table(["kernel read in a wrong order", "error"], seen))
    count = full_size()
    print(f"{count} names and shapes of the full-size model fit")
    figures = {
        "errors": [dict(zip(("model", "size", *names), row, strict=True)) for row in rows],
        "misread": dict(seen),
        "full_size_tensors": count,
    }
    finish("vae_parity", figures, missed)


if __name__ == "__main__":
    with sharding.use_mesh():
        main()
