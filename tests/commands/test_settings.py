"""Every setting of every experiment can be overridden on the command line, and is explained."""

import pathlib
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from sora_jax import config
from sora_jax.diffusion.predictions import PREDICTIONS
from sora_jax.models.dit_config import REMAT
from sora_jax.training.experiments import PRODUCTS, parse
from sora_jax.training.optimizer import AVERAGES, OPTIMIZERS
from sora_jax.training.schedules import SCHEDULES
from tests.processes import run_command

FOLDER = pathlib.Path(__file__).parents[2] / "experiments"
FILES = [*FOLDER.glob("*.py"), *FOLDER.glob("pods/*.py")]
FILES = sorted(path for path in FILES if "def get_config(" in path.read_text())
CHOICES = {
    "prediction": PREDICTIONS,
    "dtype": config.DTYPES,
    "remat": REMAT,
    "name": OPTIMIZERS,
    "features": ("auto", "hed", "gradient"),
    "schedule": SCHEDULES,
    "average": AVERAGES,
    "products": PRODUCTS,
}
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ONE_VALUE = {
    ("vae", "config.optimizer.name"),
    ("vae", "config.optimizer.micro_batches"),
    ("v5p_sample_minute", "config.optimizer.micro_batches"),  # of one row
    ("world_dit", "config.mesh.tensor"),  # 5 heads and 3 of the text encoder: no common factor
    ("world_dit", "config.known.replaced"),  # it is trained with known patches
}
"""Kind or file of the experiment, and what has one legal value there: another is refused."""


COMPANIONS = {
    "config.frozen_encoder": "--config.init_from=runs/vae",
    "config.init_new": "--config.init_from=runs/dit",
    "config.evals.every": "--config.loop.save_every=1",
    "config.held_out.every": "--config.loop.save_every=1",
    "config.model.padded_text_length": "--config.model.text_embed_dim=4096",
    "config.packing.rows_per_device": "--config.packing.rows=64",
}
"""What has to be set, too, before a setting may have another value."""


def parse_command_line(monkeypatch, path, *overrides):
    """The experiment that `sora-jax train --config=PATH OVERRIDE...` trains."""
    arguments = ["sora-jax", f"--config={path}", *overrides]
    monkeypatch.setattr(sys, "argv", arguments)  # where config_flags looks for overrides
    values = flags.FlagValues()
    flag = config_flags.DEFINE_config_file("config", None, lock_config=True, flag_values=values)
    values(arguments)
    return parse(flag.value.to_dict())


def other_values(setting):
    """Values of the setting's type other than its own; not all of them fit the other settings."""
    value, name = setting.value, setting.path.rpartition(".")[2]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return [v for v in CHOICES.get(name, ("other",)) if v != value]
    if isinstance(value, int):
        return [v for v in (2 * value, value + 1, value + 4, value // 2, 2) if v != value]
    if isinstance(value, float):
        return [v for v in (value / 2, value / 2 + 0.1, 2 * value) if v != value]
    if name == "more_data":
        return [(("elsewhere", 0.5),)]
    if name == "log_to":
        return [("tensorboard",)]
    if name == "init_new":
        return [("patch_in",)]
    if name == "patch":
        return [(1, 2 * value[1], 2 * value[2])]
    if name == "strides":
        return [
            v for v in (value[::-1], ((2, 2),) * len(value), ((1, 1),) * len(value)) if v != value
        ]
    return [tuple(2 * v for v in value)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_setting_can_be_overridden(path, monkeypatch):
    base = parse_command_line(monkeypatch, path)
    settings = list(config.settings(base))
    assert len(settings) > 40
    for setting in settings:
        refused, companions = [], COMPANIONS.get(setting.path, "").split()
        start = list(config.settings(parse_command_line(monkeypatch, path, *companions)))
        for value in other_values(setting):
            override = f"--{setting.path}={value}"
            try:
                changed = parse_command_line(monkeypatch, path, *companions, override)
            except ValueError as error:
                refused.append(str(error))
                continue
            changes = [
                (after.path, after.value)
                for before, after in zip(start, config.settings(changed), strict=True)
                if before.value != after.value
            ]
            assert changes == [(setting.path, value)]
            break
        else:
            either = {(base.kind, setting.path), (path.stem, setting.path)}
            name = setting.path.removeprefix("config.")
            assert either & ONE_VALUE and name in refused[0], refused


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_setting_is_explained(path, monkeypatch):
    for setting in config.settings(parse_command_line(monkeypatch, path)):
        assert len(setting.meaning.split()) >= 3, setting.path


def test_help_lists_the_settings_with_their_overrides():
    command = ["train", "--help", f"--config={FOLDER / 'demo_dit.py'}"]
    done = run_command(*command, "--config.mesh.fsdp=4")
    assert "--config.mesh.fsdp=4  (int)" in done.stdout
    assert "--config.model.text.width=96  (int)" in done.stdout
    assert "weights cut along the model width" in done.stdout
    wrong = run_command(*command, "--config.mesh.fdsp=4", code=2)
    assert wrong.stderr.count("\n") == 1
    assert "no config key 'fdsp': did you mean 'fsdp'? `sora-jax" in wrong.stderr
