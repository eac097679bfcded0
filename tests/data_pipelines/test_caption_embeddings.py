"""Embeddings of captions by a frozen T5: stored beside latents, in rows, a step, and samples."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from data_pipelines import caption_embeddings, encode, loader, records
from data_pipelines.latents import Latents
from data_pipelines.shard_jobs import Share
from sora_jax import media, sharding, text_inputs
from sora_jax.codec.video_codec import load_codec
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.interop import t5 as interop
from sora_jax.models import dit, t5
from sora_jax.models.t5_tokenizer import T5Tokenizer
from sora_jax.models.vae_config import VAEConfig
from sora_jax.rows import PackingConfig, batch_specs
from sora_jax.training import diffusion_task, loop, vae_task
from sora_jax.training.experiments import CropConfig, DiffusionExperiment, LoopConfig, VAEExperiment
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.run_folder import load_diffusion_run, save_weights
from sora_jax.training.task import TrainingData
from tests.data_pipelines.folders import clip_meta, rows_of
from tests.interop import reference_t5, reference_tokenizer
from tests.processes import run_command
from tests.tiny import MODEL

WIDTH, TOKENS = 16, 20
SHORT = ["a red ball", "the cat", "a red ball", "it is night."]
DETAILED = [
    "a red ball rolls over the green hill",
    "the cat sees a film of a cat",
    "the camera sees a red ball and a green hill and a cat at night, and it moves slowly",
    "a camera moves slowly, 24 fps; it is night.",
]
VAE = VAEExperiment("", VAEConfig(2, 2, (4,), ()), (CropConfig(1, 1, 16, 16),))
EXPERIMENT = DiffusionExperiment(
    "",
    model=dataclasses.replace(MODEL, text_embed_dim=WIDTH),
    packing=PackingConfig(8, 96, 96, 4),
    optimizer=OptimizerConfig(steps=2, warmup_steps=1),
    loop=LoopConfig(save_every=1, log_every=1),
)


def text_model(folder, kind="umt5", **changes):
    """The folder of a tiny encoder and its tokenizer."""
    folder.mkdir()
    config = reference_t5.MODELS[kind] | {"vocab_size": 300} | changes
    interop.save_text_encoder(folder, reference_t5.weights_of(config))
    reference_tokenizer.train(folder / "spiece.model", False)
    return folder


def write_clips(folder):
    """Four clips of noise in each split."""
    rng = np.random.default_rng(0)

    def rows(split):
        for i, texts in enumerate(zip(SHORT, DETAILED, strict=True)):
            video = rng.integers(0, 256, (1 + i % 2, 16, 16, 3), np.uint8)
            data = media.encode_video(video, 8)
            captions = dict(zip(("short", "detailed"), texts, strict=True))
            meta = clip_meta(data, captions=captions, size=video.shape[:3], split=split)
            yield f"{split}-{i}", {"video": data, "meta": json.dumps(meta.write())}

    records.write(folder, "clips", rows)


def add_states(latents, text, tokens=TOKENS, store=True):
    encoder = text_inputs.load_text_encoder(text, tokens)
    seen = []
    caption_embeddings.encode(
        *(latents, text, encoder, lambda *at: seen.append(at), Share(), store)
    )
    return seen


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with clips, an autoencoder, latents without states, and a text encoder."""
    folder = tmp_path_factory.mktemp("states")
    write_clips(folder / "clips")
    text_model(folder / "t5")
    with sharding.use_mesh():
        state = jax.jit(lambda: vae_task.init_state(VAE))()
        save_weights(folder / "vae", VAE, state.params, state.statistics)
        encode.encode(
            *(folder / "clips", folder / "vae", folder / "plain", load_codec(folder / "vae")),
            *(encode.TokenizerSource(64), 2, lambda *_: None),
        )
    return folder


@pytest.fixture(scope="module")
def latents(made):
    """The same latents with states."""
    shutil.copytree(made / "plain", made / "latents")
    with sharding.use_mesh():
        assert add_states(made / "latents", made / "t5")[-1] == (8, 8)  # each caption once
    return made / "latents"


def alone(made, text):
    """What the encoder says of one caption that no padding stands beside, cut to TOKENS."""
    config, params = interop.load_text_encoder(made / "t5")
    ids = np.asarray([T5Tokenizer(made / "t5").encode(text, TOKENS)], np.int32)
    return np.asarray(jax.jit(t5.encode, static_argnums=0)(config, params, ids, ids >= 0)[0])


