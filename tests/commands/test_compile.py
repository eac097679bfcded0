"""A small training step compiled for a TPU topology, on a host without one."""

import json
import os
import pathlib
import sys

import pytest

from sora_jax.models.dit_config import DiTConfig
from sora_jax.scaling import flops
from tests.processes import run_python

pytestmark = pytest.mark.slow

LIBTPU = pathlib.Path(sys.prefix, "libtpu")  # where `make test` puts it
EXPERIMENT = """
from experiments.pods.v5e_3b import get_config as three_billion


def get_config():
    config = three_billion()
    config.model.update(width=256, depth=2, heads=2, mlp_dim=256, text_embed_dim=64)
    config.packing.update(rows=2, tokens=1024, text_tokens=128, segments=2)
    config.mesh.update(data=1, fsdp=2, context=2)
    return config
"""


def compiled(tmp_path, *arguments, code=0):
    """What `sora-jax compile` prints."""
    (tmp_path / "experiment.py").write_text(EXPERIMENT)
    path = f"{LIBTPU}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = ["-m", "sora_jax.main", "compile", f"--config={tmp_path / 'experiment.py'}"]
    done = run_python(*command, *arguments, code=code, PYTHONPATH=path)
    return done.stdout + done.stderr


@pytest.mark.skipif(not LIBTPU.exists(), reason="libtpu is not there: run `make test`")
def test_a_small_step_compiles_for_a_slice_with_the_splash_kernel(tmp_path):
    output, program = tmp_path / "report.json", tmp_path / "program.txt"
    compiled(tmp_path, "--topology=v5e:2x2", f"--output={output}", f"--hlo={program}")
    report = json.loads(output.read_text())
    assert (report["chips"], report["chip"]["kind"]) == (4, "v5e")
    kernels = program.read_text().count("splash_mha")
    assert kernels >= 2 * 4  # self and cross: forward, again in the backward pass, dq, dkv
    # Ulysses: queries, keys, values and outputs of each block go to whole rows and back.
    moved = [c for c in report["collectives"] if c["kind"] == "all-to-all"]
    assert [c["axes"] for c in moved] == [["context"]] and moved[0]["count"] >= 2 * 4
    assert 0 < report["hbm_bytes"]["total"] < report["chip"]["hbm"]
    # No chip draws the noise of all rows.
    assert "f32[2,1024,64]" not in program.read_text()
    model = DiTConfig(width=256, depth=2, heads=2, mlp_dim=256, text_embed_dim=64)
    useful = flops.step_flops(model, [(1024, 128)] * 2)
    assert report["flops"]["step"] == useful
    # Blocks run four passes where three are useful, the layers at both ends three.
    shortest, times = useful / 4 / report["chip"]["flops"], report["roofline_s"]
    assert 1.3 < times["compute"] / shortest < 4 / 3
    assert report["mfu_bound"] == pytest.approx(shortest / max(times.values()))


@pytest.mark.skipif(not LIBTPU.exists(), reason="libtpu is not there: run `make test`")
def test_sampling_compiles_with_keys_gathered_beyond_the_heads_and_makes_the_table(tmp_path):
    output, page = tmp_path / "results" / "minute.json", tmp_path / "README.md"
    compiled(
        tmp_path,
        *("--topology=v5e:2x2", "--sample=3", f"--output={output}", f"--table={page}"),
        *("--config.packing.rows=1", "--config.mesh.fsdp=1", "--config.mesh.context=4"),
    )
    report = json.loads(output.read_text())
    kinds = {c["kind"]: c["count"] for c in report["collectives"]}
    assert "all-to-all" not in kinds  # two heads, four shards
    # Keys and values of two blocks, in three steps, with and without the caption.
    assert kinds["all-gather"] >= 2 * 2 * 3 * 2
    model = DiTConfig(width=256, depth=2, heads=2, mlp_dim=256, text_embed_dim=64)
    assert report["flops"]["step"] == 2 * 3 * flops.forward_flops(model, [(1024, 128)])
    (row,) = (line for line in page.read_text().splitlines() if "minute" in line)
    assert "3 steps of guided sampling" in row and "context 4" in row
    assert f"of {report['chip']['hbm'] / 1e9:.1f} GB" in row


@pytest.mark.skipif(not LIBTPU.exists(), reason="libtpu is not there: run `make test`")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--topology=v9:2x2",), "no topology 'v9:2x2'"),
        (("--topology=v5e:2x4",), "and 8 are present: change it so that the product is 8"),
        (("--topology=tpu7x:2x2x1",), "no link speeds are known of 'TPU7x': choose v5e"),
        (("--topology=v5e:2x2", "--config.packing.rows=3"), "rows 3 cannot be shared by 2 shards"),
        (("--topology=v5e:2x2", "--slices=2"), "product is 8 and data a multiple of the 2 slices"),
        (("--topology=v5e:2x2", "--table=t.md"), "--table goes with --output"),
        ((), "--config and --topology are needed"),
    ],
)
def test_what_cannot_be_compiled_is_named(tmp_path, arguments, message):
    assert message in compiled(tmp_path, *arguments, code=2)
