"""What each task of `sora-jax sample` asks of a model, which is not loaded here."""

import json

import numpy as np
import pytest
from PIL import Image

from sora_jax import media, outputs
from sora_jax.generation.canvas import Given, Request
from sora_jax.generation.joins import FADE
from tests.processes import run_command

CLIP = np.repeat(np.arange(0, 170, 10, dtype=np.uint8), 32 * 48 * 3).reshape(17, 32, 48, 3)


@pytest.fixture
def run(tmp_path):
    """Runs the command; returns what the model was asked for, and the video that it made."""
    media.write_video(tmp_path / "clip.mp4", CLIP, 10.0)

    def called(*arguments, code=0):
        arguments = [a.replace("CLIP", str(tmp_path / "clip.mp4")) for a in arguments]
        prelude = f"from tests import fake_generator; fake_generator.install({str(tmp_path)!r})"
        done = run_command("sample", *arguments, code=code, prelude=prelude)
        if code:
            return done.stderr
        noted = json.loads((tmp_path / "asked.json").read_text())
        arrays, asked = np.load(tmp_path / "arrays.npz"), []
        for i, fields in enumerate(noted["asked"]):
            given = f"known{i}" in arrays and Given(arrays[f"video{i}"], arrays[f"known{i}"])
            asked.append(Request(**fields, given=given or None))
        return asked, (arrays["made0"], noted["fps"])

    return called


def test_text_is_asked_for_as_before(run):
    (one, two), (*_, fps) = run("--prompt=a ball", "--prompt=a box", "--frames=9", "--seed=3")
    assert (one.prompt, two.prompt) == ("a ball", "a box") and fps == 8
    assert (one.frames, one.height, one.width, one.seed, one.given) == (9, 64, 96, 3, None)


def test_no_prompt_is_asked_for_by_name(run, tmp_path):
    ((request,), _) = run("--unconditional", "--frames=1", f"--output={tmp_path / 'a.png'}")
    assert (request.prompt, request.unconditional) == ("", True)


def test_a_picture_is_one_frame(run):
    ((request,), (video, fps)) = run("animate", "--prompt=a ball", "--clip=CLIP", "--at=6")
    assert request.given.known[:, 0, 0].nonzero()[0].tolist() == [5, 6, 7, 8] and fps == 10
    assert video.shape == (17, 32, 48, 3)


@pytest.mark.parametrize("backward", [False, True])
def test_a_clip_is_extended_on_the_side_that_is_named(run, backward):
    asked, (video, _) = run(
        "extend", "--prompt=a ball", "--clip=CLIP", "--frames=30", f"--backward={backward}"
    )
    assert len(video) == 17 + 30 and [r.seed for r in asked] == [0, 1]
    kept, added = (video[-17:], video[:30]) if backward else (video[:17], video[17:])
    assert np.abs(kept.astype(int) - CLIP).max() < 12  # H.264
    levels = added[:, 0, 0, 0].tolist()
    # Latent i is decoded to level 10 i; the clip's end is three of them, its beginning two more.
    if backward:
        assert levels[:-FADE] == [0, *np.repeat(range(10, 130, 10), 4)][-30:-FADE]
    else:
        assert levels[FADE:] == np.repeat(range(30, 110, 10), 4).tolist()[FADE:30]


def test_edits_and_regions_have_the_clips_size(run):
    ((request,), _) = run("edit", "--prompt=a ball", "--clip=CLIP", "--strength=0.3")
    assert (request.frames, request.height, request.width) == (17, 32, 48)
    assert request.strength == 0.3 and not request.given.known.any()
    ((request,), _) = run("inpaint", "--prompt=a ball", "--clip=CLIP", "--region=8,16,8,16")
    wanted = ~request.given.known[0]
    assert wanted.sum() == 8 * 16 and wanted[8:16, 16:32].all()
    ((request,), _) = run("outpaint", "--prompt=a ball", "--clip=CLIP", "--width=80", "--left=16")
    assert request.given.known[:, :, 16:64].all() and request.given.known.sum() == 17 * 32 * 48


def test_a_clip_of_another_size_is_scaled_and_cut(run):
    ((request,), _) = run(
        *("connect", "--prompt=a ball", "--clip=CLIP", "--last=CLIP", "--frames=65"),
        *("--height=64", "--width=64"),
    )
    assert request.given.video.shape == (65, 64, 64, 3)
    assert request.given.known[:, 0, 0].nonzero()[0].tolist() == [*range(17), *range(48, 65)]


def test_a_loop_leads_from_the_end_to_the_beginning(run):
    ((request,), (video, _)) = run("loop", "--prompt=a ball", "--clip=CLIP", "--frames=10")
    known = request.given.known[:, 0, 0].nonzero()[0].tolist()
    assert known == [*range(9), *range(21, 29)] and request.frames == 29
    seen = request.given.video[:, 0, 0, 0].astype(int)
    ends = [*CLIP[8:, 0, 0, 0], *CLIP[:8, 0, 0, 0]]
    assert np.abs(seen[known] - np.int64(ends)).max() < 6  # H.264
    assert len(video) == 17 + 12 and video[17:, 0, 0, 0].tolist() == [*range(9, 21)]


