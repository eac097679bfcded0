"""Folders of videos that others made: what is written for them, and what is refused."""

import json
import math
import shutil

import numpy as np
import pytest

from data_pipelines.worlds import dataset
from sora_jax import media
from sora_jax.commands import cases, evaluation, submissions
from sora_jax.evals.world_scores import make_control


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clips of one world, three in the test split."""
    folder = tmp_path_factory.mktemp("clips") / "data"
    dataset.build(folder, {"phyworld": 30}, processes=0)
    return folder


@pytest.fixture(scope="module")
def prompts(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs") / "x"
    chosen = cases.read_cases(data, "test", (), 2)
    assert cases.write_prompts(folder, data, chosen, [0, 1]) == 4
    return folder


@pytest.fixture
def theirs(prompts, tmp_path):
    """A copy of the prompts, without videos."""
    folder = tmp_path / "theirs"
    shutil.copytree(prompts, folder)
    return folder


def change(folder, **fields):
    """Changes fields of the first entry; None removes one."""
    path = folder / cases.PROMPTS
    listed = json.loads(path.read_text())
    entry = listed["clips"][0] | fields
    listed["clips"][0] = {key: value for key, value in entry.items() if value is not None}
    path.write_text(json.dumps(listed))


def fill(folder, make=lambda entry, video: video):
    """Writes each entry's real clip, changed by `make`, as npy."""
    path = folder / cases.PROMPTS
    listed = json.loads(path.read_text())
    for entry in listed["clips"]:
        request = dataset.base.ClipRequest(
            entry["seed"], False, entry["frames"], entry["height"], entry["width"]
        )
        video = dataset.WORLDS[entry["world"]].make_clip(request).video
        entry["video"] = entry["video"].replace(".mp4", ".npy")
        np.save(folder / entry["video"], make(entry, video))
    path.write_text(json.dumps(listed))


def test_a_case_knows_its_clip_its_controls_and_another_of_its_size(data):
    first, second = cases.read_cases(data, "test", ("phyworld",), 2)
    assert first.name.startswith("phyworld-test-") and first.caption and first.size[0] > 1
    np.testing.assert_array_equal(first.simulate("", first.size), first.real)
    broken = make_control([first, second], 0, "recolored", given=1)
    assert (broken[0] == first.real[0]).all() and (broken != first.real).any()
    assert first.simulate("", (9, 48, 80)).shape == (9, 48, 80, 3)
    assert cases.make_request(first).seed == first.seed


def test_what_others_make_is_scored_beside_real_clips(theirs):
    """Their videos are the real ones: both score alike; given frames lie beside the list."""
    entry = json.loads((theirs / cases.PROMPTS).read_text())["clips"][1]
    assert entry["given"] == 1 and (theirs / entry["first_frames"][0]).exists()
    fill(theirs, lambda entry, video: np.float32(video) / 255)
    parts = submissions.read_submissions(theirs)
    assert [(part.split, part.given, len(part.cases)) for part in parts] == [
        ("test", 0, 2),
        ("test", 1, 2),
    ]
    found = evaluation.EvalResults()
    found.add(parts[0].cases, {"model": parts[0].videos}, "test", 0)
    for score in found.groups[0]["worlds"]["phyworld"]["scores"].values():
        assert score["each"]["model"] == score["each"]["real"]
        assert score["figures"]["real"]["mean"] in (None, 1)


def test_without_seed_only_their_videos_are_scored(theirs):
    fill(theirs)
    change(theirs, seed=None)
    case = submissions.read_submissions(theirs)[0].cases[0]
    assert case.real is None and case.simulate is None


