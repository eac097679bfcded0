"""Operations counted by hand against those that the compiler counts."""

from typing import Any

import jax
import pytest

from sora_jax.models import dit
from sora_jax.models.dit_config import DiTConfig
from sora_jax.rows import PackingConfig, RowCapacity, abstract_batch
from sora_jax.scaling import aot, flops
from sora_jax.training.experiments import DiffusionExperiment

pytestmark = pytest.mark.usefixtures("one_device")


def test_forward_operations_are_those_of_the_program():
    """One block, as the compiler counts a loop's body once, wide, as it counts all else too."""
    model = DiTConfig(width=512, depth=1, heads=4, mlp_dim=2048, text_embed_dim=256)
    experiment = DiffusionExperiment("", model, packing=PackingConfig(2, 128, 64, 1))
    state = aot.abstract_state(experiment)
    batch = abstract_batch(2, RowCapacity(128, 64, 1), model.patch_width, 256)
    run = jax.jit(lambda params, batch: dit.apply(model, params, batch.patches, batch))
    compiled: Any = run.lower(state.params, batch).compile()
    counted = compiled.cost_analysis()["flops"]
    found = flops.forward_flops(model, [(128, 64)] * 2)
    assert 0.95 < found / counted < 1.02


def test_attention_costs_the_squares_of_lengths():
    model = DiTConfig(depth=1, width=64)
    one, two = flops.forward_flops(model, [(100, 10)]), flops.forward_flops(model, [(200, 20)])
    ends = flops.forward_flops(model, [(0, 0)])
    quadratic = two + ends - 2 * one
    assert quadratic == 4 * 64 * 2 * (100**2 + 100 * 10)
    assert flops.step_flops(model, [(100, 10)]) == 3 * one
