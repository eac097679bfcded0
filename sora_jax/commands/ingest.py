r"""sora-jax ingest: your films and pictures to clips, as ArrayRecord files like those of worlds.

Every file is decoded in a process with limits, cut at its shots and into clips of 1 + 4k frames,
cropped where it is letterboxed, made small, measured and filtered; near-duplicates are removed.
NAME.json, NAME.srt and NAME.txt beside NAME.mp4 give captions, licence, source and sha256; so do
the rows of a table, and the members of an archive (data_pipelines/ingest/inputs.py). The
folder has manifest.json, files-*.jsonl with a line for each file, and contact_sheet.html. A second
call does what is missing: OUTPUT/files, the clips of each file, may be deleted when no more will
come.

Example:
  sora-jax ingest --input='films/**/*' --output=runs/films --clips.max_pixels=36864
On Dataflow, where the workers need this package too:
  sora-jax ingest --input='gs://BUCKET/films/**/*' --output=gs://BUCKET/clips \
    --runner=DataflowRunner --beam=--project=PROJECT --beam=--region=REGION \
    --beam=--temp_location=gs://BUCKET/temp --beam=--sdk_container_image=IMAGE
"""

import logging

from absl import flags

from data_pipelines.ingest.config import IngestConfig, from_dict
from sora_jax.config import describe_fields

INPUT = flags.DEFINE_string(
    "input",
    None,
    "Folder, or a pattern in quotes, as 'films/**/*'; or a table of films (.parquet, .csv, "
    ".jsonl), or archives (.tar).",
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write, or to bring up to date.")
RUNNER = flags.DEFINE_string("runner", "DirectRunner", "Beam's runner.")
WORKERS = flags.DEFINE_integer("workers", 0, "Files at a time, DirectRunner; 0: as processors.")
BEAM = flags.DEFINE_multi_string(
    "beam", [], "An option of Beam's, --beam=--NAME=VALUE; repeatable."
)
_DEFINE = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}


def _settings(part) -> dict[str, flags.FlagHolder]:
    """A flag for each field, explained by the dataclass's docstring."""
    title = type(part).__name__.lower()
    return {
        name: _DEFINE[type(getattr(part, name))](f"{title}.{name}", getattr(part, name), meaning)
        for name, meaning in describe_fields(type(part)).items()
    }


SETTINGS = {name: _settings(part) for name, part in vars(IngestConfig()).items()}


def main() -> None:
    """Ingests, and says what became of files and clips."""
    if not INPUT.value:
        raise ValueError("--input is missing: name a folder, or a pattern like 'films/**/*'")
    if not OUTPUT.value:
        raise ValueError("--output is missing: name the folder to write")
    logging.getLogger().setLevel(logging.ERROR)  # Beam warns of services that are not used
    from data_pipelines.ingest import manifest, pipeline

    config = from_dict({k: {n: f.value for n, f in v.items()} for k, v in SETTINGS.items()})
    total = pipeline.ingest(
        INPUT.value, OUTPUT.value, config, RUNNER.value, WORKERS.value, BEAM.value
    )
    for kind, first in (("files", "seen"), ("clips", "cut")):
        found = total[kind]
        reasons = ", ".join(f"{count} {reason}" for reason, count in found["rejected"].items())
        rejected = f"; rejected: {reasons}" if reasons else ""
        print(f"{kind}: {found[first]} {first}, {found['kept']} kept{rejected}")
    splits = ", ".join(f"{count} {split}" for split, count in total["splits"].items())
    print(f"splits: {splits or 'none'}; look at {OUTPUT.value}/{manifest.PAGE}")
