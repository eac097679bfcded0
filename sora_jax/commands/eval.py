"""sora-jax eval: score a model on simulated worlds, beside real clips and videos that must fail.

Writes scores.json and scores.html. The prompts are detailed captions of held-out clips: of
combinations of attributes that are not in training (split test), and of speeds, sizes and counts
outside of training's range (split test_laws). Videos of any other model are scored with --clips, a
folder that --write_prompts began: it holds prompts.json, first frames, and a video for each entry.
Over several processes, all sample with --checkpoint, and process 0 scores and writes.

Examples:
  sora-jax eval --checkpoint=runs/small/dit --output=runs/small/scores
  sora-jax eval --write_prompts=theirs --data=runs/small/data --num_clips=20 --given=0,1
  sora-jax eval --clips=theirs --output=theirs/scores
"""

import functools
import json
import shlex
from typing import Any

from absl import flags
from etils import epath

from data_pipelines.latents import sources_of
from sora_jax import processes, sharding
from sora_jax.commands import cases, devices, distributions, evaluation, submissions
from sora_jax.commands.runs import load_generator
from sora_jax.diffusion.samplers import SAMPLERS
from sora_jax.evals import score_tables, scores_page
from sora_jax.evals.gallery import as_text, write_gallery
from sora_jax.files import write_whole
from sora_jax.generation.prompting import generate_from_prompts
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.release import is_release

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Workdir of a diffusion run, or folder of a released model."
)
CLIPS = flags.DEFINE_string("clips", None, "Folder of prompts.json and videos of another model.")
WRITE_PROMPTS = flags.DEFINE_string("write_prompts", None, "Folder to write prompts.json to.")
DATA = flags.DEFINE_string(
    "data", None, "Folder of `sora-jax worlds`; that of the checkpoint's training if not given."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
WORLDS = flags.DEFINE_list("worlds", [], "Names of worlds; all that the data has if not given.")
NUM_CLIPS = flags.DEFINE_integer("num_clips", 8, "Maximum number of clips of a world and split.")
GIVEN = flags.DEFINE_list("given", ["0"], "Numbers of first frames that are given, 0 for none.")
STEPS = flags.DEFINE_integer("steps", 32, "Steps from noise to data.", lower_bound=1)
SAMPLER = flags.DEFINE_enum("sampler", "euler", list(SAMPLERS), "Method of integration.")
GUIDANCE = flags.DEFINE_float("guidance", 2.0, "Scale of guidance; 1 means none.")
DISTRIBUTION = flags.DEFINE_bool(
    "distribution", True, "Also distances of distributions, and to the nearest training clip."
)
devices.define_process_flags()
devices.define_mesh_flag()

_MODES = {
    "checkpoint": (DATA, OUTPUT, WORLDS, NUM_CLIPS, GIVEN, STEPS, SAMPLER, GUIDANCE, DISTRIBUTION),
    "clips": (OUTPUT, WORLDS, DISTRIBUTION),
    "write_prompts": (DATA, WORLDS, NUM_CLIPS, GIVEN),
}
"""What each of the three ways to call this command takes."""


def main() -> None:
    """Scores a model or a folder of videos, or writes prompts."""
    _check_flags()
    if NUM_CLIPS.value < 1:
        raise ValueError(f"--num_clips={NUM_CLIPS.value}: score one clip of each world or more")
    if WRITE_PROMPTS.value:
        _write_prompts(WRITE_PROMPTS.value, _read_givens())
        return
    if not OUTPUT.value:
        raise ValueError("--output is missing: name a folder")
    output = epath.Path(OUTPUT.value)
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output={output} is a file: name a folder")
    if CLIPS.value:
        with sharding.use_mesh():
            found = _score_clips(CLIPS.value)
            _write_report(output, {"clips": CLIPS.value}, found)
    else:
        givens, mesh = _read_givens(), devices.mesh_config()
        devices.start()
        with sharding.use_mesh(mesh):
            found = _score_checkpoint(CHECKPOINT.value or "", givens, output)
        if not processes.is_first():
            return
    for group in found.groups:
        for table in (*score_tables.overview(group), *score_tables.score_tables(group)):
            print(f"\n{table.title}\n{as_text(table)}")
    for line in found.left_out:
        print(line)
    print(f"wrote {output / 'scores.json'} and {output / 'scores.html'}")


def _write_report(
    output: epath.Path, source: dict[str, Any], found: evaluation.EvalResults
) -> None:
    """Writes scores.json and scores.html, with what `source` says of the model."""
    report = source | evaluation.describe_run()
    report |= {
        "groups": found.groups,
        "distribution": found.distribution_json(),
        "left_out": found.left_out,
    }
    write_whole(output / "scores.json", json.dumps(report, allow_nan=False) + "\n")
    write_page(output / "scores.html", report, found)


def _check_flags() -> None:
    """Checks that one of the three ways is chosen, and that every flag is one that it takes."""
    modes = [f.name for f in (CHECKPOINT, CLIPS, WRITE_PROMPTS) if f.value]
    if len(modes) != 1:
        raise ValueError("give one of --checkpoint, --clips and --write_prompts")
    known = {flag.name for taken in _MODES.values() for flag in taken} | {*devices.FLAGS}
    taken = {flag.name for flag in _MODES[modes[0]]}
    unused = known - taken - ({*devices.FLAGS} if CHECKPOINT.value else set())
    given = sorted(name for name in unused if flags.FLAGS[name].present)
    if given:
        raise ValueError(f"--{given[0]} does nothing with --{modes[0]}: leave it out")


def _write_command() -> str:
    """The command line of this call, with every flag that was given."""
    names = dict.fromkeys(("checkpoint", "clips", *(f.name for f in _MODES["checkpoint"]), "mesh"))
    given = [flags.FLAGS[name].serialize() for name in names if flags.FLAGS[name].present]
    return " ".join(["sora-jax eval", *map(shlex.quote, given)])


def _read_givens() -> list[int]:
    try:
        givens = [int(text) for text in GIVEN.value]
    except ValueError as error:
        raise ValueError(f"--given={','.join(GIVEN.value)}: give numbers such as 0,1,5") from error
    if not givens or min(givens) < 0:
        raise ValueError(f"--given={','.join(GIVEN.value)}: give numbers from 0 on")
    return list(dict.fromkeys(givens))


def _write_prompts(folder: str, givens: list[int]) -> None:
    if not DATA.value:
        raise ValueError("--data is missing: name a folder of `sora-jax worlds`")
    chosen = [
        case
        for split in cases.SPLITS
        for case in cases.read_cases(DATA.value, split, WORLDS.value, NUM_CLIPS.value, min(givens))
    ]
    if not chosen:
        raise ValueError(f"{DATA.value} has no clips of more than {min(givens)} frames")
    count = cases.write_prompts(folder, DATA.value, chosen, givens)
    print(
        f"wrote {count} prompts to {epath.Path(folder) / cases.PROMPTS}: put the "
        "videos beside it and score them with --clips"
    )


def _score_checkpoint(run: str, givens: list[int], output: epath.Path) -> evaluation.EvalResults:
    """Scores a model; the report is written anew after each split and number of given frames."""
    if is_release(run) and not DATA.value:
        raise ValueError("--data is missing: a released model comes without clips")
    data = DATA.value or sources_of(run)[1]
    generator = load_generator(run)
    config = SamplingConfig(STEPS.value, GUIDANCE.value, SAMPLER.value)
    source = {
        "checkpoint": run,
        "step": generator.run.step,
        "data": str(data),
        "sampling": {"steps": config.steps, "guidance": config.guidance, "sampler": config.sampler},
    }
    progress = devices.progress_of("rows of samples")
    found, _ = evaluation.evaluate_model(
        *(generator, generate_from_prompts(generator, config, progress)),
        *(data, WORLDS.value, NUM_CLIPS.value, givens, DISTRIBUTION.value),
        functools.partial(_write_report, output, source),
    )
    return found


def _score_clips(folder: str) -> evaluation.EvalResults:
    found = evaluation.EvalResults()
    for part in submissions.read_submissions(folder, WORLDS.value):
        videos = {score_tables.MODEL: part.videos}
        found.add(part.cases, videos, part.split, part.given)
        known = all(case.real is not None for case in part.cases)
        if DISTRIBUTION.value and known and not found.distribution:
            distributions.compare(found, part.cases, videos, part.given)
    return found


def write_page(path: epath.Path, report: dict[str, Any], found: evaluation.EvalResults) -> None:
    """Writes the page of a report, as in scores.json."""
    first, what = found.groups[0], f"The videos in {CLIPS.value}"
    if CHECKPOINT.value:
        what = f"{CHECKPOINT.value} at step {report['step']}"
    write_gallery(
        path,
        "Scores on simulated worlds",
        scores_page.summary(what, found.left_out),
        scores_page.headline(first),
        [],
        found.comparisons,
        [],
        [
            *(table for group in found.groups for table in score_tables.all_tables(group)),
            *score_tables.distribution_tables(found.distribution),
            score_tables.meanings_table(found.groups),
        ],
        [_write_command()],
        [table for group in found.groups for table in score_tables.overview(group)],
    )
