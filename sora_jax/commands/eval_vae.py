"""sora-jax eval-vae: score an autoencoder on held-out clips at their native size.

Writes eval.json, index.html and strip.png: PSNR, SSIM, VGG-HED, VMAF, flicker and bits per pixel by
source and size, beside those of H.264 at the same rate. Clips are spread evenly over each source.
Of several processes, the first does it all.

Example:
  sora-jax eval-vae --checkpoint=runs/small/vae --data=runs/small/data --output=runs/small/vae_eval
"""

import datetime
import functools
import json
import platform

import jax
from absl import flags
from etils import epath

from data_pipelines.clips import open_split
from sora_jax import apart, media, sharding
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.commands import devices
from sora_jax.commands.runs import load_own_codec
from sora_jax.evals import vae_page, vae_scores
from sora_jax.evals.gallery import as_text
from sora_jax.files import write_whole
from sora_jax.progress import Progress
from sora_jax.provenance import commit

RUN = flags.DEFINE_string("checkpoint", None, "Workdir of an autoencoder.")
DATA = flags.DEFINE_string(
    "data", None, "Folder of clips, of `sora-jax worlds`, `sources` or `ingest`."
)
SPLIT = flags.DEFINE_string("split", "test", "Split of it.")
CLIPS = flags.DEFINE_integer("clips", 20, "Maximum number of clips of each source.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
devices.define_process_flags()


def main() -> None:
    """Measures, then writes the files."""
    if not (RUN.value and DATA.value and OUTPUT.value):
        raise ValueError("--checkpoint, --data and --output are needed: name the three folders")
    if CLIPS.value < 1:
        raise ValueError(f"--clips={CLIPS.value}: score one clip of each source or more")
    output = epath.Path(OUTPUT.value)
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output={output} is a file: name a folder")
    devices.start()
    with sharding.use_own_mesh():
        codec = load_own_codec(RUN.value)
        apart.on_first(functools.partial(_score, RUN.value, DATA.value, output, codec))


def _score(run: str, data: str, output: epath.Path, codec: VideoCodec) -> None:
    """Measures and writes; of several processes, in process 0."""
    records = open_split(data, SPLIT.value)
    frames, sources = records.index.sizes[:, 0], records.index.sources
    numbers = vae_scores.choose(frames, sources, CLIPS.value)
    sizes = [tuple(map(int, records.index.sizes[i])) for i in numbers]
    left_out = vae_scores.missing_measures(sizes)
    for line in left_out:
        print(line)
    shown, scored = vae_scores.longest(frames, sources, numbers), []
    score = vae_scores.scorer(codec, sizes)
    progress = Progress()
    for done, i in enumerate(numbers, 1):
        clip = score(records[i])
        if faults := vae_scores.not_finite(clip.numbers):
            raise ValueError(
                f"clip {i} of {clip.source} has {', '.join(faults)} not finite: the weights in "
                f"{run} are damaged, make them anew"
            )
        scored.append(clip if i in shown else clip._replace(decoded={}))
        progress.show(done, len(numbers), "clips scored")
    clips = [(records[i], clip) for i, clip in zip(numbers, scored, strict=True) if i in shown]
    report = {
        "checkpoint": run,
        "step": codec.step,
        "data": data,
        "split": SPLIT.value,
        "clips": len(numbers),
        "parameters": sum(a.size for a in jax.tree.leaves(codec.params)),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "machine": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "left_out": left_out,
        "sources": vae_scores.mean_by(scored, lambda clip: clip.source),
        "sizes": vae_scores.mean_by(scored, lambda clip: f"{clip.source} {clip.size}"),
        "each": [
            {"record": i, "source": clip.source, "size": clip.size} | clip.numbers
            for i, clip in zip(numbers, scored, strict=True)
        ],
    }
    write_whole(output / "eval.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    (output / "strip.png").write_bytes(media.image_bytes(vae_page.strip(clips)))
    vae_page.write_page(output / "index.html", report, clips, commands())
    print(as_text(vae_page.tables(report)[0]))
    print(f"wrote {output / 'eval.json'}, {output / 'index.html'} and {output / 'strip.png'}")


def commands() -> list[str]:
    """The command of the page, and one to try next."""
    return [
        f"sora-jax eval-vae --checkpoint={RUN.value} --data={DATA.value} --split={SPLIT.value} "
        f"--clips={CLIPS.value} --output={OUTPUT.value}",
        f"sora-jax reconstruct --vae={RUN.value} --input=film.mp4 --output=film_through_it.mp4",
    ]
