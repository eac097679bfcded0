"""The whole path through the command line, in its debug size; and runs that are killed."""

import concurrent.futures
import functools
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from sora_jax import media, sharding
from sora_jax.training import diffusion_task, vae_task
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.experiments import LoopConfig, VAEExperiment
from sora_jax.training.run_folder import load_experiment
from tests.processes import run_command, run_python

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_python(
        "-m", "experiments.demo_train", "--debug", f"--output={folder}"
    ).stdout


def test_report_and_page(demo):
    folder, printed = demo
    report = json.loads((folder / "report.json").read_text())
    assert set(report["vae_psnr_db"]) == {"ballistics", "phyworld"}
    assert 0.5 < report["packing_fill"] <= 1
    (group, *_) = report["groups"]
    assert (group["split"], group["given"]) == ("test", 0)
    for world, scored in group["worlds"].items():
        means = {
            variant: [s["figures"][variant]["mean"] for s in scored["scores"].values()]
            for variant in ("real", "model")
        }
        real, model = ([m for m in column if m is not None] for column in means.values())
        # Four steps learn nothing.
        assert sum(real) / len(real) > 0.9 > 0.6 > sum(model) / len(model), world
    assert set(report["eval_loss"]["by_level"]) == {"0.1", "0.3", "0.5", "0.7", "0.9"}
    # An untrained model predicts v = 0: the error of its velocity is about that of the data.
    assert all(0.3 < loss < 3 for loss in report["eval_loss"]["by_level"].values())
    # The principal axes are fitted at once; four steps at a high rate cost a dB or two.
    for world, db in report["vae_psnr_db"].items():
        assert db > report["linear_psnr_db"][world] - 3
    assert set(report["seconds"]) == {"worlds", "vae", "encode", "dit", "report"}
    assert report["steps"] == {"vae": 4, "dit": 4} and set(report["commits"]) == {
        *("worlds", "vae", "encode", "dit")
    }
    page = (folder / "index.html").read_text()
    assert page.count("<video") >= 10 and "Samples by aspect ratio" in page
    assert "Failures by kind" in page and "control: " in page
    assert "index.html" in printed and "sora-jax sample" in printed


def test_a_second_call_reuses_what_is_there(demo):
    folder, _ = demo
    written = [folder / "dit" / "metrics.jsonl", folder / "index.html"]
    before = [file.stat().st_mtime_ns for file in written]
    printed = run_python("-m", "experiments.demo_train", "--debug", f"--output={folder}").stdout
    assert printed.count("finished in an earlier call") == 5
    assert [file.stat().st_mtime_ns for file in written] == before
    assert "Look at" in printed


def test_the_demo_of_the_shipped_model_is_a_page_and_samples_once(tmp_path):
    def run():
        run_python("-m", "experiments.demo", "--debug", f"--output={tmp_path}")
        files = sorted((tmp_path / "clips").glob("*.mp4"))
        return files, [file.stat().st_mtime_ns for file in files]

    files, first = run()
    assert len(files) == 8  # four shapes of two worlds
    for file in files:
        shape = media.decode_video(file.read_bytes())[0].shape
        assert "x".join(map(str, shape[:3])) == file.stem.split("-")[1]
    page = (tmp_path / "index.html").read_text()
    assert page.count("<video") == 6 and page.count("<img") == 2
    with Image.open(tmp_path / "strips.png") as strips:
        assert strips.size == (2 * 5 * 96 + 8, 4 * (64 + 4))
    assert run()[1] == first


KILL = """
import os
from sora_jax.training import checkpoint
save = checkpoint.Checkpoints.save
def killed(self, state, step, loader):
    save(self, state, step, loader)
    if step == {step}:
        if {committed}: self.wait()
        os._exit(9)
checkpoint.Checkpoints.save = killed
"""


