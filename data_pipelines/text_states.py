"""States of captions by a text encoder that is not trained, stored beside the latents.

`text/` in the folder of latents is a folder of records with one split, `captions`: one record for
each caption of any clip, and for the empty one. Its payload are the states, float16 [s, d], of the
caption's own tokens; its `meta` has the caption. `encode.json` notes the encoder under `text`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines import records
from data_pipelines.encode import REMEDY, open_latents
from sora_jax.files import write_whole
from sora_jax.models.t5_states import T5States
from sora_jax.provenance import relative

FOLDER, SPLIT = "text", "captions"


def encode(
    latents: epath.PathLike,
    text: epath.PathLike,
    encoder: T5States,
    progress: Callable[[int, int], None],
) -> None:
    """Encodes every caption of a folder of latents once; finished states are kept.

    Args:
      latents: what `encode.encode` finished.
      text: the encoder's folder, recorded there.
      progress: called with (captions done, captions in all).

    Raises:
      ValueError: the folder holds states of another encoder, or cut to another length.
    """
    latents = epath.Path(latents)
    marker, output = latents / "encode.json", latents / FOLDER
    made = json.loads(marker.read_text())
    note = {
        "folder": relative(text, latents),
        "weights": encoder.weights,
        "width": encoder.config.width,
        "tokens": encoder.tokens,
    }
    if (old := made.get("text")) is not None:
        for name, flag in (("weights", "text"), ("tokens", "text_tokens")):
            if old[name] != note[name]:
                raise ValueError(
                    f"{latents} holds states of captions by another --{flag} than asked for: "
                    "choose another --output, or delete it"
                )
        return
    if output.exists():  # of a call that did not finish
        output.rmtree()
    captions = sorted(captions_of(latents))

    def rows(_: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for done, (i, states) in enumerate(encoder.stream(captions), 1):
            payload = states.tobytes()
            meta = {"caption": captions[i], "sha256": records.sha256(payload)}
            yield f"{i:09d}", {"video": payload, "meta": json.dumps(meta)}
            progress(done, len(captions))

    records.write(output, "states", rows, (SPLIT,))
    write_whole(marker, json.dumps(made | {"text": note}))


def captions_of(latents: epath.Path) -> set[str]:
    """Every caption that a model may see."""
    found = set()
    for split in records.SPLITS:
        found.update(*(record.texts for record in open_latents(latents, split)))
    return found


def open_states(latents: epath.PathLike, width: int) -> Callable[[Sequence[str]], list[np.ndarray]]:
    """Captions to their stored states, which are all in memory.

    Raises:
      ValueError: as `records.RawSplit`; on a call, a caption has no states.
    """
    folder = epath.Path(latents) / FOLDER
    stored = {
        meta["caption"]: np.frombuffer(data, np.float16).reshape(-1, width)
        for data, meta in records.RawSplit(folder, SPLIT, f"{REMEDY} --text")
    }

    def lookup(texts: Sequence[str]) -> list[np.ndarray]:
        for text in texts:
            if text not in stored:
                raise ValueError(
                    f"{folder} has no states of the caption {text!r}: encode the clips and their "
                    "captions to another folder"
                )
        return [stored[text] for text in texts]

    return lookup
