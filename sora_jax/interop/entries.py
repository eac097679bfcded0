"""Maps the tensors of other projects to our parameters and back; names are matched strictly.

"Theirs" is the other project's tensor, "ours" the parameter it maps to.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sora_jax.types import Params

MAX_LISTED_FAULTS = 5
"""Maximum number of tensors that one error message names."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Maps one of their tensors to our parameters.

    Attributes:
      path: keys of our parameter in the nested dict.
      axes: for each of our axes, the index of their axis. An index that occurs several times is an
        axis of theirs that is split into ours, in this order (heads x head width); None is an axis
        of length 1 that they do not have.
      trailing, leading: number of axes of length 1 that they have at the end or the beginning and
        we do not; `axes` does not count them.
      split: if our first axis (after that of blocks) merges several of theirs, their lengths;
        `axes` then has an index for each of them.
      block: if our parameter stacks a tensor of each block, the index of this one's block on our
        leading axis, which `axes` leaves out.
    """

    path: tuple[Any, ...]
    axes: tuple[int | None, ...]
    trailing: int = 0
    leading: int = 0
    split: tuple[int, ...] = ()
    block: int | None = None

    def shape_of_theirs(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of their tensor for a parameter of ours with the shape `ours`."""
        sizes: dict[int, int] = {}
        for axis, n in self._shared_axes(ours):
            sizes[axis] = sizes.get(axis, 1) * n
        ones = (1,) * self.leading, (1,) * self.trailing
        return (*ones[0], *(sizes[i] for i in range(len(sizes))), *ones[1])

    def to_ours(self, theirs: np.ndarray, ours: tuple[int, ...]) -> np.ndarray:
        """Converts their tensor to our layout, without the leading axis of blocks.

        Args:
          ours: shape of our parameter.
        """
        shared, order = self._shared_axes(ours), self._order()
        transposed = theirs.reshape([shared[i][1] for i in order]).transpose(np.argsort(order))
        return transposed.reshape(self._block_shape(ours))

    def to_theirs(self, ours: np.ndarray) -> np.ndarray:
        """Inverse of `to_ours`, from our whole parameter with its axis of blocks."""
        shape = self.shape_of_theirs(ours.shape)
        lengths = [n for _, n in self._shared_axes(ours.shape)]
        ours = ours if self.block is None else ours[self.block]
        return ours.reshape(lengths).transpose(self._order()).reshape(shape)

    def _block_shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        return ours if self.block is None else ours[1:]

    def _shared_axes(self, ours: tuple[int, ...]) -> list[tuple[int, int]]:
        """For each of our axes that they have: the index of theirs, and the length."""
        ours = self._block_shape(ours)
        lengths = (*self.split, *ours[1:]) if self.split else ours
        pairs = zip(self.axes, lengths, strict=True)
        return [(axis, n) for axis, n in pairs if axis is not None]

    def _order(self) -> np.ndarray:
        """Indices of our shared axes, in their order."""
        return np.argsort([axis for axis in self.axes if axis is not None], kind="stable")


def check_shapes(
    entries: Mapping[str, Entry], shapes: Mapping[str, tuple[int, ...]], like: Params
) -> None:
    """Checks that their tensors are those of `entries`, in the shapes of our parameters.

    Args:
      shapes: shapes of their tensors, by name.
      like: our parameters' tree of shapes.

    Raises:
      ValueError: a tensor is missing, unexpected or of another shape.
    """
    faults = [f"{name} is missing" for name in entries if name not in shapes]
    faults += [f"{name} is unexpected" for name in shapes if name not in entries]
    for name in (name for name in entries if name in shapes):
        shape = entries[name].shape_of_theirs(_get(like, entries[name].path).shape)
        if shapes[name] != shape:
            faults.append(f"{name} has the shape {list(shapes[name])}, not {list(shape)}")
    if faults:
        listed, rest = faults[:MAX_LISTED_FAULTS], len(faults) - MAX_LISTED_FAULTS
        more = f", and {rest} more" if rest > 0 else ""
        raise ValueError(f"these weights are of another architecture: {'; '.join(listed)}{more}")


def to_params(
    entries: Mapping[str, Entry], tensors: Mapping[str, np.ndarray], like: Params
) -> Params:
    """Builds our nested dict of parameters from their tensors.

    Args:
      like: our parameters' tree of shapes; `entries` must name all of its leaves.

    Raises:
      ValueError: as `check_shapes`.
    """
    check_shapes(entries, {name: value.shape for name, value in tensors.items()}, like)
    blocks: dict[tuple[Any, ...], dict[int | None, np.ndarray]] = {}
    for name, entry in entries.items():
        value = entry.to_ours(tensors[name], _get(like, entry.path).shape)
        blocks.setdefault(entry.path, {})[entry.block] = value

    def join_blocks(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        parts = blocks[tuple(k.key for k in path)]
        return parts[None] if None in parts else np.stack([parts[i] for i in range(leaf.shape[0])])

    return jax.tree.map_with_path(join_blocks, like)


def to_tensors(entries: Mapping[str, Entry], params: Params) -> dict[str, np.ndarray]:
    """Inverse of `to_params`."""
    return {n: e.to_theirs(np.asarray(_get(params, e.path))) for n, e in entries.items()}


def _get(tree: Params, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree
