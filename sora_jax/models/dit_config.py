"""Sizes of the diffusion transformer: the settings, and presets from a laptop's to Wan's."""

import dataclasses

import jax

from sora_jax.config import DTYPES, check_choice, check_minimum
from sora_jax.kernels.remat import save_attention
from sora_jax.models.text_encoder import TextEncoderConfig

REMAT = {
    "none": None,
    "dots": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, save_attention
    ),
    "attention": save_attention,
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""What the forward pass saves for the backward pass, by the name that `remat` has; most first."""


@dataclasses.dataclass(frozen=True)
class DiTConfig:
    """Sizes of the transformer.

    Attributes:
      latent_channels: channels of the autoencoder's latents.
      patch: latent frames, rows and columns in one token.
      width: model width, a multiple of `heads`.
      depth: number of transformer blocks.
      heads: number of attention heads; their width is even.
      mlp_dim: hidden width of the MLP.
      rope_base: base of the rotary embedding, about its longest period divided by 2 pi; small grids
        of patches and narrow heads need less than Wan's 10,000.
      rope_stretch: factor by axis (t, h, w), to sample beyond training's sizes; see `models.rope`.
      input_skip: add the noisy patches to the output, each number times a gate computed from its
        token, so that a width below `patch_width` need not carry the noise (False in Wan).
      absolute_positions: add an embedding of each token's distances to both ends of its clip. With
        rotary embedding alone equal patches stay equal at every position (False in Wan).
      pooled_text: add the mean of a caption's embeddings to that of its segment's noise level, so
        that words reach every block's modulation (as arXiv:2403.03206, figure 2; False in Wan).
      text: sizes of the caption encoder that is trained with the model.
      text_embed_dim: width of the text embeddings in batches, from an encoder that is not trained;
        0: batches hold tokens for the model's own encoder, `text`.
      padded_text_length: every caption counts as padded to this number of embeddings with copies of
        its last one, which must be zeros (Wan's pipelines pad to 512); 0 disables this.
      time_embed_dim: width of the sinusoidal embedding of the noise level.
      remat: what the backward pass recomputes in each block: `none`, `dots` (all but products
        with weights and attention), `attention` (all but attention) or `full`.
      unroll: whether blocks are unrolled instead of scanned with `jax.lax.scan`, which copies the
        activations that it saves: on a GPU a small model trains faster so (docs/transformer.md),
        and takes longer to compile.
      dtype: dtype of activations, and of sums of their gradients over devices; weights are float32
        masters, norms and softmax are computed in float32. On GPUs gradients of the noise levels'
        modulation are rounded to bfloat16 in any case.
    """

    latent_channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    width: int = 192
    depth: int = 6
    heads: int = 4
    mlp_dim: int = 768
    time_embed_dim: int = 256
    rope_base: float = 10_000.0
    rope_stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    input_skip: bool = False
    absolute_positions: bool = False
    pooled_text: bool = False
    text: TextEncoderConfig = TextEncoderConfig()
    text_embed_dim: int = 0
    padded_text_length: int = 0
    remat: str = "none"
    unroll: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_minimum(
            self,
            **dict.fromkeys(("depth", "heads", "mlp_dim", "latent_channels", "patch"), 1),
            **{"width": 2, "time_embed_dim": 2, "rope_stretch": 1},
            **{"text_embed_dim": 0, "padded_text_length": 0},
        )
        check_choice(self, dtype=DTYPES, remat=tuple(REMAT))
        if self.time_embed_dim % 2:
            raise ValueError(f"time_embed_dim is {self.time_embed_dim}: give it an even number")
        if self.patch != (1, self.patch[1], self.patch[1]):
            raise ValueError(f"patch is {self.patch}: give it squares of one latent frame")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} must be an even multiple of heads {self.heads}")
        if self.padded_text_length and not self.text_embed_dim:
            raise ValueError(
                f"padded_text_length is {self.padded_text_length} and text_embed_dim 0: captions "
                "are padded only where they come as embeddings"
            )

    @property
    def patch_width(self) -> int:
        """Numbers in one token."""
        pt, ph, pw = self.patch
        return pt * ph * pw * self.latent_channels

    @property
    def text_width(self) -> int:
        """Numbers in one text embedding."""
        return self.text_embed_dim or self.text.width


def _preset(width: int, depth: int, heads: int) -> DiTConfig:
    text = TextEncoderConfig(8192, min(width, 768), 6, min(width, 768) // 64)
    return DiTConfig(width=width, depth=depth, heads=heads, mlp_dim=4 * width, text=text)


def _wan(width: int, depth: int, heads: int, mlp: int) -> DiTConfig:
    return DiTConfig(
        width=width,
        depth=depth,
        heads=heads,
        mlp_dim=mlp,
        text_embed_dim=4096,
        padded_text_length=512,
    )


PRESETS = {
    "tiny": DiTConfig(),
    "small": _preset(384, 12, 6),
    "base": _preset(768, 12, 12),
    "large": _preset(1024, 24, 16),
    "xl": _preset(1152, 28, 16),
    "wan_1_3b": _wan(1536, 30, 12, 8960),
    "wan_14b": _wan(5120, 40, 40, 13824),
}
"""Widths and depths of DiT (arXiv:2212.09748, table 1), and the text models of Wan 2.1."""
