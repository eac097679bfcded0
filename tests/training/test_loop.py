"""What the loop refuses before it starts."""

import grain
import pytest

from sora_jax.config import (
    CropConfig,
    DiffusionExperiment,
    MeshConfig,
    PackingConfig,
    VAEExperiment,
)
from sora_jax.training import loop


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (
            DiffusionExperiment("", packing=PackingConfig(rows=12)),
            "config.packing.rows makes batches of 12, which 8 devices cannot share",
        ),
        (
            DiffusionExperiment("", packing=PackingConfig(rows=6), mesh=MeshConfig(tensor=2)),
            "batches of 6, which 4 devices cannot share",
        ),
        (
            VAEExperiment("", crops=(CropConfig(8), CropConfig(4))),
            "config.crops makes batches of 4",
        ),
        (DiffusionExperiment("", mesh=MeshConfig(data=3)), "needs 3 devices and 8 are present"),
    ],
    ids=["rows", "tensor", "crops", "mesh"],
)
def test_batches_that_devices_cannot_share_are_named(tmp_path, experiment, message):
    nothing = grain.MapDataset.source([0])
    with pytest.raises(ValueError, match=message):
        loop.train(experiment, tmp_path, nothing, lambda: None, lambda _: "")
