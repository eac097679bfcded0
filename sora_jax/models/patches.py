"""Spacetime patches of latents: one order of flattening, (pt, ph, pw, c), for every use."""

from jaxtyping import Num

from sora_jax.types import Array


def patchify(latents: Num[Array, "t h w c"], patch: tuple[int, int, int]) -> Num[Array, "l p"]:
    """Cuts latents into patches, ordered by time, then height, then width.

    Works on JAX and numpy arrays.

    Raises:
      ValueError: a side is no multiple of the patch's.
    """
    t, h, w, c = latents.shape
    pt, ph, pw = patch
    if t % pt or h % ph or w % pw:
        raise ValueError(
            f"latents of {t}x{h}x{w} do not divide into patches of {pt}x{ph}x{pw}: "
            "pad the clip with media.fit_canvas"
        )
    x = latents.reshape(t // pt, pt, h // ph, ph, w // pw, pw, c)
    return x.transpose(0, 2, 4, 1, 3, 5, 6).reshape(-1, pt * ph * pw * c)


def unpatchify(
    patches: Num[Array, "l p"], grid: tuple[int, int, int], patch: tuple[int, int, int]
) -> Num[Array, "t h w c"]:
    """Inverse of `patchify`; `grid` counts patches along time, height and width."""
    (gt, gh, gw), (pt, ph, pw) = grid, patch
    x = patches.reshape(gt, gh, gw, pt, ph, pw, -1)
    return x.transpose(0, 3, 1, 4, 2, 5, 6).reshape(gt * pt, gh * ph, gw * pw, -1)
