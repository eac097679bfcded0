"""Folders of safetensors, as diffusers and transformers lay them out.

A folder holds `config.json` and the tensors, in one file or in several with an index.
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from etils import epath

STEM = "diffusion_pytorch_model"
"""First part of the names of diffusers' files of tensors."""
DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}


def read_config(folder: epath.PathLike, *kinds: str, key: str = "_class_name") -> dict[str, Any]:
    """Reads `config.json` of a folder.

    Args:
      kinds: accepted values at `key`, which is `_class_name` in diffusers' files and `model_type`
        in transformers'.

    Raises:
      ValueError: the file is missing, or has another value at `key`.
    """
    path, names = epath.Path(folder) / "config.json", " or ".join(kinds)
    if not path.exists():
        raise ValueError(f"no config.json in {folder}: name the folder of a {names}")
    config = read_json(path)
    if config.get(key) not in kinds:
        raise ValueError(f"{path} has {key} {config.get(key)!r}: name the folder of a {names}")
    return config


def complete_config(
    config: dict[str, Any],
    defaults: Mapping[str, Any],
    supported: Mapping[str, tuple[Any, ...]],
    model: str,
) -> dict[str, Any]:
    """A config of another project with the defaults of the keys that it leaves out.

    Args:
      supported: for some keys, the values that this code can carry.
      model: what those values describe, for the message.

    Raises:
      ValueError: the config has another value at a key of `supported`.
    """
    for key, values in supported.items():
        if key in config and config[key] not in values:
            raise ValueError(
                f"config.json has {key} {config[key]!r}: only {values[0]!r} can be read ({model})"
            )
    return {**defaults, **config}


def read_json(path: epath.Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      ValueError: the file holds something else.
    """
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): fetch it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object: fetch it again")
    return value


def tensor_name(path: Any) -> str:
    """The name of a tensor from its path in a tree, as in `params/encoder/first/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def read_tensors(
    folder: epath.PathLike, stem: str = STEM, drop: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """Reads all tensors of a folder, as float32.

    Args:
      stem: first part of the files' names.
      drop: prefixes of the names of tensors that are left out.

    Raises:
      ValueError: files are missing, damaged or quantised, or a tensor is not finite.
    """
    folder = epath.Path(folder)
    index = folder / f"{stem}.safetensors.index.json"
    files = [f"{stem}.safetensors"]
    if index.exists():
        names = read_json(index).get("weight_map")
        if not isinstance(names, dict) or any(type(name) is not str for name in names.values()):
            raise ValueError(f"{index} has no weight_map of file names: fetch it again")
        files = sorted(set(names.values()))
    arrays: dict[str, np.ndarray] = {}
    for name in files:
        path = folder / name
        if not path.exists():
            raise ValueError(f"{path} is missing: fetch it again")
        try:
            tensors = safetensors.deserialize(path.read_bytes())
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}): fetch it again") from error
        for key, value in tensors:
            if key.startswith(drop):
                continue
            if value["dtype"] not in DTYPES:
                raise ValueError(
                    f"{key} in {path} has the dtype {value['dtype']}: only "
                    f"{', '.join(DTYPES)} can be read, fetch weights that are not quantised"
                )
            flat = np.frombuffer(value["data"], DTYPES[value["dtype"]])
            arrays[key] = flat.reshape(value["shape"]).astype(np.float32)
            if not np.isfinite(arrays[key]).all():
                raise ValueError(f"{key} in {path} has numbers that are not finite: fetch it again")
    return arrays


def write_tensors(
    folder: epath.PathLike,
    config: dict[str, Any],
    tensors: Mapping[str, np.ndarray],
    stem: str = STEM,
) -> None:
    """Writes `config.json` and one file of tensors, whose name begins with `stem`."""
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / f"{stem}.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def save_tensors(path: epath.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes one file of tensors."""
    contiguous = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    path.write_bytes(safetensors.numpy.save(contiguous, {"format": "pt"}))
