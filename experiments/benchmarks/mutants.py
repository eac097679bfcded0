"""Small changes to the code, each of which a test must notice.

Command:  python -m experiments.benchmarks.mutants [--mutants=100] [--sample_seed=0]
            [--mutated=PART_OF_A_PATH] [--at_once=2] [--verdicts=FILE]
Bars:     85 % of the mutants of `MODULES` are killed: a test of `TESTS` fails.

Needs cosmic-ray (pip install cosmic-ray), whose operators make the mutants: another number, another
arithmetic operator, another comparison, a condition turned round, a loop that does not run. The
mutants are a random sample of all that are within functions; copies of the tracked files are
changed, and their tests are run until one fails. A mutant whose tests take three times as long as
without it counts as killed. With --verdicts, each verdict is added to that file, and a call that is
given it again, on the same commit, goes on from there. Constants of modules and defaults of
settings are not mutated: they are choices, which a test could only repeat.
"""

import difflib
import importlib.util
import json
import os
import pathlib
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any, NamedTuple

from absl import app, flags

from experiments.benchmarks import finish, table
from sora_jax.provenance import commit

COUNT = flags.DEFINE_integer("mutants", 100, "Mutants to try.", lower_bound=1)
SEED = flags.DEFINE_integer("sample_seed", 0, "Of the sample.")
ONLY = flags.DEFINE_string("mutated", "", "Mutate only files whose path has this in it.")
AT_ONCE = flags.DEFINE_integer("at_once", 2, "Mutants tried at the same time.", lower_bound=1)
VERDICTS = flags.DEFINE_string("verdicts", None, "File of verdicts, to go on from.")
BAR = 0.85
STEP = ("tests/training/test_step.py", "tests/training/test_updates.py")
SAMPLE = ("tests/generation/test_generate.py", "tests/generation/test_devices.py")
LOOP = ("tests/training/test_loop.py", "tests/test_stopping.py")
SAVES = ("tests/training/test_checkpoint.py", "tests/training/test_slow_saves.py")
FOLDER = (*SAVES, "tests/training/test_run_folder.py", *LOOP)
MODULES: dict[str, tuple[str, ...]] = {
    "data_pipelines/loader.py": (
        *("tests/data_pipelines/test_loader.py", "tests/data_pipelines/test_row_stream.py"),
        "tests/data_pipelines/test_caption_embeddings.py",
        "tests/data_pipelines/test_online_embeddings.py",
    ),
    "data_pipelines/crops.py": ("tests/data_pipelines/test_crops.py",),
    "data_pipelines/encode_clips.py": ("tests/data_pipelines/test_encode.py",),
    "data_pipelines/encode_plan.py": ("tests/data_pipelines/test_encode_plan.py",),
    "data_pipelines/online_embeddings.py": ("tests/data_pipelines/test_online_embeddings.py",),
    "sora_jax/codec/batch_encoder.py": ("tests/codec/test_batch_encoder.py",),
    "data_pipelines/mixture.py": ("tests/data_pipelines/test_loader.py",),
    "data_pipelines/packing.py": ("tests/data_pipelines/test_packing.py",),
    "data_pipelines/row_stream.py": (
        *("tests/data_pipelines/test_row_stream.py", "tests/training/test_other_steps.py"),
    ),
    "sora_jax/diffusion": ("tests/diffusion", *STEP, *SAMPLE),
    "sora_jax/generation": ("tests/generation", "tests/commands/test_sample.py"),
    "sora_jax/kernels/products.py": ("tests/kernels/test_products.py",),
    "sora_jax/kernels/reference.py": ("tests/kernels",),
    "sora_jax/kernels/tiled.py": ("tests/kernels", "tests/scaling/test_flops.py"),
    "sora_jax/patches.py": ("tests/test_patches.py",),
    "sora_jax/rows.py": (
        *("tests/data_pipelines/test_loader.py", "tests/models/test_packed.py", *STEP, *SAMPLE),
    ),
    "sora_jax/training/changes.py": ("tests/training/test_changes.py",),
    "sora_jax/training/checkpoint.py": FOLDER,
    "sora_jax/training/checkpoint_io.py": FOLDER,
    "sora_jax/training/clock.py": ("tests/training/test_speed.py",),
    "sora_jax/training/diffusion_task.py": (*STEP, "tests/training/test_micro_batches.py"),
    "sora_jax/training/compiled_step.py": (*LOOP, "tests/test_processes.py"),
    "sora_jax/training/digests.py": ("tests/training/test_checkpoint.py",),
    "sora_jax/training/experiments.py": (
        *("tests/commands/test_settings.py", "tests/test_config.py", *STEP),
        *("tests/commands/test_train.py", "tests/training/test_vae_loss.py"),
    ),
    "sora_jax/training/guard.py": ("tests/training/test_guard.py", *LOOP),
    "sora_jax/training/known_patches.py": ("tests/training/test_known_patches.py", *STEP),
    "sora_jax/training/log_writers.py": ("tests/training/test_log_writers.py",),
    "sora_jax/training/loop.py": (*LOOP, "tests/training/test_other_steps.py"),
    "sora_jax/training/metrics.py": FOLDER,
    "sora_jax/training/micro_batches.py": ("tests/training/test_micro_batches.py",),
    "sora_jax/training/muon.py": ("tests/training/test_muon.py", *STEP),
    "sora_jax/training/optimizer.py": STEP,
    "sora_jax/training/profile.py": ("tests/training/test_speed.py",),
    "sora_jax/training/progress.py": (*LOOP, *FOLDER[:3], "tests/commands/test_held_out.py"),
    "sora_jax/training/run_folder.py": (*FOLDER, "tests/commands/test_runs.py"),
    "sora_jax/training/schedules.py": ("tests/training/test_schedules.py",),
    "sora_jax/training/speed.py": ("tests/training/test_speed.py",),
    "sora_jax/training/task.py": LOOP,
    "sora_jax/training/vae_loss.py": ("tests/training/test_vae_loss.py",),
    "sora_jax/training/vae_task.py": (
        *("tests/training/test_vae_loss.py", "tests/models/test_vae.py", *LOOP),
    ),
    "sora_jax/training/warm_start.py": ("tests/commands/test_first_states.py",),
    "sora_jax/training/watchdog.py": FOLDER,
}
"""What is mutated, and the tests that must notice, the likeliest first."""
ALWAYS = ("tests/test_same_numbers.py",)
OPERATORS = (
    *("NumberReplacer", "AddNot", "ZeroIterationForLoop", "ReplaceTrueWithFalse"),
    *(
        "ReplaceFalseWithTrue",
        "ReplaceAndWithOr",
        "ReplaceOrWithAnd",
        "ReplaceUnaryOperator_Delete",
    ),
    *("ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add"),
    *("ReplaceBinaryOperator_Mul_Div", "ReplaceBinaryOperator_Div_Mul"),
    *("ReplaceBinaryOperator_FloorDiv_Mul", "ReplaceBinaryOperator_Mod_FloorDiv"),
    *("ReplaceBinaryOperator_Pow_Mul", "ReplaceComparisonOperator"),
)
"""Beginnings of the names of operators that are used."""


