"""Our transformer against diffusers' WanTransformer3DModel on the same random weights.

Command:  pip install -e '.[reference]' && python -m experiments.benchmarks.dit_parity
Bars:     velocities within 1e-4 of the largest value, in float32, for images and videos of several
          sizes, packed in one row, each patch at its own level, captions filled up with zeros as
          Wan's pipelines do; any kind of tensor read in a wrong order moves them by more than 1e-2;
          every name and shape of the full-size models fits, and what we write is read by diffusers,
          tensor for tensor.

Every weight, bias and gain is drawn at random. The answers of the smallest model are kept in
`results/dit_parity.npz`, for tests where torch is not installed. Text encoders: `t5_parity`.
"""

import tempfile
from typing import Any

import numpy as np
import safetensors.torch
import torch
from diffusers import WanTransformer3DModel

from experiments.benchmarks import RESULTS, finish, table
from sora_jax import sharding
from sora_jax.interop import tensors, wan, wan_dit
from sora_jax.interop.entries import check_shapes
from sora_jax.models import dit
from sora_jax.models.dit_config import PRESETS
from tests.interop import reference_dit as reference

BAR, SEEN = 1e-4, 1e-2
MODELS = {
    "smallest": {},
    "heads as wide as Wan's": {"attention_head_dim": 128, "num_layers": 3, "ffn_dim": 100},
    "patches of one latent": {"patch_size": [1, 1, 1], "in_channels": 4, "out_channels": 4},
    "tall patches": {"patch_size": [1, 3, 2], "num_attention_heads": 3},
}
ROWS = {
    "image": [((1, 6, 12), 4)],
    "video": [((5, 12, 6), 9)],
    "packed": [((4, 6, 6), 1), ((1, 12, 18), 30), ((2, 6, 12), 511)],
}
"""Latents' shapes, and real states of captions, of the clips of a row."""


def model_of(config: dict[str, Any]) -> WanTransformer3DModel:
    """A model of theirs with `draw`'s parameters."""
    model = WanTransformer3DModel(**{k: v for k, v in config.items() if k[0] != "_"}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(reference.draw(name, tuple(parameter.shape))))
    return model


def theirs(model: WanTransformer3DModel, clip: dict[str, Any]) -> np.ndarray:
    """The velocity of one clip, its caption filled up with zeros."""
    text = np.zeros((wan_dit.PADDED_TEXT_LENGTH, clip["text"].shape[1]), np.float32)
    text[: len(clip["text"])] = clip["text"]
    latents = clip["latents"].transpose(3, 0, 1, 2)[None].copy()
    with torch.no_grad():
        made = model(
            torch.from_numpy(latents),
            torch.from_numpy(1000 * clip["levels"])[None],
            torch.from_numpy(text)[None],
        )
    return made.sample[0].numpy().transpose(1, 2, 3, 0)


def full_size(name: str) -> int:
    """Tensors of a full-size model whose names and shapes fit; raises where one does not."""
    ours = PRESETS[name]
    with torch.device("meta"):
        config = wan_dit.to_their_config(ours)
        state = WanTransformer3DModel(**{k: v for k, v in config.items() if k[0] != "_"})
    shapes = {name: tuple(value.shape) for name, value in state.state_dict().items()}
    check_shapes(wan_dit.entries(ours), shapes, dit.shapes(ours))
    return len(shapes)


def round_trip(model: WanTransformer3DModel) -> bool:
    """Their folder, read and written by us, is read by them as the same model."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        model.save_pretrained(one, max_shard_size="20KB")  # several files and an index
        wan.save_transformer(two, wan.load_transformer(one))
        config = WanTransformer3DModel.load_config(two)
        new = safetensors.torch.load_file(f"{two}/{tensors.STEM}.safetensors")
    WanTransformer3DModel.from_config(config).load_state_dict(new)
    old = model.state_dict()
    return old.keys() == new.keys() and all(torch.equal(old[k], new[k]) for k in old)


def main() -> None:
    """Compares, prints, writes."""
    rows, missed = [], []
    for name, sizes in MODELS.items():
        config = reference.SMALLEST | sizes
        model, weights = model_of(config), reference.weights_of(config)
        for row, clips in ROWS.items():
            made = [reference.inputs(config, *clip) for clip in clips]
            wanted = [theirs(model, clip) for clip in made]
            error = reference.largest_error(reference.ours(weights, made), wanted)
            rows.append([name, row, error])
            if not error <= BAR:
                missed.append(f"{name}, {row}: {error:.1e}")
        if not round_trip(model):
            missed.append(f"{name}: another model after reading and writing")
    print(table(["model", "row", "error"], rows))

    config, seen = reference.SMALLEST, []
    pairs = zip(reference.SHAPES, reference.WORDS, strict=True)
    clips = [reference.inputs(config, *pair) for pair in pairs]
    model = model_of(config)
    wanted = [theirs(model, clip) for clip in clips]
    kept = {str(i): value for i, value in enumerate(wanted)}
    np.savez_compressed(RESULTS / "dit_parity.npz", **kept)
    for kind, wrong in reference.misread(config).items():
        error = reference.largest_error(reference.ours(wrong, clips), wanted)
        seen.append([kind, error])
        if not error > SEEN:
            missed.append(f"{kind} goes unseen: {error:.1e}")
    print(table(["tensor read in a wrong order", "error"], seen))
    counts = {name: full_size(name) for name in ("wan_1_3b", "wan_14b")}
    print(f"names and shapes that fit: {counts}")
    figures = {
        "errors": [dict(zip(("model", "row", "error"), row, strict=True)) for row in rows],
        "misread": dict(seen),
        "full_size_tensors": counts,
    }
    finish("dit_parity", figures, missed)


if __name__ == "__main__":
    with sharding.use_mesh():
        main()
