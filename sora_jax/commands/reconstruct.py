"""sora-jax reconstruct: a video file of any size and duration through an autoencoder and back.

Frames stream from file to file, so memory does not grow with the duration; --tile bounds it in
height and width, too. The file is an mp4 of even sides: odd ones get one more row or column.

Example:
  sora-jax reconstruct --vae=runs/small/vae --input=film.mp4 --output=film_through_the_vae.mp4
"""

from absl import flags
from etils import epath

from sora_jax import sharding
from sora_jax.codec.files import reconstruct_file
from sora_jax.codec.tiles import TiledCodec
from sora_jax.codec.video_codec import load_codec

VAE = flags.DEFINE_string("vae", None, "Workdir of the autoencoder.")
INPUT = flags.DEFINE_string("input", None, "Video file.")
OUTPUT = flags.DEFINE_string("output", "reconstruction.mp4", "Video file to write.")
CHUNK = flags.DEFINE_integer("chunk", 1, "Latent frames at a time.", lower_bound=1)
TILE = flags.DEFINE_integer(
    "tile", 0, "Side of overlapping tiles in latents; 0: whole frames.", lower_bound=0
)


def main() -> None:
    """Encodes and decodes."""
    if not (VAE.value and INPUT.value):
        raise ValueError("--vae and --input are needed: name an autoencoder's workdir and a video")
    with sharding.use_mesh():
        if epath.Path(OUTPUT.value).is_dir():
            raise ValueError(f"--output={OUTPUT.value} is a folder: name a file")
        codec = load_codec(VAE.value)
        if TILE.value:
            codec = TiledCodec(codec, (TILE.value, TILE.value))
        fit = reconstruct_file(codec, INPUT.value, OUTPUT.value, CHUNK.value)
    (t, h, w), (u, y, x) = fit.original, fit.padded
    film = f"of a film of {h}x{w}, " if h % 2 or w % 2 else ""
    size = f"{h + h % 2}x{w + w % 2}"  # the file's
    print(f"{OUTPUT.value}: {t} frames of {size}, {film}on a canvas of {u} of {y}x{x}")
