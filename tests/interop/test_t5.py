"""Weights of T5 encoders: numbers as transformers computes them, folders, strict names."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import experiments.benchmarks
from sora_jax.interop import t5 as interop
from sora_jax.interop import tensors
from sora_jax.interop.entries import Entry
from sora_jax.models.t5 import PRESETS, relative_buckets
from tests.interop.reference_t5 import (
    BUCKETS,
    HUB_T5_XXL,
    HUB_UMT5_XXL,
    LENGTHS,
    MODELS,
    captions_of,
    drawn,
    error,
    misread,
    states,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_device")
CAPTIONS = captions_of(60, LENGTHS)


@pytest.fixture(scope="module")
def wanted():
    """What transformers answered; made by `python -m experiments.benchmarks.t5_parity`."""
    with np.load(experiments.benchmarks.RESULTS / "t5_parity.npz") as kept:
        return dict(kept)


@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_those_of_transformers(wanted, name):
    assert error(states(weights_of(MODELS[name]), *CAPTIONS), wanted[name]) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_tensor_read_in_a_wrong_way_is_seen(wanted, name):
    for kind, weights in misread(MODELS[name]).items():
        assert error(states(weights, *CAPTIONS), wanted[name]) > 1e-2, kind


@pytest.mark.parametrize("sizes", BUCKETS)
def test_buckets_are_those_of_transformers(wanted, sizes):
    found = relative_buckets(*sizes)
    found = np.concatenate([found[-1, :-1], found[0]])  # by key - query
    np.testing.assert_array_equal(found, wanted[f"buckets {sizes}"])


def test_configs_go_there_and_back():
    assert interop.from_their_config(HUB_UMT5_XXL) == PRESETS["umt5_xxl"]
    assert interop.from_their_config(HUB_T5_XXL) == PRESETS["t5_v1_1_xxl"]
    for theirs in (*MODELS.values(), HUB_UMT5_XXL, HUB_T5_XXL):
        ours = interop.from_their_config(theirs)
        again = interop.to_their_config(ours)
        assert again | theirs == again and interop.from_their_config(again) == ours


@pytest.mark.parametrize(
    "entry, theirs, ours",
    [
        (Entry((), (1, 0, 0)), (6, 5), (5, 2, 3)),  # their outputs are our heads x head width
        (Entry((), (1, 1, 0)), (5, 6), (2, 3, 5)),
        (Entry((), (0, 0), trailing=1), (6, 1), (2, 3)),
        (Entry((), (1, None, 0), block=2), (4, 5), (3, 5, 1, 4)),
    ],
)
def test_entries_split_axes_and_find_blocks(entry, theirs, ours):
    assert entry.shape_of_theirs(ours) == theirs
    value = np.arange(np.prod(theirs)).reshape(theirs)
    found = entry.to_ours(value, ours)
    whole = found if entry.block is None else np.stack([found * 0] * entry.block + [found])
    assert whole.shape == ours
    np.testing.assert_array_equal(entry.to_theirs(whole), value)
    if entry.axes == (1, 0, 0):
        for i in range(2):
            for k in range(3):
                np.testing.assert_array_equal(found[:, i, k], value[3 * i + k])


def write(folder: pathlib.Path, kind: str = "umt5", files: int = 1, **changes):
    """Their folder with some tensors or settings changed; None leaves one out."""
    folder.mkdir(parents=True)
    values, config = drawn(MODELS[kind]), dict(MODELS[kind])
    for name, value in changes.items():
        place = values if "." in name else config
        place[name] = value
        if value is None:
            del place[name]
    (folder / "config.json").write_text(json.dumps(config))
    names = [f"model-{i}.safetensors" for i in range(files)]
    where = {key: names[i % files] for i, key in enumerate(values)}
    if files == 1:
        names, where = ["model.safetensors"], dict.fromkeys(values, "model.safetensors")
    else:
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": where}))
    for name in names:
        part = {key: value for key, value in values.items() if where[key] == name}
        (folder / name).write_bytes(safetensors.numpy.save(part))


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("kind", MODELS)
def test_folders_are_read_and_written_without_loss(tmp_path, kind, files):
    write(tmp_path / "pipeline" / "text_encoder", kind, files)
    weights = interop.load_text_encoder(tmp_path / "pipeline")
    interop.save_text_encoder(tmp_path / "again", weights)
    found = tensors.read_tensors(tmp_path / "again", interop.STEM)
    assert found.keys() == drawn(MODELS[kind]).keys()
    for name, value in drawn(MODELS[kind]).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert interop.load_text_encoder(tmp_path / "again").config == weights.config


def test_the_table_may_have_either_name_or_both(tmp_path):
    table = drawn(MODELS["umt5"])["shared.weight"]
    tied = {"encoder.embed_tokens.weight": table}
    write(tmp_path / "both", **tied)
    write(tmp_path / "other", **tied, **{"shared.weight": None})
    for name in ("both", "other"):
        np.testing.assert_array_equal(
            interop.load_text_encoder(tmp_path / name).params["table"], table
        )
    write(tmp_path / "differ", **{"encoder.embed_tokens.weight": table + 1})
    with pytest.raises(ValueError, match="encoder.embed_tokens.weight in .* differ: a T5 has one"):
        interop.load_text_encoder(tmp_path / "differ")


def test_a_whole_t5_gives_its_encoder(tmp_path):
    extra = {f"{name}.weight": np.ones((2, 2), np.float32) for name in ("decoder.x", "lm_head")}
    write(tmp_path / "whole", **extra)
    write(tmp_path / "encoder")
    whole, encoder = (interop.load_text_encoder(tmp_path / n) for n in ("whole", "encoder"))
    assert whole.config == encoder.config
    np.testing.assert_array_equal(whole.params["table"], encoder.params["table"])


def test_halves_are_read_and_whole_numbers_are_named(tmp_path):
    table = drawn(MODELS["umt5"])["shared.weight"]
    for dtype in (np.float16, jnp.bfloat16):
        folder = tmp_path / np.dtype(dtype).name
        write(folder, **{"shared.weight": table.astype(dtype)})
        found = interop.load_text_encoder(folder).params["table"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, table.astype(dtype).astype(np.float32))
    write(tmp_path / "quantised", **{"shared.weight": table.astype(np.int8)})
    with pytest.raises(ValueError, match="shared.weight in .* dtype I8: only F64.*fetch weights"):
        interop.load_text_encoder(tmp_path / "quantised")


QUERY = "encoder.block.1.layer.0.SelfAttention.q.weight"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({QUERY: None}, f"{QUERY} is missing"),
        ({"shared.weight": None}, "shared.weight is missing"),
        ({"pooler.weight": np.zeros(2, np.float32)}, "pooler.weight is unexpected"),
        ({QUERY: np.zeros((16, 12), np.float32)}, r"the shape \[16, 12\], not \[12, 16\]"),
        ({"num_layers": 4}, "encoder.block.3.*is missing.*, and [0-9]+ more"),
        ({"num_layers": 2}, "encoder.block.2.*is unexpected.*, and [0-9]+ more"),
        ({"model_type": "t5"}, "wi.weight is missing|wi_0.weight is unexpected"),
        (
            {"model_type": "clip_text_model"},
            "type 'clip_text_model': name the folder of a t5",
        ),
        ({"d_model": None}, "has d_model None: give a whole number"),
        ({"d_kv": 4.0}, "has d_kv 4.0: give a whole number"),
        ({"is_decoder": True}, "has is_decoder True: only False can be read"),
        ({"quantization_config": {"bits": 8}}, "has quantization_config {'bits': 8}: only None"),
        ({"relative_attention_num_buckets": 3}, "3 relative_attention_num_buckets up to a dist"),
        ({"relative_attention_max_distance": 8}, "to a distance of 8: give 4 or more, and a rel"),
        ({"feed_forward_proj": "gated-silu"}, "'gated-silu': only relu and gated-gelu can be read"),
        ({"dense_act_fn": "silu"}, "dense_act_fn 'silu': feed_forward_proj 'gated-gelu' means"),
        ({"is_gated_act": False}, "is_gated_act False: feed_forward_proj 'gated-gelu' means True"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    write(tmp_path / "encoder", **changes)
    with pytest.raises(ValueError, match=message):
        interop.load_text_encoder(tmp_path / "encoder")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="no config.json in .*: name the folder of a t5 or umt5"):
        interop.load_text_encoder(tmp_path)
    write(tmp_path / "encoder")
    (tmp_path / "encoder" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="model.safetensors is missing: fetch it again"):
        interop.load_text_encoder(tmp_path / "encoder")
