"""`sora-jax eval`: videos of others from prompts to page, and what cannot be asked for."""

import json
import re

import numpy as np
import pytest

from data_pipelines.worlds import dataset
from sora_jax.commands import cases, evaluation
from sora_jax.evals.score_tables import CODEC, MODEL
from sora_jax.generation.generate import Generator
from tests.processes import run_command, run_python


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "data"
    dataset.build(folder, {"phyworld": 20}, processes=0)
    return folder


@pytest.fixture(scope="module")
def scored(data, tmp_path_factory):
    """The real clips, given in as somebody's videos of both splits, scored by the command."""
    folder = tmp_path_factory.mktemp("eval")
    theirs, output = folder / "theirs", folder / "scores"
    asked = (f"--write_prompts={theirs}", f"--data={data}", "--given=0,1", "--num_clips=2")
    assert "prompts to" in run_command("eval", *asked).stdout
    path = theirs / cases.PROMPTS
    listed = json.loads(path.read_text())
    for entry in listed["clips"]:
        entry["video"] = entry["video"].replace(".mp4", ".npy")
    path.write_text(json.dumps(listed))
    metas = {
        (meta.split, meta.seed): meta
        for split in cases.SPLITS
        for meta in cases.open_split(data, split).metas()
    }
    for entry in listed["clips"]:
        clip = dataset.remake_clip(metas[entry["split"], entry["seed"]])
        np.save(theirs / entry["video"], clip.video)
    run_command("eval", f"--clips={theirs}", f"--output={output}", "--worlds=phyworld")
    return json.loads((output / "scores.json").read_text()), output


def test_videos_of_others_are_scored_by_split_and_given_frames(scored):
    report, _ = scored
    known = {(group["split"], group["given"]) for group in report["groups"]}
    assert known == {(split, given) for split in cases.SPLITS for given in (0, 1)}
    for group in report["groups"]:
        (world,) = group["worlds"].values()
        for score in world["scores"].values():
            assert score["figures"]["model"] == score["figures"]["real"]
        paper, calibrated = (world["velocity"][kind]["model"] for kind in ("paper", "calibrated"))
        assert paper.keys() == calibrated.keys()
        assert min(figure["mean"] for figure in calibrated.values()) < 0.02
        assert bool(group["given"]) == ("prediction" in world)
    assert len(report["left_out"]) <= 1


def test_the_page_states_its_command_and_shows_marks(scored):
    _, output = scored
    page = (output / "scores.html").read_text()
    command = re.search(r"sora-jax eval[^<]*", page)
    assert command and "--worlds=phyworld" in command[0] and "--clips=" in command[0]
    assert page.count("<video") >= 4 and "error of velocity" in page


REFUSE = """
import sys
import grain.python  # defines flags, which must be there before some are set
from absl import flags
from absl.testing import flagsaver
from sora_jax.commands import eval
flags.FLAGS(["eval"])
for line in sys.argv[1:]:
    with flagsaver.as_parsed(**dict(word.split("=") for word in line.split())):
        try:
            eval.main()
        except ValueError as error:
            print(error)
"""


def test_what_cannot_be_asked_for_is_named(data, tmp_path):
    """In one process, as if each line were typed."""
    new = tmp_path / "x"
    messages = {
        "clips=x checkpoint=y": "give one of --checkpoint, --clips and --write_prompts",
        "clips=x steps=3": "--steps does nothing with --clips: leave it out",
        "clips=x given=5": "--given does nothing with --clips: leave it out",
        "write_prompts=x given=a": "--given=a: give numbers such as 0,1,5",
        "write_prompts=x": "--data is missing: name a folder of `sora-jax worlds`",
        "checkpoint=x num_clips=0": "--num_clips=0: score one clip of each world or more",
        "clips=x": "--output is missing: name a folder",
        f"write_prompts={new} data={data} given=70": f"{data} has no clips of more than 70 frames",
    }
    printed = run_python("-c", REFUSE, *messages).stdout.strip().splitlines()
    assert printed == list(messages.values()) and not new.exists()


class Model(Generator):
    """A model without weights that shows the first real frame for ever."""

    def __init__(self, max_given):
        self.max_given = max_given


def test_a_model_is_refused_before_it_samples(data, monkeypatch):
    def generate(requests, given_frames):
        raise AssertionError("nothing should be sampled")

    with pytest.raises(ValueError, match="takes 0 first frames at most, and 1 were asked for"):
        evaluation.evaluate_model(Model(0), generate, data, (), 2, [0, 1], False)
    with pytest.raises(ValueError, match="has no clips of more than 70 frames"):
        evaluation.evaluate_model(Model(70), generate, data, (), 2, [70], False)


def test_a_model_is_scored_beside_codec_and_controls(data, monkeypatch):
    """A frozen model has the scores of the control of that name."""
    monkeypatch.setattr(Model, "codec", None, raising=False)
    monkeypatch.setattr(evaluation.reconstruction, "reconstruct", lambda video, codec: video)
    seen = []

    def generate(requests, given_frames):
        pairs = list(zip(requests, given_frames, strict=True))
        seen.extend(pairs)
        return [np.repeat(frames[:1], r.frames, 0) for r, frames in pairs]

    found, sampled = evaluation.evaluate_model(Model(1), generate, data, (), 2, [1], False)
    assert [group["split"] for group in found.groups] == list(cases.SPLITS)
    assert len(sampled) == 2 and all(len(frames) == 1 for _, frames in seen)
    for group in found.groups:
        for score in group["worlds"]["phyworld"]["scores"].values():
            each = score["each"]
            assert each[MODEL] == each["frozen"] and each[CODEC] == each["real"]
