"""Several processes: how they find each other, and which rows of a batch each of them loads.

What a process loads follows from the mesh: its devices hold some shards of a batch's first axis,
and it loads these shards' rows, whole. Where `context` or `tensor` lie across hosts, several
processes hold parts of the same rows; each loads all of them.
"""

import contextlib
import glob
import os
import re
import socket
import sys
import time
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from jax._src import distributed  # of the coordination service's keys there is no public face
from jax.experimental import multihost_utils

from sora_jax.sharding import P

MEETING_SECONDS = 60
"""Time in which all processes must come to the place where one of them waits."""
LEAVE_SECONDS = 10
"""Time that a process that ends early waits for the others to end."""
CONNECT_SECONDS = 300
"""Time in which process 0 must answer the others."""
PROCESS_COUNT_VARIABLES = (
    *("MEGASCALE_NUM_SLICES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE"),
    "JAX_NUM_PROCESSES",
)


class BatchShare(NamedTuple):
    """The part of a batch that a process loads.

    Attributes:
      shards: numbers of the shards of a batch that its devices hold, in ascending order.
      count: number of shards, over all processes.
    """

    shards: tuple[int, ...] = (0,)
    count: int = 1

    def rows(self, batch: int) -> list[int]:
        """Numbers of the rows to load, of a batch of `batch` rows.

        Raises:
          ValueError: the shards cannot be of equal size.
        """
        if batch % self.count:
            raise ValueError(
                f"{self.count} shards of the batch cannot share {batch} rows: make them a multiple"
            )
        size = batch // self.count
        return [row for shard in self.shards for row in range(shard * size, (shard + 1) * size)]

    def place(self, tree: Any, specs: Any) -> Any:
        """The global arrays of a batch on the current mesh, of the rows that were loaded.

        Args:
          tree: numpy arrays whose first axis has these `rows`.
          specs: a `PartitionSpec` for each array; see `batch_share`.
        """
        mesh = jax.sharding.get_mesh()

        def put(spec: P, array: np.ndarray) -> jax.Array:
            if len(array) % len(self.shards):
                raise ValueError(f"{len(array)} rows are not {len(self.shards)} shards of a batch")
            batch = len(array) // len(self.shards) * self.count
            rows = self.rows(batch)

            def part(index: Any) -> np.ndarray:
                start, stop, _ = index[0].indices(batch)
                first = rows.index(start)
                return array[(slice(first, first + stop - start), *index[1:])]

            sharding = jax.NamedSharding(mesh, spec)
            return jax.make_array_from_callback((batch, *array.shape[1:]), sharding, part)

        return jax.tree.map(put, specs, tree, is_leaf=lambda spec: isinstance(spec, P))


WHOLE = BatchShare()
"""All rows: that of a single process."""


def batch_share(mesh: jax.sharding.Mesh, specs: Any, process: int | None = None) -> BatchShare:
    """The share of a process.

    Args:
      specs: of a batch's arrays; the first entry of all is the same.
      process: its number; None: this one.
    """
    (axes,) = {spec[0] for spec in jax.tree.leaves(specs, is_leaf=lambda s: isinstance(s, P))}
    names = (axes,) if isinstance(axes, str) else axes
    count = int(np.prod([mesh.shape[name] for name in names]))
    process = jax.process_index() if process is None else process
    places: Any = jax.NamedSharding(mesh, P(axes)).devices_indices_map((count,)).items()
    held = {index[0].indices(count)[0] for d, index in places if d.process_index == process}
    return BatchShare(tuple(sorted(held)), count)


def are_several() -> bool:
    """Whether this is one of several processes that have found each other."""
    return (distributed.global_state.num_processes or 1) > 1


def leave(code: int = 0) -> NoReturn:
    """Exits; one of several processes waits for the others only shortly if they may wait for it.

    If process 0 were the first to go, JAX would abort the others before they say what they have to.
    A thread that waits for an announcement would abort this one; so nothing is left to Python.

    Args:
      code: of the exit; 0: the work is done, and the others come to its end too.
    """
    client = distributed.global_state.client
    if client is None or not are_several():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        if code:
            client.wait_at_barrier("sora_jax/leave", 1000 * LEAVE_SECONDS)
        jax.distributed.shutdown()
    os._exit(code)


def is_first() -> bool:
    """Whether this is process 0, which writes files for all."""
    return jax.process_index() == 0