class Mutant(NamedTuple):
    """One change: the occurrence of an operator in a file."""

    path: str
    operator: str
    occurrence: int
    tests: tuple[str, ...]


def find_mutants(root: pathlib.Path) -> list[Mutant]:
    """All mutants of `MODULES`; type annotations and docstrings have none of these operators."""
    import parso.tree
    from cosmic_ray import ast, plugins

    found = []
    for module, tests in MODULES.items():
        path = root / module
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            nodes = list(ast.ast_nodes(ast.get_ast(file.read_text())))
            for name in plugins.operator_names():
                if not name.removeprefix("core/").startswith(OPERATORS):
                    continue
                operator = plugins.get_operator(name)()
                # Occurrences are numbered in the order of the nodes.
                owners = [node for node in nodes for _ in operator.mutation_positions(node)]
                relative = str(file.relative_to(root))
                found += [
                    Mutant(relative, name, i, (*tests, *ALWAYS))
                    for i, node in enumerate(owners)
                    if parso.tree.search_ancestor(node, "funcdef", "lambdef")
                ]
    return [mutant for mutant in found if ONLY.value in mutant.path]


def mutate(root: pathlib.Path, mutant: Mutant) -> tuple[str, str]:
    """The code before and after."""
    from cosmic_ray import mutating, plugins

    code = (root / mutant.path).read_text()
    operator = plugins.get_operator(mutant.operator)()
    return code, mutating.mutate_code(code, operator, mutant.occurrence)


