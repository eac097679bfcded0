"""sora-jax encode: clips to latents with a trained autoencoder, and a tokenizer of the captions.

With --text, also embeddings of the captions by a T5 or UMT5, for transformers that have no text
encoder of their own (config.model.text_embed_dim); they may be added to finished latents.

A call that was stopped goes on where it stopped. Several workers share the clips when each is
called with its own --worker; they need not run at the same time. Captions are encoded when all
latents are there: call workers that ended before again. Several JAX processes (--coordinator, or a
cluster that JAX detects) share the files of clips without that: give each the same command.

Example:
  sora-jax encode --vae=runs/small/vae --data=runs/small/data --output=runs/small/latents
"""

from absl import flags

from data_pipelines import caption_embeddings, encode
from data_pipelines.encode_plan import PIXELS as PIXELS_AT_ONCE
from data_pipelines.shard_jobs import Share
from sora_jax import processes, sharding
from sora_jax.commands import devices
from sora_jax.commands.runs import load_own_codec
from sora_jax.text_inputs import load_text_encoder

VAE = flags.DEFINE_string("vae", None, "Workdir of the autoencoder.")
DATA = flags.DEFINE_string(
    "data", None, "Folder of clips, of `sora-jax worlds`, `sources` or `ingest`."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
VOCABULARY = flags.DEFINE_integer("vocabulary", 512, "Maximum number of pieces of the tokenizer.")

MULTIPLE = flags.DEFINE_integer("multiple", 2, "Side of the transformer's patch, in latents.")
TOKENIZER = flags.DEFINE_string(
    "tokenizer",
    None,
    "Folder of latents whose tokenizer is used, to train on both; else one is trained.",
)
WORKER = flags.DEFINE_integer("worker", 0, "Number of this worker, from 0.", lower_bound=0)
WORKERS = flags.DEFINE_integer(
    "workers", 1, "Number of workers that share the clips.", lower_bound=1
)
SHARD = flags.DEFINE_integer("shard", 1024, "Clips per file.", lower_bound=1)
CANVASES = flags.DEFINE_integer(
    "canvases",
    encode.CANVASES,
    "Maximum number of shapes that clips are padded to on the devices, two compilations each.",
    lower_bound=1,
)
PIXELS = flags.DEFINE_integer(
    "pixels",
    PIXELS_AT_ONCE,
    "Maximum number of pixels, over all frames, that one device encodes at once; the least block "
    "of one clip may have more.",
    lower_bound=1,
)
TEXT = flags.DEFINE_string("text", None, "Folder of a T5 or UMT5 and its tokenizer.")
TEXT_TOKENS = flags.DEFINE_integer(
    "text_tokens", 512, "Maximum number of tokens of a caption for --text.", lower_bound=1
)
STORE_TEXT = flags.DEFINE_boolean(
    "store_text",
    True,
    "Store the embeddings of --text; otherwise training computes them, and the encoder must stay.",
)
devices.define_process_flags()


def main() -> None:
    """Encodes every clip, or finds them encoded."""
    if not (VAE.value and DATA.value and OUTPUT.value):
        raise ValueError("--vae, --data and --output are needed: name the three folders")
    if WORKER.value >= WORKERS.value:
        raise ValueError(f"--worker={WORKER.value} of --workers={WORKERS.value}: count from 0")
    if not (STORE_TEXT.value or TEXT.value):
        raise ValueError("--nostore_text needs --text: name the folder of the text encoder")
    devices.start()
    with sharding.use_own_mesh():
        codec = load_own_codec(VAE.value)
        encoder = load_text_encoder(TEXT.value, TEXT_TOKENS.value) if TEXT.value else None
        share = Share(WORKER.value, WORKERS.value)
        left = encode.encode(
            DATA.value,
            VAE.value,
            OUTPUT.value,
            codec,
            encode.TokenizerSource(VOCABULARY.value, TOKENIZER.value),
            MULTIPLE.value,
            devices.progress_of("clips"),
            share,
            SHARD.value,
            CANVASES.value,
            PIXELS.value,
        )
        if not left and encoder and TEXT.value:
            left = caption_embeddings.encode(
                *(OUTPUT.value, TEXT.value, encoder, devices.progress_of("captions"), share),
                STORE_TEXT.value,
            )
        if left and processes.is_first():
            print(f"{left} shards are left to other workers; the last one finishes the folder")