def test_videos_with_the_even_sides_of_players_are_cropped(theirs, tmp_path):
    fill(theirs)
    entry = json.loads((theirs / cases.PROMPTS).read_text())["clips"][0]
    video = np.load(theirs / entry["video"])[:, :63, :63]
    media.write_video(theirs / "odd.mp4", video, 10.0)
    change(theirs, video="odd.mp4", height=63, width=63, seed=None)
    part = submissions.read_submissions(theirs)[0]
    assert part.videos[0].shape == video.shape
    assert np.abs(part.videos[0].astype(int) - video).mean() < 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"truth": None}, "clip 0 has no truth to score a video against"),
        ({"attributes": {}}, "clip 0 has no attributes"),
        ({"world": "nowhere"}, "no scores of a world named 'nowhere'; choose from ballistics"),
        ({"height": 48}, "is 17x64x64, its prompt asks for 17x48x64"),
        ({"frames": 9}, "is 17x64x64, its prompt asks for 9x64x64"),
        ({"given": 17}, "has 17 frames, of which 17 were given"),
        ({"given": -1}, "has given -1: give 0 or more first frames"),
        ({"fps": math.nan}, "has fps nan: give frames per second above 0"),
        ({"fps": "ten"}, "has fps 'ten': give it type float"),
        ({"video": "missing.mp4"}, "no video at"),
        ({"video": "missing.npy"}, "there is no such file"),
        ({"video": cases.PROMPTS}, "cannot be read"),
        ({"seed": 1.5}, "has seed 1.5: give it type int"),
        ({"width": "64"}, "has width '64': give it type int"),
        ({"frames": 9.0}, "has frames 9.0: give it type int"),
        ({"split": ["a"]}, "has split"),
        ({"attributes": {"motion": 3}}, "has attribute motion 3: give it type str"),
        ({"truth": {"a": {"zlib_base64": "AAAA"}}}, "truth that cannot be read"),
        ({"truth": {"a": 1}, "seed": None}, "truth that scores of phyworld cannot read"),
        ({"attributes": {"a": "b"}, "seed": None}, "scores of phyworld cannot read"),
    ],
)
def test_bad_entries_are_named(theirs, fields, message):
    fill(theirs)
    change(theirs, **fields)
    with pytest.raises(ValueError, match=message):
        submissions.read_submissions(theirs)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.full((33, 64, 64, 3), np.nan, np.float32), "pixels that are not finite"),
        (np.full((33, 64, 64, 3), 2, np.float32), "floats outside of 0 to 1"),
        (np.zeros((33, 64, 64, 3), np.int32), "holds int32"),
        (np.zeros((33, 64, 64), np.uint8), "has shape"),
    ],
)
def test_bad_arrays_are_named(theirs, video, message):
    fill(theirs, lambda *_: video)
    with pytest.raises(ValueError, match=message):
        submissions.read_submissions(theirs)


def test_a_video_is_listed_once(theirs):
    fill(theirs)
    listed = json.loads((theirs / cases.PROMPTS).read_text())
    listed["clips"].append(listed["clips"][0])
    (theirs / cases.PROMPTS).write_text(json.dumps(listed))
    with pytest.raises(ValueError, match=r"clip 4 names .*, as clip 0 does: name it once"):
        submissions.read_submissions(theirs)


def test_a_damaged_split_of_laws_is_not_taken_for_a_missing_one(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    assert cases.read_cases(folder, "test_laws", (), 2)
    assert cases.read_cases(folder, "nowhere", (), 2) == []
    (shard,) = folder.rglob("*test_laws*array_record*")
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(ValueError, match="damaged|cannot be read"):
        cases.read_cases(folder, "test_laws", (), 2)


def test_given_frames_are_put_back(theirs):
    """A file that lost them in compression is not the model's fault."""
    fill(theirs, lambda entry, video: np.concatenate([0 * video[:1], video[1:]]))
    (part,) = (p for p in submissions.read_submissions(theirs) if p.given == 1)
    found = evaluation.EvalResults()
    found.add(part.cases, {"model": part.videos}, "test", 1)
    for score in found.groups[0]["worlds"]["phyworld"]["scores"].values():
        assert score["each"]["model"] == score["each"]["real"]


def test_bad_folders_are_named(data, theirs, tmp_path):
    with pytest.raises(ValueError, match="has no prompts.json: `sora-jax eval --write_prompts"):
        submissions.read_submissions(tmp_path / "empty")
    with pytest.raises(ValueError, match="is not an empty folder"):
        cases.write_prompts(theirs, data, [], [0])
    (theirs / cases.PROMPTS).write_text('{"clips": []}')
    with pytest.raises(ValueError, match="lists no clips"):
        submissions.read_submissions(theirs)
    (theirs / cases.PROMPTS).write_text("[]")
    with pytest.raises(ValueError, match="no JSON object with a list of clips"):
        submissions.read_submissions(theirs)
    with pytest.raises(ValueError, match="no scores of a world named 'nowhere'"):
        cases.read_cases(data, "test", ("nowhere",), 2)
    with pytest.raises(ValueError, match="has no test clips of eater"):
        cases.read_cases(data, "test", ("eater",), 2)
