"""The ingest as a Beam pipeline, for this machine (DirectRunner) or Dataflow, Flink and Spark."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from data_pipelines.ingest import dedup, file_report, filters, inputs, manifest, shards, staging
from data_pipelines.ingest.config import IngestConfig
from data_pipelines.ingest.worker import Worker

try:
    import apache_beam as beam
    from apache_beam.metrics.metric import Metrics
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.pvalue import AsDict, AsList, AsSingleton
except ImportError as error:
    raise ValueError("ingest needs Apache Beam: pip install 'sora-jax[ingest]'") from error


def ingest(
    source: str,
    output: epath.PathLike,
    config: IngestConfig,
    runner: str = "DirectRunner",
    workers: int = 0,
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Makes a folder of clips of all files, or adds the missing clips to it.

    Args:
      source: a folder, a pattern such as films/**/*, a table or archives, see `inputs`; local or
        gs://.
      output: folder to write; results of an earlier call stay where they still hold.
      runner: name of Beam's runner; others than DirectRunner take their `options`.
      workers: files that DirectRunner takes at a time; 0 is the number of processors.
      options: Beam's options, as "--region=europe-west4".

    Returns:
      The manifest.

    Raises:
      ValueError: no files match, or the settings cannot be met.
      OSError: a worker failed, for instance since the output cannot be written.
    """
    output = epath.Path(output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file: name a folder for the output")
    inputs.check(source, os.fspath(output))
    if config.filters.max_text < 1 and not filters.is_ocr_installed():
        raise ValueError("filters.max_text needs OCR: pip install rapidocr-onnxruntime")
    here = runner == "DirectRunner"
    threads = [f"--direct_num_workers={workers or os.cpu_count()}"]
    threads += ["--direct_running_mode=multi_threading"]
    asked = PipelineOptions([f"--runner={runner}", *(threads if here else []), *options])
    shards.hide(output)
    try:
        with beam.Pipeline(options=asked) as pipeline:
            build_graph(pipeline, source, output, config)
    except RuntimeError as error:  # DirectRunner's: what a worker raised, as text
        raise OSError(str(error).strip().splitlines()[-1]) from error
    return json.loads((output / manifest.NAME).read_text())


class _Extract(beam.DoFn):
    """Stage 1: turns inputs into reports."""

    def __init__(self, output: epath.Path, config: IngestConfig):
        self._output, self._config = output, config

    def setup(self):
        self._worker = Worker()

    def process(self, given: inputs.Input) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        report = file_report.report_file(given, self._output, self._config, self._worker)
        Metrics.counter("files", report["reason"] or "used").inc()
        yield report

    def teardown(self):
        self._worker.close()


def build_graph(
    pipeline: beam.Pipeline, source: str, output: epath.Path, config: IngestConfig
) -> None:
    """Adds both stages, from the source of inputs to the manifest, to a pipeline."""
    reports = (
        pipeline
        | "source" >> beam.Create([source])
        | "list" >> beam.FlatMap(inputs.list_inputs, os.fspath(output))
        | "by name" >> beam.Map(lambda given: (given.name, given))
        | "spread" >> beam.GroupByKey()
        | "each once" >> beam.FlatMapTuple(lambda _, same: inputs.name_once(same))
        | "extract" >> beam.ParDo(_Extract(output, config))
    )
    rows = reports | "rows" >> beam.FlatMap(file_report.list_rows, config)
    losers = (
        rows
        | "bands" >> beam.FlatMap(_key_by_band, config)
        | "candidates" >> beam.GroupByKey()
        | "compare"
        >> beam.FlatMap(lambda band: dedup.find_duplicates(band[1], config.dedup.max_distance))
        | "first" >> beam.CombinePerKey(min)
    )
    judged = (
        {"rows": rows | "by clip" >> beam.Map(lambda row: (row["key"], row)), "of": losers}
        | "judge" >> beam.CoGroupByKey()
        | "judged" >> beam.Map(_mark_duplicate)
    )
    kept = judged | "kept" >> beam.Filter(lambda row: not row["duplicate_of"])
    counts = (
        kept
        | "sizes" >> beam.Map(lambda row: (row["meta"].split, row["bytes"]))
        | "split sizes" >> beam.CombinePerKey(sum)
        | "counts" >> beam.MapTuple(lambda split, size: (split, _count_shards(size, config)))
    )
    by_shard = kept | "by shard" >> beam.Map(_key_by_shard, AsDict(counts))
    every = counts | "every shard" >> beam.FlatMapTuple(
        lambda split, count: [((split, i, count), None) for i in range(count)]
    )  # so that none is missing for want of clips
    shard_infos = (
        (by_shard, every)
        | "all shards" >> beam.Flatten()
        | "shards" >> beam.GroupByKey()
        | "write" >> beam.Map(_write_shard, output)
    )
    lines = (
        {
            "report": reports | "by file" >> beam.Map(lambda report: (report["key"], report)),
            "rows": judged | "rows by file" >> beam.Map(lambda row: (row["file"], row)),
        }
        | "files" >> beam.CoGroupByKey()
        | "lines"
        >> beam.Map(lambda item: manifest.summarize_file(item[1]["report"][0], item[1]["rows"]))
    )
    shown = (
        (
            reports | "rejected clips" >> beam.FlatMap(manifest.list_rejected_clips),
            judged | "other clips" >> beam.Map(manifest.describe_clip),
        )
        | "clips" >> beam.Flatten()
        | "few" >> beam.combiners.Top.SmallestPerKey(manifest.MAX_SHOWN_CLIPS)
    )
    totals = (
        lines
        | "counts of a file" >> beam.Map(manifest.count_line)
        | "totals" >> beam.CombineGlobally(manifest.add_counts)
    )
    parts = (
        lines
        | "by part"
        >> beam.Map(
            lambda line, files: manifest.key_by_part(line, files[("files", "seen")]),
            AsSingleton(totals),
        )
        | "parts" >> beam.GroupByKey()
        | "write lines" >> beam.MapTuple(lambda part, some: manifest.write_part(output, part, some))
    )
    _ = (
        pipeline
        | "once" >> beam.Create([None])
        | "finish"
        >> beam.Map(
            lambda _, *all_: manifest.finish(output, config, *all_),
            AsSingleton(totals),
            *(AsList(part) for part in (shard_infos, shown, parts)),
        )
    )


def _key_by_band(
    row: dict[str, Any], config: IngestConfig
) -> Iterator[tuple[str, dedup.HashedClip]]:
    """Yields a clip once for each band of its hash; images are compared with images only.

    Of a clip without a hash, which is flat, nothing is yielded: it is no duplicate.
    """
    if config.dedup.max_distance >= 0 and row["hash"]:
        clip = dedup.HashedClip(-row["pixels"], row["key"], row["shot"], row["hash"])
        kind = "image" if row["meta"].size[0] == 1 else "film"
        for band in dedup.split_bands(row["hash"], config.dedup.bands):
            yield f"{kind}-{band}", clip


def _mark_duplicate(item: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Adds to a row the key of the clip that it is a duplicate of, or ""."""
    (row,), of = item[1]["rows"], item[1]["of"]
    return row | {"duplicate_of": next(iter(of), "")}


def _count_shards(size: int, config: IngestConfig) -> int:
    return max(1, math.ceil(size / (config.output.shard_megabytes * 1e6)))


def _key_by_shard(row: dict[str, Any], counts: dict[str, int]):
    """Keys a row by its shard: split, number of the shard, shards of the split."""
    split = row["meta"].split
    return (split, int(staging.draw_fraction(row["key"]) * counts[split]), counts[split]), row


def _write_shard(item, output: epath.Path) -> dict[str, Any]:
    (split, index, count), rows = item
    return shards.write_shard(output, split, index, count, filter(None, rows))