def test_a_loop_without_a_clip_and_a_preview_are_asked_for(run):
    ((request,), (video, _)) = run("loop", "--prompt=a ball", "--frames=16")
    assert request.loop and request.given is None and video.shape[0] == 16
    ((request,), _) = run("loop", "--prompt=a ball")
    assert request.loop and request.frames == 16
    assert "a loop of 10 frames: give a multiple of 4" in run(
        "loop", "--prompt=a ball", "--frames=10", code=2
    )
    ((request,), _) = run("--prompt=a ball", "--height=64", "--width=128", "--preview=4")
    assert (request.height, request.width, request.coarse) == (16, 32, 4)
    assert "multiples of the factor" in run("--prompt=a ball", "--preview=5", code=2)
    assert "preview does nothing in `sora-jax sample edit`" in run(
        "edit", "--prompt=a ball", "--clip=CLIP", "--preview=2", code=2
    )


def test_a_mix_begins_as_one_clip_and_ends_as_the_other(run, tmp_path):
    media.write_video(tmp_path / "white.mp4", np.full((9, 32, 48, 3), 250, np.uint8), 10.0)
    ((request,), _) = run(
        "mix",
        "--prompt=a ball",
        "--clip=CLIP",
        f"--last={tmp_path / 'white.mp4'}",
        "--strength=0.4",
    )
    assert request.strength == 0.4 and request.frames == 17
    assert request.given.known[:, 0, 0].nonzero()[0].tolist() == [0, 13, 14, 15, 16]
    levels = request.given.video[:, 0, 0, 0].astype(int)
    wanted = [(1 - s) * 10 * i + s * 250 for i, s in enumerate(np.clip(np.arange(17) / 13, 0, 1))]
    assert np.abs(levels - wanted).max() < 8


def test_a_strip_has_one_frame_in_so_many(run, tmp_path):
    size = "--frames=9", "--height=32", "--width=48"
    _, (video, _) = run(
        "--prompt=a ball", *size, "--save_every=4", f"--output={tmp_path / 'ball.npz'}"
    )
    strip = np.asarray(Image.open(tmp_path / "ball.strip.png"))
    np.testing.assert_array_equal(strip, np.concatenate(video[::4], 1))


