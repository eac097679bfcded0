"""Whether all processes hold the same settings, program, data and weights."""

import collections
import hashlib
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils


def check_agreement(values: Mapping[str, str], remedy: str) -> None:
    """Checks that all processes have the same values; each of them must ask, for the same reason.

    Args:
      values: texts of any length by name; 64 bits of each are compared.
      remedy: what to do, for the message.

    Raises:
      ValueError: in all processes, if one has another value: of the first that differs it names
        the processes in the minority.
    """
    if jax.process_count() == 1:
        return
    names = sorted(values)
    _check_rows(["the list of settings and arrays"], [" ".join(names)], remedy)
    _check_rows(names, [values[name] for name in names], remedy)


def _check_rows(names: list[str], texts: list[str], remedy: str) -> None:
    sums = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
    own = np.stack([np.frombuffer(digest, np.uint32) for digest in sums])
    everyone = np.asarray(multihost_utils.process_allgather(own))
    for name, text, rows in zip(names, texts, everyone.swapaxes(0, 1), strict=True):
        counts = collections.Counter(map(tuple, rows.tolist()))
        if len(counts) == 1:
            continue
        usual, _ = counts.most_common(1)[0]
        odd = [str(i) for i, row in enumerate(map(tuple, rows.tolist())) if row != usual]
        here = text if len(text) < 60 else f"{text[:57]}..."
        raise ValueError(
            f"{name} is not the same in all processes: process {', '.join(odd)} differs from the "
            f"others; on process {jax.process_index()} it is {here}: {remedy}"
        )
