"""Work that processes do each by itself, and then wait for each other without their devices.

What is shared goes through the coordination service: no process enters a program that spans the
others' devices, which would wait for them, and none waits in one while others work for long.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from sora_jax import processes, sharding, stopping
from sora_jax.progress import first_line

Result = TypeVar("Result")
_numbers = itertools.count()  # of the calls, alike in all processes


def everywhere(work: Callable[[], Result]) -> Result:
    """Does work in each process, on a mesh of its own devices, and waits until all are done.

    Call it in all processes; a single one just does the work.

    Raises:
      ValueError: the work of another process failed; the message is that of its error.
    """
    if jax.process_count() == 1:
        return work()
    key = _next_key()
    result = _do(key, work, lambda result: None)
    _wait(key, range(jax.process_count()))
    return result


def on_first(work: Callable[[], Any]) -> Any:
    """Does work in process 0, on a mesh of its own devices, while the others wait.

    Call it in all processes; a single one just does the work.

    Args:
      work: a function whose result is a value of JSON.

    Returns:
      The result of process 0, on each of them.

    Raises:
      ValueError: the work failed, and this is another process; the message is that of its error.
    """
    if jax.process_count() == 1:
        return work()
    key = _next_key()
    if jax.process_index() == 0:
        return _do(key, work, lambda result: result)
    (result,) = _wait(key, [0])
    return result


def to_own_devices(tree: Any) -> Any:
    """Replicated arrays of all processes' devices on the current mesh, of this one's devices."""
    return jax.tree.map(lambda array: sharding.put(array, sharding.P()), tree)


def _next_key() -> str:
    return f"apart/{next(_numbers)}"


def _do(key: str, work: Callable[[], Result], shared: Callable[[Result], Any]) -> Result:
    """Does the work and tells the others, of a failure too."""
    told: dict[str, Any] = {"error": "another process was interrupted"}
    try:
        with sharding.use_own_mesh():
            result = work()
        told = {"result": shared(result)}
        return result
    except stopping.Stopped:
        told = {"stopped": True}
        raise
    except Exception as error:
        told = {"error": first_line(error)}
        raise
    finally:
        processes.announce(f"{key}/{jax.process_index()}", json.dumps(told))


def _wait(key: str, workers: Sequence[int]) -> list[Any]:
    """What processes tell of their work, when all of them are done.

    Raises:
      ValueError: one of them failed.
      stopping.Stopped: one of them was stopped by SIGTERM.
    """
    texts = [processes.read_announcement(f"{key}/{worker}") for worker in workers]
    told = [json.loads(text) if text else {"error": "another process is gone"} for text in texts]
    for each in told:
        if "stopped" in each:
            raise stopping.Stopped()
        if "error" in each:
            raise ValueError(each["error"])
    return [each["result"] for each in told]
