"""What people do with an autoencoder on the command line, in small: import, train on, score."""

import json
import math
import shutil

import numpy as np
import pytest
import safetensors.numpy

from sora_jax import media
from sora_jax.interop import tensors
from tests.interop.reference import SMALLEST, drawn, their_config
from tests.processes import run_command

pytestmark = pytest.mark.slow

EXPERIMENT = """
from experiments import vae_films


def get_config():
    config = vae_films.get_config("base")
    config.model.latent_channels, config.model.patch, config.model.blocks = 3, 1, 2
    config.model.channels, config.model.strides = (4, 8, 8), ((1, 2), (2, 2))
    config.loss.perceptual, config.optimizer.steps, config.loop.save_every = 0.0, 4, 2
    config.crops = ({"batch": 2, "frames": 3, "height": 16, "width": 16},)
    config.validation_clips = 1
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
    done = run_command(*arguments, code=code)
    return done.stdout + done.stderr


def test_weights_go_out_as_they_came_in(folder):
    run("export", f"--checkpoint={folder / 'imported'}", f"--output={folder / 'out'}")
    found = tensors.read_tensors(folder / "out")
    for name, value in drawn(their_config(SMALLEST)).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    again = run("import", f"--input={folder / 'out'}", f"--output={folder / 'imported'}", code=2)
    assert "imported holds a run: choose another folder" in again


def test_a_film_goes_through(folder):
    """Of odd sides, which the file has not."""
    frames = np.random.default_rng(0).integers(0, 256, (4, 17, 33, 3), np.uint8)
    (folder / "film.mp4").write_bytes(media.encode_video(frames, 8))
    printed = run(
        *("reconstruct", f"--vae={folder / 'imported'}", f"--input={folder / 'film.mp4'}"),
        f"--output={folder / 'made.mp4'}",
    )
    made, fps = media.read_video(folder / "made.mp4")
    assert made.shape == (4, 18, 34, 3) and fps == 8
    assert "4 frames of 18x34, of a film of 17x33, on a canvas of 5 of 20x36" in printed


def test_damaged_weights_are_named(folder):
    """In a process of their own: Orbax leaves tasks behind."""
    shutil.copytree(folder / "imported", folder / "damaged")
    for path in (folder / "damaged" / "checkpoints").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-20])
    said = run("export", f"--checkpoint={folder / 'damaged'}", f"--output={folder / 'x'}", code=2)
    assert f" of {folder / 'damaged'} is damaged (its ema cannot be read): restore one" in said


def test_training_goes_on_from_imported_weights_and_shows_what_it_sees(folder):
    train = ["train", f"--config={folder / 'experiment.py'}", f"--config.data={folder / 'data'}"]
    refused = run(*train, f"--workdir={folder / 'imported'}", code=2)
    assert "holds imported weights" in refused and "--config.init_from" in refused
    run(*train, f"--workdir={folder / 'run'}", f"--config.init_from={folder / 'imported'}")
    lines = [json.loads(x) for x in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    seen = [line for line in lines if "psnr_db painter" in line]
    assert [line["step"] for line in seen] == [2, 4] and "psnr_db ballistics" in seen[0]
    strips = sorted(path.name for path in (folder / "run" / "strips").iterdir())
    assert strips == ["0000002.png", "0000004.png"]
    changed = run(*train, f"--workdir={folder / 'run'}", "--config.model.blocks=1", code=2)
    assert "holds a run with another config.model" in changed


def test_scores_are_written(folder):
    run(
        *("eval-vae", f"--checkpoint={folder / 'imported'}", f"--data={folder / 'data'}"),
        *("--split=validation", "--clips=1", f"--output={folder / 'scores'}"),
    )
    scores = json.loads((folder / "scores" / "eval.json").read_text())
    assert set(scores["sources"]) == {"ballistics", "painter"} and scores["step"] == 0
    page = (folder / "scores" / "index.html").read_text()
    for group in scores["sources"].values():
        for codec in ("autoencoder", "h264"):
            assert 0 < group[codec]["psnr_db"] < 99 and -1 < group[codec]["ssim"] <= 1
            assert f">{group[codec]['psnr_db']:.2f}</td>" in page
        assert 0 < group["kl_bits_per_pixel"] < math.inf
        assert 0 < group["h264"]["bits_per_pixel"] < math.inf
    assert (folder / "scores" / "strip.png").exists()
