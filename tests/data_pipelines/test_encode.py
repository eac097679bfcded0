"""Clips to latents: shard by shard, by any number of workers, stopped and gone on with."""

import concurrent.futures
import json
import shutil
import types

import numpy as np
import pytest

from data_pipelines import encode, latents, records, shards
from data_pipelines.clip_meta import text_key
from data_pipelines.clips import open_split
from data_pipelines.shard_jobs import Share
from sora_jax import media
from sora_jax.models.tokenizer import Tokenizer
from tests.data_pipelines.folders import clip_meta

CLIPS = {"train": 7, "validation": 2}


class VideoCodec:
    """Stands in for the autoencoder: the mean of each 4x4 pixels; counts what it encodes."""

    config = types.SimpleNamespace(latent_channels=3)
    params, statistics = {"w": np.ones(1)}, {}

    def __init__(self, stop_after=99):
        self.left = stop_after

    def encode_clip(self, video, multiple):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        t, h, w, _ = video.shape
        return media.to_float(video).reshape(t, h // 4, 4, w // 4, 4, 3).mean((2, 4)), None

    def decode(self, values):
        return np.repeat(np.repeat(values, 4, 2), 4, 3)


def write_clips(folder, counts, captioned=True):
    rng = np.random.default_rng(0)

    def rows(split):
        for i in range(counts[split]):
            data = media.encode_video(rng.integers(0, 256, (1 + i % 2, 16, 16, 3), np.uint8), 8)
            captions = {"short": f"clip {i}", "detailed": f"clip {i} of {split}"}
            meta = clip_meta(
                data,
                captions=captions if captioned else {},
                size=(1 + i % 2, 16, 16),
                split=split,
                truth={"x": 1},
            )
            yield f"{split}-{i}", {"video": data, "meta": json.dumps(meta.write())}

    records.write(folder, "clips", rows, list(counts))
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"), CLIPS)


def run(clips, output, codec=None, share=None, text=None, multiple=1, shard=3):
    return encode.encode(
        *(
            clips,
            "vae",
            output,
            codec or VideoCodec(),
            text or encode.TokenizerSource(32),
            multiple,
        ),
        *(lambda *_: None, share or Share(), shard),
    )


def files(folder):
    """Every file of latents and what is in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "latents"
    assert run(clips, folder) == 0
    return folder


def test_records_and_catalog_are_the_clips(clips, whole):
    tokenizer = Tokenizer(whole / "tokenizer.model")
    for split, count in CLIPS.items():
        found, wanted = latents.Latents(whole, split), open_split(clips, split)
        assert len(found) == len(wanted) == count
        for i, (one, clip) in enumerate(zip(found, wanted, strict=True)):
            made, _ = VideoCodec().encode_clip(clip.video, 1)
            np.testing.assert_array_equal(one.latent, made.astype(np.float16))
            assert one.texts == (*clip.captions.values(), "") and one.meta.truth is None
            assert tuple(found.catalog.shapes[i]) == one.latent.shape
            lengths = list(map(len, tokenizer.encode(one.texts)))
            assert found.catalog.tokens[i].tolist() == lengths
            assert list(found.catalog.texts[i]) == list(map(text_key, one.texts))
    assert latents.load_channel_sensitivity(whole).shape == (3,)


def test_a_stopped_call_goes_on_and_ends_with_the_same_bytes(clips, whole, tmp_path):
    folder = tmp_path / "w" / "latents"
    for stop_after in (0, 4, 2):  # the second one finishes a shard of three and starts another
        with pytest.raises(KeyboardInterrupt):
            run(clips, folder, VideoCodec(stop_after))
    codec = VideoCodec()
    assert run(clips, folder, codec) == 0
    assert 99 - codec.left == 9 - 3
    assert {k: v for k, v in files(folder).items() if "encode.json" not in k} == {
        k: v for k, v in files(whole).items() if "encode.json" not in k
    }
    idle = VideoCodec(0)
    assert run(clips, folder, idle) == 0  # finished: nothing to do


@pytest.mark.parametrize(
    ("factor", "cause"), [(np.nan, "not finite"), (1e6, "too large for float16")]
)
def test_a_latent_that_float16_cannot_hold_is_named_and_not_stored(clips, tmp_path, factor, cause):
    class Broken(VideoCodec):
        def encode_clip(self, video, multiple):
            latent, fit = super().encode_clip(video, multiple)
            return (latent * factor if self.left == 94 else latent), fit  # the fifth

    named = f"vae cannot encode clip 4 of train, from .*: its latent is {cause}"
    with pytest.raises(ValueError, match=named):
        run(clips, tmp_path / "latents", Broken())
    written = [path for path in files(tmp_path / "latents") if "latents-train" in path]
    assert len(written) == 1 and "00000-of-00003" in written[0]


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_share_the_shards(clips, whole, tmp_path, workers):
    folder, done = tmp_path / "w" / "latents", 0
    for worker in reversed(range(workers)):
        codec = VideoCodec()
        left = run(clips, folder, codec, Share(worker, workers))
        done += 99 - codec.left
        assert (left == 0) == (worker == 0)
    assert done == 9
    for name, data in files(folder).items():
        assert "encode.json" in name or files(whole)[name] == data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": encode.TokenizerSource(33)}, "other vocabulary"),
        ({"multiple": 2}, "other multiple"),
        ({"shard": 4}, "other shard_clips"),
    ],
)
def test_other_settings_are_refused_finished_or_not(clips, whole, tmp_path, change, message):
    with pytest.raises(KeyboardInterrupt):
        run(clips, tmp_path / "latents", VideoCodec(1))
    for folder in (whole, tmp_path / "latents"):
        with pytest.raises(ValueError, match=f"holds latents of {message} than asked for"):
            run(clips, folder, **change)


def test_a_tokenizer_may_be_shared(clips, whole, tmp_path):
    assert run(clips, tmp_path / "latents", text=encode.TokenizerSource(32, whole)) == 0
    models = [folder / "tokenizer.model" for folder in (whole, tmp_path / "latents")]
    assert models[0].read_bytes() == models[1].read_bytes()
    with pytest.raises(ValueError, match="no tokenizer at .*nowhere"):
        run(clips, tmp_path / "other", text=encode.TokenizerSource(32, tmp_path / "nowhere"))


def test_other_clips_in_the_same_place_are_refused(tmp_path):
    folder, data = tmp_path / "latents", tmp_path / "clips"
    write_clips(data, {"train": 7})
    with pytest.raises(KeyboardInterrupt):
        run(data, folder, VideoCodec(4))
    shutil.rmtree(data)
    write_clips(data, {"train": 12})
    with pytest.raises(ValueError, match="holds latents of other clips than asked for"):
        run(data, folder)


def test_other_weights_are_refused(clips, whole):
    other = VideoCodec()
    other.params = {"w": np.zeros(1)}
    with pytest.raises(ValueError, match="holds latents of other weights than asked for"):
        run(clips, whole, other)


def test_clips_without_captions_say_nothing(tmp_path):
    data, folder = write_clips(tmp_path / "clips", {"train": 2}, captioned=False), tmp_path / "x"
    assert run(data, folder) == 0
    found = latents.Latents(folder, "train")
    assert found[0].texts == ("", "", "") and (found.catalog.tokens == 1).all()


def test_only_held_out_clips_cannot_be_trained_on(tmp_path):
    write_clips(tmp_path / "clips", {"test": 2})
    with pytest.raises(ValueError, match="has no clips to train on"):
        run(tmp_path / "clips", tmp_path / "x")


def test_the_same_shard_may_be_written_twice_at_once(tmp_path):
    path, data = tmp_path / "shard", b"x" * 100_000
    rows = [{"video": data, "meta": json.dumps({"sha256": records.sha256(data)})}] * 20
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: shards.write(path, rows), range(8)))
    assert [p.name for p in tmp_path.iterdir()] == ["shard"]
