"""Sizes of the video autoencoder: the settings, and presets from a laptop's to Wan 2.1's."""

import dataclasses
import math

from sora_jax.config import DTYPES, check_choice, check_minimum


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Sizes of the autoencoder.

    Attributes:
      latent_channels: channels of a latent.
      patch: side, in pixels, of the squares that become channels.
      channels: width of each stage, outermost first.
      strides: (time, space) stride between each two stages; each is 1 or 2.
      blocks: residual blocks in an encoder stage; a decoder stage has one more.
      dtype: dtype of activations; weights are float32, norms and softmax are computed in float32.
    """

    latent_channels: int = 16
    patch: int = 4
    channels: tuple[int, ...] = (64, 128, 128)
    strides: tuple[tuple[int, int], ...] = ((2, 2), (2, 1))
    blocks: int = 1
    dtype: str = "float32"

    def __post_init__(self):
        check_minimum(self, patch=1, blocks=1, latent_channels=1)
        check_choice(self, dtype=DTYPES)
        for i, width in enumerate(self.channels):
            if width < 1:
                raise ValueError(f"channels[{i}] is {width}: give it at least 1")
        if len(self.strides) != len(self.channels) - 1:
            raise ValueError(
                f"strides has {len(self.strides)} entries for {len(self.channels)} channels: give "
                "one stride between each two stages"
            )
        if any(stride not in (1, 2) for pair in self.strides for stride in pair):
            raise ValueError(f"strides is {self.strides}: every stride is 1 or 2")
        for (_, space), width in zip(self.strides, self.channels[1:], strict=True):
            if space == 2 and width % 2:
                raise ValueError(
                    f"channels is {self.channels}: give stages behind a spatial stride of 2 even "
                    "widths, as decoding halves them"
                )

    @property
    def temporal_stride(self) -> int:
        """Frames of pixels in each latent frame after the first."""
        return math.prod(time for time, _ in self.strides)

    @property
    def spatial_stride(self) -> int:
        """Pixels of height or width in each latent."""
        return self.patch * math.prod(space for _, space in self.strides)

    @property
    def decoder_reach(self) -> int:
        """Latents before a latent that its frames depend on.

        Each causal convolution of three taps reaches two frames back, at the rate of its stage.
        """
        convolutions, rate, reach = 5, 1, 0.0  # the first one, and two residual blocks
        for time, _ in (*reversed(self.strides), (1, 1)):
            convolutions += 2 * (self.blocks + 1) + (time == 2)
            reach += 2 * convolutions / rate
            convolutions, rate = 0, rate * time
        return math.ceil(reach + 2 / rate)  # the last one


@dataclasses.dataclass(frozen=True)
class CellVAEConfig:
    """Sizes of the autoencoder of cells.

    Attributes:
      latent_channels: channels of a latent.
      temporal_stride: frames of pixels in each latent frame after the first.
      spatial_stride: pixels of height or width in each latent.
      width: channels of the blocks.
      encoder_blocks: blocks of the encoder.
      decoder_blocks: blocks of the decoder.
      noise: standard deviation of the posterior; the axes give latents a deviation near 1.
      dtype: dtype of activations; weights are float32, norms are computed in float32.
    """

    latent_channels: int = 16
    temporal_stride: int = 4
    spatial_stride: int = 8
    width: int = 256
    encoder_blocks: int = 4
    decoder_blocks: int = 6
    noise: float = 0.03
    dtype: str = "float32"

    def __post_init__(self):
        check_minimum(self, latent_channels=1, temporal_stride=1, spatial_stride=1, width=1)
        check_minimum(self, encoder_blocks=0, decoder_blocks=0, noise=1e-6)
        check_choice(self, dtype=DTYPES)

    @property
    def cell_size(self) -> int:
        """Numbers in a cell."""
        return 3 * self.temporal_stride * self.spatial_stride**2

    @property
    def decoder_reach(self) -> int:
        """Latents before a latent that its frames depend on; a block sees one back."""
        return self.decoder_blocks


AnyVAEConfig = VAEConfig | CellVAEConfig
"""Settings of an autoencoder of either kind."""

_WAN_STRIDES = ((1, 2), (2, 2), (2, 2))
PRESETS = {
    "tiny": CellVAEConfig(16, width=192, encoder_blocks=2, decoder_blocks=3),
    "small": CellVAEConfig(),
    "base": VAEConfig(16, 1, (64, 128, 256, 256), _WAN_STRIDES, blocks=2),
    "base_16x": VAEConfig(48, 2, (128, 256, 512, 512), _WAN_STRIDES, blocks=2),
    "wan2_1": VAEConfig(16, 1, (96, 192, 384, 384), _WAN_STRIDES, blocks=2),
}
"""Compression is 4x8x8 (time x height x width) in all but `base_16x`, where it is 4x16x16.

`wan2_1` has the sizes of Wan 2.1's weights.
"""
