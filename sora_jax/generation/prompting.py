"""The one way in which scores ask a model for videos: from captions and given first frames."""

from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.generation.tasks import extend

Generate = Callable[[Sequence[Request], Sequence[np.ndarray]], list[np.ndarray]]
"""Videos uint8[t, h, w, 3] for requests and the first frames uint8[given, h, w, 3] of each, which
may be none."""


def generate_from_prompts(
    generator: Generator,
    config: SamplingConfig = SamplingConfig(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Generate:
    """A `Generate` of a trained model; it raises as `Generator.sample`.

    Args:
      config: steps, guidance and sampler of all videos.
      progress: called with (rows done, rows in all).
    """

    def sample(requests: Sequence[Request], given_frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        asked = [
            extend(request, frames) if len(frames) else request
            for request, frames in zip(requests, given_frames, strict=True)
        ]
        return generator.sample(asked, config, progress)

    return sample