def test_states_are_the_encoders_of_the_caption_alone(made, latents, one_device):
    lookup = caption_embeddings.StoredEmbeddings([latents], WIDTH)
    lengths = set()
    for text in {*SHORT, *DETAILED, ""}:
        (found,), wanted = lookup.encode([text]), alone(made, text)
        assert found.dtype == np.float16 and found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
        lengths.add(len(found))
    assert len(lookup.encode([""])[0]) == 1 and max(lengths) == TOKENS  # the longest is cut
    whole = T5Tokenizer(made / "t5").encode(DETAILED[2])
    assert len(whole) > TOKENS
    live = text_inputs.load_text_encoder(made / "t5", TOKENS).encode([*SHORT, ""])
    for found, wanted in zip(live, lookup.encode([*SHORT, ""]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("padded_text_length", [0, TOKENS, 32])
def test_rows_hold_states_and_a_zero_state_where_captions_are_filled(latents, padded_text_length):
    model = dataclasses.replace(EXPERIMENT.model, padded_text_length=padded_text_length)
    experiment = dataclasses.replace(
        EXPERIMENT, data=str(latents), model=model, detailed_caption_prob=1.0, caption_dropout=0.0
    )
    stored = caption_embeddings.StoredEmbeddings([latents], WIDTH)
    found = Latents(latents, "train")
    rows = loader.open_rows(experiment, "train", 1)
    row, filled = rows[0], int(padded_text_length > 0)
    clips = rows.epoch(0).rows[0]
    assert row.text.shape == (96, WIDTH) and row.text.dtype == np.float16
    _, lengths = loader.open_text([latents], model, found.catalog)
    for number, clip in enumerate(clips, 1):
        (wanted,) = stored.encode([found[clip].texts[1]])
        states = row.text[row.text_segment_ids == number]
        assert len(states) == len(wanted) + filled == lengths[clip, 1]
        np.testing.assert_array_equal(states[: len(wanted)], wanted)
        assert not states[len(wanted) :].any() and states[len(wanted) - 1].any()
    assert not row.text[row.text_segment_ids == 0].any()


def predictions(model, text, clips, packing, params, noises):
    """What the model says of each clip, by its number, of clips that share rows."""
    experiment = dataclasses.replace(
        EXPERIMENT, model=model, packing=packing, detailed_caption_prob=1.0, caption_dropout=0.0
    )
    rows, said = rows_of(experiment, list(clips.values()), text, 9), {}
    for row, plan in zip(rows, rows.epoch(0).rows, strict=False):
        numbers = [list(clips)[i] for i in plan]
        noise = np.concatenate([noises[i] for i in numbers])
        noise = np.pad(noise, ((0, packing.tokens - len(noise)), (0, 0)))
        batch, specs = jax.tree.map(lambda a: np.stack([a] * 2), row), batch_specs()
        batch, x = sharding.shard((batch, np.stack([noise] * 2)), (specs, specs.patches))
        out = np.asarray(APPLY(model, params, x, batch))[0]
        said |= {number: out[row.segment_ids == i] for i, number in enumerate(numbers, 1)}
    return said


APPLY = jax.jit(dit.apply, static_argnums=0)


def test_packed_states_are_each_caption_alone_and_one_zero_state_is_all_of_them(latents):
    """On a mesh that cuts every axis but `data`, where captions are filled up."""
    length = TOKENS + 3
    model = dataclasses.replace(EXPERIMENT.model, padded_text_length=length)
    unfilled = dataclasses.replace(model, padded_text_length=0)
    source = caption_embeddings.StoredEmbeddings([latents], WIDTH)

    class Whole:
        def encode(self, texts):
            return [np.pad(s, ((0, length - len(s)), (0, 0))) for s in source.encode(texts)]

    clips = dict(enumerate(Latents(latents, "train")))
    packing, alone = PackingConfig(8, 96, 4 * length, 4), PackingConfig(8, 36, length + 2, 2)
    rng = np.random.default_rng(0)
    noises = [rng.normal(size=(32, model.patch_width)).astype(np.float32) for _ in clips]
    noises = [noise[: 16 * len(clips[i].latent)] for i, noise in enumerate(noises)]
    with sharding.use_mesh(sharding.MeshConfig(-1, 2, 2, 2)):
        like = jax.eval_shape(lambda: dit.init_params(jax.random.key(0), model))
        params = jax.tree.map(lambda a: np.float32(0.2 * rng.normal(size=a.shape)), like)
        text, rest = text_inputs.PaddedEmbeddings(source), (params, noises)
        together = predictions(model, text, clips, packing, *rest)
        whole = predictions(unfilled, Whole(), clips, packing, *rest)
        short = predictions(unfilled, source, clips, packing, *rest)
        for i, clip in clips.items():
            (by_itself,) = predictions(model, text, {i: clip}, alone, *rest).values()
            limit = 2e-5 * np.abs(by_itself).max()
            np.testing.assert_allclose(together[i], by_itself, atol=limit)
            np.testing.assert_allclose(together[i], whole[i], atol=limit)
            assert np.abs(together[i] - short[i]).max() > 100 * limit


@pytest.mark.slow
def test_a_model_is_trained_on_states_and_samples_from_prompts(made, latents, tmp_path):
    model = dataclasses.replace(EXPERIMENT.model, padded_text_length=TOKENS)
    experiment = dataclasses.replace(EXPERIMENT, data=str(latents), model=model)
    rows = loader.open_rows(experiment, "train", 16)
    batches = loader.packed_batches(rows, experiment.packing.rows)
    task = diffusion_task.DiffusionTask(experiment)
    state = loop.train(task, tmp_path / "dit", TrainingData(lambda share: batches))
    with sharding.use_mesh():
        first = jax.tree.map(np.asarray, task.first_state().params)
    moved = jax.tree.map(lambda a, b: np.any(np.asarray(a) != b), state.params, first)
    assert moved["patch_out"]["kernel"] and "text_encoder" not in state.params

    with sharding.use_mesh():
        run = load_diffusion_run(tmp_path / "dit")
        # What one step leaves at zero would hide the text.
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda a: np.float32(0.3 * rng.normal(size=a.shape)), run.params)
        text = text_inputs.load_text_inputs(latents, model)
        generator = Generator(run._replace(params=params), text, load_codec(made / "vae"))
        prompts = ["a red ball", "the cat sees a film", *["it is night."] * 9]
        requests = [Request(prompt, 1, 16, 16) for prompt in prompts]
        videos = generator.sample(requests, SamplingConfig(2))
        swapped = generator.sample(requests[1::-1], SamplingConfig(2))
        plain = generator.sample(requests[:1], SamplingConfig(2, guidance=1.0))
    for a, b in zip(videos[:2], swapped[::-1], strict=True):  # neighbours change nothing
        assert np.abs(a.astype(int) - b).max() <= 1
    assert (videos[0] != videos[1]).any() and (videos[0] != plain[0]).any()


def test_states_need_not_be_used(latents):
    model = dataclasses.replace(MODEL, text=dataclasses.replace(MODEL.text, vocabulary=64))
    row = loader.open_rows(
        dataclasses.replace(EXPERIMENT, data=str(latents), model=model), "train", 1
    )[0]
    assert row.text.ndim == 1 and row.text.dtype == np.int32


def test_finished_states_are_kept_and_others_are_refused(made, latents, tmp_path):
    with sharding.use_mesh():
        assert not add_states(latents, made / "t5")
        other = text_model(tmp_path / "other", layer_norm_epsilon=0.01, d_ff=8)
        with pytest.raises(ValueError, match="embeddings of captions by another --text than asked"):
            add_states(latents, other)
        with pytest.raises(ValueError, match="by another --text_tokens than asked for"):
            add_states(latents, made / "t5", 12)
        shutil.copytree(made / "plain", tmp_path / "latents")
        (tmp_path / "latents" / "text").mkdir()  # of a call that did not finish
        (tmp_path / "latents" / "text" / "rest").write_text("")
        assert add_states(tmp_path / "latents", other)
        assert not (tmp_path / "latents" / "text" / "rest").exists()


def test_stopped_states_go_on_and_end_with_the_same_bytes(made, latents, tmp_path, monkeypatch):
    monkeypatch.setattr(caption_embeddings, "SHARD_CAPTIONS", 3)
    folders = tmp_path / "straight", tmp_path / "stopped"
    for folder in folders:
        shutil.copytree(made / "plain", folder)
    with sharding.use_mesh():
        encoder = text_inputs.load_text_encoder(made / "t5", TOKENS)
        caption_embeddings.encode(folders[0], made / "t5", encoder, lambda *_: None)

        def stop(done, total):
            if done == 5:  # in the second of three shards
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            caption_embeddings.encode(folders[1], made / "t5", encoder, stop)
        seen = add_states(folders[1], made / "t5")
    assert [done for done, _ in seen] == [3, 4, 5, 6, 7, 8]
    one, two = (
        {path.name: path.read_bytes() for path in (folder / "text").rglob("*") if path.is_file()}
        for folder in folders
    )
    assert one.keys() == two.keys() and len([n for n in one if "array_record" in n]) == 3
    assert {n for n in one if one[n] != two[n]} <= {"started.json"}
    for text in {*SHORT, *DETAILED, ""}:
        found = [
            caption_embeddings.StoredEmbeddings([f], WIDTH).encode([text])[0]
            for f in (latents, *folders)
        ]
        np.testing.assert_array_equal(found[1], found[2])
        np.testing.assert_allclose(found[0], found[1], atol=2e-3 * np.abs(found[0]).max())


@pytest.mark.parametrize(
    ("folder", "changes", "message"),
    [
        (
            "plain",
            {},
            "text_embed_dim is 16 and .*plain holds no embeddings of captions: run .*--text=",
        ),
        ("nowhere", {}, "nowhere holds no embeddings of captions"),
        (
            "latents",
            {"text_embed_dim": 8},
            "text_embed_dim is 8, the embeddings of .* a width of 16: set it",
        ),
        (
            "latents",
            {"padded_text_length": 9},
            "is 9, captions of .* up to 20 embeddings.*--text_tokens=9 to",
        ),
        ("latents", {"text_embed_dim": 0}, "vocabulary is 8, the tokenizer of .* pieces: raise it"),
    ],
)
def test_states_that_do_not_fit_the_model_are_named(made, latents, folder, changes, message):
    model = dataclasses.replace(EXPERIMENT.model, **changes)
    with pytest.raises(ValueError, match=message):
        loader.open_text([made / folder], model, Latents(latents, "train").catalog)
    with pytest.raises(ValueError, match=message):
        text_inputs.load_text_inputs(made / folder, model)


def test_captions_without_states_and_lost_states_are_named(latents, tmp_path):
    lookup = caption_embeddings.StoredEmbeddings([latents], WIDTH)
    with pytest.raises(
        ValueError, match="has no embeddings of the caption 'a blue ball': encode the"
    ):
        lookup.encode(["the cat", "a blue ball"])
    with pytest.raises(ValueError, match="no dataset in .*text; make it with `sora-jax encode`"):
        caption_embeddings.StoredEmbeddings([tmp_path], WIDTH)


def test_a_text_encoder_that_moved_or_changed_is_named(latents, tmp_path):
    shutil.copytree(latents, tmp_path / "latents")
    with pytest.raises(ValueError, match="text encoder of .*latents is not at .*t5: put it there"):
        text_inputs.load_text_inputs(tmp_path / "latents", EXPERIMENT.model)
    text_model(tmp_path / "t5", layer_norm_epsilon=0.01, num_heads=5)
    with sharding.use_mesh(), pytest.raises(ValueError, match="t5 holds another text encoder than"):
        text_inputs.load_text_inputs(tmp_path / "latents", EXPERIMENT.model)


@pytest.mark.slow
def test_the_command_adds_states_once(made, tmp_path):
    def run(code, *more):
        command = ["encode", "--output", tmp_path / "new", "--vae", made / "vae"]
        command += ["--data", made / "clips", "--text", made / "t5", *more]
        done = run_command(*command, code=code)
        return done.stdout + done.stderr

    assert "8/8 captions" in run(0)
    note = text_inputs.read_text_encoder_note(tmp_path / "new", EXPERIMENT.model)
    assert note.folder == made / "t5" and (note.width, note.tokens) == (WIDTH, 512)
    assert (
        len(caption_embeddings.StoredEmbeddings([tmp_path / "new"], WIDTH).encode([DETAILED[2]])[0])
        > TOKENS
    )
    assert "captions by another --text_tokens" in run(2, "--text_tokens=9")
