"""Small changes to the code, each of which a test must notice.

Command:  python -m experiments.benchmarks.mutants [--mutants=100] [--sample_seed=0]
            [--mutated=PART_OF_A_PATH]
Bars:     85 % of the mutants of `MODULES` are killed: a test of `TESTS` fails.

Needs cosmic-ray (pip install cosmic-ray), whose operators make the mutants: another number, another
arithmetic operator, another comparison, a condition turned round, a loop that does not run. The
mutants are a random sample of all; a copy of the tracked files is changed, and its tests are run
until one fails. A mutant whose tests take three times as long as without it counts as killed.
"""

import difflib
import importlib.util
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

from absl import app, flags

from experiments.benchmarks import finish, table

COUNT = flags.DEFINE_integer("mutants", 100, "Mutants to try.", lower_bound=1)
SEED = flags.DEFINE_integer("sample_seed", 0, "Of the sample.")
ONLY = flags.DEFINE_string("mutated", "", "Mutate only files whose path has this in it.")
BAR = 0.85
STEP = ("tests/training/test_step.py", "tests/training/test_updates.py")
SAMPLE = ("tests/generation/test_generate.py", "tests/generation/test_devices.py")
MODULES: dict[str, tuple[str, ...]] = {
    "sora_jax/diffusion": ("tests/diffusion", *STEP, *SAMPLE),
    "sora_jax/training/schedules.py": ("tests/training/test_schedules.py",),
    "sora_jax/training/optimizer.py": STEP,
    "sora_jax/training/muon.py": ("tests/training/test_muon.py", *STEP),
    "sora_jax/training/guard.py": ("tests/training/test_guard.py", "tests/training/test_loop.py"),
    "sora_jax/training/micro_batches.py": ("tests/training/test_micro_batches.py",),
    "sora_jax/training/known_patches.py": ("tests/training/test_known_patches.py", *STEP),
    "sora_jax/training/diffusion_task.py": (*STEP, "tests/training/test_micro_batches.py"),
    "sora_jax/training/changes.py": ("tests/training/test_changes.py",),
    "sora_jax/training/warm_start.py": ("tests/commands/test_first_states.py",),
    "sora_jax/training/digests.py": ("tests/training/test_checkpoint.py",),
    "sora_jax/generation": ("tests/generation", "tests/commands/test_sample.py"),
    "sora_jax/patches.py": ("tests/test_patches.py",),
    "sora_jax/rows.py": (
        *("tests/data_pipelines/test_loader.py", "tests/models/test_packed.py", *STEP, *SAMPLE),
    ),
    "data_pipelines/packing.py": ("tests/data_pipelines/test_packing.py",),
    "data_pipelines/row_stream.py": (
        *("tests/data_pipelines/test_row_stream.py", "tests/training/test_other_steps.py"),
    ),
    "data_pipelines/loader.py": ("tests/data_pipelines/test_loader.py",),
    "data_pipelines/mixture.py": ("tests/data_pipelines/test_loader.py",),
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
                count = sum(len(list(operator.mutation_positions(node))) for node in nodes)
                relative = str(file.relative_to(root))
                found += [Mutant(relative, name, i, (*tests, *ALWAYS)) for i in range(count)]
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


def main(_: list[str]) -> None:
    """Tries the sample, prints a table and what survived."""
    if importlib.util.find_spec("cosmic_ray") is None:
        sys.exit("cosmic-ray is not installed: pip install cosmic-ray")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "copy"
        tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
        for name in tracked.stdout.splitlines():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, root / name)
        mutants = find_mutants(root)
        sample = random.Random(SEED.value).sample(mutants, min(COUNT.value, len(mutants)))
        seconds: dict[tuple[str, ...], float] = {}
        killed: dict[str, list[bool]] = {}
        survivors: list[dict[str, Any]] = []
        for number, mutant in enumerate(sample, 1):
            if mutant.tests not in seconds:
                start = time.monotonic()
                if not passes(root, mutant.tests, 3600):
                    sys.exit(f"the tests {' '.join(mutant.tests)} fail without a mutant")
                seconds[mutant.tests] = time.monotonic() - start
            before, after = mutate(root, mutant)
            (root / mutant.path).write_text(after)
            survived = passes(root, mutant.tests, 3 * seconds[mutant.tests] + 60)
            (root / mutant.path).write_text(before)
            killed.setdefault(mutant.path, []).append(not survived)
            lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0))
            changed = [
                line for line in lines if line[0] in "+-@" and line[:3] not in ("+++", "---")
            ]
            if survived:
                survivors.append({"path": mutant.path, "change": changed})
            print(number, "SURVIVED" if survived else "killed", mutant.path, *changed, flush=True)
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
