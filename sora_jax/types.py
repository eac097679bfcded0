"""Types that cross module borders, and the one glossary of shape letters.

Letters with one meaning each in every shape string of the project (others are local to a function):

    b  batch element or packed row        l  video tokens in a row
    t  frames (pixels or latents)         s  text tokens in a row
    h  height     w  width                g  segments in a row
    c  channels                           e  distinct noise levels in a row
    d  model width    n  heads            p  numbers in one spacetime patch
    k  head width     m  MLP width
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int

Params = dict[str, Any]
"""A plain nested dict of arrays."""


class PackedBatch(NamedTuple):
    """Rows of one static length that hold segments (clips, images) of any size.

    Segment ids count from 1 within a row; 0 is padding, and padding attends only to itself.
    Noise is an argument of the training step and is never stored here.

    Attributes:
      patches: clean spacetime patches, flattened in the order (pt, ph, pw, c).
      segment_ids: the segment of each video token.
      positions: (t, h, w) of each video token; t is latent index * 16 / fps, h and w in patches.
      remaining: positions left from each video token to the last one of its clip, by axis.
      known: True where the patch is given and not to be predicted.
      levels: the row's table of noise levels, 0 clean to 1 pure noise; entry 0 is 0.
      level_ids: each video token's entry in `levels`.
      text: text token ids, or states of an encoder that is not trained.
      text_segment_ids: the segment of each text token.
      weights: weight of each segment in the loss; entry i belongs to segment i + 1.
    """

    patches: Float[Array, "b l p"]
    segment_ids: Int[Array, "b l"]
    positions: Float[Array, "b l 3"]
    remaining: Float[Array, "b l 3"]
    known: Bool[Array, "b l"]
    levels: Float[Array, "b e"]
    level_ids: Int[Array, "b l"]
    text: Int[Array, "b s"] | Float[Array, "b s d"]
    text_segment_ids: Int[Array, "b s"]
    weights: Float[Array, "b g"]


class TrainState(NamedTuple):
    """All that training changes.

    Attributes:
      step: steps taken.
      params: float32 masters.
      ema: their exponential moving average, used for evaluation and sampling.
      opt_state: the optimizer's state.
      key: raw data of the run's PRNG key; each step folds its number in.
      statistics: what is data and not parameters: running statistics, weights of channels.
    """

    step: Int[Array, ""]
    params: Params
    ema: Params
    opt_state: Any
    key: Array
    statistics: Params
