"""The packing plan: which clips share a row. Pure numpy, over indices and lengths only.

A row has three capacities: video tokens, text tokens and segments (arXiv:2307.06304, widened).
Clips are placed window by window, longest first, each into the open row with the least room
that still takes it; rows with room left stay open for the next window.
"""

import numpy as np

OPEN_BELOW = 0.98
"""Rows filled less than this stay open for the next window."""


def plan_rows(
    lengths: np.ndarray, capacity: tuple[int, int, int], window: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Packs all clips once, in a random order.

    Args:
      lengths: int [clips, 2]: video and text tokens of each clip.
      capacity: video tokens, text tokens and segments of a row.
      window: clips that are placed together.
      rng: decides the order of clips and of rows.

    Returns:
      The clips of each row, as indices into `lengths`.

    Raises:
      ValueError: a clip exceeds a row by itself.
    """
    need = np.concatenate([lengths, np.ones((len(lengths), 1), int)], 1)
    capacities = np.asarray(capacity)
    for clip in np.flatnonzero((need > capacities).any(1))[:1]:
        raise ValueError(
            f"clip {clip} has {need[clip, 0]} video and {need[clip, 1]} text tokens, a row holds "
            f"{capacity[0]} and {capacity[1]}: raise config.packing or split the clip"
        )
    order = rng.permutation(len(lengths))
    rows: list[list[int]] = []
    room = np.empty((0, 3), int)
    open_rows = np.empty(0, int)
    for start in range(0, len(order), window):
        clips = order[start : start + window]
        for clip in clips[np.argsort(-need[clips, 0], kind="stable")]:
            fits = np.flatnonzero((room[open_rows] >= need[clip]).all(1))
            if len(fits):
                row = open_rows[fits[np.argmin(room[open_rows[fits], 0])]]
            else:
                row = len(rows)
                rows.append([])
                room = np.concatenate([room, capacities[None]])
                open_rows = np.append(open_rows, row)
            rows[row].append(clip)
            room[row] -= need[clip]
        open_rows = open_rows[room[open_rows, 0] > (1 - OPEN_BELOW) * capacities[0]]
    return [np.asarray(rows[i]) for i in rng.permutation(len(rows))]


def fill(rows: list[np.ndarray], lengths: np.ndarray, tokens: int) -> float:
    """Share of the rows' video tokens that belong to clips."""
    return float(sum(lengths[row, 0].sum() for row in rows) / (len(rows) * tokens))