@pytest.mark.parametrize(
    ("kind", "at", "committed"),
    [("dit", 4, False), ("vae", 2, True)],
    ids=["during the last save", "after a save"],
)
def test_a_killed_run_ends_as_if_it_had_not_been_killed(demo, tmp_path, kind, at, committed):
    folder, _ = demo
    data = folder / ("data" if kind == "vae" else "latents")
    arguments = [
        "train",
        f"--config=experiments/demo_{kind}.py:debug",
        f"--config.data={data}",
        "--config.loop.save_every=2",
        "--config.loop.log_every=1",
        f"--workdir={tmp_path / kind}",
    ]
    run_command(*arguments, code=9, prelude=KILL.format(step=at, committed=committed))
    run_command(*arguments)
    straight, resumed = (load(path / kind) for path in (folder, tmp_path))
    assert straight.keys() == resumed.keys()
    for (path, a), b in zip(
        jax.tree.leaves_with_path(straight), jax.tree.leaves(resumed), strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
    lines = [json.loads(x) for x in (tmp_path / kind / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    last = json.loads((folder / kind / "metrics.jsonl").read_text().splitlines()[-1])
    assert lines[-1] == last


def load(workdir: pathlib.Path):
    """The state and the loader's state of a run's last checkpoint."""
    experiment = load_experiment(workdir)
    module = vae_task if isinstance(experiment, VAEExperiment) else diffusion_task
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    with jax.set_mesh(mesh), Checkpoints(workdir, LoopConfig()) as checkpoints:
        like = jax.jit(functools.partial(module.init_state, experiment))()
        state, loader = checkpoints.restore(like)
        assert int(state.step) == 4
        return jax.tree.map(np.asarray, state)._asdict() | {"loader": loader}


def test_sample_is_a_function_of_its_seed_and_of_nothing_else(demo, tmp_path):
    """Neighbours in a row change nothing; odd sizes come back as asked."""
    folder, _ = demo
    shape = ["--frames=6", "--height=50", "--width=37", "--steps=2"]
    model = f"--checkpoint={folder / 'dit'}"
    one = run_command(
        "sample", model, "--prompt=a red ball", *shape, f"--output={tmp_path / 'one.mp4'}"
    )
    assert "one.mp4" in one.stdout
    run_command(
        *("sample", model, "--prompt=a red ball", "--prompt=a blue star bounces", *shape),
        f"--output={tmp_path / 'two.mp4'}",
    )
    run_command(
        *("sample", model, "--prompt=a red ball", "--seed=1", *shape),
        f"--output={tmp_path / 's.mp4'}",
    )
    videos = {p.name: media.read_video(p)[0] for p in tmp_path.glob("*.mp4")}
    assert videos["one.mp4"].shape == (6, 50, 38, 3)  # players want even sides
    np.testing.assert_array_equal(videos["one.mp4"], videos["two-0.mp4"])
    assert (videos["one.mp4"] != videos["s.mp4"]).any()
    assert (videos["two-0.mp4"] != videos["two-1.mp4"]).any()


def assert_refused(cases):
    """Each case (arguments, message) ends with one line on what to change; two run at a time."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda case: run_command(*case[0], code=2), cases))
    for (_, message), done in zip(cases, ends, strict=True):
        assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_sample_says_what_to_change(demo):
    sample = ["sample", f"--checkpoint={demo[0] / 'dit'}"]
    assert_refused(
        [
            ([*sample, "--prompt=a ball", "--height=8"], "height is 8: give it at least 16"),
            (sample, "there are no prompts"),
            ([*sample, "--prompt= "], "sora-jax sample: prompt is empty: describe the video"),
            ([*sample, "--prompt=a ball", "--frames=0"], "frames"),
            ([*sample, "--prompt=a ball", "--hieght=8"], "Unknown command line flag 'hieght'"),
            (["sample", "--prompt=a ball", "--checkpoint=nowhere"], "no checkpoint at nowhere"),
        ]
    )


def test_train_says_what_to_change(demo, tmp_path):
    train = ["train", f"--config={pathlib.Path('experiments/demo_dit.py').absolute()}:debug"]
    new, latents = f"--workdir={tmp_path / 'x'}", f"--config.data={demo[0] / 'latents'}"
    assert_refused(
        [
            ([*train, new, f"--config.data={tmp_path}"], "sora-jax encode"),
            ([*train, new, "--config.wdith=3"], "wdith"),
            ([*train, new, "--distributed=on"], "JAX detects no cluster"),
            ([*train, new, latents, "--config.model.latent_channels=4"], "latent_channels"),
        ]
    )


def test_latents_of_other_weights_are_refused(demo):
    folder, _ = demo
    from data_pipelines import encode

    class Other:
        params, statistics = {"w": np.zeros(1)}, {}

    with pytest.raises(ValueError, match="holds latents of other weights"):
        encode.encode(
            *(folder / "data", "vae", folder / "latents", Other(), encode.TokenizerSource(8), 4),
            lambda *_: None,
        )


def test_help_shows_an_example():
    commands = ("worlds", "encode", "train", "sample", "report")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for command, done in zip(
            commands, pool.map(lambda name: run_command(name, "--help"), commands), strict=True
        ):
            assert f"sora-jax {command} --" in done.stdout and "Example" in done.stdout


def test_the_time_of_a_stopped_stage_counts_and_finished_stages_are_kept(tmp_path, monkeypatch):
    from absl.testing import flagsaver

    from experiments import demo_train as demo

    ends = {"vae": [(-9, 5.0, 1.0), (0, 7.0, 0.5)]}
    calls = []

    def run_stage(arguments):
        name = next(n for n, a in demo.commands(str(tmp_path), True).items() if a == arguments)
        calls.append(name)
        if name == "report":
            (tmp_path / "report.json").write_text('{"seconds": {"vae": 12.0}}')
        return ends[name].pop(0) if name in ends else (0, 1.0, 0.1)

    monkeypatch.setattr(demo, "run_stage", run_stage)
    with flagsaver.flagsaver(output=str(tmp_path), debug=True):
        with pytest.raises(SystemExit) as stopped:
            demo.main([])
        assert stopped.value.code == 137 and calls == ["worlds", "vae"]
        demo.main([])
        assert calls == ["worlds", "vae", "vae", "encode", "dit", "report"]
    vae = json.loads((tmp_path / "stages.json").read_text())["vae"]
    assert (vae["seconds"], vae["peak_rss_gb"]) == (12.0, 1.0)
    assert json.loads((tmp_path / "report.json").read_text())["seconds"]["report"] == 1.0
    with flagsaver.flagsaver(output=str(tmp_path), debug=False):
        with pytest.raises(SystemExit, match="holds worlds with other settings"):
            demo.main([])
