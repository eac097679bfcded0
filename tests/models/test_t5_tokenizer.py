"""Ids are those of transformers' T5Tokenizer; messages."""

import io

import numpy as np
import pytest
import sentencepiece

import experiments.benchmarks
from sora_jax.models.t5_tokenizer import T5Tokenizer
from tests.interop.reference_tokenizer import LENGTH, SENTENCES, TEXTS, UNKNOWN, train


@pytest.mark.parametrize("fallback", [False, True])
def test_ids_are_those_of_transformers(tmp_path, fallback):
    """Its answers are made by `python -m experiments.benchmarks.t5_parity`."""
    tokenizer = train(tmp_path / "spiece.model", fallback)
    texts = TEXTS if fallback else TEXTS + UNKNOWN
    with np.load(experiments.benchmarks.RESULTS / "t5_parity.npz") as kept:
        wanted = kept["tokens_bytes" if fallback else "tokens_plain"]
    found, mask = tokenizer.batch(texts, LENGTH)
    for text, ids, row in zip(texts, wanted, found, strict=True):
        np.testing.assert_array_equal(row, ids, err_msg=repr(text))
    lengths = [min(len(tokenizer.encode(text)), LENGTH) for text in texts]
    np.testing.assert_array_equal(mask.sum(1), lengths)
    assert max(len(tokenizer.encode(text)) for text in texts) > LENGTH  # so that some are cut


def test_unknown_characters_become_bytes(tmp_path):
    tokenizer = train(tmp_path / "spiece.model", True)
    ids = tokenizer.encode("😀")
    pieces = [tokenizer.model.id_to_piece(i) for i in ids]
    assert pieces == ["▁", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "</s>"]


def test_a_model_is_found_in_folders(tmp_path):
    for name in ("spiece.model", "tokenizer.model"):
        folder = tmp_path / name.split(".")[0] / "tokenizer"
        folder.mkdir(parents=True)
        wanted = train(folder / name, False).encode("a red ball")
        for path in (folder.parent, folder, folder / name):
            assert T5Tokenizer(path).encode("a red ball") == wanted


def test_models_that_are_none_are_named(tmp_path):
    with pytest.raises(ValueError, match="no tokenizer at .*spiece.model: name a spiece.model or"):
        T5Tokenizer(tmp_path)
    path = tmp_path / "spiece.model"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no sentencepiece model: fetch it again"):
        T5Tokenizer(path)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=180,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())  # sentencepiece's own ids: no padding
    with pytest.raises(ValueError, match="no padding or no end token: name the spiece.model"):
        T5Tokenizer(path)
