"""The same seeds give the same videos on any devices, whatever shares their rows."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.generation import tasks
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.sharding import MeshConfig
from tests.generation.conftest import make_generator

CLIP = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), np.uint8)
PLAIN = Request("a red ball", 9, 16, 24)
REQUESTS = (
    PLAIN,
    Request("a blue box falls", 1, 32, 16, seed=3),
    tasks.extend(Request("a ball", 13, 16, 24, seed=4), CLIP),
    tasks.loop(Request("a red ball", 8, 24, 16, seed=5)),
    tasks.edit(Request("a blue box", 5, 16, 24, seed=6), CLIP, 0.5),
    Request("a red ball falls", 33, 16, 24, seed=7),  # rows as long as this one hold several
)


def sample(devices, requests=REQUESTS, **sizes):
    mesh = sharding.make_mesh(MeshConfig(**sizes), devices=jax.devices()[:devices])
    with jax.set_mesh(mesh):
        config = SamplingConfig(steps=4, guidance=2.0, sampler="ancestral")
        return list(make_generator().sample_latents(requests, config))


@functools.cache
def sample_alone():
    """Each video by itself on one device."""
    return [sample(1, [one])[0] for one in REQUESTS]


def test_the_requests_share_rows(monkeypatch):
    found = []

    def note(self, rows, *_):
        found.extend(rows)
        raise KeyError("that is enough")

    monkeypatch.setattr(Generator, "_sample", note)
    with pytest.raises(KeyError):
        sample(1)
    assert sorted(map(len, found))[-1] >= 3 and len(found) < len(REQUESTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "sizes"), [(1, {}), (2, {}), (8, {"fsdp": 2, "context": 2, "tensor": 2})]
)
def test_devices_and_neighbours_change_nothing(devices, sizes):
    for one, wanted in zip(sample(devices, **sizes), sample_alone(), strict=True):
        np.testing.assert_allclose(one, wanted, atol=1e-4)


def test_another_seed_makes_another_video():
    (other,) = sample(1, [dataclasses.replace(PLAIN, seed=9)])
    assert np.abs(other - sample_alone()[0]).mean() > 0.1
