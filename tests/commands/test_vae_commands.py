"""What people do with an autoencoder on the command line, in small: import, train on, score."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from sora_jax import media
from sora_jax.interop import tensors
from tests.interop.reference import SMALLEST, drawn, their_config

pytestmark = pytest.mark.slow

EXPERIMENT = """
from experiments import vae_films


def get_config():
    config = vae_films.get_config("debug")
    config.model.latent_channels, config.model.patch, config.model.blocks = 3, 1, 2
    config.model.channels, config.model.strides = (4, 8, 8), ((1, 2), (2, 2))
    config.model.principal = config.model.neighbours = False
    config.loss.adversarial, config.loss.features = 0.1, "gradient"
    config.crops = ({"batch": 2, "frames": 3, "height": 16, "width": 16},)
    config.watch = 1
    return config
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with weights in Wan's layout, clips, and an experiment that fits both."""
    folder = tmp_path_factory.mktemp("vae")
    theirs = folder / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text(json.dumps(their_config(SMALLEST)))
    data = safetensors.numpy.save(drawn(their_config(SMALLEST)))
    (theirs / f"{tensors.STEM}.safetensors").write_bytes(data)
    (folder / "experiment.py").write_text(EXPERIMENT)
    run("worlds", f"--output={folder / 'data'}", "--clips=ballistics:6,painter:6")
    run("import", f"--input={theirs}", f"--output={folder / 'imported'}")
    return folder


def run(*arguments, code=0):
    """What `sora-jax` prints."""
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-m", "sora_jax.main", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_weights_go_out_as_they_came_in(folder):
    run("export", f"--checkpoint={folder / 'imported'}", f"--output={folder / 'out'}")
    found = tensors.read_tensors(folder / "out")
    for name, value in drawn(their_config(SMALLEST)).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    again = run("import", f"--input={folder / 'out'}", f"--output={folder / 'imported'}", code=2)
    assert "imported holds a run: choose another folder" in again


def test_a_film_goes_through(folder):
    frames = np.random.default_rng(0).integers(0, 256, (4, 18, 30, 3), np.uint8)
    media.write_video(folder / "film.mp4", frames, 8)
    run(
        *("reconstruct", f"--vae={folder / 'imported'}", f"--input={folder / 'film.mp4'}"),
        f"--output={folder / 'made.mp4'}",
    )
    made, fps = media.read_video(folder / "made.mp4")
    assert made.shape == frames.shape and fps == 8


def test_training_goes_on_from_imported_weights_and_shows_what_it_sees(folder):
    train = ["train", f"--config={folder / 'experiment.py'}", f"--config.data={folder / 'data'}"]
    refused = run(*train, f"--workdir={folder / 'imported'}", code=2)
    assert "holds imported weights" in refused and "--config.start" in refused
    run(*train, f"--workdir={folder / 'run'}", f"--config.start={folder / 'imported'}")
    lines = [json.loads(x) for x in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    seen = [line for line in lines if "psnr_db painter" in line]
    assert [line["step"] for line in seen] == [2, 4] and "psnr_db ballistics" in seen[0]
    strips = sorted(path.name for path in (folder / "run" / "strips").iterdir())
    assert strips == ["0000002.png", "0000004.png"]
    changed = run(*train, f"--workdir={folder / 'run'}", "--config.loss.adversarial=0.0", code=2)
    assert "holds a run with another config.loss.adversarial" in changed


def test_scores_are_written(folder):
    run(
        *("eval-vae", f"--checkpoint={folder / 'imported'}", f"--data={folder / 'data'}"),
        *("--split=validation", "--clips=1", f"--output={folder / 'scores'}"),
    )
    scores = json.loads((folder / "scores" / "eval.json").read_text())
    assert "ballistics" in json.dumps(scores)
    assert (folder / "scores" / "index.html").exists() and (
        folder / "scores" / "strip.png"
    ).exists()
