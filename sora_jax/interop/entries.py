"""Where the tensors of other projects lie among our parameters; names are matched strictly."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sora_jax.types import Params

MOST_NAMED = 5  # tensors in one message


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where one of their tensors lies among our parameters.

    Attributes:
      path: keys of the nested dict.
      axes: for each of our axes, the axis of theirs that it is. One that is named several times
        is split into those of ours, in their order (heads x head width); None is an axis of
        length 1 that they do not have.
      trailing, leading: axes of length 1 that they have at the end or the beginning and we do not;
        `axes` does not count them.
      split: our first axis (after that of blocks) is several of theirs in one, of these lengths;
        `axes` names each of them.
      block: where our parameter stacks several of theirs, this one's place on our leading axis,
        which `axes` leaves out.
    """

    path: tuple[Any, ...]
    axes: tuple[int | None, ...]
    trailing: int = 0
    leading: int = 0
    split: tuple[int, ...] = ()
    block: int | None = None

    def shape_of_theirs(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """Their shape of a tensor that has the shape `ours` here."""
        sizes: dict[int, int] = {}
        for axis, n in self._kept(ours):
            sizes[axis] = sizes.get(axis, 1) * n
        ones = (1,) * self.leading, (1,) * self.trailing
        return (*ones[0], *(sizes[i] for i in range(len(sizes))), *ones[1])

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
        ours = self._of_block(ours)
        seen = (*self.split, *ours[1:]) if self.split else ours
        pairs = zip(self.axes, seen, strict=True)
        return [(axis, n) for axis, n in pairs if axis is not None]

    def _order(self) -> np.ndarray:
        """Our axes that they have, in their order."""
        return np.argsort([axis for axis in self.axes if axis is not None], kind="stable")


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
