"""Our T5 encoder and tokenizer against transformers' on the same random weights and texts.

Command:  pip install -e '.[reference]' && python -m experiments.benchmarks.t5_parity
Bars:     states of T5, T5 1.1 and UMT5 within 1e-4 of the largest value, in float32, for captions
          of 1 to 300 tokens, padding included; any kind of tensor read in a wrong way moves them
          by more than 1e-2; buckets of distances are the same; every name and shape of umt5-xxl and
          t5-v1.1-xxl fits; folders, shards and whole T5s are read, and what we write is read by
          transformers, tensor for tensor; every id of the tokenizer is the same.

Every weight, gain and table is drawn at random. The answers of the smallest models are kept in
`results/t5_parity.npz`, for tests where torch is not installed. Texts with characters that a
byte-fallback model does not know are compared with sentencepiece itself; see `t5_tokenizer`.
"""

import importlib.metadata
import os
import pathlib
import tempfile
from typing import Any

import numpy as np

# Wheels of sentencepiece may be built for a newer protobuf than the one beside them; the format
# that transformers reads through it has not changed.
os.environ.setdefault("TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK", "true")

import torch
import transformers
from transformers.models.t5.modeling_t5 import T5Attention

from experiments.benchmarks import RESULTS, finish, table
from sora_jax import sharding
from sora_jax.interop import t5 as interop
from sora_jax.interop import tensors
from sora_jax.interop.entries import check_shapes
from sora_jax.models import t5
from tests.interop import reference_t5 as reference
from tests.interop import reference_tokenizer as texts

BAR, SEEN = 1e-4, 1e-2
CONFIGS = {"t5": transformers.T5Config, "umt5": transformers.UMT5Config}
ENCODERS = {"t5": transformers.T5EncoderModel, "umt5": transformers.UMT5EncoderModel}
WHOLE = {
    "t5": transformers.T5ForConditionalGeneration,
    "umt5": transformers.UMT5ForConditionalGeneration,
}
LARGER = {
    "vocab_size": 300,
    "d_model": 96,
    "d_kv": 16,
    "d_ff": 200,
    "num_layers": 5,
    "num_heads": 4,
}
LENGTHS = {"one": (1,), "short": (3, 7, 20), "long": (300, 1, 130)}
FUZZ = 300  # random texts


