"""Benchmarks, one command each: `python -m experiments.benchmarks.NAME`.

Each prints a table, writes `results/NAME.json` beside it, and exits 1 when a bar named in its
docstring is missed.
"""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.files import write_whole
from sora_jax.kernels import products
from sora_jax.provenance import commit

RESULTS = pathlib.Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, devices, versions, date, commit."""
    cpu = platform.processor()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        names = [x.split(":", 1)[1] for x in info.read_text().splitlines() if "model name" in x]
        cpu = names[0].strip() if names else cpu
    packages = ("jax", "flax", "torch", "diffusers")
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "devices": [device.device_kind for device in jax.devices()],
        "versions": {"python": platform.python_version(), **found},
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
    }


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns of text, aligned; floats with three significant digits."""
    cells = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [header, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def write(name: str, figures: dict[str, Any], missed: Sequence[str]) -> None:
    """Writes `results/NAME.json`."""
    content = json.dumps({"machine": machine(), **figures, "missed": list(missed)}, indent=1)
    write_whole(RESULTS / f"{name}.json", content)


def finish(name: str, figures: dict[str, Any], missed: Sequence[str]) -> None:
    """Writes `results/NAME.json`; exits 1 where bars were missed, naming them."""
    write(name, figures, missed)
    for bar in missed:
        print(f"missed: {bar}")
    sys.exit(1 if missed else 0)


def matmul_speed(n: int = 2048) -> float:
    """FLOP/s of a product of two n x n matrices, of rounded factors where those are chosen."""
    a = jnp.ones((n, n))
    product = jax.jit(lambda a: products.matmul(a, a))
    product(a).block_until_ready()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / min(seconds)
