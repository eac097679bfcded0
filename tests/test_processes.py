"""Several processes on one machine, with their devices in permuted orders along the mesh."""

import json
import os
import pathlib
import re
import shutil
import socket
import tempfile
import time

import jax
import numpy as np
import pytest
from PIL import Image

from data_pipelines import encode
from data_pipelines.shard_jobs import Share
from data_pipelines.worlds import dataset
from sora_jax import processes, release, sharding
from sora_jax.codec.video_codec import load_codec
from sora_jax.commands import evaluation
from sora_jax.commands.runs import load_generator
from sora_jax.generation.prompting import generate_from_prompts
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.models.vae import init_params, init_statistics
from sora_jax.processes import BatchShare, batch_share, start_distributed
from sora_jax.sharding import AXES, EXPLICIT, ShardingConfig
from sora_jax.stopping import EXIT_CODE
from sora_jax.training.checkpoint_io import saved_steps
from sora_jax.training.run_folder import save_weights
from tests.processes import FAST_COMPILATION, run_python, start_command
from tests.test_release import VAE, save_tiny_release
from tests.tiny_run import CONFIG, write_data

TIMEOUT = 300
ORDERED = """
import numpy as np
from jax.experimental import mesh_utils
order = {}
def place(sizes, devices, **_):
    here = order if len(devices) == len(order) else range(len(devices))  # of one process
    return np.array(devices)[here].reshape(sizes)
mesh_utils.create_device_mesh = place
"""
TERMINATE = """
import os, signal
from sora_jax.training import progress
add = progress.RunProgress.add
def terminated(self, step, values):
    add(self, step, values)
    if step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
progress.RunProgress.add = terminated
"""


def run(arguments, processes=1, order=(0,), code=0, prelude="", last=()):
    """Runs `sora-jax` in some processes with equally many devices; returns what each wrote.

    Args:
      order: the devices, numbered from process to process, along the mesh's axes.
      code: the expected exit status of all.
      prelude: source of Python that the last process runs first.
      last: further arguments of the last process.
    """
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        address = f"localhost:{listener.getsockname()[1]}"
    devices = f"--xla_force_host_platform_device_count={len(order) // processes}"
    rest = [*arguments]
    if processes > 1:
        rest += [f"--coordinator={address}", f"--num_processes={processes}"]
    with tempfile.TemporaryDirectory() as folder:
        logs = [pathlib.Path(folder) / str(number) for number in range(processes)]
        running = []
        try:
            for number, log in enumerate(logs):
                own = [f"--process_id={number}"] if processes > 1 else []
                own += last if number == processes - 1 else []
                first = ORDERED.format(list(order)) + (prelude if number == processes - 1 else "")
                flags = f"{FAST_COMPILATION} {devices}"
                running.append(
                    start_command([*rest, *own], os.devnull, log, first, XLA_FLAGS=flags)
                )
            deadline = time.monotonic() + TIMEOUT
            for process in running:
                process.join(max(deadline - time.monotonic(), 1))
            codes = [process.exitcode for process in running]
        finally:
            for process in running:
                process.kill()
        texts = [log.read_text() for log in logs]
        assert set(codes) == {code}, (codes, "\n".join(text[-2000:] for text in texts))
        return texts