def model_of(config: dict[str, Any], kinds: dict[str, Any] = ENCODERS) -> Any:
    """A model of theirs with `draw`'s parameters."""
    kind = config["model_type"]
    sizes = {key: value for key, value in config.items() if key != "model_type"}
    model = kinds[kind](CONFIGS[kind](**sizes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(reference.draw(name, tuple(parameter.shape))))
    return model


def theirs(model: Any, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """States of captions."""
    with torch.no_grad():
        found = model(torch.from_numpy(tokens).long(), torch.from_numpy(mask).long())
    return found.last_hidden_state.numpy()


def full_size(config: dict[str, Any]) -> int:
    """Tensors of a full-size model whose names and shapes fit; raises where one does not."""
    kind = config["model_type"]
    with torch.device("meta"):
        sizes = {key: value for key, value in config.items() if key != "model_type"}
        state = ENCODERS[kind](CONFIGS[kind](**sizes)).state_dict()
    state.pop(interop.TIED)
    ours = interop.from_their_config(config)
    entries = interop.entries(ours)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    check_shapes(entries, shapes, t5.shapes(ours))
    return len(entries)


def round_trip(config: dict[str, Any]) -> bool:
    """Their folders, read and written by us, are read by them as the same encoder."""
    encoder, whole = model_of(config), model_of(config, WHOLE)
    same = True
    for model in (encoder, whole):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            model.save_pretrained(one, max_shard_size="20KB")  # several files and an index
            interop.save_text_encoder(two, interop.load_text_encoder(one))
            again = ENCODERS[config["model_type"]].from_pretrained(two)
            written = tensors.read_tensors(two, interop.STEM)
        old, new = encoder.state_dict(), again.state_dict()
        same &= old.keys() == new.keys() and all(torch.equal(old[k], new[k]) for k in old)
        same &= written.keys() == {name for name, _ in encoder.named_parameters()}
        keys = interop.to_their_config(interop.from_their_config(config)).keys()
        same &= all(getattr(again.config, k) == getattr(encoder.config, k) for k in keys & config)
    return same


def buckets_of(length: int, buckets: int, farthest: int) -> np.ndarray:
    """Their buckets of keys from the first query to the last key, and back."""
    offset = torch.arange(1 - length, length)
    found = T5Attention._relative_position_bucket(
        offset, num_buckets=buckets, max_distance=farthest
    )
    return found.numpy()


def our_buckets(length: int, buckets: int, farthest: int) -> np.ndarray:
    """Ours in the same order."""
    found = t5.relative_buckets(length, buckets, farthest)
    return np.concatenate([found[-1, :-1], found[0]])


def tokens_of(folder: str, captions: list[str]) -> np.ndarray:
    """Ids of transformers' T5Tokenizer, padded."""
    tokenizer = transformers.T5Tokenizer.from_pretrained(folder)
    settings = {"padding": "max_length", "truncation": True, "max_length": texts.LENGTH}
    return np.asarray(tokenizer(captions, **settings).input_ids, np.int32)


def fuzz() -> list[str]:
    """Random texts of known characters, spaces of all kinds and special tokens."""
    rng = np.random.default_rng(0)
    signs = sorted({*"".join(texts.SENTENCES), *" \t\n\u00a0\u3000\u200b▁"})
    signs += [" ", "  ", "</s>", "<pad>", "<extra_id_7>", "ball", "Hügel"]
    return ["".join(rng.choice(signs, rng.integers(1, 20))) for _ in range(FUZZ)]


def compare_tokenizers() -> tuple[dict[str, np.ndarray], list[str]]:
    """Their ids of `TEXTS`, and where ours differ."""
    kept, missed = {}, []
    for fallback in (False, True):
        name = f"tokens_{'bytes' if fallback else 'plain'}"
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "spiece.model"
            ours = texts.train(path, fallback)
            captions = texts.TEXTS + ([] if fallback else texts.UNKNOWN)
            kept[name] = tokens_of(folder, captions)
            captions = [*captions, *fuzz()]
            wanted = tokens_of(folder, captions)
        found, mask = ours.batch(captions, texts.LENGTH)
        wrong = [captions[i] for i in np.flatnonzero((found != wanted).any(1))]
        missed += [f"{name}: other ids for {text!r}" for text in wrong]
        if fallback:
            direct = [[*ours.model.encode(text), 1] for text in texts.UNKNOWN]
            found, mask = ours.batch(texts.UNKNOWN, texts.LENGTH)
            if [list(f[m]) for f, m in zip(found, mask, strict=True)] != direct:
                missed.append(f"{name}: unknown characters are no bytes")
    return kept, missed


def main() -> None:
    """Compares, prints, writes."""
    rows, missed, kept = [], [], {}
    for name, config in reference.MODELS.items():
        for sizes in ({}, LARGER):
            config = config | sizes
            model, weights = model_of(config), reference.weights_of(config)
            for size, lengths in LENGTHS.items():
                tokens, mask = reference.captions_of(config["vocab_size"], lengths)
                wanted = theirs(model, tokens, mask)
                found = reference.error(reference.states(weights, tokens, mask), wanted)
                rows.append([name, config["d_model"], size, found])
                if not found <= BAR:
                    missed.append(f"{name} at {lengths}: {found:.1e}")
        if not round_trip(config):
            missed.append(f"{name}: another model after reading and writing")
    print(table(["model", "width", "captions", "error"], rows))

    seen = []
    for name, config in reference.MODELS.items():
        tokens, mask = reference.captions_of(config["vocab_size"], reference.LENGTHS)
        kept[name] = theirs(model_of(config), tokens, mask)
        for kind, wrong in reference.misread(config).items():
            error = reference.error(reference.states(wrong, tokens, mask), kept[name])
            seen.append([name, kind, error])
            if not error > SEEN:
                missed.append(f"{name}: {kind} goes unseen: {error:.1e}")
    print(table(["model", "tensor read in a wrong way", "error"], seen))

    for sizes in reference.BUCKETS:
        kept[f"buckets {sizes}"] = buckets_of(*sizes).astype(np.int32)
        if not np.array_equal(our_buckets(*sizes), kept[f"buckets {sizes}"]):
            missed.append(f"buckets {sizes} differ")
    ids, wrong = compare_tokenizers()
    missed += wrong
    np.savez_compressed(RESULTS / "t5_parity.npz", **kept, **ids)
    hub = {"umt5-xxl": reference.HUB_UMT5_XXL, "t5-v1.1-xxl": reference.HUB_T5_XXL}
    counts = {name: full_size(config) for name, config in hub.items()}
    print(f"names and shapes that fit: {counts}")
    packages = ("transformers", "tokenizers", "sentencepiece")
    header = ("model", "width", "captions", "error")
    figures = {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "errors": [dict(zip(header, row, strict=True)) for row in rows],
        "misread": [dict(zip(("model", "kind", "error"), row, strict=True)) for row in seen],
        "full_size_tensors": counts,
        "texts": len(texts.TEXTS) + len(texts.UNKNOWN) + FUZZ,
    }
    finish("t5_parity", figures, missed)


if __name__ == "__main__":
    with sharding.use_mesh():
        main()
