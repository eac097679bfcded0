"""Folders of safetensors, as diffusers and transformers lay them out, and strict matching of names.

A folder holds `config.json` and the tensors, in one file or in several with an index.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from sora_jax.types import Params

STEM = "diffusion_pytorch_model"
MOST_NAMED = 5  # tensors in one message


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where one of their tensors lies among our parameters.

    Attributes:
      path: keys of the nested dict.
      axes: their axes in our order; None is one that they do not have, of length 1.
      trailing: axes of length 1 that they have at the end and we do not.
    """

    path: tuple[Any, ...]
    axes: tuple[int | None, ...]
    trailing: int = 0

    def shape_of_theirs(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """Their shape of a tensor that has the shape `ours` here."""
        shape = {axis: n for axis, n in zip(self.axes, ours, strict=True) if axis is not None}
        return (*(shape[i] for i in range(len(shape))), *(1,) * self.trailing)

    def to_ours(self, theirs: np.ndarray) -> np.ndarray:
        """Their tensor in our layout."""
        kept = theirs.reshape(theirs.shape[: theirs.ndim - self.trailing])
        turned = kept.transpose([axis for axis in self.axes if axis is not None])
        return np.expand_dims(turned, [i for i, axis in enumerate(self.axes) if axis is None])

    def to_theirs(self, ours: np.ndarray) -> np.ndarray:
        """Inverse of `to_ours`."""
        kept = ours.squeeze(tuple(i for i, axis in enumerate(self.axes) if axis is None))
        turned = kept.transpose(np.argsort([axis for axis in self.axes if axis is not None]))
        return turned.reshape(*turned.shape, *(1,) * self.trailing)


def read_config(folder: epath.PathLike, kind: str) -> dict[str, Any]:
    """`config.json` of a folder.

    Raises:
      ValueError: there is none, or it is of another class than `kind`.
    """
    path = epath.Path(folder) / "config.json"
    if not path.exists():
        raise ValueError(f"no config.json in {folder}: name the folder of a {kind}")
    config = read_json(path)
    if config.get("_class_name") != kind:
        raise ValueError(
            f"{path} has _class_name {config.get('_class_name')!r}: name the folder of a {kind}"
        )
    return config


def read_json(path: epath.Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      ValueError: the file holds something else.
    """
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): fetch it again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object: fetch it again")
    return found


def _safetensors() -> Any:
    try:
        import safetensors.flax
        import safetensors.numpy
    except ImportError as error:
        raise ValueError("safetensors is not installed: pip install 'sora-jax[interop]'") from error
    return safetensors


def read_tensors(folder: epath.PathLike) -> dict[str, np.ndarray]:
    """All tensors of a folder, as float32.

    Raises:
      ValueError: files are missing or damaged, or safetensors is not installed.
    """
    safetensors = _safetensors()
    folder = epath.Path(folder)
    index = folder / f"{STEM}.safetensors.index.json"
    files = [f"{STEM}.safetensors"]
    if index.exists():
        where = read_json(index)
        if not isinstance(where.get("weight_map"), dict):
            raise ValueError(f"{index} has no weight_map: fetch it again")
        files = sorted(set(where["weight_map"].values()))
    found: dict[str, np.ndarray] = {}
    for name in files:
        path = folder / name
        if not path.exists():
            raise ValueError(f"{path} is missing: fetch it again")
        try:
            tensors = safetensors.flax.load(path.read_bytes())
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}): fetch it again") from error
        found |= {key: np.asarray(value, np.float32) for key, value in tensors.items()}
    return found


def write_tensors(
    folder: epath.PathLike, config: dict[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Writes `config.json` and one file of tensors."""
    safetensors = _safetensors()
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tidy = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    data = safetensors.numpy.save(tidy, {"format": "pt"})
    (folder / f"{STEM}.safetensors").write_bytes(data)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def to_params(
    entries: Mapping[str, Entry], tensors: Mapping[str, np.ndarray], like: Params
) -> Params:
    """Our nested dict from their tensors.

    Args:
      like: our parameters' tree of shapes; `entries` must name all of its leaves.

    Raises:
      ValueError: a tensor is missing, unexpected or of another shape.
    """
    faults = [f"{name} is missing" for name in entries if name not in tensors]
    faults += [f"{name} is unexpected" for name in tensors if name not in entries]
    made: dict[tuple[Any, ...], np.ndarray] = {}
    for name, entry in entries.items():
        shape = entry.shape_of_theirs(_at(like, entry.path).shape)
        if name in tensors and tensors[name].shape != shape:
            faults.append(f"{name} has the shape {list(tensors[name].shape)}, not {list(shape)}")
        elif name in tensors:
            made[entry.path] = entry.to_ours(tensors[name])
    if faults:
        more = f", and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise ValueError(
            f"these weights are of another architecture: {'; '.join(faults[:MOST_NAMED])}{more}"
        )
    return jax.tree.map_with_path(lambda path, _: made[tuple(k.key for k in path)], like)


def to_tensors(entries: Mapping[str, Entry], params: Params) -> dict[str, np.ndarray]:
    """Inverse of `to_params`."""
    return {n: e.to_theirs(np.asarray(_at(params, e.path))) for n, e in entries.items()}


def _at(tree: Params, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree
