"""The command line: `sora-jax COMMAND [TASK] [--flag=value ...]`.

Each command is a module of `sora_jax.commands` with its flags and a `main()`. A module with `TASKS`
takes the name of one of them, and its `main` too.
"""

import importlib
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from absl import flags, logging

from sora_jax.progress import first_line

TRACEBACK = flags.DEFINE_bool("traceback", False, "Print the full traceback of an error.")

COMMANDS = {
    "worlds": "simulate clips with captions and ground truth",
    "sources": "clips from archives of real films and pictures",
    "ingest": "films and pictures of your own to filtered clips",
    "encode": "clips to latents and a tokenizer, for training the transformer",
    "train": "train an autoencoder or a diffusion transformer",
    "compile": "compile a training step for a TPU pod, without one",
    "import": "weights of Wan 2.1's autoencoder to a workdir",
    "export": "an autoencoder's weights to the layout of Wan 2.1's",
    "reconstruct": "a video file through an autoencoder and back",
    "eval-vae": "score an autoencoder on held-out clips and write its page",
    "sample": "videos from words, pictures and films",
    "info": "what a model is and how it was trained; how a video file was made",
    "eval": "score a model, or a folder of videos, on simulated worlds",
    "report": "score a trained model and write its gallery page",
}
MODULES = {
    "compile": "compile_pod",
    "import": "import_codec",
    "export": "export_codec",
    "eval-vae": "eval_vae",
}


def usage() -> str:
    """What `sora-jax --help` prints."""
    lines = [f"  {name:11} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: sora-jax COMMAND [--flag=value ...]",
            *("", *lines, ""),
            "sora-jax COMMAND --help says more; --traceback prints the traceback of an error",
        ]
    )


def run(arguments: list[str] | None = None) -> None:
    """Entry point: exits 0, 2 with one line on what to change, or 141 if its reader has gone.

    Other exit codes are in `stopping`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] not in COMMANDS:
        asked_for_help = bool(arguments) and arguments[0] in ("-h", "--help", "help")
        print(usage(), file=sys.stdout if asked_for_help else sys.stderr)
        sys.exit(0 if asked_for_help else 2)
    name, *rest = arguments
    module = importlib.import_module(f"sora_jax.commands.{MODULES.get(name, name)}")
    arguments = [argument for argument in rest if argument not in ("-h", "--help")]
    asked_for_help = len(arguments) < len(rest)
    tasks = getattr(module, "TASKS", ())
    task = arguments[:1] if arguments and arguments[0] in tasks else []
    arguments = arguments[len(task) :]
    from sora_jax import processes, stopping  # they import JAX, which `--help` alone does not need

    try:
        if asked_for_help:
            _print_help(name, module, arguments)
        else:
            _parse_flags(name, arguments, tasks)
            with stopping.listen():
                module.main(*task)
        sys.stdout.flush()
        if processes.are_several():
            processes.leave()
    except BrokenPipeError:  # as `| head` leaves it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0 if asked_for_help else 128 + signal.SIGPIPE)
    except (ValueError, flags.Error, OSError) as error:
        if flags.FLAGS.is_parsed() and TRACEBACK.value:
            raise
        print(f"sora-jax {name}: {first_line(error)}", file=sys.stderr)
        processes.leave(2)
    except stopping.Stopped as stopped:
        print(f"sora-jax {name}: {stopped}", file=sys.stderr)
        processes.leave(stopping.EXIT_CODE)
    except KeyboardInterrupt:
        print(f"sora-jax {name}: stopped", file=sys.stderr)
        processes.leave(1)
    except Exception:
        if not processes.are_several():
            raise
        traceback.print_exc()
        print(
            f"sora-jax {name}: this process fails, or one that it waited for: start all again",
            file=sys.stderr,
        )
        processes.leave(1)


def _print_help(name: str, module: Any, arguments: list[str]) -> None:
    """Prints a command's docstring and flags, and the settings of --config if it is given."""
    print(f"{(module.__doc__ or '').strip()}\n{flags.FLAGS.module_help(module)}")
    if any(argument.startswith("--config=") for argument in arguments):
        _parse_flags(name, arguments)
        print(module.list_settings())


def _parse_flags(name: str, arguments: list[str], tasks: Iterable[str] = ()) -> None:
    """Parses a command's flags; see `run`."""
    try:
        _, *unparsed = flags.FLAGS([f"sora-jax {name}", *arguments])
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        if "ml_collections" not in last.filename:  # the experiment file failed by itself
            raise ValueError(f"the experiment file: {type(error).__name__}: {error}") from error
        key, near = (re.search(p, str(error)) for p in (r"\w+", r'Did you mean "(\w+)"'))
        hint = f"did you mean {near[1]!r}? " if near else ""
        named = (
            f"{key[0]!r}" if key and isinstance(error, (AttributeError, KeyError)) else "of this"
        )
        raise ValueError(
            f"no config key {named}: {hint}`sora-jax {name} --config=FILE --help` lists the keys"
        ) from error
    if unparsed:
        known = f"; tasks are {', '.join(tasks)}" if tasks else ""
        raise ValueError(f"what is {unparsed[0]!r}? Flags are given as --name=value{known}")
    for flag_name in flags.FLAGS:
        value = flags.FLAGS[flag_name].value
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{flag_name}={value}: give it a finite number")
    logging.set_verbosity(logging.ERROR)


if __name__ == "__main__":
    run()
