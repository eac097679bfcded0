"""Figures of chips that are not there."""

import types

import pytest

from sora_jax.scaling.chips import CHIP_KINDS, chip_of

PUBLISHED = {"v5e": (197e12, 16), "v5p": (459e12, 95), "v6e": (918e12, 32)}
"""bfloat16 operations a second, and gigabytes (of 2^30) of memory, of the vendor's pages."""


@pytest.mark.parametrize("kind", CHIP_KINDS)
def test_figures_are_the_published_ones(kind):
    chip = chip_of(types.SimpleNamespace(device_kind=kind))
    flops, memory = PUBLISHED[chip.kind]
    assert chip.flops == pytest.approx(flops, rel=0.01)
    assert chip.hbm / 2**30 == pytest.approx(memory, rel=0.02)


def test_other_chips_are_named():
    with pytest.raises(ValueError, match="no link speeds are known of 'TPU v2'"):
        chip_of(types.SimpleNamespace(device_kind="TPU v2"))
