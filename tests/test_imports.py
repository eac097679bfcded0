"""Who may import whom: the contracts in pyproject.toml, checked by import-linter."""

import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
WRONG = """
[importlinter]
root_package = sora_jax

[importlinter:contract:wrong]
name = Evaluation imports no model
type = forbidden
source_modules = sora_jax.evals
forbidden_modules = sora_jax.models
"""


def lint_imports(config):
    program = "from importlinter.cli import lint_imports_command as run; run()"
    command = [sys.executable, "-c", program, str(config), "--no-cache"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_contracts_are_kept():
    done = lint_imports(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Contracts: 7 kept, 0 broken." in done.stdout


def test_every_module_of_sora_jax_has_its_place_in_the_contracts():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    listed = {
        name
        for contract in config["contracts"]
        if "only the commands" in contract["name"]
        for name in (*contract["source_modules"], *contract["forbidden_modules"])
    }
    paths = [*(ROOT / "sora_jax").glob("*.py"), *(ROOT / "sora_jax").glob("*/__init__.py")]
    modules = [f"sora_jax.{p.parent.name if p.stem == '__init__' else p.stem}" for p in paths]
    modules = {name for name in modules if name != "sora_jax.sora_jax"}
    assert modules <= listed


def test_a_contract_that_the_code_breaks_is_seen(tmp_path):
    config = tmp_path / "wrong.ini"
    config.write_text(WRONG)
    done = lint_imports(config)
    assert done.returncode == 1 and "0 kept, 1 broken" in done.stdout
