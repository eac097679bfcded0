"""Clips to latents: shard by shard, by any number of workers, stopped and gone on with."""

import concurrent.futures
import json
import shutil
import types

import jax
import numpy as np
import pytest

from data_pipelines import encode, encode_plan, latents, records, shards
from data_pipelines.clip_meta import text_key
from data_pipelines.clips import open_split
from data_pipelines.shard_jobs import Share
from sora_jax import media
from sora_jax.codec.batch_encoder import BatchEncoder, Encoded
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.models.tokenizer import Tokenizer
from tests.codec.test_video_codec import CONFIGS, random_weights
from tests.data_pipelines.folders import clip_meta

CLIPS = {"train": 7, "validation": 2}


pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def codec(one_device):
    return VideoCodec(CONFIGS["cells"], *random_weights(CONFIGS["cells"]))


class Batches:
    """Counts the clips that are encoded; stops in the midst of the batch after `stop_after`."""

    def __init__(self, monkeypatch, stop_after=99):
        start, self.clips, self.left = BatchEncoder.start, 0, stop_after

        def counted(encoder, videos, *arguments):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            self.clips += len(videos)
            return start(encoder, videos, *arguments)

        monkeypatch.setattr(BatchEncoder, "start", counted)


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


def run(codec, clips, output, share=None, text=None, multiple=1, shard=3):
    return encode.encode(
        *(clips, "vae", output, codec, text or encode.TokenizerSource(32), multiple),
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
def whole(codec, clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "latents"
    assert run(codec, clips, folder) == 0
    return folder


def test_records_and_catalog_are_the_clips(codec, clips, whole):
    tokenizer = Tokenizer(whole / "tokenizer.model")
    for split, count in CLIPS.items():
        found, wanted = latents.Latents(whole, split), open_split(clips, split)
        assert len(found) == len(wanted) == count
        for i, (one, clip) in enumerate(zip(found, wanted, strict=True)):
            made = np.asarray(codec.encode_clip(clip.video)[0])
            np.testing.assert_allclose(one.latent, made, rtol=2e-3, atol=1e-5)
            assert one.texts == (*clip.captions.values(), "") and one.meta.truth is None
            assert tuple(found.catalog.shapes[i]) == one.latent.shape
            lengths = list(map(len, tokenizer.encode(one.texts)))
            assert found.catalog.tokens[i].tolist() == lengths
            assert list(found.catalog.texts[i]) == list(map(text_key, one.texts))
    every = [one.latent.reshape(-1, 4) for one in latents.Latents(whole, "train")]
    deviation, sensitivity = latents.load_channels(whole)
    np.testing.assert_allclose(deviation, np.concatenate(every).astype(float).std(0), rtol=1e-9)
    assert sensitivity.shape == (4,) and (sensitivity > 0).all()


def test_a_stopped_call_goes_on_and_ends_with_the_same_bytes(
    codec, clips, whole, tmp_path, monkeypatch
):
    folder = tmp_path / "w" / "latents"
    for stop_after in (0, 1, 1):  # the last two finish a shard of three each
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            Batches(patch, stop_after)
            run(codec, clips, folder)
    with monkeypatch.context() as patch:
        batches = Batches(patch)
        assert run(codec, clips, folder) == 0
        assert batches.clips == 9 - 6
    assert {k: v for k, v in files(folder).items() if "encode.json" not in k} == {
        k: v for k, v in files(whole).items() if "encode.json" not in k
    }
    Batches(monkeypatch, 0)
    assert run(codec, clips, folder) == 0  # finished: nothing to do


@pytest.mark.parametrize(
    ("factor", "cause"), [(np.nan, "not finite"), (1e6, "too large for float16")]
)
def test_a_latent_that_float16_cannot_hold_is_named_and_not_stored(
    codec, clips, tmp_path, monkeypatch, factor, cause
):
    fetch, seen = Encoded.fetch, []

    def broken(encoded):
        latents = fetch(encoded)
        seen.extend(latents)
        return [
            latent * factor if len(seen) == 6 and i == 1 else latent
            for i, latent in enumerate(latents)
        ]

    monkeypatch.setattr(Encoded, "fetch", broken)
    named = f"vae cannot encode clip 4 of train, from .*: its latent is {cause}"
    with pytest.raises(ValueError, match=named):
        run(codec, clips, tmp_path / "latents")
    written = [path for path in files(tmp_path / "latents") if "latents-train" in path]
    assert len(written) == 1 and "00000-of-00003" in written[0]


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_share_the_shards(codec, clips, whole, tmp_path, monkeypatch, workers):
    folder, batches = tmp_path / "w" / "latents", Batches(monkeypatch)
    for worker in reversed(range(workers)):
        left = run(codec, clips, folder, Share(worker, workers))
        assert (left == 0) == (worker == 0)
    assert batches.clips == 9
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
def test_other_settings_are_refused_finished_or_not(
    codec, clips, whole, tmp_path, monkeypatch, change, message
):
    with pytest.raises(KeyboardInterrupt):
        Batches(monkeypatch, 1)
        run(codec, clips, tmp_path / "latents")
    for folder in (whole, tmp_path / "latents"):
        with pytest.raises(ValueError, match=f"holds latents of {message} than asked for"):
            run(codec, clips, folder, **change)


def test_a_tokenizer_may_be_shared(codec, clips, whole, tmp_path):
    assert run(codec, clips, tmp_path / "latents", text=encode.TokenizerSource(32, whole)) == 0
    models = [folder / "tokenizer.model" for folder in (whole, tmp_path / "latents")]
    assert models[0].read_bytes() == models[1].read_bytes()
    with pytest.raises(ValueError, match="no tokenizer at .*nowhere"):
        run(codec, clips, tmp_path / "other", text=encode.TokenizerSource(32, tmp_path / "nowhere"))


def test_other_clips_in_the_same_place_are_refused(codec, tmp_path, monkeypatch):
    folder, data = tmp_path / "latents", tmp_path / "clips"
    write_clips(data, {"train": 7})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Batches(patch, 1)
        run(codec, data, folder)
    shutil.rmtree(data)
    write_clips(data, {"train": 12})
    with pytest.raises(ValueError, match="holds latents of other clips than asked for"):
        run(codec, data, folder)


def test_other_weights_are_refused(codec, clips, whole):
    params = jax.tree.map(lambda a: a + 1, codec.params)
    with pytest.raises(ValueError, match="holds latents of other weights than asked for"):
        run(VideoCodec(codec.config, params, codec.statistics), clips, whole)


def test_clips_without_captions_say_nothing(codec, tmp_path):
    data, folder = write_clips(tmp_path / "clips", {"train": 2}, captioned=False), tmp_path / "x"
    assert run(codec, data, folder) == 0
    found = latents.Latents(folder, "train")
    assert found[0].texts == ("", "", "") and (found.catalog.tokens == 1).all()


def test_only_held_out_clips_cannot_be_trained_on(codec, tmp_path):
    write_clips(tmp_path / "clips", {"test": 2})
    with pytest.raises(ValueError, match="has no clips to train on"):
        run(codec, tmp_path / "clips", tmp_path / "x")


def test_the_same_shard_may_be_written_twice_at_once(tmp_path):
    path, data = tmp_path / "shard", b"x" * 100_000
    rows = [{"video": data, "meta": json.dumps({"sha256": records.sha256(data)})}] * 20
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: shards.write(path, rows), range(8)))
    assert [p.name for p in tmp_path.iterdir()] == ["shard"]


