"""sora-jax worlds: simulated clips with captions and ground truth, as ArrayRecord files.

The clips are divided into files. A call that was stopped goes on with the next file, and --workers
processes of this machine make them. Where several machines share a folder, each call with its own
--worker makes every n-th file of --workers; the last one finishes the folder.

Examples:
  sora-jax worlds --output=runs/data --clips=2000
  sora-jax worlds --output=runs/data --clips=ballistics:1200,painter:220,builder:220 --workers=8
"""

from absl import flags

from data_pipelines.shard_jobs import Share
from data_pipelines.worlds import dataset
from sora_jax.progress import progress_of

OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
CLIPS = flags.DEFINE_list(
    "clips",
    ["2000"],
    "Training clips: one number, spread evenly over all worlds, or NAME:COUNT for each of some; "
    f"the worlds are {', '.join(dataset.WORLDS)}. Each other split has a tenth of it.",
)
SEED = flags.DEFINE_integer("seed", 0, "Another seed gives other clips.", lower_bound=0)
WORKERS = flags.DEFINE_integer(
    "workers", 2, "Processes on this machine, or with --worker, calls.", lower_bound=1
)
WORKER = flags.DEFINE_integer(
    "worker", None, "Number of this call, from 0, of --workers that share the clips.", lower_bound=0
)
SHARD = flags.DEFINE_integer("shard", dataset.SHARD_CLIPS, "Clips per file.", lower_bound=1)


def main() -> None:
    """Builds the folder, or finds it built."""
    if not OUTPUT.value:
        raise ValueError("--output is missing: name the folder to write")
    share, processes = Share(), WORKERS.value
    if WORKER.value is not None:
        share, processes = Share(WORKER.value, WORKERS.value), 1
        if WORKER.value >= WORKERS.value:
            raise ValueError(f"--worker={WORKER.value} of --workers={WORKERS.value}: count from 0")
    report = dataset.build(
        OUTPUT.value,
        dataset.read_counts(CLIPS.value),
        SEED.value,
        progress_of("clips"),
        share,
        processes,
        SHARD.value,
    )
    if not report["finished"]:
        print("files are left to other workers; the last one finishes the folder")
    for split, counts in report["splits"].items():
        print(f"{split}: {counts['clips']} clips, {counts['frames']} frames")
