"""Flags of the processes and devices that a command runs on."""

from collections.abc import Callable
from typing import Any

from absl import flags

from sora_jax import processes, progress, stopping
from sora_jax.sharding import AXES, MeshConfig

flags.disclaim_key_flags()  # they are those of the command that defines them

PROCESS_FLAGS = ("distributed", "coordinator", "num_processes", "process_id", "heartbeat_seconds")
FLAGS = (*PROCESS_FLAGS, "mesh")
"""Names of all flags of processes and devices."""


def define_process_flags() -> None:
    """Flags of `start`."""
    flags.DEFINE_enum(
        "distributed", "auto", ["auto", "on", "off"], "Multi-host initialisation: auto, on or off."
    )
    flags.DEFINE_string(
        "coordinator", None, "HOST:PORT of process 0, where JAX detects no cluster."
    )
    flags.DEFINE_integer("num_processes", None, "Number of processes, with --coordinator.", 1)
    flags.DEFINE_integer("process_id", None, "This process's number, from 0.", 0)
    flags.DEFINE_integer(
        "heartbeat_seconds", 60, "Silence after which a process counts as lost, and all end.", 1
    )


def start() -> None:
    """Joins the other processes; call before anything uses a device. See `start_distributed`."""
    values: Any = [flags.FLAGS[name].value for name in PROCESS_FLAGS]
    processes.start_distributed(*values)
    stopping.watch_others()


def progress_of(things: str) -> Callable[[int, int], None]:
    """As `progress.progress_of`, on process 0 alone."""
    return progress.progress_of(things) if processes.is_first() else lambda done, total: None


def define_mesh_flag() -> None:
    """The flag of `mesh_config`."""
    flags.DEFINE_list(
        "mesh",
        ["-1", "1", "1", "1"],
        f"Devices along the axes {', '.join(AXES)}; -1 of the first takes those that are left.",
    )


def mesh_config() -> MeshConfig:
    """The mesh that the flag names.

    Raises:
      ValueError: it does not name four numbers.
    """
    given: Any = flags.FLAGS["mesh"].value
    try:
        data, fsdp, context, tensor = map(int, given)
    except ValueError as error:
        raise ValueError(
            f"--mesh={','.join(given)}: give four whole numbers, for {', '.join(AXES)}"
        ) from error
    return MeshConfig(data, fsdp, context, tensor)
