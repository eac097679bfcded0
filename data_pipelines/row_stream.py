"""The batches of a run whose rows a step may change when it goes on.

A checkpoint holds the number of rows that the run has seen, and what the order of the epoch that
they end in follows from. That epoch ends in this order, cut into the new steps, and the ones after
it are ordered for the new steps: every epoch has each of its rows once, whatever changes. (Up to
the end of the epoch, rows of a step may differ more in cost than `packing.order_rows` has it.)

Rows that are planned anew (another room of a row, other shares of folders) are not those that the
rest of the epoch had: the run goes on with the next epoch, and says how many rows it leaves out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import grain

from data_pipelines.loader import PackedRows, RowOrder, packed_batches
from sora_jax.processes import BatchShare, is_first


class RowStream:
    """The batches of a run, of `packing.rows` rows each; batch i is that of step i + 1."""

    def __init__(self, rows: PackedRows, first: int = 0):
        """Keeps the rows.

        Args:
          rows: all rows that the run may see.
          first: the row where batch 0 begins, or would if all steps had as many rows as now.
        """
        self.rows, self._first, self._size = rows, first, rows.experiment.packing.rows

    def open(self, share: BatchShare) -> grain.MapDataset:
        """A process's share of batch i at index i."""
        return packed_batches(self.rows, self._size, share, self._first)

    def name_clips(self, batch: int) -> Sequence[str]:
        """Names of the clips in a batch, over all processes."""
        start = self._first + batch * self._size
        return [name for i in range(self._size) for name in self.rows.name_clips(start + i)]

    def position(self, step: int) -> dict[str, Any]:
        """Where the stream is after a step, as JSON.

        `rows` is the number of rows seen, `order` the `RowOrder` of the epoch of the next one, in
        a plan of `rows_per_epoch` rows and of this digest.
        """
        row, count = self._first + step * self._size, self.rows.per_epoch
        order = list(self.rows.order_of(row // count))
        return {"rows": row, "order": order, "rows_per_epoch": count, "plan": self.rows.digest}

    def go_on(self, position: Mapping[str, Any], step: int) -> "RowStream":
        """The stream from a position of a run on.

        Args:
          position: as saved after a step, by this class; by earlier versions, with the number of
            batches alone: then all had as many rows as now.
          step: the number of that step.
        """
        if "rows" not in position:
            return self
        row, count, orders = position["rows"], self.rows.per_epoch, {}
        epoch, seen = divmod(row, position["rows_per_epoch"])
        if position["plan"] != self.rows.digest:
            if seen and is_first():
                print(
                    f"other rows are planned: {position['rows_per_epoch'] - seen} of the "
                    f"{position['rows_per_epoch']} of epoch {epoch} are left out, and it goes on "
                    f"with epoch {epoch + 1}, of {count}"
                )
            row = (epoch + bool(seen)) * count
        elif seen:
            orders[epoch] = RowOrder(*position["order"])
        first = row - step * self._size
        steps = self.rows.experiment.optimizer.steps
        rows = self.rows.reorder(first + steps * self._size, first % self._size, orders)
        return RowStream(rows, first)
