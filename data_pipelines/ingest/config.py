"""Settings of an ingest: one dataclass for each part, which checks its values.

Every field is a command-line flag, as --clips.max_frames; its text below is the help.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sora_jax.media import MIN_SIDE_PIXELS

RECIPE = 3  # version of stage 1; raise it when the same file and settings give other clips


@dataclasses.dataclass(frozen=True)
class Limits:
    """Maxima for one file; a file that exceeds one of them is rejected.

    Attributes:
      megabytes: maximum size of the file.
      pixels: maximum pixels of one frame as stored.
      seconds: maximum duration.
      memory_megabytes: maximum memory of the process that decodes the file, in addition to that of
        an idle process.
      wall_seconds: maximum time for all work on the file.
    """

    megabytes: int = 65_536
    pixels: int = 8192 * 4608
    seconds: float = 4 * 3600.0
    memory_megabytes: int = 3072
    wall_seconds: float = 4 * 3600.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"limits.{name} is {value}: it must be above 0")


@dataclasses.dataclass(frozen=True)
class Clips:
    """Size and length of the clips that are cut.

    Attributes:
      max_pixels: maximum pixels of a frame; larger frames shrink to it and keep their aspect ratio.
      min_frames: minimum frames of a clip, 1 + 4k; shorter shots are rejected, images are not.
      max_frames: maximum frames of a clip, 1 + 4k; longer shots become several clips.
      max_fps: maximum frames per second; frames of faster films are left out evenly.
      crf: quality of the stored video, from 1 (best) to 51, in 4:2:0; 0 stores RGB without loss.
      max_bar_luma: maximum luma, 0 to 255, of letterbox bars, which are cropped away; -1 keeps
        them.
      high_range: what becomes of films in high dynamic range (PQ and HLG): "convert" makes them
        standard range, "reject" rejects them.
      interlaced: what becomes of interlaced and telecined films: "convert" or "reject".
    """

    max_pixels: int = 256 * 256
    min_frames: int = 9
    max_frames: int = 65
    max_fps: float = 60.0
    crf: int = 16
    max_bar_luma: int = 24
    high_range: str = "convert"
    interlaced: str = "convert"

    def __post_init__(self):
        for name in ("min_frames", "max_frames"):
            if (frames := getattr(self, name)) < 1 or frames % 4 != 1:
                raise ValueError(f"clips.{name} is {frames}: it must be 1 + 4k, as 9 or 65")
        if self.min_frames > self.max_frames:
            raise ValueError(
                f"clips.min_frames {self.min_frames} is above clips.max_frames {self.max_frames}: "
                "lower it"
            )
        if self.max_pixels < MIN_SIDE_PIXELS**2:
            raise ValueError(
                f"clips.max_pixels is {self.max_pixels}: use {MIN_SIDE_PIXELS**2} or more"
            )
        for name in ("high_range", "interlaced"):
            if getattr(self, name) not in ("convert", "reject"):
                raise ValueError(
                    f"clips.{name} is {getattr(self, name)!r}: choose convert or reject"
                )
        if not (0 <= self.crf <= 51 and self.max_fps > 0 and -1 <= self.max_bar_luma < 255):
            raise ValueError(
                "clips needs a crf of 0 to 51, max_fps above 0 and max_bar_luma of -1 to 254"
            )


@dataclasses.dataclass(frozen=True)
class Filters:
    """Thresholds on the measures of `filters.measure`; images have neither change nor motion.

    Attributes:
      min_luma: luma, 0 to 255, below which a clip is rejected as black.
      min_change: change, 0 to 255, below which a clip is rejected as static.
      min_motion, max_motion: range of the motion of a clip, in picture diagonals per second.
      max_text: maximum share of the picture that burnt-in text covers, 0 to 1; 1 does not look for
        text, less needs `pip install rapidocr-onnxruntime`.
    """

    min_luma: float = 32.0
    min_change: float = 0.5
    min_motion: float = 0.0
    max_motion: float = 4.0
    max_text: float = 1.0

    def __post_init__(self):
        if self.min_motion > self.max_motion:
            raise ValueError(
                f"filters.min_motion {self.min_motion} is above "
                f"filters.max_motion {self.max_motion}: no clip would be left"
            )
        if not 0 <= self.max_text <= 1:
            raise ValueError(f"filters.max_text is {self.max_text}: it is a share, 0 to 1")


@dataclasses.dataclass(frozen=True)
class Dedup:
    """Criteria by which two clips are duplicates.

    Attributes:
      max_distance: maximum fraction of differing hash bits of duplicates (of 256); -1 keeps
        duplicates. Copies in other sizes and qualities differ in up to 0.03, two shots of one
        camera in 0.05.
      bands: number of bands a hash is split into. Clips are compared where a band is equal: with
        more bands than differing bits, no duplicate is missed.
    """

    max_distance: float = 0.04
    bands: int = 16

    def __post_init__(self):
        if self.bands not in (4, 8, 16, 32) or self.max_distance > 0.3:
            raise ValueError(
                f"dedup.bands is {self.bands}, dedup.max_distance {self.max_distance}: "
                "use 4, 8, 16 or 32 bands and at most 0.3"
            )


@dataclasses.dataclass(frozen=True)
class Output:
    """The folder that is written.

    Attributes:
      collection: the name that all clips count as; it becomes `ClipMeta.source`.
      hold_out: unit that goes to validation or test as a whole: "file" or, where files are few,
        "shot".
      validation, test: shares of the units that go to the split, 0 to 1.
      shard_megabytes: approximate size of a shard.
      origin: text that says where files come from whose sidecar has no source; "" is their name.
      licence: licence of files whose sidecar has none.
    """

    collection: str = "files"
    hold_out: str = "file"
    validation: float = 0.05
    test: float = 0.05
    shard_megabytes: float = 256.0
    origin: str = ""
    licence: str = "unknown"

    def __post_init__(self):
        if self.hold_out not in ("file", "shot"):
            raise ValueError(f"output.hold_out is {self.hold_out!r}: choose file or shot")
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError("output.validation and output.test are shares: below 1 together")
        if not self.shard_megabytes > 0:
            raise ValueError(f"output.shard_megabytes is {self.shard_megabytes}: use more than 0")


@dataclasses.dataclass(frozen=True)
class IngestConfig:
    """All settings of an ingest."""

    limits: Limits = Limits()
    clips: Clips = Clips()
    filters: Filters = Filters()
    dedup: Dedup = Dedup()
    output: Output = Output()

    @property
    def recipe(self) -> str:
        """Hash of the settings that the clips of a file depend on: 16 hexadecimal digits."""
        parts = [RECIPE, dataclasses.asdict(self.clips), dataclasses.asdict(self.filters)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def from_dict(settings: Mapping[str, Mapping[str, Any]]) -> IngestConfig:
    """Makes the settings of the dictionary that `dataclasses.asdict` made of them."""
    parts = {field.name: field.type for field in dataclasses.fields(IngestConfig)}
    return IngestConfig(**{name: parts[name](**values) for name, values in settings.items()})  # type: ignore