def fetch(array: jax.Array) -> np.ndarray:
    """The whole of an array that is spread over the processes, on each of them."""
    if not (array.is_fully_addressable or array.is_fully_replicated):
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def agree(answer: bool) -> bool:
    """Process 0's answer, on each process."""
    if jax.process_count() == 1:
        return answer
    return bool(multihost_utils.broadcast_one_to_all(np.array(answer)))


def is_true_everywhere(answer: bool) -> bool:
    """Whether all processes say yes; each of them must ask."""
    if jax.process_count() == 1:
        return answer
    return bool(multihost_utils.process_allgather(np.array(answer)).all())


def announce(name: str, text: str = "1") -> None:
    """Tells the other processes something, from any thread, whatever they are doing."""
    if (client := distributed.global_state.client) is not None:
        client.key_value_set(f"sora_jax/{name}", text, allow_overwrite=True)


def read_announcement(name: str) -> str | None:
    """Waits, in any thread, for what a process announces; None if none can any more."""
    while (client := distributed.global_state.client) is not None:
        try:
            return client.blocking_key_value_get(f"sora_jax/{name}", 1000 * 3600)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                return None
    return None


def wait_for_others(name: str) -> None:
    """Waits until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_meet(name: str) -> bool:
    """Whether all processes come here, within some time; a name serves once.

    None of them needs its devices, in whose programs the others may be waiting for this one.
    """
    client = distributed.global_state.client
    if client is None or not are_several():
        return True
    try:
        client.wait_at_barrier(f"sora_jax/{name}", 1000 * MEETING_SECONDS)
    except jax.errors.JaxRuntimeError:
        return False
    return True


def start_distributed(
    mode: str,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_seconds: int = 60,
) -> None:
    """Initialises JAX on several hosts; call before anything uses a device.

    Args:
      mode: `off`; `on`, which requires a cluster that JAX detects; or `auto`, which is on if
        several processes are likely: on a TPU host, or by the environment variables of Slurm, MPI,
        several slices, torchrun or JAX. (A single process is not initialised: JAX would show it one
        GPU.)
      coordinator: HOST:PORT of process 0, where JAX detects no cluster.
      num_processes: number of processes, with a coordinator.
      process_id: number of this process, with a coordinator.
      heartbeat_seconds: time after which a process that is not heard of is lost, and JAX ends the
        others.

    Raises:
      ValueError: there are several processes, or `mode` is `on`, and JAX detects no cluster; only
        some of the last three are given; or nothing answers at the coordinator's address.
    """
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is for `stopping`
    given = (coordinator, num_processes, process_id)
    if any(value is not None for value in given):
        if any(value is None for value in given) or mode == "off":
            raise ValueError(
                "--coordinator, --num_processes and --process_id belong together, without "
                "--distributed=off"
            )
        if not re.fullmatch(r"\S+:\d+", coordinator or ""):
            raise ValueError(f"--coordinator is {coordinator!r}: give it HOST:PORT of process 0")
        if process_id:
            _wait_for_coordinator(str(coordinator))
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            cluster_detection_method="deactivate",
            heartbeat_timeout_seconds=heartbeat_seconds,
        )
        return
    counts = {name: int(os.environ.get(name) or 1) for name in PROCESS_COUNT_VARIABLES}
    several = [f"{name}={count}" for name, count in counts.items() if count > 1]
    if address := os.environ.get("JAX_COORDINATOR_ADDRESS"):
        several.append(f"JAX_COORDINATOR_ADDRESS={address}")
    tpu = bool(glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))
    if mode == "off" or (mode == "auto" and not several and not tpu):
        return
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=heartbeat_seconds)
    except ValueError as error:
        if several or mode == "on":
            found = f", and {several[0]} says that there are several processes" if several else ""
            raise ValueError(
                f"JAX detects no cluster (TPU pod, Slurm, Open MPI){found}: give each process "
                "--coordinator=HOST:PORT, --num_processes and --process_id, or --distributed=off"
            ) from error
        if "coordinator_address" not in str(error):
            raise


def _wait_for_coordinator(address: str) -> None:
    """Waits until something answers there: JAX would wait, too, and then abort without a line."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
                return
        except (OSError, OverflowError) as error:
            if time.monotonic() > deadline:
                raise ValueError(
                    f"nothing answers at --coordinator={address} ({error}): give it HOST:PORT of "
                    "process 0, and start that, too"
                ) from error
        time.sleep(0.2)
