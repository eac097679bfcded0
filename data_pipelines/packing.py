"""The packing plan: which clips share a row, and which rows share a step. Pure numpy, on lengths.

A row has three capacities: video tokens, text tokens and segments (arXiv:2307.06304, widened).

Clips of equal lengths are in one *length bucket*. A row is a sequence of *slots*, each for a clip
of one bucket. `plan_rows` decides once which buckets share a row; in every epoch `assign_clips`
draws the clips of the slots, and `order_rows` draws the steps of the rows. So all epochs have the
same number of rows, and row i of the endless stream follows from i alone. A clip that is alone in
its bucket has neighbours of the same buckets in every epoch.

A row of L tokens in segments of n_i costs L + sum n_i^2 / a tokens. The attention crossover a is
the length at which a segment's attention costs as much as the rest of a block: 3 d + m for width d
and MLP width m (`scaling.flops`). A step ends with its slowest device, so the rows of a step should
cost the same.
"""

from collections.abc import Sequence

import numpy as np

LONG_CLIP_TOKEN_SHARE = 0.7
"""Share of all tokens in the longest clips, which are spread; the others fill the gaps."""
MIN_FILL = 0.99
"""Share of a row's video tokens below which its clips are taken out and planned again."""
COST_TOLERANCE = 1.08
"""Ratio of the costs of two rows up to which they may exchange their steps."""
MAX_REPEATS = 1000
"""Maximum ratio of the repeats of two sources of a mixture."""


def plan_rows(lengths: np.ndarray, capacity: tuple[int, int, int], window: int) -> np.ndarray:
    """Packs all clips into rows.

    Clips come from the longest to the shortest. The long ones go to the emptiest row that holds
    them, which evens out the rows' costs; the short ones to the fullest, which fills the rows.

    Args:
      lengths: int [clips, 2]: video and text tokens of each clip.
      capacity: video tokens, text tokens and segments of a row.
      window: maximum number of clips that are planned together. Larger windows fill rows better, in
        a time that grows with clips x window. All windows have the same mix of lengths.

    Returns:
      The row of each clip: int [clips], from 0 to the number of rows less 1.

    Raises:
      ValueError: a clip exceeds a row by itself, or has no video or no text token.
    """
    needs = np.column_stack([lengths, np.ones(len(lengths), int)])
    _check_needs(needs, capacity)
    clips = np.argsort(-needs[:, 0], kind="stable")
    rows, count = np.zeros(len(needs), int), 0
    while len(clips):
        new_rows = _pack(needs[clips], np.asarray(capacity), window)
        fills = np.bincount(new_rows, needs[clips, 0]) / capacity[0]
        is_unfilled = (fills < MIN_FILL)[new_rows]
        if is_unfilled.mean() > 0.5 or len(clips) <= window:  # nothing to gain
            is_unfilled[:] = False
        filled, numbers = np.unique(new_rows[~is_unfilled], return_inverse=True)
        rows[clips[~is_unfilled]] = count + numbers
        count, clips = count + len(filled), clips[is_unfilled]
    return rows


def _check_needs(needs: np.ndarray, capacity: Sequence[int]) -> None:
    for clip in np.flatnonzero((needs > capacity).any(1))[:1]:
        raise ValueError(
            f"clip {clip} has {needs[clip, 0]} video and {needs[clip, 1]} text tokens, a row holds "
            f"{capacity[0]} and {capacity[1]}: raise config.packing or split the clip"
        )
    for clip in np.flatnonzero((needs < 1).any(1))[:1]:
        raise ValueError(
            f"clip {clip} has lengths {needs[clip, :2].tolist()}: each must be above 0"
        )


