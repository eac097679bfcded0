"""What embeddings of captions cost, stored beside the latents or computed while a model trains.

Command:  python -m experiments.benchmarks.caption_embeddings
Bar:      captions that were computed before, and are kept, are given at least as fast as they are
          read from disk.

A UMT5 of random weights (8 blocks of width 512, 25 million parameters in products) and 400 captions
of 8 to 100 words, asked for in groups of 8, the clips of a row. `stored` reads them from files that
were just written, from memory that is; `computed` is the first time, after compilation; `kept` is
the second time. Bytes are those on disk. The encoder of Wan 2.1, UMT5-XXL (24 blocks of width 4096,
64 heads of 64, MLPs of 10240), is not run: its bytes are those of its shapes, its seconds those of
its products at 40 % of the peak of one v5p chip (459 TFLOP/s) or of this machine.
"""

import pathlib
import tempfile
import time

import jax
import numpy as np

from data_pipelines import caption_embeddings, latents
from data_pipelines.caption_embeddings import StoredEmbeddings
from data_pipelines.online_embeddings import _Encoder
from data_pipelines.shard_jobs import Share
from experiments.benchmarks import finish, matmul_speed, table
from sora_jax import sharding
from sora_jax.models import t5
from sora_jax.models.t5 import T5Config
from sora_jax.text_inputs import TextEncoderNote, load_text_encoder
from tests.data_pipelines.folders import write_latents
from tests.data_pipelines.test_caption_embeddings import text_model

CAPTIONS, GROUP, TOKENS, PEAK, BUSY = 400, 8, 512, 459e12, 0.4
SIZES = {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 8}
XXL = T5Config(256384, 4096, 24, 64, 64, 10240)
WORDS = (
    "a red ball rolls over the green hill while cat sees film of night and it moves slowly".split()
)


def product_weights(config: T5Config) -> int:
    """Counts the weights in products: all matrices but the table of embeddings."""
    shapes = jax.eval_shape(lambda: t5.init_params(jax.random.key(0), config))
    shapes = {name: tree for name, tree in shapes.items() if name != "table"}
    return sum(leaf.size for leaf in jax.tree.leaves(shapes) if leaf.ndim >= 2)


def ask(source, captions: list[str]) -> tuple[float, int]:
    """Seconds of asking for all captions in groups, and the number of embeddings."""
    began, count = time.perf_counter(), 0
    for start in range(0, len(captions), GROUP):
        count += sum(map(len, source.encode(captions[start : start + GROUP])))
    return time.perf_counter() - began, count


def main() -> None:
    """Measures, prints, writes."""
    rng = np.random.default_rng(0)
    captions = [
        " ".join(rng.choice(WORDS, rng.integers(8, 101))) + f" {number}"
        for number in range(CAPTIONS)
    ]
    with tempfile.TemporaryDirectory() as name, sharding.use_mesh():
        folder = pathlib.Path(name)
        pairs = [(caption, "") for caption in captions]
        write_latents(folder / "latents", [(1, 2, 2, 2)] * CAPTIONS, captions=pairs)
        text = text_model(folder / "t5", **SIZES)
        encoder = load_text_encoder(text, TOKENS)
        began = time.perf_counter()
        caption_embeddings.encode(folder / "latents", text, encoder, lambda *_: None, Share())
        whole = time.perf_counter() - began
        files = [path for path in (folder / "latents" / "text").rglob("*") if path.is_file()]
        stored_bytes = sum(path.stat().st_size for path in files)
        stored = StoredEmbeddings([folder / "latents"], encoder.config.width)
        note = TextEncoderNote(text, encoder.weights, encoder.config.width, TOKENS, False)
        online = _Encoder(folder / "latents", note)
        online.encode(latents.captions_of(folder / "latents")[:GROUP])
        ask(_Encoder(folder / "latents", note), captions)  # compiles
        rows = []
        for kind, source in (("stored", stored), ("computed", online), ("kept", online)):
            seconds, count = ask(source, captions)
            size = stored_bytes / count if kind == "stored" else 0
            rows.append((kind, count, size, 1e6 * seconds / count))
        speed, flops = matmul_speed(), 2 * product_weights(XXL)
    print(table(("", "embeddings", "bytes each on disk", "us each"), rows))
    figures = {
        "rows": rows,
        "encoded_in": whole,
        "xxl_bytes": 2 * XXL.width,
        "xxl_gflop": flops / 1e9,
        "xxl_us_v5p": 1e6 * flops / (BUSY * PEAK),
        "xxl_us_here": 1e6 * flops / (BUSY * speed),
    }
    print(
        f"UMT5-XXL, each: {figures['xxl_bytes']} bytes, {figures['xxl_gflop']:.1f} GFLOP, "
        f"{figures['xxl_us_v5p']:.0f} us on a v5p chip, {figures['xxl_us_here']:.0f} us here"
    )
    read, kept = rows[0][3], rows[2][3]
    missed = [] if kept <= read else [f"kept: {kept:.1f} us each, read from disk {read:.1f}"]
    finish("caption_embeddings", figures, missed)


if __name__ == "__main__":
    main()
