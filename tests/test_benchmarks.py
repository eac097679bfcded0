"""Every benchmark can be imported where what it compares with is installed."""

import importlib
import pathlib

import pytest

import experiments.benchmarks

FOLDER = pathlib.Path(experiments.benchmarks.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
REFERENCES = {"torch", "diffusers", "transformers"}


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_is_imported(name):
    try:
        module = importlib.import_module(f"experiments.benchmarks.{name}")
    except ModuleNotFoundError as error:
        if error.name not in REFERENCES:
            raise
        pytest.skip(f"{error.name} is not installed: pip install -e '.[reference]'")
    assert callable(module.main) and "Command:" in module.__doc__ and "Bar" in module.__doc__