def _pack(needs: np.ndarray, capacity: np.ndarray, window: int) -> np.ndarray:
    """Returns the row of each clip. Windows are packed side by side: clips j, j + windows, ..."""
    clips = len(needs)
    windows = -(-clips // window)
    turns = -(-clips // windows)
    needs = np.pad(needs, [(0, turns * windows - clips), (0, 0)])  # clips without tokens
    needs = needs.reshape(turns, windows, 3).astype(np.int32)
    min_rows = int(np.ceil((needs.sum(0) / capacity).max()))
    room = np.broadcast_to(capacity[:, None, None], (3, windows, min_rows)).astype(np.int32)
    tokens = needs[..., 0].sum(1).cumsum()
    rows, all_windows = np.zeros((turns, windows), int), np.arange(windows)
    for i, need in enumerate(needs):
        fits = (room >= need.T[:, :, None]).all(0)
        if tokens[i] <= LONG_CLIP_TOKEN_SHARE * tokens[-1]:
            row = np.where(fits, room[0], -1).argmax(1)
        else:
            row = np.where(fits, room[0], capacity[0] + 1).argmin(1)
        fits_nowhere = ~fits[all_windows, row]
        if fits_nowhere.any():
            row[fits_nowhere] = room.shape[2]
            more = np.broadcast_to(capacity[:, None, None], (3, windows, 1 + min_rows // 64))
            room = np.concatenate([room, more.astype(np.int32)], 2)
        room[:, all_windows, row] -= need.T
        rows[i] = row
    rows += all_windows * room.shape[2]
    return rows.reshape(-1)[:clips]


def row_costs(
    rows: np.ndarray, tokens: np.ndarray, capacity: int, attention_crossover: float
) -> np.ndarray:
    """Computes the cost of each row in tokens, by the equation of this module's docstring.

    Args:
      rows: int [clips], the row of each clip.
      tokens: int [clips], video tokens of each clip.
      capacity: video tokens of a row, L.
      attention_crossover: length in tokens, a.

    Returns:
      float [rows].
    """
    return capacity + np.bincount(rows, np.square(tokens, dtype=float)) / attention_crossover


def length_buckets(*lengths: np.ndarray) -> np.ndarray:
    """Numbers the clips so that those which agree in all `lengths` have the same number.

    Args:
      lengths: arrays int [clips] of values >= 0, at least one.

    Returns:
      The length bucket of each clip: int [clips].
    """
    buckets = np.zeros(len(lengths[0]), np.int64)
    for values in lengths:  # numbered anew each time, so that the product stays small
        keys = buckets * (1 + int(values.max())) + values
        buckets = np.unique(keys, return_inverse=True)[1]
    return buckets


def assign_clips(
    buckets: np.ndarray, repeats: np.ndarray, slots: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Assigns clips to the slots of their length buckets at random.

    Args:
      buckets: int [clips], the length bucket of each clip.
      repeats: int [clips], how often each clip is assigned, the same for all clips of a bucket.
      slots: int [slots], the length bucket of each slot, in the order of the stream. A clip is
        assigned again only after all clips of its bucket.

    Returns:
      The clip in each slot: int [slots].
    """
    shuffled = rng.permutation(len(buckets))
    rounds = [shuffled[repeats[shuffled] > 0]]
    for done in range(1, int(repeats.max())):
        rounds.append(rng.permutation(np.flatnonzero(repeats > done)))
    clips = np.concatenate(rounds)
    assigned = np.empty(len(slots), int)
    by_bucket = np.argsort(buckets[clips], kind="stable")
    assigned[np.argsort(slots, kind="stable")] = clips[by_bucket]
    return assigned


def order_rows(
    costs: np.ndarray,
    rows_per_step: int,
    rows_per_device: int,
    rows_before: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Orders the rows of an epoch so that the devices of a step have nearly equal work.

    Where a device has several rows, rows of high cost are put with rows of low cost, in pairs, then
    pairs of pairs. These groups are sorted by cost and cut into steps. Steps whose groups' costs
    are within `COST_TOLERANCE` exchange groups at random: with one row a device, clips of similar
    lengths stay in one step; with several, most steps are of this kind. Steps come in a random
    order.

    A step that an epoch shares with its neighbour takes the rows whose costs differ least.

    Args:
      costs: float [rows], cost of each row.
      rows_per_step: rows of a step over all devices.
      rows_per_device: rows of a step that lie side by side on one device: a power of two that
        divides `rows_per_step`.
      rows_before: rows of the stream before this epoch.

    Returns:
      The rows in their order: a permutation, int [rows].
    """
    by_cost = np.argsort(costs, kind="stable")
    head = min(-rows_before % rows_per_step, len(costs))
    shared = head + (len(costs) - head) % rows_per_step
    window = min(2 * rows_per_step, len(costs))
    starts = len(costs) - window + 1
    start = int(np.argmin(costs[by_cost[window - 1 :]] / costs[by_cost[:starts]]))
    outer = rng.permutation(by_cost[start : start + shared])
    groups = np.delete(by_cost, slice(start, start + shared))[:, None]
    while groups.shape[1] < rows_per_device:
        groups = groups[np.argsort(costs[groups].sum(1), kind="stable")]
        half = len(groups) // 2
        groups = np.concatenate([groups[:half], groups[half:][::-1]], 1)
    groups = groups[np.argsort(-costs[groups].sum(1), kind="stable")]
    steps = groups.reshape(-1, rows_per_step // rows_per_device, rows_per_device)
    ends = costs[steps[:, [0, -1]]].sum(2)  # maximum and minimum cost of a group of each step
    levels = np.floor(np.log(ends.max(initial=1) / ends) / np.log(COST_TOLERANCE)).mean(1)
    for level in np.unique(levels):
        exchanged = steps[levels == level]
        shuffled = rng.permutation(exchanged.reshape(-1, rows_per_device))
        steps[levels == level] = shuffled.reshape(exchanged.shape)
    return np.concatenate([outer[:head], rng.permutation(steps).ravel(), outer[head:]])


def repeats(sizes: Sequence[int], weights: Sequence[float], search_limit: int = 64) -> list[int]:
    """Chooses how often an epoch of a mixture repeats each source to give them the wanted shares.

    Args:
      sizes: clips of each source.
      weights: wanted shares of clips, relative to each other.
      search_limit: maximum repeats of the least repeated source that are tried.

    Returns:
      The smallest whole numbers of repeats with which each share is within 2 % of the wanted one,
      or the best within `search_limit`.

    Raises:
      ValueError: a source is empty, a weight is not above 0, or an epoch would be too long.
    """
    sizes_, weights_ = np.asarray(sizes, float), np.asarray(weights, float)
    given = f"sources of {list(sizes)} clips with weights {list(weights)}"
    if sizes_.min() < 1 or not (weights_ > 0).all():
        raise ValueError(f"{given}: leave out empty ones and give weights above 0")
    wanted = weights_ / weights_.sum()
    ratios = wanted / sizes_ / (wanted / sizes_).min()
    if ratios.max() > MAX_REPEATS:
        raise ValueError(
            f"{given} take {ratios.max():.0f} repeats of one for each of another: "
            f"{MAX_REPEATS} at most, so change the weights"
        )
    best, best_error = np.ones(len(sizes_), int), np.inf
    for base in range(1, search_limit + 1):
        tried = np.rint(base * ratios).astype(int)
        error = np.abs(tried * sizes_ / (tried * sizes_).sum() / wanted - 1).max()
        if error < best_error:
            best, best_error = tried, error
        if best_error <= 0.02:
            break
    return best.tolist()


def fill(rows: np.ndarray, tokens: np.ndarray, capacity: int) -> float:
    """Computes the share of the rows' video tokens that belong to clips, 0 to 1.

    Args:
      rows: int [clips], the row of each clip.
      tokens: int [clips], video tokens of each clip.
      capacity: video tokens of a row.
    """
    return float(tokens.sum() / ((rows.max() + 1) * capacity))
