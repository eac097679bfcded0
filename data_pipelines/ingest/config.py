"""Settings of an ingest, one dataclass for each part, checked where they are made."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sora_jax.media import MIN_SIDE_PIXELS

RECIPE = 2  # raise it where stage 1 makes something else of the same file and settings


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may take; beyond it, it is rejected.

    Attributes:
      megabytes: size of the file.
      pixels: of one frame as stored.
      seconds: duration.
      memory_megabytes: of the process that decodes it, over what an idle one has.
      wall_seconds: for all of its work.
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
    """The clips that are cut.

    Attributes:
      pixels: most of one frame; larger pictures shrink to it, and keep their aspect.
      shortest: frames, 1 + 4k; shots that are shorter are rejected, images are not.
      longest: frames, 1 + 4k; longer shots become several clips.
      fps: most frames per second; of faster films, frames are left out evenly.
      crf: quality of the stored video, from 0 (lossless) to 51.
      bars: luma, 0 to 255, up to which the edges of a picture are a letterbox's bars, which are
        cropped away; -1 keeps them.
    """

    pixels: int = 256 * 256
    shortest: int = 9
    longest: int = 65
    fps: float = 60.0
    crf: int = 10
    bars: int = 24

    def __post_init__(self):
        for name in ("shortest", "longest"):
            if (frames := getattr(self, name)) < 1 or frames % 4 != 1:
                raise ValueError(f"clips.{name} is {frames}: it must be 1 + 4k, as 9 or 65")
        if self.shortest > self.longest:
            raise ValueError(
                f"clips.shortest {self.shortest} is above clips.longest {self.longest}: lower it"
            )
        if self.pixels < MIN_SIDE_PIXELS**2:
            raise ValueError(f"clips.pixels is {self.pixels}: use {MIN_SIDE_PIXELS**2} or more")
        if not (0 <= self.crf <= 51 and self.fps > 0 and -1 <= self.bars < 255):
            raise ValueError("clips needs a crf of 0 to 51, fps above 0 and bars of -1 to 254")


@dataclasses.dataclass(frozen=True)
class Filters:
    """Thresholds on what `filters.measure` says of a clip; images have no static, no motion.

    Attributes:
      least_luma: below it a clip is black; 0 to 255.
      least_change: below it a clip is static; levels of 0 to 255.
      least_motion, most_motion: diagonals of the picture per second.
      most_text: share of the picture that burnt-in text may cover; 1 does not look for text, less
        needs `pip install rapidocr-onnxruntime`.
    """

    least_luma: float = 32.0
    least_change: float = 0.5
    least_motion: float = 0.0
    most_motion: float = 4.0
    most_text: float = 1.0

    def __post_init__(self):
        if self.least_motion > self.most_motion:
            raise ValueError(
                f"filters.least_motion {self.least_motion} is above "
                f"filters.most_motion {self.most_motion}: no clip would be left"
            )
        if not 0 <= self.most_text <= 1:
            raise ValueError(f"filters.most_text is {self.most_text}: it is a share, 0 to 1")


@dataclasses.dataclass(frozen=True)
class Dedup:
    """Which clips count as the same.

    Attributes:
      distance: most share of the perceptual hash's 256 bits that differ; -1 keeps duplicates.
        Copies in other sizes and qualities differ in up to 0.03, two shots of one camera in 0.05.
      bands: parts of the hash; clips are compared where one part is equal, so that more parts than
        bits that may differ miss none.
    """

    distance: float = 0.04
    bands: int = 16

    def __post_init__(self):
        if self.bands not in (4, 8, 16, 32) or self.distance > 0.3:
            raise ValueError(
                f"dedup.bands is {self.bands}, dedup.distance {self.distance}: "
                "use 4, 8, 16 or 32 bands and at most 0.3"
            )


@dataclasses.dataclass(frozen=True)
class Output:
    """What is written.

    Attributes:
      world: the name that all clips count as.
      hold_out: what goes to validation or test as a whole, "file" or, where files are few, "shot".
      validation, test: their shares.
      shard_megabytes: size of a shard, about.
      source, licence: of files whose sidecar names none.
    """

    world: str = "files"
    hold_out: str = "file"
    validation: float = 0.05
    test: float = 0.05
    shard_megabytes: float = 256.0
    source: str = ""
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
        """Hash of what the clips of a file depend on."""
        parts = [RECIPE, dataclasses.asdict(self.clips), dataclasses.asdict(self.filters)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def from_dict(settings: Mapping[str, Mapping[str, Any]]) -> IngestConfig:
    """The settings that `dataclasses.asdict` made a dictionary of."""
    parts = {field.name: field.type for field in dataclasses.fields(IngestConfig)}
    return IngestConfig(**{name: parts[name](**values) for name, values in settings.items()})  # type: ignore