def write_mixed(folder, sizes, wrong=None):
    """Clips of these sizes; of one, the metadata says another."""

    def rows(split):
        for i, size in enumerate(sizes):
            video = np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)
            data = media.encode_video(video, 8)
            meta = clip_meta(data, size=wrong if wrong and i == 2 else size, split=split)
            yield f"{split}-{i}", {"video": data, "meta": json.dumps(meta.write())}

    records.write(folder, "clips", rows, ["train"])
    return folder


@pytest.mark.parametrize("pending", [2**29, 100])
def test_clips_of_all_sizes_are_in_their_order(codec, tmp_path, monkeypatch, pending):
    """Three canvases with two clips a batch; all in one group, or one or two in each."""
    monkeypatch.setattr(encode_plan, "MAX_PENDING", pending)
    rng = np.random.default_rng(0)
    sizes = [(int(t), 16 * int(h), 24) for t, h in rng.integers(1, 4, (11, 2)) * [3, 1]]
    data, folder = write_mixed(tmp_path / "clips", sizes), tmp_path / "latents"
    batches = Batches(monkeypatch)
    encode.encode(
        *(data, "vae", folder, codec, encode.TokenizerSource(32), 1, lambda *_: None),
        shard_clips=11,
        canvases=3,
        pixels=2 * 4 * 48 * 24,
    )
    assert batches.clips == 11 and 99 - batches.left > 4
    split = open_split(data, "train")
    for found, clip in zip(latents.Latents(folder, "train"), split, strict=True):
        wanted = np.asarray(codec.encode_clip(clip.video)[0])
        np.testing.assert_allclose(found.latent, wanted, rtol=2e-3, atol=1e-4)


def test_a_clip_that_is_not_what_its_metadata_says_is_named(codec, tmp_path):
    data = write_mixed(tmp_path / "clips", [(1, 16, 16)] * 4, wrong=(1, 16, 24))
    with pytest.raises(
        ValueError, match=r"clip 2 of train cannot be encoded: its video is \(1, 16"
    ):
        run(codec, data, tmp_path / "latents")
    data = write_mixed(tmp_path / "small", [(1, 16, 16)] * 4, wrong=(1, 8, 16))
    with pytest.raises(ValueError, match="clip 2 of train cannot be encoded: a video of 1 frames"):
        run(codec, data, tmp_path / "latents of small")


def test_a_shard_of_an_earlier_version_is_named(codec, clips, tmp_path, monkeypatch):
    folder = tmp_path / "latents"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Batches(patch, 1)
        run(codec, clips, folder)
    path = folder / "index" / "train-00000-of-00003.npz"
    arrays = dict(np.load(path))
    del arrays["moments"]
    np.savez(path, **arrays)
    with pytest.raises(
        ValueError, match="00000-of-00003.npz is of an earlier version .*: delete it"
    ):
        run(codec, clips, folder)
    path.unlink()
    assert run(codec, clips, folder) == 0


def test_sensitivity_is_the_change_of_pixels_by_noise_of_the_channels_deviation():
    """pixels = g z, and z = 0: E (g_i d_i n)^2, a half of it as the other channel does not move."""
    gains, deviation = np.array([3.0, 0.5]), np.array([2.0, 1.2])
    codec = types.SimpleNamespace(
        config=types.SimpleNamespace(latent_channels=2), decode=lambda z: z * gains
    )
    silent = [types.SimpleNamespace(latent=np.zeros((3, 8, 9, 2), np.float16))] * 40
    found = encode.channel_sensitivity(silent, codec, deviation, clips=40)
    np.testing.assert_allclose(found, (gains * deviation) ** 2 / 2, rtol=0.05)
