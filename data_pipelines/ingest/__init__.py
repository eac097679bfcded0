"""From files of films and pictures to folders of filtered, captioned clips, as a Beam pipeline.

1. Each file alone, in a bounded process (`worker`): decoded once, cut at its shots and into clips
   (`decode`, `shots`), measured and filtered (`filters`). Results stay in OUTPUT/files, where the
   next run finds them.
2. All clips together: near-duplicates go (`dedup`), the others get captions (`sidecars`) and become
   shards that `data_pipelines.clips.open_split` reads (`shards`), with a manifest and a page to
   look at (`manifest`).

`pipeline.ingest` runs both.
"""