def train(folder, workdir, processes=1, order=(0,), sizes=(1, 1, 1, 1)):
    """Losses and held-out losses by step of a run of `sora-jax train`.

    `sizes` are those of the mesh axes.
    """
    arguments = ["train", f"--config={folder / 'config.py'}", f"--workdir={workdir}"]
    arguments += [f"--config.data={folder / 'latents'}"]
    arguments += [f"--config.mesh.{axis}={n}" for axis, n in zip(AXES, sizes, strict=True)]
    run(arguments + ["--config.held_out.every=4"], processes, order)
    lines = list(map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()))
    return [(line["step"], line["loss"]) for line in lines if "loss" in line], [
        (line["step"], line["held_out_loss"]) for line in lines if "held_out_loss" in line
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("processes")
    (made / "config.py").write_text(CONFIG)
    write_data(made)
    return made


@pytest.fixture(scope="module")
def one(folder):
    """Workdir, losses and held-out losses of a run in one process on one device."""
    return folder / "one", *train(folder, folder / "one")


ACROSS = [0, 1, 4, 5, 2, 3, 6, 7]  # each half of the mesh has devices of both of two processes
MESHES = {
    "context across hosts": (2, ACROSS, (2, 1, 4, 1)),
    "tensor across hosts": (2, ACROSS, (1, 2, 1, 4)),
    "scattered": (4, [6, 0, 3, 5, 1, 7, 4, 2], (2, 1, 2, 2)),
}


@pytest.mark.parametrize("coordinator", ["localhost", "localhost:", ":80", ""])
def test_a_coordinator_has_a_host_and_a_port(coordinator):
    with pytest.raises(ValueError, match="give it HOST:PORT of process 0"):
        start_distributed("auto", coordinator, 2, 0)


def test_a_coordinator_that_does_not_answer_is_named(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        address = f"localhost:{listener.getsockname()[1]}"
    monkeypatch.setattr(processes, "CONNECT_SECONDS", 0)
    with pytest.raises(ValueError, match=f"nothing answers at --coordinator={address} "):
        start_distributed("auto", address, 2, 1)


@pytest.mark.slow
def test_two_processes_train_as_one(folder, one, tmp_path):
    _, wanted, held_out = one
    assert [step for step, _ in wanted] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in held_out] == [4, 6]
    found = train(folder, tmp_path, *MESHES["context across hosts"])
    np.testing.assert_allclose(found[0], wanted, rtol=2e-5)
    np.testing.assert_allclose(found[1], held_out, rtol=2e-5)


@pytest.mark.slow
def test_four_processes_go_on_from_one_and_one_from_four(folder, one, tmp_path):
    workdir, wanted, held_out = one
    shutil.copytree(workdir, tmp_path / "run")
    for first, others in ((2, MESHES["scattered"]), (4, ())):
        for step in range(first + 1, 7):
            shutil.rmtree(tmp_path / "run" / "checkpoints" / str(step), ignore_errors=True)
        file = tmp_path / "run" / "metrics.jsonl"
        file.write_text(re.sub('"loss": [^,}]+', '"loss": 7.0', file.read_text()))
        losses, measured = train(folder, tmp_path / "run", *others)
        np.testing.assert_allclose(measured, held_out, rtol=2e-5)
        found = [loss for _, loss in losses]
        assert found[:first] == [7.0] * first  # these were not trained again
        np.testing.assert_allclose(found[first:], [loss for _, loss in wanted[first:]], rtol=2e-5)


@pytest.mark.slow
def test_two_processes_stop_after_the_same_step_and_differ_in_nothing(folder, one, tmp_path):
    """They share each row of a batch: what they ask for is not that of the row's shard."""
    arguments = ["train", f"--config={folder / 'config.py'}", f"--workdir={tmp_path}"]
    arguments += [f"--config.data={folder / 'latents'}", "--config.optimizer.steps=40"]
    arguments += ["--config.loop.save_every=50", "--config.loop.log_every=50"]
    arguments += ["--config.mesh.data=1", "--config.mesh.context=2"]
    stopped = run(arguments, 2, (0, 1), code=EXIT_CODE, prelude=TERMINATE)
    (step,) = saved_steps(tmp_path)
    assert 3 <= step < 40 and all(f"step {step} is saved" in text for text in stopped)
    for setting in ("loop.seed=1", "model.width=32"):
        odd = run(arguments, 2, (0, 1), code=2, last=[f"--config.{setting}"])
        named = f"config.{setting.split('=')[0]} is not the same in all processes"
        assert all(named in text for text in odd)
    assert saved_steps(tmp_path) == [step]


@pytest.mark.slow
def test_two_processes_sample_as_one_with_weights_cut_over_them(tmp_path):
    """Two videos, the second of them made of the first, which process 0 wrote."""
    save_tiny_release(tmp_path / "model")

    def sample(name, mesh, *devices):
        folder = tmp_path / name
        folder.mkdir()
        first, second = str(folder / "first.mp4"), str(folder / "second.npz")
        jobs = [
            {"prompt": "a red ball rolls", "output": first},
            {"prompt": "a red ball", "task": "edit", "clip": first, "output": second},
        ]
        (folder / "jobs").write_text("\n".join(map(json.dumps, jobs)))
        arguments = [f"--checkpoint={tmp_path / 'model'}", f"--requests={folder / 'jobs'}"]
        arguments += ["--frames=5", "--height=32", "--width=32", "--steps=2", f"--mesh={mesh}"]
        run(["sample", *arguments], *devices)
        with np.load(second) as file:
            return file["frames"].astype(int)

    one, two = sample("one", "1,1,1,1"), sample("two", "1,2,2,2", 2, ACROSS)
    assert one.shape == (5, 32, 32, 3) and one.std() > 1
    assert np.abs(two - one).max() <= 3  # of 255; the first is an mp4


def on_one_device():
    return jax.set_mesh(sharding.make_mesh(devices=jax.devices()[:1]))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    made = tmp_path_factory.mktemp("clips") / "data"
    dataset.build(made, {"phyworld": 10}, processes=0)
    return made


def list_numbers(tree, path=""):
    """Numbers of a tree of JSON by their paths."""
    if isinstance(tree, dict | list):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {k: v for key, part in pairs for k, v in list_numbers(part, f"{path}/{key}").items()}
    return {path: tree} if isinstance(tree, float | int) else {}


@pytest.mark.slow
def test_two_processes_score_as_one(clips, tmp_path):
    """With the model that comes with the package, whose videos can be read."""
    with on_one_device():
        generator = load_generator(None)
        generate = generate_from_prompts(generator, SamplingConfig(steps=2))
        one, _ = evaluation.evaluate_model(generator, generate, clips, (), 1, [0])
    arguments = ["eval", f"--checkpoint={release.SHIPPED}", f"--data={clips}", "--num_clips=1"]
    arguments += ["--steps=2", "--mesh=1,2,1,1"]
    run([*arguments, f"--output={tmp_path}"], 2, (0, 1))
    two = json.loads((tmp_path / "scores.json").read_text())
    assert [group["split"] for group in two["groups"]] == ["test"]
    wanted = list_numbers(json.loads(json.dumps([one.groups, one.distribution_json()])))
    found = list_numbers([two["groups"], two["distribution"]])
    assert found.keys() == wanted.keys() and len(set(wanted.values())) > 15
    np.testing.assert_allclose(list(found.values()), list(wanted.values()), atol=0.01)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """Workdir of an autoencoder of random weights."""
    made = tmp_path_factory.mktemp("vae")
    with on_one_device():
        weights = init_params(jax.random.key(0), VAE.model), init_statistics(VAE.model)
        save_weights(made, VAE, *weights)
    return made


@pytest.fixture(scope="module")
def encoded(clips, vae, tmp_path_factory):
    """Latents of the clips."""
    made = tmp_path_factory.mktemp("encoded") / "latents"
    with on_one_device():
        settings = (encode.TokenizerSource(512), 2, lambda *_: None, Share(), 2)
        encode.encode(clips, vae, made, load_codec(vae), *settings)
    return made


@pytest.mark.slow
def test_two_processes_score_and_show_worlds_while_they_train(folder, encoded, tmp_path):
    found = []
    for name, sizes, devices in (("one", (1, 1), ()), ("two", (1, 2), (2, (0, 1)))):
        arguments = ["train", f"--config={folder / 'config.py'}", f"--workdir={tmp_path / name}"]
        arguments += [f"--config.data={encoded}", "--config.model.latent_channels=4"]
        arguments += ["--config.model.text.vocabulary=512", "--config.packing.tokens=512"]
        arguments += [f"--config.mesh.{axis}={n}" for axis, n in zip(AXES, sizes, strict=False)]
        arguments += ["--config.optimizer.steps=1", "--config.evals.every=2"]
        run([*arguments, "--config.evals.clips=1", "--config.evals.steps=2"], *devices)
        lines = list(map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines()))
        (scores,) = ({k: v for k, v in x.items() if "score" in k} for x in lines if "loss" not in x)
        strip = Image.open(tmp_path / name / "strips" / "0000001.png")
        found.append((scores, np.asarray(strip).astype(int)))
    (one, one_strip), (two, two_strip) = found
    assert "score of phyworld" in one and two == pytest.approx(one, abs=0.01)
    height = len(one_strip) // 2  # of the clip, above that of the video
    assert one_strip[:height].mean() > 128 and one_strip[height:].std() > 1
    assert np.abs(two_strip - one_strip).max() <= 3


