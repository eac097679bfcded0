"""Learning rates by step, as fractions of their peak.

For step i = 0, 1, ... of a run of T steps, W of them of warm-up, the rate is (i + 1) / W of the
peak while i < W: the first step moves too. Then, down to the final fraction f,

    constant:  1
    cosine:    f + (1 - f) (1 + cos(pi p)) / 2,   p = (i - W) / (T - W)          (arXiv:1608.03983)
    wsd:       f + (1 - f) (1 - sqrt(q)),         q = max(i - (T - D), 0) / D    (arXiv:2405.18392)
    rsqrt:     sqrt(max(W, 1) / (i + 1)), whatever f                    (arXiv:1706.03762, 5.3)

wsd is warm-up, stable, decay: D steps at the end decay, by 1 - sqrt, which that paper finds better
than a line. What comes before does not depend on T, so a longer run can start from there.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

SCHEDULES = ("constant", "cosine", "wsd", "rsqrt")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The learning rate of each step.

    Attributes:
      name: one of `SCHEDULES`.
      peak: the learning rate after the warm-up.
      steps: T of the equations.
      warmup_steps: W of the equations, at most T.
      final_fraction: f of the equations.
      decay_fraction: D / T of the equations; D is at most T - W.
    """

    name: str
    peak: float
    steps: int
    warmup_steps: int
    final_fraction: float
    decay_fraction: float

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The learning rate of a step, counted from 0."""
        warmup, number = max(self.warmup_steps, 1), jnp.asarray(step, jnp.float32)
        rest, final = max(self.steps - self.warmup_steps, 1), self.final_fraction
        if self.name == "cosine":
            progress = jnp.clip((number - self.warmup_steps) / rest, 0, 1)
            fraction = final + (1 - final) * (1 + jnp.cos(jnp.pi * progress)) / 2
        elif self.name == "wsd":
            decay = min(max(self.decay_fraction * self.steps, 1), rest)
            progress = jnp.clip((number - (self.steps - decay)) / decay, 0, 1)
            fraction = final + (1 - final) * (1 - jnp.sqrt(progress))
        elif self.name == "rsqrt":
            fraction = jnp.sqrt(warmup / (number + 1))
        else:
            fraction = jnp.ones_like(number)
        rising = (number + 1) / warmup
        return self.peak * jnp.where(number < self.warmup_steps, rising, fraction)
