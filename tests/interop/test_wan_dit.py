"""Weights of Wan 2.1's transformer: numbers as diffusers computes them, folders, strict names."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

import experiments.benchmarks
from sora_jax.interop import tensors, wan, wan_dit
from sora_jax.models.dit_config import PRESETS
from tests.interop import reference_dit as reference

pytestmark = pytest.mark.usefixtures("one_device")

CONFIG = reference.SMALLEST
CLIPS = [
    reference.inputs(CONFIG, shape, words)
    for shape, words in zip(reference.SHAPES, reference.WORDS, strict=True)
]


@pytest.fixture(scope="module")
def wanted():
    """What diffusers answered; made by `python -m experiments.benchmarks.dit_parity`."""
    with np.load(experiments.benchmarks.RESULTS / "dit_parity.npz") as kept:
        return [kept[str(i)] for i in range(len(CLIPS))]


def test_a_packed_row_gives_the_numbers_of_diffusers(wanted):
    found = reference.ours(reference.weights_of(CONFIG), CLIPS)
    assert reference.largest_error(found, wanted) < 1e-5


def test_every_kind_of_tensor_read_in_a_wrong_order_is_seen(wanted):
    for kind, weights in reference.misread(CONFIG).items():
        assert reference.largest_error(reference.ours(weights, CLIPS), wanted) > 1e-2, kind


def test_zeros_that_fill_captions_up_are_not_left_out(wanted):
    """Without them the result is another: what `padded_text_length` is for."""
    config, params = reference.weights_of(CONFIG)
    short = wan.Transformer(dataclasses.replace(config, padded_text_length=0), params)
    assert reference.largest_error(reference.ours(short, CLIPS), wanted) > 1e-2


def test_presets_go_there_and_back():
    assert wan_dit.from_their_config({}) == PRESETS["wan_14b"]
    for name in ("wan_1_3b", "wan_14b"):
        assert wan_dit.from_their_config(wan_dit.to_their_config(PRESETS[name])) == PRESETS[name]
    with pytest.raises(ValueError, match="is no WanTransformer3DModel: that has text states"):
        wan_dit.to_their_config(PRESETS["xl"])


def test_folders_go_there_and_back(tmp_path):
    theirs = tmp_path / "pipeline" / "transformer"
    theirs.mkdir(parents=True)
    (theirs / "config.json").write_text(json.dumps(CONFIG))
    data = safetensors.numpy.save(reference.drawn(CONFIG))
    (theirs / f"{tensors.STEM}.safetensors").write_bytes(data)
    wan.save_transformer(tmp_path / "again", wan.load_transformer(tmp_path / "pipeline"))
    found = tensors.read_tensors(tmp_path / "again")
    for name, value in reference.drawn(CONFIG).items():
        np.testing.assert_array_equal(found.pop(name), value, err_msg=name)
    assert not found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_dim": 1280}, "has image_dim 1280: only None can be read"),
        ({"qk_norm": "rms_norm"}, "has qk_norm 'rms_norm': only 'rms_norm_across_heads'"),
        ({"in_channels": 36}, "in_channels 36 and out_channels 3: only equal ones"),
        ({"patch_size": [2, 2, 2]}, r"patch_size \[2, 2, 2\]: only one latent frame"),
    ],
)
def test_other_models_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        wan_dit.from_their_config(CONFIG | changes)
