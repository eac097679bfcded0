"""Folders of safetensors, as diffusers and transformers lay them out, and strict matching of names.

A folder holds `config.json` and the tensors, in one file or in several with an index.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from sora_jax.types import Params

STEM = "diffusion_pytorch_model"
MOST_NAMED = 5  # tensors in one message
DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where one of their tensors lies among our parameters.

    Attributes:
      path: keys of the nested dict.
      axes: for each of our axes, the axis of theirs that it is. One that is named several times
        is split into those of ours, in their order (heads x head width); None is an axis of
        length 1 that they do not have.
      trailing: axes of length 1 that they have at the end and we do not.
      block: where our parameter stacks several of theirs, this one's place on our leading axis,
        which `axes` leaves out.
    """

    path: tuple[Any, ...]
    axes: tuple[int | None, ...]
    trailing: int = 0
    block: int | None = None

    def shape_of_theirs(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """Their shape of a tensor that has the shape `ours` here."""
        sizes: dict[int, int] = {}
        for axis, n in self._kept(ours):
            sizes[axis] = sizes.get(axis, 1) * n
        return (*(sizes[i] for i in range(len(sizes))), *(1,) * self.trailing)

    def to_ours(self, theirs: np.ndarray, ours: tuple[int, ...]) -> np.ndarray:
        """Their tensor in our layout; without the leading axis where that is one of blocks.

        Args:
          ours: shape of our parameter.
        """
        kept, order = self._kept(ours), self._order()
        turned = theirs.reshape([kept[i][1] for i in order]).transpose(np.argsort(order))
        return turned.reshape(self._of_block(ours))

    def to_theirs(self, ours: np.ndarray) -> np.ndarray:
        """Inverse of `to_ours`, from our whole parameter."""
        shape = self.shape_of_theirs(ours.shape)
        kept = [n for _, n in self._kept(ours.shape)]
        ours = ours if self.block is None else ours[self.block]
        return ours.reshape(kept).transpose(self._order()).reshape(shape)

    def _of_block(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        return ours if self.block is None else ours[1:]

    def _kept(self, ours: tuple[int, ...]) -> list[tuple[int, int]]:
        """Their axis and the length of each of our axes that they have."""
        pairs = zip(self.axes, self._of_block(ours), strict=True)
        return [(axis, n) for axis, n in pairs if axis is not None]

    def _order(self) -> np.ndarray:
        """Our axes that they have, in their order."""
        return np.argsort([axis for axis in self.axes if axis is not None], kind="stable")


def read_config(folder: epath.PathLike, *kinds: str, key: str = "_class_name") -> dict[str, Any]:
    """`config.json` of a folder.

    Args:
      kinds: what may stand at `key`, which is `_class_name` in diffusers' files and `model_type` in
        transformers'.

    Raises:
      ValueError: there is none, or it is of another kind.
    """
    path, wanted = epath.Path(folder) / "config.json", " or ".join(kinds)
    if not path.exists():
        raise ValueError(f"no config.json in {folder}: name the folder of a {wanted}")
    config = read_json(path)
    if config.get(key) not in kinds:
        raise ValueError(f"{path} has {key} {config.get(key)!r}: name the folder of a {wanted}")
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
        import safetensors.numpy
    except ImportError as error:
        raise ValueError("safetensors is not installed: pip install 'sora-jax[interop]'") from error
    return safetensors


def read_tensors(
    folder: epath.PathLike, stem: str = STEM, drop: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """All tensors of a folder, as float32.

    Args:
      stem: how the files' names begin.
      drop: tensors whose names begin so are left out.

    Raises:
      ValueError: files are missing, damaged or quantised, or safetensors is not installed.
    """
    safetensors = _safetensors()
    folder = epath.Path(folder)
    index = folder / f"{stem}.safetensors.index.json"
    files = [f"{stem}.safetensors"]
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
            found[key] = flat.reshape(value["shape"]).astype(np.float32)
    return found


def write_tensors(
    folder: epath.PathLike,
    config: dict[str, Any],
    tensors: Mapping[str, np.ndarray],
    stem: str = STEM,
) -> None:
    """Writes `config.json` and one file of tensors, whose name begins with `stem`."""
    safetensors = _safetensors()
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tidy = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    data = safetensors.numpy.save(tidy, {"format": "pt"})
    (folder / f"{stem}.safetensors").write_bytes(data)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def check_shapes(
    entries: Mapping[str, Entry], shapes: Mapping[str, tuple[int, ...]], like: Params
) -> None:
    """Their tensors must be those of `entries`, in the shapes that ours ask for.

    Raises:
      ValueError: a tensor is missing, unexpected or of another shape.
    """
    faults = [f"{name} is missing" for name in entries if name not in shapes]
    faults += [f"{name} is unexpected" for name in shapes if name not in entries]
    for name in (name for name in entries if name in shapes):
        shape = entries[name].shape_of_theirs(_at(like, entries[name].path).shape)
        if shapes[name] != shape:
            faults.append(f"{name} has the shape {list(shapes[name])}, not {list(shape)}")
    if faults:
        more = f", and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise ValueError(
            f"these weights are of another architecture: {'; '.join(faults[:MOST_NAMED])}{more}"
        )


def to_params(
    entries: Mapping[str, Entry], tensors: Mapping[str, np.ndarray], like: Params
) -> Params:
    """Our nested dict from their tensors.

    Args:
      like: our parameters' tree of shapes; `entries` must name all of its leaves.

    Raises:
      ValueError: as `check_shapes`.
    """
    check_shapes(entries, {name: value.shape for name, value in tensors.items()}, like)
    made: dict[tuple[Any, ...], dict[int | None, np.ndarray]] = {}
    for name, entry in entries.items():
        value = entry.to_ours(tensors[name], _at(like, entry.path).shape)
        made.setdefault(entry.path, {})[entry.block] = value

    def whole(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        parts = made[tuple(k.key for k in path)]
        return parts[None] if None in parts else np.stack([parts[i] for i in range(leaf.shape[0])])

    return jax.tree.map_with_path(whole, like)


def to_tensors(entries: Mapping[str, Entry], params: Params) -> dict[str, np.ndarray]:
    """Inverse of `to_params`."""
    return {n: e.to_theirs(np.asarray(_at(params, e.path))) for n, e in entries.items()}


def _at(tree: Params, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree
