"""Types that cross module borders, the glossary of shape letters, and that of terms.

Letters with one meaning each in every shape string of the project (others are local to a function):

    b  batch element or packed row        l  video tokens in a row
    t  frames (pixels or latents)         s  text tokens in a row
    h  height     w  width                g  segments in a row
    c  channels                           e  entries of a row's table of noise levels
    d  model width    n  heads            p  numbers in one spacetime patch
    k  head width     m  MLP width

Terms, each with one meaning:

    clip             a video of one shot, or an image (a clip of one frame), with its captions
    film             a video of any length, as ingested or generated; of one or more shots
    latent           a clip as the autoencoder encodes it
    patch, token     a block of a latent; what a transformer reads of it, one vector
    segment          a clip as one of several in a row
    row              a packed sequence of segments of one static length
    noise level      t in [0, 1]: 0 is clean, 1 is pure noise
    known            given and not to be predicted (of patches)
    canvas           the grid of latents that a request is sampled on, and what of it is known
    part             what is sampled at once of a film that is longer than a canvas
    embeddings       what a text encoder returns for the tokens of a caption
    codec            the autoencoder with trained weights, as it encodes and decodes
    run, workdir     a training, and the folder with its config and its checkpoints
    split            train, validation or test
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

Params = dict[str, Any]
"""A plain nested dict of arrays."""


class TrainState(NamedTuple):
    """All that training changes.

    Attributes:
      step: number of steps taken.
      params: float32 master weights.
      ema: exponential moving average of the weights, used for evaluation and sampling.
      opt_state: the optimizer's state.
      key: raw data of the run's PRNG key; each step folds its number in.
      statistics: non-trained state: running statistics of latents, scales of channels.
      gradient_norm: running mean of the norms of gradients, by which spikes are told; 0 before the
        first step.
    """

    step: Int[Array, ""]
    params: Params
    ema: Params
    opt_state: Any
    key: Array
    statistics: Params
    gradient_norm: Float[Array, ""] | np.float32 = np.float32(0)
