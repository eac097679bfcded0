"""sora-jax reconstruct: a video file of any size and duration through an autoencoder and back.

Frames stream, so activations do not grow with the duration; latents, a small part of the pixels,
are kept between encoding and decoding. --tile bounds decoding in height and width, too.

Example:
  sora-jax reconstruct --vae=runs/demo/vae --input=film.mp4 --output=film_through_the_vae.mp4
"""

from absl import flags
from etils import epath

from sora_jax import sharding
from sora_jax.generation.coder import load_coder
from sora_jax.generation.stream import OVERLAP, decode_to_file, encode_file

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
        if 0 < TILE.value <= OVERLAP:
            raise ValueError(f"--tile={TILE.value} must be larger than the overlap, {OVERLAP}")
        coder = load_coder(VAE.value)
        latents, fit, fps = encode_file(coder, INPUT.value, CHUNK.value)
        tile = (TILE.value, TILE.value) if TILE.value else None
        decode_to_file(coder, latents, fit, OUTPUT.value, fps, CHUNK.value, tile)
    t, h, w = fit.original
    print(f"{OUTPUT.value}: {t} frames of {h}x{w}, latents {list(latents.shape)}")