NOT_FINITE = """
import numpy as np
from sora_jax.codec.batch_encoder import Encoded
fetch, seen = Encoded.fetch, []
def broken(encoded):
    latents = fetch(encoded)
    seen.extend(latents)
    return [*latents[:-1], latents[-1] * np.nan] if len(seen) == 2 else latents
Encoded.fetch = broken
"""


@pytest.mark.slow
def test_two_processes_encode_as_one_and_stop_as_one(clips, vae, encoded, tmp_path):
    """The second one fails at first, and shard 3, with clips 6 and 7, is among those left."""
    arguments = ["encode", f"--vae={vae}", f"--data={clips}", f"--output={tmp_path / 'two'}"]
    arguments += ["--shard=2"]
    stopped = run(arguments, 2, (0, 1, 2, 3), code=2, prelude=NOT_FINITE)
    named = "cannot encode clip 3 of train, from phyworld: its latent is not finite"
    assert all(f"sora-jax encode: {vae} {named}" in text for text in stopped)
    assert not (tmp_path / "two" / "encode.json").exists()
    run(arguments, 2, (0, 1, 2, 3))
    one, two = (
        {str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (encoded, tmp_path / "two")
    )
    assert one == two and len(one) > 10


@pytest.mark.slow
def test_what_the_first_of_two_processes_cannot_do_ends_both(clips, vae, tmp_path):
    """It scores an autoencoder, and cannot write that; the other one waits for it."""
    (tmp_path / "eval.json").mkdir()
    arguments = ["eval-vae", f"--checkpoint={vae}", f"--data={clips}", f"--output={tmp_path}"]
    texts = run([*arguments, "--clips=1"], 2, (0, 1), code=2)
    lines = [[line for line in text.splitlines() if "sora-jax" in line] for text in texts]
    assert lines[0] == lines[1] and len(lines[0]) == 1 and "eval.json is a directory" in lines[0][0]


def mesh_of(sizes, order):
    grid = np.array(jax.devices())[order].reshape(sizes)
    return jax.sharding.Mesh(grid, AXES, axis_types=EXPLICIT)


@pytest.mark.parametrize(("_", "order", "sizes"), MESHES.values(), ids=MESHES)
def test_rows_are_placed_where_the_mesh_wants_them(_, order, sizes):
    specs, rng = ShardingConfig(), np.random.default_rng(0)
    tree = {"bl": rng.normal(size=(8, 16)), "bs": rng.normal(size=(8, 3))}
    kinds = {"bl": specs.act_bl, "bs": specs.act_bs}
    with jax.set_mesh(mesh_of(sizes, order)):
        share = batch_share(jax.sharding.get_mesh(), kinds)
        placed = share.place(tree, kinds)
    assert share.rows(8) == list(range(8))
    for name, array in placed.items():
        assert array.sharding.spec == kinds[name]
        np.testing.assert_array_equal(array, tree[name].astype(array.dtype))


def test_a_share_has_the_rows_of_its_shards():
    share = BatchShare((1, 3), 4)
    assert share.rows(8) == [2, 3, 6, 7]
    with pytest.raises(ValueError, match="4 shards of the batch cannot share 6 rows"):
        share.rows(6)


@pytest.mark.parametrize(
    ("variable", "arguments", "message"),
    [
        ("SLURM_NTASKS", "'auto'", "SLURM_NTASKS=8 says that there are several processes: give"),
        ("OMPI_COMM_WORLD_SIZE", "'auto'", "OMPI_COMM_WORLD_SIZE=8 says"),
        ("WORLD_SIZE", "'auto'", "WORLD_SIZE=8 says"),
        ("JAX_COORDINATOR_ADDRESS", "'auto'", "JAX_COORDINATOR_ADDRESS=8 says"),
        ("NOTHING", "'on'", "JAX detects no cluster"),
        ("NOTHING", "'auto', 'localhost:1', 2", "belong together"),
        ("NOTHING", "'off', 'localhost:1', 2, 0", "without --distributed=off"),
    ],
)
def test_processes_that_find_no_others_stop(variable, arguments, message):
    code = f"from sora_jax import processes; processes.start_distributed({arguments})"
    done = run_python("-c", code, code=1, **{variable: "8"})
    assert message in done.stderr.splitlines()[-1]
