"""Trees of weights as safetensors files: in float16, in two halves, or in 8 bits."""

import os
import pathlib
from typing import Any

import jax
import numpy as np
from etils import epath
from safetensors.numpy import load_file

from sora_jax.interop.rotary import split_pairs
from sora_jax.interop.tensors import save_tensors, tensor_name
from sora_jax.release import flatten, is_large
from sora_jax.types import Params

SCALE = "#scale"
"""What ends the name of the scales of a tensor in 8 bits."""


def _write(path: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    partial = path.with_suffix(".partial")
    save_tensors(epath.Path(partial), tensors)
    os.replace(partial, path)


def save(path: pathlib.Path, tree: Params) -> None:
    """Writes a tree; large float32 tensors in float16."""
    _write(path, flatten(tree))


def save_halves(folder: pathlib.Path, name: str, tree: Params) -> None:
    """Writes a tree as `NAME-0.safetensors` and `NAME-1.safetensors`, of about equal sizes.

    A tensor that both have is cut along its first axis.
    """
    halves: list[dict[str, np.ndarray]] = [{}, {}]
    for key, array in flatten(tree).items():
        if array.ndim and len(array) > 1:
            middle = len(array) // 2
            halves[0][key], halves[1][key] = array[:middle], array[middle:]
        else:
            halves[0][key] = array
    for i, half in enumerate(halves):
        _write(folder / f"{name}-{i}.safetensors", half)


def save_8bit(path: pathlib.Path, tree: Params) -> None:
    """Writes a tree with large tensors in 8 bits, scaled by the maximum along their last axis."""
    tensors = {}
    for place, leaf in jax.tree.leaves_with_path(jax.device_get(tree)):
        key, array = tensor_name(place), np.asarray(leaf)
        if is_large(array):
            scale = np.abs(array).max(-1, keepdims=True) / 127 + 1e-12
            array, tensors[key + SCALE] = np.round(array / scale).astype(np.int8), scale
        tensors[key] = array
    _write(path, tensors)


def load_transformer(shapes: Params, *paths: pathlib.Path) -> Params:
    """Weights that `transformer.Transformer.result` returned, as the model reads them."""
    return split_pairs(load(shapes, *paths))


def load(like: Params, *paths: pathlib.Path) -> Params:
    """A tree like `like`, of one file or of two halves; in float32.

    Raises:
      ValueError: a tensor is missing, or has another shape.
    """
    files = [load_file(path) for path in paths]

    def read(path: Any, leaf: Any) -> np.ndarray:
        name = tensor_name(path)
        parts = [file[name] for file in files if name in file]
        if not parts:
            raise ValueError(f"{paths[0]} has no tensor {name}: it is of another model")
        array = np.concatenate(parts) if len(parts) > 1 else parts[0]
        array = array.astype(np.float32) * files[0].get(name + SCALE, np.float32(1))
        if array.shape != leaf.shape:
            raise ValueError(f"{name} in {paths[0]} is {array.shape}, wanted {leaf.shape}")
        return array

    return jax.tree.map_with_path(read, like)
