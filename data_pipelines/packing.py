"""The packing plan: which clips share a row, and which rows share a step. Pure numpy, on lengths.

A row has three capacities: video tokens, text tokens and segments (arXiv:2307.06304, widened).

Clips of equal lengths are of one *kind*. `plan_rows` decides once which kinds lie together; an
epoch deals the clips anew to the places of their kinds (`deal`), and the rows to steps (`order`).
So all epochs have the same number of rows, and row i of the endless stream follows from i alone. A
clip that is alone in its kind has neighbours of the same kinds in every epoch.

A row of L tokens in segments of n_i costs L + sum n_i^2 / a, where a is the length at which a
segment's attention costs as much as the rest of a block: 3 d + m for width d and MLP width m
(`scaling.flops`). Devices wait for the slowest of a step, so their rows should cost the same.
"""

from collections.abc import Sequence

import numpy as np

SPREAD = 0.7
"""The longest clips, with this share of all tokens, are spread out; the others fill the gaps."""
FULL = 0.99
"""Rows filled less than this are taken apart and planned again together."""
ALIKE = 1.08
"""Rows whose costs differ by less than this factor may share a step, whichever they are."""

MOST_PASSES = 1000
"""Through one source of a mixture for each through another."""


def plan_rows(lengths: np.ndarray, capacity: tuple[int, int, int], window: int) -> np.ndarray:
    """Packs all clips once: the longest first, each into the emptiest row, later the fullest.

    Spreading the long clips evens out the rows' costs, and the best fit for the rest fills them.

    Args:
      lengths: int [clips, 2]: video and text tokens of each clip.
      capacity: video tokens, text tokens and segments of a row.
      window: clips that are planned together, at most; more of them fill rows better, for a time
        that grows with clips x window. All windows have the same mix of lengths.

    Returns:
      The row of each clip: int [clips], from 0 to the number of rows less 1.

    Raises:
      ValueError: a clip exceeds a row by itself, or has no video or no text token.
    """
    need = np.column_stack([lengths, np.ones(len(lengths), int)])
    _check(need, capacity)
    clips = np.argsort(-need[:, 0], kind="stable")
    rows, count = np.zeros(len(need), int), 0
    while len(clips):
        found = _pack(need[clips], np.asarray(capacity), window)
        filled = np.bincount(found, need[clips, 0]) / capacity[0]
        again = (filled < FULL)[found]
        if again.mean() > 0.5 or len(clips) <= window:  # nothing to gain
            again[:] = False
        kept, number = np.unique(found[~again], return_inverse=True)
        rows[clips[~again]] = count + number
        count, clips = count + len(kept), clips[again]
    return rows


def _check(need: np.ndarray, capacity: Sequence[int]) -> None:
    for clip in np.flatnonzero((need > capacity).any(1))[:1]:
        raise ValueError(
            f"clip {clip} has {need[clip, 0]} video and {need[clip, 1]} text tokens, a row holds "
            f"{capacity[0]} and {capacity[1]}: raise config.packing or split the clip"
        )
    for clip in np.flatnonzero((need < 1).any(1))[:1]:
        raise ValueError(f"clip {clip} has lengths {need[clip, :2].tolist()}: each must be above 0")


