"""The stream of packed rows: from folders of latents, by number, whoever reads it."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from data_pipelines import loader
from data_pipelines.latents import Latents
from data_pipelines.mixture import open_mixture
from data_pipelines.pieces import cut_clips
from sora_jax.models.dit import DiTConfig
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.processes import BatchShare
from sora_jax.rows import PackingConfig, make_segment
from sora_jax.training.experiments import DiffusionExperiment
from tests.data_pipelines.folders import CAPTIONS, write_latents

MODEL = DiTConfig(latent_channels=2, text=TextEncoderConfig(vocabulary=64))
CLIPS = 30


def shapes(clips, seed=0):
    rng = np.random.default_rng(seed)
    return [(t, 4, 2 * w, 2) for t, w in rng.integers(1, 4, (clips, 2))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_latents(tmp_path_factory.mktemp("latents"), shapes(CLIPS))


def experiment_of(folder, **changes):
    packing = PackingConfig(2, 24, 64, 6, 16)
    return dataclasses.replace(
        DiffusionExperiment(data=str(folder), model=MODEL, packing=packing), **changes
    )


@pytest.fixture
def rows(folder):
    return loader.open_rows(experiment_of(folder), "train", 100)


def test_a_row_is_a_function_of_its_number(rows, folder):
    """Whatever was read before: forward, backward, from a fresh start."""
    forward = [rows[i] for i in range(30)]
    fresh = loader.open_rows(experiment_of(folder), "train", 100)
    for i in reversed(range(30)):
        for a, b in zip(forward[i], fresh[i], strict=True):
            np.testing.assert_array_equal(a, b)
    seeded = experiment_of(folder, loop=dataclasses.replace(rows.experiment.loop, seed=1))
    others = loader.open_rows(seeded, "train")
    assert any((others[i].patches != forward[i].patches).any() for i in range(5))


def test_rows_hold_their_clips_and_captions(rows, folder):
    latents, epoch = Latents(folder, "train"), rows.epoch(0)
    for number, clips in enumerate(epoch.rows):
        row, at = rows[number], 0
        chosen = epoch.captions[epoch.starts[number] : epoch.starts[number + 1]]
        for segment, (clip, which) in enumerate(zip(clips, chosen, strict=True), 1):
            record = latents[clip]
            assert record.meta.seed == clip and record.latent.shape == shapes(CLIPS)[clip]
            here = row.segment_ids == segment
            assert here.sum() == record.latent[..., 0].size // 4 and here[at : at + 1]
            np.testing.assert_allclose(
                np.sort(row.patches[here].ravel()),
                np.sort(record.latent.astype(np.float32).ravel()),
            )
            text = (*CAPTIONS[clip % len(CAPTIONS)], "")[which]
            (wanted,) = rows.text.encode([text])
            np.testing.assert_array_equal(row.text[row.text_segment_ids == segment], wanted)
            at += here.sum()
        assert not row.patches[at:].any() and not row.segment_ids[at:].any()


def test_an_epoch_holds_every_clip_once_and_epochs_differ(rows):
    epochs = [rows.epoch(i) for i in range(3)]
    for epoch in epochs:
        assert sorted(epoch.pieces) == list(range(CLIPS))
        assert len(epoch.starts) == len(epochs[0].starts)
    assert not np.array_equal(epochs[0].pieces, epochs[1].pieces)
    companions = {tuple(sorted(row)) for epoch in epochs for row in epoch.rows}
    assert len(companions) > len(epochs[0].rows)


@pytest.mark.parametrize("shares", [(0.5, 0.1), (0.9, 0.1), (0.0, 0.0)])  # 1 - 0.9 - 0.1 < 0
def test_captions_have_the_configured_shares(folder, shares):
    wanted = experiment_of(folder, detailed_caption_prob=shares[0], caption_dropout=shares[1])
    rows = loader.open_rows(wanted, "train")
    chosen = np.concatenate([rows.epoch(i).captions for i in range(200)])
    found = np.bincount(chosen, minlength=3) / len(chosen)
    np.testing.assert_allclose(found, [1 - sum(shares), *shares], atol=0.02)


def test_rows_end_after_as_many_as_were_asked_for(folder):
    rows = loader.open_rows(experiment_of(folder), "train")
    assert len(list(rows)) == len(rows) == len(rows.epoch(0).rows)
    assert len(list(rows.latents)) == CLIPS
    for number in (-1, len(rows)):
        with pytest.raises(IndexError):
            rows[number]
    with pytest.raises(IndexError):
        rows.latents[-1]


def test_every_row_is_of_one_shape(rows):
    traced = []

    @jax.jit
    def total(batch):
        traced.append(1)
        return batch.patches.sum()

    for i in range(20):
        total(rows[i])
    assert len(traced) == 1


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_processes_share_a_batch_without_overlap(rows, processes):
    whole = [b.patches for b in map(loader.packed_batches(rows, 8).__getitem__, range(3))]
    size = 8 // processes
    for index in range(processes):
        share = loader.packed_batches(rows, 8, BatchShare((index,), processes))
        for i in range(3):
            np.testing.assert_array_equal(
                share[i].patches, whole[i][size * index : size * (index + 1)]
            )


def test_the_stream_goes_on_from_a_number(rows):
    batches = loader.packed_batches(rows, 2).to_iter_dataset()
    iterator = iter(batches)
    seen = [next(iterator) for _ in range(5)]
    state = iterator.get_state()
    later = [next(iterator) for _ in range(8)]  # into the next epoch
    again = iter(batches)
    again.set_state(state)
    for wanted in later:
        np.testing.assert_array_equal(next(again).patches, wanted.patches)
    assert (seen[0].patches != later[0].patches).any()
    assert [len(loader.packed_batches(rows, 8, first=first)) for first in (0, 4, 5)] == [12, 12, 11]


def test_a_mixture_has_its_shares_and_whole_passes(folder, tmp_path):
    few = write_latents(tmp_path / "few", shapes(6, 5), seed=9)
    mixed = experiment_of(folder, more_data=((str(few), 1.0),))
    rows = loader.open_rows(mixed, "train")
    for number in range(2):
        seen = np.bincount(rows.epoch(number).pieces, minlength=CLIPS + 6)
        assert set(seen[:CLIPS]) == {1} and set(seen[CLIPS:]) == {5}
    rare = next(i for i, clips in enumerate(rows.epoch(0).rows) if (clips >= CLIPS).any())
    clip = int(next(c for c in rows.epoch(0).rows[rare] if c >= CLIPS)) - CLIPS
    wanted = Latents(few, "train")[clip].latent.astype(np.float32).ravel()
    assert np.isin(wanted, rows[rare].patches).all()


def test_mixtures_of_what_does_not_fit_are_refused(folder, tmp_path):
    other = write_latents(tmp_path / "other", shapes(4), weights="v")
    with pytest.raises(ValueError, match="other weights: encode one again with the same --vae"):
        open_mixture([(str(folder), 1.0), (str(other), 1.0)], "train", True)
    with pytest.raises(ValueError, match="named twice"):
        open_mixture([(str(folder), 1.0), (str(folder), 1.0)], "train", True)
    captions = [("x y z", "another language")]
    other = write_latents(tmp_path / "words", shapes(4), captions=captions)
    with pytest.raises(ValueError, match="another tokenizer than .* again with --tokenizer="):
        open_mixture([(str(folder), 1.0), (str(other), 1.0)], "train", True)
    assert len(open_mixture([(str(folder), 1.0), (str(other), 1.0)], "train", False)) == CLIPS + 4


def test_what_does_not_fit_is_named_before_training(folder, tmp_path):
    with pytest.raises(ValueError, match="of 30 clips have frames that are larger than a row of 5"):
        small = PackingConfig(2, 5, 64, 6, 16)
        loader.open_rows(experiment_of(folder, packing=small), "train")
    with pytest.raises(ValueError, match="latent_channels is 4, the latents of .* have 2: set it"):
        model = dataclasses.replace(MODEL, latent_channels=4)
        loader.open_rows(experiment_of(folder, model=model), "train")
    with pytest.raises(ValueError, match="latents of 1x4x6 in .* --multiple=4"):
        odd = write_latents(tmp_path / "odd", [(1, 4, 4, 2), (1, 4, 6, 2)])
        model = dataclasses.replace(MODEL, patch=(1, 4, 4))
        loader.open_rows(experiment_of(odd, model=model), "train")
    with pytest.raises(ValueError, match="no split 'test' in .*; choose from train"):
        loader.open_rows(experiment_of(folder), "test")
    (next((tmp_path / "odd" / "index").iterdir())).unlink()
    with pytest.raises(ValueError, match="lacks the index of train; delete it"):
        Latents(tmp_path / "odd", "train")


@hypothesis.given(
    shapes=st.lists(st.tuples(*[st.integers(1, 40)] + [st.integers(1, 6)] * 2), min_size=1),
    capacity=st.integers(1, 80),
    frames=st.sampled_from([1, 2]),
)
def test_pieces_are_all_of_every_clip_and_fit_a_row(shapes, capacity, frames):
    patch = frames, 2, 2
    sizes = np.array(shapes) * patch
    found = cut_clips(sizes, patch, capacity)
    assert (found.tokens <= capacity).all() and (found.tokens > 0).all()
    for clip, (t, h, w) in enumerate(shapes):
        mine = found.clips == clip
        if h * w > capacity:
            assert not mine.any() and clip in found.too_large
            continue
        assert clip not in found.too_large and found.tokens[mine].sum() == t * h * w
        ends = [0, *found.stops[mine]]
        assert ends[:-1] == found.starts[mine].tolist() and ends[-1] == t * frames
        lengths = np.diff(ends)
        assert (lengths[:-1] == capacity // (h * w) * frames).all()  # what is left comes last
        assert len(lengths) == -(-t // (capacity // (h * w)))  # and as few as can be
    assert found.cut == sum(t * h * w > capacity >= h * w for t, h, w in shapes)


def test_a_long_clip_is_trained_on_whole_at_its_own_positions(tmp_path):
    long, short = (11, 4, 4, 2), (2, 4, 4, 2)
    folder = write_latents(tmp_path, [long, short, short])
    rows = loader.open_rows(experiment_of(folder), "train")  # 24 tokens a row, 4 a frame
    assert rows.count_faults() == {
        "bad_clips": 0, "large_clips": 0, "cut_clips": 1, "cut_captions": 0
    }  # fmt: skip
    latent = Latents(folder, "train")[0].latent.astype(np.float32)
    whole = make_segment(latent, 8.0, [1], MODEL.patch)
    seen = {}
    for row in map(rows.__getitem__, range(rows.per_epoch)):
        for number in range(1, 7):
            mine = row.segment_ids == number
            for patch, position, rest in zip(
                row.patches[mine], row.positions[mine], row.remaining[mine], strict=True
            ):
                if position[0] > 2 * 2 or rest[0] > 2:  # not of a short clip
                    assert tuple(position) not in seen
                    seen[tuple(position)] = patch
                    np.testing.assert_allclose(position + rest, whole.positions[-1])
    assert len(seen) == 44
    for position, patch in zip(whole.positions, whole.patches, strict=True):
        np.testing.assert_array_equal(seen[tuple(position)], patch)


def test_long_captions_are_cut_and_counted(folder):
    room = PackingConfig(2, 24, 3, 6, 16)
    rows = loader.open_rows(experiment_of(folder, packing=room), "train")
    lengths = Latents(folder, "train").catalog.tokens
    assert rows.count_faults()["cut_captions"] == (lengths > 3).sum() > 0
    tokenizer = rows.text
    for number in range(rows.per_epoch):
        row, (pieces, captions) = rows[number], rows._choose(number)
        for place, (piece, caption) in enumerate(zip(pieces, captions, strict=True), 1):
            (whole,) = tokenizer.encode([rows.latents[piece].texts[caption]])
            found = row.text[row.text_segment_ids == place]
            wanted = whole if len(whole) <= 3 else [*whole[:2], whole[-1]]
            np.testing.assert_array_equal(found, wanted)


def test_damaged_records_are_left_out_and_counted_up_to_a_bound(folder, tmp_path, monkeypatch):
    rows = loader.open_rows(experiment_of(folder), "train", 100)
    whole = [rows[i] for i in range(rows.per_epoch)]
    bad, read = {3, 17}, Latents.__getitem__

    def damaged(self, index):
        if index in bad:
            raise ValueError(f"record {index} is damaged")
        return read(self, index)

    monkeypatch.setattr(Latents, "__getitem__", damaged)
    packing = dataclasses.replace(rows.experiment.packing, max_bad_share=2 / CLIPS)
    rows = loader.open_rows(experiment_of(folder, packing=packing), "train", 100)
    for again in range(2):
        for number in range(rows.per_epoch):
            row, (pieces, _) = rows[number], rows._choose(number)
            for place, piece in enumerate(pieces, 1):
                mine, was = row.segment_ids == place, whole[number].segment_ids == place
                if piece in bad:
                    assert not mine.any() and row.weights[place - 1] == 0
                else:
                    np.testing.assert_array_equal(row.patches[mine], whole[number].patches[was])
        assert rows.count_faults()["bad_clips"] == 2, again
    assert any("which is damaged" in name for i in range(9) for name in rows.name_clips(i))
    bad.add(20)
    with pytest.raises(ValueError, match="3 of 30 clips are damaged, more than config.packing.max"):
        for number in range(rows.per_epoch):
            rows[number]
