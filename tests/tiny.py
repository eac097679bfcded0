"""The smallest transformer, and batches for it, for tests of what stands around the model."""

import jax
import numpy as np

from sora_jax.models.dit import DiTConfig, shapes
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.rows import PackedBatch, make_segment, pack_row

MODEL = DiTConfig(
    latent_channels=2,
    width=16,
    depth=1,
    heads=4,
    mlp_dim=16,
    time_embed_dim=8,
    text=TextEncoderConfig(vocabulary=8, width=8, depth=1, heads=4),
)
CAPACITY = (12, 2, 1)


def random_params(rng):
    """Weights none of which is zero, as many are at init."""
    return jax.tree.map(lambda a: np.float32(0.3 * rng.normal(size=a.shape)), shapes(MODEL))


def random_batch(rng, rows):
    """The same random clip in every row, which it fills."""
    latent = rng.normal(size=(3, 4, 4, MODEL.latent_channels)).astype(np.float32)
    segment = make_segment(latent, 8.0, [1, 2], MODEL.patch, 1.0)
    row = pack_row([segment], CAPACITY, MODEL.patch_width)
    return PackedBatch(*(np.stack([field] * rows) for field in row))


class Words:
    """Token ids by the number of words."""

    def encode(self, captions):
        return [np.arange(1, 2 + len(caption.split()), dtype=np.int32) for caption in captions]
