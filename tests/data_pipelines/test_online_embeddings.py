"""Embeddings that training computes: as those that are stored, once each while they are kept."""

import concurrent.futures
import dataclasses
import json
import shutil

import numpy as np
import pytest

from data_pipelines import loader, online_embeddings
from data_pipelines.caption_embeddings import StoredEmbeddings
from data_pipelines.online_embeddings import OnlineEmbeddings
from sora_jax import sharding, text_inputs
from sora_jax.models.t5_text_encoder import T5TextEncoder
from tests.data_pipelines.test_caption_embeddings import (
    DETAILED,
    EXPERIMENT,
    SHORT,
    WIDTH,
    add_states,
    latents,  # noqa: F401
    made,  # noqa: F401
)


@pytest.fixture(scope="module")
def online(made, tmp_path_factory):  # noqa: F811
    """The same latents, whose captions have no stored embeddings."""
    folder = tmp_path_factory.mktemp("online") / "latents"
    shutil.copytree(made / "plain", folder)
    with sharding.use_mesh():
        assert add_states(folder, made / "t5", store=False)[-1] == (8, 8)
    assert {path.suffix for path in (folder / "text").rglob("*.*")} == {".npz", ".json"}
    return folder


def test_rows_are_those_of_stored_embeddings(latents, online):  # noqa: F811
    rows = []
    for folder in (latents, online):
        data = dataclasses.replace(EXPERIMENT, data=str(folder))
        rows.append(loader.open_rows(data, "train", 4))
    assert isinstance(rows[0].text, StoredEmbeddings)
    assert isinstance(rows[1].text, OnlineEmbeddings)
    for row in range(4):
        stored, computed = (each[row] for each in rows)
        limit = 2e-3 * np.abs(stored.text).max()
        np.testing.assert_allclose(computed.text, stored.text, atol=limit)
        assert np.abs(stored.text).max() > 0.1
        for name, value in stored._asdict().items():
            if name != "text":
                np.testing.assert_array_equal(getattr(computed, name), value)


def test_captions_are_encoded_once_while_they_are_kept(online, monkeypatch):
    note = text_inputs.read_text_encoder_note(online, EXPERIMENT.model)
    encoder, encode, seen = online_embeddings._Encoder(online, note), T5TextEncoder.encode, []

    def counted(self, captions):
        seen.extend(captions)
        return encode(self, captions)

    monkeypatch.setattr(T5TextEncoder, "encode", counted)
    texts = [*SHORT, "", SHORT[0]]
    first = encoder.encode(texts)
    assert sorted(seen) == sorted({*SHORT, ""})
    np.testing.assert_array_equal(first[0], first[-1])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(encoder.encode, [texts] * 8):
            for one, other in zip(found, first, strict=True):
                np.testing.assert_array_equal(one, other)
    assert len(seen) == len({*SHORT, ""})
    # Room for the first caption alone: what was asked for last stays.
    room = first[0].nbytes + 1
    monkeypatch.setattr(online_embeddings, "CACHE_BYTES", room)
    encoder.encode(SHORT[:1])
    seen.clear()
    encoder.encode(SHORT[:1])
    assert not seen
    encoder.encode(DETAILED[:1])
    encoder.encode(SHORT[:1])
    assert seen == [DETAILED[0], SHORT[0]]


def test_folders_whose_captions_are_encoded_otherwise_do_not_mix(
    latents,  # noqa: F811
    online,
    tmp_path,
):
    for folders in ([latents, online], [online, latents]):
        mixed = dataclasses.replace(
            EXPERIMENT, data=str(folders[0]), more_data=((str(folders[1]), 1.0),)
        )
        with pytest.raises(ValueError, match="have other text: .* --text_tokens and --store_text"):
            loader.open_rows(mixed, "train", 4)
    old = shutil.copytree(latents, tmp_path / "old")  # whose note says nothing of this
    note = json.loads((old / "encode.json").read_text())
    del note["text"]["stored"]
    (old / "encode.json").write_text(json.dumps(note))
    mixed = dataclasses.replace(EXPERIMENT, data=str(latents), more_data=((str(old), 1.0),))
    assert len(loader.open_rows(mixed, "train", 4)) == 4


def test_what_is_finished_is_not_stored_later(made, online):  # noqa: F811
    with sharding.use_mesh(), pytest.raises(ValueError, match="by another --store_text than asked"):
        add_states(online, made / "t5")


def test_sampling_knows_the_encoder(online):
    with sharding.use_mesh():
        inputs = text_inputs.load_text_inputs(online, EXPERIMENT.model)
    assert isinstance(inputs, T5TextEncoder)
    assert WIDTH == EXPERIMENT.model.text_embed_dim
