"""Weights of Wan 2.1's autoencoder: numbers as diffusers computes them, folders, strict names."""

import json
import math
import pathlib

import numpy as np
import pytest
import safetensors.numpy

import experiments.benchmarks
from sora_jax.interop import tensors, wan, wan_vae
from sora_jax.models.vae_config import PRESETS, VAEConfig
from tests.interop.reference import (
    SMALLEST,
    SMALLEST_VIDEO,
    drawn,
    errors,
    misread,
    ours,
    their_config,
    weights_of,
)

CONFIG = their_config(SMALLEST)


pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def wanted():
    """What diffusers answered; made by `python -m experiments.benchmarks.vae_parity`."""
    with np.load(experiments.benchmarks.RESULTS / "vae_parity.npz") as kept:
        return [kept[name] for name in ("mean", "log_variance", "pixels")]


def test_numbers_are_those_of_diffusers(wanted):
    assert max(errors(ours(weights_of(CONFIG), SMALLEST_VIDEO, wanted[0]), wanted)) < 1e-5


def test_every_kind_of_kernel_read_in_a_wrong_order_is_seen(wanted):
    for kind, weights in misread(CONFIG).items():
        assert max(errors(ours(weights, SMALLEST_VIDEO, wanted[0]), wanted)) > 1e-2, kind


def test_sizes_that_are_null_are_named():
    for key in ("base_dim", "temperal_downsample"):
        with pytest.raises(ValueError, match=f"config.json has {key} None: give"):
            wan_vae.from_their_config({key: None})


def test_presets_that_have_their_layout_go_there_and_back():
    assert wan_vae.from_their_config({}) == PRESETS["wan2_1"]
    for name in ("wan2_1", "base"):
        assert wan_vae.from_their_config(wan_vae.to_their_config(PRESETS[name])) == PRESETS[name]
    for config in (PRESETS["base_16x"], VAEConfig(4, 1, (4, 6), ((2, 2),))):
        with pytest.raises(ValueError, match="is no AutoencoderKLWan: that has patch 1"):
            wan_vae.to_their_config(config)


def write(folder: pathlib.Path, files: int = 1, **changes):
    """Their folder with some tensors or settings changed; None leaves one out."""
    folder.mkdir(parents=True)
    values, config = drawn(CONFIG), dict(CONFIG)
    for name, value in changes.items():
        known = CONFIG | wan_vae.SUPPORTED | wan_vae.DEFAULTS
        place = config if name in known else values
        place[name] = value
        if value is None:
            del place[name]
    (folder / "config.json").write_text(json.dumps(config))
    if files == 1:
        (folder / f"{tensors.STEM}.safetensors").write_bytes(safetensors.numpy.save(values))
        return
    names = [f"part-{i}.safetensors" for i in range(files)]
    where = {key: names[i % files] for i, key in enumerate(values)}
    for name in names:
        part = {key: value for key, value in values.items() if where[key] == name}
        (folder / name).write_bytes(safetensors.numpy.save(part))
    index = folder / f"{tensors.STEM}.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))


@pytest.mark.parametrize("files", [1, 3])
def test_folders_are_read_and_written_without_loss(tmp_path, files):
    write(tmp_path / "pipeline" / "vae", files)
    weights = wan.load_vae(tmp_path / "pipeline")
    wan.save_vae(tmp_path / "again", weights)
    found = tensors.read_tensors(tmp_path / "again")
    for name, value in drawn(CONFIG).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    for name, value in CONFIG.items():
        assert again[name] == (value if "latents" not in name else pytest.approx(value, rel=1e-5))
    statistics = weights.statistics["latents"]
    spread = np.sqrt(statistics["variance"])
    np.testing.assert_allclose(statistics["mean"], CONFIG["latents_mean"], rtol=1e-6)
    np.testing.assert_allclose(spread, CONFIG["latents_std"], rtol=1e-5)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"quant_conv.bias": None}, "quant_conv.bias is missing"),
        ({"extra.bias": np.zeros(2, np.float32)}, "extra.bias is unexpected"),
        (
            {"quant_conv.bias": np.zeros(5, np.float32)},
            r"quant_conv.bias has the shape \[5\], not \[6\]",
        ),
        ({"z_dim": 4}, r"\[8, 8, 1, 1, 1\].*, and 2 more"),
        ({"is_residual": True}, r"has is_residual True: only False can be read \(Wan 2.1\)"),
        ({"dim_mult": [2, 2, 2]}, "a first dim_mult other than 1"),
        ({"dim_mult": [1, 2.5, 3]}, r"dim_mult \[1, 2.5, 3\]: give whole numbers"),
        ({"dim_mult": []}, r"dim_mult \[\]: give whole numbers"),
        ({"dim_mult": 4}, "dim_mult 4: give whole numbers"),
        ({"z_dim": 3.0}, "z_dim 3.0: give a whole number above 0"),
        ({"z_dim": "3"}, "z_dim '3': give a whole number above 0"),
        ({"z_dim": 0}, "z_dim 0: give a whole number above 0"),
        ({"base_dim": 4.0}, "base_dim 4.0: give a whole number above 0"),
        ({"base_dim": 3, "dim_mult": [1, 1, 1]}, "give stages but the first even widths"),
        ({"num_res_blocks": 2.5}, "num_res_blocks 2.5: give a whole number above 0"),
        ({"temperal_downsample": [True]}, "1 entries: 3 dim_mult need 2"),
        ({"temperal_downsample": [2, True]}, r"\[2, True\]: give true or false each"),
        ({"temperal_downsample": ["False", "True"]}, "give true or false each"),
        ({"latents_mean": 3.0}, "latents_mean 3.0: give a list of numbers"),
        ({"latents_mean": [[0.0], [0.0], [0.0]]}, "give a list of numbers"),
        ({"latents_mean": [0.0, math.nan, 0.0]}, "give finite numbers, deviations above 0"),
        ({"latents_std": [1.0, 0.0, 1.0]}, "give finite numbers, deviations above 0"),
        ({"latents_std": [1, math.inf, 1]}, "give finite numbers, deviations above 0"),
        (
            {"quant_conv.bias": np.full(6, np.nan, np.float32)},
            "quant_conv.bias in .* has numbers that are not finite: fetch it again",
        ),
        ({"_class_name": "AutoencoderKL"}, "_class_name 'AutoencoderKL': name the folder of a"),
        ({"latents_mean": [0.0]}, "latents_mean of 1 entries: z_dim is 3, give as many"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    write(tmp_path / "vae", **changes)
    with pytest.raises(ValueError, match=message):
        wan.load_vae(tmp_path / "vae")


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="no config.json in"):
        wan.load_vae(tmp_path)
    for text, message in (("{", "is no JSON"), ("[]", "holds no JSON object")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            wan.load_vae(tmp_path)
    write(tmp_path / "parts", files=2)
    index = tmp_path / "parts" / f"{tensors.STEM}.safetensors.index.json"
    for names in (["part-0.safetensors"], {"quant_conv.bias": 3}, {"quant_conv.bias": ["a"]}):
        index.write_text(json.dumps({"weight_map": names}))
        with pytest.raises(ValueError, match="has no weight_map of file names: fetch it again"):
            wan.load_vae(tmp_path / "parts")
    write(tmp_path / "vae")
    file = tmp_path / "vae" / f"{tensors.STEM}.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged .*: fetch it again"):
        wan.load_vae(tmp_path / "vae")
    file.unlink()
    with pytest.raises(ValueError, match="is missing: fetch it again"):
        wan.load_vae(tmp_path / "vae")