def passes(root: pathlib.Path, tests: tuple[str, ...], timeout: float) -> bool:
    """Whether all tests pass in this time; programs that a mutant does not change are cached."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTEST_XDIST_WORKER": "gw0"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(root.parent / "cache")}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONPATH": "."}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class Bench:
    """A copy of the tracked files, in which one mutant at a time is tried."""

    def __init__(self, root: pathlib.Path, seconds: dict[tuple[str, ...], float]):
        """Copies.

        Args:
          seconds: how long tests take without a mutant; those that are missing are added.
        """
        self._root, self._seconds = root, seconds
        tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
        for name in tracked.stdout.splitlines():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, root / name)

    def survives(self, mutant: Mutant) -> tuple[bool, list[str]]:
        """Whether all tests pass with the mutant, and what it changes.

        Raises:
          ValueError: the tests fail without it.
        """
        if mutant.tests not in self._seconds:
            start = time.monotonic()
            if not passes(self._root, mutant.tests, 3600):
                raise ValueError(f"the tests {' '.join(mutant.tests)} fail without a mutant")
            self._seconds[mutant.tests] = time.monotonic() - start
        before, after = mutate(self._root, mutant)
        (self._root / mutant.path).write_text(after)
        survived = passes(self._root, mutant.tests, 3 * self._seconds[mutant.tests] + 60)
        (self._root / mutant.path).write_text(before)
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
        kept = [line for line in lines if line[0] in "+-@" and line[:3] not in ("+++", "---")]
        return survived, kept


Verdict = tuple[Mutant, bool, list[str]]
"""A mutant, whether it survives, and what it changes."""


def read_verdicts() -> Iterator[Verdict]:
    """Verdicts of earlier calls. Raises ValueError if they are of another commit, or of none."""
    here = commit()
    if VERDICTS.value and here.endswith("+"):
        raise ValueError("files differ from the commit: --verdicts is for a clean checkout")
    if VERDICTS.value and pathlib.Path(VERDICTS.value).exists():
        for line in pathlib.Path(VERDICTS.value).read_text().splitlines():
            of, (*where, tests), survived, changed = json.loads(line)
            if of != here:
                raise ValueError(f"{VERDICTS.value} is of commit {of}: give another file")
            yield Mutant(*where, tuple(tests)), survived, changed


def try_all(sample: list[Mutant], folder: pathlib.Path) -> Iterator[Verdict]:
    """Verdicts as they are found; those that are known first.

    Raises:
      ValueError: tests fail without a mutant; those that have not begun are left out.
    """
    known = [verdict for verdict in read_verdicts() if verdict[0] in sample]
    yield from known
    for verdict in _try(set(sample) - {mutant for mutant, *_ in known}, folder):
        if VERDICTS.value:
            with open(VERDICTS.value, "a") as file:
                file.write(json.dumps((commit(), *verdict)) + "\n")
        yield verdict


def _try(sample: set[Mutant], folder: pathlib.Path) -> Iterator[Verdict]:
    seconds: dict[tuple[str, ...], float] = {}
    benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    for number in range(AT_ONCE.value):
        benches.put(Bench(folder / str(number) / "copy", seconds))

    def attempt(mutant: Mutant) -> Verdict:
        bench = benches.get()
        try:
            return mutant, *bench.survives(mutant)
        finally:
            benches.put(bench)

    with futures.ThreadPoolExecutor(AT_ONCE.value) as pool:
        for done in futures.as_completed(
            [pool.submit(attempt, mutant) for mutant in sorted(sample)]
        ):
            if done.exception():
                pool.shutdown(wait=False, cancel_futures=True)
            yield done.result()


def main(_: list[str]) -> None:
    """Tries the sample, prints a table and what survived."""
    if importlib.util.find_spec("cosmic_ray") is None:
        sys.exit("cosmic-ray is not installed: pip install cosmic-ray")
    mutants = find_mutants(pathlib.Path())
    sample = random.Random(SEED.value).sample(mutants, min(COUNT.value, len(mutants)))
    killed: dict[str, list[bool]] = {}
    survivors: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for mutant, survived, changed in try_all(sample, pathlib.Path(folder)):
                killed.setdefault(mutant.path, []).append(not survived)
                if survived:
                    survivors.append({"path": mutant.path, "change": changed})
                said = "SURVIVED" if survived else "killed"
                print(sum(map(len, killed.values())), said, mutant.path, *changed, flush=True)
        except ValueError as error:
            sys.exit(str(error))
    total = [k for each in killed.values() for k in each]
    if not total:
        sys.exit(f"--mutated={ONLY.value} is in the path of no mutated file")
    share = sum(total) / len(total)
    rows = [(path, len(each), sum(each)) for path, each in sorted(killed.items())]
    print(table(("file", "mutants", "killed"), [*rows, ("all", len(total), sum(total))]))
    figures = {"seed": SEED.value, "only": ONLY.value, "mutants_in_all": len(mutants)}
    figures |= {"tried": len(total), "killed": share, "files": rows, "survivors": survivors}
    print(json.dumps(figures["survivors"], indent=1))
    finish("mutants", figures, [f"{share:.0%} killed, {BAR:.0%} wanted"] if share < BAR else [])


if __name__ == "__main__":
    app.run(main)
