"""sora-jax worlds: simulated clips with captions and ground truth, as ArrayRecord files.

Worlds: ballistics, painter, builder; occlusion and orbit come from the small shard in the
repository, or with --render_gl are rendered anew (needs EGL or OSMesa).

Example:
  sora-jax worlds --output=runs/data --clips=ballistics:700,painter:200,builder:200,orbit:200
"""

from absl import flags

from data_pipelines.worlds import dataset
from sora_jax.progress import progress_of

OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
CLIPS = flags.DEFINE_list(
    "clips",
    ["ballistics:600", "painter:220", "builder:220", "occlusion:220", "orbit:220"],
    "Training clips of each world, NAME:COUNT.",
)
SEED = flags.DEFINE_integer("seed", 0, "Another seed gives other clips.")
RENDER_GL = flags.DEFINE_bool("render_gl", False, "Render the worlds that need OpenGL.")


def main() -> None:
    """Builds the folder, or finds it built."""
    if not OUTPUT.value:
        raise ValueError("--output is missing: name the folder to write")
    clips = {}
    for item in CLIPS.value:
        name, _, count = item.partition(":")
        if not count.isdigit():
            raise ValueError(f"--clips has {item!r}: write NAME:COUNT, as in ballistics:600")
        clips[name] = int(count)
    report = dataset.build(
        OUTPUT.value,
        clips,
        SEED.value,
        RENDER_GL.value,
        progress_of("clips"),
    )
    for split, counts in report["splits"].items():
        print(f"{split}: {counts['clips']} clips, {counts['frames']} frames")