def test_lines_of_json_are_jobs_and_what_is_there_is_kept(run, tmp_path):
    lines = [
        {"prompt": "a ball", "width": 48, "output": str(tmp_path / "ball.png"), "frames": 1},
        {"prompt": "a box", "task": "edit", "clip": str(tmp_path / "clip.mp4"), "strength": 0.2},
    ]
    (tmp_path / "jobs.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    options = f"--requests={tmp_path / 'jobs.jsonl'}", "--height=32", f"--output={tmp_path}/o.gif"
    (one, two), _ = run(*options)
    assert (one.prompt, one.frames, one.height, one.width) == ("a ball", 1, 32, 48)
    assert (two.strength, two.frames) == (0.2, 17) and two.given is not None
    made = outputs.read_metadata(tmp_path / "o-3.gif")
    assert made["job"]["task"] == "edit" and made["job"]["strength"] == 0.2
    assert made["settings"]["steps"] == 32 and made["settings"]["model"].endswith("at step 5")
    # The second line is another job, and the first one's file stays.
    (tmp_path / "jobs.jsonl").write_text(
        "\n\n".join(
            map(json.dumps, [lines[0], lines[0] | {"seed": 4, "output": str(tmp_path / "new.png")}])
        )
    )
    (only,), _ = run(*options)
    assert only.seed == 4
    (other,) = run(*options, "--steps=8")[0][:1]
    assert other.seed == 0


def test_a_job_that_fails_leaves_those_before_it(run, tmp_path):
    file = tmp_path / "jobs.jsonl"
    options = f"--requests={file}", "--height=32", "--width=48", "--frames=1"

    def list_jobs(*prompts):
        lines = [
            {"prompt": prompt, "output": str(tmp_path / f"{i}.png")}
            for i, prompt in enumerate(prompts)
        ]
        file.write_text("\n".join(map(json.dumps, lines)))

    list_jobs("a ball", "fails", "a box")
    assert "the video of 'fails' is not finite" in run(*options, code=2)
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == ["0.png"]
    list_jobs("a ball", "a disc", "a box")
    assert [request.prompt for request in run(*options)[0]] == ["a disc", "a box"]


def test_a_job_may_take_what_another_makes_and_is_made_anew_with_it(run, tmp_path):
    ball, edit = str(tmp_path / "ball.mp4"), str(tmp_path / "edit.mp4")
    lines = [
        {"prompt": "b", "task": "edit", "clip": ball, "output": edit, "strength": 0.2},
        {"prompt": "a", "output": ball, "height": 32, "width": 32},
    ]

    def asked():
        (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return [request.prompt for request in run(f"--requests={tmp_path / 'jobs.jsonl'}")[0]]

    assert asked() == ["a", "b"]
    lines[0]["seed"] = 5
    assert asked() == ["b"]
    lines[1]["height"] = 48
    assert asked() == ["a", "b"]
    # Half a file was not made.
    (tmp_path / "edit.mp4").write_bytes((tmp_path / "edit.mp4").read_bytes()[:40])
    assert asked() == ["b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "JOBS: line 1 is no JSON"),
        ("[1]", "JOBS: line 1 is no job"),
        ('{"prompt": "a", "hieght": 3}', "JOBS: unknown key line 1.hieght: did you mean 'height'?"),
        ('{"prompt": "a", "frames": 0}', "JOBS: line 1.frames is 0"),
        ('{"prompt": " "}', "JOBS: line 1.prompt is empty"),
        ('{"prompt": "a", "output": "a.mov"}', "JOBS: line 1.output: a.mov ends in '.mov'"),
        ('{"prompt": "a", "output": "b.gif"}\n{"prompt": "a", "output": "b.gif"}', "b.gif is the"),
        ('{"prompt": "a", "task": "edit", "clip": "b.gif", "output": "b.gif"}', "waits for"),
        ('{"prompt": "a", "frames": "many"}', "JOBS: line 1.frames is 'many'"),
        ('{"prompt": "a", "task": "amend"}', "JOBS: line 1.task is 'amend'"),
        ('{"prompt": "a", "task": ["edit"]}', "JOBS: line 1.task is ['edit']"),
        ('{"prompt": "a", "fps": Infinity}', "line 1.fps is inf: give it a finite number"),
        ('{"task": "text"}', "JOBS: line 1.prompt is empty"),
        (
            '{"prompt": "a", "unconditional": true}',
            "line 1.unconditional, and prompt is 'a'",
        ),
        ("", "JOBS has no jobs"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(run, tmp_path, line, message):
    (tmp_path / "jobs.jsonl").write_text(line + "\n")
    path = str(tmp_path / "jobs.jsonl")
    (said,) = run(f"--requests={path}", code=2).strip().splitlines()
    assert message.replace("JOBS", path) in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt=a", "--output=a.mov"], "ends in '.mov': name a file that ends in .mp4"),
        (["--prompt=a", "--output=a.png"], "is an image, and the video has 17 frames"),
        (["--prompt=a", "--requests=x"], "--prompt and --requests are both given"),
        (["--requests=nothing"], "no file at nothing"),
        (["inpaint", "--clip=CLIP", "--prompt=a"], "region is missing"),
        (["--prompt=a", "--repeats=2"], "repeats is 2, and euler adds no noise"),
        (["--prompt=a", "--guidance_interval=0.6,0.2"], "give two levels from 0 to 1"),
        (["animate", "--prompt=a"], "clip is missing: `sora-jax sample animate` needs a file"),
        (["--prompt=a", "--clip=x"], "clip does nothing in `sora-jax sample text`: leave it out"),
        (["amend", "--prompt=a"], "what is 'amend'? Flags are given as --name=value; tasks are"),
        (["edit", "--clip=CLIP"], "there are no prompts"),
        (["edit", "--clip=nothing.mp4", "--prompt=a"], "at nothing.mp4; check the path"),
        (["--prompt=a", "--rope_stretch=1,inf,1"], "--rope_stretch=1,inf,1: give 3 numbers"),
        (["--prompt=a", "--guidance_interval=nan,1"], "--guidance_interval=nan,1: give 2 numbers"),
        (["inpaint", "--clip=CLIP", "--prompt=a", "--region=1,2"], "--region=1,2: give 4 numbers"),
        (["inpaint", "--clip=CLIP", "--prompt=a", "--region=90,0,9,9"], "lies outside of the clip"),
    ],
)
def test_what_to_change_is_said(run, arguments, message):
    (line,) = run(*arguments, code=2).strip().splitlines()
    assert message in line


def test_cover_scales_as_little_as_it_can_and_cuts_the_middle():
    ramp = np.broadcast_to(np.arange(0, 240, 5, dtype=np.uint8)[:, None], (2, 32, 48, 3))
    np.testing.assert_array_equal(media.cover(ramp, 32, 32), ramp[:, :, 8:40])
    assert media.cover(ramp, 16, 32).shape == (2, 16, 32, 3)
    half = media.cover(ramp, 16, 24)
    assert half.shape == (2, 16, 24, 3) and np.abs(half[0, 8, :, 0] - ramp[0, 0, ::2, 0]).max() < 8
