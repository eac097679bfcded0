"""Cuts frames into Crafter's tiles.

Let p be the pixels of a tile, T_c the picture of tile c, and v the pixels that count: within the
frame and neither under the player nor under an item. The squared distance to tile c is

    D_c = sum v p^2 - 2 sum v p T_c + sum v T_c^2.

A frame may lie at 31 offsets from the grid, since the player walks along one axis at a time: the
one at which the sum of min_c D_c over all tiles is smallest is where the player is, modulo a tile.
"""

from typing import Any

import numpy as np

from sora_jax.evals.worlds.morphology import erode_mask
from sora_jax.laws.builder import TILE, lay_tiles, load_tiles

MIN_SEEN = 60.0  # pixels, of 256, that show what a tile is
RIM = 2  # pixels at the edge of a tile, into which a blur carries its neighbours
MIN_INNER = 30.0  # pixels, without the rim, that show whether a tile is legal

_INNER = np.pad(np.ones((TILE - 2 * RIM,) * 2, np.float32), RIM).repeat(3)
OFFSETS = [(x, 0) for x in range(TILE)] + [(0, y) for y in range(1, TILE)]


class Grid:
    """Frames cut into tiles at each of `OFFSETS`."""

    def __init__(self, frames, counts, x, y):
        self._corner = x, y
        self._shape = frames.shape
        around = ((TILE, 2 * TILE), (TILE, 2 * TILE))
        self._pixels = np.pad(frames * counts[..., None], ((0, 0), *around, (0, 0)))
        self._counts = np.pad(counts.astype(np.float32), around)
        inner = erode_mask(counts, times=RIM, outside=True)
        self._inner = np.pad(inner.astype(np.float32), around)
        pictures = load_tiles().astype(np.float32)
        self._pictures = pictures.reshape(len(pictures), -1)

    def find_offsets(self) -> np.ndarray:
        """Returns the index [t] of the offset at which the tiles fit best, in grey levels."""
        grey = self._pixels.mean(-1, keepdims=True)
        pictures = self._pictures.reshape(len(self._pictures), -1, 3).mean(-1).T
        costs = []
        for i in range(len(OFFSETS)):
            counts = self._cut(self._counts[None, ..., None], i)[0]
            # Products of one row of tiles are so small that BLAS starts no threads for them.
            distances = counts @ pictures**2 - 2 * (self._cut(grey, i) @ pictures)
            costs.append(distances.min(-1).sum((1, 2)))
        return np.stack(costs).argmin(0)

    def match(self, best, positions):
        """Returns ids, seen, cells, distances, details, inside and contrasts as in `Tiles`."""
        t, h, w, _ = self._shape
        x, y = self._corner
        left, column, columns = lay_tiles(w, x, TILE, positions[:, 0])
        top, row, rows = lay_tiles(h, y, TILE, positions[:, 1])
        left, top = left[:, None] + TILE * np.arange(columns), top[:, None] + TILE * np.arange(rows)
        across, down = (left > -TILE) & (left < w), (top > -TILE) & (top < h)
        cells = column[:, None] + np.arange(columns), row[:, None] + np.arange(rows)
        ids = np.full((t, rows, columns), -1)
        seen, distances, strengths = np.zeros((3, *ids.shape))
        contrasts = np.zeros(t)
        for i in np.unique(best):
            at = np.flatnonzero(best == i)
            costs, pixels, counts = self._distances(i, at)
            found = costs.argmin(-1)
            seen[at] = counts[..., ::3].sum(-1)
            ids[at] = np.where(seen[at] >= MIN_SEEN, found, -1)
            inner = self._cut(self._inner[None, ..., None], i)[0].repeat(3, -1) * _INNER
            weights = np.maximum(inner.sum(-1, keepdims=True), 1)
            pictures = self._pictures[found]
            squares = ((pixels - pictures) ** 2 * inner).sum(-1) / weights[..., 0]
            enough = inner[..., ::3].sum(-1) >= MIN_INNER
            distances[at] = np.where(enough, np.sqrt(squares), np.nan)
            details = _remove_mean(pictures, inner) * enough[..., None]
            strengths[at] = np.sqrt((details**2).sum(-1) / weights[..., 0])
            # Details have no mean, so that a flat tile has no contrast, whatever its colour.
            power = np.maximum((details**2).sum((1, 2, 3)), 1)
            contrasts[at] = (details * pixels).sum((1, 2, 3)) / power
        return {
            "ids": ids,
            "seen": seen,
            "cells": cells,
            "distances": distances,
            "details": strengths,
            "inside": down[:, :, None] & across[:, None, :],
            "contrasts": contrasts,
        }

    def _distances(self, i, at: Any = np.s_[:]):
        """Returns D_c - sum v p^2 [t, rows, columns, c], v p and v of some frames at an offset."""
        pixels, counts = self._cut(self._pixels[at], i), self._cut(self._counts[None, ..., None], i)
        counts = counts[0].repeat(3, -1)
        costs = counts @ (self._pictures.T**2) - 2 * pixels @ self._pictures.T
        return costs, pixels, counts

    def _cut(self, frames, i):
        """Cuts frames [t, h, w, c] into tiles [t, rows, columns, 16 x 16 x c]."""
        _, h, w, _ = self._shape
        (x, y), (dx, dy) = self._corner, OFFSETS[i]
        left, _, columns = lay_tiles(w, x, TILE, np.array(dx))
        top, _, rows = lay_tiles(h, y, TILE, np.array(dy))
        top, left = int(top) + TILE, int(left) + TILE
        cut = frames[:, top : top + rows * TILE, left : left + columns * TILE]
        cut = cut.reshape(len(frames), rows, TILE, columns, TILE, -1)
        return cut.transpose(0, 1, 3, 2, 4, 5).reshape(len(frames), rows, columns, -1)


def _remove_mean(pictures, weights):
    """Returns what pictures [..., n x 3] differ from their mean colour, where weights are 1."""
    shape = (*pictures.shape[:-1], -1, 3)
    colors, weights = pictures.reshape(shape), np.broadcast_to(weights, pictures.shape)
    weights = weights.reshape(shape)
    means = (colors * weights).sum(-2, keepdims=True)
    means = means / np.maximum(weights.sum(-2, keepdims=True), 1)
    return ((colors - means) * weights).reshape(pictures.shape)
