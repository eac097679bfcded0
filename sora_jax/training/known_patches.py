"""Which patches of training's clips are given, so that a model learns to go on from what is given.

Each clip is drawn to be of one kind; the loss is that of patches that are not known (see
`diffusion.losses`). Known patches are at level 0, or at a low level that the model sees, as in
GameNGen (arXiv:2408.14837): what a sampler made can then be given as well as what is real.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from sora_jax.config import check_minimum
from sora_jax.rows import PackedBatch, level_table
from sora_jax.sharding import SHARDING as S

KINDS = ("first", "prefix", "suffix", "ends", "some", "inside", "outside")
MAX_FRAMES = 64
"""Latent frames of a clip that `some` can tell apart."""


@dataclasses.dataclass(frozen=True)
class KnownPatchesConfig:
    """Shares of clips in which some patches are known; the others have none.

    Attributes:
      first: share of clips whose first latent frame is known.
      prefix: share of clips of which several first latent frames are.
      suffix: share of clips of which several last latent frames are.
      ends: share of clips whose first and last latent frames are.
      some: share of clips of which latent frames at random are.
      inside: share of clips of which a rectangle through time is.
      outside: share of clips of which all but a rectangle through time is.
      clean: share of clips whose known patches are at level 0.
      max_level: the others' known patches are at levels up to this.
      replaced: whether samplers replace known patches at each step by their noised values
        (arXiv:2201.09865): for models that were not trained with any.
    """

    first: float = 0.0
    prefix: float = 0.0
    suffix: float = 0.0
    ends: float = 0.0
    some: float = 0.0
    inside: float = 0.0
    outside: float = 0.0
    clean: float = 0.6
    max_level: float = 0.3
    replaced: bool = False

    def __post_init__(self):
        check_minimum(self, **dict.fromkeys((*KINDS, "clean", "max_level"), 0))
        if self.replaced and self.total:
            raise ValueError(
                "replaced is for models that are trained with no known patches, and shares "
                f"of {self.total:.3g} are: set them, or it, to 0"
            )
        if self.total > 1 or self.clean > 1 or self.max_level > 1:
            raise ValueError(
                f"known is {dataclasses.asdict(self)}: shares, their sum and levels are at most 1"
            )

    @property
    def total(self) -> float:
        """Share of clips of which something is known."""
        return sum(getattr(self, kind) for kind in KINDS)

    @property
    def max_given(self) -> int:
        """First frames of a video that a model so trained can be given."""
        if self.replaced or self.prefix or self.some:
            return sys.maxsize
        return int(self.first > 0)


def draw_known(
    key: Array, config: KnownPatchesConfig, batch: PackedBatch, weight_exponent: float
) -> PackedBatch:
    """The batch with known patches drawn at random, and the table of levels with theirs.

    A clip all of whose patches would be known, as an image with its first frame, has none known.
    The weight of a clip is that of as many tokens as are left to predict.

    Args:
      weight_exponent: see `DiffusionExperiment.segment_weight_exponent`.
    """
    if not config.total:
        return batch
    b, g = batch.weights.shape
    keys = jax.random.split(key, 8)
    ids = batch.segment_ids
    extent = batch.positions + batch.remaining  # of the clip, in positions

    def uniform(number: int, *shape: int) -> Array:
        return jax.random.uniform(keys[number], (b, g, *shape), out_sharding=S.act_bs)

    shares = jnp.array([1 - config.total, *(getattr(config, kind) for kind in KINDS)])
    kind = jnp.sum(uniform(0)[..., None] > jnp.cumsum(shares)[None, None, :-1], -1)
    t, h, w = (batch.positions[..., i] for i in range(3))
    last = batch.remaining[..., 0]
    count = of_token(uniform(1), ids) * extent[..., 0]  # of 1 to all but one frames
    frame = jnp.round((MAX_FRAMES - 1) * t / jnp.maximum(extent[..., 0], 1e-6)).astype(jnp.int32)
    lottery = jax.random.uniform(keys[2], (b, g * MAX_FRAMES), out_sharding=S.act_bs)
    drawn = of_token(lottery, (ids - 1) * MAX_FRAMES + frame + 1)
    inside = jnp.ones(ids.shape, bool)
    for number, place, side in ((3, h, extent[..., 1] + 1), (5, w, extent[..., 2] + 1)):
        # A quarter to all of the side, at a random place.
        length = jnp.ceil((0.25 + 0.75 * of_token(uniform(number), ids)) * side)
        low = jnp.floor(of_token(uniform(number + 1), ids) * (side - length + 1))
        inside &= (place >= low) & (place < low + length)
    masks = {
        "first": t == 0,
        "prefix": t < count,
        "suffix": last < count,
        "ends": (t == 0) | (last == 0),
        "some": drawn < of_token(uniform(7), ids),
        "inside": inside,
        "outside": ~inside,
    }
    kind = of_token(kind, ids)
    chosen = [kind == i for i in range(1, 1 + len(KINDS))]
    known = jnp.select(chosen, [masks[name] for name in KINDS], False) & (ids > 0)
    return with_known(batch, known, known_levels(keys, config, batch), weight_exponent)


def known_levels(keys: Array, config: KnownPatchesConfig, batch: PackedBatch) -> Array:
    """The level of each segment's known patches [b, g]."""
    clean, level = (jax.random.fold_in(keys[0], i) for i in range(2))
    shape = batch.weights.shape
    noisy = jax.random.uniform(clean, shape, out_sharding=S.act_bs) >= config.clean
    return noisy * config.max_level * jax.random.uniform(level, shape, out_sharding=S.act_bs)


def with_known(
    batch: PackedBatch,
    known: Bool[Array, "b l"],
    levels: Float[Array, "b g"],
    weight_exponent: float,
) -> PackedBatch:
    """The batch with these patches known, at these levels, but in clips that all are known of."""
    ids, g = batch.segment_ids, batch.weights.shape[1]
    member = jax.nn.one_hot(ids - 1, g)
    count = jnp.einsum("blg->bg", member, out_sharding=S.act_bs)
    left = jnp.einsum("bl,blg->bg", (~known).astype(member.dtype), member, out_sharding=S.act_bs)
    known &= of_token(left, ids) > 0
    left = jnp.where(left > 0, left, count)
    return batch._replace(
        known=known,
        level_ids=jnp.where(known, g + ids, ids),
        levels=level_table(jnp.zeros_like(levels), levels),
        weights=batch.weights * (left / jnp.maximum(count, 1)) ** weight_exponent,
    )


def of_token(table: Shaped[Array, "b n"], ids: Int[Array, "b l"]) -> Shaped[Array, "b l"]:
    """The entry of each token, from 1, in its row's table; 0 for padding, whose id is 0 or less."""
    table, at = (jax.sharding.reshard(a, S.act_bs) for a in (table, jnp.maximum(ids - 1, 0)))
    entries = jax.sharding.reshard(jnp.take_along_axis(table, at, 1), S.act_bl)
    return jnp.where(ids > 0, entries, 0)
