"""A frozen T5 over captions: shapes that are compiled, cutting, messages."""

import dataclasses

import jax
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.models import t5_text_encoder
from sora_jax.models.t5_text_encoder import T5TextEncoder
from tests.interop import reference_t5, reference_tokenizer

CONFIG = reference_t5.MODELS["t5 1.1"] | {"vocab_size": 300}
TEXTS = [text for text in reference_tokenizer.TEXTS if text]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return reference_tokenizer.train(tmp_path_factory.mktemp("t5") / "spiece.model", False)


def states_of(tokenizer, tokens=512, params=lambda params: params, **sizes):
    config, found = reference_t5.weights_of(CONFIG)
    config = dataclasses.replace(config, **sizes)
    return T5TextEncoder(config, params(found), tokenizer, tokens)


@pytest.mark.parametrize("mesh", [(8, 1, 1, 1), (2, 2, 1, 1), (1, 4, 2, 1)], ids=str)
def test_captions_come_back_in_their_order_whatever_the_mesh_and_their_neighbours(tokenizer, mesh):
    count = int(np.prod(mesh))
    devices = jax.make_mesh(
        mesh, sharding.AXES, (jax.sharding.AxisType.Explicit,) * 4, devices=jax.devices()[:count]
    )
    with jax.set_mesh(devices):
        encoder = states_of(tokenizer)
        found = encoder.encode(TEXTS)
        for text, states in zip(TEXTS, found, strict=True):
            assert states.shape == (len(tokenizer.encode(text)), encoder.config.width)
            (alone,) = encoder.encode([text])
            np.testing.assert_allclose(states, alone, atol=2e-3 * np.abs(alone).max())
        assert encoder.encode([]) == []


def test_few_shapes_are_compiled_and_long_captions_are_cut(tokenizer, one_device, monkeypatch):
    shapes, run = [], t5_text_encoder._embed

    def counted(config, params, tokens, mask):
        shapes.append(tokens.shape)
        return run(config, params, tokens, mask)

    monkeypatch.setattr(t5_text_encoder, "_embed", counted)
    monkeypatch.setattr(t5_text_encoder, "MAX_TOKENS_PER_DEVICE", 64)
    encoder = states_of(tokenizer, tokens=40)
    words = [" ".join(["cat"] * n) for n in (1, 2, 3, 4, 1, 2, 12, 99, 77)]
    found = [len(states) for states in encoder.encode(words)]
    wanted = [min(len(tokenizer.encode(text)), 40) for text in words]
    assert found == wanted and wanted[-1] == 40
    # Rows of 16 tokens by four, then what is left, by a power of two.
    assert shapes[0] == (4, 16) and set(shapes) <= {(4, 16), (2, 16), (2, 32), (1, 32), (1, 40)}
    assert all(b * s <= 64 for b, s in shapes)


def test_weights_and_tokenizer_are_known_by_a_hash(tokenizer, tmp_path, one_device):
    first, same = states_of(tokenizer).weights, states_of(tokenizer, tokens=9).weights
    other = states_of(tokenizer, params=lambda p: p | {"table": p["table"] + 1}).weights
    pieces = states_of(
        reference_tokenizer.train(tmp_path / "spiece.model", True), vocabulary=600
    ).weights
    assert first == same and len({first, other, pieces}) == 3


def test_matrices_are_bfloat16_where_the_mesh_is_no_cpus(tokenizer, one_device, monkeypatch):
    whole = states_of(tokenizer).encode(TEXTS[:4])
    monkeypatch.setattr(t5_text_encoder, "platform", lambda: "tpu")
    half = states_of(tokenizer)
    kinds = {
        jax.tree_util.keystr(path): leaf.dtype
        for path, leaf in jax.tree.leaves_with_path(half._params)
    }
    assert kinds["['blocks']['up']['kernel']"] == kinds["['table']"] == "bfloat16"
    assert kinds["['norm']['scale']"] == kinds["['relative']['table']"] == "float32"
    for a, b in zip(half.encode(TEXTS[:4]), whole, strict=True):
        assert a.dtype == np.float16
        assert np.sqrt(np.mean((a - np.float32(b)) ** 2)) < 0.05 * np.std(np.float32(b))


def test_what_cannot_be_encoded_is_named(tokenizer, one_device):
    with pytest.raises(ValueError, match="tokenizer has [0-9]+ pieces and the text encoder 60: th"):
        T5TextEncoder(*reference_t5.weights_of(reference_t5.MODELS["umt5"]), tokenizer, 512)

    def large(params):
        return params | {"norm": {"scale": params["norm"]["scale"] * 1e6}}

    with pytest.raises(
        ValueError, match="embeddings of 'a red ball' are not finite in float16: the t"
    ):
        states_of(tokenizer, params=large).encode(["a red ball"])