def _pack(need: np.ndarray, capacity: np.ndarray, window: int) -> np.ndarray:
    """The row of each clip, in windows side by side: window j has clips j, j + windows, ..."""
    clips = len(need)
    windows = -(-clips // window)
    steps = -(-clips // windows)
    need = np.pad(need, [(0, steps * windows - clips), (0, 0)])  # clips of nothing
    need = need.reshape(steps, windows, 3).astype(np.int32)
    least = int(np.ceil((need.sum(0) / capacity).max()))
    room = np.broadcast_to(capacity[:, None, None], (3, windows, least)).astype(np.int32)
    tokens = need[..., 0].sum(1).cumsum()
    rows, all_windows = np.zeros((steps, windows), int), np.arange(windows)
    for i, now in enumerate(need):
        fits = (room >= now.T[:, :, None]).all(0)
        if tokens[i] <= SPREAD * tokens[-1]:
            row = np.where(fits, room[0], -1).argmax(1)
        else:
            row = np.where(fits, room[0], capacity[0] + 1).argmin(1)
        full = ~fits[all_windows, row]
        if full.any():
            row[full] = room.shape[2]
            new = np.broadcast_to(capacity[:, None, None], (3, windows, 1 + least // 64))
            room = np.concatenate([room, new.astype(np.int32)], 2)
        room[:, all_windows, row] -= now.T
        rows[i] = row
    rows += all_windows * room.shape[2]
    return rows.reshape(-1)[:clips]


def row_costs(rows: np.ndarray, tokens: np.ndarray, capacity: int, alike: float) -> np.ndarray:
    """What each row costs, in tokens; `alike` is the length a of this module's docstring."""
    return capacity + np.bincount(rows, np.square(tokens, dtype=float)) / alike


def kinds(*lengths: np.ndarray) -> np.ndarray:
    """A number for each clip, the same for those that agree in everything given: ints >= 0."""
    key = np.zeros(len(lengths[0]), np.int64)
    for values in lengths:  # numbered anew each time, so that the product stays small
        key = np.unique(key * (1 + int(values.max())) + values, return_inverse=True)[1]
    return key


def deal(
    kind: np.ndarray, passes: np.ndarray, places: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Deals clips to places of their kinds, at random.

    Args:
      kind: int [clips].
      passes: int [clips]: how often each is dealt, the same for all clips of a kind.
      places: int [places]: the kind of each place, in the order of the stream. A clip is dealt
        again only after all clips of its kind.

    Returns:
      int [places]: the clip at each place.
    """
    shuffled = rng.permutation(len(kind))
    dealt = [shuffled[passes[shuffled] > 0]]
    for done in range(1, int(passes.max())):
        dealt.append(rng.permutation(np.flatnonzero(passes > done)))
    clips = np.concatenate(dealt)
    found = np.empty(len(places), int)
    found[np.argsort(places, kind="stable")] = clips[np.argsort(kind[clips], kind="stable")]
    return found


def order(
    costs: np.ndarray, batch: int, together: int, before: int, rng: np.random.Generator
) -> np.ndarray:
    """The order of an epoch's rows in which the devices of a step have nearly equal work.

    Where a device has several rows, rows of high cost are put with rows of low cost, in pairs, then
    pairs of pairs. These groups are sorted by cost and cut into steps. Steps in which all groups
    cost alike (`ALIKE`) exchange them at random: with one row a device, clips of like lengths stay
    together; with several, most steps are of this kind. Steps come in a random order.

    A step that an epoch shares with its neighbour has rows from where costs differ least.

    Args:
      costs: of each row.
      batch: rows of a step.
      together: rows of a step that one device has, side by side: a power of two that divides batch.
      before: rows in the stream before this epoch.
    """
    by_cost = np.argsort(costs, kind="stable")
    head = min(-before % batch, len(costs))
    shared = head + (len(costs) - head) % batch
    window = min(2 * batch, len(costs))
    first = len(costs) - window + 1
    start = int(np.argmin(costs[by_cost[window - 1 :]] / costs[by_cost[:first]]))
    outer = rng.permutation(by_cost[start : start + shared])
    groups = np.delete(by_cost, slice(start, start + shared))[:, None]
    while groups.shape[1] < together:
        groups = groups[np.argsort(costs[groups].sum(1), kind="stable")]
        half = len(groups) // 2
        groups = np.concatenate([groups[:half], groups[half:][::-1]], 1)
    groups = groups[np.argsort(-costs[groups].sum(1), kind="stable")]
    steps = groups.reshape(-1, batch // together, together)
    ends = costs[steps[:, [0, -1]]].sum(2)  # the highest and the lowest of each step
    level = np.floor(np.log(ends.max(initial=1) / ends) / np.log(ALIKE)).mean(1)
    for one in np.unique(level):
        mine = steps[level == one]
        steps[level == one] = rng.permutation(mine.reshape(-1, together)).reshape(mine.shape)
    return np.concatenate([outer[:head], rng.permutation(steps).ravel(), outer[head:]])


def passes(sizes: Sequence[int], weights: Sequence[float], most: int = 64) -> list[int]:
    """How often an epoch of a mixture passes through each source, so that shares are as wanted.

    Args:
      sizes: clips of each source.
      weights: the wanted shares of clips, relative to each other.
      most: passes through the source that is passed through least.

    Returns:
      The fewest whole passes by which each share is within 2 % of the wanted one, or the best up
      to `most`.

    Raises:
      ValueError: a source is empty, a weight is not above 0, or an epoch would be too long.
    """
    sizes_, weights_ = np.asarray(sizes, float), np.asarray(weights, float)
    given = f"sources of {list(sizes)} clips with weights {list(weights)}"
    if sizes_.min() < 1 or not (weights_ > 0).all():
        raise ValueError(f"{given}: leave out empty ones and give weights above 0")
    wanted = weights_ / weights_.sum()
    least = wanted / sizes_ / (wanted / sizes_).min()
    if least.max() > MOST_PASSES:
        raise ValueError(
            f"{given} take {least.max():.0f} passes through one for each through another: "
            f"{MOST_PASSES} at most, so change the weights"
        )
    best, fault = np.ones(len(sizes_), int), np.inf
    for times in range(1, most + 1):
        found = np.rint(times * least).astype(int)
        error = np.abs(found * sizes_ / (found * sizes_).sum() / wanted - 1).max()
        if error < fault:
            best, fault = found, error
        if fault <= 0.02:
            break
    return best.tolist()


def fill(rows: np.ndarray, tokens: np.ndarray, capacity: int) -> float:
    """Share of the rows' video tokens that belong to clips."""
    return float(tokens.sum() / ((rows.max() + 1) * capacity))
