"""The diffusion transformer as a denoiser: the one way from noisy patches to a velocity.

Training, evaluation and sampling all call it. What the network returns is one of
`diffusion.predictions`; the patches at level t are `process.corrupt`'s.
"""

import dataclasses

from jaxtyping import Array, Float

from sora_jax.diffusion.predictions import PREDICTIONS, Prediction
from sora_jax.models import dit
from sora_jax.models.dit_config import DiTConfig
from sora_jax.rows import PackedBatch, token_levels
from sora_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """A transformer's sizes and the kind of its prediction; its weights are an argument.

    Attributes:
      model: sizes of the transformer.
      predicts: what the network predicts, a name in `PREDICTIONS`.
    """

    model: DiTConfig
    predicts: str

    @property
    def prediction(self) -> Prediction:
        """What the network's output means."""
        return PREDICTIONS[self.predicts]

    def output(
        self, params: Params, x: Float[Array, "b l p"], batch: PackedBatch
    ) -> Float[Array, "b l p"]:
        """The network's output for noisy patches `x` at the batch's levels."""
        level = token_levels(batch.levels, batch.level_ids)
        return dit.apply(self.model, params, self.prediction.input_scale(level) * x, batch)

    def velocity(
        self, params: Params, x: Float[Array, "b l p"], batch: PackedBatch
    ) -> Float[Array, "b l p"]:
        """The predicted velocity of noisy patches `x` at the batch's levels."""
        level = token_levels(batch.levels, batch.level_ids)
        return self.prediction.to_velocity(self.output(params, x, batch), x, level)
